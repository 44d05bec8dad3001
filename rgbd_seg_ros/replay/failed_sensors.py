# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Sensors that fail during a recording: one warning per stream and reason, at its end."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from rgbd_seg_ros.fallback import Core
from rgbd_seg_ros.fallback.unusable import STAMP_TESTS
from rgbd_seg_ros.frames import STREAMS, Stream
from rgbd_seg_ros.replay.faults import FaultSchedule
from rgbd_seg_ros.replay.health_timeline import HealthTimeline

#: Shorter gaps of a stream that is lost as silent are not told, seconds.
MIN_SILENCE_S = 1.0


class FailedSensors:
    """Collects what the core and the arrivals show of failed sensors.

    Args:
        core: of the replay.
        health: of its streams.
        faults: of the replay; what they cause is not told.
        start_ns: receive time of the first message in the bag.
    """

    def __init__(
        self, core: Core, health: HealthTimeline, faults: FaultSchedule, start_ns: int
    ) -> None:
        self._core, self._health, self._faults = core, health, faults
        self._start_ns = start_ns
        self._last_s: dict[Stream, float] = {}
        #: Stream → (from s, to s) without a message.
        self._gaps: dict[Stream, list[tuple[float, float]]] = {}

    def add_arrival(self, stream: Stream, receive_ns: int) -> None:
        """Note that a message has arrived."""
        now_s = self._seconds(receive_ns)
        self._add_gap(stream, now_s)
        self._last_s[stream] = now_s

    def lines(self, end_ns: int, told: Collection[Stream] = ()) -> Iterator[str]:
        """Yield the warnings.

        Args:
            end_ns: receive time of the last message in the bag.
            told: streams of which another line says that no frame was usable.
        """
        for found in self._core.warnings.unusable.at_end(self._core.counters.offered):
            if found.stream in told:
                continue
            offered = self._core.counters.offered[found.stream]
            times, verb = f"at {self._seconds(found.first_ns):.1f} s", "is"
            if found.count > 1:
                first_s, last_s = self._seconds(found.first_ns), self._seconds(found.last_ns)
                times, verb = f"from {first_s:.1f} s to {last_s:.1f} s", "are"
            text = str(found.warning(f"{found.count} of {offered} messages ({times}) {verb}"))
            remedy = "; to stamp them with their receive times, replay with --stamps receive"
            yield text + (remedy if found.reason in STAMP_TESTS else "")
        for stream in STREAMS[:2]:
            self._add_gap(stream, self._seconds(end_ns))
            silent = [
                (from_s, to_s) for from_s, to_s in self._gaps.get(stream, ())
                if self._is_silent(stream, from_s, to_s)
            ]  # fmt: skip
            if silent:
                total_s = sum(to_s - from_s for from_s, to_s in silent)
                gaps = "once" if len(silent) == 1 else f"{len(silent)} times"
                yield (
                    f"{stream}: no messages for {total_s:.1f} s ({gaps}, first from "
                    f"{silent[0][0]:.1f} to {silent[0][1]:.1f} s): find out whether the camera "
                    "stopped (cable, power, USB bandwidth) or the recorder lost messages (disk, "
                    "cache size, network)"
                )

    def _add_gap(self, stream: Stream, now_s: float) -> None:
        last_s = self._last_s.get(stream, now_s)
        if now_s - last_s >= MIN_SILENCE_S:
            self._gaps.setdefault(stream, []).append((last_s, now_s))

    def _is_silent(self, stream: Stream, from_s: float, to_s: float) -> bool:
        """Whether the stream became silent in a gap that no fault explains."""
        return not self._faults.may_affect(stream, from_s, to_s) and any(
            reason == "silent" and from_s <= self._seconds(ns) <= to_s
            for ns, reason in self._health.changes[stream]
        )

    def _seconds(self, t_ns: int) -> float:
        return (t_ns - self._start_ns) / 1e9
