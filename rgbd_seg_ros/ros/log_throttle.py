# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Limits how often lines of one kind are logged, so that nothing can flood the log."""

from __future__ import annotations

import re
import time
from collections.abc import Callable

#: Kinds of lines that are remembered; when there are more, the oldest is forgotten.
MAX_KINDS = 100
_NUMBER = re.compile(r"\d[\d.,:×]*")


class LogThrottle:
    """Logs a line at most once per period; lines that differ only in their numbers are one kind.

    Args:
        log: logs one line.
        period_s: the period, on the monotonic clock.
        burst: so many lines of each kind are logged before the limit applies.
    """

    def __init__(self, log: Callable[[str], object], period_s: float, burst: int = 1) -> None:
        self._log = log
        self._period_s = period_s
        self._burst = burst
        #: Kind → lines that may still be logged, since when, and lines that were left out.
        self._kinds: dict[str, tuple[int, float, int]] = {}

    def __call__(self, text: str) -> None:
        """Log this line, or count it; the next line of its kind tells how many were left out."""
        kind, now_s = _NUMBER.sub("#", text), time.monotonic()
        left, since_s, omitted = self._kinds.pop(kind, (self._burst, now_s, 0))
        if now_s - since_s >= self._period_s:
            left, since_s = self._burst, now_s
        if left:
            self._log(f"{text} (and {omitted} more like this)" if omitted else text)
        self._kinds[kind] = max(0, left - 1), since_s, 0 if left else omitted + 1
        if len(self._kinds) > MAX_KINDS:
            del self._kinds[next(iter(self._kinds))]
