# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Which samples come when, on which rank, and how they become a Batch on the device."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler, Subset

from rgbd_seg_ros.depth import DepthEncoding
from rgbd_seg_ros.preprocess import Preprocess, normalize_rgb
from training import distributed
from training.config import RunConfig
from training.data.sample import Sample, Samples
from training.data.transforms import augment
from training.methods.base import Batch, Views
from training.options import UsageError


@dataclass(frozen=True)
class BatchPlan:
    """The order of a whole training run, as a pure function of the seed.

    A *step* is one optimizer step over ``batch`` samples of all ranks; each rank computes its
    share in ``accumulate`` parts. The last step of an epoch takes what is left, spread as evenly
    as it goes; it is left out if some part would get fewer than ``smallest_part`` samples.
    """

    samples: int
    batch: int
    accumulate: int
    world: int
    seed: int
    smallest_part: int

    def __post_init__(self) -> None:
        least = self.world * self.accumulate * self.smallest_part
        if self.batch < least:
            raise UsageError(
                f"batch {self.batch} is too small: {self.world} ranks in {self.accumulate} parts "
                f"of at least {self.smallest_part} need {least}; raise batch or lower accumulate"
            )
        if self.samples < least:
            raise UsageError(f"{self.samples} training samples, at least {least} are needed")

    @property
    def steps(self) -> int:
        """Optimizer steps in an epoch."""
        whole, left = divmod(self.samples, self.batch)
        return whole + (left >= self.world * self.accumulate * self.smallest_part)

    def parts(self, epoch: int, step: int) -> list[list[int]]:
        """Sample indices of a step, cut into ``world · accumulate`` parts, rank by rank."""
        order = np.random.default_rng([self.seed, epoch, 0x0EDE]).permutation(self.samples)
        chosen = order[step * self.batch : (step + 1) * self.batch]
        return [p.tolist() for p in np.array_split(chosen, self.world * self.accumulate)]

    def shares(self, epoch: int, step: int) -> list[float]:
        """Of each of the ``accumulate`` parts: its samples over all ranks / those of the step."""
        sizes = np.array([len(p) for p in self.parts(epoch, step)])
        return (sizes.reshape(self.world, self.accumulate).sum(0) / sizes.sum()).tolist()


class BatchPlanSampler(Sampler[list[tuple[int, int]]]):
    """This rank's parts of an epoch, from a step on, as lists of (epoch, sample)."""

    def __init__(self, plan: BatchPlan, rank: int) -> None:
        self.plan, self.rank, self.epoch, self.start = plan, rank, 0, 0

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        own = slice(self.rank * self.plan.accumulate, (self.rank + 1) * self.plan.accumulate)
        for step in range(self.start, self.plan.steps):
            for part in self.plan.parts(self.epoch, step)[own]:
                yield [(self.epoch, index) for index in part]

    def __len__(self) -> int:
        return (self.plan.steps - self.start) * self.plan.accumulate


class Augmented(Dataset[dict[str, Tensor]]):
    """Training views, addressed by (epoch, sample)."""

    def __init__(
        self, samples: Samples, config: RunConfig, encoding: DepthEncoding, views: Views
    ) -> None:
        self.samples, self.config, self.encoding = samples, config, encoding
        self.decoupled = views == "decoupled"

    def __getitem__(self, key: tuple[int, int]) -> dict[str, Tensor]:
        epoch, index = key
        sample = self.samples[index]
        return augment(sample, self.config, self.encoding, self.decoupled, epoch, index)


def as_list(items: list[Any]) -> list[Any]:
    """Collates nothing: pictures of a batch may differ in size."""
    return items


def _init_worker(_: int) -> None:
    # A terminal's Ctrl-C reaches every process of the run; when to stop is the main one's matter.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)
    try:
        import cv2
    except ImportError:
        return
    cv2.setNumThreads(0)


def _worker_options(workers: int, device: torch.device) -> dict[str, Any]:
    if workers < 0:
        workers = max(1, min(8, (os.cpu_count() or 2) // 2))
    options: dict[str, Any] = {"num_workers": workers, "pin_memory": device.type == "cuda"}
    if workers:
        options |= {"worker_init_fn": _init_worker, "persistent_workers": True}
    return options


def training_loader(
    samples: Samples,
    plan: BatchPlan,
    config: RunConfig,
    encoding: DepthEncoding,
    views: Views,
    device: torch.device,
) -> tuple[DataLoader[dict[str, Tensor]], BatchPlanSampler]:
    """The loader and the sampler by which the loop says where to begin."""
    sampler = BatchPlanSampler(plan, distributed.rank())
    data = Augmented(samples, config, encoding, views)
    options = _worker_options(config.workers, device)
    return DataLoader(data, batch_sampler=sampler, **options), sampler


def scoring_loader(
    samples: Samples, batch: int, workers: int, device: torch.device
) -> DataLoader[list[Sample]]:
    """Every rank's own share of whole samples: each is scored once, by one rank."""
    own = list(range(distributed.rank(), len(samples), distributed.world_size()))
    return DataLoader(
        Subset(samples, own),  # type: ignore[arg-type]
        batch_size=batch,
        collate_fn=as_list,
        **_worker_options(workers, device),
    )


def to_batch(
    raw: dict[str, Tensor], preprocess: Preprocess, device: torch.device, channels_last: bool
) -> Batch:
    """Stacked views to normalized tensors on the device."""
    moved = {k: v.to(device, non_blocking=True) for k, v in raw.items()}
    rgb = normalize_rgb(moved["rgb"], preprocess) * inside(moved["rgb_box"], moved["rgb"])
    depth = preprocess.depth.normalize(moved["depth"])
    labels = {"rgb": moved["labels_rgb"].long()}
    if "labels_depth" in moved:
        labels["depth"] = moved["labels_depth"].long()
    else:
        labels["depth"] = labels["rgbd"] = labels["rgb"]
    if channels_last:
        rgb = rgb.contiguous(memory_format=torch.channels_last)
        depth = depth.contiguous(memory_format=torch.channels_last)
    return Batch(rgb, depth, labels)


def inside(box: Tensor, picture: Tensor) -> Tensor:
    """B×1×H×W, 1 within each B×4 box (top, left, bottom, right) and 0 in the padding."""
    rows = torch.arange(picture.shape[-2], device=box.device)[None, :]
    columns = torch.arange(picture.shape[-1], device=box.device)[None, :]
    top, left, bottom, right = (side[:, None] for side in box.unbind(1))
    vertical = (rows >= top) & (rows < bottom)
    horizontal = (columns >= left) & (columns < right)
    return (vertical[:, None, :, None] & horizontal[:, None, None, :]).float()
