# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""HHA in training: a view shows the values that the robot computes from the whole image."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from rgbd_seg_ros.depth import to_meters
from training.config import RunConfig, preprocess_of
from training.data.loader import to_batch
from training.data.sample import Sample
from training.data.synthetic.renderer import RoomViews
from training.data.transforms import augment, depth_values
from training.options import UsageError
from training.scoring import prepare, stack

CONFIG = RunConfig(depth_encoding="hha", size=(48, 64), flip=0.0, scales=(1.0,))
ENCODING = preprocess_of(CONFIG).depth


@pytest.fixture(scope="module")
def sample() -> Sample:
    room = RoomViews((48, 64), split="val")[1]
    matrix = room.intrinsics.matrix()
    return Sample(room.rgb, to_meters(room.depth_mm), room.labels, "room", matrix, room.gravity)


def depth_view(sample: Sample, config: RunConfig) -> torch.Tensor:
    return augment(sample, config, ENCODING, False, 0, 0)["depth"]


def test_an_unchanged_view_equals_the_input_of_scoring_and_of_the_robot(sample: Sample) -> None:
    raw = {k: v[None] for k, v in augment(sample, CONFIG, ENCODING, False, 0, 0).items()}
    preprocess = preprocess_of(CONFIG)
    trained = to_batch(raw, preprocess, torch.device("cpu"), channels_last=False).depth
    images = stack([sample], torch.device("cpu"))
    (scored,) = prepare(images, "depth", preprocess, native=False)
    torch.testing.assert_close(trained, scored)


def test_a_crop_keeps_the_values_of_the_whole_image(sample: Sample) -> None:
    whole = depth_values(sample, CONFIG, ENCODING)
    cropped = depth_view(sample, dataclasses.replace(CONFIG, size=(32, 32), native=True))
    windows = whole.unfold(1, 32, 1).unfold(2, 32, 1)
    same = (windows == cropped[:, None, None]).flatten(3).all(-1).all(0)
    assert same.any()  # HHA of the crop alone would have another floor and gravity


def test_a_mirrored_view_is_mirrored_hha(sample: Sample) -> None:
    mirrored = depth_view(sample, dataclasses.replace(CONFIG, flip=1.0))
    torch.testing.assert_close(mirrored, depth_view(sample, CONFIG).flip(-1))


def test_padding_is_nan(sample: Sample) -> None:
    small = depth_view(sample, dataclasses.replace(CONFIG, scales=(0.5,)))
    assert small.isnan().any()
    assert small[small.isfinite()].max() <= 255


def test_samples_without_intrinsics_are_refused(sample: Sample) -> None:
    with pytest.raises(UsageError, match="needs the camera's intrinsics and room has none"):
        depth_values(dataclasses.replace(sample, intrinsics=None), CONFIG, ENCODING)


def test_without_gravity_it_is_estimated(sample: Sample) -> None:
    estimated = depth_values(dataclasses.replace(sample, gravity=None), CONFIG, ENCODING)
    assert estimated.shape == (3, 48, 64)
    torch.testing.assert_close(estimated[0], depth_values(sample, CONFIG, ENCODING)[0])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"depth_follows_scale": True}, "depth_follows_scale"),
        ({"depth_holes": "black"}, "known: reference, zero"),
        ({"depth_encoding": "hhha"}, "known: zscore, disparity, hha"),
    ],
)
def test_impossible_depth_options_are_refused(change: dict, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        preprocess_of(dataclasses.replace(CONFIG, **change))
