# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Sensor models: active stereo depth in millimeters and an 8-bit color camera."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float32]


@dataclass(frozen=True)
class DepthSensor:
    """An active stereo camera similar to a RealSense D400."""

    #: Noise of 1/z in 1/m, which gives depth a std of k·z² meters.
    noise_k: float = 0.002
    #: Share of the noise that neighboring pixels share because of matching windows.
    smooth: float = 0.5
    #: Quantization step of 1/z in 1/m (subpixel disparity).
    disparity_step: float = 0.0008
    #: Meters between the two imagers; the sign decides on which side occlusion shadows fall.
    baseline_m: float = 0.05
    #: Range of depth in meters.
    min_m: float = 0.25
    max_m: float = 8.0
    #: Weakest usable return signal (reflectance · cosine / z²).
    threshold: float = 0.004
    #: Share of pixels that are missing at random.
    speckle: float = 0.002
    #: Share of pixels that take a neighbor's depth, which makes edges ragged.
    fattening: float = 0.35

    @staticmethod
    def draw(rng: np.random.Generator) -> DepthSensor:
        """Draw the parameters of one unit in one environment."""
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
        """Measure depth as the sensor would.

        Args:
            depth_m: H×W true z-depth in meters.
            infrared: H×W infrared reflectance.
            facing: H×W cosine between the surface normal and the ray.
            glass: H×W, True where the surface is glass.
            focal_px: focal length in pixels.
            rng: random generator for the noise.

        Returns:
            H×W millimeters, 0 invalid.
        """
        shape = depth_m.shape
        scale = max(1, round(shape[1] / 160))  # size of a matching window in pixels
        coarse = smooth_noise(rng, shape, 2.5 * scale)
        fine = rng.standard_normal(shape, dtype=np.float32)
        z = self._fatten(depth_m, rng)
        lost = self._occluded(z, focal_px)
        patchy = smooth_noise(rng, shape, 5.0 * scale)
        signal = infrared * np.sqrt(facing) * facing / np.maximum(z * z, 0.09)
        lost |= signal * np.exp(np.float32(0.6) * patchy) < self.threshold
        lost |= rng.random(shape, dtype=np.float32) < self.speckle
        # Glass gives no depth, or the depth of something behind it.
        lost |= glass & (patchy < 0.6)
        beyond = np.float32(1.3) + np.float32(0.3) * np.abs(coarse)
        z = np.asarray(np.where(glass, z * beyond, z), np.float32)
        noise = self.smooth * coarse + math.sqrt(1 - self.smooth**2) * fine
        # Stereo matching is worse at grazing angles.
        noise *= self.noise_k * np.where(facing < 0.3, np.float32(1.6), np.float32(1))
        disparity = np.asarray(np.maximum(1 / z + noise, 1e-3), np.float32)
        if self.disparity_step > 0:
            steps = np.maximum(np.round(disparity / self.disparity_step), 1)
            disparity = np.asarray(steps * self.disparity_step, np.float32)
        z = np.asarray(1 / disparity, np.float32)
        lost |= (z < self.min_m) | (z > self.max_m)
        return np.where(lost, 0, np.clip(np.round(z * 1000), 0, 65534)).astype(np.uint16)

    def _fatten(self, depth_m: Array, rng: np.random.Generator) -> Array:
        """Give some pixels the depth of a neighbor, which makes edges ragged."""
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
        """Pixels that a nearer surface hides from the second imager.

        A pixel u maps to u − f·b/z in the second image. For a positive baseline, it is hidden if a
        pixel to its right maps to the left of it.
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
    """An 8-bit color camera; exposure is relative to an image of mean linear value 0.2."""

    #: Offset from the automatic exposure, in stops.
    exposure_ev: float = 0.0
    gamma: float = 2.2
    white_balance: tuple[float, float, float] = (1.0, 1.0, 1.0)
    #: Noise in linear units: read noise, and shot noise per square root of light.
    read_noise: float = 0.004
    shot_noise: float = 0.015
    #: Share of the light that is lost in the corners.
    vignetting: float = 0.2
    #: Blur of lens, demosaicing and motion: 0 is sharp, 1 gives each pixel its neighbors' mean.
    softness: float = 0.5
    #: Desaturation: 0 none, 1 gray.
    gray: float = 0.0

    @staticmethod
    def draw(rng: np.random.Generator) -> ColorCamera:
        """Draw a camera; one in eight strongly underexposes, one in nine strongly overexposes."""
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
        """Exposure gain that brings the mean of H×W×3 linear light to 0.2."""
        light = radiance.mean(axis=2)
        # Limited to 4 × the median, so that lamps and windows count little, as in real metering.
        level = float(np.mean(np.minimum(light, 4 * np.median(light) + 1e-4)))
        return 0.2 / max(level, 1e-4)

    def expose(
        self, radiance: Array, gain: float, rng: np.random.Generator
    ) -> npt.NDArray[np.uint8]:
        """Expose H×W×3 linear light to H×W×3 uint8 RGB."""
        h, w, _ = radiance.shape
        f32 = np.float32
        y = (np.arange(h, dtype=f32) - (h - 1) / 2)[:, None] / f32(np.hypot(h, w) / 2)
        x = (np.arange(w, dtype=f32) - (w - 1) / 2)[None] / f32(np.hypot(h, w) / 2)
        falloff = 1 - f32(self.vignetting) * (x * x + y * y)
        balance = np.array(self.white_balance, f32) * f32(gain * 2.0**self.exposure_ev)
        # Clip far above white before the blur, so that a window bleeds without flooding the image.
        light = np.minimum(radiance * (falloff[:, :, None] * balance), f32(4))
        light = _soften(light, self.softness)
        if self.gray > 0:
            light += f32(self.gray) * (light.mean(axis=2, keepdims=True) - light)
        sigma = np.sqrt(f32(self.read_noise**2) + f32(self.shot_noise**2) * light)
        light += sigma * rng.standard_normal(light.shape, dtype=f32)
        value = np.clip(light, 0, 1) ** f32(1 / self.gamma)
        return np.asarray(np.round(value * 255), np.uint8)


def smooth_noise(rng: np.random.Generator, shape: tuple[int, ...], size_px: float) -> Array:
    """H×W noise of unit std with features of about ``size_px`` pixels."""
    h, w = shape
    rows, columns = int(h / size_px) + 3, int(w / size_px) + 3
    grid = rng.standard_normal((rows, columns), dtype=np.float32)
    y, x = (np.arange(n, dtype=np.float32) / np.float32(size_px) for n in (h, w))
    y0, x0 = y.astype(np.intp), x.astype(np.intp)
    fy, fx = (y - y0.astype(np.float32))[:, None], (x - x0.astype(np.float32))[None]
    tall = grid[y0] * (1 - fy) + grid[y0 + 1] * fy
    # The variance of a bilinear mix of independent values is the product of f² + (1 − f)².
    scale = np.sqrt(((1 - fy) ** 2 + fy**2) * ((1 - fx) ** 2 + fx**2))
    return np.asarray((tall[:, x0] * (1 - fx) + tall[:, x0 + 1] * fx) / scale, np.float32)


def _soften(image: Array, amount: float) -> Array:
    """Blend each pixel with its neighbors along both axes."""
    side = np.float32(amount / 4)
    for axis in (0, 1):
        result = image * (1 - 2 * side)
        before, after = [slice(None)] * 3, [slice(None)] * 3
        before[axis], after[axis] = slice(None, -1), slice(1, None)
        result[tuple(after)] += side * image[tuple(before)]
        result[tuple(before)] += side * image[tuple(after)]
        # The border is mirrored.
        for edge in (0, -1):
            at: list[slice | int] = [slice(None)] * 3
            at[axis] = edge
            result[tuple(at)] += side * image[tuple(at)]
        image = result
    return image
