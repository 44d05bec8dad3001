# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Adds up the messages that fail a frame test, and says when they must be told, and how."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from rgbd_seg_ros.fallback.health import Verdict
from rgbd_seg_ros.frames import NS_PER_S, Stream

#: After how many messages a failed frame test that points to a mistake in the set-up is told.
TOLD_AFTER = {
    "malformed": 1, "slow_decode": 1, "depth_units": 1, "stale": 3, "future": 3,
    "repeated_stamp": 3,
}  # fmt: skip
#: All other tests point to a sensor that fails. They are told after as many messages, ...
FAILED_AFTER = 3
#: ... but once the stream has had a usable frame, only if these messages cover a second, each one
#: the time since the message before it, ...
FAILED_NS = NS_PER_S
#: ... or, at the end of a recording, if they are this share of the stream.
FAILED_SHARE = 0.1
#: A sensor that has worked for so long fails anew, which is told again.
ANEW_AFTER_NS = 60 * NS_PER_S
#: The frame tests that concern stamps.
STAMP_TESTS = ("stale", "future", "repeated_stamp")


class UnusableWarning(str):
    """A warning about messages that failed a frame test. Its counts may have grown since."""

    stream: Stream
    reason: str


class CausedWarning(str):
    """A warning whose cause the node may know, because it knows arrivals and publishers."""

    streams: tuple[Stream, ...]
    #: Of the problem.
    key: str = ""


class StampWarning(UnusableWarning, CausedWarning):
    """A warning about stamps."""


@dataclass
class Failures:
    """The messages of one stream that failed one frame test."""

    stream: Stream
    reason: str
    count: int = 0
    #: Time that they cover, each one at most :data:`FAILED_NS`.
    covered_ns: int = 0
    #: Arrival of the first and of the last one.
    first_ns: int = 0
    last_ns: int = 0
    #: They had to be told when the last one arrived.
    told: bool = False
    #: Of the last one.
    detail: str = ""

    def warning(self, messages: str = "") -> UnusableWarning:
        """The line that tells them.

        Args:
            messages: which ones, with the verb; their number by default.
        """
        messages = messages or (f"{self.count} messages are" if self.count > 1 else "a message is")
        kind = StampWarning if self.reason in STAMP_TESTS else UnusableWarning
        text = kind(f"{self.stream}: {messages} unusable ({self.reason}): {self.detail}")
        text.stream, text.reason = self.stream, self.reason
        if isinstance(text, StampWarning):
            text.streams = (self.stream,)
        return text


class UnusableMessages:
    """Adds up failed frame tests by stream and reason.

    Args:
        simulated: whether a fault is simulated on a stream at a time, in nanoseconds. What fails
            then is not counted, because the user asked for it.
    """

    def __init__(
        self, simulated: Callable[[Stream, int], bool] = lambda stream, ns: False
    ) -> None:
        self._simulated = simulated
        #: When a message of each stream was judged last.
        self._judged_ns: dict[Stream, int] = {}
        #: Since the start, and since the last :meth:`restart`.
        self._all: dict[tuple[Stream, str], Failures] = {}
        self._recent: dict[tuple[Stream, str], Failures] = {}

    def restart(self) -> None:
        """Judge anew what must be told, because the streams begin anew."""
        self._recent.clear()
        self._judged_ns.clear()

    def add(
        self, stream: Stream, verdict: Verdict, now_ns: int, *, waiting: bool
    ) -> Failures | None:
        """Take the verdict on a message; its recent failures if it failed a test.

        Args:
            stream: the stream.
            verdict: on the message.
            now_ns: the current time.
            waiting: the stream has had no usable frame yet.
        """
        step_ns = max(now_ns - self._judged_ns.get(stream, now_ns), 0)
        self._judged_ns[stream] = now_ns
        reason = verdict.reason
        if reason is None or self._simulated(stream, now_ns):
            return None
        key, new = (stream, reason), Failures(stream, reason, first_ns=now_ns, last_ns=now_ns)
        if (
            reason not in TOLD_AFTER
            and now_ns - self._recent.get(key, new).last_ns > ANEW_AFTER_NS
        ):
            del self._recent[key]
        for found in (self._all, self._recent):
            entry = found.setdefault(key, replace(new))
            entry.count += 1
            entry.covered_ns += min(step_ns, FAILED_NS)
            entry.last_ns, entry.detail = now_ns, verdict.detail
            lasting = waiting or reason in TOLD_AFTER or entry.covered_ns >= FAILED_NS
            if lasting and entry.count >= TOLD_AFTER.get(reason, FAILED_AFTER):
                entry.told = True
        return self._recent[key]

    def at_end(self, offered: dict[Stream, int]) -> Iterator[Failures]:
        """The failures of a recording that must be told, with all of their messages.

        Args:
            offered: number of messages of each stream.
        """
        for (stream, _), entry in self._all.items():
            many = entry.count >= max(FAILED_AFTER, FAILED_SHARE * offered[stream])
            if entry.told or many:
                yield entry
