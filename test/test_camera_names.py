# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Names of topics and frames say which camera they are from and what they show."""

from __future__ import annotations

import pytest

from rgbd_seg_ros.camera_names import (
    content,
    is_derived,
    name_two_cameras,
    name_two_places,
    registered_to,
    same_frame,
    words,
)


@pytest.mark.parametrize(
    ("a", "b", "two"),
    [
        ("front_color", "rear_color", True),
        ("camera_color_optical_frame", "camera_depth_optical_frame", False),
        ("camera1_color", "camera2_color", True),
        ("/camera/color/image_raw", "/camera/aligned_depth_to_color/image_raw", False),
        ("/zed/zed_node/rgb/image_rect_color", "/zed/zed_node/depth/depth_registered", False),
        ("/zed/rgb/image", "/oak/stereo/image_raw", True),
        ("/device_0/sensor_1/Color_0/image/data", "/device_0/sensor_0/Depth_0/image/data", False),
        ("/device_0/sensor_1/Color_0/image/data", "/device_2/sensor_0/Depth_0/image/data", True),
        ("", "rear_color", False),
    ],
)
def test_two_cameras(a: str, b: str, two: bool) -> None:
    assert name_two_cameras(a, b) is two
    assert name_two_cameras(b, a) is two


def test_places_and_numbers() -> None:
    assert name_two_places("/front/rgb", "/rear/depth")
    assert name_two_places("/cam1/rgb", "/cam2/depth")
    assert not name_two_places("/usb_cam/rgb", "/midas/depth")
    assert not name_two_places("/front/usb/rgb", "/front/midas/depth")


@pytest.mark.parametrize(
    ("topic", "shows"),
    [
        ("/camera/color/image_raw", {"color"}),
        ("/camera/aligned_depth_to_color/image_raw", {"depth"}),
        ("/rgb_to_depth/image_raw", {"rgb"}),
        ("/depth/color_map", {"depth", "color", "colormap"}),
        ("/depth_camera/image", set()),
        ("/intel_realsense_r200_depth/depth/image_raw", {"depth"}),
        ("/device_0/sensor_1/Color_0/image/data", {"color"}),
        ("/rgbd_camera/image", set()),
    ],
)
def test_content(topic: str, shows: set[str]) -> None:
    assert content(topic) == shows


def test_words_and_targets() -> None:
    assert words("/cam1/imageRaw_HD") == ("cam", "1", "image", "raw", "hd")
    assert registered_to("/k4a/depth_to_rgb/image_raw") == {"rgb"}
    assert not registered_to("/to/image")


def test_derived_images() -> None:
    assert is_derived("/segmenter/mask")
    assert is_derived("/panoptic_segmentation")
    assert is_derived("/yolo/detections_image")
    assert not is_derived("/camera/color/image_raw")
    assert not is_derived("/unmasked/image")


def test_frame_ids() -> None:
    assert same_frame("/camera", "camera")
    assert not same_frame("camera", "camera2")
    assert not any(same_frame(name, name) for name in ("", "/", "0"))
