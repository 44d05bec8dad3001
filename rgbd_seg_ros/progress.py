# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Progress bars on stderr, with the remaining time."""

from __future__ import annotations

import sys
from typing import Any

#: Seconds between two updates, on a terminal and in a log file.
ON_TERMINAL_S, IN_LOG_S = 0.2, 10.0


def progress_bar(label: str, total: float, unit: str = "it", **options: Any) -> Any:
    """A ``tqdm`` bar on stderr; if stderr is not a terminal, a line every ten seconds instead.

    Args:
        label: text before the bar, for example ``replay``.
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
    """Print a line to stderr above a progress bar, which redraws itself below."""
    erase = "\r\033[K" if sys.stderr.isatty() else ""
    print(f"{erase}{text}", file=sys.stderr, flush=True)


class _LogLines:
    """Writes each update of a bar as its own line, because a log file keeps carriage returns."""

    def write(self, text: str) -> None:
        if line := text.strip():
            print(line, file=sys.stderr)

    def flush(self) -> None:
        sys.stderr.flush()
