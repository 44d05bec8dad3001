# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Image messages to frames, compressed or not, live or from a bag; bad ones become Defects.

Works on any object with the fields of ``sensor_msgs`` ``Image``, ``CompressedImage`` or
``CameraInfo``, so that the same message gives the same pixels offline and live. Every size is
checked before anything is allocated, and no message raises an exception. Video, whose packets
depend on each other, is in :mod:`rgbd_seg_ros.video`.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from rgbd_seg_ros.compressed_color import ColorPayload
from rgbd_seg_ros.compressed_depth import DepthPayload
from rgbd_seg_ros.encodings import COLOR_ENCODINGS as COLOR_ENCODINGS
from rgbd_seg_ros.encodings import DEPTH_ENCODINGS as DEPTH_ENCODINGS
from rgbd_seg_ros.encodings import decode_color, decode_depth, decode_mask
from rgbd_seg_ros.frames import CompressedFrame, Defect, Frame, Intrinsics, Stream
from rgbd_seg_ros.image_size import (
    MAX_IMAGE_PIXELS,
    UnusableImageError,
    check_size,
    read_header,
)
from rgbd_seg_ros.names import shown

#: What a compressed image is, by its header: see :func:`compressed_kind`.
CompressedKind = Literal["color", "mono", "depth", "video"]

_COLOR = np.dtype(np.uint8)
_DEPTH = (np.dtype(np.uint16), np.dtype(np.float32))


def inspect(
    message: Any,
    stream: Stream,
    intrinsics: Intrinsics | None = None,
    *,
    max_pixels: int = MAX_IMAGE_PIXELS,
) -> Frame | CompressedFrame | Defect:
    """Read an ``Image`` or ``CompressedImage`` of one stream, as far as that takes no time.

    Args:
        message: the message, of any content.
        stream: what the image is to be: color or depth.
        intrinsics: of the camera, passed on to the frame.
        max_pixels: height × width of the largest image that is decoded; the parameter
            ``max_image_pixels``.

    Returns:
        A Frame for a raw image, see :mod:`rgbd_seg_ros.encodings`. For a compressed image, a
        CompressedFrame that has the size of its header; decoding it gives a Frame of that size or
        a Defect. ``Defect("malformed", …)`` for anything that cannot be an image of this stream:
        an unknown encoding or header, a size of zero or of more than ``max_pixels``, fewer bytes
        than ``step·height``.
    """
    stamp: int | None = None
    try:
        header = message.header
        stamp = stamp_ns(header)
        if hasattr(message, "step"):
            decode = decode_color if stream == "rgb" else decode_depth
            array = _checked(decode(message, max_pixels), stream, (message.height, message.width))
            return Frame(array, stamp, str(header.frame_id), str(message.encoding), intrinsics)
        if hasattr(message, "format"):
            return _inspect_compressed(message, stream, stamp, intrinsics, max_pixels)
        raise UnusableImageError(
            f"a {type(message).__name__} is no Image, CompressedImage or video packet; "
            "check the topics"
        )
    # Whatever a message contains, it must not end the thread that handles all messages.
    except Exception as error:
        return to_defect(error, stamp)


def to_frame(
    message: Any,
    stream: Stream,
    intrinsics: Intrinsics | None = None,
    *,
    max_pixels: int = MAX_IMAGE_PIXELS,
) -> Frame | Defect:
    """Decode an ``Image`` or ``CompressedImage`` at once; arguments as for :func:`inspect`."""
    item = inspect(message, stream, intrinsics, max_pixels=max_pixels)
    return item.decode() if isinstance(item, CompressedFrame) else item


def to_mask(message: Any, *, max_pixels: int = MAX_IMAGE_PIXELS) -> Frame | Defect:
    """Decode a mono8 ``Image`` of class ids (a mask or ground truth) into an H×W uint8 Frame."""
    stamp: int | None = None
    try:
        stamp = stamp_ns(message.header)
        array = decode_mask(message, max_pixels)
        return Frame(array, stamp, str(message.header.frame_id), str(message.encoding))
    except Exception as error:
        return to_defect(error, stamp)


def compressed_kind(message: Any) -> CompressedKind | None:
    """What a ``CompressedImage`` contains, by its header instead of what ``format`` claims.

    Returns:
        ``depth`` for one channel of 16 bits or floats and for compressedDepth, ``mono`` for one
        channel of 8 bits, ``color``, ``video`` for H.264 and the like, None for anything else.
        Never raises.
    """
    try:
        encoding, codec = _format(message.format)
        header = read_header(message.data)
        if "compresseddepth" in codec:
            return "depth"
        if header is None:
            return "video" if video_codec(message.format) else None
        # mono16 names gray images, for example of thermal cameras; everybody else means depth.
        if header.is_depth and encoding != "mono16":
            return "depth"
        return "mono" if header.channels <= 2 else "color"
    except Exception:
        return None


def video_codec(name: Any) -> str | None:
    """FFmpeg's name of a video codec: ``h264``, ``hevc``, ``av1`` or ``vp9``, else None.

    Args:
        name: the ``format`` of a CompressedImage or the ``encoding`` of an FFMPEGPacket. Its first
            token is the codec, which old versions name after the encoder, as in ``libx264``.
    """
    codec = str(name)[:64].partition(";")[0].strip().lower().replace(".", "")
    for words, known in _VIDEO:
        if any(word in codec for word in words):
            return known
    return None


_VIDEO = (
    (("h264", "x264", "avc"), "h264"),
    (("h265", "x265", "hevc"), "hevc"),
    (("av1",), "av1"),
    (("vp9",), "vp9"),
)


def to_intrinsics(message: Any) -> Intrinsics | None:
    """Intrinsics of the image as published, that is, after region of interest and binning.

    Returns:
        None for an uncalibrated camera (K all zeros), a size of zero, a focal length below a
        thousandth of a pixel or any other content that is no calibration. Never raises.
    """
    try:
        k = message.k if hasattr(message, "k") else message.K  # ROS 1 spells it K
        roi = message.roi
        bin_x, bin_y = max(int(message.binning_x), 1), max(int(message.binning_y), 1)
        width = int(roi.width) or int(message.width)
        height = int(roi.height) or int(message.height)
        fx, fy = float(k[0]) / bin_x, float(k[4]) / bin_y
        # Pixel centers lie at integer coordinates, so the image's corner is at (-0.5, -0.5).
        cx = (float(k[2]) - int(roi.x_offset) + 0.5) / bin_x - 0.5
        cy = (float(k[5]) - int(roi.y_offset) + 0.5) / bin_y - 0.5
        # Values that stay finite and above zero at any size to which the image is resized.
        if not (min(fx, fy) >= 1e-3 and max(fx, fy, abs(cx), abs(cy)) <= 1e9):
            return None
        if max(width, height) >= 2**32:  # more than a message's uint32 can hold
            return None
        return Intrinsics(fx, fy, cx, cy, width // bin_x, height // bin_y)
    # Whatever a message contains, it must not end the thread that handles all messages.
    except Exception:
        return None


def stamp_ns(header: Any) -> int:
    """The header's stamp in nanoseconds.

    Raises:
        UnusableImageError: a stamp of more than 64 bits, which no ROS message can have.
    """
    stamp = int(header.stamp.sec) * 1_000_000_000 + int(header.stamp.nanosec)
    if not -(2**63) <= stamp < 2**63:
        raise UnusableImageError(
            f"the stamp of {shown(header.stamp.sec)} s is no time; check the camera driver"
        )
    return stamp


def _inspect_compressed(
    message: Any, stream: Stream, stamp: int, intrinsics: Intrinsics | None, max_pixels: int
) -> CompressedFrame:
    data = memoryview(message.data).cast("B")
    if not data:
        raise UnusableImageError("the compressed image has no bytes; check the camera driver")
    if video_codec(message.format):
        raise UnusableImageError(
            f"format {shown(message.format)} is video, whose packets must be decoded in order; "
            "publish jpeg or png"
        )
    parse = ColorPayload.parse if stream == "rgb" else DepthPayload.parse
    payload: ColorPayload | DepthPayload = parse(data, *_format(message.format))
    check_size(*payload.size, max_pixels, payload.held)
    frame_id = str(message.header.frame_id)

    def decode() -> Frame | Defect:
        try:
            array = _checked(payload.decode(), stream, payload.size)
            return Frame(array, stamp, frame_id, payload.encoding, intrinsics)
        except Exception as error:  # as in inspect()
            return to_defect(error, stamp)

    return CompressedFrame(payload.size, stamp, frame_id, decode, intrinsics)


def _format(text: Any) -> tuple[str, str]:
    """Encoding and codec of ``format``, ``[encoding;] codec [details]``; codec in lower case."""
    encoding, separator, codec = str(text).partition(";")
    return (encoding.strip(), codec.strip().lower()) if separator else ("", encoding.lower())


def _checked(array: npt.NDArray[Any], stream: Stream, size: tuple[int, int]) -> npt.NDArray[Any]:
    """The array, if it is an image of this stream and size; a converter may return anything."""
    if stream == "rgb":
        good = array.shape == (*size, 3) and array.dtype == _COLOR
    else:
        good = array.shape == size and array.dtype in _DEPTH
    if not good:
        raise UnusableImageError(
            f"decoding gave {array.dtype} {array.shape}, but the message promises "
            f"{size[1]}×{size[0]} {'color' if stream == 'rgb' else 'depth'}; "
            "check the camera driver and the network"
        )
    return array


def to_defect(error: Exception, stamp: int | None) -> Defect:
    """The Defect of a message whose handling raised an error."""
    if isinstance(error, UnusableImageError):
        return Defect("malformed", str(error), stamp)
    text = " ".join(str(error).split())[:200]
    return Defect("malformed", f"{type(error).__name__}: {text}", stamp)
