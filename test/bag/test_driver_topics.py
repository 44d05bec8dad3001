# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Recordings of all topics (`ros2 bag record -a`) of common cameras need no options.

Each entry lists topics as the driver publishes them: topic, encoding, frame_id. The encodings
``jpeg``, ``png16`` and ``compressedDepth`` stand for CompressedImages.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np
import pytest

from rgbd_seg_ros.bag.reader import BagReader
from rgbd_seg_ros.bag.topics import choose_topics
from rgbd_seg_ros.bag.writer import BagWriter

COMPRESSED = "sensor_msgs/msg/CompressedImage"
CHANNELS = {"rgb8": 3, "bgr8": 3, "8UC3": 3, "rgba8": 4, "bgra8": 4, "mono8": 1, "8UC1": 1}
DTYPES = {"16UC1": np.uint16, "mono16": np.uint16, "32FC1": np.float32}
Rows = Iterable[tuple[str, str, str]]


def write_topics(path: Path, rows: Rows, stamp_ns: int = 1000) -> Path:
    """Write a bag with one small image per row."""
    with BagWriter(path) as writer:
        for topic, encoding, frame_id in rows:
            if encoding in ("jpeg", "png16", "compressedDepth"):
                fields = _compressed(encoding)
                writer.write(topic, COMPRESSED, stamp_ns, stamp_ns, frame_id, fields)
                continue
            channels = CHANNELS.get(encoding, 1)
            shape = (4, 6) if channels == 1 else (4, 6, channels)
            image = np.zeros(shape, DTYPES.get(encoding, np.uint8))
            writer.image(topic, stamp_ns, image, stamp_ns, frame_id, encoding)
    return path


def _compressed(encoding: str) -> dict[str, object]:
    if encoding == "jpeg":
        image, name, form = np.zeros((4, 6, 3), np.uint8), ".jpg", "bgr8; jpeg compressed bgr8"
    else:
        image, name, form = np.zeros((4, 6), np.uint16), ".png", "16UC1; png compressed "
    data = cv2.imencode(name, image)[1].tobytes()
    if encoding == "compressedDepth":
        form, data = "16UC1; compressedDepth png", struct.pack("<iff", 0, 0, 0) + data
    return {"format": form, "data": np.frombuffer(data, np.uint8)}


def realsense(ns: str, name: str = "camera") -> list[tuple[str, str, str]]:
    color, depth = f"{name}_color_optical_frame", f"{name}_depth_optical_frame"
    return [
        (f"{ns}/color/image_raw", "rgb8", color),
        (f"{ns}/color/image_raw/compressed", "jpeg", color),
        (f"{ns}/depth/image_rect_raw", "16UC1", depth),
        (f"{ns}/depth/image_rect_raw/compressedDepth", "compressedDepth", depth),
        (f"{ns}/aligned_depth_to_color/image_raw", "16UC1", color),
        (f"{ns}/aligned_depth_to_color/image_raw/compressed", "png16", color),
        (f"{ns}/aligned_depth_to_color/image_raw/compressedDepth", "compressedDepth", color),
        (f"{ns}/aligned_depth_to_infra1/image_raw", "16UC1", f"{name}_infra1_optical_frame"),
        (f"{ns}/infra1/image_rect_raw", "mono8", f"{name}_infra1_optical_frame"),
        (f"{ns}/infra2/image_rect_raw", "mono8", f"{name}_infra2_optical_frame"),
    ]


ZED = "/zed/zed_node"
ZED_FRAME, ZED_RIGHT = "zed_left_camera_optical_frame", "zed_right_camera_optical_frame"
OAK_FRAMES = [f"oak_{side}_camera_optical_frame" for side in ("rgb", "left", "right")]
DEPTHAI = "/stereo_inertial_publisher"
R200 = "/intel_realsense_r200_depth"
KINECT2 = ("kinect2_rgb_optical_frame", "kinect2_ir_optical_frame")
ASTRA = ("camera_color_optical_frame", "camera_depth_optical_frame", "camera_ir_optical_frame")

#: Driver: (topics, expected color, depth and raw depth).
DRIVERS: dict[str, tuple[Rows, tuple[str, str, str | None]]] = {
    "realsense": (
        realsense("/camera/camera"),
        (
            "/camera/camera/color/image_raw",
            "/camera/camera/aligned_depth_to_color/image_raw",
            "/camera/camera/depth/image_rect_raw",
        ),
    ),
    "realsense without alignment": (
        [row for row in realsense("/camera") if "aligned" not in row[0]],
        ("/camera/color/image_raw", "/camera/depth/image_rect_raw", None),
    ),
    "realsense compressed": (
        [row for row in realsense("/robot/d435") if "ompressed" in row[0]],
        (
            "/robot/d435/color/image_raw/compressed",
            "/robot/d435/aligned_depth_to_color/image_raw/compressed",
            "/robot/d435/depth/image_rect_raw/compressedDepth",
        ),
    ),
    "zed 4": (
        [
            (f"{ZED}/rgb/image_rect_color", "bgra8", ZED_FRAME),
            (f"{ZED}/rgb/image_rect_color/compressed", "jpeg", ZED_FRAME),
            (f"{ZED}/rgb/image_rect_gray", "mono8", ZED_FRAME),
            (f"{ZED}/rgb_raw/image_raw_color", "bgra8", ZED_FRAME),
            (f"{ZED}/left/image_rect_color", "bgra8", ZED_FRAME),
            (f"{ZED}/left_raw/image_raw_color", "bgra8", ZED_FRAME),
            (f"{ZED}/left_gray/image_rect_gray", "mono8", ZED_FRAME),
            (f"{ZED}/right/image_rect_color", "bgra8", ZED_RIGHT),
            (f"{ZED}/right_raw/image_raw_color", "bgra8", ZED_RIGHT),
            (f"{ZED}/right_gray/image_rect_gray", "mono8", ZED_RIGHT),
            (f"{ZED}/stereo/image_rect_color", "bgra8", ZED_FRAME),
            (f"{ZED}/depth/depth_registered", "32FC1", ZED_FRAME),
            (f"{ZED}/confidence/confidence_map", "32FC1", ZED_FRAME),
        ],
        (f"{ZED}/rgb/image_rect_color", f"{ZED}/depth/depth_registered", None),
    ),
    "zed 5": (
        [
            (f"/front{ZED}/{side}/{kind}/{form}/image", encoding, frame)
            for side in ("left", "right", "rgb", "stereo")
            for frame in [ZED_RIGHT if side == "right" else ZED_FRAME]
            for kind, encoding in (("color", "bgra8"), ("gray", "mono8"))
            for form in ("raw", "rect")
        ]
        + [(f"/front{ZED}/depth/depth_registered", "32FC1", ZED_FRAME)],
        (f"/front{ZED}/rgb/color/rect/image", f"/front{ZED}/depth/depth_registered", None),
    ),
    "zed without the topic rgb": (
        [
            (f"{ZED}/left/image_rect_color", "bgra8", ZED_FRAME),
            (f"{ZED}/right/image_rect_color", "bgra8", ZED_RIGHT),
            (f"{ZED}/depth/depth_registered", "32FC1", ZED_FRAME),
        ],
        (f"{ZED}/left/image_rect_color", f"{ZED}/depth/depth_registered", None),
    ),
    "azure kinect": (
        [
            ("/rgb/image_raw", "bgra8", "rgb_camera_link"),
            ("/rgb/image_rect_color", "bgra8", "rgb_camera_link"),
            ("/rgb_to_depth/image_raw", "bgra8", "depth_camera_link"),
            ("/depth_to_rgb/image_raw", "16UC1", "rgb_camera_link"),
            ("/depth/image_raw", "16UC1", "depth_camera_link"),
            ("/ir/image_raw", "mono16", "depth_camera_link"),
        ],
        ("/rgb/image_raw", "/depth_to_rgb/image_raw", "/depth/image_raw"),
    ),
    "orbbec with depth_registration": (
        [
            ("/camera/color/image_raw", "rgb8", "camera_color_optical_frame"),
            ("/camera/color/image_raw/compressed", "jpeg", "camera_color_optical_frame"),
            ("/camera/depth/image_raw", "16UC1", "camera_color_optical_frame"),
            ("/camera/left_ir/image_raw", "mono8", "camera_left_ir_optical_frame"),
            ("/camera/right_ir/image_raw", "mono8", "camera_right_ir_optical_frame"),
        ],
        ("/camera/color/image_raw", "/camera/depth/image_raw", None),
    ),
    "femto": (
        [
            ("/femto/color/image_raw", "rgb8", "femto_color_optical_frame"),
            ("/femto/depth/image_raw", "16UC1", "femto_depth_optical_frame"),
            ("/femto/ir/image_raw", "mono16", "femto_ir_optical_frame"),
        ],
        ("/femto/color/image_raw", "/femto/depth/image_raw", None),
    ),
    "astra with its overlay": (
        [
            ("/camera/color/image_raw", "rgb8", ASTRA[0]),
            ("/camera/depth/image_raw", "16UC1", ASTRA[1]),
            ("/camera/ir/image_raw", "mono8", ASTRA[2]),
            ("/camera/d2c_overlay", "rgb8", ASTRA[0]),
        ],
        ("/camera/color/image_raw", "/camera/depth/image_raw", None),
    ),
    "openni": (
        [
            ("/camera/rgb/image_raw", "rgb8", "camera_rgb_optical_frame"),
            ("/camera/rgb/image_color", "rgb8", "camera_rgb_optical_frame"),
            ("/camera/rgb/image_mono", "mono8", "camera_rgb_optical_frame"),
            ("/camera/rgb/image_rect_color", "rgb8", "camera_rgb_optical_frame"),
            ("/camera/depth_registered/image_raw", "16UC1", "camera_rgb_optical_frame"),
            ("/camera/depth_registered/hw_registered/image_rect_raw", "16UC1",
             "camera_rgb_optical_frame"),
            ("/camera/depth_registered/hw_registered/image_rect", "32FC1",
             "camera_rgb_optical_frame"),
            ("/camera/depth/image_raw", "16UC1", "camera_depth_optical_frame"),
            ("/camera/ir/image_raw", "mono16", "camera_depth_optical_frame"),
        ],
        (
            "/camera/rgb/image_raw",
            "/camera/depth_registered/image_raw",
            "/camera/depth/image_raw",
        ),
    ),
    "openni rectified": (
        [
            ("/camera/rgb/image_rect_color", "rgb8", "camera_rgb_optical_frame"),
            ("/camera/depth_registered/hw_registered/image_rect", "32FC1",
             "camera_rgb_optical_frame"),
        ],
        (
            "/camera/rgb/image_rect_color",
            "/camera/depth_registered/hw_registered/image_rect",
            None,
        ),
    ),
    "oak": (
        [
            ("/oak/rgb/image_raw", "bgr8", OAK_FRAMES[0]),
            ("/oak/rgb/image_raw/compressed", "jpeg", OAK_FRAMES[0]),
            ("/oak/rgb/preview/image_raw", "bgr8", OAK_FRAMES[0]),
            ("/oak/left/image_raw", "mono8", OAK_FRAMES[1]),
            ("/oak/right/image_raw", "mono8", OAK_FRAMES[2]),
            ("/oak/stereo/image_raw", "16UC1", OAK_FRAMES[0]),
            ("/oak/stereo/image_raw/compressedDepth", "compressedDepth", OAK_FRAMES[0]),
        ],
        ("/oak/rgb/image_raw", "/oak/stereo/image_raw", None),
    ),
    "depthai examples": (
        [
            (f"{DEPTHAI}/color/image", "bgr8", OAK_FRAMES[0]),
            (f"{DEPTHAI}/left/image_rect", "mono8", OAK_FRAMES[1]),
            (f"{DEPTHAI}/right/image_rect", "mono8", OAK_FRAMES[2]),
            (f"{DEPTHAI}/stereo/depth", "16UC1", OAK_FRAMES[0]),
        ],
        (f"{DEPTHAI}/color/image", f"{DEPTHAI}/stereo/depth", None),
    ),
    "kinect 2": (
        [
            *(
                (f"/kinect2/{size}/image_{form}", encoding, KINECT2[0])
                for size in ("hd", "qhd")
                for form, encoding in (
                    ("color", "bgr8"), ("mono", "mono8"), ("depth_rect", "16UC1"),
                )
            ),
            ("/kinect2/sd/image_color_rect", "bgr8", KINECT2[1]),
            ("/kinect2/sd/image_depth", "16UC1", KINECT2[1]),
            ("/kinect2/sd/image_depth_rect", "16UC1", KINECT2[1]),
            ("/kinect2/sd/image_ir", "16UC1", KINECT2[1]),
            ("/kinect2/sd/image_ir_rect", "16UC1", KINECT2[1]),
        ],
        ("/kinect2/qhd/image_color", "/kinect2/qhd/image_depth_rect", "/kinect2/sd/image_depth"),
    ),
    "kinect 2 at one size": (
        [
            ("/kinect2/qhd/image_color", "bgr8", KINECT2[0]),
            ("/kinect2/qhd/image_color/compressed", "jpeg", KINECT2[0]),
            ("/kinect2/qhd/image_depth_rect", "16UC1", KINECT2[0]),
        ],
        ("/kinect2/qhd/image_color", "/kinect2/qhd/image_depth_rect", None),
    ),
    "tum rgb-d": (
        [
            ("/camera/rgb/image_color", "rgb8", "/openni_rgb_optical_frame"),
            ("/camera/depth/image", "32FC1", "/openni_rgb_optical_frame"),
        ],
        ("/camera/rgb/image_color", "/camera/depth/image", None),
    ),
    "gazebo classic": (
        [
            (f"{R200}/image_raw", "rgb8", "camera_rgb_optical_frame"),
            (f"{R200}/image_raw/compressed", "jpeg", "camera_rgb_optical_frame"),
            (f"{R200}/depth/image_raw", "32FC1", "camera_rgb_optical_frame"),
        ],
        (f"{R200}/image_raw", f"{R200}/depth/image_raw", None),
    ),
    "gazebo rgbd_camera": (
        [
            ("/rgbd_camera/image", "rgb8", "robot/base/rgbd_camera"),
            ("/rgbd_camera/depth_image", "32FC1", "robot/base/rgbd_camera"),
        ],
        ("/rgbd_camera/image", "/rgbd_camera/depth_image", None),
    ),
    "isaac sim": (
        [
            ("/rgb", "rgb8", "sim_camera"),
            ("/depth", "32FC1", "sim_camera"),
            ("/semantic_segmentation", "32SC1", "sim_camera"),
            ("/instance_segmentation", "32SC1", "sim_camera"),
        ],
        ("/rgb", "/depth", None),
    ),
    "isaac stereo camera": (
        [
            ("/front_stereo_camera/left/image_raw", "rgb8", "front_stereo_camera_left_optical"),
            ("/front_stereo_camera/right/image_raw", "rgb8", "front_stereo_camera_right_optical"),
            ("/front_stereo_camera/depth", "32FC1", "front_stereo_camera_left_optical"),
        ],
        ("/front_stereo_camera/left/image_raw", "/front_stereo_camera/depth", None),
    ),
    "realsense sdk": (
        [
            ("/device_0/sensor_0/Depth_0/image/data", "mono16", "0"),
            ("/device_0/sensor_0/Infrared_1/image/data", "mono8", "0"),
            ("/device_0/sensor_1/Color_0/image/data", "rgb8", "0"),
        ],
        (
            "/device_0/sensor_1/Color_0/image/data",
            "/device_0/sensor_0/Depth_0/image/data",
            None,
        ),
    ),
    "hsr": (
        [
            ("/hsrb/head_rgbd_sensor/rgb/image_rect_color", "rgb8", "head_rgbd_sensor_rgb_frame"),
            ("/hsrb/head_rgbd_sensor/depth_registered/image_rect_raw", "16UC1",
             "head_rgbd_sensor_rgb_frame"),
            ("/hsrb/head_l_stereo_camera/image_rect_color", "bgr8", "head_l_stereo_camera_frame"),
            ("/hsrb/hand_camera/image_raw", "rgb8", "hand_camera_frame"),
        ],
        (
            "/hsrb/head_rgbd_sensor/rgb/image_rect_color",
            "/hsrb/head_rgbd_sensor/depth_registered/image_rect_raw",
            None,
        ),
    ),
    "gray and time of flight": (
        [("/gray", "mono8", "a"), ("/tof", "16UC1", "b")],
        ("/gray", "/tof", None),
    ),
    "realsense with computed images": (
        [
            *realsense("/camera"),
            ("/segmenter/mask", "mono8", "camera_color_optical_frame"),
            ("/segmenter/overlay", "rgb8", "camera_color_optical_frame"),
            ("/truth", "mono8", "camera_color_optical_frame"),
            ("/camera/depth/colormap", "rgb8", "camera_depth_optical_frame"),
            ("/camera/colorized_depth", "rgb8", "camera_color_optical_frame"),
            ("/yolo/detections_image", "bgr8", "camera_color_optical_frame"),
            ("/thermal/image_raw", "mono16", "thermal"),
        ],
        (
            "/camera/color/image_raw",
            "/camera/aligned_depth_to_color/image_raw",
            "/camera/depth/image_rect_raw",
        ),
    ),
}  # fmt: skip


@pytest.mark.parametrize("driver", DRIVERS)
@pytest.mark.parametrize("backward", [False, True], ids=["", "backward"])
def test_topics_of_drivers(tmp_path: Path, driver: str, backward: bool) -> None:
    rows, expected = DRIVERS[driver]
    rows = list(rows)
    write_topics(tmp_path / "bag", rows[::-1] if backward else rows)
    with BagReader(tmp_path / "bag") as reader:
        found = choose_topics(reader, {})
    assert (found.rgb, found.depth, found.depth_raw) == expected
    assert not found.notes
