# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Checks of the frames that are prepared, with and without writing them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from rgbd_seg_ros.progress import progress_bar, say
from training.data.checks import check_sizes, describe_unusable, judge_frame
from training.data.class_report import check_classes, class_table, count_labels
from training.data.prepare.base import Entry, FrameData, RawDataset
from training.data.prepare.index import SPLITS
from training.options import UsageError


def check_frame(dataset: RawDataset, entry: Entry, frame: FrameData) -> FrameData:
    """Check the sizes and class ids of a frame; raise UsageError if they are wrong."""
    check_sizes(
        f"{dataset.name}, sample {entry.name!r}",
        rgb=frame.rgb, depth=frame.depth_m, labels=frame.labels,
    )  # fmt: skip
    ids = frame.labels[frame.labels != 255]
    if ids.size and int(ids.max()) >= len(dataset.label_set):
        raise UsageError(
            f"{dataset.name} {entry.name} has class id {int(ids.max())}, but "
            f"{dataset.label_set.name} has ids 0..{len(dataset.label_set) - 1}"
        )
    return frame


def to_ticks(frame: FrameData, depth_scale: float) -> npt.NDArray[np.uint16]:
    """H×W depth in ticks, 0 invalid.

    Raises:
        UsageError: depth beyond the last tick, 65534.
    """
    depth = frame.depth_m
    valid = np.isfinite(depth) & (depth > 0)
    ticks = np.rint(np.where(valid, depth, 0).astype(np.float64) / depth_scale)
    if ticks.max(initial=0) > 65534:
        raise UsageError(
            f"depth of {np.nanmax(depth):.1f} m does not fit 16 bits of {depth_scale:g} m "
            f"(at most {65534 * depth_scale:.1f} m): is --depth-unit wrong, or --tick too fine?"
        )
    return np.where(valid, np.maximum(ticks, 1), 0).astype(np.uint16)


def check_frames(dataset: RawDataset, entries: Sequence[Entry], splits: Sequence[str]) -> None:
    """All checks of a preparation without its files.

    Reads all frames, prints the share of each class, and tells what the node would not use.

    Args:
        dataset: the official files.
        entries: its frames.
        splits: the split of each frame.

    Raises:
        UsageError: a frame is defective, or nothing can be learned from the labels.
        ImageFileError: an invalid image.
    """
    classes = dataset.label_set.classes
    counts: dict[str, npt.NDArray[np.int64]] = {
        split: np.zeros(len(classes) + 1, np.int64) for split in SPLITS if split in splits
    }
    unusable: dict[str, Mapping[str, str]] = {}
    frames = zip(entries, splits, dataset.read_each(entries), strict=True)
    with progress_bar("checking all frames", len(entries), "frame", iterable=frames) as bar:
        for entry, split, frame in bar:
            check_frame(dataset, entry, frame)
            to_ticks(frame, dataset.depth_scale)
            counts[split] += count_labels(frame.labels, len(classes))
            unusable[entry.name] = judge_frame(frame.rgb, frame.depth_m)
    say(class_table(classes, counts))
    problem, warnings = check_classes(dataset.label_set, counts)
    for text in (*warnings, *describe_unusable(unusable)):
        say(f"warning: {text}")
    if problem:
        raise UsageError(f"{dataset.name} cannot be learned: {problem}")
