# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""What comes from a sensor: a Frame of one stream, or the Defect that took its place."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

#: One camera stream of the core. ``depth_raw`` is depth that is not registered to color.
Stream = Literal["rgb", "depth", "depth_raw"]
#: The network that makes one mask.
NetworkName = Literal["rgbd", "rgb", "depth"]

NETWORKS: tuple[NetworkName, ...] = ("rgbd", "rgb", "depth")


@dataclass(frozen=True)
class Intrinsics:
    """Pinhole intrinsics in pixels, for a picture of ``width`` × ``height``."""

    fx: float
    fy: float
    cx: float
    cy: float
    width: int
    height: int

    def __post_init__(self) -> None:
        known = all(map(math.isfinite, (self.fx, self.fy, self.cx, self.cy)))
        if not (known and min(self.fx, self.fy, self.width, self.height) > 0):
            raise ValueError(
                f"intrinsics need numbers, and fx, fy, width and height above 0, got {self}; "
                "an uncalibrated camera_info (all zeros) counts as none"
            )

    def resized(self, width: int, height: int) -> Intrinsics:
        """The same camera's intrinsics after its picture is resized to ``width`` × ``height``."""
        sx, sy = width / self.width, height / self.height
        # Pixel centers lie at integer coordinates, so the half-pixel moves too.
        cx, cy = (self.cx + 0.5) * sx - 0.5, (self.cy + 0.5) * sy - 0.5
        return Intrinsics(self.fx * sx, self.fy * sy, cx, cy, width, height)

    def matrix(self) -> npt.NDArray[np.float32]:
        """The 3×3 camera matrix K."""
        return np.array(
            [[self.fx, 0, self.cx], [0, self.fy, self.cy], [0, 0, 1]], dtype=np.float32
        )


@dataclass(frozen=True, eq=False)
class Frame:
    """One picture of one stream, in sensor units: pixels become meters only for a job."""

    #: ``rgb``: H×W×3 uint8 in RGB order. ``depth``: H×W, uint16 ticks or float32 meters.
    array: npt.NDArray[Any]
    #: Time of exposure, nanoseconds, as the message's header says.
    stamp_ns: int
    frame_id: str = ""
    #: Encoding of the message it came from (``rgb8``, ``16UC1``, …); a change is a fresh start.
    encoding: str = ""
    intrinsics: Intrinsics | None = None

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return self.array.shape[0], self.array.shape[1]


@dataclass(frozen=True)
class Defect:
    """A message that could not be made into a Frame. Counted by the health of its stream."""

    #: One of the reasons of the health table, normally ``malformed``.
    reason: str
    #: One line for people: the value seen and what to do.
    detail: str
    #: The header's stamp in nanoseconds when it could be read.
    stamp_ns: int | None = None
