# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Depth: sensor units to meters, and meters to what a network eats."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from torch import Tensor

#: ImageNet's, by which published networks normalize HHA's levels in 0..1 as they do RGB.
HHA_MEAN = (0.485, 0.456, 0.406)
HHA_STD = (0.229, 0.224, 0.225)

#: Ways to turn meters into network channels, and how many channels each makes.
ENCODING_CHANNELS: dict[str, int] = {"zscore": 1, "disparity": 1, "hha": 3}


def to_meters(
    array: npt.NDArray[Any], depth_scale: float = 0.001, max_depth_m: float = float("inf")
) -> npt.NDArray[np.float32]:
    """Sensor depth to float32 meters with NaN for invalid (REP 118).

    Args:
        array: H×W. Integers are ticks of ``depth_scale`` meters (16UC1: millimeters) where 0
            and 65535 are invalid; floats are meters (32FC1) where NaN, ±Inf and ≤ 0 are invalid.
        depth_scale: meters per tick, used for integers only.
        max_depth_m: depth beyond this is invalid.

    Raises:
        ValueError: ``array`` is not H×W uint16 or float.
    """
    if array.ndim != 2 or not (
        array.dtype == np.uint16 or np.issubdtype(array.dtype, np.floating)
    ):
        raise ValueError(
            f"depth must be H×W of uint16 ticks or float meters, got {array.dtype} {array.shape}"
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


def hha(
    depth_m: Tensor, intrinsics: Tensor, gravity: Tensor | None = None, holes: str = "reference"
) -> Tensor:
    """HHA: disparity, height above the floor, angle to gravity (Gupta et al., ECCV 2014).

    Disparity is 31000 / max(Z in cm, 100); height is in cm above the lowest point seen, or above
    a floor 1.30 m below the camera if no point is 0.90 m below it; angle is that between gravity
    and the surface's normal away from the camera, in degrees + 38: a floor reads 38, a wall 128,
    a ceiling 218. Where no plane can be fitted the angle reads 128.

    Args:
        depth_m: B×1×H×W meters, NaN invalid.
        intrinsics: B×3×3 camera matrices in pixels, for a picture of H×W.
        gravity: B×3, pointing down in the optical frame, any length; estimated from the picture
            when None. A row of zeros or with NaN counts as the picture's own down, (0, 1, 0).
        holes: ``reference`` (disparity 255, the camera's own height, angle 218) or ``zero``.

    Returns:
        B×3×H×W float32, whole numbers from 0 to 255.

    Raises:
        ValueError: a wrong shape, or an unknown ``holes``.
    """
    from rgbd_seg_ros.hha import hha as compute  # torch is slow to import

    return compute(depth_m, intrinsics, gravity, holes)


@dataclass(frozen=True)
class DepthEncoding:
    """How meters become the normalized channels of a network's depth input.

    ``zscore``: (Z − mean) / std in meters. ``disparity``: (1/Z − mean) / std in 1/m. Invalid
    pixels become 0, that is, the mean. ``hha``: (level / 255 − mean) / std per channel, see
    :func:`hha`; it needs the camera's intrinsics.
    """

    kind: str = "zscore"
    #: Mean and deviation of the encoded value over the training set (m, or 1/m for disparity);
    #: one per channel for HHA, by custom those of ImageNet.
    mean: float | tuple[float, ...] = 2.5
    std: float | tuple[float, ...] = 1.5
    #: Meters are clamped to this range first, so that one far pixel cannot swamp the rest. HHA
    #: has limits of its own and is not clamped.
    clip_m: tuple[float, float] = (0.2, 10.0)
    #: HHA only, what its invalid pixels become: ``reference`` or ``zero``.
    holes: str = "reference"

    def __post_init__(self) -> None:
        if self.kind not in ENCODING_CHANNELS:
            raise ValueError(
                f"unknown depth encoding {self.kind!r}; known: {', '.join(ENCODING_CHANNELS)}"
            )
        for name, values in (("mean", self.mean), ("std", self.std)):
            found = len(values) if isinstance(values, tuple) else 1
            if found != self.channels:
                raise ValueError(
                    f"depth {name} of {self.kind} needs {self.channels} value(s), got {values}"
                )
        if not min(self._stds) > 0:
            raise ValueError(f"depth std must be above 0, got {self.std}")
        if len(self.clip_m) != 2 or not 0 < self.clip_m[0] < self.clip_m[1]:
            raise ValueError(f"depth clip needs 0 < near < far in meters, got {self.clip_m}")
        if self.holes not in ("reference", "zero"):
            raise ValueError(f"unknown treatment of holes {self.holes!r}; known: reference, zero")

    @classmethod
    def for_hha(cls, holes: str = "reference") -> DepthEncoding:
        """HHA as published networks expect it."""
        return cls("hha", HHA_MEAN, HHA_STD, holes=holes)

    @property
    def channels(self) -> int:
        """Channels of the network's depth input."""
        return ENCODING_CHANNELS[self.kind]

    @property
    def needs_intrinsics(self) -> bool:
        """Whether meters alone are not enough."""
        return self.kind == "hha"

    @property
    def _means(self) -> tuple[float, ...]:
        return self.mean if isinstance(self.mean, tuple) else (self.mean,)

    @property
    def _stds(self) -> tuple[float, ...]:
        return self.std if isinstance(self.std, tuple) else (self.std,)

    def normalize(self, values: Tensor) -> Tensor:
        """Values of :func:`measure` (B×C×H×W) to what the network eats; NaN becomes 0."""
        import torch

        scale = 255.0 if self.kind == "hha" else 1.0
        # Python numbers, no tensor made of a list: that would be a copy from the host.
        planes = [
            (plane - scale * mean) / (scale * std)
            for plane, mean, std in zip(values.unbind(1), self._means, self._stds, strict=True)
        ]
        return torch.stack(planes, dim=1).nan_to_num(nan=0.0)


def measure(
    depth_m: Tensor,
    encoding: DepthEncoding,
    intrinsics: Tensor | None = None,
    gravity: Tensor | None = None,
) -> Tensor:
    """Meters (B×1×H×W, NaN invalid) to an encoding's values (B×C×H×W), not yet normalized.

    These are clamped meters, 1/m, or HHA's levels. Which ones a pixel gets does not change when
    the picture is then mirrored, cropped or resized by nearest neighbor.

    Args:
        depth_m: meters.
        encoding: which values.
        intrinsics: B×3×3 in pixels of this picture; for HHA only.
        gravity: B×3, pointing down; for HHA only, which estimates it when None.

    Raises:
        ValueError: an encoding that needs intrinsics and got none.
    """
    if encoding.kind == "hha":
        if intrinsics is None:
            raise ValueError("depth encoding hha needs the camera's intrinsics, got none")
        return hha(depth_m, intrinsics, gravity, encoding.holes)
    value = depth_m.clamp(*encoding.clip_m)  # clamp keeps NaN
    return value.reciprocal() if encoding.kind == "disparity" else value


def encode(
    depth_m: Tensor,
    encoding: DepthEncoding,
    intrinsics: Tensor | None = None,
    gravity: Tensor | None = None,
) -> Tensor:
    """:func:`measure`, then normalize: meters (B×1×H×W) to network channels (B×C×H×W)."""
    return encoding.normalize(measure(depth_m, encoding, intrinsics, gravity))
