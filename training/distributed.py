# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Distributed training: process group, reductions, gathers and batch norm over the ranks."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch import distributed as dist
from torch.autograd import Function

from rgbd_seg_ros.engine.backends import resolve_device
from rgbd_seg_ros.metrics import ConfusionMatrix


def rank() -> int:
    """Rank of this process; 0 is the main process."""
    return dist.get_rank() if dist.is_initialized() else 0


def world_size() -> int:
    """Number of processes that train together."""
    return dist.get_world_size() if dist.is_initialized() else 1


def is_main() -> bool:
    """Whether this is the main process, which writes files and prints."""
    return rank() == 0


@contextmanager
def process_group(device: str) -> Iterator[torch.device]:
    """Join the process group set up by ``torchrun`` and yield this rank's device.

    NCCL connects GPUs, gloo connects CPUs. Without torchrun, only the device is resolved.

    Args:
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
    """
    if "WORLD_SIZE" not in os.environ or "RANK" not in os.environ:
        yield resolve_device(device)
        return
    if device in ("auto", "cuda") and torch.cuda.is_available():
        device = f"cuda:{os.environ.get('LOCAL_RANK', '0')}"
    chosen = resolve_device(device)
    if chosen.type == "cuda":
        torch.cuda.set_device(chosen)
    if chosen.type == "cuda":
        dist.init_process_group("nccl", device_id=chosen)
    else:
        dist.init_process_group("gloo")
    try:
        yield chosen
    finally:
        dist.destroy_process_group()


def barrier() -> None:
    """Wait until every rank has arrived."""
    if world_size() > 1:
        dist.barrier()


def all_true(flags: list[bool], device: torch.device) -> list[bool]:
    """For each flag, whether it is true on every rank."""
    if world_size() == 1:
        return flags
    values = torch.tensor(flags, dtype=torch.float32, device=device)
    dist.all_reduce(values, dist.ReduceOp.MIN)
    return [bool(v) for v in values.tolist()]


def mean_count(count: Tensor | int, device: torch.device) -> Tensor:
    """The mean of ``count`` over the ranks, float32 and without gradient."""
    value = torch.as_tensor(count, dtype=torch.float32, device=device).detach().clone()
    if world_size() > 1:
        dist.all_reduce(value)
        value /= world_size()
    return value


def total(counts: Tensor) -> Tensor:
    """The sum of integer ``counts`` over the ranks, exact and without gradient."""
    if world_size() > 1:
        counts = counts.clone()
        dist.all_reduce(counts)
    return counts


def mean_scalars(values: dict[str, float], device: torch.device) -> dict[str, float]:
    """The mean of each value over the ranks."""
    if world_size() == 1 or not values:
        return values
    packed = torch.tensor(list(values.values()), dtype=torch.float64, device=device)
    dist.all_reduce(packed)
    return dict(zip(values, (packed / world_size()).tolist(), strict=True))


def merge_confusion(matrix: ConfusionMatrix, device: torch.device) -> None:
    """Sum the counts of every rank into each rank's matrix."""
    if world_size() > 1:
        counts = torch.from_numpy(matrix.counts).to(device)
        dist.all_reduce(counts)
        matrix.counts[:] = counts.cpu().numpy()
        images: list[Any] = [None] * world_size()
        dist.all_gather_object(images, matrix.images)
        for of_rank in images:
            matrix.images.update(of_rank)


class _Gather(Function):
    """All ranks' rows; each rank receives the summed gradient of its rows."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:
        sizes = [
            torch.zeros((), dtype=torch.long, device=rows.device) for _ in range(world_size())
        ]
        dist.all_gather(sizes, torch.tensor(len(rows), device=rows.device))
        counts = [int(n) for n in sizes]
        ctx.start, ctx.count = sum(counts[: rank()]), len(rows)
        # Collectives need equal shapes, but the last batches differ in size: pad, then cut.
        padded = rows.new_zeros(max(counts), *rows.shape[1:])
        padded[: len(rows)] = rows
        parts = [torch.empty_like(padded) for _ in counts]
        dist.all_gather(parts, padded)
        return torch.cat([part[:n] for part, n in zip(parts, counts, strict=True)])

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:  # type: ignore[override]
        grad = grad.contiguous()
        dist.all_reduce(grad)
        return grad[ctx.start : ctx.start + ctx.count]


def gather_rows(rows: Tensor) -> Tensor:
    """N_r×… of each rank → ΣN_r×… in rank order, with gradient to every rank's rows.

    It provides contrastive negatives. With losses that are global means, DDP's averaged gradient
    equals that of one process with the whole batch.
    """
    return _Gather.apply(rows) if world_size() > 1 else rows  # type: ignore[no-any-return]


def first_row(count: int, device: torch.device) -> int:
    """Index of this rank's first row in the result of :func:`gather_rows`."""
    if world_size() == 1:
        return 0
    counts = torch.zeros(world_size(), dtype=torch.long, device=device)
    counts[rank()] = count
    dist.all_reduce(counts)
    return int(counts[: rank()].sum())


class _Sum(Function):
    """Sum over the ranks; its gradient is also summed over the ranks."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        x = x.clone()
        dist.all_reduce(x)
        return x

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:  # type: ignore[override]
        grad = grad.contiguous()
        dist.all_reduce(grad)
        return grad


class GlooBatchNorm2d(nn.BatchNorm2d):
    """Batch norm over every rank's samples on CPUs; ``nn.SyncBatchNorm`` needs GPUs."""

    def forward(self, x: Tensor) -> Tensor:
        """B×C×H×W; the ranks' B may differ."""
        if not self.training or world_size() == 1:
            return super().forward(x)
        xf = x.float()
        ones = xf.new_full((1,), x.numel() / x.shape[1])
        sums = torch.cat((xf.sum((0, 2, 3)), ones))
        total = _Sum.apply(sums)
        n = total[-1]
        mean = total[:-1] / n
        # Two passes, because E[x²] - E[x]² loses the precision of a small variance in float32.
        centered = xf - mean[:, None, None]
        var = _Sum.apply(centered.square().sum((0, 2, 3))) / n
        if self.track_running_stats:
            with torch.no_grad():
                self.num_batches_tracked += 1  # type: ignore[operator]
                momentum = self.momentum if self.momentum is not None else 0.1
                self.running_mean.lerp_(mean, momentum)  # type: ignore[union-attr]
                self.running_var.lerp_(var * n / (n - 1), momentum)  # type: ignore[union-attr]
        scale = (var + self.eps).rsqrt() * self.weight
        return (centered * scale[:, None, None] + self.bias[:, None, None]).to(x.dtype)


def sync_batch_norm(module: nn.Module, device: torch.device) -> nn.Module:
    """Synchronize every BatchNorm2d of ``module`` across ranks; state dict keys do not change."""
    if world_size() == 1:
        return module
    if device.type == "cuda":
        return nn.SyncBatchNorm.convert_sync_batchnorm(module)
    for child in module.modules():
        if type(child) is nn.BatchNorm2d:
            child.__class__ = GlooBatchNorm2d  # same parameters, different forward
    return module
