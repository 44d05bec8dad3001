# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Depth: units (REP 118) and encodings."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from rgbd_seg_ros.depth import (
    ENCODING_CHANNELS,
    IMAGENET_MEAN,
    IMAGENET_STD,
    DepthEncoding,
    encode,
    fitting_units,
    to_meters,
)


def test_ticks_become_meters_and_both_sentinels_are_invalid() -> None:
    ticks = np.array([[0, 1, 1500, 65534, 65535]], dtype=np.uint16)
    np.testing.assert_allclose(to_meters(ticks), [[np.nan, 0.001, 1.5, 65.534, np.nan]], rtol=1e-6)
    np.testing.assert_allclose(to_meters(ticks, depth_scale=0.00025)[0, 2], 0.375)


def test_float_meters_follow_rep_118_and_the_message_is_unchanged() -> None:
    meters = np.array([[np.nan, np.inf, -np.inf, 0.0, -1.0, 2.5]], dtype=np.float32)
    before = meters.copy()
    np.testing.assert_array_equal(to_meters(meters), [[np.nan] * 5 + [2.5]])
    np.testing.assert_array_equal(meters, before)


def test_depth_beyond_the_maximum_is_invalid() -> None:
    for array in (np.array([[3000, 3001]], np.uint16), np.array([[3.0, 3.001]], np.float32)):
        assert np.isnan(to_meters(array, max_depth_m=3.0)).tolist() == [[False, True]]


@pytest.mark.parametrize(
    "array",
    [np.zeros((2, 2), np.uint8), np.zeros((2, 2, 1), np.uint16), np.zeros((2, 2), np.int16)],
)
def test_other_types_are_refused(array: np.ndarray) -> None:
    with pytest.raises(ValueError, match="uint16 ticks or float meters"):
        to_meters(array)


def test_zscore_and_disparity_by_hand() -> None:
    depth = torch.tensor([[[[1.0, 4.0, 100.0, float("nan")]]]])
    zscore = encode(depth, DepthEncoding("zscore", mean=2.0, std=2.0, clip_m=(0.5, 8.0)))
    assert zscore.flatten().tolist() == [-0.5, 1.0, 3.0, 0.0]  # 100 m is clamped to 8 m
    disparity = encode(depth, DepthEncoding("disparity", mean=0.5, std=0.5, clip_m=(0.5, 8.0)))
    assert disparity.flatten().tolist() == [1.0, -0.5, -0.75, 0.0]


def encoding_of(kind: str) -> DepthEncoding:
    return DepthEncoding.for_hha() if kind == "hha" else DepthEncoding(kind)


@pytest.mark.parametrize("kind", ENCODING_CHANNELS)
def test_every_encoding_has_its_channels_and_accepts_an_empty_image(kind: str) -> None:
    encoding = encoding_of(kind)
    intrinsics = torch.eye(3).expand(2, 3, 3) if encoding.needs_intrinsics else None
    encoded = encode(torch.full((2, 1, 5, 7), float("nan")), encoding, intrinsics)
    assert encoded.shape == (2, encoding.channels, 5, 7)
    if kind == "hha":
        levels = torch.tensor([255.0, 130.0, 218.0]) / 255
        expected = (levels - torch.tensor(IMAGENET_MEAN)) / torch.tensor(IMAGENET_STD)
        torch.testing.assert_close(encoded[1, :, 2, 3], expected)
    else:
        assert torch.count_nonzero(encoded) == 0


@pytest.mark.parametrize("kind", ENCODING_CHANNELS)
def test_padding_becomes_the_mean(kind: str) -> None:
    encoding = encoding_of(kind)
    padding = torch.full((1, encoding.channels, 2, 2), float("nan"))
    assert torch.count_nonzero(encoding.normalize(padding)) == 0


def test_hha_without_intrinsics_is_refused() -> None:
    with pytest.raises(ValueError, match="needs the camera's intrinsics"):
        encode(torch.ones(1, 1, 5, 7), DepthEncoding.for_hha())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kind": "zcore"}, "known: zscore"),
        ({"std": 0.0}, "above 0"),
        ({"clip_m": (2.0, 1.0)}, "near < far"),
        ({"clip_m": (0.0, 1.0)}, "near < far"),
        ({"kind": "hha"}, r"mean of hha needs 3 value"),
        ({"mean": (1.0, 2.0)}, r"mean of zscore needs 1 value"),
        ({"holes": "black"}, "known: reference, zero"),
    ],
)
def test_bad_encodings_are_refused(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DepthEncoding(**arguments)


def test_floats_in_another_unit() -> None:
    millimeters = np.array([[0, 1500, 3000, np.nan]], np.float32)
    np.testing.assert_allclose(
        to_meters(millimeters, max_depth_m=2.0, float_scale=0.001), [[np.nan, 1.5, np.nan, np.nan]]
    )


@pytest.mark.parametrize(
    ("median_m", "unit_m", "expected"),
    [
        (2000.0, 1.0, "0.001 or 0.0002"),  # millimeters as floats: 2 m, else 0.4 m
        (3967.0, 1.0, "0.001 or 0.0002"),  # 4.0 m, else 0.8 m
        (0.2, 0.0001, "0.001 or 0.0002"),  # millimeters read as tenths
        (0.03, 0.0001, "0.01 or 0.001"),  # centimeters: 3 m, else 0.3 m
        (1e7, 1.0, "another unit"),
    ],
)
def test_units_that_fit(median_m: float, unit_m: float, expected: str) -> None:
    assert fitting_units(median_m, unit_m) == expected
