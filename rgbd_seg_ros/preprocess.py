# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The only definition of resizing and normalization, shared by training, engine and export."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional

from rgbd_seg_ros.depth import IMAGENET_MEAN, IMAGENET_STD, DepthEncoding, encode


@dataclass(frozen=True)
class Preprocess:
    """Size and normalization of a network's inputs, stored with its weights.

    Raises:
        ValueError: a value out of range.
    """

    #: (height, width) to which inputs are resized, regardless of their aspect ratio.
    size: tuple[int, int]
    #: One value per channel in RGB order, for values in 0..1.
    rgb_mean: tuple[float, float, float] = IMAGENET_MEAN
    rgb_std: tuple[float, float, float] = IMAGENET_STD
    depth: DepthEncoding = field(default_factory=DepthEncoding)

    def __post_init__(self) -> None:
        if len(self.size) != 2 or min(self.size) < 32:
            raise ValueError(f"input size must be (height, width) of at least 32, got {self.size}")
        if len(self.rgb_mean) != 3 or len(self.rgb_std) != 3 or min(self.rgb_std) <= 0:
            raise ValueError(
                f"rgb_mean and rgb_std need 3 values each, with std above 0, "
                f"got {self.rgb_mean} and {self.rgb_std}"
            )


def normalize_rgb(rgb: Tensor, preprocess: Preprocess) -> Tensor:
    """B×3×H×W RGB in 0..255 (uint8 or float) to normalized float32."""
    # Python numbers rather than a tensor from a list, which would be a copy to the device.
    planes = [
        (plane - mean) / std
        for plane, mean, std in zip(
            (rgb.float() / 255.0).unbind(1), preprocess.rgb_mean, preprocess.rgb_std, strict=True
        )
    ]
    return torch.stack(planes, dim=1)


def resize_rgb(rgb: Tensor, size: tuple[int, int]) -> Tensor:
    """B×3×H×W to float B×3×h×w: bilinear, with antialiasing when shrinking."""
    if rgb.shape[-2:] == size:
        return rgb.float()
    return functional.interpolate(
        rgb.float(), size, mode="bilinear", align_corners=False, antialias=True
    )


def resize_depth(depth_m: Tensor, size: tuple[int, int]) -> Tensor:
    """B×1×H×W to B×1×h×w by nearest neighbor.

    Interpolation across an edge would create depths at which there is no surface.
    """
    if depth_m.shape[-2:] == size:
        return depth_m
    return functional.interpolate(depth_m, size, mode="nearest-exact")


def prepare_rgb(rgb: Tensor, preprocess: Preprocess) -> Tensor:
    """B×3×H×W RGB in 0..255 of any size to the network's B×3×h×w input."""
    return normalize_rgb(resize_rgb(rgb, preprocess.size), preprocess)


def resize_intrinsics(intrinsics: Tensor, old: tuple[int, int], new: tuple[int, int]) -> Tensor:
    """Camera matrices (B×3×3) of images after a resize from ``old`` to ``new`` (h, w).

    Pixel centers lie at integer coordinates, so the half-pixel offset is scaled as well.
    """
    resized = intrinsics.clone()
    for row, scale in ((0, new[1] / old[1]), (1, new[0] / old[0])):
        resized[:, row] *= scale
        resized[:, row, 2] += 0.5 * scale - 0.5
    return resized


def prepare_depth(
    depth_m: Tensor,
    preprocess: Preprocess,
    intrinsics: Tensor | None = None,
    gravity: Tensor | None = None,
) -> Tensor:
    """B×1×H×W meters (NaN invalid) of any size to the network's B×C×h×w input.

    Args:
        depth_m: meters.
        preprocess: input size and depth encoding of the network.
        intrinsics: B×3×3 for ``depth_m`` before the resize; HHA needs them.
        gravity: B×3, pointing down in the optical frame; for HHA, which estimates it if None.

    Raises:
        ValueError: the encoding needs intrinsics and got none.
    """
    old, new = (depth_m.shape[-2], depth_m.shape[-1]), preprocess.size
    if intrinsics is not None and preprocess.depth.needs_intrinsics:
        intrinsics = resize_intrinsics(intrinsics, old, new)
    meters = resize_depth(depth_m, new).float()
    return encode(meters, preprocess.depth, intrinsics, gravity)
