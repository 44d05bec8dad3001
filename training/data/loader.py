# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Loader: the order of samples over epochs and ranks, and batches on the device."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from rgbd_seg_ros.depth import DepthEncoding
from rgbd_seg_ros.preprocess import Preprocess, normalize_rgb
from training import distributed
from training.batch import Batch, Views
from training.config import RunConfig
from training.data.sample import Sample, Samples, Subset
from training.data.transforms import augment
from training.options import UsageError


@dataclass(frozen=True)
class BatchPlan:
    """The order of all samples in a training run, as a pure function of the seed.

    A *step* is one optimizer step over ``batch`` samples; each rank computes its share of them in
    ``accumulate`` parts. The last step of an epoch takes the remaining samples, spread evenly over
    the parts; it is omitted if a part would get fewer than ``smallest_part`` samples.
    """

    #: Number of training samples.
    samples: int
    #: Samples per step, over all ranks.
    batch: int
    #: Parts per rank and step.
    accumulate: int
    #: Number of ranks.
    world: int
    seed: int
    #: Fewest samples in a part; 2 for batch norm.
    smallest_part: int

    def __post_init__(self) -> None:
        least = self.world * self.accumulate * self.smallest_part
        if self.batch < least:
            raise UsageError(
                f"batch {self.batch} is too small: {self.world} ranks in {self.accumulate} parts "
                f"of at least {self.smallest_part} need {least}; raise batch or lower accumulate"
            )
        if self.samples < least:
            raise UsageError(
                f"{self.samples} training samples are too few; at least {least} are needed"
            )

    @property
    def steps(self) -> int:
        """Optimizer steps per epoch."""
        whole, left = divmod(self.samples, self.batch)
        return whole + (left >= self.world * self.accumulate * self.smallest_part)

    def parts(self, epoch: int, step: int) -> list[list[int]]:
        """Sample indices of a step, divided into ``world · accumulate`` parts, rank by rank."""
        order = np.random.default_rng([self.seed, epoch, 0x0EDE]).permutation(self.samples)
        chosen = order[step * self.batch : (step + 1) * self.batch]
        return [p.tolist() for p in np.array_split(chosen, self.world * self.accumulate)]

    def shares(self, epoch: int, step: int) -> list[float]:
        """For each of the ``accumulate`` parts, its share of the step's samples over all ranks."""
        sizes = np.array([len(p) for p in self.parts(epoch, step)])
        return (sizes.reshape(self.world, self.accumulate).sum(0) / sizes.sum()).tolist()


class BatchPlanSampler(Sampler[list[tuple[int, int]]]):
    """Yields this rank's parts of epoch ``epoch`` from step ``start`` on.

    A part is a list of (epoch, sample index) pairs. The loop sets ``epoch`` and ``start``.
    """

    def __init__(self, plan: BatchPlan, rank: int) -> None:
        self.plan, self.rank, self.epoch, self.start = plan, rank, 0, 0

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        own = slice(self.rank * self.plan.accumulate, (self.rank + 1) * self.plan.accumulate)
        for step in range(self.start, self.plan.steps):
            for part in self.plan.parts(self.epoch, step)[own]:
                yield [(self.epoch, index) for index in part]

    def __len__(self) -> int:
        return (self.plan.steps - self.start) * self.plan.accumulate


class AugmentedViews(Dataset[dict[str, Tensor]]):
    """Training views of samples, addressed by (epoch, sample index)."""

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
    """Return the samples as a list, because the images of a batch may differ in size."""
    return items


def _init_worker(_: int) -> None:
    # Ctrl-C in a terminal reaches every process of the run; the main process decides when to stop.
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
    """The loader of augmented views, and its sampler, which the loop sets to an epoch and step."""
    sampler = BatchPlanSampler(plan, distributed.rank())
    data = AugmentedViews(samples, config, encoding, views)
    options = _worker_options(config.workers, device)
    return DataLoader(data, batch_sampler=sampler, **options), sampler


def scoring_loader(
    samples: Samples, batch: int, workers: int, device: torch.device
) -> DataLoader[list[Sample]]:
    """A loader of this rank's share of whole samples; exactly one rank scores each sample."""
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
    """Move stacked views of :func:`training.data.transforms.augment` to the device, normalized.

    Padding becomes 0, the mean of normalized values.
    """
    moved = {k: v.to(device, non_blocking=True) for k, v in raw.items()}
    rgb = normalize_rgb(moved["rgb"], preprocess) * box_mask(moved["rgb_box"], moved["rgb"])
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


def box_mask(box: Tensor, image: Tensor) -> Tensor:
    """Mask B×1×H×W for boxes B×4 (top, left, bottom, right) of an image: 1 inside, 0 outside."""
    rows = torch.arange(image.shape[-2], device=box.device)[None, :]
    columns = torch.arange(image.shape[-1], device=box.device)[None, :]
    top, left, bottom, right = (side[:, None] for side in box.unbind(1))
    vertical = (rows >= top) & (rows < bottom)
    horizontal = (columns >= left) & (columns < right)
    return (vertical[:, None, :, None] & horizontal[:, None, None, :]).float()
