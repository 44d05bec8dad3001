# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Image messages as plain objects, of any content, and an encoder of RVL."""

from __future__ import annotations

import array
import struct
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np

#: Stamp of every message, in nanoseconds.
STAMP_NS = 12_000_000_345
HEADER = SimpleNamespace(
    stamp=SimpleNamespace(sec=12, nanosec=345), frame_id="camera_color_optical_frame"
)


def image_message(
    pixels: np.ndarray, encoding: str, padding: int = 0, big: int = 0, height: int | None = None
) -> SimpleNamespace:
    """An Image message of ``pixels`` with ``padding`` bytes after each row of its data.

    Args:
        pixels: rows of data, H×W or H×W×C, in the byte order that ``big`` names.
        encoding: of the message.
        padding: bytes of 77 after each row.
        big: ``is_bigendian`` of the message.
        height: of the message, if it is not the number of rows.
    """
    rows = np.ascontiguousarray(pixels).reshape(pixels.shape[0], -1).view(np.uint8)
    rows = np.pad(rows, ((0, 0), (0, padding)), constant_values=77)
    return SimpleNamespace(
        header=HEADER,
        height=pixels.shape[0] if height is None else height,
        width=pixels.shape[1],
        encoding=encoding,
        is_bigendian=big,
        step=rows.shape[1],
        data=array.array("B", rows.tobytes()),
    )


def compressed_message(data: bytes, text: str) -> SimpleNamespace:
    """A CompressedImage message whose ``format`` is ``text``."""
    return SimpleNamespace(header=HEADER, format=text, data=array.array("B", data))


def encode(suffix: str, image: np.ndarray, *options: int) -> bytes:
    """The bytes of an image file, written by OpenCV (color in BGR order)."""
    done, data = cv2.imencode(suffix, image, options)
    assert done
    return bytes(data)


def config_header(a: float = 0.0, b: float = 0.0) -> bytes:
    """The ConfigHeader of compressed_depth_image_transport."""
    return struct.pack("<iff", 0, a, b)


def rvl_code(numbers: list[int]) -> bytes:
    """Numbers as nibbles of three bits and a continuation bit, in words of eight nibbles."""
    nibbles: list[int] = []
    for number in numbers:
        while number > 7:
            nibbles.append(number & 7 | 8)
            number >>= 3
        nibbles.append(number)
    nibbles += [0] * (-len(nibbles) % 8)
    words = (nibbles[at : at + 8] for at in range(0, len(nibbles), 8))
    return b"".join(bytes.fromhex("".join(f"{n:x}" for n in word))[::-1] for word in words)


def rvl_numbers(image: np.ndarray) -> list[int]:
    """The numbers of an image in RVL: runs of zeros and of others, and signed differences."""
    numbers: list[int] = []
    pixels: list[Any] = image.ravel().tolist()
    at = last = 0
    while at < len(pixels):
        start = at
        while at < len(pixels) and pixels[at] == 0:
            at += 1
        zeros, start = at - start, at
        while at < len(pixels) and pixels[at] != 0:
            at += 1
        numbers += [zeros, at - start]
        for pixel in pixels[start:at]:
            difference, last = pixel - last, pixel
            numbers.append(2 * difference if difference >= 0 else -2 * difference - 1)
    return numbers


def rvl(image: np.ndarray) -> bytes:
    """A 16-bit image in RVL with its size, as compressed_depth_image_transport writes it."""
    return struct.pack("<II", image.shape[1], image.shape[0]) + rvl_code(rvl_numbers(image))
