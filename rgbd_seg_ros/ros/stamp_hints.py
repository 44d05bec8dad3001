# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Hints for stamps: another clock, late messages, whole seconds, copies. No ROS, no clock."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from itertools import pairwise
from statistics import median

from rgbd_seg_ros.frames import NS_PER_S

#: Hints are judged over the last 10 messages, once there are 5, so that a single late message
#: causes none.
MESSAGES, MIN_MESSAGES = 10, 5
#: Stamps that differ this much from the node's clock mean a wrong clock, not a slow network.
WRONG_CLOCK_S = 3600.0
#: Whole seconds are a mistake only in a stream that is faster than this.
FASTEST_WHOLE_S = 0.9
#: Kinds of hints about the age of the stamps; at most one of them holds at a time.
AGE_KINDS = ("wrong clock", "old", "ahead")


def duration_text(seconds: float) -> str:
    """A duration in the unit that fits: ``0.104 s``, ``12 min``, ``5.0 hours``, ``40.0 days``."""
    seconds = abs(seconds)
    if seconds < 120:
        return f"{seconds:.3g} s" if seconds < 1 else f"{seconds:.1f} s"
    if seconds < 2 * 3600:
        return f"{seconds / 60:.0f} min"
    if seconds < 2 * 86400:
        return f"{seconds / 3600:.1f} hours"
    return f"{seconds / 86400:.1f} days"


class StampWatch:
    """The last stamps of one stream, and the hints that follow from them.

    Args:
        stream: name of the stream.
        simulated: whether the node's clock is /clock.
    """

    def __init__(self, stream: str, simulated: bool) -> None:
        self.stream = stream
        self._simulated = simulated
        #: Stamp and arrival on the node's clock, in nanoseconds.
        self._last: deque[tuple[int, int]] = deque(maxlen=MESSAGES)

    def add(self, stamp_ns: int, now_ns: int) -> None:
        """Remember a message; ``now_ns`` is 0 until the first /clock, which means nothing."""
        if self._last and now_ns < self._last[-1][1]:
            self._last.clear()  # the clock jumped back
        if now_ns:
            self._last.append((stamp_ns, now_ns))

    def hints(self, max_age_s: float, max_future_s: float) -> Iterator[tuple[str, str]]:
        """Yield (key, hint) for each condition that holds now.

        Args:
            max_age_s: older frames are not used; 0 for no limit.
            max_future_s: frames further ahead are not used; 0 for no limit.
        """
        if len(self._last) < MIN_MESSAGES:
            return
        age_s = median(now_ns - stamp_ns for stamp_ns, now_ns in self._last) / NS_PER_S
        for kind, hint in self._age(age_s, max_age_s, max_future_s):
            yield f"{kind} {self.stream}", hint
        stamps = [stamp_ns for stamp_ns, _ in self._last]
        copies = sum(a == b for a, b in pairwise(stamps))
        arrivals_s = (self._last[-1][1] - self._last[0][1]) / NS_PER_S
        if all(stamp_ns % NS_PER_S == 0 for stamp_ns in stamps):
            if arrivals_s / (len(stamps) - 1) < FASTEST_WHOLE_S:
                yield (
                    f"whole seconds {self.stream}",
                    f"{self.stream} stamps have whole seconds only, so all but one frame per "
                    "second repeat a stamp and are not used: the driver must set "
                    "header.stamp.nanosec",
                )
        elif copies >= (len(stamps) - 1) * 0.4:
            yield (
                f"copies {self.stream}",
                f"{self.stream} messages arrive more than once with the same stamp ({copies} "
                f"copies among the last {len(stamps)}): a relay, a bridge or a second driver "
                "publishes the same images; stop one of them",
            )

    def _age(
        self, age_s: float, max_age_s: float, max_future_s: float
    ) -> Iterator[tuple[str, str]]:
        """Yield at most one of :data:`AGE_KINDS`, with its hint."""
        size = duration_text(age_s)
        clock = "the simulated clock" if self._simulated else "this computer's clock"
        if abs(age_s) >= WRONG_CLOCK_S:
            yield "wrong clock", self._wrong_clock(age_s, size)
        elif max_future_s and -age_s > max_future_s:
            remedy = (
                "publish /clock and the images from one computer"
                if self._simulated
                else "synchronize the clocks of the two computers (chrony or PTP)"
            )
            text = (
                f"{self.stream} stamps are {size} ahead of {clock}, more than "
                f"max_future_s={max_future_s:g}, so no frame is used: {remedy}, or raise "
                "max_future_s"
            )
            yield "ahead", text
        elif max_age_s and age_s > max_age_s:
            remedy = "" if self._simulated else "synchronize the clocks (chrony or PTP), "
            text = (
                f"{self.stream} stamps are {size} old when they arrive, more than "
                f"max_age_s={max_age_s:g}, so no frame is used: {remedy}find out what delays "
                "the images (`ros2 topic delay`), or raise max_age_s"
            )
            yield "old", text

    def _wrong_clock(self, age_s: float, size: str) -> str:
        if self._simulated:
            return (
                f"{self.stream} stamps are {size} {'behind' if age_s > 0 else 'ahead of'} the "
                "simulated clock: play the bag with --clock, or stop the other publisher of /clock"
            )
        return (
            f"{self.stream} stamps are {size} {'old' if age_s > 0 else 'in the future'}: play a "
            "recording with `ros2 bag play BAG --clock` and launch with use_sim_time:=true; for a "
            "live camera, set its clock"
        )
