# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Agreement of the live and the offline replay: which masks differ, and the causes."""

from __future__ import annotations

import bisect
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rgbd_seg_ros.fallback import Core, Job
from rgbd_seg_ros.fallback.counters import FATES
from rgbd_seg_ros.frames import STREAMS, NetworkName, Stream
from rgbd_seg_ros.inference import job_frames

#: Minimum share of the offline masks that the live replay must have from the same network.
MIN_AGREEMENT = 0.99
#: The live node counts a frame at most this long before or after its receive time in the bag.
JITTER_NS = 300_000_000
#: A frame is counted as used or not at most this long after it arrived: it may wait for its
#: partner and for a busy engine before its job is discarded as too old.
REACH_NS = 1_500_000_000

#: One frame: its stream and its header stamp in nanoseconds.
FrameId = tuple[Stream, int]
#: Counter name to its values over time: (nanoseconds, value), in order of time.
History = Mapping[str, Sequence[tuple[int, int]]]

#: Reasons why a usable frame may not be used in a mask.
NOT_USED = tuple(fate for fate in FATES if fate != "used")


@dataclass(frozen=True)
class Decision:
    """One mask: the network that computed it and the frames that it was computed from."""

    network: NetworkName
    #: Header stamp of the mask, nanoseconds.
    stamp_ns: int
    frames: frozenset[FrameId]

    @classmethod
    def of(cls, job: Job) -> Decision:
        """The decision that a job represents."""
        frames = frozenset((stream, frame.stamp_ns) for stream, frame in job_frames(job).items())
        return cls(job.network, job.stamp_ns, frames)


@dataclass(frozen=True)
class Event:
    """A counter that was incremented in one of the replays but not in the other."""

    counter: str
    #: Whether it was incremented in the live replay.
    live: bool
    #: It happened between these times, nanoseconds.
    from_ns: int
    to_ns: int

    def __str__(self) -> str:
        return self.counter if self.live else f"{self.counter} offline"


@dataclass(frozen=True)
class Difference:
    """A stamp at which the two replays used different networks."""

    stamp_ns: int
    #: None if there is no mask.
    offline: NetworkName | None
    live: NetworkName | None
    #: Counters and losses that explain it; empty if it has no known cause.
    causes: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """The entry in the score file."""
        return {
            "stamp_ns": self.stamp_ns,
            "offline": self.offline,
            "live": self.live,
            "causes": list(self.causes),
        }


@dataclass(frozen=True)
class Agreement:
    """Comparison of both replays over the union of their stamps."""

    offline_masks: int
    live_masks: int
    #: Offline masks with a live mask of the same stamp, and those by the same network.
    covered: int
    same: int
    differences: tuple[Difference, ...]

    @property
    def coverage(self) -> float:
        """Share of the offline masks for which there is a live mask."""
        return self.covered / max(self.offline_masks, 1)

    @property
    def agreement(self) -> float:
        """Share of the offline masks for which there is a live mask by the same network."""
        return self.same / max(self.offline_masks, 1)

    @property
    def unexplained(self) -> int:
        """Number of differences without a known cause."""
        return sum(not difference.causes for difference in self.differences)

    @property
    def causes(self) -> dict[str, int]:
        """Number of differences per cause; a difference may have two causes."""
        counts = Counter(cause for d in self.differences for cause in d.causes)
        return dict(counts.most_common())

    def failures(self) -> list[str]:
        """Reasons why the live replay fails, one line each; empty if it passes."""
        if not self.offline_masks:
            return [
                "the offline replay computes no mask from this bag, so there is nothing to compare"
            ]
        found = []
        why = (
            ", ".join(f"{cause} {count}" for cause, count in self.causes.items())
            or "no known cause"
        )
        total = self.offline_masks
        if self.coverage < MIN_AGREEMENT:
            busy = any("superseded" in cause for cause in self.causes)
            remedy = "; the engine is too slow for the bag, so use a lower rate: rate:=0.2" * busy
            found.append(
                f"{total - self.covered} of {total} offline masks are missing in the live replay "
                f"({why}); at most {1 - MIN_AGREEMENT:.0%} may be missing{remedy}"
            )
        elif self.agreement < MIN_AGREEMENT:
            found.append(
                f"{total - self.same} of {total} offline masks are missing in the live replay or "
                f"were computed by another network ({why}); "
                f"at most {1 - MIN_AGREEMENT:.0%} may differ"
            )
        if self.unexplained:
            found.append(
                f"no counter of the node explains {self.unexplained} of "
                f"{len(self.differences)} differences"
            )
        return found


@dataclass
class Evidence:
    """Possible causes of differences. Each explains one frame and is then removed."""

    #: In chronological order.
    events: list[Event]
    #: Number of losses whose times are unknown, by name, such as ``rgb_lost``.
    losses: dict[str, int] = field(default_factory=dict)

    def take_event(self, counters: Collection[str], live: bool, t_ns: int) -> str | None:
        """Take the first event of these counters that can explain a frame received at ``t_ns``.

        That is the earliest event of any counter. Differences are explained in time order, so each
        gets its own event.
        """
        for event in self.events:
            near = t_ns - JITTER_NS <= event.to_ns and event.from_ns <= t_ns + REACH_NS
            if event.counter in counters and event.live is live and near:
                self.events.remove(event)
                return str(event)
        return None

    def take_loss(self, name: str) -> str | None:
        """Take one loss of this name."""
        if self.losses.get(name, 0) <= 0:
            return None
        self.losses[name] -= 1
        return name


def compare(
    offline: Iterable[Decision],
    live: Mapping[int, NetworkName],
    arrivals: Mapping[FrameId, int],
    evidence: Evidence,
) -> Agreement:
    """Compare two replays of the same bag with the same faults.

    Args:
        offline: masks of the offline replay.
        live: masks of the node, stamp to network.
        arrivals: receive time of every frame in the bag, nanoseconds.
        evidence: possible causes of differences; those that explain one are removed.
    """
    expected = {decision.stamp_ns: decision for decision in offline}
    seen = {s: _live_decision(s, network, expected, arrivals) for s, network in live.items()}
    covered = [stamp for stamp in expected if stamp in seen]
    same = [stamp for stamp in covered if expected[stamp].network == seen[stamp].network]
    different = sorted((expected.keys() | seen.keys()) - set(same))
    explain = _Explanation(expected, seen, arrivals, evidence)
    causes: dict[int, list[str] | None] = {s: explain.unused_frames(s) for s in different}
    for stamp in different:
        if causes[stamp] == []:
            causes[stamp] = explain.other_pairs(stamp, causes)
    differences = tuple(
        Difference(
            stamp,
            expected[stamp].network if stamp in expected else None,
            live.get(stamp),
            tuple(dict.fromkeys(causes[stamp] or ())),
        )
        for stamp in different
    )
    return Agreement(len(expected), len(seen), len(covered), len(same), differences)


def _live_decision(
    stamp: int,
    network: NetworkName,
    expected: Mapping[int, Decision],
    arrivals: Mapping[FrameId, int],
) -> Decision:
    """Infer the frames of a live mask, because its header has only one stamp."""
    if network == "depth":
        raw = ("depth", stamp) not in arrivals and ("depth_raw", stamp) in arrivals
        return Decision(network, stamp, frozenset({("depth_raw" if raw else "depth", stamp)}))
    frames: set[FrameId] = {("rgb", stamp)}
    if network == "rgbd":
        decision = expected.get(stamp)
        if decision is not None and decision.network == "rgbd":
            return Decision(network, stamp, decision.frames)
        depths = [s for stream, s in arrivals if stream == "depth"]
        if depths:
            frames.add(("depth", min(depths, key=lambda s: abs(s - stamp))))
    return Decision(network, stamp, frozenset(frames))


class _Explanation:
    """Finds the causes of differences frame by frame. See :func:`compare` for the arguments."""

    def __init__(
        self,
        expected: Mapping[int, Decision],
        seen: Mapping[int, Decision],
        arrivals: Mapping[FrameId, int],
        evidence: Evidence,
    ) -> None:
        self._expected, self._seen = expected, seen
        self._arrivals, self._evidence = arrivals, evidence
        #: Frame to the stamp of its mask.
        self._used_offline = {f: d.stamp_ns for d in expected.values() for f in d.frames}
        self._used_live = {f: d.stamp_ns for d in seen.values() for f in d.frames}

    def unused_frames(self, stamp: int) -> list[str] | None:
        """Causes for the frames at this stamp that only one of the replays used.

        Empty if there is no such frame; None if one of them has no cause.
        """
        decision, mask = self._expected.get(stamp), self._seen.get(stamp)
        missing = sorted((decision.frames if decision else frozenset()) - self._used_live.keys())
        extra = sorted((mask.frames if mask else frozenset()) - self._used_offline.keys())
        # The pair's mask may carry the stamp of its other frame.
        served = mask is not None or len(missing) < len(decision.frames if decision else ())
        found = [self._why_missing(frame, served) for frame in missing]
        found += [self._why_extra(frame) for frame in extra]
        if None in found and mask is None:
            found = [self._evidence.take_loss("mask_not_recorded")]
        return None if None in found else [cause for cause in found if cause]

    def other_pairs(self, stamp: int, known: Mapping[int, list[str] | None]) -> list[str]:
        """Causes of a difference whose frames both replays used, but in different masks.

        Args:
            stamp: stamp of the difference.
            known: causes found for the frames of each difference.
        """
        frames = (self._expected.get(stamp) or self._seen[stamp]).frames
        for used in (self._used_offline, self._used_live):
            for frame in sorted(frames):
                if causes := known.get(used.get(frame, stamp)):
                    return causes
        t_ns = max(self._arrivals.get(frame, frame[1]) for frame in frames)
        cause = self._evidence.take_event(["partner_missed"], True, t_ns)
        return [cause] if cause else []

    def _why_missing(self, frame: FrameId, partner_used: bool) -> str | None:
        """Why a frame that the offline replay used was not used live."""
        stream, evidence, t_ns = frame[0], self._evidence, self._arrivals.get(frame, frame[1])
        return (
            evidence.take_event(self._fates(stream), True, t_ns)
            or evidence.take_loss(f"{stream}_lost")
            or evidence.take_loss(f"{stream}_pending")
            or (evidence.take_event(["partner_missed"], True, t_ns) if partner_used else None)
            or evidence.take_event(["engine_errors"], True, t_ns)
        )

    def _why_extra(self, frame: FrameId) -> str | None:
        """Why a frame that was used live was not used by the offline replay."""
        t_ns = self._arrivals.get(frame, frame[1])
        return self._evidence.take_event(self._fates(frame[0]), False, t_ns)

    def _fates(self, stream: Stream) -> set[str]:
        unusable = {event.counter for event in self._evidence.events}
        unusable = {name for name in unusable if name.startswith(f"{stream}_unusable_")}
        return {f"{stream}_{fate}" for fate in NOT_USED} | unusable


def events(offline: History, live: History) -> list[Event]:
    """Find where a counter was incremented in only one of the replays, in order of time.

    Both replays count the same frames, but the live one slightly earlier or later. So at each
    sample, the true difference live − offline lies between two bounds, which follow from the
    offline counts shortly after and shortly before it. An event is a change of the difference
    that is needed to stay within the bounds.

    Args:
        offline: counters of the offline replay, exact.
        live: counters of the node, sampled.
    """
    found = []
    for counter, samples in live.items():
        steps = offline.get(counter, ())
        difference, last_ns = 0, samples[0][0] if samples else 0
        for t_ns, count in samples:
            low = count - _value(steps, t_ns + JITTER_NS)
            high = count - _value(steps, t_ns - JITTER_NS)
            if difference < low:
                found += [Event(counter, True, last_ns, t_ns)] * (low - difference)
                difference = low
            elif difference > high:
                # Detected only when the offline increment is older than the jitter.
                early_ns = last_ns - 2 * JITTER_NS
                found += [Event(counter, False, early_ns, t_ns)] * (difference - high)
                difference = high
            last_ns = t_ns
    return sorted(found, key=lambda event: event.to_ns)


def _value(steps: Sequence[tuple[int, int]], t_ns: int) -> int:
    index = bisect.bisect_right(steps, t_ns, key=lambda step: step[0])
    return steps[index - 1][1] if index else 0


def counters_of(core: Core) -> dict[str, int]:
    """The core's counters by their names in /diagnostics."""
    counters = core.counters
    values = {"partner_missed": counters.partner_missed}
    for stream in STREAMS:
        values[f"{stream}_offered"] = counters.offered[stream]
        fates = counters.fates[stream]
        values |= {f"{stream}_{fate}": fates[fate] for fate in NOT_USED}
        values |= {f"{stream}_unusable_{why}": n for why, n in counters.unusable[stream].items()}
    return values


def add_to_history(
    history: dict[str, list[tuple[int, int]]], t_ns: int, values: Mapping[str, int]
) -> None:
    """Append the counters that changed."""
    for counter, value in values.items():
        steps = history.setdefault(counter, [])
        if not steps or steps[-1][1] != value:
            steps.append((t_ns, value))
