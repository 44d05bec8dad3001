# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""NumPy files: reads the image in a .npy or .npz file, whose size is checked before it is loaded.

Nothing is ever unpickled, so a file cannot run code.
"""

from __future__ import annotations

import io
import math
import zipfile
import zlib
from typing import IO, Any

import numpy as np
import numpy.typing as npt

#: File name suffixes of arrays, lower case.
ARRAY_SUFFIXES = frozenset({".npy", ".npz"})
#: Names of the image in a .npz file with several arrays; the first one is read.
IMAGE_NAMES = ("depth", "rgb", "color", "image", "labels", "label", "arr_0")


class ArrayFileError(ValueError):
    """A NumPy file without a usable image; the message completes a sentence about the file."""


def decode_npy(data: bytes, max_pixels: int) -> npt.NDArray[Any]:
    """The image in a .npy file (NumPy Enhancement Proposal 1): H×W or H×W×C.

    Axes of length 1 before and after the image are dropped, so 1×H×W and H×W×1 become H×W.

    Args:
        data: content of the file.
        max_pixels: largest H·W that is loaded.

    Raises:
        ArrayFileError: the file is truncated, contains objects, or is not an image.
    """
    return _read(io.BytesIO(data), len(data), max_pixels)


def decode_npz(data: bytes, max_pixels: int) -> npt.NDArray[Any]:
    """The image in a .npz file: its only array, or the one named as in :data:`IMAGE_NAMES`.

    Raises:
        ArrayFileError: as for :func:`decode_npy`, or none of several arrays has such a name.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = {m.filename.removesuffix(".npy"): m for m in archive.infolist()}
            named = [name for name in IMAGE_NAMES if name in members][:1]
            chosen = list(members) if len(members) == 1 else named
            if not chosen:
                raise ArrayFileError(
                    f"contains the arrays {', '.join(sorted(members)[:5]) or '(none)'}, none of "
                    f"which is named {' or '.join(IMAGE_NAMES)}; save each image as a .npy file"
                )
            member = members[chosen[0]]
            with archive.open(member) as file:
                return _read(file, member.file_size, max_pixels)
    # RuntimeError: encrypted; NotImplementedError: an unknown compression.
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, OSError) as error:
        raise ArrayFileError(f"is truncated or not a .npz file ({error})") from error


def _read(file: IO[bytes], size: int, max_pixels: int) -> npt.NDArray[Any]:
    """Read an array of a file of ``size`` bytes, after its header has been checked."""
    try:
        version = np.lib.format.read_magic(file)
        if version == (1, 0):
            shape, fortran, dtype = np.lib.format.read_array_header_1_0(file)
        elif version == (2, 0):
            shape, fortran, dtype = np.lib.format.read_array_header_2_0(file)
        else:
            raise ValueError(f"version {version} of the format is not an image")
        start = file.tell()
    except ValueError as error:
        reason = " ".join(str(error).split())[:100]
        raise ArrayFileError(f"is truncated or not a .npy file ({reason})") from error
    if dtype.kind not in "biuf":
        raise ArrayFileError(f"contains values of type {dtype}; images have numbers")
    image = shape
    while len(image) > 2 and image[0] == 1:
        image = image[1:]
    while len(image) > 2 and image[-1] == 1:
        image = image[:-1]
    if len(image) not in (2, 3) or 0 in image or image[2:] > (4,):
        raise ArrayFileError(f"has the shape {shape}; an image is H×W or H×W×3")
    if image[0] * image[1] > max_pixels:
        raise ArrayFileError(
            f"is {image[1]}×{image[0]}, but at most {max_pixels:,} pixels are read"
        )
    count = math.prod(shape)
    if count * dtype.itemsize > size - start:
        raise ArrayFileError(
            f"is truncated: {count * dtype.itemsize} bytes of values are missing all but "
            f"{max(size - start, 0)}"
        )
    values = np.frombuffer(file.read(count * dtype.itemsize), dtype)
    if values.size < count:
        raise ArrayFileError("is truncated")
    array = values.reshape(shape, order="F" if fortran else "C").reshape(image)
    return np.ascontiguousarray(array, dtype=dtype.newbyteorder("="))
