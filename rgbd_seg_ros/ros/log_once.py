# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Logs each condition once instead of for every message."""

from __future__ import annotations

from collections.abc import Callable


class LogOnce:
    """Logs each condition once, even if it recurs with every message or every second.

    Args:
        log: logs one line.
    """

    def __init__(self, log: Callable[[str], object]) -> None:
        self._log = log
        self._logged: set[str] = set()

    def __call__(self, text: str, key: str = "") -> None:
        """Log ``text`` unless its key was logged before; the default key is the text itself."""
        if (key or text) not in self._logged:
            self._logged.add(key or text)
            self._log(text)

    def __contains__(self, key: str) -> bool:
        return key in self._logged

    def forget(self, key: str) -> None:
        """Log this condition again when it recurs."""
        self._logged.discard(key)
