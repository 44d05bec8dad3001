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
        withdraw: removes that line.
    """

    def __init__(
        self,
        log: Callable[[str], object],
        report: Callable[[str], object],
        withdraw: Callable[[str], object],
    ) -> None:
        self._log = log
        self._report = report
        self._withdraw = withdraw
        #: Key → checks since it was reported, checks since it was last seen, reported text.
        self._active: dict[str, tuple[int, int, str]] = {}

    def update(self, conditions: Mapping[str, str]) -> None:
        """Take the conditions that hold now, as key → text. Called once per second."""
        for key, text in conditions.items():
            if key not in self._active:
                self._log(text)
            reported, _, shown = self._active.get(key, (REPEAT_AFTER, 0, text))
            if reported >= REPEAT_AFTER:
                self._withdraw(shown)  # the values in the text may have changed
                self._report(text)
                reported, shown = 0, text
            self._active[key] = (reported + 1, 0, shown)
        for key in [key for key in self._active if key not in conditions]:
            reported, unseen, shown = self._active[key]
            if unseen + 1 >= GONE_AFTER:
                self.forget(key)
            else:
                self._active[key] = (reported + 1, unseen + 1, shown)

    def forget(self, key: str) -> None:
        """The condition is over: report it no longer, and log it at once when it recurs."""
        if key in self._active:
            self._withdraw(self._active.pop(key)[2])
