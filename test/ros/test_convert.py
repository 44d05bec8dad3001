# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Conversion of messages to frames and back: views, padding, byte order, cv_bridge."""

from __future__ import annotations

import array
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2: source /opt/ros/<distro>/setup.bash")

from builtin_interfaces.msg import Time as Stamp
from rclpy.serialization import deserialize_message, serialize_message
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_msgs.msg import Header

from rgbd_seg_ros.frames import Defect, Frame
from rgbd_seg_ros.ros.convert import Converter, header, image_message
from rgbd_seg_ros.ros.log_once import LogOnce

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
    frame = Converter(LogOnce(pytest.fail))("rgb", message(COLOR[encoding], encoding, padding))
    assert isinstance(frame, Frame)
    assert np.array_equal(frame.array, RGB)
    assert (frame.stamp_ns, frame.frame_id, frame.encoding) == (7_000_000_005, "cam", encoding)


def test_gray_becomes_three_channels() -> None:
    frame = Converter(LogOnce(pytest.fail))("rgb", message(GRAY, "mono8", 3))
    assert np.array_equal(frame.array, np.repeat(GRAY[..., None], 3, axis=2))


@pytest.mark.parametrize("padding", [0, 4])
@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize(("encoding", "pixels"), [("16UC1", TICKS), ("32FC1", METERS)])
def test_depth(encoding: str, pixels: np.ndarray, big: bool, padding: int) -> None:
    frame = Converter(LogOnce(pytest.fail))("depth", message(pixels, encoding, padding, big))
    assert frame.array.dtype == pixels.dtype
    assert np.array_equal(frame.array, pixels)


def test_rgb8_is_a_view_of_the_message() -> None:
    image = message(RGB, "rgb8")
    frame = Converter(LogOnce(pytest.fail))("rgb", image)
    assert np.shares_memory(frame.array, np.frombuffer(image.data, np.uint8))


def test_a_truncated_message_is_malformed_and_logged_once() -> None:
    lines: list[str] = []
    convert = Converter(LogOnce(lines.append))
    image = message(TICKS, "16UC1")
    image.data = image.data[:-1]
    for _ in range(2):
        defect = convert("depth", image)
        assert isinstance(defect, Defect)
        assert defect.reason == "malformed"
        assert "truncated" in defect.detail
    assert lines == [f"unusable depth message: {defect.detail}"]


def test_cv_bridge_converts_other_encodings() -> None:
    pytest.importorskip("cv_bridge", reason="cv_bridge is not installed")
    wide = (RGB.astype(np.uint16) << 8) | RGB
    frame = Converter(LogOnce(pytest.fail))("rgb", message(wide, "rgb16"))
    assert isinstance(frame, Frame)
    assert np.abs(frame.array.astype(int) - RGB).max() <= 1


def test_without_cv_bridge_other_encodings_are_defects(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cv_bridge", None)
    lines: list[str] = []
    convert = Converter(LogOnce(lines.append))
    for _ in range(3):
        assert isinstance(convert("rgb", message(RGB.astype(np.uint16), "rgb16")), Defect)
    assert len(lines) == 2
    assert "numpy" in lines[0]
    assert lines[1].startswith("unusable rgb message")
    assert isinstance(convert("rgb", message(RGB, "rgb8")), Frame)


def test_cv_bridge_built_for_another_numpy(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "cv_bridge.py").write_text("raise AttributeError('_ARRAY_API not found')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "cv_bridge", raising=False)
    lines: list[str] = []
    defect = Converter(LogOnce(lines.append))("depth", message(TICKS, "bayer_rggb16"))
    assert isinstance(defect, Defect)
    assert "_ARRAY_API" in lines[0]


def test_compressed_color_and_depth() -> None:
    convert = Converter(LogOnce(pytest.fail))
    png = cv2.imencode(".png", RGB[..., ::-1])[1].tobytes()
    color = CompressedImage(format="rgb8; png compressed bgr8")
    color.data = array.array("B", png)
    assert np.array_equal(convert("rgb", color).array, RGB)
    depth = CompressedImage(format="16UC1; compressedDepth png")
    depth.data = array.array("B", bytes(12) + cv2.imencode(".png", TICKS)[1].tobytes())
    assert np.array_equal(convert("depth", depth).array, TICKS)


def test_later_frames_carry_the_intrinsics() -> None:
    convert = Converter(LogOnce(pytest.fail))
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
