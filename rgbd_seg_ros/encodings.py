# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Encodings of raw images: converts the data of an ``Image`` message to color, depth or a mask.

The names are those of ``sensor_msgs/image_encodings``. OpenCV's type names are read as cv_bridge,
RViz and Foxglove do: three channels are BGR, four are BGRA. Every YUV encoding is BT.601 with
limited range (luma 16 to 235), the default of cameras and of OpenCV. Colors of 16 bits use their
full range: 65535 becomes 255, rounded, as in cv_bridge.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from rgbd_seg_ros.image_size import UnusableImageError, check_size
from rgbd_seg_ros.names import did_you_mean, shown, unknown_name

_U8, _U16, _F32 = np.dtype(np.uint8), np.dtype(np.uint16), np.dtype(np.float32)


@dataclass(frozen=True)
class ColorEncoding:
    """Layout of the pixels of a color encoding, and their conversion to RGB."""

    #: Channels in one row; 1 for planes, whose chroma has rows of its own.
    channels: int
    #: OpenCV's code of the conversion to RGB; None if the pixels are RGB.
    code: int | None
    dtype: np.dtype[Any] = _U8
    #: Rows of data per image row, in halves.
    half_rows: int = 2
    #: Height and width must be multiples of these.
    multiple_of: tuple[int, int] = (1, 1)


_PAIRS = (1, 2)
#: Color encodings by name.
#: OpenCV names a Bayer pattern after its second row from the second pixel on: RGGB is its "BG".
COLOR_ENCODINGS: dict[str, ColorEncoding] = {
    "rgb8": ColorEncoding(3, None),
    "bgr8": ColorEncoding(3, cv2.COLOR_BGR2RGB),
    "rgba8": ColorEncoding(4, cv2.COLOR_RGBA2RGB),
    "bgra8": ColorEncoding(4, cv2.COLOR_BGRA2RGB),
    "mono8": ColorEncoding(1, cv2.COLOR_GRAY2RGB),
    "rgb16": ColorEncoding(3, None, _U16),
    "bgr16": ColorEncoding(3, cv2.COLOR_BGR2RGB, _U16),
    "rgba16": ColorEncoding(4, cv2.COLOR_RGBA2RGB, _U16),
    "bgra16": ColorEncoding(4, cv2.COLOR_BGRA2RGB, _U16),
    "mono16": ColorEncoding(1, cv2.COLOR_GRAY2RGB, _U16),
    "8UC1": ColorEncoding(1, cv2.COLOR_GRAY2RGB),
    "8UC3": ColorEncoding(3, cv2.COLOR_BGR2RGB),
    "8UC4": ColorEncoding(4, cv2.COLOR_BGRA2RGB),
    "16UC3": ColorEncoding(3, cv2.COLOR_BGR2RGB, _U16),
    "16UC4": ColorEncoding(4, cv2.COLOR_BGRA2RGB, _U16),
    "bayer_rggb8": ColorEncoding(1, cv2.COLOR_BayerBG2RGB),
    "bayer_bggr8": ColorEncoding(1, cv2.COLOR_BayerRG2RGB),
    "bayer_gbrg8": ColorEncoding(1, cv2.COLOR_BayerGR2RGB),
    "bayer_grbg8": ColorEncoding(1, cv2.COLOR_BayerGB2RGB),
    "bayer_rggb16": ColorEncoding(1, cv2.COLOR_BayerBG2RGB, _U16),
    "bayer_bggr16": ColorEncoding(1, cv2.COLOR_BayerRG2RGB, _U16),
    "bayer_gbrg16": ColorEncoding(1, cv2.COLOR_BayerGR2RGB, _U16),
    "bayer_grbg16": ColorEncoding(1, cv2.COLOR_BayerGB2RGB, _U16),
    "yuv422": ColorEncoding(2, cv2.COLOR_YUV2RGB_UYVY, multiple_of=_PAIRS),
    "uyvy": ColorEncoding(2, cv2.COLOR_YUV2RGB_UYVY, multiple_of=_PAIRS),
    "yuv422_yuy2": ColorEncoding(2, cv2.COLOR_YUV2RGB_YUY2, multiple_of=_PAIRS),
    "yuyv": ColorEncoding(2, cv2.COLOR_YUV2RGB_YUY2, multiple_of=_PAIRS),
    # Planes as in V4L2: rows of luma, then rows of interleaved chroma; their step is that of luma
    # in NV12 and NV21, twice that in NV24.
    "nv12": ColorEncoding(1, cv2.COLOR_YUV2RGB_NV12, half_rows=3, multiple_of=(2, 2)),
    "nv21": ColorEncoding(1, cv2.COLOR_YUV2RGB_NV21, half_rows=3, multiple_of=(2, 2)),
    "nv24": ColorEncoding(1, None, half_rows=6),
}
#: Depth encodings and the type of one pixel.
DEPTH_ENCODINGS: dict[str, np.dtype[Any]] = {"16UC1": _U16, "mono16": _U16, "32FC1": _F32}
#: Masks of class ids.
MASK_ENCODINGS = ("mono8", "8UC1")

#: From Y, U and V of BT.601 with limited range to R, G and B; the last column is added.
_BT601 = np.array(
    [[255 / 219, 0, 1.5960268], [255 / 219, -0.3917623, -0.8129676], [255 / 219, 2.0172321, 0]]
)
_YUV_TO_RGB = np.hstack([_BT601, _BT601 @ [[-16], [-128], [-128]]])


def decode_color(message: Any, max_pixels: int) -> npt.NDArray[np.uint8]:
    """The color image of an ``Image`` message, H×W×3 uint8 in RGB order.

    rgb8 is a view of the message's data that skips the padding of its rows. Every other encoding
    takes one OpenCV pass; a reversed view would cost 30 times as much at its first use.

    Raises:
        UnusableImageError: an encoding that is not color, a size of zero, of more than
            ``max_pixels`` or that the encoding excludes, or fewer bytes than the size requires.
    """
    encoding = message.encoding
    known = COLOR_ENCODINGS.get(encoding)
    if known is None:
        if encoding in DEPTH_ENCODINGS:
            raise UnusableImageError(
                f"encoding {encoding!r} is depth, not color; check the topics"
            )
        raise UnusableImageError(
            f"unknown color encoding {shown(encoding)}{did_you_mean(encoding, COLOR_ENCODINGS)}; "
            "publish rgb8, bgr8 or another encoding that docs/replay.md lists"
        )
    rows = _rows(message, known.dtype, max_pixels, known.channels, known.half_rows)
    if known.multiple_of != (1, 1):
        height, width = message.height, message.width
        if height % known.multiple_of[0] or width % known.multiple_of[1]:
            raise UnusableImageError(
                f"the image is {width}×{height}, but in {encoding} pixels share chroma; "
                "publish an even size"
            )
    if known.dtype is _U16:
        rows = to_8_bits(rows)
    if encoding == "nv24":
        return _nv24(message, rows)
    if known.code is None:
        return rows
    return np.asarray(cv2.cvtColor(rows, known.code), dtype=np.uint8)


def decode_depth(message: Any, max_pixels: int) -> npt.NDArray[Any]:
    """The depth image of an ``Image`` message, H×W, uint16 ticks or float32 meters.

    Native-endian depth is a view of the message's data.

    Raises:
        UnusableImageError: as for :func:`decode_color`.
    """
    encoding = message.encoding
    native = DEPTH_ENCODINGS.get(encoding)
    if native is None:
        if encoding in COLOR_ENCODINGS:
            known = ", ".join(DEPTH_ENCODINGS)
            raise UnusableImageError(
                f"encoding {encoding!r} is color, not depth (depth is {known}); check the topics"
            )
        raise UnusableImageError(
            f"{unknown_name('depth encoding', encoding, DEPTH_ENCODINGS)}; publish 16UC1 or 32FC1"
        )
    return _rows(message, native, max_pixels)


def decode_mask(message: Any, max_pixels: int) -> npt.NDArray[np.uint8]:
    """The class ids of a mono8 ``Image`` message, H×W uint8.

    Raises:
        UnusableImageError: as for :func:`decode_color`.
    """
    if message.encoding not in MASK_ENCODINGS:
        raise UnusableImageError(unknown_name("mask encoding", message.encoding, MASK_ENCODINGS))
    return _rows(message, _U8, max_pixels)


def to_8_bits(image: npt.NDArray[np.uint16]) -> npt.NDArray[np.uint8]:
    """Colors of 16 bits as 8 bits, rounded; 65535 becomes 255."""
    return np.asarray(cv2.convertScaleAbs(image, alpha=255 / 65535), dtype=np.uint8)


def _rows(
    message: Any,
    native: np.dtype[Any],
    max_pixels: int,
    channels: int = 1,
    half_rows: int = 2,
) -> npt.NDArray[Any]:
    """The message's data as H×W or H×W×C without the padding of its rows, in native byte order.

    A view if the byte order is native. Nothing is allocated for an image that is refused.
    """
    height, width, step = int(message.height), int(message.width), int(message.step)
    check_size(height, width, max_pixels)
    row = width * channels * native.itemsize
    if step < row:
        raise UnusableImageError(
            f"step is {shown(step)} bytes, but a row of {width} {message.encoding} pixels has "
            f"{row}; check the camera driver"
        )
    lines = height if half_rows == 2 else (height * half_rows + 1) // 2
    data = memoryview(message.data)
    if data.nbytes < step * lines:
        raise UnusableImageError(
            f"data has {data.nbytes} bytes, step {shown(step)} × {lines} rows needs "
            f"{shown(step * lines)}: the message is truncated"
        )
    shape, strides = (lines, width), (step, channels * native.itemsize)
    if channels > 1:
        shape, strides = (*shape, channels), (*strides, native.itemsize)  # type: ignore[assignment]
    if native.itemsize == 1 or bool(message.is_bigendian) == (sys.byteorder == "big"):
        image: npt.NDArray[Any] = np.ndarray(shape, native, data, 0, strides)
        return image
    image = np.ndarray(shape, native.newbyteorder(), data, 0, strides)
    return image.astype(native)


def _nv24(message: Any, rows: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """RGB of NV24, whose chroma has full resolution; OpenCV has no code for it."""
    height, width, step = int(message.height), int(message.width), int(message.step)
    chroma: npt.NDArray[np.uint8] = np.ndarray(
        (height, width, 2), np.uint8, message.data, step * height, (2 * step, 2, 1)
    )
    yuv = cv2.merge([rows[:height], chroma])
    return np.asarray(cv2.transform(yuv, _YUV_TO_RGB), dtype=np.uint8)
