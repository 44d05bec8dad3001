# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Image messages: what is told without decoding, compressed color, any content, camera_info."""

from __future__ import annotations

import struct
import zlib
from types import SimpleNamespace as Namespace
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rigs.messages import (
    HEADER,
    STAMP_NS,
    compressed_message,
    config_header,
    encode,
    image_message,
    rvl,
)

from rgbd_seg_ros.encodings import COLOR_ENCODINGS, DEPTH_ENCODINGS
from rgbd_seg_ros.frames import STREAMS, CompressedFrame, Defect, Frame, Intrinsics
from rgbd_seg_ros.images import (
    compressed_kind,
    inspect,
    stamp_ns,
    to_frame,
    to_intrinsics,
    to_mask,
)

RNG = np.random.default_rng(0)
HEIGHT, WIDTH = 16, 24
RGB = RNG.integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
BGR = np.ascontiguousarray(RGB[..., ::-1])
RGB16 = RNG.integers(0, 65536, (HEIGHT, WIDTH, 3), np.uint16)
DEPTH = RNG.integers(0, 65536, (HEIGHT, WIDTH), np.uint16)
INTRINSICS = Intrinsics(5.0, 5.0, 4.0, 3.0, WIDTH, HEIGHT)


def test_raw_images_are_decoded_at_once() -> None:
    for message, stream in (
        (image_message(RGB, "rgb8"), "rgb"),
        (image_message(DEPTH, "16UC1"), "depth"),
    ):
        frame = inspect(message, stream, INTRINSICS)  # type: ignore[arg-type]
        assert isinstance(frame, Frame)
        assert frame.intrinsics is INTRINSICS


def test_compressed_images_are_decoded_on_demand() -> None:
    for data, stream, encoding in (
        (encode(".png", BGR), "rgb", "rgb8"),
        (encode(".png", DEPTH), "depth", "16UC1"),
    ):
        message = compressed_message(data, f"{encoding}; png compressed bgr8")
        item = inspect(message, stream, INTRINSICS)  # type: ignore[arg-type]
        assert isinstance(item, CompressedFrame)
        assert (item.size, item.stamp_ns, item.frame_id) == (
            (HEIGHT, WIDTH),
            STAMP_NS,
            HEADER.frame_id,
        )
        frame = item.decode()
        assert isinstance(frame, Frame)
        assert (frame.size, frame.stamp_ns, frame.frame_id) == (
            item.size,
            STAMP_NS,
            HEADER.frame_id,
        )
        assert (frame.encoding, frame.intrinsics, item.intrinsics) == (
            encoding,
            INTRINSICS,
            INTRINSICS,
        )


# --- Compressed color --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "swapped"),
    [
        ("jpeg", False),
        ("jpg", False),
        ("JPEG", False),
        ("png", False),
        ("image/webp", False),
        ("", False),
        ("rgb8; jpeg compressed bgr8", False),
        ("RGB8; JPEG compressed BGR8", False),
        ("bgr8; png compressed bgr8", False),
        ("rgb8;jpeg compressed bgr8", False),
        ("bgra8; tiff compressed bgr8", False),
        ("8UC3; png compressed ", False),
        ("yuv422; jpeg compressed bgr8", False),
        ("rgb8; jpeg compressed ", True),  # RGB was encoded as if it were BGR
        ("bgr8; png compressed rgb8", True),
        ("mono8; jpeg compressed ", False),
    ],
)
@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tiff", ".bmp", ".ppm"])
def test_color_is_told_by_its_header(suffix: str, text: str, swapped: bool) -> None:
    color = (200, 100, 50)
    data = encode(suffix, np.full((HEIGHT, WIDTH, 3), color[::-1], np.uint8))
    frame = to_frame(compressed_message(data, text), "rgb")
    assert isinstance(frame, Frame)
    assert frame.array.shape == (HEIGHT, WIDTH, 3)
    expected = np.broadcast_to(color[::-1] if swapped else color, frame.array.shape)
    np.testing.assert_allclose(frame.array, expected, atol=3)
    assert frame.encoding in {*COLOR_ENCODINGS, "compressed"}


@pytest.mark.parametrize("suffix", [".png", ".webp", ".tiff", ".bmp", ".ppm"])
def test_lossless_color_is_exact(suffix: str) -> None:
    options = [cv2.IMWRITE_WEBP_QUALITY, 101] if suffix == ".webp" else []
    frame = to_frame(compressed_message(encode(suffix, BGR, *options), suffix), "rgb")
    assert isinstance(frame, Frame)
    np.testing.assert_array_equal(frame.array, RGB)


@pytest.mark.parametrize("alpha", [False, True])
@pytest.mark.parametrize("suffix", [".png", ".tiff"])
def test_color_of_16_bits_is_rounded_as_in_raw_images(suffix: str, alpha: bool) -> None:
    pixels = RGB16[..., ::-1]
    if alpha:
        pixels = np.dstack([pixels, DEPTH])
    message = compressed_message(encode(suffix, pixels), "rgb16; png compressed bgr16")
    frame = to_frame(message, "rgb")
    assert isinstance(frame, Frame)
    np.testing.assert_array_equal(frame.array, np.rint(RGB16 / 257))


@pytest.mark.parametrize("name", ["mono8", "mono16"])
def test_gray_becomes_rgb(name: str) -> None:
    gray = RGB[..., 0] if name == "mono8" else DEPTH
    frame = to_frame(compressed_message(encode(".png", gray), f"{name}; png compressed "), "rgb")
    assert isinstance(frame, Frame)
    expected = gray if name == "mono8" else np.rint(gray / 257)
    np.testing.assert_array_equal(frame.array, np.repeat(expected[..., None], 3, axis=2))


def test_orientation_is_ignored() -> None:
    tag = b"Exif\0\0MM\0*\0\0\0\x08" + struct.pack(">HHHIHHI", 1, 0x0112, 3, 1, 6, 0, 0)
    data = encode(".jpg", BGR)
    data = data[:2] + b"\xff\xe1" + struct.pack(">H", len(tag) + 2) + tag + data[2:]
    frame = to_frame(compressed_message(data, "jpeg"), "rgb")
    assert isinstance(frame, Frame)
    assert frame.size == (HEIGHT, WIDTH)


def _png_header(width: int, height: int, bits: int, color: int) -> bytes:
    chunk = b"IHDR" + struct.pack(">IIBBBBB", width, height, bits, color, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n\0\0\0\x0d" + chunk + struct.pack(">I", zlib.crc32(chunk))


JPEG, PNG = encode(".jpg", cv2.resize(BGR, (640, 480))), encode(".png", BGR)


@pytest.mark.parametrize(
    ("stream", "data", "text", "detail"),
    [
        ("rgb", b"", "jpeg", "no bytes"),
        (
            "rgb",
            b"\xff\xd8 no jpeg",
            "jpeg",
            "unknown image of 10 bytes, format 'jpeg', that starts",
        ),
        ("rgb", b"GIF89a", "gif", "(known: jpeg, png, webp, tiff, bmp, pnm); publish"),
        ("rgb", JPEG[:-1000], "jpeg", f"the JPEG of {len(JPEG) - 1000} bytes has no end"),
        ("rgb", PNG[:-20], "png", "has no end: the message is truncated"),
        ("rgb", PNG[:60] + PNG[-16:], "png", "has no end: the message is truncated"),
        (
            "rgb",
            encode(".png", DEPTH),
            "png",
            "the PNG has one channel of 16 bits, which is depth",
        ),
        ("rgb", encode(".png", DEPTH), "16UC1; compressedDepth png", "depth, not color"),
        ("rgb", config_header() + rvl(DEPTH), "16UC1; compressedDepth rvl", "depth, not color"),
        ("rgb", encode(".pfm", np.ones((4, 4, 3), np.float32)), "pfm", "known: jpeg, png"),
        (
            "rgb",
            encode(".tiff", np.ones((4, 4, 3), np.float32)),
            "tiff",
            "3 channel(s) of 32 bits",
        ),
        ("rgb", b"\0\0\0\x01g", "h264", "is video, whose packets must be decoded in order"),
        ("depth", b"\0\0\0\x01g", "hevc", "is video"),
        ("depth", PNG, "png", "the PNG has 3 channel(s) of 8 bits, but depth has one of 16 bits"),
        ("depth", JPEG, "16UC1; jpeg compressed ", "the JPEG has 3 channel(s) of 8 bits"),
        ("depth", b"short", "16UC1; compressedDepth png", "neither PNG nor RVL of a depth image"),
        ("rgb", _png_header(0, 5, 8, 2), "png", "the image is 0×5"),
        ("rgb", _png_header(2**31 - 1, 1, 8, 2), "png", "max_image_pixels allows 50000000 pixels"),
        ("depth", _png_header(50_001, 1000, 16, 0), "png", "50001×1000, but max_image_pixels"),
        ("rgb", _png_header(50_000, 1000, 8, 2), "png", "has no end"),
    ],
)
def test_bad_compressed_images_become_defects(
    stream: Any, data: bytes, text: str, detail: str
) -> None:
    defect = to_frame(compressed_message(data, text), stream)
    assert isinstance(defect, Defect)
    assert (defect.reason, defect.stamp_ns) == ("malformed", STAMP_NS)
    assert detail in defect.detail


def test_the_limit_applies_to_every_kind_of_image() -> None:
    pixels = HEIGHT * WIDTH
    messages: list[tuple[Any, Any]] = [
        (image_message(RGB, "rgb8"), "rgb"),
        (image_message(DEPTH, "16UC1"), "depth"),
        (compressed_message(PNG, "png"), "rgb"),
        (compressed_message(encode(".png", DEPTH), "png"), "depth"),
        (compressed_message(config_header() + rvl(DEPTH), "16UC1; compressedDepth rvl"), "depth"),
    ]
    for message, stream in messages:
        assert isinstance(to_frame(message, stream, max_pixels=pixels), Frame)
        defect = inspect(message, stream, max_pixels=pixels - 1)
        assert isinstance(defect, Defect)
        assert (
            f"is {WIDTH}×{HEIGHT}, but max_image_pixels allows {pixels - 1} pixels; raise"
            in defect.detail
        )
    mask = image_message(RGB[..., 0], "mono8")
    assert isinstance(to_mask(mask, max_pixels=pixels), Frame)
    assert isinstance(to_mask(mask, max_pixels=pixels - 1), Defect)


def test_a_file_that_decodes_to_another_size_is_a_defect(monkeypatch: pytest.MonkeyPatch) -> None:
    item = inspect(compressed_message(PNG, "png"), "rgb")
    assert isinstance(item, CompressedFrame)
    monkeypatch.setattr(cv2, "imdecode", lambda data, flags: BGR[:5])
    defect = item.decode()
    assert isinstance(defect, Defect)
    assert "decoding gave uint8 (5, 24, 3), but the message promises 24×16 color" in defect.detail


@pytest.mark.parametrize(
    ("data", "text", "kind"),
    [
        (PNG, "png", "color"),
        (JPEG, "", "color"),
        (JPEG, "16UC1; compressedDepth png", "depth"),
        (encode(".jpg", RGB[..., 0]), "jpeg", "mono"),
        (encode(".png", DEPTH), "png", "depth"),
        (encode(".png", DEPTH), "mono16; png compressed ", "mono"),
        (encode(".tiff", DEPTH.astype(np.float32)), "32FC1; tiff compressed ", "depth"),
        (config_header() + encode(".png", DEPTH), "16UC1; compressedDepth png", "depth"),
        (config_header() + rvl(DEPTH), "16UC1; compressedDepth rvl", "depth"),
        (b"\0\0\0\x01g", "h264", "video"),
        (b"\0\0\0\x01g", "rgb8; libx265", None),
        (b"anything", "jpeg", None),
        (b"", "", None),
    ],
)
def test_kind(data: bytes, text: str, kind: str | None) -> None:
    assert compressed_kind(compressed_message(data, text)) == kind


def test_kind_of_no_message() -> None:
    assert compressed_kind(None) is None
    assert compressed_kind(Namespace(format=3, data=None)) is None


# --- Any content -------------------------------------------------------------------------------


@pytest.mark.parametrize("field", ["encoding", "format", "frame_id"])
def test_long_text_makes_no_long_line(field: str) -> None:
    text = "x\n" * 50_000
    for stream in STREAMS:
        message = image_message(RGB, "rgb8") if field != "format" else compressed_message(PNG, "")
        setattr(message, field, text)
        if field == "frame_id":
            message.header = Namespace(stamp=HEADER.stamp, frame_id=text)
        for data in (message.data, b"unknown"):
            message.data = data
            item = to_frame(message, stream)
            line = item.detail if isinstance(item, Defect) else item.encoding
            assert len(line) < 700
            assert "\n" not in line


_ANY = st.one_of(
    st.none(),
    st.integers(),
    st.floats(),
    st.text(max_size=20),
    st.binary(max_size=200),
    st.lists(st.integers(0, 255), max_size=5),
    st.sampled_from([np.zeros((2, 3), np.uint16)[:, ::2], memoryview(b"abcdef")[::2]]),
)
_SMALL = st.integers(-1, 40)


@settings(max_examples=200, deadline=None)
@given(
    encoding=st.one_of(st.sampled_from([*COLOR_ENCODINGS, *DEPTH_ENCODINGS]), _ANY),
    height=st.one_of(_SMALL, _ANY),
    width=st.one_of(_SMALL, _ANY),
    step=st.one_of(_SMALL, _ANY),
    data=st.one_of(st.binary(max_size=2000), _ANY),
    big=_ANY,
    stream=st.sampled_from(STREAMS),
)
def test_raw_messages_never_raise(
    encoding: Any, height: Any, width: Any, step: Any, data: Any, big: Any, stream: Any
) -> None:
    message = Namespace(
        header=HEADER,
        height=height,
        width=width,
        step=step,
        encoding=encoding,
        data=data,
        is_bigendian=big,
    )
    item = inspect(message, stream)
    assert isinstance(item, Defect) or item.size == (height, width)
    to_mask(message)


_FILES = [
    PNG,
    encode(".png", DEPTH),
    encode(".jpg", BGR),
    encode(".webp", BGR),
    encode(".tiff", BGR),
    config_header(101 * 100, -1000) + encode(".png", DEPTH),
    config_header(101 * 100, -1000) + rvl(DEPTH),
]
_FORMATS = ["", "jpeg", "rgb8; png compressed bgr8", "16UC1; compressedDepth png"]
_FORMATS += ["32FC1; compressedDepth rvl", "16UC1; compressedDepth rvl", "h264", "mono16; png"]


@settings(max_examples=200, deadline=None)
@given(
    text=st.one_of(st.sampled_from(_FORMATS), _ANY),
    data=st.one_of(st.sampled_from(_FILES), st.binary(max_size=200)),
    changes=st.lists(st.tuples(st.integers(0, 3000), st.integers(0, 255)), max_size=4),
    cut=st.integers(0, 3000),
    stream=st.sampled_from(STREAMS),
)
def test_compressed_messages_never_raise(
    text: Any, data: bytes, changes: list[tuple[int, int]], cut: int, stream: Any
) -> None:
    damaged = bytearray(data)
    for at, value in changes:
        damaged[at % max(len(damaged), 1) : at % max(len(damaged), 1) + 1] = bytes([value])
    message = compressed_message(bytes(damaged[: max(cut, 1)]), text)
    item = inspect(message, stream, max_pixels=100_000)
    compressed_kind(message)
    if isinstance(item, CompressedFrame):
        frame = item.decode()
        assert isinstance(frame, Defect) or frame.size == item.size
    else:
        assert isinstance(item, Defect)


@pytest.mark.parametrize("message", [None, 3, Namespace(), Namespace(header=HEADER), HEADER])
def test_anything_else_is_a_defect(message: Any) -> None:
    defect = inspect(message, "rgb")
    assert isinstance(defect, Defect)
    if getattr(message, "header", None):
        assert "SimpleNamespace is no Image, CompressedImage or video packet" in defect.detail


# --- camera_info and stamps --------------------------------------------------------------------


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
    assert to_intrinsics(_info([5e-324, *k[1:]])) is None  # would be 0 after resizing
    assert to_intrinsics(_info([1e300, *k[1:]])) is None  # would be infinite
    assert to_intrinsics(_info(k, width=10**400)) is None  # any image over it would be 0
    widest = to_intrinsics(_info(k, width=2**32 - 1))
    assert widest is not None
    assert widest.resized(80, 60).fx > 0


def test_stamp() -> None:
    assert stamp_ns(HEADER) == 12_000_000_345
    for sec in (-(2**31), 2**32 - 1):  # the limits of ROS 2 and of ROS 1
        assert stamp_ns(Namespace(stamp=Namespace(sec=sec, nanosec=5))) == sec * 10**9 + 5


@pytest.mark.parametrize("name", ["sec", "nanosec"])
def test_a_stamp_that_is_no_time_is_a_defect(name: str) -> None:
    """The core divides stamps, which Python cannot do if they have hundreds of digits."""
    message = image_message(RGB, "rgb8")
    message.header = Namespace(stamp=Namespace(sec=0, nanosec=0), frame_id="camera")
    setattr(message.header.stamp, name, 10**400)
    defect = inspect(message, "rgb")
    assert isinstance(defect, Defect)
    assert defect.stamp_ns is None
    assert "is no time; check the camera driver" in defect.detail
    assert len(defect.detail) < 200


@pytest.mark.parametrize("name", ["height", "width"])
@pytest.mark.parametrize("value", [10**400, -(10**400), 1e308])
def test_a_huge_size_makes_no_long_line(name: str, value: float) -> None:
    message = image_message(RGB, "rgb8")
    setattr(message, name, value)
    defect = inspect(message, "rgb")
    assert isinstance(defect, Defect)
    assert "check the camera driver" in defect.detail or "max_image_pixels" in defect.detail
    assert len(defect.detail) < 400
