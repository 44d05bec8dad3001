# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Sensors that fail during a recording: one warning per stream and reason, at its end."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator

from rgbd_seg_ros.fallback import Core
from rgbd_seg_ros.fallback.unusable import STAMP_TESTS
from rgbd_seg_ros.frames import NETWORK_NAMES, NetworkName, Stream
from rgbd_seg_ros.replay.faults import FaultSchedule
from rgbd_seg_ros.replay.health_timeline import HealthTimeline
from rgbd_seg_ros.replay.lacking_masks import LACKING_SHARE, LackingMasks
from rgbd_seg_ros.replay.runner import ReplayResult
from rgbd_seg_ros.replay.silences import Silences
from rgbd_seg_ros.replay.source import Arrival
from rgbd_seg_ros.replay.statistics import HELD

#: How the core's warnings name the streams.
_NAMES: dict[Stream, re.Pattern[str]] = {
    "rgb": re.compile(r"\b(rgb|color)\b"),
    "depth": re.compile(r"\bdepth\b"),
}


class FailedSensors:
    """Collects what the core, the arrivals and the masks show of failed sensors.

    Args:
        core: of the replay.
        health: of its streams.
        faults: of the replay; what they cause is not told.
        start_ns: receive time of the first message in the bag.
        networks: of the bundle.
    """

    def __init__(
        self,
        core: Core,
        health: HealthTimeline,
        faults: FaultSchedule,
        start_ns: int,
        networks: Collection[NetworkName] = NETWORK_NAMES,
    ) -> None:
        self._core, self._start_ns = core, start_ns
        self._silences = Silences(core.config, health, faults, start_ns)
        self._masks = LackingMasks(core, faults, start_ns, networks)

    def add_arrival(self, arrival: Arrival) -> None:
        """Note that a message has arrived."""
        if arrival.kind != "truth":
            self._silences.add(arrival.kind, arrival.item.stamp_ns, arrival.receive_ns)

    def add_mask(self, result: ReplayResult) -> None:
        """Note which streams a mask uses."""
        self._masks.add(result)

    def lines(
        self, end_ns: int, told: Collection[Stream] = (), from_core: Iterable[str] = ()
    ) -> Iterator[str]:
        """Yield the warnings.

        Args:
            end_ns: receive time of the last message in the bag.
            told: streams of which another line says that no frame was usable.
            from_core: the core's warnings, which may say why a stream is not used.
        """
        named = set(told)
        for found in self._core.warnings.unusable.at_end(self._core.counters.offered):
            if found.stream in told:
                continue
            named.add(found.stream)
            offered = self._core.counters.offered[found.stream]
            first_s, last_s = self._seconds(found.first_ns), self._seconds(found.last_ns)
            times = f"from {first_s:.1f} s to {last_s:.1f} s"
            if f"{first_s:.1f}" == f"{last_s:.1f}":
                times = f"at {first_s:.1f} s"
            verb = "is" if found.count == 1 else "are"
            text = str(found.warning(f"{found.count} of {offered} messages ({times}) {verb}"))
            remedy = "; to stamp them with their receive times, replay with --stamps receive"
            yield text + (remedy if found.reason in STAMP_TESTS else "")
        for text, streams in self._silences.lines(end_ns, told):
            named.update(streams)
            yield text
        for text in from_core:
            if getattr(text, "key", "") not in HELD:
                named.update(s for s, pattern in _NAMES.items() if pattern.search(text))
            # A few frames are enough for the core; in the end it is known whether they mattered.
            elif not self._silences.bursts and any(
                self._masks.share(stream) >= LACKING_SHARE for stream in _NAMES
            ):
                named.update(_NAMES)
                yield text
        yield from self._masks.lines(named)

    def _seconds(self, t_ns: int) -> float:
        return (t_ns - self._start_ns) / 1e9
