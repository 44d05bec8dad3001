# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Image files: reads color, depth and labels as they are stored, writes PNG and JPEG.

Every reader ignores EXIF orientation, because the color, depth and label images of one frame share
one pixel grid. The size is read from a file's header first, and an image of too many pixels is
never decoded.
"""

from __future__ import annotations

import contextlib
import os
import re
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from rgbd_seg_ros.array_files import ARRAY_SUFFIXES, ArrayFileError, decode_npy, decode_npz
from rgbd_seg_ros.bounded_decode import decode_image
from rgbd_seg_ros.depth import to_meters
from rgbd_seg_ros.files import InputFileError, read_regular_file, write_atomically
from rgbd_seg_ros.frames import same_aspect
from rgbd_seg_ros.image_size import (
    MAX_IMAGE_PIXELS,
    ImageHeader,
    UnusableImageError,
    is_truncated,
    read_header,
)

#: File name suffixes of images, lower case.
SUFFIXES = ARRAY_SUFFIXES | {
    ".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp", ".exr", ".pfm", ".pgm", ".ppm",
}  # fmt: skip
#: Those of images that must be converted first.
UNREAD_SUFFIXES = frozenset({
    ".heic", ".heif", ".avif", ".jxl", ".jp2", ".gif", ".dng", ".cr2", ".cr3", ".nef", ".arw",
})  # fmt: skip
#: Meters per tick of 16-bit depth if nothing else is stated (REP 118).
DEFAULT_DEPTH_SCALE = 0.001
#: Conversion to RGB, by the number of channels.
_TO_RGB = {1: cv2.COLOR_GRAY2RGB, 3: cv2.COLOR_BGR2RGB, 4: cv2.COLOR_BGRA2RGB}
#: Order of the channels of a NumPy file that gives OpenCV's order, by their number.
_BGR = {1: [0], 2: [0, 1], 3: [2, 1, 0], 4: [2, 1, 0, 3]}
#: Most bytes of a pixel in a file: four channels of 32 bits.
_PIXEL_BYTES = 16


class ImageFileError(ValueError):
    """An image file that cannot be read or written; the message names it and the remedy."""


def read_image(path: Path, max_pixels: int = MAX_IMAGE_PIXELS) -> npt.NDArray[Any]:
    """Read an image exactly as stored: H×W or H×W×C in OpenCV's channel order, any bit depth.

    Args:
        path: an image or a NumPy file; the suffix ``.npy`` or ``.npz`` tells them apart.
        max_pixels: largest H·W that is decoded.

    Raises:
        ImageFileError: the file is missing, not a regular file, truncated, too large, or not an
            image.
    """
    return _read(path, max_pixels, color=False)


def read_rgb(path: Path, max_pixels: int = MAX_IMAGE_PIXELS) -> npt.NDArray[np.uint8]:
    """Read a color or gray image as H×W×3 uint8 in RGB order.

    16 bits per channel are reduced to 8. NumPy files are uint8 in RGB order.

    Raises:
        ImageFileError: as for :func:`read_image`, or the file is a depth image: one channel of 16
            bits, or floating-point numbers.
    """
    image = _read(path, max_pixels, color=True)
    if image.dtype != np.uint8:
        raise ImageFileError(f"{path} is {image.dtype}; color images are uint8 in 0..255")
    channels = 1 if image.ndim == 2 else image.shape[2]
    if channels not in _TO_RGB:
        raise ImageFileError(f"{path} has {channels} channels; color images have 1, 3 or 4")
    return np.asarray(cv2.cvtColor(image, _TO_RGB[channels]), dtype=np.uint8)


def read_depth(
    path: Path, depth_scale: float | None = None, max_pixels: int = MAX_IMAGE_PIXELS
) -> npt.NDArray[np.float32]:
    """Read a depth image as H×W meters, NaN invalid.

    Args:
        path: an image of one channel, or of equal channels.
        depth_scale: meters per unit of the values, of whatever type. None means millimeters for
            16-bit integers and meters for floating-point numbers (REP 118); other types must be
            stated, because 8 bits never hold millimeters.
        max_pixels: largest H·W that is decoded.

    Raises:
        ImageFileError: as for :func:`read_image`, or the file is not a depth image, or its unit
            is not known.
    """
    image = read_single_channel(path, max_pixels)
    if image.dtype.kind not in "iuf":
        raise ImageFileError(f"{path} is {image.dtype}, which cannot be depth")
    if image.dtype.kind == "f":
        scale = 1.0 if depth_scale is None else depth_scale
        return to_meters(image, float_scale=scale)
    if depth_scale is None:
        if image.dtype != np.uint16:
            raise ImageFileError(
                f"{path} is {image.dtype}, whose unit is not known: state the meters per unit "
                "(--depth-scale, or depth_scale in dataset.yaml), or save depth as a 16-bit PNG "
                "in millimeters or a float TIFF in meters"
            )
        depth_scale = DEFAULT_DEPTH_SCALE
    if image.dtype == np.uint16:
        return to_meters(image, depth_scale)
    return to_meters(image.astype(np.float64) * depth_scale)


def default_depth_scale(dtype: np.dtype[Any]) -> float:
    """Meters per unit of depth of this type if none is stated (REP 118)."""
    return 1.0 if dtype.kind == "f" else DEFAULT_DEPTH_SCALE


def read_single_channel(path: Path, max_pixels: int = MAX_IMAGE_PIXELS) -> npt.NDArray[Any]:
    """Read depth or labels as H×W: equal channels are read as one, without an alpha channel.

    Raises:
        ImageFileError: as for :func:`read_image`, or the file is a color image.
    """
    image = read_image(path, max_pixels)
    if image.ndim == 2:
        return image
    values = image[..., :3] if image.shape[2] == 4 else image
    if not np.array_equal(
        values, np.broadcast_to(values[..., :1], values.shape), equal_nan=values.dtype.kind == "f"
    ):
        raise ImageFileError(
            f"{path} is a color image; expected an image of one channel, such as depth as raw "
            "16-bit values: colors that depth is painted with cannot be read back"
        )
    return np.ascontiguousarray(values[..., 0])


def check_aligned(rgb_size: tuple[int, int], depth_size: tuple[int, int]) -> None:
    """Check that depth can be aligned to color: the same aspect ratio within 1 %, as on a robot.

    Args:
        rgb_size, depth_size: (height, width) in pixels.

    Raises:
        ImageFileError: the aspect ratios differ; the message gives both sizes.
    """
    if not same_aspect(rgb_size, depth_size):
        raise ImageFileError(
            f"depth is not aligned to color: it is {depth_size[1]}×{depth_size[0]} but color is "
            f"{rgb_size[1]}×{rgb_size[0]}"
        )


def resize_nearest(image: npt.NDArray[Any], size: tuple[int, int]) -> npt.NDArray[Any]:
    """H×W depth or labels at another (height, width), by nearest neighbor as in the networks.

    Pixel centers are at half-integer coordinates: PyTorch's ``nearest-exact``, see
    :func:`rgbd_seg_ros.preprocess.resize_depth`.
    """
    rows, columns = (
        np.minimum(((np.arange(new) + 0.5) * (old / new)).astype(int), old - 1)
        for new, old in zip(size, image.shape, strict=True)
    )
    return image if image.shape == size else np.ascontiguousarray(image[rows[:, None], columns])


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


def _read(path: Path, max_pixels: int, *, color: bool) -> npt.NDArray[Any]:
    """The image in BGR order, as stored or, with ``color``, as OpenCV converts it to color."""
    try:
        data = read_regular_file(path, max_pixels * _PIXEL_BYTES + 2**20)
        if path.suffix.lower() in ARRAY_SUFFIXES:
            decode = decode_npy if path.suffix.lower() == ".npy" else decode_npz
            array = decode(data, max_pixels)
            return array if array.ndim == 2 else array[..., _BGR[array.shape[2]]]
    except InputFileError as error:
        raise ImageFileError(str(error)) from error
    except ArrayFileError as error:
        raise ImageFileError(f"{path} {error}") from error
    header = read_header(data)
    if header is None or 0 in (header.height, header.width) or is_truncated(data):
        raise _unreadable(path, data)
    if header.pixels > max_pixels:
        raise ImageFileError(
            f"{path} is {header.width}×{header.height} according to its header, but at most "
            f"{max_pixels:,} pixels are read; resize it or raise the limit"
        )
    if color:
        _check_color(path, header)
    if header.codec == "exr":
        data = _prepare_exr(path, data)
    if header.codec == "pfm":
        _check_pfm(path, data)
    with contextlib.suppress(AttributeError):  # the errors below say the same in one line
        cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION if color else cv2.IMREAD_UNCHANGED
    try:
        return decode_image(memoryview(data), header, flags)
    except UnusableImageError as error:
        raise _unreadable(path, data) from error


def _unreadable(path: Path, data: bytes) -> ImageFileError:
    return ImageFileError(
        f"{path} is truncated or not an image ({len(data)} bytes): copy, unpack or download "
        "it again"
    )


def _check_color(path: Path, header: ImageHeader) -> None:
    if header.is_depth or header.is_float:
        kind = "floating-point numbers" if header.is_float else "one channel of 16 bits"
        raise ImageFileError(
            f"{path} is not a color image: it has {kind}, as depth images do; color images have "
            "8 bits per channel"
        )


def _prepare_exr(path: Path, data: bytes) -> bytes:
    """Let OpenCV read an OpenEXR file, and a single channel of any one-letter name.

    OpenCV reads the channels R, G, B and Y, and returns zeros if there are only others. Depth is
    usually named Z or V.
    """
    # Before OpenCV's first use of the format. Only a file that the user names gets here.
    os.environ.setdefault("OPENCV_IO_ENABLE_OPENEXR", "1")
    marker = b"channels\0chlist\0"
    at = start = data.find(marker) + len(marker) + 4
    names = []
    while data[at : at + 1] not in (b"", b"\0"):
        end = data.index(b"\0", at)
        names.append(data[at:end])
        at = end + 1 + 16  # type, linearity, sampling
    if {b"R", b"G", b"B", b"Y"} & set(names):
        return data
    if len(names) == 1 and len(names[0]) == 1:
        return data[:start] + b"Y" + data[start + 1 :]
    shown = ", ".join(name.decode(errors="replace") for name in names[:5])
    raise ImageFileError(f"{path} has the channels {shown}; save depth as a single channel Y or Z")


def _check_pfm(path: Path, data: bytes) -> None:
    """Refuse a PFM file with a scale: readers disagree on whether values are multiplied by it."""
    match = re.match(rb"P[fF]\s+\d+\s+\d+\s+([-+]?[\d.]+)\s", data[:256])
    if match is None or match[1].strip(b"-+0.") != b"1":
        scale = "unreadable" if match is None else match[1].decode()
        raise ImageFileError(f"{path}: its scale is {scale}; write it with the scale -1")
