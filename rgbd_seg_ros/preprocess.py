# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The one definition of resize and normalise, used by training, engine and export."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional

from rgbd_seg_ros.depth import DepthEncoding, encode

#: Mean and deviation of ImageNet's RGB in 0..1, as every published backbone expects.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Preprocess:
    """What a network expects of its inputs. Stored with its weights."""

    #: (height, width) the inputs are resized to; any aspect ratio is squeezed into it.
    size: tuple[int, int]
    #: Per channel in RGB order, for values in 0..1.
    rgb_mean: tuple[float, float, float] = IMAGENET_MEAN
    rgb_std: tuple[float, float, float] = IMAGENET_STD
    depth: DepthEncoding = field(default_factory=DepthEncoding)

    def __post_init__(self) -> None:
        if len(self.size) != 2 or min(self.size) < 32:
            raise ValueError(f"input size must be (height, width) of at least 32, got {self.size}")
        if len(self.rgb_mean) != 3 or len(self.rgb_std) != 3 or min(self.rgb_std) <= 0:
            raise ValueError(
                f"rgb_mean and rgb_std need 3 values each and std above 0, "
                f"got {self.rgb_mean} and {self.rgb_std}"
            )


def normalise_rgb(rgb: Tensor, preprocess: Preprocess) -> Tensor:
    """B×3×H×W RGB in 0..255 (uint8 or float) to normalised float32."""
    values = rgb.float() / 255.0
    # Python numbers, no tensor made of a list: that would be a copy from the host.
    planes = [
        (plane - mean) / std
        for plane, mean, std in zip(
            values.unbind(1), preprocess.rgb_mean, preprocess.rgb_std, strict=True
        )
    ]
    return torch.stack(planes, dim=1)


def resize_rgb(rgb: Tensor, size: tuple[int, int]) -> Tensor:
    """B×3×H×W to float B×3×h×w: bilinear, low-passed when it shrinks."""
    if rgb.shape[-2:] == size:
        return rgb.float()
    return functional.interpolate(
        rgb.float(), size, mode="bilinear", align_corners=False, antialias=True
    )


def resize_depth(depth_m: Tensor, size: tuple[int, int]) -> Tensor:
    """B×1×H×W to B×1×h×w by nearest neighbour: a mean over an edge is a depth nobody measured."""
    if depth_m.shape[-2:] == size:
        return depth_m
    return functional.interpolate(depth_m, size, mode="nearest-exact")


def prepare_rgb(rgb: Tensor, preprocess: Preprocess) -> Tensor:
    """B×3×H×W RGB in 0..255 of any size to the network's B×3×h×w."""
    return normalise_rgb(resize_rgb(rgb, preprocess.size), preprocess)


def resize_intrinsics(intrinsics: Tensor, old: tuple[int, int], new: tuple[int, int]) -> Tensor:
    """Camera matrices (B×3×3) of the same pictures after a resize from ``old`` to ``new`` (h, w).

    Pixel centres lie at whole numbers, so the half pixel moves too.
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
    size: tuple[int, int] | None = None,
) -> Tensor:
    """B×1×H×W metres (NaN invalid) of any size to the network's B×C×h×w.

    Args:
        depth_m: metres.
        preprocess: what the network expects.
        intrinsics: B×3×3 of the picture as it comes, for an encoding that needs them.
        gravity: B×3, pointing down in the optical frame, likewise.
        size: h×w; that of ``preprocess`` by default.

    Raises:
        ValueError: the encoding needs intrinsics and got none.
    """
    old, new = (depth_m.shape[-2], depth_m.shape[-1]), size or preprocess.size
    if intrinsics is not None and preprocess.depth.needs_intrinsics:
        intrinsics = resize_intrinsics(intrinsics, old, new)
    metres = resize_depth(depth_m, new).float()
    return encode(metres, preprocess.depth, intrinsics, gravity)
