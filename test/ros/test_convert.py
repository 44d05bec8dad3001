# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Conversion of ROS messages to frames and back: views, padding, byte order, any content."""

from __future__ import annotations

import array
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2: source /opt/ros/<distro>/setup.bash")

from builtin_interfaces.msg import Time as Stamp
from rclpy.serialization import deserialize_message, serialize_message
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_msgs.msg import Header

from rgbd_seg_ros.frames import CompressedFrame, Defect, Frame
from rgbd_seg_ros.ros.convert import Converter, header, image_message

pytestmark = pytest.mark.ros

RNG = np.random.default_rng(0)
RGB = RNG.integers(0, 255, (6, 8, 3), dtype=np.uint8)
GRAY = RGB[..., 0].copy()
TICKS = RNG.integers(500, 4000, (6, 8), dtype=np.uint16)
METERS = (TICKS / 1000).astype(np.float32)


def message(pixels: np.ndarray, encoding: str, padding: int = 0, big: bool = False) -> Image:
    """A message as a driver sends it, serialized and deserialized once."""
    rows = pixels.reshape(pixels.shape[0], -1)
    if big:
        rows = rows.astype(rows.dtype.newbyteorder(">"))
    data = b"".join(row.tobytes() + b"\xab" * padding for row in rows)
    step = len(data) // pixels.shape[0]
    image = Image(header=Header(stamp=Stamp(sec=7, nanosec=5), frame_id="cam"), encoding=encoding)
    image.height, image.width, image.step = pixels.shape[0], pixels.shape[1], step
    image.is_bigendian = int(big)
    image.data = array.array("B", data)
    return deserialize_message(serialize_message(image), Image)


COLOR = {
    "rgb8": RGB,
    "bgr8": RGB[..., ::-1],
    "rgba8": np.dstack([RGB, GRAY]),
    "bgra8": np.dstack([RGB[..., ::-1], GRAY]),
}


@pytest.mark.parametrize("padding", [0, 5])
@pytest.mark.parametrize("encoding", COLOR)
def test_color(encoding: str, padding: int) -> None:
    frame = Converter()("rgb", message(COLOR[encoding], encoding, padding))
    assert isinstance(frame, Frame)
    assert np.array_equal(frame.array, RGB)
    assert (frame.stamp_ns, frame.frame_id, frame.encoding) == (7_000_000_005, "cam", encoding)


def test_gray_becomes_three_channels() -> None:
    frame = Converter()("rgb", message(GRAY, "mono8", 3))
    assert np.array_equal(frame.array, np.repeat(GRAY[..., None], 3, axis=2))


@pytest.mark.parametrize("padding", [0, 4])
@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize(("encoding", "pixels"), [("16UC1", TICKS), ("32FC1", METERS)])
def test_depth(encoding: str, pixels: np.ndarray, big: bool, padding: int) -> None:
    frame = Converter()("depth", message(pixels, encoding, padding, big))
    assert frame.array.dtype == pixels.dtype
    assert np.array_equal(frame.array, pixels)


def test_rgb8_is_a_view_of_the_message() -> None:
    image = message(RGB, "rgb8")
    frame = Converter()("rgb", image)
    assert np.shares_memory(frame.array, np.frombuffer(image.data, np.uint8))


def test_a_truncated_message_is_malformed() -> None:
    image = message(TICKS, "16UC1")
    image.data = image.data[:-1]
    defect = Converter()("depth", image)
    assert isinstance(defect, Defect)
    assert defect.reason == "malformed"
    assert "truncated" in defect.detail


def test_colors_of_16_bits() -> None:
    wide = (RGB.astype(np.uint16) << 8) | RGB
    frame = Converter()("rgb", message(wide, "rgb16"))
    assert isinstance(frame, Frame)
    assert np.array_equal(frame.array, RGB)


@pytest.mark.parametrize("stream", ["rgb", "depth", "depth_raw"])
@pytest.mark.parametrize(
    "encoding", ["rgb16", "bayer_rggb16", "16UC1", "no such\nencoding" * 9999]
)
def test_a_short_step_is_a_defect(stream: Any, encoding: str) -> None:
    image = message(np.zeros((30, 1), np.uint8), encoding)
    defect = Converter()(stream, image)
    assert isinstance(defect, Defect)
    assert len(defect.detail) < 700
    assert "\n" not in defect.detail


def test_no_message_raises() -> None:
    convert = Converter()
    for stream in ("rgb", "depth", "depth_raw"):
        for anything in (None, Image(), CompressedImage(), CameraInfo(), SimpleNamespace(pts=3)):
            assert isinstance(convert(stream, anything), Defect)  # type: ignore[arg-type]


def test_the_limit_of_pixels() -> None:
    assert isinstance(Converter(48)("rgb", message(RGB, "rgb8")), Frame)
    defect = Converter(47)("rgb", message(RGB, "rgb8"))
    assert isinstance(defect, Defect)
    assert "max_image_pixels allows 47 pixels" in defect.detail


def test_compressed_color_and_depth_are_decoded_on_demand() -> None:
    convert = Converter()
    color = CompressedImage(format="rgb8; png compressed bgr8")
    color.data = array.array("B", cv2.imencode(".png", RGB[..., ::-1])[1].tobytes())
    depth = CompressedImage(format="16UC1; compressedDepth png")
    depth.data = array.array("B", bytes(12) + cv2.imencode(".png", TICKS)[1].tobytes())
    for stream, item, pixels in (("rgb", color, RGB), ("depth", depth, TICKS)):
        frame = convert(stream, item)  # type: ignore[arg-type]
        assert isinstance(frame, CompressedFrame)
        assert frame.size == (6, 8)
        assert np.array_equal(frame.decode().array, pixels)


def test_later_frames_carry_the_intrinsics() -> None:
    convert = Converter()
    info = CameraInfo(width=8, height=6)
    info.k = [5.0, 0.0, 4.0, 0.0, 5.0, 3.0, 0.0, 0.0, 1.0]
    assert convert("rgb", message(RGB, "rgb8")).intrinsics is None
    convert.camera_info("rgb", info)
    assert convert("rgb", message(RGB, "rgb8")).intrinsics.fx == 5.0
    assert convert("depth", message(TICKS, "16UC1")).intrinsics is None


@pytest.mark.parametrize(("pixels", "encoding"), [(GRAY, "mono8"), (RGB, "rgb8")])
def test_published_images_are_byte_arrays(pixels: np.ndarray, encoding: str) -> None:
    # Also for non-contiguous views, such as crops and flips.
    for view in (pixels, pixels[::2, ::-1]):
        image = image_message(view, header(7_000_000_005, "cam"))
        assert type(image.data) is array.array
        image = deserialize_message(serialize_message(image), Image)
        shape = (image.height, image.width, -1)
        assert np.array_equal(np.frombuffer(image.data, np.uint8).reshape(shape).squeeze(), view)
        assert image.step * image.height == len(image.data)
        assert (image.encoding, image.header.stamp.nanosec) == (encoding, 5)
