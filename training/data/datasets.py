# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Registry of datasets by name; opens a split of one, and reports its classes before training."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Literal

from rgbd_seg_ros.progress import say
from training import distributed
from training.config import RunConfig
from training.data.class_report import check_classes, class_table, split_counts
from training.data.prepare import RAW_DATASETS, raw_dataset_class
from training.data.sample import Samples, Subset
from training.options import UsageError, lookup

Split = Literal["train", "val", "test"]
#: Frames of a split of the synthetic rooms, unless the configuration states a number.
SYNTHETIC_FRAMES: dict[Split, int] = {"train": 4000, "val": 300, "test": 500}


def _synthetic(config: RunConfig, split: Split) -> Samples:
    from training.data.synthetic.cache import CachedRooms

    count = frames_of(config, split) or SYNTHETIC_FRAMES[split]
    return CachedRooms(config.cache, config.size, config.scene_seed, split, count)


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


#: Datasets whose labels come from files, so that they may be wrong.
FROM_FILES = ("folder", "prepared")


def open_split(config: RunConfig, split: Split) -> Samples:
    """Open one split of the configured dataset.

    Of a dataset in files, ``train_frames`` N selects N frames of the training split by the hashes
    of their positions: frames of all parts of the split, and a smaller N selects some of the same
    frames. With ``overfit`` N, both training and validation use the first N training samples.

    Raises:
        UsageError: unknown dataset, missing files, a split without samples, or with fewer of them
            than the configuration states.
    """
    if config.data in RAW_DATASETS and config.data not in DATASETS:
        source = " --source DIR" if raw_dataset_class(config.data).needs_source else ""
        raise UsageError(
            f"dataset {config.data!r} must be prepared first: python -m training.prepare "
            f"{config.data}{source} --out DIR; then pass --data prepared --root DIR"
        )
    open_dataset = lookup("dataset", config.data, DATASETS)
    if config.overfit and split == "val":
        split = "train"
    samples = open_dataset(config, split)
    if len(samples) == 0:
        raise UsageError(
            f"split {split!r} of dataset {config.data!r} has no samples; "
            "add some, or correct the lists of samples per split"
        )
    if config.data in FROM_FILES and (count := frames_of(config, split)):
        samples = _some(samples, count, split)
    if config.overfit and split == "train":
        return Subset(samples, list(range(min(config.overfit, len(samples)))))
    return samples


def frames_of(config: RunConfig, split: Split) -> int:
    """Number of frames of a split that the configuration states; 0: all, or the usual number."""
    count: int = getattr(config, f"{split}_frames")
    return count


def _some(samples: Samples, count: int, split: Split) -> Samples:
    if count > len(samples):
        raise UsageError(
            f"{split}_frames is {count}, but the split has {len(samples)} frames: state at most "
            "these, or 0 for all"
        )
    names = [str(i) for i in range(len(samples))]
    order = sorted(names, key=lambda name: hashlib.sha256(name.encode()).digest())
    return Subset(samples, sorted(int(i) for i in order[:count]))


def report_classes(config: RunConfig, train: Samples, val: Samples) -> list[str]:
    """Print the pixels of each class before a training, and check that there is enough to learn.

    Returns:
        One-line warnings: what the folder contains and training does not use, and classes without
        pixels.

    Raises:
        UsageError: labels that teach nothing, see :func:`check_classes`.
    """
    if config.data not in FROM_FILES:
        return []
    counts = {"train": split_counts(train), "val": split_counts(val)}
    if distributed.is_main():
        table = class_table(train.label_set.classes, counts)
        say(f"share of each class in the labeled pixels of {config.root}:\n{table}")
    problem, warnings = check_classes(train.label_set, counts)
    if problem:
        raise UsageError(f"{config.root}: {problem}")
    return [*dict.fromkeys((*notes_of(train), *notes_of(val))), *warnings]


def notes_of(samples: Samples) -> tuple[str, ...]:
    """One line for each thing in the samples' folder that is not used."""
    if isinstance(samples, Subset):
        return notes_of(samples.samples)
    notes: tuple[str, ...] = getattr(samples, "notes", ())
    return notes
