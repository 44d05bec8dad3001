# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Alignment: when depth counts as aligned to color."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from rgbd_seg_ros.fallback.alignment import misalignment
from rgbd_seg_ros.frames import Frame, Intrinsics

HD = Intrinsics(900, 900, 640, 360, 1280, 720)
VGA = Intrinsics(600, 600, 320, 240, 640, 480)


def frame(height: int, width: int, frame_id: str, info: Intrinsics | None, *, rgb: bool) -> Frame:
    shape = (height, width, 3) if rgb else (height, width)
    return Frame(np.zeros(shape, np.uint8 if rgb else np.uint16), 1, frame_id, "", info)


@pytest.mark.parametrize(
    ("rgb_id", "depth_id", "rgb_info", "depth_info", "aligned"),
    [
        ("camera", "camera", None, None, True),
        (
            "camera",
            "camera",
            VGA,
            dataclasses.replace(VGA, fx=700),
            True,
        ),  # equal frame_ids suffice
        ("camera", "depth", None, None, False),
        ("", "", None, None, False),
        ("0", "0", None, None, False),
        ("0", "0", VGA, VGA, True),
        ("camera", "depth", VGA, VGA, True),
        ("camera", "depth", VGA, None, False),
        ("camera", "depth", VGA, dataclasses.replace(VGA, fx=605), True),
        ("camera", "depth", VGA, dataclasses.replace(VGA, fx=607), False),
        ("camera", "depth", VGA, dataclasses.replace(VGA, cy=247), False),
        ("camera", "depth", VGA, VGA.resized(320, 240), True),
        # Frame_ids of two cameras of one model, whose camera_infos are equal.
        ("front_color", "rear_color", VGA, VGA, False),
        ("camera1_color_optical_frame", "camera2_color_optical_frame", VGA, VGA, False),
        ("camera1_color_optical_frame", "camera12_depth_optical_frame", VGA, VGA, False),
        ("robot1/camera_color_frame", "robot2/camera_color_frame", VGA, VGA, False),
        ("left_camera_rgb", "right_camera_depth", VGA, VGA, False),
        ("camera_color_optical_frame", "zed_left_camera_frame", VGA, None, False),
        # Two frame_ids of one camera.
        ("camera_color_optical_frame", "camera_aligned_depth_to_color_frame", VGA, VGA, True),
        ("camera_color_optical_frame", "camera_depth_optical_frame", VGA, VGA, True),
        ("camera_color_optical_frame", "camera_depth_optical_frame", VGA, None, False),
        ("oak_rgb_camera_optical_frame", "oak_right_camera_optical_frame", VGA, VGA, True),
        ("front_color", "", VGA, VGA, True),
        # tf of ROS 1 wrote a leading slash.
        ("/openni_rgb_optical_frame", "openni_rgb_optical_frame", None, None, True),
        ("/", "/", None, None, False),
    ],
)
def test_frame_ids_and_camera_infos(
    rgb_id: str, depth_id: str, rgb_info: Any, depth_info: Any, aligned: bool
) -> None:
    rgb = frame(480, 640, rgb_id, rgb_info, rgb=True)
    depth = frame(480, 640, depth_id, depth_info, rgb=False)
    assert (misalignment(rgb, depth) is None) is aligned


@pytest.mark.parametrize(
    ("size", "aligned"),
    [((480, 640), True), ((240, 320), True), ((360, 640), False), ((480, 645), True),
     ((480, 655), False), ((640, 480), False)],
)  # fmt: skip
def test_aspect_ratios_must_agree(size: tuple[int, int], aligned: bool) -> None:
    rgb = frame(480, 640, "camera", None, rgb=True)
    text = misalignment(rgb, frame(*size, "camera", None, rgb=False))
    assert (text is None) is aligned
    if text:
        assert f"{size[1]}×{size[0]}" in text
        assert "640×480" in text


@pytest.mark.parametrize(("place", "two_cameras"), [("rear", True), ("front", False)])
def test_long_frame_ids_give_a_short_reason(place: str, two_cameras: bool) -> None:
    color = frame(48, 64, "front" + "_color" * 20_000, None, rgb=True)
    text = misalignment(color, frame(48, 64, place + "_depth" * 20_000, None, rgb=False))
    assert text is not None
    assert ("another camera" in text) == two_cameras
    assert len(text) < 400


def test_empty_frame_ids_are_not_called_different() -> None:
    rgb = frame(480, 640, "", VGA, rgb=True)
    text = misalignment(rgb, frame(480, 640, "", None, rgb=False))
    assert text == (
        "nothing shows that depth is aligned: both frame_ids are '', and there are no two "
        "camera_infos to compare"
    )
