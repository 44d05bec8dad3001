# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Health of each stream over a replay: when it was ok, and why it was lost."""

from __future__ import annotations

from collections.abc import Callable

from rgbd_seg_ros.fallback import Core
from rgbd_seg_ros.frames import STREAMS, Stream


class HealthTimeline:
    """Notes every change of a stream's health.

    Args:
        core: the core whose streams are watched.
    """

    def __init__(self, core: Core) -> None:
        self._core = core
        #: Per stream, (time in nanoseconds, reason) of each change: ``waiting``, ``ok``, or why
        #: the stream is lost.
        self.changes: dict[Stream, list[tuple[int, str]]] = {stream: [] for stream in STREAMS}

    def note(self, now_ns: int) -> None:
        """Note the current health; call it after each call of the core that may change it."""
        for stream, health in self._core.health.items():
            changes, reason = self.changes[stream], health.reason
            if not changes or changes[-1][1] != reason:
                changes.append((now_ns, reason))

    def spans(
        self, seconds: Callable[[int], float], end_s: float
    ) -> dict[Stream, list[tuple[float, float, str]]]:
        """(from s, to s, reason) of each stream that was used.

        Args:
            seconds: converts a time in nanoseconds to seconds from the start of the bag.
            end_s: end of the recording in seconds.
        """
        spans: dict[Stream, list[tuple[float, float, str]]] = {}
        for stream, changes in self.changes.items():
            if all(reason == "waiting" for _, reason in changes):
                continue
            starts = [seconds(ns) for ns, _ in changes]
            found = zip(starts, [*starts[1:], end_s], changes, strict=True)
            spans[stream] = [(a, b, reason) for a, b, (_, reason) in found if a < b]
        return spans
