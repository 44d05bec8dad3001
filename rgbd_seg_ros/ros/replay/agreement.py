# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Agreement of a live replay with the offline one: which masks differ, and what explains each."""

from __future__ import annotations

import bisect
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rgbd_seg_ros.fallback import Core, Job
from rgbd_seg_ros.fallback.counters import FATES
from rgbd_seg_ros.frames import STREAMS, NetworkName, Stream

#: Share of the offline replay's stamps that must have a mask live, and by the same network.
FLOOR = 0.99
#: A frame is counted live at most so much before or after its receive time in the bag.
JITTER_NS = 300_000_000
#: A frame meets its fate at most so much after it came: a wait for its partner, a busy engine,
#: and a job that is thrown away for its age.
REACH_NS = 1_500_000_000

#: One frame: its stream and the stamp of its header, nanoseconds.
FrameId = tuple[Stream, int]
#: Name of a counter to its values over time: (nanoseconds, value), in order of time.
History = Mapping[str, Sequence[tuple[int, int]]]

#: What may keep a frame out of a mask, besides being unusable for a reason.
KEEPS_OUT = tuple(fate for fate in FATES if fate != "used")


@dataclass(frozen=True)
class Decision:
    """One mask: the network that made it, and the frames in it."""

    network: NetworkName
    #: That of the mask's header, nanoseconds.
    stamp_ns: int
    frames: frozenset[FrameId]

    @classmethod
    def of(cls, job: Job) -> Decision:
        """The decision in a job."""
        frames: set[FrameId] = set()
        if job.rgb is not None:
            frames.add(("rgb", job.rgb.stamp_ns))
        if job.depth is not None:
            frames.add(("depth_raw" if job.raw else "depth", job.depth.stamp_ns))
        return cls(job.network, job.stamp_ns, frozenset(frames))


@dataclass(frozen=True)
class Event:
    """A counter that went on by one live and not offline, or the reverse."""

    counter: str
    #: Live only; else offline only.
    live: bool
    #: Between these times, nanoseconds.
    from_ns: int
    to_ns: int

    def __str__(self) -> str:
        return self.counter if self.live else f"{self.counter} offline"


@dataclass(frozen=True)
class Difference:
    """A stamp whose network is not the same in both replays."""

    stamp_ns: int
    #: None where there is no mask.
    offline: NetworkName | None
    live: NetworkName | None
    #: What explains it; empty for nothing.
    causes: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """For the score file."""
        return {
            "stamp_ns": self.stamp_ns,
            "offline": self.offline,
            "live": self.live,
            "causes": list(self.causes),
        }


@dataclass(frozen=True)
class Agreement:
    """Both replays compared over the union of their stamps."""

    offline_masks: int
    live_masks: int
    #: Stamps of the offline replay with a mask live, and those of them with the same network.
    covered: int
    same: int
    differences: tuple[Difference, ...]

    @property
    def coverage(self) -> float:
        """Share of the offline replay's stamps that have a mask live."""
        return self.covered / max(self.offline_masks, 1)

    @property
    def agreement(self) -> float:
        """Share of the offline replay's stamps that have the same network live."""
        return self.same / max(self.offline_masks, 1)

    @property
    def unexplained(self) -> int:
        """Differences that no counter explains."""
        return sum(not difference.causes for difference in self.differences)

    @property
    def causes(self) -> dict[str, int]:
        """How many differences each cause explains; one may have two."""
        counts = Counter(cause for d in self.differences for cause in d.causes)
        return dict(counts.most_common())

    def failures(self) -> list[str]:
        """Why the live replay does not pass, one line each; empty when it does."""
        if not self.offline_masks:
            return ["the offline replay makes no mask of this bag, so there is nothing to compare"]
        found = []
        why = ", ".join(f"{cause} {count}" for cause, count in self.causes.items()) or "no counter"
        total = self.offline_masks
        if self.coverage < FLOOR:
            busy = any("superseded" in cause for cause in self.causes)
            remedy = "; the engine is too slow for the bag, play it slower: rate:=0.2" * busy
            found.append(
                f"{total - self.covered} of {total} masks of the offline replay are missing live "
                f"({why}), {1 - FLOOR:.0%} may be{remedy}"
            )
        elif self.agreement < FLOOR:
            found.append(
                f"{self.covered - self.same} of {total} masks are by another network live "
                f"({why}), {1 - FLOOR:.0%} may be"
            )
        if self.unexplained:
            found.append(
                f"{self.unexplained} of {len(self.differences)} differences are explained by no "
                "counter of the node"
            )
        return found


@dataclass
class Evidence:
    """What explains differences. Each piece explains one frame and is used up by that."""

    #: In the order of time.
    events: list[Event]
    #: Named losses whose time is not known, such as ``rgb_lost``, and how many there were.
    budgets: dict[str, int] = field(default_factory=dict)

    def event(self, counters: Collection[str], live: bool, t_ns: int) -> str | None:
        """The first event of any of these counters that a frame of ``t_ns`` may have caused.

        By time and not by counter: differences ask in the order of time, so each finds its own.
        """
        for event in self.events:
            near = t_ns - JITTER_NS <= event.to_ns and event.from_ns <= t_ns + REACH_NS
            if event.counter in counters and event.live is live and near:
                self.events.remove(event)
                return str(event)
        return None

    def budget(self, name: str) -> str | None:
        """One of a named kind of losses."""
        if self.budgets.get(name, 0) <= 0:
            return None
        self.budgets[name] -= 1
        return name


def compare(
    offline: Iterable[Decision],
    live: Mapping[int, NetworkName],
    arrivals: Mapping[FrameId, int],
    evidence: Evidence,
) -> Agreement:
    """Compare two replays of the same bag and faults.

    Args:
        offline: the offline replay's masks.
        live: stamp to network of the node's masks.
        arrivals: every frame of the bag and its receive time, nanoseconds.
        evidence: what explains differences; it is used up.
    """
    expected = {decision.stamp_ns: decision for decision in offline}
    seen = {s: _seen(s, network, expected, arrivals) for s, network in live.items()}
    covered = [stamp for stamp in expected if stamp in seen]
    same = [stamp for stamp in covered if expected[stamp].network == seen[stamp].network]
    different = sorted((expected.keys() | seen.keys()) - set(same))
    explain = _Explanation(expected, seen, arrivals, evidence)
    own: dict[int, list[str] | None] = {stamp: explain.frames(stamp) for stamp in different}
    for stamp in different:
        if own[stamp] == []:
            own[stamp] = explain.other_half(stamp, own)
    differences = tuple(
        Difference(
            stamp,
            expected[stamp].network if stamp in expected else None,
            live.get(stamp),
            tuple(dict.fromkeys(own[stamp] or ())),
        )
        for stamp in different
    )
    return Agreement(len(expected), len(seen), len(covered), len(same), differences)


def _seen(
    stamp: int,
    network: NetworkName,
    expected: Mapping[int, Decision],
    arrivals: Mapping[FrameId, int],
) -> Decision:
    """A live mask with the frames that must be in it: its header names but one of them."""
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
    """Finds what explains a difference, frame by frame. Arguments as of :func:`compare`."""

    def __init__(
        self,
        expected: Mapping[int, Decision],
        seen: Mapping[int, Decision],
        arrivals: Mapping[FrameId, int],
        evidence: Evidence,
    ) -> None:
        self._expected, self._seen = expected, seen
        self._arrivals, self._evidence = arrivals, evidence
        #: Each frame in a mask to the stamp of that mask.
        self._used_offline = {f: d.stamp_ns for d in expected.values() for f in d.frames}
        self._used_live = {f: d.stamp_ns for d in seen.values() for f in d.frames}

    def frames(self, stamp: int) -> list[str] | None:
        """A cause for each frame that serves in one replay and not in the other.

        Empty when there is no such frame; None when one of them has no cause.
        """
        decision, mask = self._expected.get(stamp), self._seen.get(stamp)
        missing = sorted((decision.frames if decision else frozenset()) - self._used_live.keys())
        extra = sorted((mask.frames if mask else frozenset()) - self._used_offline.keys())
        # The instant may have its mask under the stamp of its other frame.
        served = mask is not None or len(missing) < len(decision.frames if decision else ())
        found = [self._kept_out(frame, served) for frame in missing]
        found += [self._let_in(frame) for frame in extra]
        if None in found and mask is None:
            found = [self._evidence.budget("mask_not_recorded")]
        return None if None in found else [cause for cause in found if cause]

    def other_half(self, stamp: int, own: Mapping[int, list[str] | None]) -> list[str]:
        """Causes of a difference all of whose frames serve in both replays, in other masks."""
        frames = (self._expected.get(stamp) or self._seen[stamp]).frames
        for used in (self._used_offline, self._used_live):
            for frame in sorted(frames):
                if causes := own.get(used.get(frame, stamp)):
                    return causes
        t_ns = max(self._arrivals.get(frame, frame[1]) for frame in frames)
        cause = self._evidence.event(["partner_missed"], True, t_ns)
        return [cause] if cause else []

    def _kept_out(self, frame: FrameId, partner_served: bool) -> str | None:
        """Why a frame that serves offline does not serve live."""
        stream, evidence, t_ns = frame[0], self._evidence, self._arrivals.get(frame, frame[1])
        return (
            evidence.event(self._fates(stream), True, t_ns)
            or evidence.budget(f"{stream}_lost")
            or evidence.budget(f"{stream}_pending")
            or (evidence.event(["partner_missed"], True, t_ns) if partner_served else None)
            or evidence.event(["engine_errors"], True, t_ns)
        )

    def _let_in(self, frame: FrameId) -> str | None:
        """Why a frame that serves live does not serve offline."""
        t_ns = self._arrivals.get(frame, frame[1])
        return self._evidence.event(self._fates(frame[0]), False, t_ns)

    def _fates(self, stream: Stream) -> set[str]:
        unusable = {event.counter for event in self._evidence.events}
        unusable = {name for name in unusable if name.startswith(f"{stream}_unusable_")}
        return {f"{stream}_{fate}" for fate in KEEPS_OUT} | unusable


def events(offline: History, live: History) -> list[Event]:
    """Where each counter went on in one replay and not in the other, in order of time.

    Both count the same frames, but live a little earlier or later. So at each look at the live
    node the true surplus lies between two bounds, by what the offline replay has counted a moment
    before and after; an event is a move of the surplus that these bounds force.
    """
    found = []
    for counter, samples in live.items():
        steps = offline.get(counter, ())
        surplus, last_ns = 0, samples[0][0] if samples else 0
        for t_ns, count in samples:
            low = count - _value(steps, t_ns + JITTER_NS)
            high = count - _value(steps, t_ns - JITTER_NS)
            if surplus < low:
                found += [Event(counter, True, last_ns, t_ns)] * (low - surplus)
                surplus = low
            elif surplus > high:
                # It was forced only now that the offline replay is so far ahead.
                early_ns = last_ns - 2 * JITTER_NS
                found += [Event(counter, False, early_ns, t_ns)] * (surplus - high)
                surplus = high
            last_ns = t_ns
    return sorted(found, key=lambda event: event.to_ns)


def _value(steps: Sequence[tuple[int, int]], t_ns: int) -> int:
    index = bisect.bisect_right(steps, t_ns, key=lambda step: step[0])
    return steps[index - 1][1] if index else 0


def counters_of(core: Core) -> dict[str, int]:
    """The core's counters by the names they have in the node's diagnostics."""
    counters = core.counters
    values = {"partner_missed": counters.partner_missed}
    for stream in STREAMS:
        values[f"{stream}_offered"] = counters.offered[stream]
        fates = counters.fates[stream]
        values |= {f"{stream}_{fate}": fates[fate] for fate in KEEPS_OUT}
        values |= {f"{stream}_unusable_{why}": n for why, n in counters.unusable[stream].items()}
    return values


def add_to_history(
    history: dict[str, list[tuple[int, int]]], t_ns: int, values: Mapping[str, int]
) -> None:
    """Note the counters that changed."""
    for counter, value in values.items():
        steps = history.setdefault(counter, [])
        if not steps or steps[-1][1] != value:
            steps.append((t_ns, value))
