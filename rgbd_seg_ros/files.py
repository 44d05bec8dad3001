# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Writing of files: atomically, and only into folders that may be written."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path


class OutputError(ValueError):
    """An output folder that must not be written; the message names the remedy."""


def check_output_folder(path: Path, overwrite: bool) -> None:
    """Check the folder of ``--out``.

    Raises:
        OutputError: the path is a file, or the folder is not empty and ``overwrite`` is not set.
    """
    if path.exists() and not path.is_dir():
        raise OutputError(f"--out {path} is a file; pass a folder")
    if path.exists() and any(path.iterdir()) and not overwrite:
        raise OutputError(f"{path} is not empty; choose another --out or add --overwrite")


def write_atomically(path: Path, data: bytes | str, *, fsync: bool = False) -> None:
    """Write a file such that a crash or a full disk leaves the old file intact.

    Args:
        path: the file.
        data: its content; text is written as UTF-8.
        fsync: wait until the data is on disk, so that a power failure cannot truncate it either.

    Raises:
        OSError: the file cannot be written; the error names it, and the temporary file is removed.
    """
    scratch = path.with_name(f".{path.name}.partial")
    try:
        with scratch.open("wb") as file:
            file.write(data.encode() if isinstance(data, str) else data)
            if fsync:
                file.flush()
                os.fsync(file.fileno())
        os.replace(scratch, path)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        with contextlib.suppress(OSError):
            scratch.unlink(missing_ok=True)
