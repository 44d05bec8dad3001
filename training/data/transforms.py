# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Augmentation: flip, scale, crop with padding and color jitter, shared or decoupled per stream.

Random numbers depend on (seed, epoch, sample) alone, never on the state of a worker, so a resumed
run draws the same ones as an uninterrupted run.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms.v2 import InterpolationMode, functional

from rgbd_seg_ros.depth import DepthEncoding, measure
from rgbd_seg_ros.labels import IGNORE_ID
from rgbd_seg_ros.preprocess import resize_depth, resize_intrinsics
from training.config import RunConfig
from training.data.sample import Sample
from training.options import UsageError


class Labels(tv_tensors.Mask):
    """H×W uint8 class ids; geometric transforms never mix them, and color transforms skip them."""


class Depth(tv_tensors.Mask):
    """C×H×W depth values, NaN invalid; never interpolated, because edges would blur."""


def _resize_nearest(x: Tensor, size: list[int], **_: object) -> Tensor:
    # torchvision resizes masks with "nearest", which is half a pixel off from bilinear; with
    # "nearest-exact", labels and depth stay aligned with the color image.
    plain = x.as_subclass(Tensor)
    flat = plain if plain.ndim == 3 else plain[None]
    out = functional.resize(flat, size, InterpolationMode.NEAREST_EXACT)
    return type(x)(out if plain.ndim == 3 else out[0])


functional.register_kernel(functional.resize, tv_tensor_cls=Labels)(_resize_nearest)
functional.register_kernel(functional.resize, tv_tensor_cls=Depth)(_resize_nearest)


@dataclass(frozen=True)
class ViewGeometry:
    """Geometry of one view: mirror, scale, then crop."""

    #: Mirrored left to right.
    flip: bool
    #: (height, width) of the whole image after scaling.
    scaled: tuple[int, int]
    #: First row and column of the crop in the scaled image; negative if it starts with padding.
    top: int
    left: int
    #: (height, width) of the crop.
    crop: tuple[int, int]
    #: Scale factor of the view.
    scale: float = 1.0

    @property
    def box(self) -> tuple[int, int, int, int]:
        """(top, left, bottom, right) of the part of the crop that shows the image."""
        return (
            max(0, -self.top),
            max(0, -self.left),
            min(self.crop[0], self.scaled[0] - self.top),
            min(self.crop[1], self.scaled[1] - self.left),
        )


def draw_geometry(
    rng: np.random.Generator, native: tuple[int, int], config: RunConfig
) -> ViewGeometry:
    """Draw the geometry of a view of an image of ``native`` (height, width)."""
    flip = bool(rng.random() < config.flip)
    scale = float(rng.choice(config.scales))
    base = native if config.native else config.size
    scaled = (max(1, round(base[0] * scale)), max(1, round(base[1] * scale)))
    # A larger image is cropped at a random position; a smaller one is placed at a random position.
    top, left = (
        int(rng.integers(min(0, spare), max(0, spare) + 1))
        for spare in (scaled[0] - config.size[0], scaled[1] - config.size[1])
    )
    return ViewGeometry(flip, scaled, top, left, config.size, scale)


def place(x: Tensor, geometry: ViewGeometry, fill: float) -> Tensor:
    """Apply a geometry to a typed tensor; padding becomes ``fill``."""
    if geometry.flip:
        x = functional.horizontal_flip(x)
    if tuple(x.shape[-2:]) != geometry.scaled:
        x = functional.resize(x, list(geometry.scaled), InterpolationMode.BILINEAR, antialias=True)
    top, left, bottom, right = geometry.box
    x = functional.crop(x, max(0, geometry.top), max(0, geometry.left), bottom - top, right - left)
    height, width = geometry.crop
    padding = [left, top, width - right, height - bottom]
    return functional.pad(x, padding, fill=fill) if any(padding) else x


def depth_values(
    sample: Sample, config: RunConfig, encoding: DepthEncoding, scale: float = 1.0
) -> Tensor:
    """C×H×W values of the depth encoding, before the view's geometry is applied.

    HHA is computed from the whole image, as on the robot: in a crop without the floor, all heights
    would shift and gravity would be harder to estimate, and scaling by nearest neighbor would turn
    slopes into steps. The HHA of a mirrored room is the mirrored HHA, so geometry can come later.

    Raises:
        UsageError: the encoding needs intrinsics and the sample has none.
    """
    meters = torch.from_numpy(sample.depth_m)[None, None]
    if not encoding.needs_intrinsics:
        return measure(meters / scale if config.depth_follows_scale else meters, encoding)[0]
    if sample.intrinsics is None:
        raise UsageError(
            f"depth_encoding {encoding.kind} needs the camera's intrinsics and {sample.name} has "
            "none; add them to the dataset or use zscore"
        )
    native = (sample.depth_m.shape[0], sample.depth_m.shape[1])
    size = native if config.native else config.size
    intrinsics = resize_intrinsics(torch.from_numpy(sample.intrinsics)[None], native, size)
    gravity = None if sample.gravity is None else torch.from_numpy(sample.gravity)[None]
    return measure(resize_depth(meters, size), encoding, intrinsics, gravity)[0]


def jitter(rgb: Tensor, rng: np.random.Generator, strength: tuple[float, ...]) -> Tensor:
    """Jitter brightness, contrast, saturation and hue of an image in random order."""
    adjust = (
        functional.adjust_brightness,
        functional.adjust_contrast,
        functional.adjust_saturation,
        functional.adjust_hue,
    )
    draws = rng.uniform(-1.0, 1.0, 4)
    for i in rng.permutation(4):
        if strength[i] > 0:
            neutral = 0.0 if i == 3 else 1.0
            rgb = adjust[i](rgb, neutral + float(draws[i]) * strength[i])
    return rgb


def augment(
    sample: Sample,
    config: RunConfig,
    encoding: DepthEncoding,
    decoupled: bool,
    epoch: int,
    index: int,
) -> dict[str, Tensor]:
    """Draw one training view of a sample.

    Args:
        sample: the sample.
        config: size, scales, flip and jitter of the views, and the seed.
        encoding: the depth encoding.
        decoupled: draw a separate geometry for depth.
        epoch: part of the random seed.
        index: index of the sample, part of the random seed.

    Returns:
        Plain tensors, ready to be stacked: ``rgb`` 3×h×w uint8; ``rgb_box`` (4), the part of it
        that is not padding; ``depth`` C×h×w values of the depth encoding, NaN where invalid or
        padding; ``labels_rgb`` h×w uint8 and, if ``decoupled``, ``labels_depth``: the ground truth
        of each view, 255 in the padding.
    """
    rng = np.random.default_rng([config.seed, epoch, index])
    native = (sample.labels.shape[0], sample.labels.shape[1])
    rgb_view = draw_geometry(rng, native, config)
    depth_view = draw_geometry(rng, native, config) if decoupled else rgb_view

    rgb = place(tv_tensors.Image(torch.from_numpy(sample.rgb).permute(2, 0, 1)), rgb_view, 0)
    values = depth_values(sample, config, encoding, depth_view.scale)
    depth = place(Depth(values), depth_view, float("nan"))
    views = {"labels_rgb": rgb_view}
    if decoupled:
        views["labels_depth"] = depth_view
    labels = Labels(torch.from_numpy(sample.labels))
    typed = {
        "rgb": jitter(rgb, rng, config.jitter),
        "depth": depth,
        **{key: place(labels, view, IGNORE_ID) for key, view in views.items()},
    }
    return {
        **{key: value.as_subclass(Tensor).contiguous() for key, value in typed.items()},
        "rgb_box": torch.tensor(rgb_view.box),
    }
