# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Image files: read color, depth and labels as they are stored, write PNG and JPEG."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from rgbd_seg_ros.files import write_atomically

#: File name suffixes of images, lower case.
SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp"})


class ImageFileError(ValueError):
    """An image file that cannot be read or written; the message names it and the remedy."""


def read_image(path: Path) -> npt.NDArray[Any]:
    """An image exactly as stored: H×W or H×W×C (C in OpenCV's order), any depth of bits.

    EXIF orientation is ignored: color, depth and labels of one camera share one pixel grid.

    Raises:
        ImageFileError: the file is missing, truncated, or not an image.
    """
    return _decode(path, cv2.IMREAD_UNCHANGED)


def read_rgb(path: Path) -> npt.NDArray[np.uint8]:
    """A color or gray image as H×W×3 uint8 in RGB order.

    Raises:
        ImageFileError: the file is missing, truncated, or not an image.
    """
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    return np.asarray(cv2.cvtColor(_decode(path, flags), cv2.COLOR_BGR2RGB), dtype=np.uint8)


def read_single_channel(path: Path) -> npt.NDArray[Any]:
    """Depth or labels as H×W; three equal channels count as one.

    Raises:
        ImageFileError: the file is missing, truncated, not an image, or a color image.
    """
    image = read_image(path)
    if image.ndim == 2:
        return image
    if not (image == image[..., :1]).all():
        raise ImageFileError(f"{path} is a color image; an image of one channel is expected")
    return np.ascontiguousarray(image[..., 0])


def encode_image(suffix: str, image: npt.NDArray[Any]) -> bytes:
    """H×W (uint8 or uint16) or H×W×3 RGB as the bytes of a ``.png`` or ``.jpg`` file.

    Raises:
        ImageFileError: OpenCV cannot encode such an array in this format.
    """
    bgr = image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    options = [cv2.IMWRITE_JPEG_QUALITY, 90] if suffix in (".jpg", ".jpeg") else []
    done, data = cv2.imencode(suffix, bgr, options)
    if not done:
        raise ImageFileError(f"OpenCV cannot write {image.dtype} {image.shape} as {suffix}")
    return bytes(data)


def write_image(path: Path, image: npt.NDArray[Any]) -> None:
    """Write H×W or H×W×3 RGB in the format of the file's suffix; whole or not at all."""
    write_atomically(path, encode_image(path.suffix, image))


def _decode(path: Path, flags: int) -> npt.NDArray[Any]:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ImageFileError(f"cannot read {path}: {error.strerror}") from error
    image = None
    if data and not _is_truncated(data):
        # OpenCV returns None for most defects and raises for a size that makes no sense.
        with contextlib.suppress(cv2.error):
            image = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    if image is None:
        raise ImageFileError(
            f"{path} is truncated or not an image ({len(data)} bytes): copy, unpack or download "
            "it again"
        )
    return image


def _is_truncated(data: bytes) -> bool:
    """Whether a PNG or JPEG lacks its end marker; OpenCV would fill in the missing part."""
    if data.startswith(b"\x89PNG"):
        return b"IEND" not in data[-64:]
    # Compressed data never contains the end marker, but a thumbnail in the first half may.
    return data.startswith(b"\xff\xd8") and b"\xff\xd9" not in data[len(data) // 2 :]
