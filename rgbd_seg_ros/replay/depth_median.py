# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The median depth of a replay, because a wrong unit may give plausible distances."""

from __future__ import annotations

import math
from collections.abc import Collection
from statistics import median

import numpy as np

from rgbd_seg_ros.depth import to_meters, unusual_median
from rgbd_seg_ros.fallback import CoreConfig, Job
from rgbd_seg_ros.fallback.pixel_tests import strided_sample
from rgbd_seg_ros.frames import NS_PER_S

#: A step of the median is told as a change of the unit if it is a power of ten up to this factor,
#: and if both sides of it are at least this share of the recording.
_NEAR_POWER, _SIDE = 1.3, 0.1


class DepthMedian:
    """Collects the median of one depth frame per second, of those that masks use.

    Args:
        known: parameters that the user or the recording states, so that no median is doubted.
    """

    def __init__(self, known: Collection[str] = ()) -> None:
        self._known = known
        self._medians_m: list[float] = []
        self._times_s: list[float] = []
        self._next_ns = 0
        self._is_float = False

    def add(self, job: Job, config: CoreConfig, seconds: float = 0.0) -> None:
        """Take the depth frame of a job, if it has one and is due.

        Args:
            job: a job.
            config: parameters of the core.
            seconds: time in the recording.
        """
        if job.depth is None or self._next_ns > job.stamp_ns > self._next_ns - 2 * NS_PER_S:
            return
        self._next_ns = job.stamp_ns + NS_PER_S
        sample = strided_sample(job.depth.array)
        self._is_float = sample.dtype.kind == "f"
        depth_m = to_meters(sample, config.depth_scale, float_scale=config.float_depth_scale)
        if np.isfinite(depth_m).any():
            self._medians_m.append(float(np.nanmedian(depth_m)))
            self._times_s.append(seconds)

    @property
    def median_m(self) -> float | None:
        """The median of all medians in meters; None without depth."""
        return round(median(self._medians_m), 4) if self._medians_m else None

    def warning(self, config: CoreConfig) -> str | None:
        """A line with the unit and the median if the median is unusual or changes suddenly."""
        name = "float_depth_scale" if self._is_float else "depth_scale"
        if change := self._change(name):
            return change
        found = self.median_m
        if found is None or name in self._known:
            return None
        unit_m = getattr(config, name)
        confirm, per = f"--set {name}={unit_m:g}", "unit" if self._is_float else "tick"
        return unusual_median(found, unit_m, per, confirm, f"set {name} to")

    def _change(self, name: str) -> str | None:
        """A line if the median changes by a power of ten at once and for good."""
        medians, count = self._medians_m, len(self._medians_m)
        side = max(1, math.ceil(_SIDE * count))
        for index in range(side, count - side + 1):
            before, after = median(medians[:index]), median(medians[index:])
            if all(
                _is_power_of_ten(b / a)
                for a, b in ((before, after), (medians[index - 1], medians[index]))
            ):
                from_s, to_s = self._times_s[index - 1 : index + 1]
                return (
                    f"the median of depth changes from {before:.3g} m to {after:.3g} m between "
                    f"{from_s:.1f} and {to_s:.1f} s, about by a power of ten: if the scene did "
                    "not change so much, the unit did (a camera or driver that started anew?); "
                    f"cut the recording there, and set {name} for each part"
                )
        return None


def _is_power_of_ten(ratio: float) -> bool:
    """Whether a ratio is about 10, 100, …, or the inverse of one."""
    exponent = math.log10(ratio)
    off = abs(exponent - round(exponent))
    return round(exponent) != 0 and off <= math.log10(_NEAR_POWER)
