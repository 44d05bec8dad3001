# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Augmentation: views stay aligned, and depend on seed, epoch and sample alone."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from torchvision import tv_tensors

from rgbd_seg_ros.depth import IMAGENET_MEAN, DepthEncoding
from rgbd_seg_ros.preprocess import Preprocess, normalize_rgb
from training.config import RunConfig, preprocess_of
from training.data.loader import box_mask, to_batch
from training.data.sample import Sample
from training.data.transforms import Depth, Labels, ViewGeometry, augment, draw_geometry, place

NATIVE = (40, 56)
#: Classes 0..6 in blocks of 8 columns × 10 rows; color and depth encode the same class.
CLASS = (np.arange(40)[:, None] // 10 * 7 + np.arange(56)[None, :] // 8) % 7
BIG = RunConfig(size=(96, 128), jitter=(0, 0, 0, 0))


def coded_sample() -> Sample:
    """A sample whose red channel and depth encode the class, which shows misalignment."""
    labels = CLASS.astype(np.uint8)
    rgb = np.stack([labels * 30, labels * 0, labels * 0], axis=-1).astype(np.uint8)
    return Sample(rgb, (1.0 + labels).astype(np.float32), labels, "coded")


def augmented(
    sample: Sample, config: RunConfig, decoupled: bool, epoch: int, index: int
) -> dict[str, torch.Tensor]:
    return augment(sample, config, preprocess_of(config).depth, decoupled, epoch, index)


def agreement(labels: torch.Tensor, code: torch.Tensor) -> float:
    """Share of labeled pixels whose code is their class; interpolation may mix edges."""
    known = labels != 255
    return float((labels[known] == code[known]).float().mean())


@pytest.mark.parametrize("size", [(40, 56), (96, 128), (32, 33)])
@pytest.mark.parametrize("native", [True, False])
def test_shared_views_keep_color_depth_and_label_aligned(
    size: tuple[int, int], native: bool
) -> None:
    config = dataclasses.replace(BIG, size=size, native=native, flip=0.5)
    for index in range(12):
        view = augmented(coded_sample(), config, False, epoch=0, index=index)
        assert view["rgb"].shape == (3, *size)
        assert view["depth"].shape == (1, *size)
        assert view["labels_rgb"].shape == size
        assert "labels_depth" not in view
        labels = view["labels_rgb"]
        from_depth = (view["depth"][0] - 1).nan_to_num(nan=255)
        # Both are resized by nearest neighbor, so no pixel may differ.
        assert torch.equal(labels, from_depth.to(torch.uint8))
        from_color = (view["rgb"][0].float() / 30).round()
        assert agreement(labels, from_color) > 0.8


def test_decoupled_views_have_their_own_ground_truth() -> None:
    config = dataclasses.replace(BIG, size=(40, 56))
    differ = 0
    for index in range(12):
        view = augmented(coded_sample(), config, True, epoch=0, index=index)
        from_depth = (view["depth"][0] - 1).nan_to_num(nan=255).to(torch.uint8)
        assert torch.equal(view["labels_depth"], from_depth)
        from_color = (view["rgb"][0].float() / 30).round()
        assert agreement(view["labels_rgb"], from_color) > 0.8
        differ += not torch.equal(view["labels_rgb"], view["labels_depth"])
    assert differ >= 10, "the two geometries are drawn independently"


def test_the_draw_is_a_function_of_seed_epoch_and_sample() -> None:
    def views(**keys: Any) -> list[torch.Tensor]:
        config = dataclasses.replace(BIG, jitter=(0.3, 0.3, 0.3, 0.05), seed=keys.pop("seed", 0))
        torch.manual_seed(int(np.random.default_rng().integers(1 << 30)))  # must not matter
        place_ = {"epoch": 0, "index": 0, **keys}
        return list(augmented(coded_sample(), config, False, **place_).values())

    def same(a: list[torch.Tensor], b: list[torch.Tensor]) -> bool:
        return all(torch.equal(x.nan_to_num(), y.nan_to_num()) for x, y in zip(a, b, strict=True))

    first = views()
    assert same(first, views())
    for other in ({"epoch": 1}, {"index": 1}, {"seed": 1}):
        assert not same(first, views(**other))


def test_padding_is_zero_after_normalization_and_unlabeled() -> None:
    config = dataclasses.replace(BIG, scales=(0.25,), native=True)  # a 10×14 image in 96×128
    view = augmented(coded_sample(), config, False, 0, 0)
    raw = {key: value[None] for key, value in view.items()}
    preprocess = Preprocess((96, 128))
    batch = to_batch(raw, preprocess, torch.device("cpu"), channels_last=True)
    outside = box_mask(raw["rgb_box"], raw["rgb"])[0, 0] == 0
    assert outside.sum() == 96 * 128 - 10 * 14
    assert (batch.rgb[0, :, outside] == 0).all()
    assert (batch.depth[0, :, outside] == 0).all()
    assert (batch.labels["rgb"][0, outside] == 255).all()
    shown = normalize_rgb(raw["rgb"], preprocess)[0, :, ~outside]
    assert torch.equal(batch.rgb[0, :, ~outside], shown)
    assert batch.rgb.is_contiguous(memory_format=torch.channels_last)
    assert batch.labels["depth"] is batch.labels["rgb"] is batch.labels["rgbd"]


def test_jitter_changes_color_only() -> None:
    still = augmented(coded_sample(), BIG, False, 0, 3)
    lively = augmented(
        coded_sample(), dataclasses.replace(BIG, jitter=(0.5, 0.5, 0.5, 0.1)), False, 0, 3
    )
    assert not torch.equal(still["rgb"], lively["rgb"])
    for key in ("depth", "labels_rgb"):
        assert torch.equal(still[key].nan_to_num(), lively[key].nan_to_num())


@pytest.mark.parametrize(("follows", "nearest_m"), [(False, 1.0), (True, 0.5)])
def test_scaling_keeps_meters_unless_depth_follows_scale(follows: bool, nearest_m: float) -> None:
    config = dataclasses.replace(BIG, scales=(2.0,), depth_follows_scale=follows)
    depth = augmented(coded_sample(), config, False, 0, 0)["depth"]
    assert float(depth.nan_to_num(nan=9).min()) == nearest_m


def test_pixels_of_masks_and_images_move_to_the_same_place() -> None:
    """Nearest neighbor with half-pixel centers: a mask scaled by 2 repeats each id twice."""
    labels = Labels(torch.tensor([[0, 1, 2]], dtype=torch.uint8))
    view = ViewGeometry(flip=True, scaled=(2, 6), top=0, left=1, crop=(2, 6))
    expected = torch.tensor([[2, 1, 1, 0, 0, 9], [2, 1, 1, 0, 0, 9]], dtype=torch.uint8)
    assert torch.equal(place(labels, view, 9), expected)
    depth = Depth(torch.tensor([[[1.0, float("nan"), 3.0]]]))
    out = place(depth, dataclasses.replace(view, flip=False, left=-1), float("nan"))
    nan = float("nan")
    row = torch.tensor([nan, 1.0, 1.0, nan, nan, 3.0])
    torch.testing.assert_close(out[0, 0].as_subclass(torch.Tensor), row, equal_nan=True)
    image = tv_tensors.Image(torch.tensor([[[0, 100, 200]]], dtype=torch.uint8).expand(3, 1, 3))
    shrunk = place(image, ViewGeometry(False, (1, 1), 0, 0, (1, 1)), 0)
    assert abs(int(shrunk[0, 0, 0]) - 100) <= 1


def test_crops_cover_as_much_of_the_image_as_fits() -> None:
    config = dataclasses.replace(BIG, size=(32, 32), native=True, scales=(0.5, 1.0))
    rng = np.random.default_rng(0)
    for _ in range(200):
        view = draw_geometry(rng, NATIVE, config)
        top, left, bottom, right = view.box
        assert 0 <= top < bottom <= 32
        assert 0 <= left < right <= 32
        covered = (bottom - top, right - left)
        assert covered == (min(32, view.scaled[0]), min(32, view.scaled[1]))


def test_hha_is_computed_from_the_whole_image() -> None:
    sample = dataclasses.replace(
        coded_sample(), intrinsics=np.array([[50, 0, 28], [0, 50, 20], [0, 0, 1]], np.float32)
    )
    config = dataclasses.replace(BIG, depth_encoding="hha", size=(32, 32), native=True)
    view = augmented(sample, config, False, 0, 0)
    assert view["depth"].shape == (3, 32, 32)
    raw = {key: value[None] for key, value in view.items()}
    preprocess = Preprocess((32, 32), IMAGENET_MEAN, depth=DepthEncoding.for_hha())
    batch = to_batch(raw, preprocess, torch.device("cpu"), channels_last=False)
    assert batch.depth.shape == (1, 3, 32, 32)
    assert batch.depth.isfinite().all()
