# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Report of the pixels of each class and split, which shows labels that teach nothing."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol, runtime_checkable
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt

from rgbd_seg_ros.labels import IGNORE_ID, LabelSet
from rgbd_seg_ros.progress import progress_bar
from rgbd_seg_ros.text_table import text_table
from training.data.sample import Samples, Subset

#: Samples whose labels have been counted, and the result of :func:`split_counts`.
_COUNTED: WeakKeyDictionary[Samples, npt.NDArray[np.int64]] = WeakKeyDictionary()


@runtime_checkable
class StoredCounts(Protocol):
    """Samples that know the pixels of each class without reading their images."""

    def label_counts(self, index: int) -> npt.NDArray[np.int64] | None:
        """Pixels of each class of one sample, then its unlabeled pixels; None if unknown."""
        ...


def count_labels(labels: npt.NDArray[np.uint8], classes: int) -> npt.NDArray[np.int64]:
    """Pixels of each class, then the unlabeled pixels, as K+1 numbers.

    Args:
        labels: H×W class ids 0..K-1, 255 unlabeled.
        classes: K.
    """
    found = np.bincount(labels.ravel(), minlength=IGNORE_ID + 1)
    return np.append(found[:classes], found[IGNORE_ID]).astype(np.int64)


def split_counts(samples: Samples) -> npt.NDArray[np.int64]:
    """Pixels of each class of a split, then its unlabeled pixels, as K+1 numbers.

    Stored counts are used where there are any; other labels are read, with progress, and once for
    these samples.
    """
    if samples in _COUNTED:
        return _COUNTED[samples]
    classes = len(samples.label_set)
    total = np.zeros(classes + 1, np.int64)
    unknown = []
    for index in range(len(samples)):
        stored = _stored(samples, index)
        if stored is None:
            unknown.append(index)
        else:
            total += stored

    def read(index: int) -> npt.NDArray[np.int64]:
        return count_labels(samples[index].labels, classes)

    if unknown:
        with ThreadPoolExecutor(os.cpu_count()) as pool:  # decoding releases the GIL
            counts = pool.map(read, unknown)
            with progress_bar(
                "counting label pixels", len(unknown), "sample", iterable=counts
            ) as bar:
                for part in bar:
                    total += part
    _COUNTED[samples] = total
    return total


def class_pixel_counts(samples: Samples) -> npt.NDArray[np.int64]:
    """Pixels of each class of a split, as K numbers; unlabeled pixels do not count."""
    return split_counts(samples)[:-1]


def _stored(samples: Samples, index: int) -> npt.NDArray[np.int64] | None:
    if isinstance(samples, Subset):
        return _stored(samples.samples, samples.indices[index])
    return samples.label_counts(index) if isinstance(samples, StoredCounts) else None


def class_table(classes: Sequence[str], counts: Mapping[str, npt.NDArray[np.int64]]) -> str:
    """Table of classes and splits: the share of the labeled pixels, and ``none`` for no pixel.

    Args:
        classes: names of the K classes.
        counts: split → K+1 numbers of :func:`split_counts`.
    """
    rows = [["class", *counts]]
    for i, name in enumerate(classes):
        rows.append([name, *(_share(c[i], c[:-1].sum()) for c in counts.values())])
    rows.append(["(unlabeled, of all)", *(_share(c[-1], c.sum()) for c in counts.values())])
    return text_table(rows)


def _share(part: np.int64, whole: np.int64) -> str:
    if not part:
        return "none"
    percent = 100 * float(part) / float(whole)
    return f"{percent:.2f} %" if percent >= 0.01 else "< 0.01 %"


def check_classes(
    label_set: LabelSet, counts: Mapping[str, npt.NDArray[np.int64]]
) -> tuple[str, list[str]]:
    """Check that training can learn from the labels.

    It cannot if a split has no labeled pixel, or if only one of several classes has pixels in the
    training split.

    Args:
        label_set: the classes.
        counts: split → K+1 numbers of :func:`split_counts`.

    Returns:
        What prevents a training, in one line, or an empty string; and one-line warnings about
        classes that a split lacks.
    """
    first, last = label_set.classes[0], label_set.classes[-1]
    remedy = (
        "correct the labels, or give each class its value or color in the dataset.yaml of the "
        f"source (for masks of 0 and 255, `classes: {{{first}: 0, {last}: 255}}`)"
    )
    for split, found in counts.items():
        if not found[:-1].any():
            return (
                f"every pixel of the {split} labels is unlabeled ({IGNORE_ID}), so there is "
                f"nothing to learn or to score: {remedy}"
            ), []
    if "train" not in counts:
        return "", []
    train = counts["train"]
    present = np.flatnonzero(train[:-1])
    lacking = [name for i, name in enumerate(label_set.classes) if not train[i]]
    if len(present) == 1 and lacking:
        void = 100 * train[-1] / train.sum()
        names = ", ".join(map(repr, lacking[:5])) + (", …" if len(lacking) > 5 else "")
        seen = f"; {void:.1f} % are {IGNORE_ID}, which is read as unlabeled" if train[-1] else ""
        return (
            f"all labeled pixels of the training labels are {label_set.classes[present[0]]!r}, "
            f"and {names} {'has' if len(lacking) == 1 else 'have'} no pixel{seen}: {remedy}"
        ), []
    warnings = []
    if lacking:
        warnings.append(
            f"{len(lacking)} of {len(label_set)} classes have no pixel in the training labels and "
            f"cannot be learned: {', '.join(lacking)}; add images of them, or omit the classes"
        )
    for split, found in counts.items():
        unscored = [n for i, n in enumerate(label_set.classes) if train[i] and not found[i]]
        if unscored:
            warnings.append(
                f"{len(unscored)} of {len(label_set)} classes have no pixel in the {split} "
                f"labels, so they are not scored there: {', '.join(unscored)}"
            )
    return "", warnings
