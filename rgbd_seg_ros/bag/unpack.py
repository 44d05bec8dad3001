# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Decompression of recordings within bounds: chunks in memory, whole files on disk."""

from __future__ import annotations

import bz2
import errno
import shutil
import sys
import tempfile
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from rgbd_seg_ros.bag.storage import BagError, UnreadableBytesError

#: The first bytes of a zstd frame.
ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
#: A chunk or message that declares more bytes than this is not decompressed.
MAX_UNPACKED = 2**30
#: Bytes of the disk that unpacked files leave free.
RESERVE = 2**28
# Bytes that are decompressed at a time.
_STEP = 2**22


def unpack(data: bytes, compression: str, size: int) -> bytes:
    """Decompress a chunk.

    Args:
        data: its bytes in the file.
        compression: ``zstd``, ``lz4``, ``bz2``, or ``none`` or empty.
        size: its size in bytes when decompressed. No more is ever decompressed.

    Raises:
        UnreadableBytesError: the data are damaged or do not have this size.
        BagError: a package is missing.
    """
    if compression not in ("", "none"):
        data = unpack_at_most(data, compression, size)
    if len(data) != size:
        raise UnreadableBytesError(f"it has {len(data)} bytes, not the {size} it declares")
    return data


def unpack_at_most(data: bytes, compression: str, limit: int) -> bytes:
    """Decompress data of unknown size, up to ``limit`` bytes; raises as :func:`unpack`."""
    if limit > MAX_UNPACKED:
        raise UnreadableBytesError(f"it declares {limit} bytes; at most {MAX_UNPACKED} are read")
    decompressor = _decompressor(compression)
    unpacked = bytearray()
    try:
        while not decompressor.eof:
            step = min(_STEP, limit + 1 - len(unpacked))
            piece = decompressor.decompress(data, max_length=step)
            data = b""
            unpacked += piece
            if len(unpacked) > limit:
                raise UnreadableBytesError(f"it decompresses to more than {limit} bytes")
            if not piece and decompressor.needs_input and not decompressor.eof:
                raise UnreadableBytesError("its compressed data are incomplete")
    except UnreadableBytesError:
        raise
    # zstd, lz4 and bz2 raise different exceptions for damaged data.
    except Exception as error:
        raise UnreadableBytesError(f"{compression} data are damaged: {error}") from error
    return bytes(unpacked)


def unpack_file(path: Path, target: Path) -> str | None:
    """Decompress a ``.zstd`` file as far as possible.

    Returns:
        What is wrong with the file; None if all of it was decompressed.

    Raises:
        BagError: the disk is full, or a package is missing.
        OSError: the file cannot be read.
    """
    with disk_space(path, target), target.open("wb") as out:
        pieces = _pieces(path)
        while True:
            try:
                piece = next(pieces)
            except StopIteration as end:
                damage: str | None = end.value
                return damage
            if piece and shutil.disk_usage(target.parent).free < RESERVE + len(piece):
                raise OSError(errno.ENOSPC, "the disk is full")
            out.write(piece)


@dataclass(frozen=True)
class CopyComparison:
    """How the content of a ``.zstd`` file compares with a file that was once unpacked from it."""

    #: Number of bytes that are equal from the start on.
    equal: int
    #: Size of the content, as far as it could be decompressed, and of the other file, in bytes.
    content: int
    other: int
    #: What is wrong with the ``.zstd`` file; None if all of it was decompressed.
    damage: str | None = None


def compare_with_copy(path: Path, copy: Path) -> CopyComparison:
    """Compare the content of a ``.zstd`` file with another file, without writing it.

    Raises:
        BagError: a package is missing.
        OSError: a file cannot be read.
    """
    equal, content, other = 0, 0, copy.stat().st_size
    pieces = _pieces(path)
    with copy.open("rb") as file:
        while True:
            try:
                piece = next(pieces)
            except StopIteration as end:
                return CopyComparison(equal, content, other, end.value)
            if equal == content:
                equal += _equal_bytes(piece, file.read(len(piece)))
            content += len(piece)


def _equal_bytes(first: bytes, second: bytes) -> int:
    """The number of bytes at the start that are equal."""
    size = min(len(first), len(second))
    a, b = (np.frombuffer(data, np.uint8, size) for data in (first, second))
    different = np.flatnonzero(a != b)
    return int(different[0]) if different.size else size


def _pieces(path: Path) -> Generator[bytes, None, str | None]:
    """The content of a ``.zstd`` file; returns what is wrong with it, as :func:`unpack_file`."""
    decompressor = _decompressor("zstd")
    with path.open("rb") as file:
        data = b""
        while True:
            if not data and decompressor.needs_input:
                data = file.read(_STEP)
            if decompressor.eof:  # another frame may follow
                data = decompressor.unused_data + data or file.read(_STEP)
                if not data:
                    return None
                decompressor = _decompressor("zstd")
            elif not data and decompressor.needs_input:
                return "was cut off"
            try:
                piece = decompressor.decompress(data, max_length=_STEP)
            except Exception as error:  # as in unpack_at_most()
                return f"is damaged from about byte {file.tell()} on: {error}"
            data = b""
            yield piece


@contextmanager
def disk_space(source: Path, target: Path) -> Iterator[None]:
    """Turn the error of a full disk into one that names the remedy."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise
        target.unlink(missing_ok=True)
        raise BagError(
            f"{source} does not fit into {tempfile.gettempdir()}, where it has to be unpacked; "
            "free space there, or set TMPDIR to a folder with more space"
        ) from error


def _decompressor(compression: str) -> Any:
    """An object with the interface of :class:`bz2.BZ2Decompressor`."""
    if compression == "bz2":
        return bz2.BZ2Decompressor()
    try:
        if compression == "lz4":
            from lz4.frame import LZ4FrameDecompressor  # type: ignore[import-untyped]

            return LZ4FrameDecompressor()
        if compression == "zstd":
            zstd = _zstd()
            # As the command zstd, refuse windows of more than 128 MiB.
            return zstd.ZstdDecompressor(options={zstd.DecompressionParameter.window_log_max: 27})
    except ImportError as error:
        package = "lz4" if compression == "lz4" else "backports.zstd"
        raise BagError(
            f"reading this recording needs {package} ({error}); install it with: "
            f"pip install {package}"
        ) from error
    raise UnreadableBytesError(f"its compression {compression!r} is unknown")


def _zstd() -> ModuleType:
    if sys.version_info >= (3, 14):
        from compression import zstd
    else:
        from backports import zstd
    return zstd
