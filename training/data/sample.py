# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Sample: the output of every dataset, as NumPy arrays before any resizing or augmentation."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from rgbd_seg_ros.labels import LabelSet

#: Folders of a dataset's images, of which each sample has one.
FOLDERS = ("rgb", "depth", "labels")
#: Splits of every dataset.
SPLITS = ("train", "val", "test")


@dataclass(frozen=True, eq=False)
class Sample:
    """One RGB-D image with aligned depth and its ground truth."""

    #: H×W×3 uint8, RGB order.
    rgb: npt.NDArray[np.uint8]
    #: H×W float32 meters, NaN invalid.
    depth_m: npt.NDArray[np.float32]
    #: H×W uint8 class ids 0..K-1, 255 unlabeled.
    labels: npt.NDArray[np.uint8]
    #: File name or index, used in messages.
    name: str
    #: 3×3 camera matrix in pixels; None if unknown.
    intrinsics: npt.NDArray[np.float32] | None = None
    #: Unit vector pointing down in the optical frame; None if unknown.
    gravity: npt.NDArray[np.float32] | None = None


class Samples(Protocol):
    """One split of a dataset. It must be picklable, because loader processes receive a copy."""

    label_set: LabelSet

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Sample: ...


class Subset:
    """Some samples of another split, in the order of ``indices``."""

    def __init__(self, samples: Samples, indices: list[int]) -> None:
        self.samples, self.indices, self.label_set = samples, indices, samples.label_set

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> Sample:
        return self.samples[self.indices[index]]


def hold_out(names: list[str], fraction: float) -> tuple[list[str], list[str]]:
    """Split names by their hashes into (kept, held out).

    The split is deterministic, and adding names moves few others. At least one name is held out.

    Args:
        names: unique names.
        fraction: share of the names to hold out.
    """
    by_hash = sorted(names, key=lambda name: hashlib.sha256(name.encode()).digest())
    held = set(by_hash[: max(1, round(len(names) * fraction))])
    return [n for n in names if n not in held], [n for n in names if n in held]
