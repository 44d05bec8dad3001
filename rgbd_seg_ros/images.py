# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Decodes image messages into frames: raw, JPEG/PNG and compressedDepth, without importing ROS.

Works on any object with the fields of ``sensor_msgs`` ``Image``, ``CompressedImage`` or
``CameraInfo``, from a bag reader or a live subscription, so the same message gives the same
pixels offline and live. Invalid data never raises an exception; it becomes a Defect.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from rgbd_seg_ros.frames import Defect, Frame, Intrinsics, Stream
from rgbd_seg_ros.names import unknown_name

#: Color encodings: (channels of one byte, OpenCV code of the conversion to RGB or None).
#: OpenCV names a Bayer pattern after its second row from the second pixel on: RGGB is its "BG".
COLOR_ENCODINGS: dict[str, tuple[int, int | None]] = {
    "rgb8": (3, None),
    "bgr8": (3, cv2.COLOR_BGR2RGB),
    "rgba8": (4, cv2.COLOR_RGBA2RGB),
    "bgra8": (4, cv2.COLOR_BGRA2RGB),
    "mono8": (1, cv2.COLOR_GRAY2RGB),
    "8UC1": (1, cv2.COLOR_GRAY2RGB),
    "yuv422": (2, cv2.COLOR_YUV2RGB_UYVY),
    "uyvy": (2, cv2.COLOR_YUV2RGB_UYVY),
    "yuv422_yuy2": (2, cv2.COLOR_YUV2RGB_YUY2),
    "yuyv": (2, cv2.COLOR_YUV2RGB_YUY2),
    "bayer_rggb8": (1, cv2.COLOR_BayerBG2RGB),
    "bayer_bggr8": (1, cv2.COLOR_BayerRG2RGB),
    "bayer_gbrg8": (1, cv2.COLOR_BayerGR2RGB),
    "bayer_grbg8": (1, cv2.COLOR_BayerGB2RGB),
}
#: Depth encodings and the type of one pixel.
DEPTH_ENCODINGS: dict[str, type[np.generic]] = {
    "16UC1": np.uint16,
    "mono16": np.uint16,
    "32FC1": np.float32,
}
#: Masks of class ids.
MASK_ENCODINGS = ("mono8", "8UC1")

_PNG = b"\x89PNG\r\n\x1a\n"
#: compressed_depth_image_transport's ConfigHeader: int32 format, float32 quantization A and B.
_DEPTH_HEADER = struct.Struct("<iff")


class _Malformed(ValueError):
    """Its message becomes the detail of the Defect."""


def to_frame(message: Any, stream: Stream, intrinsics: Intrinsics | None = None) -> Frame | Defect:
    """Decode an ``Image`` or ``CompressedImage`` of one stream.

    Raw rgb8 and native-endian depth are views of the message's data that skip the padding of its
    rows. Every other encoding takes one OpenCV pass; a reversed view would cost 30 times
    as much at its first use.

    Returns:
        A Frame, or ``Defect("malformed", …)`` for an unknown encoding, a size of zero, fewer bytes
        than ``step·height``, or data that cannot be decoded.
    """
    stamp: int | None = None
    try:
        stamp = stamp_ns(message.header)
        if hasattr(message, "format"):
            array, encoding = _decompress(message, stream)
        else:
            array, encoding = _decode(message, stream), str(message.encoding)
        return Frame(array, stamp, str(message.header.frame_id), encoding, intrinsics)
    except _Malformed as error:
        return Defect("malformed", str(error), stamp)
    except (cv2.error, AttributeError, TypeError, ValueError) as error:
        return Defect("malformed", f"{type(error).__name__}: {_one_line(error)}", stamp)


def to_mask(message: Any) -> Frame | Defect:
    """Decode a mono8 ``Image`` of class ids (a mask or ground truth) into an H×W uint8 Frame."""
    stamp: int | None = None
    try:
        stamp = stamp_ns(message.header)
        if message.encoding not in MASK_ENCODINGS:
            raise _Malformed(unknown_name("mask encoding", message.encoding, MASK_ENCODINGS))
        array = _rows(message, np.dtype(np.uint8))
        return Frame(array, stamp, str(message.header.frame_id), str(message.encoding))
    except _Malformed as error:
        return Defect("malformed", str(error), stamp)
    except (AttributeError, TypeError, ValueError) as error:
        return Defect("malformed", f"{type(error).__name__}: {_one_line(error)}", stamp)


def to_intrinsics(message: Any) -> Intrinsics | None:
    """Intrinsics of the image as published, that is, after region of interest and binning.

    Returns:
        None for an uncalibrated camera (K all zeros) or a size of zero.
    """
    k = message.k if hasattr(message, "k") else message.K  # ROS 1 spells it K
    roi = message.roi
    bin_x, bin_y = max(int(message.binning_x), 1), max(int(message.binning_y), 1)
    width = int(roi.width) or int(message.width)
    height = int(roi.height) or int(message.height)
    try:
        return Intrinsics(
            fx=float(k[0]) / bin_x,
            fy=float(k[4]) / bin_y,
            # Pixel centers lie at integer coordinates, so the image's corner is at (-0.5, -0.5).
            cx=(float(k[2]) - int(roi.x_offset) + 0.5) / bin_x - 0.5,
            cy=(float(k[5]) - int(roi.y_offset) + 0.5) / bin_y - 0.5,
            width=width // bin_x,
            height=height // bin_y,
        )
    except ValueError:
        return None


def stamp_ns(header: Any) -> int:
    """The header's stamp in nanoseconds."""
    return int(header.stamp.sec) * 1_000_000_000 + int(header.stamp.nanosec)


# --- Raw images --------------------------------------------------------------------------------


def _decode(message: Any, stream: Stream) -> npt.NDArray[Any]:
    encoding = str(message.encoding)
    if stream == "rgb":
        if encoding not in COLOR_ENCODINGS:
            raise _Malformed(unknown_name("color encoding", encoding, COLOR_ENCODINGS))
        channels, code = COLOR_ENCODINGS[encoding]
        rows = _rows(message, np.dtype(np.uint8), channels)
        if code is None:
            return rows
        return np.asarray(cv2.cvtColor(rows, code), dtype=np.uint8)
    if encoding not in DEPTH_ENCODINGS:
        raise _Malformed(unknown_name("depth encoding", encoding, DEPTH_ENCODINGS))
    native = np.dtype(DEPTH_ENCODINGS[encoding])
    rows = _rows(message, native.newbyteorder(">" if message.is_bigendian else "<"))
    return rows if rows.dtype == native else rows.astype(native)


def _rows(message: Any, dtype: np.dtype[Any], channels: int = 1) -> npt.NDArray[Any]:
    """A view of the message's data as H×W or H×W×C, without the padding of its rows."""
    height, width, step = int(message.height), int(message.width), int(message.step)
    if height <= 0 or width <= 0:
        raise _Malformed(f"the image is {width}×{height}; check the camera driver")
    row = width * channels * dtype.itemsize
    if step < row:
        raise _Malformed(
            f"step is {step} bytes but a row of {width} {message.encoding} pixels has {row}"
        )
    data = memoryview(message.data)
    if data.nbytes < step * height:
        raise _Malformed(
            f"data has {data.nbytes} bytes, step {step} × height {height} needs {step * height}: "
            "the message is truncated"
        )
    shape, strides = (height, width), (step, channels * dtype.itemsize)
    if channels > 1:
        shape, strides = (*shape, channels), (*strides, dtype.itemsize)  # type: ignore[assignment]
    image: npt.NDArray[Any] = np.ndarray(shape, dtype, buffer=data, strides=strides)
    return image


# --- Compressed images -------------------------------------------------------------------------


@dataclass(frozen=True)
class _Format:
    """The ``format`` of a CompressedImage: ``[encoding;] codec [details]``."""

    encoding: str
    codec: str

    @classmethod
    def parse(cls, text: str) -> _Format:
        encoding, separator, codec = text.partition(";")
        return cls(encoding.strip(), codec.strip()) if separator else cls("", encoding.strip())


def _decompress(message: Any, stream: Stream) -> tuple[npt.NDArray[Any], str]:
    """The image, and its encoding before compression as the publisher names it."""
    data = np.frombuffer(message.data, dtype=np.uint8)
    if data.size == 0:
        raise _Malformed("the compressed image has no bytes")
    kind = _Format.parse(str(message.format))
    if stream == "rgb":
        if "compresseddepth" in kind.codec.lower():
            raise _Malformed(f"format {message.format!r} is depth, not color; check the topics")
        return _color(data, kind), kind.encoding or "compressed"
    depth = _compressed_depth(data, kind)
    return depth, "32FC1" if depth.dtype == np.float32 else "16UC1"


def _color(data: npt.NDArray[np.uint8], kind: _Format) -> npt.NDArray[np.uint8]:
    # Pixels as stored: see image_io.
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    image = cv2.imdecode(data, flags)
    if image is None:
        raise _Malformed(f"OpenCV cannot decode these {data.size} bytes of {kind.codec!r}")
    # compressed_image_transport writes "compressed bgr8" if it converted to OpenCV's channel order
    # before encoding. Without that, imdecode returns a color encoding as RGB already.
    is_rgb = kind.encoding.startswith(("rgb", "bgr")) and "compressed bgr" not in kind.codec
    if is_rgb:
        return np.asarray(image, dtype=np.uint8)
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), dtype=np.uint8)


def _compressed_depth(data: npt.NDArray[np.uint8], kind: _Format) -> npt.NDArray[Any]:
    """Decode a PNG with or without the 12-byte header of compressed_depth_image_transport.

    32FC1 is stored as 16-bit inverse depth q with 1/Z = (q − B) / A; q = 0 is invalid.
    """
    has_header = data[: len(_PNG)].tobytes() != _PNG
    payload = data[_DEPTH_HEADER.size :] if has_header else data
    if payload[: len(_PNG)].tobytes() != _PNG:
        raise _Malformed(
            f"compressed depth {kind.codec!r} is not a PNG; "
            "publish compressedDepth with format png, or raw depth"
        )
    image = cv2.imdecode(payload, cv2.IMREAD_UNCHANGED)
    if image is None or image.ndim != 2 or image.dtype != np.uint16:
        seen = "unreadable" if image is None else f"{image.dtype} {image.shape}"
        raise _Malformed(f"the depth PNG is {seen}, expected one channel of 16 bits")
    ticks: npt.NDArray[np.uint16] = np.asarray(image, dtype=np.uint16)
    if kind.encoding != "32FC1":
        return ticks
    if not has_header:
        raise _Malformed("32FC1 compressedDepth lacks its 12-byte header, so its scale is unknown")
    _, a, b = _DEPTH_HEADER.unpack_from(data.tobytes()[: _DEPTH_HEADER.size])
    depth_m = np.full(ticks.shape, np.nan, dtype=np.float32)
    np.divide(
        np.float32(a), ticks.astype(np.float32) - np.float32(b), out=depth_m, where=ticks > 0
    )
    return depth_m


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
