# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Times without messages of a stream: gaps, bursts, a late start and an early end."""

from __future__ import annotations

import math
from array import array
from collections import defaultdict
from collections.abc import Collection, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rgbd_seg_ros.fallback import CoreConfig
from rgbd_seg_ros.frames import NS_PER_S, STREAMS, Stream
from rgbd_seg_ros.replay.faults import FaultSchedule
from rgbd_seg_ros.replay.health_timeline import HealthTimeline

#: A time without messages is told if it is as long, seconds.
MIN_SILENCE_S = 1.0
#: Shorter ones are told if the stream was lost for as long in all, or for this share.
_MIN_LOST_S, _LOST_SHARE = 1.0, 0.1
#: Without messages for more of its usual periods, a stream has stopped or not yet begun.
_PERIODS = 3
#: Messages come in bursts if as many gaps are none between the stamps.
_MIN_BURSTS = 2
#: No camera is so fast: messages that usually follow one another sooner come in bursts.
_SHORTEST_PERIOD_S = 0.001
_NO_STAMP = -1
_FIND_OUT = (
    "find out whether the camera stopped (cable, power, USB bandwidth) or the recorder lost "
    "messages (disk, cache size, network)"
)


@dataclass(frozen=True)
class _Gap:
    """A time without messages of one stream."""

    from_s: float
    to_s: float
    #: How long the stream was lost as silent because of it, its recovery included.
    lost_s: float
    #: It begins with the recording, or ends with it.
    at_start: bool
    at_end: bool
    #: The next message was only delayed.
    late: bool

    @property
    def length_s(self) -> float:
        return self.to_s - self.from_s

    def __str__(self) -> str:
        if self.at_start:
            return f"before {self.to_s:.1f} s"
        return f"from {self.from_s:.1f} to {self.to_s:.1f} s{' (the end)' * self.at_end}"


class Silences:
    """Collects the arrivals of a replay, and tells the times without any.

    Args:
        config: of the core.
        health: of the core's streams.
        faults: of the replay; what they cause is not told.
        start_ns: receive time of the first message in the bag.
    """

    def __init__(
        self, config: CoreConfig, health: HealthTimeline, faults: FaultSchedule, start_ns: int
    ) -> None:
        self._config, self._health, self._faults = config, health, faults
        self._start_ns = start_ns
        #: Receive times and stamps of each stream, ns.
        self._receives: dict[Stream, array[int]] = {s: array("q") for s in STREAMS}
        self._stamps: dict[Stream, array[int]] = {s: array("q") for s in STREAMS}
        #: Streams in bursts, known after :meth:`lines`.
        self.bursts: set[Stream] = set()

    def add(self, stream: Stream, stamp_ns: int | None, receive_ns: int) -> None:
        """Note that a message has arrived."""
        self._receives[stream].append(receive_ns)
        self._stamps[stream].append(_NO_STAMP if stamp_ns is None else stamp_ns)

    def lines(
        self, end_ns: int, told: Collection[Stream] = ()
    ) -> Iterator[tuple[str, list[Stream]]]:
        """Yield the warnings, each with the streams that it names.

        Args:
            end_ns: receive time of the last message in the bag.
            told: streams that are told otherwise.
        """
        texts: dict[str, list[Stream]] = defaultdict(list)
        bursts: dict[Stream, list[_Gap]] = {}
        for stream in STREAMS[:2]:
            if stream in told or not self._receives[stream]:
                continue
            gaps = self._gaps(stream, end_ns)
            late = [gap for gap in gaps if gap.late]
            enough = 1 if self._is_in_bursts(stream) else _MIN_BURSTS
            if len(late) >= enough and 2 * len(late) > len(gaps):
                gaps = [gap for gap in gaps if not gap.late]
                longest_s = max(gap.length_s for gap in late)
                if longest_s >= MIN_SILENCE_S or self._are_long(late, end_ns):
                    bursts[stream] = late
            long = [gap for gap in gaps if gap.length_s >= MIN_SILENCE_S]
            short = [gap for gap in gaps if gap.length_s < MIN_SILENCE_S]
            if long:
                texts[f"no messages {_times(long)}: {_FIND_OUT}"].append(stream)
            if self._are_long(short, end_ns):
                texts[self._short(short)].append(stream)
        for text, streams in texts.items():
            yield f"{' and '.join(streams)}: {text}", streams
        self.bursts = set(bursts)
        if bursts:
            yield self._in_bursts(bursts), list(bursts)

    def _short(self, gaps: list[_Gap]) -> str:
        """The text about gaps that cost more than their own length."""
        longest_s, lost_s = max(gap.length_s for gap in gaps), sum(gap.lost_s for gap in gaps)
        up_to, in_all = ("up to ", " in all") if len(gaps) > 1 else ("", "")
        return (
            f"no messages for {up_to}{longest_s:.2f} s ({_often(gaps)}, first at "
            f"{gaps[0].from_s:.1f} s), so it is lost for {lost_s:.1f} s{in_all}, with its "
            "recovery: find out where messages are lost (disk, cache size, network), or replay "
            f"with {self._remedy(longest_s)}"
        )

    def _in_bursts(self, bursts: dict[Stream, list[_Gap]]) -> str:
        """The warning about the gaps between bursts, by stream."""
        longest_s = max(gap.length_s for gaps in bursts.values() for gap in gaps)
        counts = ", ".join(
            f"{stream} {_often(gaps)}, lost for {sum(gap.lost_s for gap in gaps):.1f} s"
            for stream, gaps in bursts.items()
        )
        return (
            f"{' and '.join(bursts)}: messages come in bursts, up to {longest_s:.2f} s apart "
            f"({counts}), and between them a stream is lost as silent until it has recovered: "
            f"find out what delays them, or replay with {self._remedy(longest_s)}"
        )

    def _gaps(self, stream: Stream, end_ns: int) -> list[_Gap]:
        """The times without messages that no fault explains and no usual period."""
        receives, stamps = np.array(self._receives[stream]), np.array(self._stamps[stream])
        edges = np.array([self._start_ns, *receives, max(end_ns, receives[-1])])
        lengths_ns, last = np.diff(edges), len(receives)
        shortest_s = max(self._config.min_silence_s, _PERIODS * (self._period_s(stream) or 0.0))
        lost_ns = self._lost_ns(stream, receives, round(shortest_s * NS_PER_S), end_ns)
        gaps = []
        for index in sorted({*lost_ns, 0, last}):
            length_ns, at_edge = int(lengths_ns[index]), index in (0, last)
            least_s = max(MIN_SILENCE_S, 0.0 if index in lost_ns else shortest_s)
            if at_edge and length_ns < least_s * NS_PER_S:
                continue
            late = False
            if not at_edge:
                step_ns = int(stamps[index] - stamps[index - 1])
                if _NO_STAMP in stamps[index - 1 : index + 1] or step_ns == length_ns:
                    late = self._is_in_bursts(stream)  # stamped when received, or not at all
                else:
                    late = 0 < step_ns < length_ns / 2
            from_s, to_s = ((int(ns) - self._start_ns) / NS_PER_S for ns in edges[index:][:2])
            if not self._faults.may_affect(stream, from_s, to_s):
                lost_s = lost_ns[index] / NS_PER_S
                gaps.append(_Gap(from_s, to_s, lost_s, index == 0, index == last, late))
        return gaps

    def _lost_ns(
        self, stream: Stream, receives: npt.NDArray[np.int64], shortest_ns: int, end_ns: int
    ) -> defaultdict[int, int]:
        """How long the stream was lost as silent, by the index of the message after the gap.

        Gaps of at least ``shortest_ns`` while it recovers prolong the loss, and have 0 themselves.
        """
        lost_ns: defaultdict[int, int] = defaultdict(int)
        changes = self._health.changes[stream]
        ends = [*(ns for ns, _ in changes[1:]), end_ns]
        for (from_ns, reason), to_ns in zip(changes, ends, strict=True):
            if reason == "silent" and from_ns < end_ns:
                # The core notices the end of a silence before the message that ends it.
                first, until = (int(i) for i in np.searchsorted(receives, (from_ns, to_ns)))
                lost_ns[first] += min(to_ns, end_ns) - from_ns
                for index in range(first + 1, until):
                    if receives[index] - receives[index - 1] >= shortest_ns:
                        lost_ns[index] += 0
        return lost_ns

    def _period_s(self, stream: Stream) -> float | None:
        """The usual time between messages; None if there is only one."""
        receives = self._receives[stream]
        return float(np.median(np.diff(receives))) / NS_PER_S if len(receives) > 1 else None

    def _is_in_bursts(self, stream: Stream) -> bool:
        """Whether messages are usually received sooner after another than a camera sends them."""
        period_s = self._period_s(stream)
        return period_s is not None and period_s < _SHORTEST_PERIOD_S

    def _are_long(self, gaps: list[_Gap], end_ns: int) -> bool:
        lost_s = sum(gap.lost_s for gap in gaps)
        share_s = _LOST_SHARE * (end_ns - self._start_ns) / NS_PER_S
        return bool(gaps) and lost_s >= min(_MIN_LOST_S, share_s)

    def _remedy(self, longest_s: float) -> str:
        """The options with which gaps of a length are no silence."""
        value = f"{math.ceil(12 * longest_s) / 10:g}"
        first = f" --set first_silence_s={value}" * (longest_s > self._config.first_silence_s)
        return f"--set min_silence_s={value}{first}"


def _times(gaps: list[_Gap]) -> str:
    if len(gaps) == 1:
        return str(gaps[0])
    total_s = sum(gap.length_s for gap in gaps)
    longest = max(gaps, key=lambda gap: gap.length_s)
    return f"for {total_s:.1f} s ({_often(gaps)}, the longest {longest})"


def _often(gaps: list[_Gap]) -> str:
    return "once" if len(gaps) == 1 else f"{len(gaps)} times"
