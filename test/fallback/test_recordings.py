# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""No frame test fails on real frames or on a noisy image of a blank wall."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from rigs.fallback.bench import T0
from rigs.fallback.scenario import MS

from rgbd_seg_ros.fallback import CoreConfig, SensorHealth, State
from rgbd_seg_ros.frames import Frame, Stream


def assert_healthy(stream: Stream, arrays: list[Any]) -> None:
    """Every frame is usable, alone and in sequence."""
    assert arrays
    for array in arrays:
        alone = SensorHealth(stream, CoreConfig())
        assert alone.observe(Frame(array, T0), T0, alone=False).reason is None
    row = SensorHealth(stream, CoreConfig())
    for i, array in enumerate(a for a in arrays if a.shape == arrays[0].shape):
        now = T0 + i * 33 * MS
        assert row.observe(Frame(array, now), now, alone=False).reason is None
    assert row.state is State.OK


@pytest.mark.parametrize("folder", ["realsense_boxes/color", "kinect2_office/sample_rgb.png"])
def test_color_images(recordings: Path, folder: str) -> None:
    path = recordings / "frames" / folder
    files = sorted(path.glob("*.png")) if path.is_dir() else [path]
    assert_healthy("rgb", [cv2.imread(str(f))[..., ::-1] for f in files])


@pytest.mark.parametrize("folder", ["realsense_boxes/depth", "kinect2_office/sample_depth.png"])
def test_depth_images(recordings: Path, folder: str) -> None:
    path = recordings / "frames" / folder
    files = sorted(path.glob("*.png")) if path.is_dir() else [path]
    assert_healthy("depth", [cv2.imread(str(f), cv2.IMREAD_UNCHANGED) for f in files])


BAGS = [
    "bags/realsense_boxes_aligned",
    "bags/realsense_robot_unaligned",
    "bags_ros1/librealsense_single_depth_color_640x480.bag",
]


def images(path: Path) -> Iterator[tuple[str, Any]]:
    """(encoding, array) of every image in a bag."""
    from rosbags.highlevel import AnyReader
    from rosbags.typesys import Stores, get_typestore

    with AnyReader([path], default_typestore=get_typestore(Stores.ROS2_HUMBLE)) as reader:
        connections = [c for c in reader.connections if c.msgtype == "sensor_msgs/msg/Image"]
        for connection, _, data in reader.messages(connections=connections):
            message: Any = reader.deserialize(data, connection.msgtype)
            color = message.encoding == "rgb8"
            rows = np.asarray(message.data).reshape(message.height, message.step)
            pixels = rows.view(np.uint8 if color else np.uint16)
            shape = (message.height, -1, 3) if color else (message.height, -1)
            yield message.encoding, pixels.reshape(shape)


@pytest.mark.parametrize("bag", BAGS)
def test_bags(recordings: Path, bag: str) -> None:
    found: dict[Stream, list[Any]] = {"rgb": [], "depth": []}
    for encoding, array in images(recordings / bag):
        assert encoding in ("rgb8", "16UC1", "mono16")
        found["rgb" if encoding == "rgb8" else "depth"].append(array)
    for stream, arrays in found.items():
        assert_healthy(stream, arrays)


@pytest.mark.parametrize("level", [12, 60, 128, 200, 240])
@pytest.mark.parametrize("sigma", [1.0, 3.0])
def test_a_noisy_blank_wall_in_color(level: int, sigma: float) -> None:
    rng = np.random.default_rng(level)
    walls = rng.normal(level, sigma, (4, 480, 640, 3))
    assert_healthy("rgb", list(np.clip(np.round(walls), 0, 255).astype(np.uint8)))


@pytest.mark.parametrize("distance_mm", [200, 1000, 4000])
def test_a_noisy_blank_wall_in_depth(distance_mm: int) -> None:
    """Structured-light noise: about 1.4 mm at 1 m, growing with the square of the distance."""
    rng = np.random.default_rng(distance_mm)
    sigma_mm = max(0.5, 1.425e-6 * distance_mm**2)
    walls = rng.normal(distance_mm, sigma_mm, (4, 480, 640))
    assert_healthy("depth", list(np.round(walls).astype(np.uint16)))
    assert_healthy("depth", list((walls / 1000).astype(np.float32)))
