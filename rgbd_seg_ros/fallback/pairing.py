# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Pairing: which color and depth frames form a frame pair, and how long a frame waits.

Frames of the two streams whose stamps differ by at most the *skew* (by default half the faster
period) belong to one instant. The *primary* stream sets the pace: it is color, unless only depth
has its own network. The oldest held frame is handled as follows:

=========================================  =====================================================
its partner's frame                        decision
=========================================  =====================================================
has arrived                                fuse both immediately; the nearest stamp wins
is unusable, or its stream is LOST         use this frame alone, immediately
is due                                     wait, then use this frame alone
is not due; this frame is of the primary   skip it, or use it alone (parameter ``unpaired``)
is not due; this frame is not              wait, then skip it
=========================================  =====================================================

A partner is due at every instant, unless its period is more than 1.5 times the primary's; then it
is due one period after its last frame. A wait ends when the partner's frame or a later one
arrives, and after *max_wait* at the latest: the 95th percentile of the last 30 lags (the partner's
arrival minus this stream's for the same instant; if negative, no wait) + 5 ms, at most 100 ms.
The lags of late frames count too, so the wait follows a growing lag.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from typing import Literal

from rgbd_seg_ros.fallback.config import CoreConfig
from rgbd_seg_ros.fallback.counters import Counters
from rgbd_seg_ros.frames import NS_PER_MS, NS_PER_S, AnyFrame

#: Frames that are earlier than this before the last decided one have another time base.
STEP_BACK_NS = NS_PER_S
#: Skew until a period is known.
FIRST_SKEW_NS = 20 * NS_PER_MS
#: Added to the 95th percentile of the lag, to allow for jitter beyond it.
WAIT_MARGIN_NS = 5 * NS_PER_MS
#: No frame is skipped for a partner slower than this, because masks would become too infrequent.
SLOW_PARTNER_NS = 200 * NS_PER_MS
#: A stream is slower than another if its period is longer by more than this factor.
SLOWER = 1.5
#: Size limits: frames held, messages seen, lags, and instants counted by `missed_fraction`.
#: The 95th percentile of 30 lags follows a rise after 2 late frames, that of 60 only after 4.
MAX_HELD, MAX_SEEN, MAX_LAGS, MAX_INSTANTS = 16, 32, 30, 30
MIN_LAGS = 5

PairedStream = Literal["rgb", "depth"]
PARTNER: dict[PairedStream, PairedStream] = {"rgb": "depth", "depth": "rgb"}


@dataclass(frozen=True)
class SeenMessage:
    """Times of one message, remembered after its frame was released."""

    stamp_ns: int
    arrival_ns: int
    usable: bool


@dataclass(frozen=True)
class StreamStatus:
    """The state of color and depth that pairing depends on."""

    #: Streams whose frames may be used now.
    serving: frozenset[PairedStream]
    #: The ones among them whose frames may be used alone.
    single: frozenset[PairedStream]
    #: Whether both are to be fused, so that their frames wait for each other.
    fusing: bool
    #: At startup, whether one stream is OK and its frames wait for the other's first usable frame.
    awaiting_partner: bool
    #: Learned periods; None until known.
    period_ns: dict[PairedStream, int | None]

    @property
    def primary(self) -> PairedStream:
        """The stream that sets the pace: color, unless only depth may be used alone."""
        return "depth" if self.single == {"depth"} else "rgb"


@dataclass(frozen=True, eq=False)
class FramePair:
    """The frames of one instant that form a job: color, depth or both."""

    rgb: AnyFrame | None
    depth: AnyFrame | None

    @property
    def stamp_ns(self) -> int:
        """Color's stamp if the pair has color, else depth's."""
        frame = self.rgb if self.rgb is not None else self.depth
        if frame is None:
            raise ValueError("a frame pair needs at least one frame")
        return frame.stamp_ns


class Pairer:
    """Holds usable frames until their instant is decided. All times are the caller's, in ns."""

    def __init__(self, config: CoreConfig, counters: Counters) -> None:
        self.config = config
        self._counters = counters
        #: (frame, arrival), by stamp.
        self._held: dict[PairedStream, list[tuple[AnyFrame, int]]] = {"rgb": [], "depth": []}
        self._seen: dict[PairedStream, deque[SeenMessage]] = {
            "rgb": deque(maxlen=MAX_SEEN),
            "depth": deque(maxlen=MAX_SEEN),
        }
        self._lags_ns: deque[int] = deque(maxlen=MAX_LAGS)  # depth's arrival − color's
        self._lag_ns: dict[PairedStream, int] = {}
        self._missed: deque[bool] = deque(maxlen=MAX_INSTANTS)
        self._last: FramePair | None = None
        #: Number of frames in a row that are much earlier than the last decided pair.
        self._earlier_run = 0
        self._wait_until_ns: int | None = None

    # --- Properties ----------------------------------------------------------------------------

    @property
    def last_stamp_ns(self) -> int | None:
        """Stamp of the last frame pair decided."""
        return None if self._last is None else self._last.stamp_ns

    @property
    def deadline_ns(self) -> int | None:
        """When the oldest frame's wait ends; None if no frame is waiting."""
        return self._wait_until_ns

    @property
    def missed_fraction(self) -> float:
        """Share of the last 30 instants that lacked a partner that was due; 0 until there are 30.

        Instants that were skipped or whose partner was unusable are not counted.
        """
        full = len(self._missed) == MAX_INSTANTS
        return sum(self._missed) / MAX_INSTANTS if full else 0.0

    def holds(self, frame: AnyFrame) -> bool:
        """Whether a frame waits for its partner."""
        return any(frame is held for entries in self._held.values() for held, _ in entries)

    def lag_ns(self, stream: PairedStream) -> int | None:
        """95th percentile of the partner's arrival minus this stream's; None until 5 are known."""
        return self._lag_ns.get(stream)

    def max_wait_ns(self, stream: PairedStream) -> int:
        """How long a frame of ``stream`` waits for its partner: the lag + 5 ms, within 0..cap.

        The cap, ``max_wait_ms`` (100 ms by default), applies until the lag is known.
        """
        cap_ns = round(self.config.max_wait_ms * NS_PER_MS)
        lag_ns = self.lag_ns(stream)
        if lag_ns is None:
            return cap_ns
        return max(0, min(lag_ns + WAIT_MARGIN_NS, cap_ns))

    def skew_ns(self, status: StreamStatus) -> int:
        """Largest stamp difference within one instant; 20 ms until a period is known."""
        if self.config.max_skew_ms:
            return round(self.config.max_skew_ms * NS_PER_MS)
        periods = [p for p in status.period_ns.values() if p is not None]
        return min(periods) // 2 if periods else FIRST_SKEW_NS

    # --- Events --------------------------------------------------------------------------------

    def note_unusable(
        self, stream: PairedStream, stamp_ns: int | None, now_ns: int, status: StreamStatus
    ) -> None:
        """Record an unusable message, so that no frame waits for it as a partner.

        Args:
            stream: its stream.
            stamp_ns: its stamp. If None, or more than 1 s old or in the future, the message is
                assumed to be the one due next.
            now_ns: time of arrival.
            status: state of the streams.
        """
        seen, period_ns = self._seen[stream], status.period_ns[stream]
        if stamp_ns is not None:
            ahead_s = (stamp_ns - now_ns) / NS_PER_S
            if not -1 <= ahead_s <= min(1, self.config.max_future_s):
                stamp_ns = None
        if stamp_ns is None and seen and period_ns is not None:
            stamp_ns = seen[-1].stamp_ns + period_ns
        if stamp_ns is not None:
            seen.append(SeenMessage(stamp_ns, now_ns, usable=False))

    def push(
        self, stream: PairedStream, frame: AnyFrame, now_ns: int, status: StreamStatus
    ) -> bool:
        """Hold a usable frame; False if late, because its instant or a later one is decided."""
        self._restart_if_earlier(frame.stamp_ns)
        skew_ns = self.skew_ns(status)
        self._seen[stream].append(SeenMessage(frame.stamp_ns, now_ns, usable=True))
        self._learn_lag(stream, frame.stamp_ns, now_ns, skew_ns)
        if self._is_late(stream, frame.stamp_ns, skew_ns, status):
            return False
        held = self._held[stream]
        held.append((frame, now_ns))
        held.sort(key=lambda entry: entry[0].stamp_ns)
        return True

    def decide(self, now_ns: int, status: StreamStatus) -> list[FramePair]:
        """Return every frame pair that can be decided now, in stamp order."""
        for idle in PARTNER.keys() - status.serving:
            self._skip(idle, len(self._held[idle]))
        if not status.fusing:
            self._missed.clear()  # a lost partner says nothing about the wait or the skew
        decided = []
        self._wait_until_ns = None
        while (stream := self._oldest()) is not None and self._wait_until_ns is None:
            pair = self._decide_oldest(stream, now_ns, status)
            if pair is not None:
                decided.append(pair)
                self.note_decided(pair)
        return decided

    def note_decided(self, pair: FramePair) -> None:
        """Record a decision; held frames that are not later than it will never be used."""
        self._last = pair
        for stream in PARTNER:
            held = self._held[stream]
            self._skip(stream, sum(f.stamp_ns <= pair.stamp_ns for f, _ in held))

    # --- Deciding ------------------------------------------------------------------------------

    def _decide_oldest(
        self, stream: PairedStream, now_ns: int, status: StreamStatus
    ) -> FramePair | None:
        """Apply the table above to the oldest frame of ``stream``; None if it waits or is skipped.

        If it waits, ``_wait_until_ns`` is set.
        """
        frame, arrival_ns = self._held[stream][0]
        if not (status.fusing or status.awaiting_partner):
            return self._single(stream, status)
        skew_ns = self.skew_ns(status)
        partner = PARTNER[stream]
        index = self._nearest(partner, frame.stamp_ns, skew_ns)
        taken = index is not None and self._has_nearer(stream, self._held[partner][index][0])
        if index is not None and not taken:
            self._missed.append(False)
            match, _ = self._held[partner].pop(index)
            self._held[stream].pop(0)
            return FramePair(frame, match) if stream == "rgb" else FramePair(match, frame)
        if any(
            not seen.usable and abs(seen.stamp_ns - frame.stamp_ns) <= skew_ns
            for seen in self._seen[partner]
        ):
            return self._single(stream, status)
        due = self._partner_due(stream, frame.stamp_ns, skew_ns, status)
        if stream == status.primary and not (due or status.awaiting_partner):
            return self._unpaired(stream, frame.stamp_ns, skew_ns, status)
        wait_until_ns = arrival_ns + self._wait_ns(stream, status)
        passed = taken or any(s.stamp_ns > frame.stamp_ns + skew_ns for s in self._seen[partner])
        # Deciding early bounds the memory. If the oldest frame were dropped instead, no
        # frame would reach the end of its wait at high rates.
        full = max(map(len, self._held.values())) > MAX_HELD
        if not (passed or full) and now_ns < wait_until_ns:
            self._wait_until_ns = wait_until_ns
            return None
        if due or status.awaiting_partner:
            return self._single(stream, status, missed=status.fusing)
        self._skip(stream, 1)  # the primary sets the pace, so no mask between two of its frames
        return None

    def _wait_ns(self, stream: PairedStream, status: StreamStatus) -> int:
        if stream != status.primary and None in status.period_ns.values():
            return round(self.config.max_wait_ms * NS_PER_MS)  # the primary may not even be due
        return self.max_wait_ns(stream)

    def _partner_due(
        self, stream: PairedStream, stamp_ns: int, skew_ns: int, status: StreamStatus
    ) -> bool:
        """Whether the partner should have a frame for this stamp, or missed an earlier one.

        For the primary, a partner that is not slower is due at every instant, despite any jitter.
        Any other partner is due one period after its last frame. Until both periods are known, the
        primary is due unless a later frame from it has arrived.
        """
        own_ns = status.period_ns[stream]
        partner_ns = status.period_ns[PARTNER[stream]]
        seen = self._seen[PARTNER[stream]]
        if stream != status.primary:
            # An unusable frame of the primary produces no mask, so it counts as missing.
            stamps = [s.stamp_ns for s in seen if s.usable]
            if own_ns is None or partner_ns is None:
                return not any(s > stamp_ns + skew_ns for s in stamps)
        elif own_ns is None or partner_ns is None or partner_ns <= SLOWER * own_ns:
            return True
        else:
            stamps = [s.stamp_ns for s in seen]
        before = [s for s in stamps if s <= stamp_ns + skew_ns]
        return not before or max(before) + partner_ns <= stamp_ns + skew_ns

    def _unpaired(
        self, stream: PairedStream, stamp_ns: int, skew_ns: int, status: StreamStatus
    ) -> FramePair | None:
        """Skip a frame of the primary between two frames of a slower partner, or use it alone."""
        own_ns = status.period_ns[stream] or 0
        partner_ns = status.period_ns[PARTNER[stream]] or 0
        if self.config.unpaired == "single" or partner_ns > SLOW_PARTNER_NS:
            return self._single(stream, status)
        # Do not skip a frame if the next one arrives more than a partner's period after the last
        # mask.
        last_ns = self.last_stamp_ns
        if last_ns is None or stamp_ns + own_ns > last_ns + partner_ns + skew_ns:
            return self._single(stream, status, missed=True)
        self._skip(stream, 1)
        return None

    def _single(
        self, stream: PairedStream, status: StreamStatus, *, missed: bool = False
    ) -> FramePair | None:
        """The oldest frame alone; if no network may run on it alone, skip it and return None."""
        if missed:
            self._counters.partner_missed += 1
            self._missed.append(True)
        if stream not in status.single:
            self._skip(stream, 1)
            return None
        frame, _ = self._held[stream].pop(0)
        return FramePair(frame, None) if stream == "rgb" else FramePair(None, frame)

    def _nearest(self, stream: PairedStream, stamp_ns: int, skew_ns: int) -> int | None:
        """Index of the held frame of ``stream`` nearest to a stamp, within the skew."""
        near = [(abs(f.stamp_ns - stamp_ns), i) for i, (f, _) in enumerate(self._held[stream])]
        return min(near)[1] if near and min(near)[0] <= skew_ns else None

    def _has_nearer(self, stream: PairedStream, partner: AnyFrame) -> bool:
        """Whether a later frame of ``stream`` is nearer to ``partner`` than the oldest one."""
        oldest, *later = (abs(f.stamp_ns - partner.stamp_ns) for f, _ in self._held[stream])
        return any(distance < oldest for distance in later)

    # --- Memory --------------------------------------------------------------------------------

    def _restart_if_earlier(self, stamp_ns: int) -> None:
        """Forget the last decided pair if all stamps have jumped back, as when a bag is repeated.

        A single frame that is stamped hours ahead would otherwise make all later ones late.
        """
        earlier = self._last is not None and stamp_ns < self._last.stamp_ns - STEP_BACK_NS
        self._earlier_run = self._earlier_run + 1 if earlier else 0
        if 0 < self.config.accept_change_after <= self._earlier_run:
            self._last, self._earlier_run = None, 0
            for seen in self._seen.values():
                seen.clear()

    def _is_late(
        self, stream: PairedStream, stamp_ns: int, skew_ns: int, status: StreamStatus
    ) -> bool:
        """Whether the instant of this stamp, or a later one, is already decided."""
        if self._last is None:
            return False
        if stamp_ns <= self._last.stamp_ns:
            return True
        mine, partners = self._last.rgb, self._last.depth
        if stream == "depth":
            mine, partners = partners, mine
        if mine is not None or partners is None:
            return False
        # The partner's frame was used alone. This one is late unless it is nearer to the
        # partner's next frame.
        distance = stamp_ns - partners.stamp_ns
        period_ns = status.period_ns[PARTNER[stream]]
        nearer_to_next = period_ns is not None and abs(period_ns - distance) < distance
        return distance <= skew_ns and not nearer_to_next

    def _learn_lag(self, stream: PairedStream, stamp_ns: int, now_ns: int, skew_ns: int) -> None:
        """Update the lag when the second frame of an instant arrives, even if it is late."""
        near = [
            (abs(seen.stamp_ns - stamp_ns), seen.arrival_ns)
            for seen in self._seen[PARTNER[stream]]
            if seen.usable
        ]
        if near and min(near)[0] <= skew_ns:
            lag_ns = now_ns - min(near)[1]
            self._lags_ns.append(lag_ns if stream == "depth" else -lag_ns)
            if len(self._lags_ns) >= MIN_LAGS:
                lags, rank = sorted(self._lags_ns), math.ceil(0.95 * len(self._lags_ns))
                self._lag_ns = {"rgb": lags[rank - 1], "depth": -lags[-rank]}

    def _oldest(self) -> PairedStream | None:
        """The stream that holds the frame with the lowest stamp; color on a tie."""
        heads = [(self._held[s][0][0].stamp_ns, s != "rgb", s) for s in PARTNER if self._held[s]]
        return min(heads)[2] if heads else None

    def _skip(self, stream: PairedStream, count: int) -> None:
        """Drop the oldest ``count`` frames of ``stream``."""
        del self._held[stream][:count]
        self._counters.count(stream, "skipped", count)
