# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Image messages: every encoding, padding, byte order and compression, and malformed ones."""

from __future__ import annotations

import array
import struct
from types import SimpleNamespace as Namespace

import cv2
import numpy as np
import pytest

from rgbd_seg_ros.frames import Defect, Frame
from rgbd_seg_ros.images import (
    COLOR_ENCODINGS,
    DEPTH_ENCODINGS,
    stamp_ns,
    to_frame,
    to_intrinsics,
    to_mask,
)

HEADER = Namespace(stamp=Namespace(sec=12, nanosec=345), frame_id="camera_color_optical_frame")
COLOR = (200, 100, 50)
HEIGHT, WIDTH = 6, 8
#: BT.601 limited range, as YUV cameras send it.
Y, U, V = 128, 90, 178


def _image(pixels, encoding, padding=0, big=0):  # type: ignore[no-untyped-def]
    """An Image message of ``pixels`` with ``padding`` bytes after each row."""
    rows = np.ascontiguousarray(pixels).reshape(pixels.shape[0], -1).view(np.uint8)
    rows = np.pad(rows, ((0, 0), (0, padding)), constant_values=77)
    return Namespace(
        header=HEADER,
        height=pixels.shape[0],
        width=pixels.shape[1],
        encoding=encoding,
        is_bigendian=big,
        step=rows.shape[1],
        data=array.array("B", rows.tobytes()),
    )


def _mosaic(pattern: str) -> np.ndarray:
    value = dict(zip("rgb", COLOR, strict=True))
    tile = np.array(
        [[value[pattern[0]], value[pattern[1]]], [value[pattern[2]], value[pattern[3]]]]
    )
    return np.tile(tile, (HEIGHT // 2, WIDTH // 2)).astype(np.uint8)


def _plain(encoding: str) -> np.ndarray:
    """An image of one color, or of the nearest color in this encoding, as a camera sends it."""
    if encoding.startswith("bayer"):
        return _mosaic(encoding[6:10])
    tuples = {
        "rgb8": COLOR,
        "bgr8": COLOR[::-1],
        "rgba8": (*COLOR, 255),
        "bgra8": (*COLOR[::-1], 255),
        "mono8": (150,),
        "8UC1": (150,),
    }
    if encoding in tuples:
        return np.full((HEIGHT, WIDTH, len(tuples[encoding])), tuples[encoding], np.uint8)
    pair = [U, Y, V, Y] if encoding in ("yuv422", "uyvy") else [Y, U, Y, V]
    return np.tile(np.array(pair, np.uint8).reshape(1, 2, 2), (HEIGHT, WIDTH // 2, 1))


def _expected(encoding: str) -> tuple[float, ...]:
    if encoding in ("mono8", "8UC1"):
        return (150, 150, 150)
    if not encoding.startswith("yu") and encoding != "uyvy":
        return COLOR
    luma = 1.164 * (Y - 16)
    u, v = U - 128, V - 128
    return (luma + 1.596 * v, luma - 0.391 * u - 0.813 * v, luma + 2.018 * u)


@pytest.mark.parametrize("padding", [0, 5])
@pytest.mark.parametrize("encoding", COLOR_ENCODINGS)
def test_every_color_encoding_becomes_rgb(encoding: str, padding: int) -> None:
    frame = to_frame(_image(_plain(encoding), encoding, padding), "rgb")
    assert isinstance(frame, Frame)
    assert frame.array.shape == (HEIGHT, WIDTH, 3)
    assert frame.array.dtype == np.uint8
    np.testing.assert_allclose(
        frame.array.reshape(-1, 3), np.tile(_expected(encoding), (HEIGHT * WIDTH, 1)), atol=1.5
    )
    assert (frame.stamp_ns, frame.encoding) == (12_000_000_345, encoding)
    assert frame.frame_id == "camera_color_optical_frame"


@pytest.mark.parametrize("padding", [0, 6])
@pytest.mark.parametrize("big", [0, 1])
@pytest.mark.parametrize("encoding", DEPTH_ENCODINGS)
def test_every_depth_encoding_keeps_its_values(encoding: str, big: int, padding: int) -> None:
    native = np.dtype(DEPTH_ENCODINGS[encoding])
    values = (np.arange(HEIGHT * WIDTH).reshape(HEIGHT, WIDTH) * 257).astype(native)
    sent = values.astype(native.newbyteorder(">" if big else "<"))
    frame = to_frame(_image(sent, encoding, padding, big), "depth_raw")
    assert isinstance(frame, Frame)
    assert frame.array.dtype == native
    np.testing.assert_array_equal(frame.array, values)


def test_rgb8_and_native_depth_are_views_of_the_message() -> None:
    rgb = _image(_plain("rgb8"), "rgb8", padding=3)
    depth = _image(np.ones((HEIGHT, WIDTH), np.uint16), "16UC1")
    for message, stream in ((rgb, "rgb"), (depth, "depth")):
        frame = to_frame(message, stream)  # type: ignore[arg-type]
        assert isinstance(frame, Frame)
        assert np.shares_memory(frame.array, np.frombuffer(message.data, np.uint8))


@pytest.mark.parametrize(
    ("stream", "change", "detail"),
    [
        (
            "rgb",
            {"encoding": "rgb9"},
            "unknown color encoding 'rgb9'; did you mean 'rgb8'? (known: rgb8, bgr8",
        ),
        ("rgb", {"encoding": "16UC1"}, "unknown color encoding"),
        (
            "depth",
            {"encoding": "rgb8"},
            "unknown depth encoding 'rgb8' (known: 16UC1, mono16, 32FC1)",
        ),
        ("rgb", {"height": 0}, "8×0"),
        ("rgb", {"width": 0}, "0×6"),
        ("rgb", {"step": 23}, "step is 23 bytes but a row of 8 rgb8 pixels has 24"),
        ("rgb", {"step": 0}, "step is 0"),
        ("rgb", {"data": b"\0" * 143}, "143 bytes, step 24 × height 6 needs 144"),
        ("rgb", {"data": b""}, "0 bytes"),
        ("rgb", {"data": None}, "TypeError"),
        ("rgb", {"encoding": "yuyv", "width": 7, "step": 14}, "error"),
        ("rgb", {"header": Namespace()}, "AttributeError"),
    ],
)
def test_bad_images_become_defects(stream, change, detail) -> None:  # type: ignore[no-untyped-def]
    message = _image(_plain("rgb8"), "rgb8")
    for name, value in change.items():
        setattr(message, name, value)
    defect = to_frame(message, stream)
    assert isinstance(defect, Defect)
    assert defect.reason == "malformed"
    assert detail in defect.detail
    assert "\n" not in defect.detail
    assert defect.stamp_ns == (None if "header" in change else 12_000_000_345)


def _compressed(data: bytes, text: str) -> Namespace:
    return Namespace(header=HEADER, format=text, data=array.array("B", data))


def _encode(suffix: str, image: np.ndarray) -> bytes:
    done, data = cv2.imencode(suffix, image)
    assert done
    return bytes(data)


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
@pytest.mark.parametrize(
    ("text", "swapped"),
    [
        ("jpeg", False),
        ("rgb8; jpeg compressed bgr8", False),
        ("bgr8; png compressed bgr8", False),
        ("rgb8; jpeg compressed ", True),  # imdecode already returns RGB
        ("mono8; jpeg compressed ", False),
    ],
)
def test_compressed_color(suffix: str, text: str, swapped: bool) -> None:
    bgr = np.full((HEIGHT, WIDTH, 3), COLOR[::-1], np.uint8)
    frame = to_frame(_compressed(_encode(suffix, bgr), text), "rgb")
    assert isinstance(frame, Frame)
    expected = COLOR[::-1] if swapped else COLOR
    np.testing.assert_allclose(frame.array[3, 3], expected, atol=3)


def test_compressed_gray_becomes_rgb() -> None:
    gray = np.full((HEIGHT, WIDTH), 90, np.uint8)
    frame = to_frame(_compressed(_encode(".png", gray), "mono8; png compressed "), "rgb")
    assert isinstance(frame, Frame)
    assert (frame.array == 90).all()
    assert frame.array.shape == (HEIGHT, WIDTH, 3)


DEPTH_MM = np.array([[0, 500, 1000], [2345, 9999, 65535]], np.uint16)


@pytest.mark.parametrize("text", ["16UC1; compressedDepth png", "16UC1; compressedDepth", "png"])
@pytest.mark.parametrize("header", [b"", struct.pack("<iff", -1, 0, 0)])
def test_compressed_depth_in_ticks(text: str, header: bytes) -> None:
    frame = to_frame(_compressed(header + _encode(".png", DEPTH_MM), text), "depth")
    assert isinstance(frame, Frame)
    assert frame.encoding == "16UC1"
    np.testing.assert_array_equal(frame.array, DEPTH_MM)


def test_compressed_depth_in_meters_is_decoded() -> None:
    # As compressed_depth_image_transport does it: A = q (q + 1), B = 1 − A / Z_max.
    quantization, far_m = 100.0, 10.0
    a = quantization * (quantization + 1)
    b = 1 - a / far_m
    depth_m = np.array([[np.nan, 0.5, 1.0], [2.345, 5.0, 9.9]], np.float32)
    inverse = np.nan_to_num(a / depth_m + b).astype(np.uint16)
    data = struct.pack("<iff", 0, a, b) + _encode(".png", inverse)
    frame = to_frame(_compressed(data, "32FC1; compressedDepth png"), "depth")
    assert isinstance(frame, Frame)
    assert frame.array.dtype == np.float32
    assert frame.encoding == "32FC1"
    assert np.isnan(frame.array[0, 0])
    # One step of q is Z² / A meters.
    np.testing.assert_allclose(frame.array, depth_m, atol=float(9.9**2 / a))


@pytest.mark.parametrize(
    ("stream", "data", "text", "detail"),
    [
        ("rgb", b"", "jpeg", "no bytes"),
        ("rgb", b"\xff\xd8 no jpeg", "jpeg", "cannot decode these 10 bytes of 'jpeg'"),
        ("rgb", _encode(".png", DEPTH_MM), "16UC1; compressedDepth png", "is depth, not color"),
        ("depth", b"", "16UC1; compressedDepth png", "no bytes"),
        ("depth", b"short", "16UC1; compressedDepth png", "is not a PNG"),
        ("depth", bytes(12) + b"rvl bytes", "16UC1; compressedDepth rvl", "format png"),
        ("depth", _encode(".png", DEPTH_MM)[:60], "16UC1; png compressed ", "unreadable"),
        ("depth", _encode(".png", np.zeros((4, 4), np.uint8)), "png", "uint8 (4, 4)"),
        ("depth", _encode(".png", DEPTH_MM), "32FC1; compressedDepth png", "12-byte header"),
    ],
)
def test_bad_compressed_images_become_defects(stream, data, text, detail) -> None:  # type: ignore[no-untyped-def]
    defect = to_frame(_compressed(data, text), stream)
    assert isinstance(defect, Defect)
    assert detail in defect.detail


def test_masks_keep_their_ids() -> None:
    ids = np.arange(HEIGHT * WIDTH, dtype=np.uint8).reshape(HEIGHT, WIDTH)
    frame = to_mask(_image(ids, "mono8", padding=2))
    assert isinstance(frame, Frame)
    np.testing.assert_array_equal(frame.array, ids)
    defect = to_mask(_image(_plain("rgb8"), "rgb8"))
    assert isinstance(defect, Defect)
    assert "unknown mask encoding" in defect.detail


def _info(k, **changes):  # type: ignore[no-untyped-def]
    region = Namespace(x_offset=0, y_offset=0, width=0, height=0)
    fields = {"width": 640, "height": 480, "k": k, "binning_x": 0, "binning_y": 0, "roi": region}
    return Namespace(**{**fields, **changes})


def test_intrinsics() -> None:
    k = [600.0, 0, 319.5, 0, 610.0, 239.5, 0, 0, 1]
    full = to_intrinsics(_info(k))
    assert full is not None
    assert (full.fx, full.fy, full.cx, full.cy) == (600, 610, 319.5, 239.5)
    assert (full.width, full.height) == (640, 480)
    half = to_intrinsics(_info(k, binning_x=2, binning_y=2))
    assert half == full.resized(320, 240)
    region = Namespace(x_offset=100, y_offset=40, width=200, height=100)
    part = to_intrinsics(_info(k, roi=region))
    assert part is not None
    assert (part.cx, part.cy, part.width, part.height) == (219.5, 199.5, 200, 100)
    old = _info(k)
    old.K = old.k
    del old.k
    assert to_intrinsics(old) == full
    assert to_intrinsics(_info([0.0] * 9)) is None
    assert to_intrinsics(_info([*k[:2], float("nan"), *k[3:]])) is None
    assert to_intrinsics(_info(k, width=0)) is None


def test_stamp() -> None:
    assert stamp_ns(HEADER) == 12_000_000_345
