# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""What every data set gives: a Sample, numpy only, before any resizing or augmentation."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from rgbd_seg_ros.labels import LabelSet


@dataclass(frozen=True, eq=False)
class Sample:
    """One registered RGB-D picture with its truth."""

    #: H×W×3 uint8, RGB order.
    rgb: npt.NDArray[np.uint8]
    #: H×W float32 meters, NaN invalid.
    depth_m: npt.NDArray[np.float32]
    #: H×W uint8 class ids 0..K-1, 255 unlabeled.
    labels: npt.NDArray[np.uint8]
    #: For people: file name or index.
    name: str
    #: 3×3 camera matrix in pixels, where it is known.
    intrinsics: npt.NDArray[np.float32] | None = None
    #: Unit vector pointing down in the optical frame, where it is known.
    gravity: npt.NDArray[np.float32] | None = None


class Samples(Protocol):
    """One split of a data set. Must be picklable: loader processes get a copy."""

    label_set: LabelSet

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Sample: ...


class Subset:
    """Some samples of another split, in the order given."""

    def __init__(self, samples: Samples, indices: list[int]) -> None:
        self.samples, self.indices, self.label_set = samples, indices, samples.label_set

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> Sample:
        return self.samples[self.indices[index]]


def hold_out(names: list[str], fraction: float) -> tuple[list[str], list[str]]:
    """Names → (kept, held out): at random but for good, and hardly changed by new names.

    The names whose hashes come first are held out, at least one.
    """
    by_hash = sorted(names, key=lambda name: hashlib.sha256(name.encode()).digest())
    held = set(by_hash[: max(1, round(len(names) * fraction))])
    return [n for n in names if n not in held], [n for n in names if n in held]
