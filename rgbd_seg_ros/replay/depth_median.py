# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The median depth of a replay, because a wrong unit may give plausible distances."""

from __future__ import annotations

from statistics import median

import numpy as np

from rgbd_seg_ros.depth import fitting_units, to_meters
from rgbd_seg_ros.fallback import CoreConfig, Job
from rgbd_seg_ros.fallback.pixel_tests import strided_sample
from rgbd_seg_ros.frames import NS_PER_S

#: A median outside of these is told, in meters. Depth in centimeters or in tenths of millimeters
#: that is read as millimeters lies outside if the median is really 1 to 4 m.
USUAL_MEDIAN_M = (0.4, 10.0)


class DepthMedian:
    """Collects the median of one depth frame per second, of those that masks use."""

    def __init__(self) -> None:
        self._medians_m: list[float] = []
        self._next_ns = 0
        self._is_float = False

    def add(self, job: Job, config: CoreConfig) -> None:
        """Take the depth frame of a job, if it has one and is due."""
        if job.depth is None or self._next_ns > job.stamp_ns > self._next_ns - 2 * NS_PER_S:
            return
        self._next_ns = job.stamp_ns + NS_PER_S
        sample = strided_sample(job.depth.array)
        self._is_float = sample.dtype.kind == "f"
        depth_m = to_meters(sample, config.depth_scale, float_scale=config.float_depth_scale)
        if np.isfinite(depth_m).any():
            self._medians_m.append(float(np.nanmedian(depth_m)))

    @property
    def median_m(self) -> float | None:
        """The median of all medians in meters; None without depth."""
        return round(median(self._medians_m), 4) if self._medians_m else None

    def warning(self, config: CoreConfig) -> str | None:
        """A line with the unit and the median if the median is unusual."""
        found = self.median_m
        if found is None or USUAL_MEDIAN_M[0] <= found <= USUAL_MEDIAN_M[1]:
            return None
        name = "float_depth_scale" if self._is_float else "depth_scale"
        unit_m = getattr(config, name)
        per = "unit" if self._is_float else "tick"
        return (
            f"depth is read with {unit_m:g} m per {per}, and its median is {found:.3g} m: if the "
            f"scene is not so {'near' if found < 1 else 'far'}, the unit is wrong; set {name} to "
            f"{_others(found, unit_m)}"
        )


def _others(median_m: float, unit_m: float) -> str:
    """The common units that would be more plausible."""
    fitting = fitting_units(median_m, unit_m, USUAL_MEDIAN_M)
    return fitting if fitting != "another unit" else fitting_units(median_m, unit_m)
