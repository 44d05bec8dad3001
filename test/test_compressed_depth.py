# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Compressed depth: PNG and RVL, in ticks and in meters, against the publisher's formulas."""

from __future__ import annotations

import contextlib
import struct
import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy
from rigs.messages import compressed_message, config_header, encode, rvl, rvl_code, rvl_numbers

from rgbd_seg_ros import compressed_depth
from rgbd_seg_ros.compressed_depth import decode_rvl
from rgbd_seg_ros.frames import CompressedFrame, Defect, Frame
from rgbd_seg_ros.image_size import UnusableImageError
from rgbd_seg_ros.images import inspect, to_frame

TICKS = np.array([[0, 500, 1000], [2345, 9999, 65535]], np.uint16)


def png(image: np.ndarray) -> bytes:
    return encode(".png", image)


def decoded(data: bytes, text: str) -> Frame:
    item = inspect(compressed_message(data, text), "depth")
    assert isinstance(item, CompressedFrame), item
    frame = item.decode()
    assert isinstance(frame, Frame), frame
    assert frame.size == item.size
    return frame


@pytest.mark.parametrize(
    "text",
    [
        "16UC1; compressedDepth png",
        "16UC1; compressedDepth",
        "png",
        "PNG",
        "",
        "rgb8; png",
        "jpeg",
    ],
)
@pytest.mark.parametrize("header", [b"", config_header(-1, 5)])
def test_a_png_of_16_bits_is_depth_whatever_the_format_says(text: str, header: bytes) -> None:
    frame = decoded(header + png(TICKS), text)
    assert frame.encoding == "16UC1"
    assert frame.array.dtype == np.uint16
    np.testing.assert_array_equal(frame.array, TICKS)


@pytest.mark.parametrize(
    "text", ["16UC1; compressedDepth rvl", "16UC1; compresseddepth RVL", "rvl"]
)
def test_rvl_in_ticks(text: str) -> None:
    frame = decoded(config_header() + rvl(TICKS), text)
    assert frame.encoding == "16UC1"
    np.testing.assert_array_equal(frame.array, TICKS)


@pytest.mark.parametrize("codec", ["png", "rvl"])
def test_meters(codec: str) -> None:
    # The publisher: A = q (q + 1), B = 1 − A / Z_max, inverse depth A / Z + B, cut to an integer.
    quantization, far_m = 100.0, 10.0
    a = quantization * (quantization + 1)
    b = 1 - a / far_m
    depth_m = np.array([[np.nan, 0.5, 1.0], [2.345, 5.0, 9.9]], np.float32)
    with np.errstate(invalid="ignore"):
        inverse = np.where(depth_m < far_m, a / depth_m + b, 0).astype(np.uint16)
    data = config_header(a, b) + (png(inverse) if codec == "png" else rvl(inverse))
    frame = decoded(data, f"32FC1; compressedDepth {codec}")
    assert frame.array.dtype == np.float32
    assert frame.encoding == "32FC1"
    assert np.isnan(frame.array[0, 0])
    valid = inverse > 0
    np.testing.assert_allclose(frame.array[valid], a / (inverse[valid] - b), rtol=1e-5)
    # One step of the inverse depth is Z² / A meters.
    np.testing.assert_allclose(frame.array, depth_m, atol=float(9.9**2 / a))


@pytest.mark.parametrize(("a", "b"), [(0, 0), (np.nan, 1), (1, np.inf), (1e30, 500), (-1, -1)])
def test_any_quantization_gives_an_image(a: float, b: float) -> None:
    frame = decoded(config_header(a, b) + png(TICKS), "32FC1; compressedDepth png")
    assert frame.array.dtype == np.float32
    assert np.isnan(frame.array[0, 0])


def test_float_images_are_meters() -> None:
    depth_m = np.array([[0.5, np.nan], [3.25, 100]], np.float32)
    frame = decoded(encode(".tiff", depth_m), "32FC1; tiff compressed ")
    assert frame.encoding == "32FC1"
    np.testing.assert_array_equal(frame.array, depth_m)


# --- RVL ---------------------------------------------------------------------------------------


def test_rvl_of_the_paper_by_hand() -> None:
    # 2 zeros; 3 others: 5 = +5 → 10 = 0b1_010, 4 = −1 → 1, 12 = +8 → 16 = 0b10_000; then 1 zero
    # and no others.
    nibbles = [2, 3, 8 | 2, 1, 1, 8 | 0, 2, 1, 0]
    word = int("".join(f"{n:x}" for n in nibbles[:8]), 16)
    code = struct.pack("<II", word, nibbles[8] << 28)
    np.testing.assert_array_equal(decode_rvl(code, 2, 3), [[0, 0, 5], [4, 12, 0]])


@pytest.mark.parametrize("piece", [8, 64, 1 << 16])
@settings(max_examples=100, deadline=None)
@given(
    image=st_numpy.arrays(
        np.uint16,
        st_numpy.array_shapes(min_dims=2, max_dims=2, max_side=40),
        elements=st.one_of(st.just(0), st.integers(990, 1010), st.integers(0, 65535)),
    )
)
def test_rvl_is_lossless(piece: int, image: np.ndarray) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compressed_depth, "_PIECE", piece)
        code = rvl_code(rvl_numbers(image))
        np.testing.assert_array_equal(decode_rvl(code, *image.shape), image)
        # Bytes after the end are ignored.
        np.testing.assert_array_equal(decode_rvl(code + b"rest", *image.shape), image)


def test_rvl_of_a_camera_image_in_several_pieces() -> None:
    rng = np.random.default_rng(0)
    image = (1000 + rng.integers(0, 50, (240, 320)).cumsum(axis=1)).astype(np.uint16)
    image[rng.random(image.shape) < 0.1] = 0
    image[100:140, 50:200] = 0
    code = rvl_code(rvl_numbers(image))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compressed_depth, "_PIECE", 4096)
        assert len(code) > 8 * 4096
        np.testing.assert_array_equal(decode_rvl(code, 240, 320), image)
    np.testing.assert_array_equal(decode_rvl(code, 240, 320), image)


def test_differences_wrap_as_in_the_publisher() -> None:
    # 65535 → 1 is −65534, or +2 modulo 2¹⁶; a decoder adds in 16 bits.
    code = rvl_code([0, 2, 2 * 65535, 2 * 2])
    np.testing.assert_array_equal(decode_rvl(code, 1, 2), [[65535, 1]])


@pytest.mark.parametrize(
    ("numbers", "detail"),
    [
        ([], "ends after 0 of 6 pixels: the message is truncated"),
        # Eight nibbles each, because the zeros that fill a word are numbers too.
        ([0, 5, 8, 8, 8], "ends after 3 of 6 pixels"),
        ([1, 1, 8**6 - 1, 0], "empty run"),
        ([7], "has more pixels than its size states"),
        ([4, 3, 1, 1, 1], "has more pixels than its size states"),
        ([2**29, 1], "has more pixels than its size states"),
        ([2**31, 1], "more than 30 bits"),
        ([0, 0] * 40, "empty run"),
        ([1, 1, 5, 0, 0, 0, 0], "empty run"),
    ],
)
def test_damaged_rvl(numbers: list[int], detail: str) -> None:
    with pytest.raises(UnusableImageError, match=detail):
        decode_rvl(rvl_code(numbers), 2, 3)


@settings(max_examples=200, deadline=None)
@given(code=st.binary(max_size=400), height=st.integers(1, 20), width=st.integers(1, 20))
def test_any_code_gives_an_image_or_an_error(code: bytes, height: int, width: int) -> None:
    with contextlib.suppress(UnusableImageError):
        assert decode_rvl(code, height, width).shape == (height, width)


@pytest.mark.parametrize("code", [b"\0", b"\x11", b"\x21", b"\x99\x99\x99\x91"])
def test_memory_beside_the_image_is_bounded(code: bytes) -> None:
    """Damaged code of one-nibble numbers needs the most memory per byte."""
    height, width = 500, 700
    code = code * (500_000 // len(code))
    tracemalloc.start()
    try:
        with contextlib.suppress(UnusableImageError):
            decode_rvl(code, height, width)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 3 * height * width + 2_000_000


@pytest.mark.parametrize(
    ("data", "text", "detail"),
    [
        (b"", "16UC1; compressedDepth rvl", "no bytes"),
        (config_header(), "16UC1; compressedDepth rvl", "the RVL image has no size"),
        (config_header() + bytes(8), "16UC1; compressedDepth rvl", "the image is 0×0"),
        (
            config_header() + struct.pack("<II", 2**32 - 1, 2**32 - 1),
            "16UC1; compressedDepth rvl",
            "max_image_pixels allows",
        ),
        (
            config_header() + rvl(TICKS)[:-4],
            "16UC1; compressedDepth rvl",
            "the message is truncated",
        ),
        (config_header() + rvl(TICKS), "16UC1; compressedDepth", "neither PNG nor RVL"),
        (png(TICKS)[:60], "16UC1; png compressed ", "has no end"),
        (png(TICKS), "32FC1; compressedDepth png", "lacks its 12-byte header"),
    ],
)
def test_bad_messages_become_defects(data: bytes, text: str, detail: str) -> None:
    defect: Any = to_frame(compressed_message(data, text), "depth")
    assert isinstance(defect, Defect)
    assert detail in defect.detail
