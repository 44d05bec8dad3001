# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Stamps of a replay: those of the headers, or corrected ones where a stream's clock is wrong."""

from __future__ import annotations

import itertools
import math
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median_low
from typing import Any, Literal

import numpy as np

from rgbd_seg_ros.bag.reader import BagReader
from rgbd_seg_ros.bag.topics import Topics
from rgbd_seg_ros.frames import NS_PER_MS, NS_PER_S, Stream
from rgbd_seg_ros.images import stamp_ns

Stamps = Literal["auto", "header", "receive"]
#: Number of messages per stream whose header stamps are compared with their receive times.
STAMP_SAMPLE = 30
#: Streams whose offsets to the receive time differ by less have one clock: latencies are shorter.
SAME_CLOCK_NS = NS_PER_S // 2
#: Whole seconds are told from exact stamps by how much the offset to the receive time varies.
_WHOLE_SECONDS_SPREAD_NS = 100 * NS_PER_MS
#: A clock that runs this much slower or faster than the recorder's does not count seconds.
_RATE = 1.25
#: Drift that is followed. Clocks drift by up to 1e-4; a growing latency looks like more.
_MAX_DRIFT = 2e-4
#: Error of the offset that is tolerated, so that the stamps of a good clock are shifted equally.
_DEAD_BAND_NS = 5 * NS_PER_MS
_WINDOW = 31
#: Stamps of frames that were exposed together differ by less, and so many of them must match.
_MATCH_NS, _MIN_MATCHES = 2 * NS_PER_MS, 5
#: Receive times vary by as much although nothing is wrong.
_JITTER_NS = 5 * NS_PER_MS


@dataclass(frozen=True)
class StampRule:
    """How the frames of one stream are stamped."""

    #: The time that is corrected.
    source: Literal["header", "receive"]
    #: Added to that time, nanoseconds.
    shift_ns: int = 0
    #: The stream whose receive times show the drift of the clock; None to shift by a constant.
    leader: Stream | None = None


@dataclass(frozen=True)
class StampChoice:
    """The stamps of all streams."""

    #: Rules of the streams that do not keep the stamps of their headers.
    rules: Mapping[Stream, StampRule] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    #: Value of ``stamps`` in the summary: ``header``, ``receive`` or ``corrected``.
    name: str = "header"


#: Every frame keeps the stamp of its header.
HEADER_STAMPS = StampChoice()


class Restamper:
    """Applies a choice of stamps to the messages of one replay, in the order received.

    Ground truth has the stamps of color, so it is stamped by the rule of color, or of depth if
    there is no color.
    """

    def __init__(self, choice: StampChoice, topics: Topics) -> None:
        self._rules: dict[str, StampRule] = dict(choice.rules.items())
        model: Stream = "rgb" if topics.rgb else "depth"
        if model in choice.rules:
            self._rules["truth"] = choice.rules[model]
        self._clocks = {
            rule.leader: _Clock(rule.shift_ns) for rule in choice.rules.values() if rule.leader
        }

    def stamp(
        self, stream: Stream | Literal["truth"], header_ns: int | None, receive_ns: int
    ) -> int | None:
        """The stamp of one message; None if its header has none and is needed."""
        rule = self._rules.get(stream)
        if rule is None:
            return header_ns
        if rule.source == "receive":
            return receive_ns + rule.shift_ns
        if header_ns is None:
            return None
        if rule.leader is None:
            return header_ns + rule.shift_ns
        clock = self._clocks[rule.leader]
        if stream == rule.leader:
            clock.observe(header_ns, receive_ns)
        return header_ns + clock.shift_ns


class _Clock:
    """The shift from a clock of headers to the time of the recorder; follows the clock's drift."""

    def __init__(self, shift_ns: int) -> None:
        self._last_ns = 0
        self._recent: deque[int] = deque(maxlen=_WINDOW)
        self._reference: int | None = None
        self.shift_ns = shift_ns

    def observe(self, header_ns: int, receive_ns: int) -> None:
        self._recent.append(receive_ns - header_ns)
        if len(self._recent) < _WINDOW:
            self._last_ns = receive_ns
            return
        offset_ns = median_low(self._recent)
        if self._reference is None:  # the latency at the start is part of it
            self._reference = offset_ns - self.shift_ns
        error_ns = offset_ns - self._reference - self.shift_ns
        limit_ns = round(_MAX_DRIFT * max(receive_ns - self._last_ns, 0))
        if abs(error_ns) > _DEAD_BAND_NS:
            self.shift_ns += max(-limit_ns, min(limit_ns, error_ns))
        self._last_ns = receive_ns


@dataclass(frozen=True)
class _Sample:
    """Header stamps and receive times of the first messages of one stream, without copies."""

    stream: Stream
    headers_ns: Sequence[int]
    receives_ns: Sequence[int]

    @property
    def offsets_ns(self) -> list[int]:
        return [r - h for h, r in zip(self.headers_ns, self.receives_ns, strict=True)]

    @property
    def offset_ns(self) -> int:
        """How much later the messages were received than stamped, typically."""
        return median_low(self.offsets_ns)

    @property
    def spread_ns(self) -> int:
        """How much the offset varies: between its tenth and its nine tenths quantile."""
        ordered = sorted(self.offsets_ns)
        return ordered[len(ordered) * 9 // 10] - ordered[len(ordered) // 10]

    @property
    def defect(self) -> str:
        """Why the stamps cannot be used, whatever the clock; empty if they can."""
        if not any(self.headers_ns):
            return "are 0"
        steps = [b - a for a, b in itertools.pairwise(self.headers_ns)]
        standing = sum(step <= 0 for step in steps)
        if all(stamp % NS_PER_S == 0 for stamp in self.headers_ns):
            spread = max(self.offsets_ns) - min(self.offsets_ns)
            if 2 * standing > len(steps) or spread > _WHOLE_SECONDS_SPREAD_NS:
                return "are whole seconds"
        return "do not increase from message to message" if 2 * standing > len(steps) else ""

    @property
    def counts_seconds(self) -> bool:
        """Whether the clock runs about as fast as the recorder's; True for short samples."""
        stamped = self.headers_ns[-1] - self.headers_ns[0]
        received = self.receives_ns[-1] - self.receives_ns[0]
        return len(self.headers_ns) < 5 or received / _RATE <= stamped <= received * _RATE


def choose_stamps(
    reader: BagReader,
    topics: Topics,
    wanted: Stamps,
    max_age_s: float,
    max_future_s: float = 0.1,
    max_wait_ms: float = 100.0,
) -> StampChoice:
    """Choose the stamps of every stream, with a warning for each one that ``auto`` corrects.

    Each stream is judged by its first messages. It keeps the stamps of its headers if they
    increase, are no whole seconds, and lie between ``max_age_s`` before and ``max_future_s`` after
    the receive time; otherwise its frames would all be stale or in the future.

    Another clock that counts seconds is corrected by its offset, which keeps the precision of the
    stamps. Streams on one clock are shifted by one offset, so that the frames of one instant still
    match. All other stamps are replaced by receive times. Streams with good stamps set the latency
    from the stamp to the receive time that the corrected ones are given, because receive times
    would not match good stamps.

    Stamps within these limits are also those of another clock if color and depth differ by more
    than ``max_wait_ms`` in how late they are received. The exception is a stream that really is
    received late: its stamps match those of the other stream, and its receive times do not.

    Args:
        reader: an open bag.
        topics: the topics to replay.
        wanted: ``auto``; ``header`` and ``receive`` are obeyed for all streams.
        max_age_s: the core's limit for old stamps; 0 for none.
        max_future_s: the core's limit for stamps ahead of the time; 0 for none.
        max_wait_ms: how long the core waits at most for the other frame of a pair.
    """
    if wanted == "receive":
        all_streams = dict.fromkeys(topics.streams.values(), StampRule("receive"))
        return StampChoice(all_streams, name="receive")
    limits_ns = (-(max_future_s or math.inf) * NS_PER_S, (max_age_s or math.inf) * NS_PER_S)
    streams = topics.streams.items()
    samples = [s for topic, stream in streams if (s := _sample(reader, topic, stream))]
    sound = [s for s in samples if not s.defect]
    good = [s for s in sound if limits_ns[0] <= s.offset_ns <= limits_ns[1]]
    latency_ns = good[0].offset_ns if good else 0
    shifted = _of_another_clock(good, max_wait_ms * NS_PER_MS)
    if shifted:
        good = [s for s in good if s not in shifted]
        latency_ns = good[0].offset_ns

    rules: dict[Stream, StampRule] = {}
    #: Streams, what is wrong with their stamps, and what is done about it.
    findings: list[tuple[list[_Sample], str, str]] = []
    if shifted:
        leader = min(shifted, key=lambda s: s.offset_ns)
        shift_ns = leader.offset_ns - latency_ns
        rules |= {s.stream: StampRule("header", shift_ns, leader.stream) for s in shifted}
        side = "behind" if shift_ns > 0 else "ahead of"
        findings.append(
            (
                shifted,
                f"are {abs(shift_ns) / 1e9:.3f} s {side} those of {good[0].stream}, compared with "
                "the receive times",
                f"they are shifted by {shift_ns / 1e9:+.3f} s (if these frames really arrive "
                "late, use --stamps header and raise max_wait_ms)",
            )
        )
    for group in _clocks([s for s in sound if s not in good and s not in shifted]):
        # On one clock, the stream with the least latency tells the offset best.
        leader = min(group, key=lambda s: s.offset_ns)
        shift_ns = leader.offset_ns - latency_ns
        text = f"{_seconds(leader.offset_ns)} their receive times"
        if all(_fits(s, shift_ns, limits_ns) for s in group):
            rules |= {s.stream: StampRule("header", shift_ns, leader.stream) for s in group}
            findings.append((group, f"are {text}", f"they are shifted by {shift_ns / 1e9:+.3f} s"))
        else:
            rules |= _by_receive_time(group, latency_ns)
            steady = all(s.counts_seconds for s in group)
            rate = "" if steady else " and do not advance like them"
            findings.append((group, f"are {text}{rate}", _BY_RECEIVE))
    for reason in dict.fromkeys(s.defect for s in samples if s.defect):
        group = [s for s in samples if s.defect == reason]
        rules |= _by_receive_time(group, latency_ns)
        findings.append((group, reason, _BY_RECEIVE))
    if wanted == "header":
        remedy = "--stamps header keeps them, so frames may be unusable; use --stamps auto"
        return StampChoice(
            warnings=tuple(f"{_whose(group)} {what}; {remedy}" for group, what, _ in findings)
        )
    everywhere = len(rules) == len(topics.streams)
    by_receive = everywhere and all(rule.source == "receive" for rule in rules.values())
    return StampChoice(
        rules,
        tuple(
            f"{_whose(group)} {what}, so {cure}; to keep the header stamps, use --stamps header"
            for group, what, cure in findings
        ),
        "receive" if by_receive else "corrected" if rules else "header",
    )


def _of_another_clock(good: Sequence[_Sample], max_wait_ns: float) -> list[_Sample]:
    """Streams whose stamps would be accepted, but whose frames would find no partner.

    Args:
        good: the streams whose stamps are plausible.
        max_wait_ns: how long the core waits for a partner, ns.
    """
    pair = [s for s in good if s.stream in ("rgb", "depth")]
    if len(pair) < 2 or abs(pair[0].offset_ns - pair[1].offset_ns) <= max_wait_ns:
        return []
    # A message cannot arrive before it is stamped, nor does an early one arrive late.
    right = min(pair, key=lambda s: (s.offset_ns < 0, abs(s.offset_ns)))
    wrong = next(s for s in pair if s is not right)
    if _is_received_late(wrong, right):
        return []
    near = [s for s in good if abs(s.offset_ns - wrong.offset_ns) <= max_wait_ns / 2]
    return [s for s in near if s is not right]


def _is_received_late(late: _Sample, other: _Sample) -> bool:
    """Whether a stream's stamps are right, and its messages are received late.

    A clock is wrong by the same time in every message, but what delays messages does not delay
    them all equally. And if only the stamps match those of the other stream, but not the receive
    times, the frames were exposed together and received one after the other.
    """
    if late.spread_ns > 2 * other.spread_ns + _JITTER_NS:
        return True
    by_stamp = _distance_ns(late.headers_ns, other.headers_ns)
    shift_ns = late.offset_ns - other.offset_ns
    by_receive_time = _distance_ns([ns + shift_ns for ns in late.headers_ns], other.headers_ns)
    return by_stamp <= _MATCH_NS and by_receive_time > _JITTER_NS


def _distance_ns(stamps: Sequence[int], others: Sequence[int]) -> float:
    """Median distance of stamps to the nearest other one, where both streams have frames."""
    found = [
        min(abs(ns - other) for other in others) for ns in stamps if others[0] <= ns <= others[-1]
    ]
    return median_low(found) if len(found) >= _MIN_MATCHES else math.inf


_BY_RECEIVE = "the frames are stamped with their receive times"


def _sample(reader: BagReader, topic: str, stream: Stream) -> _Sample | None:
    headers: list[int] = []
    receives: list[int] = []
    last: Any = None
    for item in itertools.islice(reader.messages([topic]), STAMP_SAMPLE):
        message = item.message
        if message is None:
            continue
        stamp = stamp_ns(message.header)
        # A second recorder or publisher: the same message again.
        if headers and stamp == headers[-1] and np.array_equal(last, message.data):
            continue
        last = message.data
        headers.append(stamp)
        receives.append(item.receive_ns)
    return _Sample(stream, headers, receives) if headers else None


def _clocks(samples: Sequence[_Sample]) -> list[list[_Sample]]:
    """The streams in groups whose headers have one clock."""
    groups: list[list[_Sample]] = []
    for sample in sorted(samples, key=lambda s: s.offset_ns):
        if groups and sample.offset_ns - groups[-1][-1].offset_ns <= SAME_CLOCK_NS:
            groups[-1].append(sample)
        else:
            groups.append([sample])
    return groups


def _fits(sample: _Sample, shift_ns: int, limits_ns: tuple[float, float]) -> bool:
    """Whether shifted stamps are plausible and not negative."""
    return (
        sample.counts_seconds
        and min(sample.headers_ns) + shift_ns >= 0
        and limits_ns[0] <= sample.offset_ns - shift_ns <= limits_ns[1]
    )


def _by_receive_time(samples: Iterable[_Sample], latency_ns: int) -> dict[Stream, StampRule]:
    return {s.stream: StampRule("receive", -latency_ns) for s in samples}


def _whose(samples: Iterable[_Sample]) -> str:
    return f"the header stamps of {' and '.join(sorted(s.stream for s in samples))}"


def _seconds(offset_ns: int) -> str:
    seconds, side = abs(offset_ns) / NS_PER_S, "behind" if offset_ns > 0 else "ahead of"
    digits = 3 if seconds < 1 else 1
    size = f"{seconds:.{digits}f} s" if seconds < 1e5 else f"{seconds / 86400:.0f} days"
    return f"{size} {side}"
