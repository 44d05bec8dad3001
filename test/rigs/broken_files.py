# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Files of every broken kind, for readers of JSON and YAML that must refuse each in one line."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable
from pathlib import Path


def _content(data: bytes) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        path.unlink(missing_ok=True)
        path.write_bytes(data)

    return write


def _special(make: Callable[[Path], None]) -> Callable[[Path], None]:
    def replace(path: Path) -> None:
        path.unlink(missing_ok=True)
        make(path)

    return replace


def _nested(path: Path) -> None:
    # What other tests left behind must not be finalized at the recursion limit, where that fails.
    gc.collect()
    _content(b"[" * 100_000)(path)


#: Kind → makes a file of this kind at a path. Neither a mapping nor a list of mappings is in any.
BROKEN: dict[str, Callable[[Path], None]] = {
    "nested too deeply": _nested,
    "cut off": _content(b'{"students": {"rgb'),
    "not text": _content(b"\xff\xfe\xfa"),
    "null characters": _content(b"\0\0\0\0"),
    "a number": _content(b"5"),
    "text": _content(b'"text"'),
    "a list of lists": _content(b"[[1, 2], [3]]"),
    "null": _content(b"null"),
    "an endless number": _content(b"9" * 5000),
    "a folder": _special(Path.mkdir),
    "a pipe": _special(os.mkfifo),
    "a link to itself": _special(lambda path: path.symlink_to(path)),
    "a device": _special(lambda path: path.symlink_to("/dev/zero")),
}


def assert_one_line(error: BaseException | str, path: Path) -> None:
    """Check that an error is one short line that names the file."""
    text = str(error)
    assert path.name in text  # a long path is shortened in the middle
    assert "\n" not in text
    assert len(text) < 1000
