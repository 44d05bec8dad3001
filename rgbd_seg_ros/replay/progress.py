# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Progress of long work on stderr, with the time that is left."""

from __future__ import annotations

import sys
import time
from typing import TextIO

#: Seconds between two updates, on a terminal and in a log.
ON_TERMINAL_S, IN_LOG_S = 0.2, 10.0


class Progress:
    """A line that is rewritten on a terminal, and a line now and then in a log."""

    def __init__(self, label: str, total: float, stream: TextIO | None = None) -> None:
        self._label = label
        self._total = total
        self._stream = stream if stream is not None else sys.stderr
        self._terminal = self._stream.isatty()
        self._started_s = self._told_s = time.monotonic()

    def update(self, done: float, text: str = "") -> None:
        """Say how far it is, not too often."""
        now_s = time.monotonic()
        if now_s - self._told_s < (ON_TERMINAL_S if self._terminal else IN_LOG_S):
            return
        self._told_s = now_s
        share = min(max(done / self._total, 0.0), 1.0) if self._total > 0 else 1.0
        left_s = (now_s - self._started_s) * (1 - share) / share if share > 0.01 else None
        left = "" if left_s is None else f", {_clock(left_s)} left"
        self._write(f"{self._label}: {share:4.0%}{left}{', ' + text if text else ''}")

    def finish(self, text: str) -> None:
        """The last line."""
        self._write(f"{self._label}: {text} in {_clock(time.monotonic() - self._started_s)}")
        if self._terminal:
            print(file=self._stream)

    def _write(self, line: str) -> None:
        if self._terminal:
            print(f"\r\033[K{line}", end="", file=self._stream, flush=True)
        else:
            print(line, file=self._stream, flush=True)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
