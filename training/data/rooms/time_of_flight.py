# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Time-of-flight depth: flying pixels, multipath, weak returns and saturation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from training.data.synthetic.sensors import Array, smooth_noise


@dataclass(frozen=True)
class TimeOfFlightSensor:
    """A sensor similar to a Kinect v2, an Azure Kinect or an Orbbec Femto."""

    #: Std of depth in meters per square meter of distance, for a white surface that faces it.
    noise_k: float = 0.0012
    #: Weakest and strongest usable signal (reflectance · cosine / z²).
    threshold: float = 0.006
    saturation: float = 4.0
    #: Relative error of depth where surfaces around send light as well.
    multipath: float = 0.015
    #: Share of the pixels at an edge whose depth is a mix of both sides.
    flying: float = 0.5
    #: Range of depth in meters.
    min_m: float = 0.25
    max_m: float = 6.0

    @staticmethod
    def draw(rng: np.random.Generator) -> TimeOfFlightSensor:
        """Draw the parameters of one unit in one environment."""
        return TimeOfFlightSensor(
            noise_k=float(np.exp(rng.uniform(np.log(0.0005), np.log(0.003)))),
            threshold=float(np.exp(rng.uniform(np.log(0.002), np.log(0.012)))),
            saturation=float(np.exp(rng.uniform(np.log(1.5), np.log(10.0)))),
            multipath=rng.uniform(0.0, 0.03),
            flying=rng.uniform(0.2, 0.9),
            min_m=rng.uniform(0.2, 0.5),
            max_m=rng.uniform(4.5, 8.0),
        )

    def measure(
        self, depth_m: Array, infrared: Array, facing: Array, glass: npt.NDArray[np.bool_],
        focal_px: float, rng: np.random.Generator,
    ) -> npt.NDArray[np.uint16]:  # fmt: skip
        """Measure depth; arguments and result as for a stereo camera's ``measure()``.

        See :meth:`training.data.synthetic.sensors.DepthSensor.measure`.
        """
        del focal_px
        shape, f32 = depth_m.shape, np.float32
        z = depth_m.copy()
        padded = np.pad(depth_m, 1, mode="edge")
        windows = np.stack([padded[dy : dy + shape[0], dx : dx + shape[1]]
                            for dy in range(3) for dx in range(3)])  # fmt: skip
        low, high = windows.min(axis=0), windows.max(axis=0)
        edge = high - low > f32(0.06) * low
        mixed = edge & (rng.random(shape, dtype=f32) < self.flying)
        w = rng.random(shape, dtype=f32)
        z = np.where(mixed, w * low + (1 - w) * high, z)
        # Light from around arrives later: far more in dark corners than on bright surfaces.
        signal = infrared * facing / np.maximum(z * z, 0.04)
        patchy = smooth_noise(rng, shape, max(6.0, shape[1] / 20))
        z = z * (1 + f32(self.multipath) * (0.6 + 0.4 * np.tanh(patchy)) / (1 + 10 * signal))
        std = self.noise_k * z * z / np.sqrt(np.maximum(infrared * facing, 0.02))
        z = z + std * rng.standard_normal(shape, dtype=f32)
        lost = signal * np.exp(f32(0.3) * patchy) < self.threshold
        lost |= signal > self.saturation
        lost |= edge & (rng.random(shape, dtype=f32) < 0.3)
        # Glass sends little back: no depth, or that of something behind it.
        lost |= glass & (patchy < 0.8)
        z = np.where(glass, z * (1.3 + 0.3 * np.abs(patchy)), z)
        lost |= (z < self.min_m) | (z > self.max_m)
        return np.where(lost, 0, np.clip(np.round(z * 1000), 0, 65534)).astype(np.uint16)
