# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Decodes the depth images of compressed_depth_image_transport: PNG and RVL, 16UC1 and 32FC1.

The data starts with a ConfigHeader of 12 bytes: int32 format, float32 quantization A and B. A PNG
follows, or RVL: uint32 width and height, then the code of Wilson, "Fast Lossless Depth Image
Compression" (ISS 2017). 32FC1 is stored as 16-bit inverse depth q with 1/Z = (q − B) / A; q = 0 is
invalid. Drivers that bypass the transport send a PNG without a ConfigHeader.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from rgbd_seg_ros.bounded_decode import decode_image
from rgbd_seg_ros.image_size import ImageHeader, UnusableImageError, read_header

_CONFIG = struct.Struct("<iff")
_RVL_SIZE = struct.Struct("<II")
#: RVL is decoded in pieces of this many bytes, so that its working memory stays small. Pieces four
#: times as large would save a fifth of the time, 0.7 ms for 640×480, but need four times as much.
_PIECE = 1 << 14
#: Nibbles of the longest value: a count of 2³⁰ has ten groups of three bits.
_LONGEST = 10


@dataclass(frozen=True)
class DepthPayload:
    """A compressed depth image, and what its headers say about it."""

    height: int
    width: int
    #: The file, or the RVL code behind its size.
    data: memoryview
    #: Header of the file; None for RVL.
    header: ImageHeader | None
    #: Pixels are inverse depth with this A and B; None if they are ticks or meters.
    quantization: tuple[float, float] | None

    @classmethod
    def parse(cls, data: memoryview, encoding: str, codec: str) -> DepthPayload:
        """Read the headers.

        Args:
            data: the data of the message.
            encoding: the encoding before compression, as ``format`` states it; may be empty.
            codec: the rest of ``format``, lower case.

        Raises:
            UnusableImageError: the data is no depth image that can be decoded.
        """
        header = read_header(data)
        quantization = None
        if header is None and len(data) >= _CONFIG.size:
            _, a, b = _CONFIG.unpack_from(data)
            quantization = (a, b) if encoding == "32FC1" else None
            data = data[_CONFIG.size :]
            header = read_header(data)
            if header is None and "rvl" in codec:
                if len(data) < _RVL_SIZE.size:
                    raise UnusableImageError("the RVL image has no size: the message is truncated")
                width, height = _RVL_SIZE.unpack_from(data)
                return cls(height, width, data[_RVL_SIZE.size :], None, quantization)
        if header is None:
            raise UnusableImageError(
                f"the {len(data)} bytes are neither PNG nor RVL of a depth image; "
                "publish compressedDepth with format png or rvl, or raw depth"
            )
        if not header.is_depth:
            raise UnusableImageError(
                f"the {header.codec.upper()} has {header.channels} channel(s) of {header.bits} "
                "bits, but depth has one of 16 bits; check the topics"
            )
        if encoding == "32FC1" and not header.is_float and quantization is None:
            raise UnusableImageError(
                "32FC1 compressedDepth lacks its 12-byte header, so its scale is unknown; "
                "publish it with compressed_depth_image_transport"
            )
        if header.is_float:
            quantization = None
        return cls(header.height, header.width, data, header, quantization)

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) according to the header."""
        return self.height, self.width

    @property
    def held(self) -> int:
        """Pixels that the decoder holds at once."""
        return self.header.pixels if self.header else 0

    @property
    def encoding(self) -> str:
        """``32FC1`` if decoding gives meters, ``16UC1`` if it gives ticks."""
        is_float = self.header is not None and self.header.is_float
        return "32FC1" if is_float or self.quantization else "16UC1"

    def decode(self) -> npt.NDArray[Any]:
        """H×W: uint16 ticks, or float32 meters with NaN where q is 0.

        Raises:
            UnusableImageError: the data is damaged.
        """
        if self.header is None:
            image: npt.NDArray[Any] = decode_rvl(self.data, self.height, self.width)
        else:
            image = decode_image(self.data, self.header, cv2.IMREAD_UNCHANGED)
        if self.quantization is None:
            return image
        a, b = map(np.float32, self.quantization)
        depth_m = image.astype(np.float32)
        with np.errstate(all="ignore"):  # a damaged header may hold any A and B
            depth_m -= b
            np.divide(a, depth_m, out=depth_m)
        depth_m[image == 0] = np.nan
        return depth_m


def decode_rvl(data: Any, height: int, width: int) -> npt.NDArray[np.uint16]:
    """Decode the RVL code of a 16-bit image of known size, H×W.

    The code is a sequence of numbers: how many pixels are 0, how many are not, then for each of
    the latter the difference to the last one that was not 0, and so on. A difference is signed:
    0, −1, 1, −2, … are 0, 1, 2, 3, …. A number is written in groups of three bits, the lowest
    first; the fourth bit of a nibble says that another group follows. Eight nibbles form one
    little-endian word of 32 bits, the first nibble in its highest bits.

    NumPy decodes the numbers of one piece of the data at a time; only the runs take a loop. Apart
    from the image and a bit mask of it, this needs less than 2 MB.

    Args:
        data: the code, without the size before it. Bytes after the last pixel are ignored.
        height: rows; the caller has checked that the image is not too large.
        width: columns.

    Raises:
        UnusableImageError: the code ends before the image does, exceeds it, or is damaged.
    """
    pixels = height * width
    # No pixel takes more than six nibbles.
    code = memoryview(data).cast("B")[: 3 * pixels + 16]
    image = np.zeros(pixels, dtype=np.uint16)
    done = pending = last = 0  # pending: pixels of the current run that are in the next piece
    nibbles = np.empty(0, dtype=np.uint8)  # of a number that continues in the next piece
    numbers = np.empty(0, dtype=np.int32)  # a count of zeros whose count of others is missing
    for start in range(0, len(code), _PIECE):
        more, nibbles = _numbers(code[start : start + _PIECE], nibbles)
        numbers = np.concatenate((numbers, more))
        stop = min(pending, len(numbers))  # end of the numbers that are used up below
        counts = _counts(numbers, stop, pixels - done)
        lengths = np.zeros(1 + 2 * len(counts), dtype=np.int64)  # others, zeros, others, zeros, …
        lengths[0], lengths[1::2], lengths[2::2] = stop, numbers[counts], numbers[counts + 1]
        pending -= stop
        if len(counts):
            pending = max(int(counts[-1] + 2 + lengths[-1]) - len(numbers), 0)
            lengths[-1] -= pending
            stop = int(counts[-1] + 2 + lengths[-1])
        is_difference = np.ones(stop, dtype=bool)
        is_difference[counts] = is_difference[counts + 1] = False
        codes = numbers[:stop][is_difference]
        part = image[done : done + lengths.sum()]
        if codes.size:
            values = ((codes >> 1) ^ -(codes & 1)).astype(np.uint16)
            values[:1] += np.uint16(last)
            np.cumsum(values, out=values)  # modulo 2¹⁶, as in the publisher
            part[np.repeat(np.arange(len(lengths)) % 2 == 0, lengths)] = values
            last = int(values[-1])
        done += len(part)
        if done == pixels:
            return image.reshape(height, width)
        numbers = numbers[stop:]
    raise UnusableImageError(
        f"the RVL code ends after {done} of {pixels} pixels: the message is truncated"
    )


def _counts(numbers: npt.NDArray[np.int32], start: int, pixels: int) -> npt.NDArray[np.int64]:
    """Indices of the counts of zeros, each of which the count of other pixels follows.

    Args:
        numbers: the numbers of one piece.
        start: how many differences of a run that started in the piece before come first.
        pixels: how many pixels are missing, these included.
    """
    values, at, last = numbers.data, start, len(numbers) - 1
    found: list[int] = []
    while at < last:
        found.append(at)
        at += 2 + values[at + 1]
    counts = np.array(found, dtype=np.int64)
    runs = numbers[counts].astype(np.int64) + numbers[counts + 1]
    ends = start + np.cumsum(runs)
    full = 0 if start == pixels else int(np.searchsorted(ends, pixels)) + 1
    if 0 < full <= len(ends) and ends[full - 1] > pixels:
        raise UnusableImageError(
            f"the RVL code has more pixels than its size states ({ends[full - 1] - pixels} more); "
            "check the camera driver"
        )
    if not runs[:full].all():
        raise UnusableImageError("the RVL code has an empty run; check the camera driver")
    return counts[:full]


def _numbers(
    data: memoryview, rest: npt.NDArray[np.uint8]
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.uint8]]:
    """The numbers that end in a piece of RVL code, and the nibbles of the one that does not.

    Args:
        data: the piece; an incomplete word at its end is ignored.
        rest: nibbles of a number that started in the piece before.
    """
    words = np.frombuffer(data, dtype="<u4", count=len(data) // 4)
    octets = words.astype(">u4").view(np.uint8)
    nibbles = np.empty(rest.size + 2 * octets.size, dtype=np.uint8)
    nibbles[: rest.size] = rest
    nibbles[rest.size :: 2] = octets >> 4
    nibbles[rest.size + 1 :: 2] = octets & 0xF
    ends = np.flatnonzero(nibbles < 8)
    starts = np.zeros(ends.size, dtype=ends.dtype)
    starts[1:] = ends[:-1] + 1
    tail = (nibbles[ends[-1] + 1 :] if ends.size else nibbles).copy()
    nibbles &= 7
    numbers = nibbles[starts].astype(np.int32)
    longer = np.flatnonzero(ends > starts)
    for group in range(1, _LONGEST):
        if not longer.size:
            break
        starts_longer = starts[longer] + group
        numbers[longer] |= nibbles[starts_longer].astype(np.int32) << (3 * group)
        longer = longer[ends[longer] > starts_longer]
    if longer.size or tail.size > _LONGEST:
        raise UnusableImageError(
            "the RVL code has a number of more than 30 bits; check the camera driver"
        )
    return numbers, tail
