# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Size and pixel type of a compressed image, read from its header without decoding it.

A file of a few hundred bytes can declare billions of pixels, for which a decoder allocates
gigabytes. Whoever decodes an image from outside therefore reads its size first, here, and refuses
it if it has more pixels than allowed.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from rgbd_seg_ros.names import shown

#: Default of the largest number of pixels that is decoded: any image of up to 8160×6120 pixels, as
#: the 50-megapixel sensors of cameras have them. As RGB, they fill 150 MB.
MAX_IMAGE_PIXELS = 50_000_000
#: Largest value of ``max_image_pixels``; no camera sends larger images.
LARGEST_LIMIT = 1_000_000_000


class UnusableImageError(ValueError):
    """An image from outside that cannot be used; the message states the value and the remedy."""


@dataclass(frozen=True)
class ImageHeader:
    """What the header of a compressed image promises."""

    #: ``png``, ``jpeg``, ``webp``, ``tiff``, ``bmp``, ``exr``, ``pnm``, ``pfm`` or ``jpeg2000``.
    codec: str
    height: int
    width: int
    #: Channels of the decoded image, without an alpha channel that only a later chunk declares.
    channels: int
    #: Bits of one channel of one pixel.
    bits: int
    is_float: bool = False
    #: Pixels that the decoder holds at once: more than height × width if a tile is larger.
    pixels: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "pixels", max(self.pixels, self.height * self.width))

    @property
    def is_depth(self) -> bool:
        """One channel of 16 bits or of floating-point numbers, as depth is stored."""
        return self.channels == 1 and (self.bits == 16 or self.is_float)


def image_size(data: Any) -> tuple[int, int] | None:
    """(height, width) in pixels of a compressed image, as its header states it.

    Args:
        data: the bytes of the file (``bytes``, ``bytearray``, ``memoryview``, ``array.array`` or
            a uint8 array) from its start. The header suffices, but TIFF has it anywhere, and JPEG
            behind previews and color profiles of any length.

    Returns:
        The size; each of the two may be 0 in a damaged header. None if ``data`` is not PNG, JPEG,
        WebP, TIFF, BMP, OpenEXR, PBM, PGM, PPM, PAM, PFM or JPEG 2000, or its header is cut off.
    """
    header = read_header(data)
    return None if header is None else (header.height, header.width)


def check_size(height: int, width: int, max_pixels: int, held: int = 0) -> None:
    """Check a size before anything is allocated for it.

    Args:
        height: rows, as the message or the header states them.
        width: columns.
        max_pixels: the largest number of pixels that is allowed.
        held: pixels that the decoder holds at once, if more than height × width.

    Raises:
        UnusableImageError: a size of zero or less, or too many pixels.
    """
    size = f"{shown(width)}×{shown(height)}"
    if height <= 0 or width <= 0:
        raise UnusableImageError(f"the image is {size}; check the camera driver")
    if max(height * width, held) > max_pixels:
        tiles = f" in tiles of {held} pixels" if held > height * width else ""
        remedy = "raise max_image_pixels if the camera really sends such images"
        if max(height * width, held) > LARGEST_LIMIT:
            remedy = "the message is damaged"
        raise UnusableImageError(
            f"the image is {size}{tiles}, but max_image_pixels allows {max_pixels} pixels; "
            f"{remedy}"
        )


def is_truncated(data: Any) -> bool:
    """Whether a PNG or JPEG lacks its end marker; decoders pad the missing part silently."""
    view = memoryview(data).cast("B")
    if bytes(view[:4]) == b"\x89PNG":
        return b"IEND" not in bytes(view[-64:])
    # Compressed data never contains the end marker, but a thumbnail in the first half can.
    return bytes(view[:2]) == b"\xff\xd8" and b"\xff\xd9" not in bytes(view[len(view) // 2 :])


def read_header(data: Any) -> ImageHeader | None:
    """The header of a compressed image; None as for :func:`image_size`. Never raises."""
    try:
        view = memoryview(data).cast("B")
        for magic, read in _READERS:
            if view[: len(magic)] == magic:
                return read(view)
    # A header that is cut off, an impossible value, or something that is no buffer of bytes.
    except (struct.error, IndexError, ValueError, TypeError, NotImplementedError):
        pass
    return None


def _png(data: memoryview) -> ImageHeader | None:
    """Portable Network Graphics (ISO/IEC 15948): IHDR is the first chunk."""
    length, kind, width, height, bits, color = struct.unpack_from(">I4sIIBB", data, 8)
    if (length, kind) != (13, b"IHDR"):
        return None
    channels = {0: 1, 2: 3, 3: 3, 4: 2, 6: 4}.get(color)
    if channels is None:
        return None
    return ImageHeader("png", height, width, channels, bits if color != 3 else 8)


def _jpeg(data: memoryview) -> ImageHeader | None:
    """JPEG (ITU T.81): the first frame header SOF0 to SOF15, behind segments of any length."""
    at = 2
    while True:
        # Decoders skip bytes between segments, and markers may be preceded by any number of 0xFF.
        while data[at] != 0xFF:
            at += 1
        while data[at] == 0xFF:
            at += 1
        marker = data[at]
        at += 1
        if marker in (0x00, 0x01) or 0xD0 <= marker <= 0xD8:
            continue  # markers without a segment
        if marker in (0xD9, 0xDA):
            return None  # the end of the image, or pixels, before any size
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            bits, height, width, channels = struct.unpack_from(">BHHB", data, at + 2)
            return ImageHeader("jpeg", height, width, channels, bits)
        at += max(struct.unpack_from(">H", data, at)[0], 2)


def _webp(data: memoryview) -> ImageHeader | None:
    """WebP (RFC 9649): one of three kinds of first chunk."""
    if bytes(data[8:12]) != b"WEBP":
        return None
    kind = bytes(data[12:16])
    if kind == b"VP8 ":
        if bytes(data[23:26]) != b"\x9d\x01\x2a":
            return None
        width, height = struct.unpack_from("<HH", data, 26)
        return ImageHeader("webp", height & 0x3FFF, width & 0x3FFF, 3, 8)
    if kind == b"VP8L":
        signature, packed = struct.unpack_from("<BI", data, 20)
        if signature != 0x2F:
            return None
        height, width = (packed >> 14 & 0x3FFF) + 1, (packed & 0x3FFF) + 1
        return ImageHeader("webp", height, width, 4 if packed >> 28 & 1 else 3, 8)
    if kind == b"VP8X":
        flags, *sizes = struct.unpack_from("<B3xHBHB", data, 20)
        width, height = (low + (high << 16) + 1 for low, high in (sizes[:2], sizes[2:]))
        return ImageHeader("webp", height, width, 4 if flags & 0x10 else 3, 8)
    return None


def _tiff(data: memoryview) -> ImageHeader | None:
    """TIFF 6.0: the first directory; BigTIFF has none here.

    None for a directory in which libtiff could find other values than this function: a tag that
    occurs twice, is no unsigned integer, or may be among more entries than are read.
    """
    order = "<" if data[0] == 0x49 else ">"
    (at,) = struct.unpack_from(order + "I", data, 4)
    (count,) = struct.unpack_from(order + "H", data, at)
    if count > _MAX_TIFF_TAGS:
        return None
    found: dict[int, int] = {}
    for entry in range(at + 2, at + 2 + 12 * count, 12):
        tag, kind, number = struct.unpack_from(order + "HHI", data, entry)
        if tag not in _TIFF_TAGS:
            continue
        where = entry + 8
        size = {1: 1, 3: 2, 4: 4}.get(kind)
        if size is None or tag in found:
            return None
        if number * size > 4:  # the values of all channels, elsewhere
            (where,) = struct.unpack_from(order + "I", data, where)
        (found[tag],) = struct.unpack_from(order + {1: "B", 3: "H", 4: "I"}[kind], data, where)
    if 256 not in found or 257 not in found:
        return None
    width, height, bits, channels, tile_width, tile_height, sample_format = (
        found.get(tag, default) for tag, default in _TIFF_TAGS.items()
    )
    tile = tile_width * tile_height
    return ImageHeader("tiff", height, width, channels, bits, sample_format == 3, tile)


#: The tags that are read, and their defaults: width, height, bits and number of samples, width and
#: height of a tile, sample format.
_TIFF_TAGS = {256: 0, 257: 0, 258: 1, 277: 1, 322: 0, 323: 0, 339: 1}
#: Entries of a directory; images have about twenty.
_MAX_TIFF_TAGS = 4096


def _bmp(data: memoryview) -> ImageHeader | None:
    """Windows or OS/2 bitmap; a negative height means rows from top to bottom."""
    (length,) = struct.unpack_from("<I", data, 14)
    layout = "<HHHH" if length == 12 else "<iiHH"
    width, height, _, bits = struct.unpack_from(layout, data, 18)
    return ImageHeader("bmp", abs(height), abs(width), 4 if bits == 32 else 3, 8)


def _exr(data: memoryview) -> ImageHeader | None:
    """OpenEXR: attributes of the first part until an empty name; its size is ``dataWindow``."""
    at, channels, size = 8, 0, None
    while data[at]:
        name, at = _text(data, at)
        kind, at = _text(data, at)
        (length,) = struct.unpack_from("<I", data, at)
        at += 4
        if (name, kind) == (b"dataWindow", b"box2i"):
            left, top, right, bottom = struct.unpack_from("<iiii", data, at)
            size = (max(bottom - top + 1, 0), max(right - left + 1, 0))
        if kind == b"chlist":
            channel = at
            while data[channel]:
                channel = _text(data, channel)[1] + 16
                channels += 1
        at += length
    return None if size is None else ImageHeader("exr", *size, channels, 32, is_float=True)


def _text(data: memoryview, at: int) -> tuple[bytes, int]:
    """A text of at most 255 bytes that ends with a zero byte, and where it ends."""
    text = bytes(data[at : at + 256])
    return text[: text.index(0)], at + text.index(0) + 1


#: A number of Netpbm headers, with the white space and comments before it. For OpenCV, a carriage
#: return ends a comment as well.
_NUMBER = rb"(?:\s|#[^\r\n]{0,200}[\r\n])+([-+.0-9eE]{1,20})"


def _netpbm(data: memoryview) -> ImageHeader | None:
    """PBM, PGM and PPM as text or binary (P1 to P6), PAM (P7), and PFM (Pf and PF)."""
    start, kind = bytes(data[:4096]), bytes(data[1:2])
    if kind == b"7":
        return _pam(start)
    has_depth = kind not in b"14"
    match = re.match(rb"P." + _NUMBER * (3 if has_depth else 2), start)
    if match is None:
        return None
    width, height = int(match[1]), int(match[2])
    if kind in b"fF":
        return ImageHeader("pfm", height, width, 1 if kind == b"f" else 3, 32, is_float=True)
    bits = 16 if has_depth and int(match[3]) > 255 else 8
    return ImageHeader("pnm", height, width, 3 if kind in b"36" else 1, bits)


def _pam(start: bytes) -> ImageHeader | None:
    """PAM (P7): one ``KEY value`` a line, each once. In anything else, OpenCV may find others."""
    lines, found, _ = start.partition(b"\nENDHDR\n")
    pairs = [_PAM_LINE.fullmatch(line) for line in lines.split(b"\n")[1:]]
    values = {match[1]: match[2] for match in pairs if match}
    if not found or len(values) < len(pairs):
        return None
    if not values.keys() >= {b"WIDTH", b"HEIGHT", b"DEPTH", b"MAXVAL"}:
        return None
    bits = 16 if int(values[b"MAXVAL"]) > 255 else 8
    width, height, channels = (int(values[key]) for key in (b"WIDTH", b"HEIGHT", b"DEPTH"))
    return ImageHeader("pnm", height, width, channels, bits)


_PAM_LINE = re.compile(rb"([A-Z]{5,8}) ([A-Z0-9_]{1,20})")


def _jp2(data: memoryview) -> ImageHeader | None:
    """JPEG 2000 (ISO/IEC 15444-1) in its boxes: the codestream's header counts."""
    at = 0
    for _ in range(64):
        length, kind = struct.unpack_from(">I4s", data, at)
        start = at + 8
        if length == 1:
            (length,) = struct.unpack_from(">Q", data, start)
            start += 8
        if kind == b"jp2c":
            return _j2k(data[start:])
        if length < 8:
            return None
        at += length
    return None


def _j2k(data: memoryview) -> ImageHeader | None:
    """The codestream of JPEG 2000: the segment SIZ comes first."""
    marker, right, bottom, left, top = struct.unpack_from(">I4xIIII", data, 0)
    if marker != 0xFF4FFF51:
        return None
    channels, bits = struct.unpack_from(">HB", data, 40)
    return ImageHeader(
        "jpeg2000", max(bottom - top, 0), max(right - left, 0), channels, (bits & 0x7F) + 1
    )


#: Readers by the first bytes of the file.
_READERS: tuple[tuple[bytes, Callable[[memoryview], ImageHeader | None]], ...] = (
    (b"\xff\xd8\xff", _jpeg),
    (b"\x89PNG\r\n\x1a\n", _png),
    (b"RIFF", _webp),
    (b"II*\0", _tiff),
    (b"MM\0*", _tiff),
    (b"BM", _bmp),
    (b"\x76\x2f\x31\x01", _exr),
    *((b"P" + kind, _netpbm) for kind in (b"1", b"2", b"3", b"4", b"5", b"6", b"7", b"f", b"F")),
    (b"\0\0\0\x0cjP  \r\n\x87\n", _jp2),
    (b"\xff\x4f\xff\x51", _j2k),
)
