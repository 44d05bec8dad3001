# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""What sensors make of a scene: stereo depth in millimeters and 8-bit color."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float32]


@dataclass(frozen=True)
class DepthSensor:
    """An active stereo camera (RealSense D400-like); one unit of a production, one scene."""

    #: Noise of 1/z in 1/m, which is σ = k·z² meters.
    noise_k: float = 0.002
    #: Share of the noise that neighbors have in common (matching windows).
    smooth: float = 0.5
    #: Step of 1/z in 1/m: subpixel steps of disparity.
    disparity_step: float = 0.0008
    #: Meters between the two imagers; the sign tells the shadows' side.
    baseline_m: float = 0.05
    min_m: float = 0.25
    max_m: float = 8.0
    #: Returned signal (reflectance · cosine / z²) that is just enough.
    threshold: float = 0.004
    #: Share of pixels missing for no reason, share of edge pixels taken from a neighbor.
    speckle: float = 0.002
    fattening: float = 0.35

    @staticmethod
    def draw(rng: np.random.Generator) -> DepthSensor:
        """A random unit in random surroundings."""
        return DepthSensor(
            noise_k=rng.uniform(0.0015, 0.003),
            smooth=rng.uniform(0.2, 0.8),
            disparity_step=rng.uniform(0.0002, 0.0012),
            baseline_m=float(rng.choice([-1.0, 1.0])) * rng.uniform(0.03, 0.075),
            min_m=rng.uniform(0.2, 0.35),
            max_m=rng.uniform(6.0, 10.0),
            threshold=float(np.exp(rng.uniform(np.log(0.001), np.log(0.02)))),
            speckle=float(np.exp(rng.uniform(np.log(0.0005), np.log(0.02)))),
            fattening=rng.uniform(0.0, 0.5),
        )

    def measure(
        self, depth_m: Array, infrared: Array, facing: Array, glass: npt.NDArray[np.bool_],
        focal_px: float, rng: np.random.Generator,
    ) -> npt.NDArray[np.uint16]:  # fmt: skip
        """H×W true z-depth, infrared reflectance, cosine to the ray and glass → mm, 0 invalid."""
        shape = depth_m.shape
        scale = max(1, round(shape[1] / 160))  # size in pixels of what matching windows share
        coarse = smooth_noise(rng, shape, 2.5 * scale)
        fine = rng.standard_normal(shape, dtype=np.float32)
        z = self._fatten(depth_m, rng)
        lost = self._occluded(z, focal_px)
        patchy = smooth_noise(rng, shape, 5.0 * scale)
        signal = infrared * np.sqrt(facing) * facing / np.maximum(z * z, 0.09)
        lost |= signal * np.exp(np.float32(0.6) * patchy) < self.threshold
        lost |= rng.random(shape, dtype=np.float32) < self.speckle
        # Through glass the sensor sees nothing, or something behind it.
        lost |= glass & (patchy < 0.6)
        beyond = np.float32(1.3) + np.float32(0.3) * np.abs(coarse)
        z = np.asarray(np.where(glass, z * beyond, z), np.float32)
        noise = self.smooth * coarse + math.sqrt(1 - self.smooth**2) * fine
        # Grazing and weak returns match worse.
        noise *= self.noise_k * np.where(facing < 0.3, np.float32(1.6), np.float32(1))
        disparity = np.asarray(np.maximum(1 / z + noise, 1e-3), np.float32)
        if self.disparity_step > 0:
            steps = np.maximum(np.round(disparity / self.disparity_step), 1)
            disparity = np.asarray(steps * self.disparity_step, np.float32)
        z = np.asarray(1 / disparity, np.float32)
        lost |= (z < self.min_m) | (z > self.max_m)
        return np.where(lost, 0, np.clip(np.round(z * 1000), 0, 65534)).astype(np.uint16)

    def _fatten(self, depth_m: Array, rng: np.random.Generator) -> Array:
        """Ragged edges: some pixels take the depth of a neighbor."""
        h, w = depth_m.shape
        moved = rng.random((h, w), dtype=np.float32)
        padded = np.pad(depth_m, 1, mode="edge")
        step = self.fattening / 4
        z = depth_m
        for i, (dy, dx) in enumerate(((0, 1), (2, 1), (1, 0), (1, 2))):
            here = (moved >= i * step) & (moved < (i + 1) * step)
            z = np.where(here, padded[dy : dy + h, dx : dx + w], z)
        return z

    def _occluded(self, depth_m: Array, focal_px: float) -> npt.NDArray[np.bool_]:
        """Pixels hidden from the second imager by something nearer beside them.

        A pixel u lands at u − f·b/z in the second image; it is hidden where a pixel further to
        the other side lands at or before it.
        """
        shift = np.float32(abs(self.baseline_m) * focal_px) / depth_m
        if self.baseline_m < 0:
            shift = shift[:, ::-1]
        landing = np.arange(depth_m.shape[1], dtype=np.float32) - shift
        first = np.minimum.accumulate(landing[:, ::-1], axis=1)[:, ::-1]
        hidden = landing > first + np.float32(0.5)
        return np.asarray(hidden[:, ::-1] if self.baseline_m < 0 else hidden)


@dataclass(frozen=True)
class ColorCamera:
    """An 8-bit camera; exposure is relative to a picture of mean linear value 0.2."""

    #: Stops above or below the automatic exposure.
    exposure_ev: float = 0.0
    gamma: float = 2.2
    white_balance: tuple[float, float, float] = (1.0, 1.0, 1.0)
    #: Noise in linear units: of reading, and per square root of light.
    read_noise: float = 0.004
    shot_noise: float = 0.015
    #: Share of light lost in the corners.
    vignetting: float = 0.2
    #: 0 sharp .. 1 each pixel the mean of its neighbors (lens, demosaicing, motion).
    softness: float = 0.5
    #: Share of gray mixed in.
    gray: float = 0.0

    @staticmethod
    def draw(rng: np.random.Generator) -> ColorCamera:
        """A random camera; one picture in eight far too dark, one in nine far too bright."""
        style = rng.random()
        if style < 0.76:
            ev = float(rng.normal(0.1, 0.5))
        elif style < 0.89:
            ev = rng.uniform(-5.5, -1.5)
        else:
            ev = rng.uniform(1.2, 3.2)
        dark = max(0.0, -ev)
        return ColorCamera(
            exposure_ev=ev,
            gamma=rng.uniform(1.9, 2.4),
            white_balance=(
                float(np.exp(rng.normal(0, 0.1))), 1.0, float(np.exp(rng.normal(0, 0.12))),
            ),
            read_noise=float(np.exp(rng.uniform(np.log(0.001), np.log(0.008)))) * (1 + 0.3 * dark),
            shot_noise=float(np.exp(rng.uniform(np.log(0.005), np.log(0.035)))) * (1 + 0.2 * dark),
            vignetting=rng.uniform(0.0, 0.45),
            softness=rng.uniform(0.1, 0.8),
            gray=rng.uniform(0.0, 0.5),
        )  # fmt: skip

    def automatic_gain(self, radiance: Array) -> float:
        """Gain that brings the median and mean of H×W×3 light to the middle of the scale."""
        light = radiance.mean(axis=2)
        # Lamps and windows count little, as in a camera's own metering.
        level = float(np.mean(np.minimum(light, 4 * np.median(light) + 1e-4)))
        return 0.2 / max(level, 1e-4)

    def expose(
        self, radiance: Array, gain: float, rng: np.random.Generator
    ) -> npt.NDArray[np.uint8]:
        """H×W×3 linear light to H×W×3 uint8 RGB."""
        h, w, _ = radiance.shape
        f32 = np.float32
        y = (np.arange(h, dtype=f32) - (h - 1) / 2)[:, None] / f32(np.hypot(h, w) / 2)
        x = (np.arange(w, dtype=f32) - (w - 1) / 2)[None] / f32(np.hypot(h, w) / 2)
        falloff = 1 - f32(self.vignetting) * (x * x + y * y)
        balance = np.array(self.white_balance, f32) * f32(gain * 2.0**self.exposure_ev)
        # Clip far above white before the blur: a window bleeds, but does not swamp the picture.
        light = np.minimum(radiance * (falloff[:, :, None] * balance), f32(4))
        light = _soften(light, self.softness)
        if self.gray > 0:
            light += f32(self.gray) * (light.mean(axis=2, keepdims=True) - light)
        sigma = np.sqrt(f32(self.read_noise**2) + f32(self.shot_noise**2) * light)
        light += sigma * rng.standard_normal(light.shape, dtype=f32)
        value = np.clip(light, 0, 1) ** f32(1 / self.gamma)
        return np.asarray(np.round(value * 255), np.uint8)


def smooth_noise(rng: np.random.Generator, shape: tuple[int, ...], size_px: float) -> Array:
    """H×W noise of unit deviation with features of about ``size_px`` pixels."""
    h, w = shape
    rows, columns = int(h / size_px) + 3, int(w / size_px) + 3
    grid = rng.standard_normal((rows, columns), dtype=np.float32)
    y, x = (np.arange(n, dtype=np.float32) / np.float32(size_px) for n in (h, w))
    y0, x0 = y.astype(np.intp), x.astype(np.intp)
    fy, fx = (y - y0.astype(np.float32))[:, None], (x - x0.astype(np.float32))[None]
    tall = grid[y0] * (1 - fy) + grid[y0 + 1] * fy
    # Variance of a bilinear mix of independent values: the product of f² + (1 − f)².
    scale = np.sqrt(((1 - fy) ** 2 + fy**2) * ((1 - fx) ** 2 + fx**2))
    return np.asarray((tall[:, x0] * (1 - fx) + tall[:, x0 + 1] * fx) / scale, np.float32)


def _soften(image: Array, amount: float) -> Array:
    """Mix each pixel with its neighbors along both axes."""
    side = np.float32(amount / 4)
    for axis in (0, 1):
        result = image * (1 - 2 * side)
        before, after = [slice(None)] * 3, [slice(None)] * 3
        before[axis], after[axis] = slice(None, -1), slice(1, None)
        result[tuple(after)] += side * image[tuple(before)]
        result[tuple(before)] += side * image[tuple(after)]
        # The border mirrors itself.
        for edge in (0, -1):
            at: list[slice | int] = [slice(None)] * 3
            at[axis] = edge
            result[tuple(at)] += side * image[tuple(at)]
        image = result
    return image
