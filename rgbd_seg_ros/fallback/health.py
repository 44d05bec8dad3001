# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Health of one stream: is this frame usable, and is this stream alive?

**Frame tests.** A frame that fails a test is never used. The tests run in this order, with
the default thresholds of :class:`CoreConfig`:

- ``malformed``: not an image of the stream's type, or its size or encoding has changed. The third
  frame in a row of the new kind is accepted.
- ``stale``, ``future``: stamped more than 1 s ago, or more than 0.1 s in the future.
- ``repeated_stamp``: not later than the previous stamp.
- ``black``, ``saturated``, ``uniform``: a color image without contrast.
- ``no_depth``: less than 2 % of the pixels are valid.
- ``depth_units``: the median depth is outside 0.05 to 50 m.
- ``constant_depth``: the std of the valid pixels is below 0.1 mm.
- ``frozen``: the tenth exact repeat in a row of an image, and every further repeat.

**State.** A stream is WAITING until its first usable frame makes it OK. It is LOST

- immediately when it is ``frozen``, or ``silent``: no message for 3 periods, at least 250 ms;
- after 3 unusable frames in a row, or 5 among the last 10.

It is OK again after 3 usable frames in a row and a hold of 1 s, which doubles up to 8 s while the
stream flaps. Until then its frames are ``recovering``: health judges them, but no job uses them.
If no other stream can be used, its first usable frame makes it OK immediately.
"""

from __future__ import annotations

import enum
import math
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from rgbd_seg_ros.depth import to_meters
from rgbd_seg_ros.fallback.config import CoreConfig
from rgbd_seg_ros.frames import NS_PER_S, Defect, Frame, Stream

#: The pixel tests sample every (side // 64)th row and column: 64 to 127 of each.
SAMPLE_SIDE_PX = 64
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


class SensorHealth:
    """State machine of one stream: WAITING → OK ⇄ LOST. All times are the caller's, in ns."""

    def __init__(self, stream: Stream, config: CoreConfig) -> None:
        self.stream = stream
        self.config = config
        self.state = State.WAITING
        #: Median of the recent stamp intervals; None until 5 are known.
        self.period_ns: int | None = None
        #: Why the stream is LOST; empty in every other state.
        self._lost_reason = ""
        #: Latest stamp of all frames with a valid format and stamp, usable or not.
        self._last_stamp_ns: int | None = None
        self._last_arrival_ns: int | None = None
        self._last_usable_ns = 0
        #: End of the extra period that a late check has granted; 0 if none.
        self._granted_until_ns = 0
        self._intervals_ns: deque[int] = deque(maxlen=INTERVALS)
        #: Whether each of the last 10 messages since the stream became OK was unusable.
        self._unusable: deque[bool] = deque(maxlen=10)
        self._format: tuple[Any, ...] | None = None
        self._new_format: tuple[Any, ...] | None = None
        self._new_format_run = 0
        self._sample: npt.NDArray[Any] | None = None
        self._repeats = 0
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

    @property
    def slow(self) -> bool:
        """Whether the median of the last 5 intervals exceeds twice the period; a warning only."""
        recent = list(self._intervals_ns)[-MIN_INTERVALS:]
        return self.period_ns is not None and _median(recent) > 2 * self.period_ns

    @property
    def timeout_ns(self) -> int:
        """How long an OK stream may be silent: 3 periods, at least 250 ms; 1 s at first."""
        period = self.period_ns
        if period is None:
            return round(self.config.first_silence_s * NS_PER_S)
        shortest_ns = self.config.min_silence_s * NS_PER_S
        return round(max(self.config.silent_periods * period, shortest_ns))

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

        250 ms if the period is not known. A stream that has just stopped is OK until its timeout,
        but in the meantime it must not keep the core from using another stream.
        """
        if self.period_ns is None:
            patience_ns = round(self.config.min_silence_s * NS_PER_S)
        else:
            patience_ns = 2 * self.period_ns
        return self.state is State.OK and now_ns - self._last_usable_ns <= patience_ns

    def age_ns(self, now_ns: int) -> int | None:
        """Time since the newest frame's stamp; None before the first frame."""
        stamp_ns = self._last_stamp_ns
        return None if stamp_ns is None else now_ns - stamp_ns

    # --- Events --------------------------------------------------------------------------------

    def observe(self, item: Frame | Defect, now_ns: int, *, alone: bool) -> Verdict:
        """Test one message and update the state of the stream.

        Args:
            item: the frame, or the defect that replaces it.
            now_ns: time of arrival.
            alone: no other stream can be used, so a usable frame makes this one OK immediately.
        """
        gap_ns = 0 if self._last_arrival_ns is None else now_ns - self._last_arrival_ns
        if gap_ns > self.timeout_ns:
            self._usable_run = 0
        self._last_arrival_ns, self._granted_until_ns = now_ns, 0
        if isinstance(item, Defect):
            reason: str | None = item.reason
            self._new_format_run = 0
        else:
            reason = self._frame_defect(item, now_ns)
        if reason is not None:
            self._usable_run = 0
            self._count_unusable(reason, now_ns)
            return Verdict(reason)
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
            self._become_lost("silent", now_ns)

    # --- Is this frame usable? -----------------------------------------------------------------

    def _frame_defect(self, frame: Frame, now_ns: int) -> str | None:
        """The first frame test that fails; None if the frame is usable."""
        reason = self._format_defect(frame) or self._stamp_defect(frame, now_ns)
        if reason is not None:
            return reason
        sample = strided_sample(frame.array)
        reason = (
            color_defect(sample, self.config)
            if self.stream == "rgb"
            else depth_defect(sample, self.config)
        )
        return reason or self._frozen_defect(sample)

    def _format_defect(self, frame: Frame) -> str | None:
        """``malformed`` or None. The third consistent frame of a new format resets the tests."""
        array = frame.array
        if self.stream == "rgb":
            expected = array.ndim == 3 and array.shape[2] == 3 and array.dtype == np.uint8
        else:
            expected = array.ndim == 2 and (array.dtype == np.uint16 or array.dtype.kind == "f")
        if not expected or 0 in array.shape:
            self._new_format_run = 0
            return "malformed"
        form = (*array.shape, array.dtype.str, frame.encoding)
        if self._format is None or form == self._format:
            self._new_format_run = 0
        else:
            self._new_format_run = self._new_format_run + 1 if form == self._new_format else 1
            self._new_format = form
            if not 0 < self.config.accept_change_after <= self._new_format_run:
                return "malformed"
            self._forget_period()
            self._sample, self._repeats, self._new_format_run = None, 0, 0
        self._format = form
        return None

    def _stamp_defect(self, frame: Frame, now_ns: int) -> str | None:
        """``stale``, ``future``, ``repeated_stamp`` or None. A good stamp updates the period."""
        age_s = (now_ns - frame.stamp_ns) / NS_PER_S
        if 0 < self.config.max_age_s < age_s:
            return "stale"
        if 0 < self.config.max_future_s < -age_s:
            return "future"
        last = self._last_stamp_ns
        if last is not None and frame.stamp_ns <= last:
            return "repeated_stamp" if self.config.check_repeated_stamp else None
        if last is not None:
            self._intervals_ns.append(frame.stamp_ns - last)
            if len(self._intervals_ns) >= MIN_INTERVALS:
                self.period_ns = _median(self._intervals_ns)
        self._last_stamp_ns = frame.stamp_ns
        return None

    def _frozen_defect(self, sample: npt.NDArray[Any]) -> str | None:
        """``frozen`` from the tenth repeat of an image on; the nine repeats before it pass."""
        same = self._sample is not None and np.array_equal(
            sample, self._sample, equal_nan=sample.dtype.kind == "f"
        )
        self._repeats = self._repeats + 1 if same else 0
        if not same:
            self._sample = sample.copy()
        return "frozen" if 0 < self.config.frozen_after <= self._repeats else None

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
        self.period_ns = None


def _median(values: Iterable[int]) -> int:
    ordered = sorted(values)
    return ordered[len(ordered) // 2]


def _mean_and_std(values: npt.NDArray[Any]) -> tuple[float, float]:
    """Mean and std in float64, because float32 cannot resolve 0.1 mm beyond a few meters.

    Faster than ``np.mean`` and ``np.std``; this runs for every frame.
    """
    deviations = values.astype(np.float64).ravel()
    mean = float(deviations.sum()) / deviations.size
    deviations -= mean
    deviations *= deviations
    return mean, math.sqrt(float(deviations.sum()) / deviations.size)


def strided_sample(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """A view of every (side // 64)th row and column: 64 to 127 of each in large images."""
    rows, columns = (max(1, side // SAMPLE_SIDE_PX) for side in array.shape[:2])
    return array[rows // 2 :: rows, columns // 2 :: columns]


def color_defect(sample: npt.NDArray[Any], config: CoreConfig) -> str | None:
    """``black``, ``saturated``, ``uniform`` or None.

    Levels are 0..255. Defaults: std below 4 and mean below 8 is ``black``, std below 4 and mean
    above 247 is ``saturated``, std below 0.5 is ``uniform``.

    Args:
        sample: H×W×3 uint8, see :func:`strided_sample`.
        config: the thresholds.
    """
    mean, std = _mean_and_std(sample)
    if std < config.flat_std:
        if mean < config.black_mean:
            return "black"
        if 0 < config.saturated_mean < mean:
            return "saturated"
    return "uniform" if std < config.uniform_std else None


def depth_defect(sample: npt.NDArray[Any], config: CoreConfig) -> str | None:
    """``no_depth``, ``depth_units``, ``constant_depth`` or None.

    Defaults: less than 2 % valid pixels is ``no_depth``, a median outside 0.05..50 m is
    ``depth_units``, a std below 0.1 mm is ``constant_depth``.

    Args:
        sample: H×W, uint16 ticks or float meters, see :func:`strided_sample`.
        config: the thresholds.
    """
    depth_m = to_meters(sample, config.depth_scale)
    valid = depth_m[np.isfinite(depth_m)]
    floor = config.min_valid_fraction * sample.size
    if valid.size == 0 or valid.size < floor:
        return "no_depth" if config.min_valid_fraction else None
    # np.median takes far longer, and this runs for every frame.
    median_m = float(np.partition(valid, valid.size // 2)[valid.size // 2])
    if median_m < config.min_median_depth_m or 0 < config.max_median_depth_m < median_m:
        return "depth_units"
    if config.max_depth_m:
        near_m = to_meters(sample, config.depth_scale, config.max_depth_m)
        if np.count_nonzero(np.isfinite(near_m)) < floor:
            return "no_depth"
    return "constant_depth" if _mean_and_std(valid)[1] < config.min_depth_std_m else None
