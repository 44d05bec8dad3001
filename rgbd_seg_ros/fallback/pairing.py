# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Instants: which color and depth frames belong together, and how long to wait for a partner."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from typing import Literal

from rgbd_seg_ros.fallback.config import CoreConfig
from rgbd_seg_ros.fallback.counters import Counters
from rgbd_seg_ros.frames import Frame

NS_PER_MS = 1_000_000
#: Skew allowed while no period is known.
FIRST_SKEW_NS = 20 * NS_PER_MS
#: Added to the 95th percentile of the lag, for the jitter beyond it.
WAIT_MARGIN_NS = 5 * NS_PER_MS
#: A partner slower than this is not waited for: its mask would be older than a fresh one is worth.
SLOW_PARTNER_NS = 200 * NS_PER_MS
#: A stream is slower than another when its period is longer by this factor.
SLOWER = 1.5
#: Bounds of the memories: frames held back, arrivals remembered, lags and instants judged.
#: The 95th percentile of 30 lags follows a rise after 2 late frames; of 60 only after 4.
MAX_HELD, MAX_SEEN, MAX_LAGS, MAX_INSTANTS = 16, 32, 30, 30
MIN_LAGS = 5

PairedStream = Literal["rgb", "depth"]
PARTNER: dict[PairedStream, PairedStream] = {"rgb": "depth", "depth": "rgb"}


@dataclass(frozen=True)
class PendingFrame:
    """One message as pairing remembers it, after its frame is gone."""

    stamp_ns: int
    arrival_ns: int
    usable: bool


@dataclass(frozen=True)
class StreamStatus:
    """What pairing has to know of the streams."""

    #: Streams whose frames may be used now.
    serving: frozenset[PairedStream]
    #: Those of them whose frames may make a job alone.
    single: frozenset[PairedStream]
    #: Frames of both are to be fused, so they wait for each other.
    fusing: bool
    #: A frame waits for a partner stream that has not shown a usable frame yet (start-up).
    hopeful: bool
    period_ns: dict[PairedStream, int | None]

    @property
    def primary(self) -> PairedStream:
        """Sets the pace: color, unless only depth has a network for frames without a partner."""
        return "depth" if self.single == {"depth"} else "rgb"


@dataclass(frozen=True, eq=False)
class FramePair:
    """A decision: the frames of one instant that make a job."""

    rgb: Frame | None
    depth: Frame | None

    @property
    def stamp_ns(self) -> int:
        """Color's stamp when color is in it, else depth's."""
        frame = self.rgb if self.rgb is not None else self.depth
        if frame is None:
            raise ValueError("an instant has at least one frame")
        return frame.stamp_ns


class Pairer:
    """Holds usable frames back until their instant is decided. All times are the caller's, ns."""

    def __init__(self, config: CoreConfig, counters: Counters) -> None:
        self.config = config
        self._counters = counters
        self._held: dict[PairedStream, list[tuple[Frame, int]]] = {"rgb": [], "depth": []}
        self._seen: dict[PairedStream, deque[PendingFrame]] = {
            "rgb": deque(maxlen=MAX_SEEN),
            "depth": deque(maxlen=MAX_SEEN),
        }
        self._lags_ns: deque[int] = deque(maxlen=MAX_LAGS)  # depth's arrival − color's
        self._lag_ns: dict[PairedStream, int] = {}
        self._missed: deque[bool] = deque(maxlen=MAX_INSTANTS)
        self._last: FramePair | None = None
        self._wait_until_ns: int | None = None

    # --- What others ask -----------------------------------------------------------------------

    @property
    def held(self) -> dict[PairedStream, int]:
        """Frames held back, by stream."""
        return {"rgb": len(self._held["rgb"]), "depth": len(self._held["depth"])}

    @property
    def last_stamp_ns(self) -> int | None:
        """Stamp of the last instant decided."""
        return None if self._last is None else self._last.stamp_ns

    @property
    def deadline_ns(self) -> int | None:
        """When the oldest frame stops waiting; None when none waits."""
        return self._wait_until_ns

    @property
    def missed_fraction(self) -> float:
        """Share of the last 30 instants whose partner was due and did not come; 0 before."""
        full = len(self._missed) == MAX_INSTANTS
        return sum(self._missed) / MAX_INSTANTS if full else 0.0

    def lag_ns(self, stream: PairedStream) -> int | None:
        """95th percentile of the partner's arrival minus this stream's; None until 5 are known."""
        return self._lag_ns.get(stream)

    def max_wait_ns(self, stream: PairedStream) -> int:
        """How long a frame of ``stream`` waits for its partner: learned and capped."""
        cap_ns = round(self.config.max_wait_ms * NS_PER_MS)
        lag_ns = self.lag_ns(stream)
        if lag_ns is None:
            return cap_ns
        return max(0, min(lag_ns + WAIT_MARGIN_NS, cap_ns))

    def _wait_ns(self, stream: PairedStream, situation: StreamStatus) -> int:
        if stream != situation.primary and None in situation.period_ns.values():
            return round(self.config.max_wait_ms * NS_PER_MS)  # is the primary due at all?
        return self.max_wait_ns(stream)

    def skew_ns(self, situation: StreamStatus) -> int:
        """Largest stamp difference within one instant."""
        if self.config.max_skew_ms:
            return round(self.config.max_skew_ms * NS_PER_MS)
        periods = [p for p in situation.period_ns.values() if p is not None]
        return min(periods) // 2 if periods else FIRST_SKEW_NS

    # --- What happens --------------------------------------------------------------------------

    def note_unusable(
        self, stream: PairedStream, stamp_ns: int | None, now_ns: int, situation: StreamStatus
    ) -> None:
        """An unusable message came: its instant need not wait for this stream.

        Without a credible stamp it is taken for the frame that was due next.
        """
        seen, period_ns = self._seen[stream], situation.period_ns[stream]
        if stamp_ns is None and seen and period_ns is not None:
            stamp_ns = seen[-1].stamp_ns + period_ns
        if stamp_ns is not None:
            seen.append(PendingFrame(stamp_ns, now_ns, usable=False))

    def push(
        self, stream: PairedStream, frame: Frame, now_ns: int, situation: StreamStatus
    ) -> bool:
        """Hold a usable frame; False if it is late: its instant or a later one is decided."""
        skew_ns = self.skew_ns(situation)
        self._seen[stream].append(PendingFrame(frame.stamp_ns, now_ns, usable=True))
        self._learn_lag(stream, frame.stamp_ns, now_ns, skew_ns)
        if self._is_late(stream, frame.stamp_ns, skew_ns, situation):
            return False
        held = self._held[stream]
        held.append((frame, now_ns))
        held.sort(key=lambda entry: entry[0].stamp_ns)
        return True

    def decide(self, now_ns: int, situation: StreamStatus) -> list[FramePair]:
        """Every instant that can be decided now, in stamp order."""
        for idle in PARTNER.keys() - situation.serving:
            self._drop(idle, len(self._held[idle]))
        if not situation.fusing:
            self._missed.clear()  # a partner that was lost says nothing of the wait or the skew
        decided = []
        self._wait_until_ns = None
        while (stream := self._oldest()) is not None and self._wait_until_ns is None:
            instant = self._decide_oldest(stream, now_ns, situation)
            if instant is not None:
                decided.append(instant)
                self.note_instant(instant)
        return decided

    def note_instant(self, instant: FramePair) -> None:
        """This instant is decided: all that is held and not later will never be used."""
        self._last = instant
        for stream in PARTNER:
            held = self._held[stream]
            self._drop(stream, sum(f.stamp_ns <= instant.stamp_ns for f, _ in held))

    # --- Deciding ------------------------------------------------------------------------------

    def _decide_oldest(
        self, stream: PairedStream, now_ns: int, situation: StreamStatus
    ) -> FramePair | None:
        """Pair it, send it alone, skip it, or set the time until which it waits."""
        frame, arrival_ns = self._held[stream][0]
        if not (situation.fusing or situation.hopeful):
            return self._alone(stream, situation)
        skew_ns = self.skew_ns(situation)
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
            return self._alone(stream, situation)
        due = self._due(stream, frame.stamp_ns, skew_ns, situation)
        if stream == situation.primary and not (due or situation.hopeful):
            return self._unpaired(stream, frame.stamp_ns, skew_ns, situation)
        wait_until_ns = arrival_ns + self._wait_ns(stream, situation)
        passed = taken or any(s.stamp_ns > frame.stamp_ns + skew_ns for s in self._seen[partner])
        # Were the oldest dropped instead, at high rates no frame would ever wait to its end.
        full = max(map(len, self._held.values())) > MAX_HELD
        if not (passed or full) and now_ns < wait_until_ns:
            self._wait_until_ns = wait_until_ns
            return None
        if due or situation.hopeful:
            return self._alone(stream, situation, missed=situation.fusing)
        self._drop(stream, 1)  # the primary sets the pace: no mask between two of its own
        return None

    def _due(
        self, stream: PairedStream, stamp_ns: int, skew_ns: int, situation: StreamStatus
    ) -> bool:
        """Should the partner have a frame for this stamp, or one before it that never came?

        The primary counts on a partner that is not slower at every instant, whatever its jitter.
        """
        own_ns = situation.period_ns[stream]
        partner_ns = situation.period_ns[PARTNER[stream]]
        seen = self._seen[PARTNER[stream]]
        if stream != situation.primary:
            # A primary frame that came unusable makes no mask: it counts as missing.
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
        self, stream: PairedStream, stamp_ns: int, skew_ns: int, situation: StreamStatus
    ) -> FramePair | None:
        """A frame of the primary between two frames of a slower partner."""
        own_ns = situation.period_ns[stream] or 0
        partner_ns = situation.period_ns[PARTNER[stream]] or 0
        if self.config.unpaired == "single" or partner_ns > SLOW_PARTNER_NS:
            return self._alone(stream, situation)
        # Skipping must not starve: the next frame would come after the slower stream's period.
        last_ns = self.last_stamp_ns
        if last_ns is None or stamp_ns + own_ns > last_ns + partner_ns + skew_ns:
            return self._alone(stream, situation, missed=True)
        self._drop(stream, 1)
        return None

    def _alone(
        self, stream: PairedStream, situation: StreamStatus, *, missed: bool = False
    ) -> FramePair | None:
        """The oldest frame without a partner, or nothing if no network takes it so."""
        if missed:
            self._counters.partner_missed += 1
            self._missed.append(True)
        if stream not in situation.single:
            self._drop(stream, 1)
            return None
        frame, _ = self._held[stream].pop(0)
        return FramePair(frame, None) if stream == "rgb" else FramePair(None, frame)

    def _nearest(self, stream: PairedStream, stamp_ns: int, skew_ns: int) -> int | None:
        """Index of the held frame of ``stream`` nearest to a stamp, within the skew."""
        near = [(abs(f.stamp_ns - stamp_ns), i) for i, (f, _) in enumerate(self._held[stream])]
        return min(near)[1] if near and min(near)[0] <= skew_ns else None

    def _has_nearer(self, stream: PairedStream, partner: Frame) -> bool:
        """Is a later frame of ``stream`` nearer to this partner than the oldest one?"""
        oldest, *later = (abs(f.stamp_ns - partner.stamp_ns) for f, _ in self._held[stream])
        return any(distance < oldest for distance in later)

    # --- Remembering ---------------------------------------------------------------------------

    def _is_late(
        self, stream: PairedStream, stamp_ns: int, skew_ns: int, situation: StreamStatus
    ) -> bool:
        if self._last is None:
            return False
        if stamp_ns <= self._last.stamp_ns:
            return True
        mine, partners = self._last.rgb, self._last.depth
        if stream == "depth":
            mine, partners = partners, mine
        if mine is not None or partners is None:
            return False
        # Its partner's frame went alone, unless it is nearer to the partner's next one.
        distance = stamp_ns - partners.stamp_ns
        period_ns = situation.period_ns[PARTNER[stream]]
        nearer_to_next = period_ns is not None and abs(period_ns - distance) < distance
        return distance <= skew_ns and not nearer_to_next

    def _learn_lag(self, stream: PairedStream, stamp_ns: int, now_ns: int, skew_ns: int) -> None:
        """The second frame of an instant to arrive, late or not, teaches the lag."""
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

    def _drop(self, stream: PairedStream, count: int) -> None:
        del self._held[stream][:count]
        self._counters.count(stream, "skipped", count)
