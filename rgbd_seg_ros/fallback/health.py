# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Health of one stream: is this frame usable, and is this stream alive?

**Frame tests.** A frame that fails a test is never used. The tests run in this order, with
the default thresholds of :class:`CoreConfig`:

- ``malformed``: not an image of the stream's type, or its size or encoding has changed. The third
  frame in a row of the new kind is accepted.
- ``slow_decode``: a compressed image whose decoding takes 0.5 s or longer.
- ``stale``, ``future``: stamped more than 1 s ago, or more than 0.1 s in the future.
- ``repeated_stamp``: not later than the previous stamp. A copy, with exactly the previous stamp,
  is not used either, but says nothing against its stream. The third in a row of stamps that are
  more than a second earlier begins a new series.
- ``black``, ``saturated``, ``uniform``: a color image without contrast.
- ``no_depth``: less than 2 % of the pixels are valid.
- ``depth_units``: the median depth is outside 0.05 to 50 m.
- ``constant_depth``: the std of the valid pixels is below 0.1 mm.
- ``frozen``: the tenth exact repeat in a row of an image, and every further repeat.

**State.** A stream is WAITING until its first usable frame makes it OK. It is LOST

- immediately when it is ``frozen``, or ``silent``: no message for 3 periods, at least 250 ms, not
  counting copies;
- after 3 unusable frames in a row, or 5 among the last 10.

It is OK again after 3 usable frames in a row and a hold of 1 s, which doubles up to 8 s while the
stream flaps. Until then its frames are ``recovering``: health judges them, but no job uses them.
If no other stream can be used, its first usable frame makes it OK immediately.

**Compressed frames** arrive undecoded: :meth:`SensorHealth.observe` tests their size, as their
header states it, and their stamps, and :meth:`SensorHealth.judge` everything else once they are
decoded. Runs of unusable frames and of repeats therefore count decoded frames. A frame of another
size than the stream's is ``malformed`` and never decoded, so that single huge images cost no time.
"""

from __future__ import annotations

import enum
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from rgbd_seg_ros.fallback.config import CoreConfig
from rgbd_seg_ros.fallback.pixel_tests import (
    REMEDIES,
    color_defect,
    depth_defect,
    describe_color,
    describe_depth,
    strided_sample,
)
from rgbd_seg_ros.fallback.repeats import RepeatCounter
from rgbd_seg_ros.fallback.stream_format import StreamFormat
from rgbd_seg_ros.frames import NS_PER_S, AnyFrame, CompressedFrame, Defect, Frame, Stream

#: Stamps that are earlier than this before the last one may begin a new series.
STEP_BACK_NS = NS_PER_S
#: The period is the median of the last 31 stamp intervals, known once there are 5.
INTERVALS = 31
MIN_INTERVALS = 5


class State(enum.Enum):
    """State of a stream. Only frames of an OK stream are used in jobs."""

    #: No usable frame yet.
    WAITING = "waiting"
    OK = "ok"
    LOST = "lost"


@dataclass(frozen=True)
class Verdict:
    """Result of the frame tests for one message."""

    #: The frame test that failed; None for a usable frame.
    reason: str | None
    #: The frame is usable but its stream is still LOST, so no job may use it.
    recovering: bool = False
    #: Only the stamp was tested, because the pixels are not decoded yet.
    undecoded: bool = False
    #: For an unusable frame, one line with the value seen and the remedy; may be empty.
    detail: str = ""


class Problem(NamedTuple):
    """The frame test that a message fails."""

    reason: str
    #: One line: the value seen, and the remedy if the reason does not imply it.
    detail: str


class SensorHealth:
    """State machine of one stream: WAITING → OK ⇄ LOST. All times are the caller's, in ns."""

    def __init__(self, stream: Stream, config: CoreConfig) -> None:
        self.stream = stream
        self.config = config
        self.state = State.WAITING
        #: Median of the recent stamp intervals; None until 5 are known.
        self.period_ns: int | None = None
        #: The last period known before it was forgotten.
        self._former_period_ns: int | None = None
        #: Why the stream is LOST; empty in every other state.
        self._lost_reason = ""
        #: Latest stamp of all frames with a valid format and stamp, usable or not.
        self._last_stamp_ns: int | None = None
        #: Latest of the stamps in a row that are much earlier than it, and their number.
        self._earlier_ns = 0
        self._earlier_run = 0
        self._last_arrival_ns: int | None = None
        self._last_usable_ns = 0
        #: Whether the last message was a copy of the one before.
        self._copied = False
        #: End of the extra period that a late check has granted; 0 if none.
        self._granted_until_ns = 0
        self._intervals_ns: deque[int] = deque(maxlen=INTERVALS)
        #: Whether each of the last 10 messages since the stream became OK was unusable.
        self._unusable: deque[bool] = deque(maxlen=10)
        self._format = StreamFormat(stream)
        self._repeats = RepeatCounter()
        self._usable_run = 0
        self._usable_since_ns = 0
        self._ok_since_ns: int = 0
        #: Losses since the stream was last OK for a minute.
        self._losses = 0

    # --- Properties ----------------------------------------------------------------------------

    @property
    def reason(self) -> str:
        """``ok``, ``waiting``, or why the stream is lost."""
        return self._lost_reason if self.state is State.LOST else self.state.value

    def recovery(self, now_ns: int) -> str:
        """``usable for 0.4 s of 1 s`` while a lost stream recovers; otherwise empty."""
        if self.state is not State.LOST or not self._usable_run:
            return ""
        usable_s = (now_ns - self._usable_since_ns) / NS_PER_S
        return f"usable for {max(usable_s, 0):.1f} s of {self.hold_ns / NS_PER_S:g} s"

    @property
    def slow(self) -> bool:
        """Whether the median of the last 5 intervals exceeds twice the period; a warning only."""
        recent = list(self._intervals_ns)[-MIN_INTERVALS:]
        return self.period_ns is not None and _median(recent) > 2 * self.period_ns

    @property
    def timeout_ns(self) -> int:
        """How long an OK stream may be silent: 3 periods, at least 250 ms.

        Before the period is known: 3 times the longest interval seen, or the period known before a
        loss, at least 1 s; and 5 s for a stream that never had a second message.
        """
        period_ns, shortest_s = self.period_ns, self.config.min_silence_s
        if period_ns is None:
            period_ns = max(self._intervals_ns, default=self._former_period_ns)
            shortest_s = self.config.first_silence_s
        if period_ns is None:
            return round(max(self.config.second_message_s, shortest_s) * NS_PER_S)
        return round(max(self.config.silent_periods * period_ns, shortest_s * NS_PER_S))

    @property
    def silence_deadline_ns(self) -> int | None:
        """When the stream will be ``silent`` unless a message arrives; None if it is not OK."""
        if self.state is not State.OK or not self.config.silent_periods:
            return None
        if self._last_arrival_ns is None:
            return None
        return max(self._last_arrival_ns + self.timeout_ns, self._granted_until_ns)

    @property
    def hold_ns(self) -> int:
        """How long a lost stream must stay usable before it is OK again.

        1 s after the first loss, then 2, 4 and at most 8 s; 1 s again after a minute of being OK.
        """
        doublings = min(max(self._losses - 1, 0), 30)
        hold_s = min(self.config.hold_s * 2.0**doublings, self.config.max_hold_s)
        return round(hold_s * NS_PER_S)

    def dependable(self, now_ns: int) -> bool:
        """Whether the stream is OK and its last usable frame is at most two periods old.

        Before the period is known, the longest interval seen counts in its place, but at least
        250 ms in all. A stream that has just stopped is OK until its timeout, but in the meantime
        it must not keep the core from using another stream.
        """
        if self.period_ns is None:
            shortest_ns = round(self.config.min_silence_s * NS_PER_S)
            patience_ns = max(2 * max(self._intervals_ns, default=0), shortest_ns)
        else:
            patience_ns = 2 * self.period_ns
        return self.state is State.OK and now_ns - self._last_usable_ns <= patience_ns

    def age_ns(self, now_ns: int) -> int | None:
        """Time since the newest frame's stamp; None before the first frame."""
        stamp_ns = self._last_stamp_ns
        return None if stamp_ns is None else now_ns - stamp_ns

    # --- Events --------------------------------------------------------------------------------

    def observe(self, item: AnyFrame | Defect, now_ns: int, *, alone: bool) -> Verdict:
        """Test one message and update the state of the stream.

        Args:
            item: the frame, or the defect that replaces it.
            now_ns: time of arrival.
            alone: no other stream can be used, so a usable frame makes this one OK immediately.
        """
        if not isinstance(item, Defect) and self._is_copy(item):
            self._copied = True
            if self._lost_reason == "silent":
                self._lost_reason = "repeated_stamp"
            return Verdict("repeated_stamp", detail="it has the stamp of the message before it")
        gap_ns = 0 if self._last_arrival_ns is None else now_ns - self._last_arrival_ns
        if gap_ns > self.timeout_ns:
            self._usable_run = 0
        self._last_arrival_ns, self._granted_until_ns, self._copied = now_ns, 0, False
        if isinstance(item, Defect):
            return self.judge(item, now_ns, alone=alone)
        problem = self._format_problem(item) or self._stamp_problem(item, now_ns)
        if problem is None and isinstance(item, CompressedFrame):
            if self.state is State.OK:
                self._last_usable_ns = now_ns  # until decoding shows otherwise
            return Verdict(None, undecoded=True)
        if problem is None and isinstance(item, Frame):
            problem = self._pixel_problem(item)
        return self._conclude(problem, now_ns, alone)

    def judge(self, item: Frame | Defect, now_ns: int, *, alone: bool) -> Verdict:
        """Test a compressed frame once it is decoded; :meth:`observe` has tested its stamp."""
        if isinstance(item, Defect):
            self._format.interrupt()
            return self._conclude(Problem(item.reason, item.detail), now_ns, alone)
        problem = self._format_problem(item) or self._pixel_problem(item)
        return self._conclude(problem, now_ns, alone)

    def _conclude(self, problem: Problem | None, now_ns: int, alone: bool) -> Verdict:
        """Update the state after all tests of a message."""
        if problem is not None:
            self._usable_run = 0
            self._count_unusable(problem.reason, now_ns)
            return Verdict(problem.reason, detail=problem.detail)
        self._last_usable_ns = now_ns
        self._unusable.append(False)
        self._usable_run += 1
        if self._usable_run == 1:
            self._usable_since_ns = now_ns
        if self.state is State.LOST and not (alone or self._held_long_enough(now_ns)):
            return Verdict(None, recovering=True)
        if self.state is not State.OK:
            self._become_ok(now_ns)
        return Verdict(None)

    def check_silence(self, now_ns: int, *, late: bool) -> None:
        """Make the stream LOST if its silence deadline has passed.

        Args:
            now_ns: the current time.
            late: the check itself is late, because the process was stalled; messages may be
                waiting to be read. The first late check grants one more period, but only
                once per message, or a process that is always late would never detect silence.
        """
        deadline_ns = self.silence_deadline_ns
        if deadline_ns is None or now_ns < deadline_ns:
            return
        if late and not self._granted_until_ns:
            self._granted_until_ns = now_ns + (self.period_ns or self.timeout_ns)
        else:
            self._become_lost("repeated_stamp" if self._copied else "silent", now_ns)

    # --- Is this frame usable? -----------------------------------------------------------------

    def _is_copy(self, item: AnyFrame) -> bool:
        """Whether a message has exactly the stamp of the one before, as a republished copy has."""
        return self.config.check_repeated_stamp and item.stamp_ns == self._last_stamp_ns

    def _format_problem(self, frame: AnyFrame) -> Problem | None:
        """``malformed`` or None. An accepted change of format resets the tests."""
        former = self._format.value
        detail = self._format.check(frame, self.config.accept_change_after)
        if detail is not None:
            return Problem("malformed", detail)
        if former not in (None, self._format.value):
            self._forget_period()
            self._repeats = RepeatCounter()
        return None

    def _stamp_problem(self, frame: AnyFrame, now_ns: int) -> Problem | None:
        """``stale``, ``future``, ``repeated_stamp`` or None. A good stamp updates the period."""
        age_s = (now_ns - frame.stamp_ns) / NS_PER_S
        if 0 < self.config.max_age_s < age_s:
            return Problem(
                "stale", f"its stamp is {age_s:.3g} s old, max_age_s is {self.config.max_age_s:g}"
            )
        if 0 < self.config.max_future_s < -age_s:
            return Problem(
                "future",
                f"its stamp is {-age_s:.3g} s in the future, max_future_s is "
                f"{self.config.max_future_s:g}",
            )
        if self._begins_anew(frame.stamp_ns):
            self._last_stamp_ns = None
            self._forget_period()
        last_ns = self._last_stamp_ns
        if last_ns is not None and frame.stamp_ns <= last_ns:
            if not self.config.check_repeated_stamp:
                return None
            earlier_s = (last_ns - frame.stamp_ns) / NS_PER_S
            return Problem("repeated_stamp", f"its stamp is {earlier_s:.3g} s before the last one")
        if last_ns is not None:
            self._intervals_ns.append(frame.stamp_ns - last_ns)
            if len(self._intervals_ns) >= MIN_INTERVALS:
                self.period_ns = _median(self._intervals_ns)
        self._last_stamp_ns = frame.stamp_ns
        return None

    def _begins_anew(self, stamp_ns: int) -> bool:
        """Whether the stamps have jumped back for good: the third in a row, and in order."""
        if self._last_stamp_ns is None or stamp_ns >= self._last_stamp_ns - STEP_BACK_NS:
            self._earlier_run = 0
            return False
        self._earlier_run = self._earlier_run + 1 if stamp_ns > self._earlier_ns else 1
        self._earlier_ns = stamp_ns
        if not 0 < self.config.accept_change_after <= self._earlier_run:
            return False
        self._earlier_run = 0
        return True

    def _pixel_problem(self, frame: Frame) -> Problem | None:
        """The first test that a strided sample of the pixels fails; None if usable."""
        sample = strided_sample(frame.array)
        test, describe = (
            (color_defect, describe_color)
            if self.stream == "rgb"
            else (depth_defect, describe_depth)
        )
        reason = test(sample, self.config)
        if reason is not None:
            remedy = f": {REMEDIES[reason]}" if reason in REMEDIES else ""
            return Problem(reason, f"{describe(sample, self.config)}{remedy}")
        # ``frozen`` from the tenth repeat of an image on; the nine repeats before it pass.
        repeats = self._repeats.add(frame.array, sample)
        if 0 < self.config.frozen_after <= repeats:
            times = f"the same image came {repeats + 1} times in a row"
            return Problem("frozen", f"{times}: {REMEDIES['frozen']}")
        return None

    # --- Is this stream alive? -----------------------------------------------------------------

    def _count_unusable(self, reason: str, now_ns: int) -> None:
        self._unusable.append(True)
        if self.state is State.LOST:
            self._lost_reason = reason
            return
        recent = list(self._unusable)
        in_a_row = self.config.lost_after
        if (
            reason == "frozen"
            or (0 < in_a_row <= len(recent) and all(recent[-in_a_row:]))
            or 0 < self.config.lost_of_last_10 <= sum(recent)
        ) and self.state is State.OK:
            self._become_lost(reason, now_ns)

    def _held_long_enough(self, now_ns: int) -> bool:
        return (
            self._usable_run >= self.config.recover_after
            and now_ns - self._usable_since_ns >= self.hold_ns
        )

    def _become_ok(self, now_ns: int) -> None:
        self.state, self._lost_reason = State.OK, ""
        self._ok_since_ns = now_ns
        self._unusable.clear()

    def _become_lost(self, reason: str, now_ns: int) -> None:
        if now_ns - self._ok_since_ns >= self.config.quiet_s * NS_PER_S:
            self._losses = 0
        self._losses += 1
        self.state, self._lost_reason = State.LOST, reason
        self._usable_run = 0
        self._forget_period()

    def _forget_period(self) -> None:
        """Forget the period, because the stream was lost or its format has changed."""
        self._intervals_ns.clear()
        self._former_period_ns, self.period_ns = self.period_ns or self._former_period_ns, None


def _median(values: Iterable[int]) -> int:
    ordered = sorted(values)
    return ordered[len(ordered) // 2]
