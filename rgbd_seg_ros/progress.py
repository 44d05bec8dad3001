# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Progress of long work on stderr, with the time that is left."""

from __future__ import annotations

import sys
from typing import Any

#: Seconds between two updates on a terminal and in a log file.
ON_TERMINAL_S, IN_LOG_S = 0.2, 10.0


def progress_bar(label: str, total: float, unit: str = "it", **options: Any) -> Any:
    """A ``tqdm`` bar on stderr; in a log file, one line every ten seconds instead.

    Args:
        label: what is being done.
        total: amount of work, in ``unit``.
        unit: for example ``frame``.
        options: further options of ``tqdm.tqdm``, such as ``iterable``.
    """
    try:
        from tqdm import tqdm
    except ImportError as error:
        raise ImportError("progress bars need tqdm: pip install tqdm") from error
    terminal = sys.stderr.isatty()
    return tqdm(
        desc=label,
        total=total,
        unit=unit,
        file=sys.stderr if terminal else _LogLines(),
        mininterval=ON_TERMINAL_S if terminal else IN_LOG_S,
        ascii=not terminal,
        dynamic_ncols=terminal,
        **options,
    )


def say(text: str) -> None:
    """Print a line to stderr; it takes the place of a progress bar, which is drawn again below."""
    erase = "\r\033[K" if sys.stderr.isatty() else ""
    print(f"{erase}{text}", file=sys.stderr, flush=True)


class _LogLines:
    """Writes each state of a bar as a line of its own, since a log file keeps carriage returns."""

    def write(self, text: str) -> None:
        if line := text.strip():
            print(line, file=sys.stderr)

    def flush(self) -> None:
        sys.stderr.flush()
