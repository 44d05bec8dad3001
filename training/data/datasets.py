# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Registry of datasets by name; opens the split train, val or test of one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from training.config import RunConfig
from training.data.sample import Samples, Subset
from training.options import UsageError, lookup

Split = Literal["train", "val", "test"]


def _synthetic(config: RunConfig, split: Split) -> Samples:
    from training.data.synthetic.cache import CachedRooms

    count = {"train": config.train_frames, "val": config.val_frames, "test": config.test_frames}
    return CachedRooms(config.cache, config.size, config.scene_seed, split, count[split])


def _folder(config: RunConfig, split: Split) -> Samples:
    from training.data.folder import open_folder

    return open_folder(config.root, split, config.val_fraction, config.strict, config.cache)


def _prepared(config: RunConfig, split: Split) -> Samples:
    from training.data.prepare.index import open_prepared

    return open_prepared(config.root, split)


#: Name → function that opens a split. The training split never contains validation samples.
DATASETS: dict[str, Callable[[RunConfig, Split], Samples]] = {
    "synthetic": _synthetic,
    "folder": _folder,
    "prepared": _prepared,
}


def open_split(config: RunConfig, split: Split) -> Samples:
    """Open one split of the configured dataset.

    With ``overfit`` N, both training and validation use the first N training samples.

    Raises:
        UsageError: unknown dataset, missing files, or a split without samples.
    """
    open_dataset = lookup("dataset", config.data, DATASETS)
    if config.overfit and split == "val":
        split = "train"
    samples = open_dataset(config, split)
    if len(samples) == 0:
        raise UsageError(
            f"split {split!r} of dataset {config.data!r} has no samples; "
            "add some, or correct the lists of samples per split"
        )
    if config.overfit and split == "train":
        return Subset(samples, list(range(min(config.overfit, len(samples)))))
    return samples
