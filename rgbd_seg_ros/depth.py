# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Depth: from sensor units to meters, and from meters to network input."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from rgbd_seg_ros.names import unknown_name

if TYPE_CHECKING:
    from torch import Tensor

#: Mean and std of ImageNet's RGB values in 0..1, which all published encoders expect. Published
#: networks also use them to normalize HHA in 0..1.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

#: Depth encoding → number of channels.
ENCODING_CHANNELS: dict[str, int] = {"zscore": 1, "disparity": 1, "hha": 3}

#: How HHA fills invalid pixels, see :func:`hha`.
HOLES = ("reference", "zero")


#: Common units of depth in meters: mm, 0.1 mm (RealSense), 0.2 mm (TUM), cm, dm, m.
UNITS_M = (0.001, 0.0001, 0.0002, 0.01, 0.1, 1.0)


#: A usual median depth in meters: among the units that fit, the one that gives it comes first.
USUAL_M = 2.5

#: A median outside of these is told, in meters. Depth in centimeters or in tenths of millimeters
#: that is read as millimeters lies outside if the median is really 1 to 4 m.
USUAL_MEDIAN_M = (0.4, 10.0)

#: Range of a plausible median depth in meters, indoors and outdoors: the default of the node's
#: frame test, and the rule of every offline tool.
PLAUSIBLE_M = (0.05, 50.0)


def fitting_units(
    median_m: float, unit_m: float, plausible_m: tuple[float, float] = PLAUSIBLE_M
) -> str:
    """The common units with which a median depth would be most plausible: ``0.001 or 0.0002``.

    Args:
        median_m: median depth that was read with ``unit_m`` meters per unit.
        unit_m: above 0.
        plausible_m: range of a plausible median.

    Returns:
        At most two numbers joined by "or", the first of which gives the more usual depth;
        ``another unit`` if none fits.
    """
    low, high = plausible_m
    medians = {unit: median_m / unit_m * unit for unit in UNITS_M}
    fitting = [unit for unit, median in medians.items() if low <= median <= high]
    fitting.sort(key=lambda unit: abs(math.log(medians[unit] / USUAL_M)))
    return " or ".join(f"{unit:g}" for unit in fitting[:2]) or "another unit"


def unusual_median(
    median_m: float, unit_m: float, per: str, confirm: str, remedy: str
) -> str | None:
    """A line with the unit and the median if the median is unusual, because the unit may be wrong.

    Args:
        median_m: median depth in meters that was read with ``unit_m`` meters per unit.
        unit_m: above 0.
        per: ``tick`` or ``unit``.
        confirm: what confirms the unit, such as ``--set depth_scale=0.001``.
        remedy: what sets another unit, such as ``set depth_scale to``; a number follows.
    """
    if USUAL_MEDIAN_M[0] <= median_m <= USUAL_MEDIAN_M[1]:
        return None
    fitting = fitting_units(median_m, unit_m, USUAL_MEDIAN_M)
    if fitting == "another unit":
        fitting = fitting_units(median_m, unit_m)
    return (
        f"depth is read with {unit_m:g} m per {per}, and its median is {median_m:.3g} m: if the "
        f"scene is so {'near' if median_m < 1 else 'far'}, confirm the unit with {confirm}; "
        f"otherwise {remedy} {fitting}"
    )


def to_meters(
    array: npt.NDArray[Any],
    depth_scale: float = 0.001,
    max_depth_m: float = float("inf"),
    float_scale: float = 1.0,
) -> npt.NDArray[np.float32]:
    """Sensor depth to H×W float32 meters, NaN where invalid (REP 118).

    Args:
        array: H×W. Integers are ticks of ``depth_scale`` meters (16UC1: millimeters), of which 0
            and 65535 are invalid. Floats (32FC1) are units of ``float_scale`` meters, of which
            NaN, ±Inf and values ≤ 0 are invalid.
        depth_scale: meters per tick of integers.
        max_depth_m: depth beyond this is invalid.
        float_scale: meters per unit of floats; 1 by REP 118.

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
        # Compare in ticks: 3000 × 0.001 is slightly more than 3.0 in float32.
        invalid = (array == 0) | (array == 65535) | (array > max_depth_m / depth_scale + 0.5)
    else:
        depth_m = array.astype(np.float32)  # a copy, so that the message is not changed
        if float_scale != 1:
            depth_m *= np.float32(float_scale)
        invalid = ~(np.isfinite(depth_m) & (depth_m > 0) & (depth_m <= max_depth_m))
    depth_m[invalid] = np.nan
    return depth_m


def hha(
    depth_m: Tensor, intrinsics: Tensor, gravity: Tensor | None = None, holes: str = "reference"
) -> Tensor:
    """HHA: disparity, height above the floor, angle to gravity (Gupta et al., ECCV 2014).

    - Disparity is 31000 / max(Z in cm, 100).
    - Height is in cm above the lowest visible point, or above a floor 1.30 m below the camera if
      no point is at least 0.90 m below it.
    - Angle is the angle in degrees between gravity and the surface normal that points away from
      the camera, plus 38: a floor has 38, a wall 128, a ceiling 218. It is 128 where no plane can
      be fitted.

    Args:
        depth_m: B×1×H×W meters, NaN invalid.
        intrinsics: B×3×3 camera matrices in pixels, for an image of H×W.
        gravity: B×3, pointing down in the optical frame, any length; if None, it is estimated
            from ``depth_m``. A row that is zero or contains NaN is replaced by (0, 1, 0), down
            in the image.
        holes: value of invalid pixels: ``reference`` (disparity 255, the camera's height above
            the floor, angle 218) or ``zero``.

    Returns:
        B×3×H×W float32, integers from 0 to 255.

    Raises:
        ValueError: a wrong shape, or an unknown ``holes``.
    """
    from rgbd_seg_ros.hha import hha as compute  # only here, since importing torch is slow

    _check_holes(holes)
    return compute(depth_m, intrinsics, gravity, holes)


def _check_holes(holes: str) -> None:
    if holes not in HOLES:
        raise ValueError(unknown_name("value of holes", holes, HOLES))


@dataclass(frozen=True)
class DepthEncoding:
    """How meters become the normalized channels of a network's depth input.

    ``zscore``: (Z − mean) / std in meters. ``disparity``: (1/Z − mean) / std in 1/m. For both,
    invalid pixels become 0, which is the mean. ``hha``: (value / 255 − mean) / std per channel,
    see :func:`hha`; it needs the camera's intrinsics.

    Raises:
        ValueError: an unknown kind, or a value out of range.
    """

    #: A key of ``ENCODING_CHANNELS``.
    kind: str = "zscore"
    #: Mean and std of the encoded values over the training set, in m, or in 1/m for disparity.
    #: HHA has one value per channel, by convention ImageNet's.
    mean: float | tuple[float, ...] = 2.5
    std: float | tuple[float, ...] = 1.5
    #: Range (near, far) to which meters are clamped first, so that a few far pixels do not
    #: dominate. HHA has its own limits and is not clamped.
    clip_m: tuple[float, float] = (0.2, 10.0)
    #: For HHA only, the value of its invalid pixels: ``reference`` or ``zero``.
    holes: str = "reference"

    def __post_init__(self) -> None:
        if self.kind not in ENCODING_CHANNELS:
            raise ValueError(unknown_name("depth encoding", self.kind, ENCODING_CHANNELS))
        for name, values in (("mean", self.mean), ("std", self.std)):
            found = len(values) if isinstance(values, tuple) else 1
            if found != self.channels:
                raise ValueError(
                    f"depth {name} of {self.kind} needs {self.channels} value(s), got {values}"
                )
        if not min(self._stds) > 0:
            raise ValueError(f"depth std must be above 0, got {self.std}")
        if len(self.clip_m) != 2 or not 0 < self.clip_m[0] < self.clip_m[1]:
            raise ValueError(f"depth clip_m needs 0 < near < far in meters, got {self.clip_m}")
        _check_holes(self.holes)

    @classmethod
    def for_hha(cls, holes: str = "reference") -> DepthEncoding:
        """HHA as published networks expect it, normalized with ImageNet's mean and std."""
        return cls("hha", IMAGENET_MEAN, IMAGENET_STD, holes=holes)

    @property
    def channels(self) -> int:
        """Number of channels of the network's depth input."""
        return ENCODING_CHANNELS[self.kind]

    @property
    def needs_intrinsics(self) -> bool:
        """Whether encoding needs the camera's intrinsics."""
        return self.kind == "hha"

    @property
    def _means(self) -> tuple[float, ...]:
        return self.mean if isinstance(self.mean, tuple) else (self.mean,)

    @property
    def _stds(self) -> tuple[float, ...]:
        return self.std if isinstance(self.std, tuple) else (self.std,)

    def normalize(self, values: Tensor) -> Tensor:
        """Values of :func:`measure` (B×C×H×W) to network input; NaN becomes 0."""
        import torch

        scale = 255.0 if self.kind == "hha" else 1.0
        # Python numbers, because a tensor made from a list would need a copy to the device.
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
    """Meters (B×1×H×W, NaN invalid) to encoded values (B×C×H×W) that are not yet normalized.

    The values are clamped meters, 1/m, or HHA in 0..255. Pixels keep their values when the result
    is mirrored, cropped or resized by nearest neighbor afterwards.

    Args:
        depth_m: meters.
        encoding: the encoding.
        intrinsics: B×3×3 in pixels, for ``depth_m``; for HHA only.
        gravity: B×3, pointing down in the optical frame; for HHA only, which estimates it if
            None.

    Raises:
        ValueError: the encoding needs intrinsics and got none.
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
    """Meters (B×1×H×W, NaN invalid) to network input (B×C×H×W): :func:`measure`, normalized.

    Raises:
        ValueError: the encoding needs intrinsics and got none.
    """
    return encoding.normalize(measure(depth_m, encoding, intrinsics, gravity))
