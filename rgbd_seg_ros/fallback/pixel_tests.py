# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Pixel tests: whether a color or depth image shows a working sensor, on a strided sample."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from rgbd_seg_ros.depth import fitting_units, to_meters
from rgbd_seg_ros.fallback.config import CoreConfig

#: The pixel tests sample every (side // 64)th row and column: 64 to 127 of each.
SAMPLE_SIDE_PX = 64
#: What to do about a sensor whose images fail a test, in the node and in replays. A wrong unit is
#: not among them, because :func:`describe_depth` computes its remedy.
REMEDIES = {
    "black": "uncover the lens, switch on the light, or raise the exposure; if the scene may be "
    "so dark, lower black_mean",
    "saturated": "lower the exposure; if the scene may be so bright, set saturated_mean to 0",
    "uniform": "restart the camera; if it may see one color only, as in a simulation, set "
    "uniform_std to 0",
    "no_depth": "uncover the sensor, keep its minimum distance, and switch on its emitter; if "
    "depth may be so sparse, lower min_valid_fraction",
    "constant_depth": "restart the camera; if it may see one distance only, set "
    "min_depth_std_m to 0",
    "frozen": "restart the camera; if the scene really stands still and the images have no "
    "noise, as in a simulation, set frozen_after to 0",
}


def strided_sample(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """A view of every (side // 64)th row and column: 64 to 127 of each in large images."""
    rows, columns = (max(1, side // SAMPLE_SIDE_PX) for side in array.shape[:2])
    return array[rows // 2 :: rows, columns // 2 :: columns]


def color_defect(sample: npt.NDArray[Any], config: CoreConfig) -> str | None:
    """``black``, ``saturated``, ``uniform`` or None.

    Levels are 0..255. Defaults: std below 4 and mean below 8 is ``black``, std below 4 and mean
    above 247 is ``saturated``, std below 0.5 is ``uniform``.

    Args:
        sample: H×W×3 uint8, see :func:`strided_sample`.
        config: the thresholds.
    """
    mean, std = _mean_and_std(sample)
    if std < config.flat_std:
        if mean < config.black_mean:
            return "black"
        if 0 < config.saturated_mean < mean:
            return "saturated"
    return "uniform" if std < config.uniform_std else None


def depth_defect(sample: npt.NDArray[Any], config: CoreConfig) -> str | None:
    """``no_depth``, ``depth_units``, ``constant_depth`` or None.

    Defaults: less than 2 % valid pixels is ``no_depth``, a median outside 0.05..50 m is
    ``depth_units``, a std below 0.1 mm is ``constant_depth``.

    Args:
        sample: H×W, uint16 ticks or float meters, see :func:`strided_sample`.
        config: the thresholds.
    """
    depth_m = _meters(sample, config)
    valid = depth_m[np.isfinite(depth_m)]
    floor = config.min_valid_fraction * sample.size
    if valid.size == 0 or valid.size < floor:
        return "no_depth" if config.min_valid_fraction else None
    # np.median takes far longer, and this runs for every frame.
    median_m = float(np.partition(valid, valid.size // 2)[valid.size // 2])
    if median_m < config.min_median_depth_m or 0 < config.max_median_depth_m < median_m:
        return "depth_units"
    if config.max_depth_m:
        near_m = _meters(sample, config, config.max_depth_m)
        if np.count_nonzero(np.isfinite(near_m)) < floor:
            return "no_depth"
    return "constant_depth" if _mean_and_std(valid)[1] < config.min_depth_std_m else None


def describe_color(sample: npt.NDArray[Any], config: CoreConfig) -> str:
    """The values that :func:`color_defect` tests, for a message."""
    mean, std = _mean_and_std(sample)
    return f"mean {mean:.1f} and std {std:.1f} of 0..255"


def describe_depth(sample: npt.NDArray[Any], config: CoreConfig) -> str:
    """The values that :func:`depth_defect` tests, for a message."""
    depth_m = _meters(sample, config)
    valid = depth_m[np.isfinite(depth_m)]
    text = f"{valid.size / sample.size:.0%} of the pixels are valid"
    if valid.size:
        text += f", their median is {np.median(valid):.4g} m"
    if depth_defect(sample, config) == "depth_units":
        key = "depth_scale" if sample.dtype.kind == "u" else "float_depth_scale"
        fitting = fitting_units(float(np.median(valid)), getattr(config, key))
        text += f", outside {config.min_median_depth_m:g} to {config.max_median_depth_m:g} m: "
        text += f"is the unit wrong? set {key} to {fitting}"
    return text


def _meters(
    sample: npt.NDArray[Any], config: CoreConfig, max_depth_m: float = math.inf
) -> npt.NDArray[np.float32]:
    return to_meters(sample, config.depth_scale, max_depth_m, config.float_depth_scale)


def _mean_and_std(values: npt.NDArray[Any]) -> tuple[float, float]:
    """Mean and std in float64, because float32 cannot resolve 0.1 mm beyond a few meters.

    Faster than ``np.mean`` and ``np.std``; this runs for every frame.
    """
    deviations = values.astype(np.float64).ravel()
    mean = float(deviations.sum()) / deviations.size
    deviations -= mean
    deviations *= deviations
    return mean, math.sqrt(float(deviations.sum()) / deviations.size)
