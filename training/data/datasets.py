# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The data sets by name, and their three splits: train, val, test."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from training.config import RunConfig
from training.data.sample import Samples, Subset
from training.options import UsageError, lookup

Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = ("train", "val", "test")


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


#: Name → function(config, split). A validation split is always held out of the training data.
SOURCES: dict[str, Callable[[RunConfig, Split], Samples]] = {
    "synthetic": _synthetic,
    "folder": _folder,
    "prepared": _prepared,
}


def open_split(config: RunConfig, split: Split) -> Samples:
    """One split of the data set that the configuration names.

    With ``overfit`` N, training and validation are the first N training samples.

    Raises:
        UsageError: unknown data set, missing files, a split without samples.
    """
    source = lookup("data set", config.data, SOURCES)
    if config.overfit and split == "val":
        split = "train"
    samples = source(config, split)
    if len(samples) == 0:
        raise UsageError(
            f"split {split!r} of data set {config.data!r} has no samples; "
            "add some, or mend the lists that say which split each belongs to"
        )
    if config.overfit and split == "train":
        return Subset(samples, list(range(min(config.overfit, len(samples)))))
    return samples
