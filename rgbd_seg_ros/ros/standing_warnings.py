# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Warnings that are logged when a condition begins and stay in /diagnostics while it lasts."""

from __future__ import annotations

from collections.abc import Callable, Mapping

#: A condition has ended after this many checks without it, one per second, so that a value that
#: wavers around its limit is logged once.
GONE_AFTER = 10
#: A warning is repeated to /diagnostics after this many checks, before it expires there.
REPEAT_AFTER = 50


class StandingWarnings:
    """Logs each condition once when it begins, and again if it recurs after it was gone.

    Args:
        log: logs one line.
        report: adds a line to /diagnostics for about a minute.
    """

    def __init__(self, log: Callable[[str], object], report: Callable[[str], object]) -> None:
        self._log = log
        self._report = report
        #: Key → checks since it was reported, and since it was last seen.
        self._active: dict[str, tuple[int, int]] = {}

    def update(self, conditions: Mapping[str, str]) -> None:
        """Take the conditions that hold now, as key → text. Called once per second."""
        for key, text in conditions.items():
            reported, _ = self._active.get(key, (None, 0))
            if reported is None:
                self._log(text)
            if reported is None or reported >= REPEAT_AFTER:
                self._report(text)
                reported = 0
            self._active[key] = (reported + 1, 0)
        for key in [key for key in self._active if key not in conditions]:
            reported, unseen = self._active[key]
            if unseen + 1 >= GONE_AFTER:
                del self._active[key]
            else:
                self._active[key] = (reported + 1, unseen + 1)

    def forget(self, key: str) -> None:
        """Log this condition at once when it recurs."""
        self._active.pop(key, None)
