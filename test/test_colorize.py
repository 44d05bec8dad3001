# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Visualization of masks and depth."""

from __future__ import annotations

import numpy as np
import pytest

from rgbd_seg_ros.colorize import colorize, colorize_depth, legend, overlay
from rgbd_seg_ros.labels import INDOOR16, LabelSet


def test_ids_get_their_palette_color_and_unlabeled_pixels_are_black() -> None:
    labels = np.array([[0, 15, 255]], dtype=np.uint8)
    assert colorize(labels, INDOOR16).tolist() == [
        [list(INDOOR16.palette[0]), list(INDOOR16.palette[15]), [0, 0, 0]]
    ]


def test_bytes_and_integers_get_the_same_colors() -> None:
    labels = np.random.default_rng(0).integers(0, 6, (9, 11), dtype=np.uint8)
    label_set = LabelSet("x", ("a", "b", "c"))
    colors = colorize(labels, label_set)
    np.testing.assert_array_equal(colors, colorize(labels.astype(np.int64), label_set))
    assert tuple(colors[labels == 2][0]) == label_set.palette[2]
    assert not colors[labels > 2].any()


def test_overlay_blends_and_leaves_unlabeled_pixels_unchanged() -> None:
    rgb = np.full((1, 2, 3), 100, dtype=np.uint8)
    mixed = overlay(rgb, np.array([[0, 255]], dtype=np.uint8), INDOOR16, opacity=0.5)
    np.testing.assert_allclose(mixed[0, 0], (100 + np.array(INDOOR16.palette[0])) / 2, atol=1)
    assert mixed[0, 1].tolist() == [100, 100, 100]
    with pytest.raises(ValueError, match="mask is"):
        overlay(rgb, np.zeros((2, 2), np.uint8), INDOOR16)


def test_near_depth_is_warm_far_is_cold_and_invalid_is_black() -> None:
    colors = colorize_depth(np.array([[0.5, 5.5, np.nan]], dtype=np.float32))
    assert int(colors[0, 0, 0]) > int(colors[0, 0, 2]), "near is warm"
    assert int(colors[0, 1, 2]) > int(colors[0, 1, 0]), "far is cold"
    assert colors[0, 2].tolist() == [0, 0, 0]


def test_legend_has_a_row_per_class() -> None:
    image = legend(INDOOR16)
    assert image.shape == (352, 180, 3)
    assert image[10, 10].tolist() == list(INDOOR16.palette[0])
