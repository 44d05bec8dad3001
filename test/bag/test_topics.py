# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Topics are found by the drivers' naming; the error lists ambiguous candidates."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from rgbd_seg_ros.bag.reader import BagError, BagReader
from rgbd_seg_ros.bag.topics import Topics, choose_topics
from rgbd_seg_ros.bag.writer import BagWriter
from rgbd_seg_ros.frames import Intrinsics

RGB8 = np.zeros((4, 6, 3), np.uint8)
MONO = np.zeros((4, 6), np.uint8)
DEPTH = np.zeros((4, 6), np.uint16)
INFO = Intrinsics(5, 5, 3, 2, 6, 4)
COMPRESSED = "sensor_msgs/msg/CompressedImage"


def _bag(path: Path, topics: dict) -> Path:
    """Write a bag with one message per topic: an array, an Intrinsics, or a compressed format.

    A value may also be a pair of such a value and a frame_id.
    """
    with BagWriter(path) as writer:
        for i, (topic, value) in enumerate(topics.items()):
            value, frame_id = value if isinstance(value, tuple) else (value, topic)
            if isinstance(value, Intrinsics):
                writer.camera_info(topic, 1000 + i, value, 1000, frame_id)
            elif isinstance(value, str):
                fields = {"format": value, "data": np.zeros(3, np.uint8)}
                writer.write(topic, COMPRESSED, 1000 + i, 1000, frame_id, fields)
            else:
                writer.image(topic, 1000 + i, value, 1000, frame_id)
    return path


def _choose(path: Path, **wanted) -> Topics:  # type: ignore[no-untyped-def]
    with BagReader(path) as reader:
        return choose_topics(reader, wanted)


REALSENSE = {
    "/camera/camera/color/image_raw": RGB8,
    "/camera/camera/color/camera_info": INFO,
    "/camera/camera/color/image_raw/compressed": "rgb8; jpeg compressed bgr8",
    "/camera/camera/infra1/image_rect_raw": MONO,
    "/camera/camera/depth/image_rect_raw": DEPTH,
    "/camera/camera/depth/camera_info": INFO,
    "/camera/camera/aligned_depth_to_color/image_raw": DEPTH,
    "/camera/camera/aligned_depth_to_color/image_raw/compressedDepth": "16UC1; compressedDepth",
    "/camera/camera/aligned_depth_to_color/camera_info": INFO,
    "/segmenter/mask": MONO,
    "/segmenter/overlay": RGB8,
}


@pytest.mark.parametrize(
    ("topics", "expected"),
    [
        (
            REALSENSE,
            Topics(
                rgb="/camera/camera/color/image_raw",
                depth="/camera/camera/aligned_depth_to_color/image_raw",
                depth_raw="/camera/camera/depth/image_rect_raw",
                rgb_info="/camera/camera/color/camera_info",
                depth_info="/camera/camera/aligned_depth_to_color/camera_info",
                depth_raw_info="/camera/camera/depth/camera_info",
            ),
        ),
        (
            {  # ZED: depth is aligned to the left image; its camera_info is below the image topic
                "/zed/zed_node/rgb/image_rect_color": RGB8,
                "/zed/zed_node/rgb/camera_info": INFO,
                "/zed/zed_node/right/image_rect_gray": MONO,
                "/zed/zed_node/depth/depth_registered": DEPTH.astype(np.float32),
                "/zed/zed_node/depth/depth_registered/camera_info": INFO,
            },
            Topics(
                rgb="/zed/zed_node/rgb/image_rect_color",
                depth="/zed/zed_node/depth/depth_registered",
                rgb_info="/zed/zed_node/rgb/camera_info",
                depth_info="/zed/zed_node/depth/depth_registered/camera_info",
            ),
        ),
        (
            {  # OAK: depth is recognized by its encoding, aligned depth by its frame_id
                "/oak/rgb/image_raw": (RGB8, "oak_rgb"),
                "/oak/stereo/image_raw": (DEPTH, "oak_rgb"),
                "/oak/imu_depth/other": (DEPTH, "oak_imu"),
            },
            Topics(
                rgb="/oak/rgb/image_raw",
                depth="/oak/stereo/image_raw",
                depth_raw="/oak/imu_depth/other",
            ),
        ),
        (
            {  # compressed transports only; camera_info is found without their suffix
                "/cam/color/image_raw/compressed": "jpeg",
                "/cam/color/camera_info": INFO,
                "/cam/depth/image_raw/compressedDepth": "16UC1; compressedDepth png",
                "/cam/depth/camera_info": INFO,
            },
            Topics(
                rgb="/cam/color/image_raw/compressed",
                depth="/cam/depth/image_raw/compressedDepth",
                rgb_info="/cam/color/camera_info",
                depth_info="/cam/depth/camera_info",
            ),
        ),
        ({"/video/image": RGB8}, Topics(rgb="/video/image")),
        ({"/gray": MONO, "/tof": DEPTH}, Topics(rgb="/gray", depth="/tof")),
        ({"/tof": DEPTH}, Topics(depth="/tof")),
        ({"/a/image_raw": RGB8, "/b/rgb": RGB8}, Topics(rgb="/b/rgb")),
        ({"/a/image_raw": RGB8, "/b/colour": RGB8}, Topics(rgb="/b/colour")),
        ({"/c/rgb": (RGB8, "0"), "/d/x": (DEPTH, "0")}, Topics(rgb="/c/rgb", depth="/d/x")),
    ],
    ids=[
        "realsense", "zed", "oak", "compressed", "color", "gray", "depth", "named", "British",
        "frame 0",
    ],
)  # fmt: skip
def test_driver_topics_are_found(tmp_path: Path, topics: dict, expected: Topics) -> None:
    assert _choose(_bag(tmp_path / "bag", topics)) == expected


@pytest.mark.parametrize(
    ("topics", "wanted", "message"),
    [
        (
            {"/front/color/image_raw": RGB8, "/rear/color/image_raw": RGB8},
            {},
            "several topics may be rgb: /front/color/image_raw, /rear/color/image_raw; choose "
            "one with --rgb-topic",
        ),
        (
            {"/c/color": RGB8, "/a/aligned_depth": DEPTH, "/b/depth_registered": DEPTH},
            {},
            "several topics may be depth: .*--depth-topic",
        ),
        ({"/cam/camera_info": INFO, "/out/mask": MONO}, {}, "no usable color or depth topic"),
        ({"/cam/rgb": RGB8}, {"rgb": "none"}, "no usable color or depth topic"),
        (REALSENSE, {"rgb": "/camera/color/image_raw"}, "mean '/camera/camera/color/image_raw"),
        (
            REALSENSE,
            {"depth": "/qqqqqqqqqqq"},
            "--depth-topic /qqq.* is not in the bag; topics of this type: /camera",
        ),
        (
            REALSENSE,
            {"rgb": "/camera/camera/color/camera_info"},
            "--rgb-topic .* is sensor_msgs/msg/CameraInfo; it must be sensor_msgs/msg/Image or",
        ),
        (
            REALSENSE,
            {"rgb_info": "/camera/camera/color/image_raw"},
            "--rgb-info-topic .* is sensor_msgs/msg/Image; it must be sensor_msgs/msg/CameraInfo",
        ),
        (
            {"/c/rgb": RGB8, "/truth/compressed": "png"},
            {"truth": "/truth/compressed"},
            "--truth-topic .*CompressedImage; it must be sensor_msgs/msg/Image$",
        ),
    ],
)
def test_ambiguous_or_wrong_topics_are_refused(
    tmp_path: Path, topics: dict, wanted: dict, message: str
) -> None:
    with pytest.raises(BagError, match=message) as caught:
        _choose(_bag(tmp_path / "bag", topics), **wanted)
    assert "\n" not in str(caught.value)


def test_given_topics_are_kept_and_the_others_are_found(tmp_path: Path) -> None:
    bag = _bag(tmp_path / "bag", {**REALSENSE, "/front/color/image_raw": RGB8})
    chosen = _choose(
        bag,
        rgb="/front/color/image_raw",
        depth="/camera/camera/aligned_depth_to_color/image_raw/compressedDepth",
        truth="/segmenter/mask",
    )
    assert chosen.rgb == "/front/color/image_raw"
    assert chosen.rgb_info is None
    assert chosen.depth_info == "/camera/camera/aligned_depth_to_color/camera_info"
    assert chosen.depth_raw == "/camera/camera/depth/image_rect_raw"
    assert chosen.truth == "/segmenter/mask"
    without = _choose(bag, rgb="/front/color/image_raw", depth="none", depth_raw="none")
    assert without.depth is None
    assert without.depth_raw is None


def test_the_shared_recordings_need_no_options(recordings: Path) -> None:
    aligned = _choose(recordings / "bags" / "realsense_boxes_aligned")
    assert aligned.depth == "/camera/camera/aligned_depth_to_color/image_raw"
    assert aligned.depth_info == "/camera/camera/aligned_depth_to_color/camera_info"
    unaligned = _choose(recordings / "bags" / "realsense_robot_unaligned")
    assert unaligned.depth == "/camera/camera/depth/image_rect_raw"
    name = "librealsense_single_depth_color_640x480.bag"
    sdk = _choose(recordings / "bags_ros1" / name)
    assert sdk.rgb == "/device_0/sensor_1/Color_0/image/data"
    assert sdk.rgb_info == "/device_0/sensor_1/Color_0/info/camera_info"
    assert sdk.depth == "/device_0/sensor_0/Depth_0/image/data"
