# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Images that are small but claim or unpack to much: memory and time stay in proportion."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rigs.messages import compressed_message, config_header, encode, image_message, rvl_code

from rgbd_seg_ros.frames import Defect, Frame
from rgbd_seg_ros.image_size import UnusableImageError
from rgbd_seg_ros.images import to_frame
from rgbd_seg_ros.png import with_pixels_only

ROOT = Path(__file__).resolve().parents[1]
HEIGHT, WIDTH = 1500, 2000
PIXELS = HEIGHT * WIDTH


def chunk(kind: bytes, content: bytes) -> bytes:
    check = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", check)


def png(
    width: int, height: int, bits: int, color: int, pixels: bytes, *more: bytes, interlace: int = 0
) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, bits, color, 0, 0, interlace)
    return b"".join(
        (b"\x89PNG\r\n\x1a\n", chunk(b"IHDR", header), *more, chunk(b"IDAT", pixels))
    ) + chunk(b"IEND", b"")


def zeros(count: int) -> bytes:
    """A zlib stream of ``count`` zeros, about a thousandth of that in size."""
    pack = zlib.compressobj(9)
    parts = [pack.compress(bytes(1 << 20)) for _ in range(count >> 20)]
    return b"".join([*parts, pack.compress(bytes(count & 0xFFFFF)), pack.flush()])


def two_sizes(side: int) -> bytes:
    """A TIFF whose size occurs twice; decoders use the first one, ``side`` × ``side``."""
    sizes = [(256, 4, side), (256, 4, 16), (257, 4, side), (257, 4, 16), (258, 3, 8), (259, 3, 8)]
    pixels = zeros(side * side)
    entries = [*sizes, (262, 3, 1), (273, 4, 134), (278, 4, side), (279, 4, len(pixels))]
    packed = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in entries)
    return b"II*\0\x08\0\0\0" + struct.pack("<H", len(entries)) + packed + bytes(4) + pixels


# --- Memory ------------------------------------------------------------------------------------

#: (data, format, stream, bytes of the image as declared, decodes). None of them has 3 MB.
HEAVY: dict[str, Callable[[], tuple[bytes, str, str, int, bool]]] = {
    "png": lambda: (
        png(WIDTH, HEIGHT, 8, 2, zeros((3 * WIDTH + 1) * HEIGHT)), "", "rgb", 3 * PIXELS, True,
    ),
    "png of 16 bits and alpha": lambda: (
        png(WIDTH, HEIGHT, 16, 6, zeros((8 * WIDTH + 1) * HEIGHT)), "", "rgb", 8 * PIXELS, True,
    ),
    "depth png": lambda: (
        png(WIDTH, HEIGHT, 16, 0, zeros((2 * WIDTH + 1) * HEIGHT)), "", "depth", 2 * PIXELS, True,
    ),
    "png with 200 MB after its pixels": lambda: (
        png(64, 64, 8, 2, zeros(200_000_000)), "", "rgb", 1, False,
    ),
    "png with 200 MB of text": lambda: (
        png(64, 64, 8, 2, zeros(64 * 193), chunk(b"zTXt", b"x\0\0" + zeros(200_000_000))),
        "", "rgb", 1, True,
    ),
    "png with a huge animation": lambda: (
        png(
            64, 64, 8, 2, zeros(64 * 193), chunk(b"acTL", struct.pack(">II", 10**6, 0)),
            chunk(b"fcTL", struct.pack(">IIIIIHHBB", 0, 2**30, 2**30, 0, 0, 1, 1, 0, 0)),
        ), "", "rgb", 1, True,
    ),
    "png of two gigapixels": lambda: (png(2**31 - 1, 1, 16, 6, zeros(1000)), "", "rgb", 1, False),
    "jpeg": lambda: (
        encode(".jpg", np.zeros((HEIGHT, WIDTH, 3), np.uint8)), "", "rgb", 3 * PIXELS, True,
    ),
    "tiff with a huge tile": lambda: (
        b"II*\0\x08\0\0\0" + struct.pack("<H", 4) + b"".join(
            struct.pack("<HHII", tag, 4, 1, value)
            for tag, value in ((256, 16), (257, 16), (322, 2**14), (323, 2**14))
        ) + bytes(100), "", "rgb", 1, False,
    ),
    "tiff with two sizes": lambda: (two_sizes(8000), "", "rgb", 1, False),
    "rvl of zeros": lambda: (
        config_header() + struct.pack("<II", WIDTH, HEIGHT) + rvl_code([PIXELS, 0]),
        "16UC1; compressedDepth rvl", "depth", 2 * PIXELS, True,
    ),
    "rvl of runs of one pixel": lambda: (
        config_header() + struct.pack("<II", WIDTH, HEIGHT) + rvl_code([1, 1, 2] * (PIXELS // 2)),
        "16UC1; compressedDepth rvl", "depth", 2 * PIXELS, True,
    ),
    "rvl in meters": lambda: (
        config_header(100, -5) + struct.pack("<II", WIDTH, HEIGHT) + rvl_code([PIXELS, 0]),
        "32FC1; compressedDepth rvl", "depth", 4 * PIXELS, True,
    ),
    "rvl of four gigapixels": lambda: (
        config_header() + struct.pack("<II", 2**16, 2**16) + rvl_code([2**29, 0]),
        "16UC1; compressedDepth rvl", "depth", 1, False,
    ),
}  # fmt: skip

#: Prints how much the peak of the resident memory grows while one message is decoded.
MEASURE = """
import json, sys
from pathlib import Path
from rigs.messages import compressed_message
from rgbd_seg_ros.images import to_frame

def peak():
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith("VmHWM")).split()[1])

data, text, stream = Path(sys.argv[1]).read_bytes(), sys.argv[2], sys.argv[3]
message = compressed_message(data, text)
to_frame(compressed_message(data[:20], text), stream)  # imports everything
Path("/proc/self/clear_refs").write_text("5")
before = peak()
kind = type(to_frame(message, stream)).__name__
print(json.dumps([peak() - before, kind]))
"""


@pytest.mark.skipif(
    not os.access("/proc/self/clear_refs", os.W_OK), reason="needs Linux: reads /proc/self"
)
@pytest.mark.parametrize("name", HEAVY)
def test_memory_stays_in_proportion(name: str, tmp_path: Path) -> None:
    data, text, stream, declared, decodes = HEAVY[name]()
    path = tmp_path / "image"
    path.write_bytes(data)
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, str(path), text, stream],
        env={**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'test'}"},
        capture_output=True,
        check=True,
        text=True,
    )
    grown, kind = json.loads(done.stdout)
    assert kind == ("Frame" if decodes else "Defect")
    # The decoders' own buffers do not depend on the image.
    assert grown <= 4 * declared + 8_000_000


# --- PNG ---------------------------------------------------------------------------------------


#: (bits, color type)
LAYOUTS = [*((bits, 0) for bits in (1, 2, 4, 8, 16)), (1, 3), (8, 3)]
LAYOUTS += [(bits, color) for bits in (8, 16) for color in (2, 4, 6)]


@settings(max_examples=150, deadline=None)
@given(
    height=st.integers(1, 20),
    width=st.integers(1, 20),
    layout=st.sampled_from(LAYOUTS),
    interlace=st.integers(0, 1),
    seed=st.integers(0, 9),
)
def test_a_png_keeps_its_pixels(
    height: int, width: int, layout: tuple[int, int], interlace: int, seed: int
) -> None:
    bits, color = layout
    size = _unpacked(height, width, bits * {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[color], interlace)
    # Bytes of 0 to 4, because the first one of each row is one of five filters.
    pixels = np.random.default_rng(seed).integers(0, 5, size, np.uint8).tobytes()
    palette = chunk(b"PLTE", bytes(range(96))) if color == 3 else b""
    extra = chunk(b"tEXt", b"a\0b")
    data = png(
        width, height, bits, color, zlib.compress(pixels), palette, extra, interlace=interlace
    )
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH
    expected = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    repacked = with_pixels_only(memoryview(data))
    actual = cv2.imdecode(np.frombuffer(repacked, np.uint8), flags)
    assert (expected is None) == (actual is None)
    if expected is not None:
        np.testing.assert_array_equal(actual, expected)
    for wrong in (pixels[:-1], pixels + b"\0"):
        data = png(width, height, bits, color, zlib.compress(wrong), palette, interlace=interlace)
        with pytest.raises(UnusableImageError, match="inflate to"):
            with_pixels_only(memoryview(data))


def _unpacked(height: int, width: int, bits: int, interlace: int) -> int:
    """Bytes of a PNG's pixels, counted pixel by pixel from the figure of the standard."""
    figure = ["16462646", "77777777", "56565656", "77777777", "36463646", "77777777"]
    figure += ["56565656", "77777777"]
    count = 0
    for number in "1234567" if interlace else "x":
        rows = [
            sum(number in (figure[y % 8][x % 8], "x") for x in range(width)) for y in range(height)
        ]
        count += sum(1 + (columns * bits + 7) // 8 for columns in rows if columns)
    return count


def test_pixels_in_many_chunks_and_with_a_wrong_checksum() -> None:
    image = np.random.default_rng(0).integers(0, 256, (30, 40, 3), np.uint8)
    data = encode(".png", image)
    start = data.index(b"IDAT") - 4
    (length,) = struct.unpack_from(">I", data, start)
    packed = data[start + 8 : start + 8 + length]
    parts = b"".join(chunk(b"IDAT", packed[at : at + 7]) for at in range(0, length, 7))
    split = data[:start] + chunk(b"IDAT", b"") + parts + chunk(b"IEND", b"")
    frame = to_frame(compressed_message(split, ""), "rgb")
    assert isinstance(frame, Frame)
    np.testing.assert_array_equal(frame.array, image[..., ::-1])
    damaged = bytearray(data)
    damaged[start + 8 + length - 1] ^= 1
    defect = to_frame(compressed_message(bytes(damaged), ""), "rgb")
    assert isinstance(defect, Defect)
    assert "the pixels of the PNG are damaged" in defect.detail


# --- JPEG and raw images -----------------------------------------------------------------------


def test_a_jpeg_of_many_scans_is_not_decoded() -> None:
    data = encode(".jpg", np.zeros((64, 64, 3), np.uint8), cv2.IMWRITE_JPEG_PROGRESSIVE, 1)
    assert isinstance(to_frame(compressed_message(data, ""), "rgb"), Frame)
    scan = data.rindex(b"\xff\xda")
    defect = to_frame(compressed_message(data[:scan] + 60 * data[scan:-2] + data[-2:], ""), "rgb")
    assert isinstance(defect, Defect)
    assert "scans, more than the 50 that are decoded; publish baseline JPEG" in defect.detail


@pytest.mark.parametrize("stream", ["rgb", "depth"])
@pytest.mark.parametrize("width", [2**31, 2**32 - 1, 2**63])
def test_a_raw_size_that_overflows_is_refused(stream: Any, width: int) -> None:
    encoding = "rgb8" if stream == "rgb" else "16UC1"
    message = image_message(np.zeros((1, 6), np.uint8), encoding)
    for height in (1, 2, width):
        message.height, message.width, message.step = height, width, 6 * width % 2**32
        defect = to_frame(message, stream, max_pixels=2**200)
        assert isinstance(defect, Defect)
        assert "step is" in defect.detail or "data has 6 bytes" in defect.detail
        defect = to_frame(message, stream)
        assert isinstance(defect, Defect)
        assert "max_image_pixels allows 50000000 pixels" in defect.detail
