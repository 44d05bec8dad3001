# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""PNG images: inflates no more than the header promises, and leaves only pixels to the decoder.

libpng inflates whatever follows the pixels, so that 1 MB of data can take it six seconds. It also
reads text, color profiles and animations, each with limits of its own. Here the pixels are
inflated with a limit and stored again without compression, which costs libpng next to nothing.
"""

from __future__ import annotations

import struct
import zlib

from rgbd_seg_ros.image_size import UnusableImageError

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
#: First column, first row, and the distance of both, of the seven passes of an interlaced image.
_ADAM7 = (
    (0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2),
    (0, 1, 1, 2),
)  # fmt: skip
#: Channels by color type.
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}


def with_pixels_only(data: memoryview) -> bytes:
    """The same image without compression and without anything but its pixels and palette.

    Args:
        data: a PNG file whose size has been checked.

    Raises:
        UnusableImageError: the file is damaged, ends too early, or its pixels inflate to more
            bytes than the size in its header requires.
    """
    kept, packed, at, ended = [_SIGNATURE], [], 8, False
    while at + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        end = at + 12 + length
        if end > len(data):
            break
        if kind == b"IDAT":
            packed.append(data[at + 8 : end - 4])
        elif kind in (b"IHDR", b"PLTE") and not packed:
            kept.append(bytes(data[at:end]))
        elif kind == b"IEND":
            ended = True
            break
        at = end
    if not ended:
        raise UnusableImageError(
            f"the PNG of {len(data)} bytes has no end: the message is truncated"
        )
    pixels = _inflated(b"".join(packed), _inflated_size(data))
    return b"".join((*kept, *_chunk(b"IDAT", _stored(pixels)), *_chunk(b"IEND", [])))


def _chunk(kind: bytes, content: list[bytes | memoryview]) -> list[bytes | memoryview]:
    check = zlib.crc32(kind)
    for part in content:
        check = zlib.crc32(part, check)
    length = sum(map(len, content))
    return [struct.pack(">I4s", length, kind), *content, struct.pack(">I", check)]


def _stored(pixels: bytes) -> list[bytes | memoryview]:
    """The parts of a zlib stream (RFC 1950, 1951) that stores bytes in blocks, uncompressed."""
    parts: list[bytes | memoryview] = [b"\x78\x01"]
    for at in range(0, len(pixels), 0xFFFF):
        block = memoryview(pixels)[at : at + 0xFFFF]
        is_last = at + len(block) == len(pixels)
        parts += [struct.pack("<BHH", is_last, len(block), 0xFFFF - len(block)), block]
    return [*parts, struct.pack(">I", zlib.adler32(pixels))]


def _inflated_size(data: memoryview) -> int:
    """Bytes of the pixels: one filter byte and the packed pixels per row of every pass."""
    width, height, bits, color, _, _, interlace = struct.unpack_from(">IIBBBBB", data, 16)
    passes = _ADAM7 if interlace else ((0, 0, 1, 1),)
    total = 0
    for left, top, dx, dy in passes:
        columns, rows = -((left - width) // dx), -((top - height) // dy)
        if columns > 0 and rows > 0:
            total += rows * (1 + (columns * bits * _CHANNELS[color] + 7) // 8)
    return total


def _inflated(packed: bytes, size: int) -> bytes:
    inflate = zlib.decompressobj()
    try:
        pixels = inflate.decompress(packed, size)
        more = inflate.decompress(inflate.unconsumed_tail, 1)
    except zlib.error as error:
        raise UnusableImageError(
            f"the pixels of the PNG are damaged ({error}); check the camera driver and the network"
        ) from error
    if len(pixels) < size or more:
        amount = "more" if more else f"{len(pixels)}"
        raise UnusableImageError(
            f"the pixels of the PNG inflate to {amount} bytes instead of {size}; "
            "check the camera driver and the network"
        )
    return pixels
