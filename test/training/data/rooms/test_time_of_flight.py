# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Time-of-flight depth: where it is exact, where it mixes and where it is missing."""

from __future__ import annotations

import numpy as np

from training.data.rooms.time_of_flight import TimeOfFlightSensor

SHAPE = (60, 80)
SENSOR = TimeOfFlightSensor(flying=1.0, multipath=0.01)


def measure(depth: np.ndarray, *, infrared: float = 0.8, glass: bool = False) -> np.ndarray:
    ones = np.ones(SHAPE, np.float32)
    return SENSOR.measure(
        depth.astype(np.float32), ones * np.float32(infrared), ones, np.full(SHAPE, glass), 60.0,
        np.random.default_rng(0),
    )  # fmt: skip


def test_a_bright_wall_is_measured_to_centimeters() -> None:
    found = measure(np.full(SHAPE, 2.0))
    assert (found > 0).all()
    assert abs(float(found.mean()) - 2000) < 25
    assert 1 < float(found.std()) < 20


def test_at_an_edge_pixels_fly_between_both_sides() -> None:
    depth = np.full(SHAPE, 1.0)
    depth[:, 40:] = 3.0
    found = measure(depth)
    between = (found > 1200) & (found < 2800)
    assert between[:, 39:41].mean() > 0.2
    assert not between[:, :38].any()
    assert not between[:, 42:].any()


def test_depth_is_missing_on_dark_far_near_and_glass_surfaces() -> None:
    assert (measure(np.full(SHAPE, 4.0), infrared=0.02) == 0).mean() > 0.9
    assert (measure(np.full(SHAPE, 9.0)) == 0).all()
    assert (measure(np.full(SHAPE, 0.1)) == 0).all()
    assert (measure(np.full(SHAPE, 2.0), glass=True) == 0).mean() > 0.5
