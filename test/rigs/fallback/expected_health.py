# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The health that a stream must have, derived from the labels of a scenario's messages.

It is written from the design, not from the code, and does not examine pixels.
"""

from __future__ import annotations

from collections import deque
from typing import Any

from rigs.fallback.scenario import Message, S

from rgbd_seg_ros.fallback import CoreConfig, State
from rgbd_seg_ros.frames import Defect


class ExpectedHealth:
    """State, period and timeouts that one stream must have, since the last reset."""

    def __init__(self, config: CoreConfig) -> None:
        self.config = config
        self.state = State.WAITING
        #: Learned period, ns: the median of the last 31 stamp intervals; None before 5.
        self.period: int | None = None
        #: The last period known before it was forgotten.
        self._former_period: int | None = None
        self._intervals: deque[int] = deque(maxlen=31)
        self.last_arrival: int | None = None
        self.last_usable = 0
        self.losses = 0
        self._granted_until = 0
        self._last_stamp: int | None = None
        self._form: tuple[Any, ...] | None = None
        self._new_form: tuple[Any, ...] | None = None
        self._new_run = 0
        self._image: int | None = None
        self._repeats = 0
        #: Whether each message since the last change of state was usable, newest last.
        self._verdicts: list[bool] = []
        #: Arrival times of the current run of usable messages.
        self._run: list[int] = []

    # --- Frames --------------------------------------------------------------------------------

    def is_copy(self, message: Message) -> bool:
        """Whether the message repeats the last stamp, which changes nothing."""
        item = message.item
        return not isinstance(item, Defect) and item.stamp_ns == self._last_stamp

    def judge(self, message: Message, now: int) -> str | None:
        """The first frame test that this message must fail; None if it is usable."""
        item = message.item
        if isinstance(item, Defect) or message.label == "malformed":
            self._new_run = 0
            return "malformed"
        form = (item.array.shape, item.array.dtype, item.encoding)
        if self._form not in (None, form):
            self._new_run = self._new_run + 1 if form == self._new_form else 1
            self._new_form = form
            if self._new_run < 3:
                return "malformed"
            self._image, self._repeats = None, 0
            self._forget_period()
        self._form, self._new_run = form, 0
        if now - item.stamp_ns > self.config.max_age_s * S:
            return "stale"
        if item.stamp_ns - now > self.config.max_future_s * S:
            return "future"
        if self._last_stamp is not None:
            if item.stamp_ns <= self._last_stamp:
                return "repeated_stamp"
            self._intervals.append(item.stamp_ns - self._last_stamp)
            if len(self._intervals) >= 5:
                self.period = sorted(self._intervals)[len(self._intervals) // 2]
        self._last_stamp = item.stamp_ns
        if message.label:
            return message.label
        self._repeats = self._repeats + 1 if message.image == self._image else 0
        self._image = message.image
        return "frozen" if self._repeats >= self.config.frozen_after else None

    # --- The stream ----------------------------------------------------------------------------

    @property
    def timeout(self) -> int:
        """3 periods, at least 250 ms; while the period is unknown, at least 1 s, at first 5 s."""
        if self.period is not None:
            return max(3 * self.period, S // 4)
        known = max(self._intervals, default=self._former_period)
        return 5 * S if known is None else max(3 * known, S)

    @property
    def silence_deadline(self) -> int | None:
        """When the stream must be lost unless a message arrives."""
        if self.state is not State.OK or self.last_arrival is None:
            return None
        return max(self.last_arrival + self.timeout, self._granted_until)

    def dependable(self, now: int) -> bool:
        """OK, and the last usable frame is at most two periods old.

        While the period is unknown: two of the longest intervals, at least 250 ms.
        """
        if self.period is None:
            patience = max(S // 4, 2 * max(self._intervals, default=0))
        else:
            patience = 2 * self.period
        return self.state is State.OK and now - self.last_usable <= patience

    def arrives(self, now: int) -> None:
        """A message arrives."""
        if self.last_arrival is not None and now - self.last_arrival > self.timeout:
            self._run.clear()  # the silence interrupts the run
        self.last_arrival, self._granted_until = now, 0

    def message(self, reason: str | None, now: int, *, alone: bool) -> State:
        """The state that this message must lead to. ``alone``: no other stream can be used."""
        self._verdicts.append(reason is None)
        if reason is not None:
            self._run.clear()
            recent = self._verdicts[-10:]
            bad = recent.count(False)
            if self.state is State.OK and (
                reason == "frozen" or bad >= 5 or (not any(self._verdicts[-3:]) and bad >= 3)
            ):
                self._lose()
            return self.state
        self.last_usable = now
        self._run.append(now)
        hold = min(self.config.hold_s * 2 ** (self.losses - 1), self.config.max_hold_s) * S
        if (
            self.state is State.WAITING
            or alone
            or (len(self._run) >= 3 and now - self._run[0] >= hold)
        ) and self.state is not State.OK:
            self.state = State.OK
            self._verdicts.clear()
        return self.state

    def tick(self, now: int, *, late: bool) -> None:
        """Time has passed: the stream may be silent."""
        deadline = self.silence_deadline
        if deadline is None or now < deadline:
            return
        if late and not self._granted_until:
            self._granted_until = now + (self.period or self.timeout)
        else:
            self._lose()

    def _lose(self) -> None:
        self.state = State.LOST
        self.losses += 1
        self._forget_period()
        self._run.clear()
        self._verdicts.clear()

    def _forget_period(self) -> None:
        self._intervals.clear()
        self._former_period = self.period or self._former_period
        self.period = None
