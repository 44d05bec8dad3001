# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Sizes from image headers: every format, cut-off and random data, and headers that lie."""

from __future__ import annotations

import array
import struct
import zlib

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rgbd_seg_ros.image_size import (
    MAX_IMAGE_PIXELS,
    ImageHeader,
    UnusableImageError,
    check_size,
    image_size,
    read_header,
)

HEIGHT, WIDTH = 37, 53
RNG = np.random.default_rng(0)
GRAY = RNG.integers(0, 256, (HEIGHT, WIDTH), np.uint8)
COLOR = RNG.integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
ALPHA = RNG.integers(0, 256, (HEIGHT, WIDTH, 4), np.uint8)
DEEP = RNG.integers(0, 65536, (HEIGHT, WIDTH), np.uint16)
FLOAT = RNG.random((HEIGHT, WIDTH), np.float32)


def encode(suffix: str, image: np.ndarray, *options: int) -> bytes:
    done, data = cv2.imencode(suffix, image, options)
    assert done
    return bytes(data)


def exr() -> bytes:
    """The header of an OpenEXR file of one half-float channel."""

    def attribute(name: bytes, kind: bytes, value: bytes) -> bytes:
        return name + b"\0" + kind + b"\0" + struct.pack("<I", len(value)) + value

    channels = b"Y\0" + struct.pack("<iBxxxii", 1, 0, 1, 1) + b"\0"
    window = struct.pack("<iiii", 10, 20, 10 + WIDTH - 1, 20 + HEIGHT - 1)
    return (
        b"\x76\x2f\x31\x01\x02\0\0\0"
        + attribute(b"channels", b"chlist", channels)
        + attribute(b"compression", b"compression", b"\0")
        + attribute(b"dataWindow", b"box2i", window)
        + b"\0"
    )


#: (bytes, codec, channels, bits, float)
FILES = {
    "png gray": (encode(".png", GRAY), "png", 1, 8, False),
    "png color": (encode(".png", COLOR), "png", 3, 8, False),
    "png alpha": (encode(".png", ALPHA), "png", 4, 8, False),
    "png depth": (encode(".png", DEEP), "png", 1, 16, False),
    "jpeg": (encode(".jpg", COLOR), "jpeg", 3, 8, False),
    "jpeg gray": (encode(".jpg", GRAY), "jpeg", 1, 8, False),
    "jpeg progressive": (
        encode(".jpg", COLOR, cv2.IMWRITE_JPEG_PROGRESSIVE, 1), "jpeg", 3, 8, False,
    ),
    "webp": (encode(".webp", COLOR, cv2.IMWRITE_WEBP_QUALITY, 80), "webp", 3, 8, False),
    "webp lossless": (encode(".webp", COLOR, cv2.IMWRITE_WEBP_QUALITY, 101), "webp", 3, 8, False),
    "webp alpha": (encode(".webp", ALPHA, cv2.IMWRITE_WEBP_QUALITY, 80), "webp", 4, 8, False),
    "tiff": (encode(".tiff", COLOR), "tiff", 3, 8, False),
    "tiff depth": (encode(".tiff", DEEP), "tiff", 1, 16, False),
    "tiff float": (encode(".tiff", FLOAT), "tiff", 1, 32, True),
    "bmp": (encode(".bmp", COLOR), "bmp", 3, 8, False),
    "ppm": (encode(".ppm", COLOR), "pnm", 3, 8, False),
    "pgm": (encode(".pgm", GRAY), "pnm", 1, 8, False),
    "pgm depth": (encode(".pgm", DEEP), "pnm", 1, 16, False),
    "pgm text": (b"P2 # made by hand\n53 37\n# more\n255\n0 1 2", "pnm", 1, 8, False),
    "pbm": (b"P1\n53 37\n0 1 1", "pnm", 1, 8, False),
    "pam": (encode(".pam", COLOR), "pnm", 3, 8, False),
    "pfm": (encode(".pfm", FLOAT), "pfm", 1, 32, True),
    "exr": (exr(), "exr", 1, 32, True),
    "jp2": (encode(".jp2", COLOR), "jpeg2000", 3, 8, False),
}  # fmt: skip


@pytest.mark.parametrize("name", FILES)
def test_every_format(name: str) -> None:
    data, codec, channels, bits, is_float = FILES[name]
    expected = ImageHeader(codec, HEIGHT, WIDTH, channels, bits, is_float)
    assert read_header(data) == expected
    assert expected.is_depth == (name in ("png depth", "pgm depth") or is_float or "f d" in name)
    for buffer in (array.array("B", data), np.frombuffer(data, np.uint8), memoryview(data)):
        assert image_size(buffer) == (HEIGHT, WIDTH)


@pytest.mark.parametrize("name", FILES)
def test_a_header_that_is_cut_off_has_no_size(name: str) -> None:
    data = FILES[name][0]
    sizes = {image_size(data[:count]) for count in range(min(len(data), 2000))}
    assert sizes <= {None, (HEIGHT, WIDTH), (3, WIDTH)}  # "53 3" of the Netpbm formats


def test_big_endian_tiff() -> None:
    entries = [
        (256, 3, 1, WIDTH << 16),
        (257, 4, 1, HEIGHT),
        (258, 3, 3, 122),
        (277, 3, 1, 3 << 16),
    ]
    directory = struct.pack(">H", len(entries)) + b"".join(
        struct.pack(">HHII", *entry) for entry in entries
    )
    data = (b"MM\0*" + struct.pack(">I", 8) + directory).ljust(122, b"\0") + b"\0\x08" * 3
    assert read_header(data) == ImageHeader("tiff", HEIGHT, WIDTH, 3, 8)


def tiff(*entries: tuple[int, int, int]) -> bytes:
    """A TIFF of 8-bit gray with these (tag, type, value) in its directory; its pixels are 0."""
    at = 8 + 2 + 12 * (len(entries) + 6) + 4
    pixels = zlib.compress(bytes(LARGE * LARGE), 9)
    more = ((258, 3, 8), (259, 3, 8), (262, 3, 1), (273, 4, at), (278, 4, LARGE))
    directory = b"".join(
        struct.pack("<HHII", tag, kind, 1, value)
        for tag, kind, value in (*entries, *more, (279, 4, len(pixels)))
    )
    count = struct.pack("<H", len(entries) + 6)
    return b"II*\0\x08\0\0\0" + count + directory + bytes(4) + pixels


#: Sides of the image that OpenCV decodes, and of the one that a second header claims.
LARGE, SMALL = 700, 16
PIXELS = bytes(LARGE * LARGE)
PAM = "{0}WIDTH {1}\n{0}HEIGHT {1}\nDEPTH 1\nMAXVAL 255\nTUPLTYPE GRAYSCALE\n{0}ENDHDR\n"
#: Files with two sizes; OpenCV uses the larger one.
TWO_SIZES = {
    "tiff": tiff((256, 4, LARGE), (256, 4, SMALL), (257, 4, LARGE), (257, 4, SMALL)),
    "tiff of signed": tiff((256, 9, LARGE), (256, 4, SMALL), (257, 9, LARGE), (257, 4, SMALL)),
    "pgm": f"P5\n#\r{LARGE} {LARGE} 255\n{SMALL} {SMALL} 255\n".encode() + PIXELS,
    "pam": ("P7\n" + PAM.format(" ", LARGE) + PAM.format("", SMALL)).encode() + PIXELS,
}


@pytest.mark.parametrize("name", TWO_SIZES)
def test_a_second_size_does_not_hide_the_one_that_is_decoded(name: str) -> None:
    data = TWO_SIZES[name]
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    assert image.shape == (LARGE, LARGE)
    assert image_size(data) == ((LARGE, LARGE) if name == "pgm" else None)


def test_a_tiff_with_more_tags_than_are_read_has_no_size() -> None:
    sizes = ((256, 4, LARGE), (257, 4, LARGE))
    filler = ((280, 3, 0),) * 4086
    assert image_size(tiff(*sizes, *filler)) == (LARGE, LARGE)
    assert image_size(tiff(*sizes, *filler, *filler[:3])) is None


def test_the_thumbnail_of_a_jpeg_is_not_its_size() -> None:
    data, thumbnail = FILES["jpeg"][0], encode(".jpg", COLOR[:8, :8])
    segment = b"\xff\xe1" + struct.pack(">H", len(thumbnail) + 2) + thumbnail
    assert image_size(data[:2] + segment + b"\xff\xff" + data[2:]) == (HEIGHT, WIDTH)


def test_huge_sizes_are_read_without_decoding() -> None:
    header = struct.pack(">IIBBBBB", 2**31 - 1, 10, 16, 6, 0, 0, 0)
    chunk = b"IHDR" + header
    data = b"\x89PNG\r\n\x1a\n\0\0\0\x0d" + chunk + struct.pack(">I", zlib.crc32(chunk))
    assert image_size(data) == (10, 2**31 - 1)
    read = read_header(data)
    assert read is not None
    assert read.pixels == 10 * (2**31 - 1) > MAX_IMAGE_PIXELS


def test_a_large_tile_counts() -> None:
    entries = [(256, 3, 1, 8), (257, 3, 1, 8), (322, 4, 1, 2**14), (323, 4, 1, 2**14)]
    data = b"II*\0\x08\0\0\0" + struct.pack("<H", 4)
    data += b"".join(struct.pack("<HHII", *entry) for entry in entries)
    read = read_header(data)
    assert read is not None
    assert (read.height, read.width, read.pixels) == (8, 8, 2**28)
    with pytest.raises(
        UnusableImageError, match=r"8×8 in tiles of 268435456 pixels, but .*allows"
    ):
        check_size(read.height, read.width, 2**28 - 1, read.pixels)
    check_size(read.height, read.width, 2**28, read.pixels)


@pytest.mark.parametrize(
    ("height", "width", "words"),
    [
        (0, 5, "the image is 5×0; check the camera driver"),
        (5, -1, "the image is -1×5; check the camera driver"),
        (10, 11, "raise max_image_pixels if"),
        (2**31, 2**31, "the message is damaged"),
    ],
)
def test_a_refused_size_names_value_and_remedy(height: int, width: int, words: str) -> None:
    with pytest.raises(UnusableImageError, match=words):
        check_size(height, width, 109)
    check_size(10, 11, 110)


@pytest.mark.parametrize(
    "data",
    [b"", b"GIF89a", b"\0" * 64, b"\xff\xd8\xff", b"\xff\xd8\xff\xd9", None, "P5 3 3 255"],
)
def test_anything_else_has_no_size(data: object) -> None:
    assert image_size(data) is None


@settings(max_examples=300, deadline=None)
@given(start=st.sampled_from(sorted(FILES)), keep=st.integers(0, 64), rest=st.binary(max_size=400))
def test_random_data_never_raises(start: str, keep: int, rest: bytes) -> None:
    size = image_size(FILES[start][0][:keep] + rest)
    assert size is None or min(size) >= 0


def test_a_jpeg_of_filler_takes_no_time() -> None:
    # Every loop over the data moves forward, so that 1 MB of markers is one pass.
    assert image_size(b"\xff\xd8" + b"\xff\x01" * 500_000) is None
