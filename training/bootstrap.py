# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Counts of each image of a run, and paired bootstrap intervals of differences in mIoU."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from rgbd_seg_ros.files import write_atomically
from rgbd_seg_ros.metrics import ConfusionMatrix, miou_of
from training.options import UsageError

#: Bootstrap samples behind an interval, and the seed of their random numbers.
SAMPLES, SEED = 4000, 0


@dataclass(frozen=True)
class MiouDifference:
    """A difference in mIoU with its 95 % interval."""

    difference: float
    #: Percentiles 2.5 and 97.5 of the bootstrap.
    ci95: tuple[float, float]
    seeds: int
    images: int


def counts_file(folder: Path, split: str) -> Path:
    """File of the counts of each image of a split, in the folder of a run."""
    return folder / f"images_{split}.npz"


def save_image_counts(folder: Path, split: str, students: Mapping[str, ConfusionMatrix]) -> None:
    """Write the counts of each image, in the order of their names.

    The file has ``names`` (N) and, for each student, an N×K×3 array of
    :func:`rgbd_seg_ros.metrics.class_counts`.
    """
    names = sorted(next(iter(students.values())).images)
    arrays = {
        student: np.array([matrix.images[name] for name in names], np.int32)
        for student, matrix in students.items()
    }
    buffer = io.BytesIO()
    np.savez_compressed(buffer, names=np.array(names), **arrays)  # type: ignore[arg-type]
    write_atomically(counts_file(folder, split), buffer.getvalue())


def load_image_counts(folder: Path, split: str) -> dict[str, npt.NDArray[Any]]:
    """The arrays of :func:`save_image_counts`.

    Raises:
        UsageError: the file is missing or damaged.
    """
    path = counts_file(folder, split)
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return dict(arrays)
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise UsageError(
            f"{path} cannot be read ({error}); delete the run's folder to train it again"
        ) from error


def paired_difference(
    ours: Sequence[npt.NDArray[Any]], theirs: Sequence[npt.NDArray[Any]], samples: int = SAMPLES
) -> MiouDifference:
    """The difference in mIoU of two rows, averaged over seeds, with its 95 % interval.

    Each bootstrap sample draws seeds and images with replacement, the same ones for both rows: a
    difficult image or a lucky seed of the data counts for both. The mIoU of a seed is that of the
    counts added over the images. With one seed, the interval covers the images alone.

    Args:
        ours: for each seed, N×K×3 counts of the same N images.
        theirs: the same of the other row, in the same order of seeds and images.
        samples: number of bootstrap samples.

    Raises:
        ValueError: the rows have other seeds, images or classes.
    """
    a, b = np.stack([*ours]).astype(np.float64), np.stack([*theirs]).astype(np.float64)
    if a.shape != b.shape:
        raise ValueError(f"cannot pair counts of shape {a.shape} with {b.shape}")
    seeds, images = a.shape[:2]
    random = np.random.default_rng(SEED)
    drawn = random.multinomial(images, np.full(images, 1 / images), samples).astype(np.float64)
    of_seed = np.stack(
        [
            miou_of(np.tensordot(drawn, x, axes=1)) - miou_of(np.tensordot(drawn, y, axes=1))
            for x, y in zip(a, b, strict=True)
        ]
    )
    weights = random.multinomial(seeds, np.full(seeds, 1 / seeds), samples) / seeds
    resampled = np.einsum("sn,ns->n", of_seed, weights)
    low, high = np.nanpercentile(resampled, [2.5, 97.5])
    mean = float((miou_of(a.sum(axis=1)) - miou_of(b.sum(axis=1))).mean())
    return MiouDifference(mean, (float(low), float(high)), seeds, images)
