# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Depth: sensor units to metres, and metres to what a network eats."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from torch import Tensor

#: Ways to turn metres into network channels, and how many channels each makes.
ENCODING_CHANNELS: dict[str, int] = {"zscore": 1, "disparity": 1}


def to_metres(
    array: npt.NDArray[Any], depth_scale: float = 0.001, max_depth_m: float = float("inf")
) -> npt.NDArray[np.float32]:
    """Sensor depth to float32 metres with NaN for invalid (REP 118).

    Args:
        array: H×W. Integers are ticks of ``depth_scale`` metres (16UC1: millimetres) where 0
            and 65535 are invalid; floats are metres (32FC1) where NaN, ±Inf and ≤ 0 are invalid.
        depth_scale: metres per tick, used for integers only.
        max_depth_m: depth beyond this is invalid.

    Raises:
        ValueError: ``array`` is not H×W uint16 or float.
    """
    if array.ndim != 2 or not (
        array.dtype == np.uint16 or np.issubdtype(array.dtype, np.floating)
    ):
        raise ValueError(
            f"depth must be H×W of uint16 ticks or float metres, got {array.dtype} {array.shape}"
        )
    depth_m: npt.NDArray[np.float32]
    if array.dtype == np.uint16:
        depth_m = np.multiply(array, depth_scale, dtype=np.float32)
        # Compared in ticks: 3000 × 0.001 is a little more than 3.0 in float32.
        invalid = (array == 0) | (array == 65535) | (array > max_depth_m / depth_scale + 0.5)
    else:
        depth_m = array.astype(np.float32)  # a copy: the message's own buffer stays as it came
        invalid = ~(np.isfinite(depth_m) & (depth_m > 0) & (depth_m <= max_depth_m))
    depth_m[invalid] = np.nan
    return depth_m


@dataclass(frozen=True)
class DepthEncoding:
    """How metres become the normalised channels of a network's depth input.

    ``zscore``: (Z − mean) / std in metres. ``disparity``: (1/Z − mean) / std in 1/m.
    Invalid pixels become 0, that is, the mean.
    """

    kind: str = "zscore"
    #: Mean and deviation of the encoded value over the training set (m, or 1/m for disparity).
    mean: float = 2.5
    std: float = 1.5
    #: Metres are clamped to this range first, so that one far pixel cannot swamp the rest.
    clip_m: tuple[float, float] = (0.2, 10.0)

    def __post_init__(self) -> None:
        if self.kind not in ENCODING_CHANNELS:
            raise ValueError(
                f"unknown depth encoding {self.kind!r}; known: {', '.join(ENCODING_CHANNELS)}"
            )
        if not self.std > 0:
            raise ValueError(f"depth std must be above 0, got {self.std}")
        if not 0 < self.clip_m[0] < self.clip_m[1]:
            raise ValueError(f"depth clip needs 0 < near < far in metres, got {self.clip_m}")

    @property
    def channels(self) -> int:
        """Channels of the network's depth input."""
        return ENCODING_CHANNELS[self.kind]


def encode(depth_m: Tensor, encoding: DepthEncoding) -> Tensor:
    """Metres (B×1×H×W, NaN invalid) to normalised network channels (B×C×H×W)."""
    value = depth_m.clamp(*encoding.clip_m)  # clamp keeps NaN
    if encoding.kind == "disparity":
        value = value.reciprocal()
    return ((value - encoding.mean) / encoding.std).nan_to_num(nan=0.0)
