# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Images from files, judged as the node judges a camera's: usable, or the reason why not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from rgbd_seg_ros.depth import fitting_units, unusual_median
from rgbd_seg_ros.fallback.config import CoreConfig
from rgbd_seg_ros.fallback.pixel_tests import (
    color_defect,
    depth_defect,
    describe_color,
    describe_depth,
    strided_sample,
)
from rgbd_seg_ros.frames import NetworkName
from rgbd_seg_ros.image_io import (
    ImageFileError,
    check_aligned,
    default_depth_scale,
    read_depth,
    read_image,
    read_rgb,
)
from rgbd_seg_ros.image_size import MAX_IMAGE_PIXELS

#: What to do about an image that fails a test. A wrong unit has a remedy of its own.
REMEDIES = {
    "black": "take the image again with more light or exposure, or remove the file",
    "saturated": "take the image again with less exposure, or remove the file",
    "uniform": "check that the file is a camera's image, or remove it",
    "no_depth": "check that the file is a depth image, and that 0 means no depth, or remove it",
    "constant_depth": "check that the file is a sensor's image, or remove it",
}


@dataclass(frozen=True, eq=False)
class JudgedImage:
    """One image of a frame, and whether it can be used."""

    #: ``ok``, ``missing`` (no file), ``malformed`` (not readable), or the frame test that failed.
    reason: str
    #: The values seen and the remedy, for messages; empty for an image that can be used.
    detail: str = ""
    #: H×W×3 uint8 RGB, or H×W float32 meters with NaN invalid; None if missing or malformed.
    image: npt.NDArray[Any] | None = None

    @property
    def usable(self) -> bool:
        """Whether a network may use the image."""
        return self.reason == "ok"

    @property
    def why(self) -> str:
        """The reason with its details."""
        return f"{self.reason} ({self.detail})" if self.detail else self.reason


def judge_color(
    path: Path | None, config: CoreConfig, max_pixels: int = MAX_IMAGE_PIXELS
) -> JudgedImage:
    """Read a color image and apply the node's frame tests.

    Args:
        path: the file; None if the frame has none.
        config: the thresholds of the tests.
        max_pixels: an image with more pixels is ``malformed``.
    """

    def judge(sample: npt.NDArray[Any]) -> tuple[str | None, str]:
        return color_defect(sample, config), describe_color(sample, config)

    return _judge(path, lambda file: read_rgb(file, max_pixels), judge)


def judge_depth(
    path: Path | None,
    config: CoreConfig,
    depth_scale: float | None = None,
    max_pixels: int = MAX_IMAGE_PIXELS,
) -> JudgedImage:
    """Read a depth image and apply the node's frame tests.

    Args:
        path: the file; None if the frame has none.
        config: the thresholds of the tests.
        depth_scale: meters per unit, see :func:`rgbd_seg_ros.image_io.read_depth`.
        max_pixels: an image with more pixels is ``malformed``.
    """

    def judge(sample: npt.NDArray[Any]) -> tuple[str | None, str]:
        reason = depth_defect(sample, config)
        if reason == "depth_units" and path is not None:
            unit = depth_scale or default_depth_scale(read_image(path, max_pixels).dtype)
            median = float(np.nanmedian(sample))
            hint = f"wrong unit? try --depth-scale {fitting_units(median, unit)}"
            return reason, f"the median is {median:.4g} m: {hint}"
        return reason, describe_depth(sample, config)

    return _judge(path, lambda file: read_depth(file, depth_scale, max_pixels), judge)


def mask_size(network: NetworkName, rgb: JudgedImage, depth: JudgedImage) -> tuple[int, int]:
    """(height, width) of a mask: as on a robot, that of aligned depth has color's size."""
    sizes = [i.image.shape[:2] for i in (rgb, depth) if i.image is not None]
    if network == "depth" and len(sizes) == 2:
        try:
            check_aligned(*sizes)
        except ImageFileError:
            return sizes[1][0], sizes[1][1]
    return sizes[0][0], sizes[0][1]


def median_m(depth_m: npt.NDArray[np.float32]) -> float:
    """The median of a strided sample of the valid pixels of H×W meters, NaN invalid."""
    return float(np.nanmedian(strided_sample(depth_m)))


def describe_unit(depth_scale: float | None, median: float) -> str:
    """The unit of depth and the median in meters that it gives, because a wrong unit may fit.

    The files of TUM RGB-D have 0.0002 m per unit, and 0.001 makes them five times too far.

    Args:
        depth_scale: meters per unit; None for the default of each type.
        median: the median depth in meters.
    """
    unit = "0.001 m per unit (1 m if floating-point)" if depth_scale is None else ""
    unit = unit or f"{depth_scale:g} m per unit"
    hint = "; if that is wrong, pass --depth-scale" if depth_scale is None else ""
    return f"depth is read with {unit}, its median is {median:.3g} m{hint}"


def warn_of_unit(
    file: Path | None, depth_scale: float | None, median: float, max_pixels: int
) -> str | None:
    """A line if the median is unusual and nobody stated the unit; else None.

    Args:
        file: one of the depth images; its type tells the usual unit.
        depth_scale: meters per unit as stated; None if it is not.
        median: the median depth in meters.
        max_pixels: as for :func:`judge_depth`.
    """
    if file is None or depth_scale is not None:
        return None
    unit_m = default_depth_scale(read_image(file, max_pixels).dtype)
    confirm = f"--depth-scale {unit_m:g}"
    return unusual_median(median, unit_m, "unit", confirm, "pass --depth-scale")


def _judge(
    path: Path | None,
    read: Callable[[Path], npt.NDArray[Any]],
    judge: Callable[[npt.NDArray[Any]], tuple[str | None, str]],
) -> JudgedImage:
    if path is None:
        return JudgedImage("missing")
    try:
        image = read(path)
    except ImageFileError as error:
        return JudgedImage("malformed", str(error))
    reason, detail = judge(strided_sample(image))
    if reason in REMEDIES:
        detail += f": {REMEDIES[reason]}"
    return JudgedImage("ok", "", image) if reason is None else JudgedImage(reason, detail, image)
