# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Sensor frames: one image with its stamp, before and after decoding, or the Defect instead."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

#: One camera stream of the core. ``depth_raw`` is depth that is not aligned to color.
Stream = Literal["rgb", "depth", "depth_raw"]
STREAMS: tuple[Stream, ...] = get_args(Stream)
#: The network that computes one mask.
NetworkName = Literal["rgbd", "rgb", "depth"]
NETWORK_NAMES: tuple[NetworkName, ...] = get_args(NetworkName)

NS_PER_MS = 1_000_000
NS_PER_S = 1_000_000_000


#: Relative difference up to which aspect ratios count as equal.
ASPECT_TOLERANCE = 0.01


@dataclass(frozen=True)
class Intrinsics:
    """Pinhole intrinsics in pixels, for an image of ``width`` × ``height``."""

    fx: float
    fy: float
    cx: float
    cy: float
    width: int
    height: int

    def __post_init__(self) -> None:
        finite = all(map(math.isfinite, (self.fx, self.fy, self.cx, self.cy)))
        if not (finite and min(self.fx, self.fy, self.width, self.height) > 0):
            raise ValueError(
                f"intrinsics must be finite, with fx, fy, width and height above 0, got {self}; "
                "use None for an uncalibrated camera (camera_info of all zeros)"
            )

    def resized(self, width: int, height: int) -> Intrinsics:
        """The same camera's intrinsics after its image is resized to ``width`` × ``height``."""
        sx, sy = width / self.width, height / self.height
        # Pixel centers lie at integer coordinates, so the image's corner is at (-0.5, -0.5).
        cx, cy = (self.cx + 0.5) * sx - 0.5, (self.cy + 0.5) * sy - 0.5
        return Intrinsics(self.fx * sx, self.fy * sy, cx, cy, width, height)

    def matrix(self) -> npt.NDArray[np.float32]:
        """The 3×3 camera matrix K."""
        return np.array(
            [[self.fx, 0, self.cx], [0, self.fy, self.cy], [0, 0, 1]], dtype=np.float32
        )


@dataclass(frozen=True, eq=False)
class Frame:
    """One image of one stream in sensor units; depth is converted to meters only for a job."""

    #: ``rgb``: H×W×3 uint8 in RGB order. ``depth``: H×W, uint16 ticks or float32 meters.
    array: npt.NDArray[Any]
    #: Time of exposure in nanoseconds, from the message's header.
    stamp_ns: int
    frame_id: str = ""
    #: Encoding of the message (``rgb8``, ``16UC1``, …). A change resets the health of the stream.
    encoding: str = ""
    intrinsics: Intrinsics | None = None

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return self.array.shape[0], self.array.shape[1]


@dataclass(frozen=True)
class Defect:
    """A message that could not be decoded into a Frame. It counts in its stream's health."""

    #: One of the frame tests of :mod:`rgbd_seg_ros.fallback.health`, normally ``malformed``.
    reason: str
    #: One line for the log: the value seen and what to do.
    detail: str
    #: The header's stamp in nanoseconds; None if it could not be read.
    stamp_ns: int | None = None


@dataclass(frozen=True, eq=False)
class CompressedFrame:
    """One compressed image of one stream whose pixels are not decoded yet.

    Decoding can take longer than the period of the camera, so only the frames that a job or a
    health check needs are decoded.
    """

    #: (height, width) in pixels, read from the header of the compressed image.
    size: tuple[int, int]
    #: Time of exposure in nanoseconds, from the message's header.
    stamp_ns: int
    frame_id: str
    #: Decodes the pixels: a Frame of this size and stamp, or a Defect. Never raises.
    decode: Callable[[], Frame | Defect]
    intrinsics: Intrinsics | None = None


#: An image that its stream's health may accept, decoded or not.
AnyFrame = Frame | CompressedFrame


def same_aspect(a: tuple[int, int], b: tuple[int, int]) -> bool:
    """Whether two sizes (height, width) have the same aspect ratio within 1 %.

    Depth of another aspect ratio than color's cannot be aligned to it.
    """
    return abs(a[1] * b[0] - b[1] * a[0]) <= ASPECT_TOLERANCE * a[1] * b[0]
