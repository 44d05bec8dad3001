# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Decodes compressed color images: JPEG, PNG, WebP and others, told apart by their headers.

``format`` is only asked what the header does not say: whether the publisher swapped red and blue.
Colors of 16 bits become 8 bits as in :mod:`rgbd_seg_ros.encodings`.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from rgbd_seg_ros.bounded_decode import decode_image
from rgbd_seg_ros.encodings import COLOR_ENCODINGS, to_8_bits
from rgbd_seg_ros.image_size import ImageHeader, UnusableImageError, read_header
from rgbd_seg_ros.names import shown

#: Codecs that are decoded. OpenCV knows more, but no publisher sends them.
CODECS = ("jpeg", "png", "webp", "tiff", "bmp", "pnm")


@dataclass(frozen=True)
class ColorPayload:
    """A compressed color image and its header."""

    data: memoryview
    header: ImageHeader
    #: The encoding before compression: one of COLOR_ENCODINGS, or ``compressed`` if not stated.
    encoding: str
    #: Whether decoding it as BGR gives RGB.
    is_swapped: bool

    @classmethod
    def parse(cls, data: memoryview, encoding: str, codec: str) -> ColorPayload:
        """Read the header.

        Args:
            data: the data of the message.
            encoding: the encoding before compression, as ``format`` states it; may be empty.
            codec: the rest of ``format``, lower case.

        Raises:
            UnusableImageError: the data is no color image that can be decoded.
        """
        header = read_header(data)
        if "compresseddepth" in codec:
            raise UnusableImageError("compressedDepth is depth, not color; check the topics")
        if header is None or header.codec not in CODECS:
            raise UnusableImageError(
                f"unknown image of {len(data)} bytes, format {shown(codec)}, that starts with "
                f"{bytes(data[:8]).hex(' ')} (known: {', '.join(CODECS)}); publish jpeg or png"
            )
        if header.is_depth and encoding != "mono16":
            raise UnusableImageError(
                f"the {header.codec.upper()} has one channel of {header.bits} bits, which is "
                "depth, not color; check the topics"
            )
        if header.is_float or header.bits not in (1, 2, 4, 8, 16):
            raise UnusableImageError(
                f"the {header.codec.upper()} has {header.channels} channel(s) of {header.bits} "
                "bits, but color has 8 or 16; publish jpeg or png of 8 bits"
            )
        # compressed_image_transport writes "compressed bgr8" if it converted to OpenCV's channel
        # order before encoding. If not, it encoded RGB as if it were BGR.
        is_swapped = encoding.startswith(("rgb", "bgr")) and "compressed bgr" not in codec
        return cls(
            data, header, encoding if encoding in COLOR_ENCODINGS else "compressed", is_swapped
        )

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) according to the header."""
        return self.header.height, self.header.width

    @property
    def held(self) -> int:
        """Pixels that the decoder holds at once."""
        return self.header.pixels

    def decode(self) -> npt.NDArray[np.uint8]:
        """H×W×3 uint8 in RGB order, with the pixels as stored: EXIF orientation is ignored.

        Raises:
            UnusableImageError: the data is damaged.
        """
        flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
        if self.header.bits == 16:
            flags |= cv2.IMREAD_ANYDEPTH
        image = decode_image(self.data, self.header, flags)
        if image.dtype == np.uint16:
            image = to_8_bits(image)
        if self.is_swapped:
            return np.asarray(image, dtype=np.uint8)
        return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), dtype=np.uint8)
