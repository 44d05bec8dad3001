# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Image files: reads color, depth and labels as they are stored, writes PNG and JPEG.

Every reader ignores EXIF orientation, because the color, depth and label images of one frame share
one pixel grid.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from rgbd_seg_ros.depth import to_meters
from rgbd_seg_ros.files import write_atomically

#: File name suffixes of images, lower case.
SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp"})


class ImageFileError(ValueError):
    """An image file that cannot be read or written; the message names it and the remedy."""


def read_image(path: Path) -> npt.NDArray[Any]:
    """Read an image exactly as stored: H×W or H×W×C in OpenCV's channel order, any bit depth.

    Raises:
        ImageFileError: the file is missing, truncated, or not an image.
    """
    return _decode(path, cv2.IMREAD_UNCHANGED)


def read_rgb(path: Path) -> npt.NDArray[np.uint8]:
    """Read a color or gray image as H×W×3 uint8 in RGB order.

    Raises:
        ImageFileError: the file is missing, truncated, or not an image.
    """
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    return np.asarray(cv2.cvtColor(_decode(path, flags), cv2.COLOR_BGR2RGB), dtype=np.uint8)


def read_depth(path: Path, depth_scale: float) -> npt.NDArray[np.float32]:
    """Read a depth image as H×W meters, NaN invalid.

    Args:
        path: an image of one channel, 16-bit ticks or float meters.
        depth_scale: meters per tick, used for 16-bit images only.

    Raises:
        ImageFileError: the file is missing, truncated, not an image, or not a depth image.
    """
    image = read_image(path)
    try:
        return to_meters(image, depth_scale)
    except ValueError as error:
        raise ImageFileError(
            f"{path}: {error}; save depth as a 16-bit PNG or a float TIFF"
        ) from error


def read_single_channel(path: Path) -> npt.NDArray[Any]:
    """Read depth or labels as H×W; three identical channels are read as one.

    Raises:
        ImageFileError: the file is missing, truncated, not an image, or a color image.
    """
    image = read_image(path)
    if image.ndim == 2:
        return image
    if not (image == image[..., :1]).all():
        raise ImageFileError(f"{path} is a color image; expected an image of one channel")
    return np.ascontiguousarray(image[..., 0])


def encode_image(
    suffix: str, image: npt.NDArray[Any], *, png_compression: int | None = None
) -> bytes:
    """Encode an image as the bytes of a ``.png`` or ``.jpg`` file.

    Args:
        suffix: file name suffix, ``.png`` or ``.jpg``.
        image: H×W (uint8 or uint16) or H×W×3 RGB.
        png_compression: 0 (fast) to 9 (small); None for OpenCV's default.

    Raises:
        ImageFileError: OpenCV cannot encode such an array in this format.
    """
    jpeg = suffix in (".jpg", ".jpeg")
    # OpenCV converts other types to 8 bits without an error.
    if image.dtype != np.uint8 and (jpeg or image.dtype != np.uint16):
        raise ImageFileError(f"cannot write {image.dtype} {image.shape} as {suffix}")
    bgr = image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    options = [cv2.IMWRITE_JPEG_QUALITY, 90] if jpeg else []
    if png_compression is not None:
        options = [cv2.IMWRITE_PNG_COMPRESSION, png_compression]
    done, data = cv2.imencode(suffix, bgr, options)
    if not done:
        raise ImageFileError(f"OpenCV cannot write {image.dtype} {image.shape} as {suffix}")
    return bytes(data)


def write_image(path: Path, image: npt.NDArray[Any]) -> None:
    """Write H×W or H×W×3 RGB atomically, in the format given by the file's suffix."""
    write_atomically(path, encode_image(path.suffix, image))


def _decode(path: Path, flags: int) -> npt.NDArray[Any]:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ImageFileError(f"cannot read {path}: {error.strerror}") from error
    image = None
    if data and not _is_truncated(data):
        # OpenCV returns None for most defects and raises for an impossible size.
        with contextlib.suppress(cv2.error):
            image = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    if image is None:
        raise ImageFileError(
            f"{path} is truncated or not an image ({len(data)} bytes): copy, unpack or download "
            "it again"
        )
    return image


def _is_truncated(data: bytes) -> bool:
    """Whether a PNG or JPEG lacks its end marker; OpenCV would pad the missing part silently."""
    if data.startswith(b"\x89PNG"):
        return b"IEND" not in data[-64:]
    # Compressed data never contains the end marker, but a thumbnail in the first half can.
    return data.startswith(b"\xff\xd8") and b"\xff\xd9" not in data[len(data) // 2 :]
