# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Atomic writing of files."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path


def write_atomically(path: Path, data: bytes | str, *, fsync: bool = False) -> None:
    """Write a file such that a crash or a full disk leaves the old file complete.

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
