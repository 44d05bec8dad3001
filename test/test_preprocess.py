# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Resizing and normalization."""

from __future__ import annotations

import pytest
import torch

from rgbd_seg_ros.depth import IMAGENET_MEAN, IMAGENET_STD, DepthEncoding, encode
from rgbd_seg_ros.frames import Intrinsics
from rgbd_seg_ros.preprocess import (
    Preprocess,
    prepare_depth,
    prepare_rgb,
    resize_depth,
    resize_intrinsics,
)

PREPROCESS = Preprocess(size=(32, 48))


def test_rgb_is_normalized_by_imagenet_statistics_in_rgb_order() -> None:
    rgb = torch.tensor([255, 0, 51], dtype=torch.uint8).view(1, 3, 1, 1).expand(2, 3, 64, 96)
    prepared = prepare_rgb(rgb, PREPROCESS)
    assert prepared.shape == (2, 3, 32, 48)
    assert prepared.dtype == torch.float32
    expected = (torch.tensor([1.0, 0.0, 0.2]) - torch.tensor(IMAGENET_MEAN)) / torch.tensor(
        IMAGENET_STD
    )
    torch.testing.assert_close(prepared[0, :, 5, 5], expected)


def test_depth_is_never_averaged_across_an_edge() -> None:
    depth = torch.ones(1, 1, 64, 96)
    depth[..., 33:] = 5.0
    depth[..., 10, :] = float("nan")
    small = resize_depth(depth, (32, 48))
    assert set(small[small.isfinite()].tolist()) == {1.0, 5.0}


def test_missing_depth_becomes_zero() -> None:
    prepared = prepare_depth(torch.full((1, 1, 480, 640), float("nan")), PREPROCESS)
    assert prepared.shape == (1, 1, 32, 48)
    assert torch.count_nonzero(prepared) == 0


def test_intrinsics_are_resized_with_the_image() -> None:
    camera = Intrinsics(500, 510, 321.5, 237.25, 640, 480)
    resized = resize_intrinsics(torch.from_numpy(camera.matrix())[None], (480, 640), (120, 213))
    expected = torch.from_numpy(camera.resized(213, 120).matrix())
    torch.testing.assert_close(resized[0], expected)


def test_hha_is_computed_at_the_networks_size_with_resized_intrinsics() -> None:
    hha = Preprocess((48, 64), depth=DepthEncoding.for_hha())
    camera = Intrinsics(300, 300, 95.5, 71.5, 192, 144)
    depth = torch.rand(1, 1, 144, 192) + 1.0
    gravity = torch.tensor([[0.0, 0.96, 0.28]])
    prepared = prepare_depth(depth, hha, torch.from_numpy(camera.matrix())[None], gravity)
    small = torch.from_numpy(camera.resized(64, 48).matrix())[None]
    expected = encode(resize_depth(depth, (48, 64)), hha.depth, small, gravity)
    torch.testing.assert_close(prepared, expected)


def test_an_image_of_the_same_size_is_not_resized() -> None:
    rgb = torch.randint(0, 256, (1, 3, 32, 48), dtype=torch.uint8)
    back = prepare_rgb(rgb, Preprocess((32, 48), (0, 0, 0), (1, 1, 1))) * 255
    torch.testing.assert_close(back, rgb.float())


@pytest.mark.parametrize(
    "arguments", [{"size": (0, 48)}, {"size": (64, 64), "rgb_std": (1, 1, 0)}]
)
def test_bad_records_are_refused(arguments: dict) -> None:
    with pytest.raises(ValueError, match="got"):
        Preprocess(**arguments)
