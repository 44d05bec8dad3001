# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The oracle: checks the five guarantees after every call of the core.

Guarantee 3 ("jobs keep coming") is checked with *claims*: a usable frame that may make a job has a
claim if its stamp is more than ``patience`` later than the last job's. A job must then follow
within ``wait`` of the frame's arrival.

| the frame's stream | patience (in stamps) | wait (in time) |
|---|---|---|
| is used alone | skew, at least 20 ms | 0 |
| STARTING | same | max_wait |
| is fused, periods not yet known | same | max_wait |
| is fused and is the primary | slower period + skew | max_wait |
| is fused and is not the primary | slower + faster period + skew | max_wait |
| is raw depth, and no other stream can be used | 0 | 0 |

Patience is at least one skew, because a frame within it belongs to the last job's instant. The
primary (color, or depth if only depth has its own network) sets the pace. The other stream
produces no mask between two of its frames, hence the extra period; until the periods are known,
it produces none if a later frame of the primary has arrived.

A claim ends without a job

- when its stream is lost, because then the frames of the other stream have claims without a wait;
- when the periods become known, because then it is known which frames have no partner;
- when a period turns out to be longer, so that the frame is within patience (a later one claims);
- when the user forces a network.

No frame of a lost stream creates a job, so the states are checked too. A lost stream must be
OK at its first usable frame, unless another stream that can be used had a usable frame within the
last two of its periods (250 ms while unknown). This bounds how long usable frames may go unused:
a partner that has just stopped is still OK until its timeout. Misaligned depth and raw depth
are used once color is lost; for them, the bound is color's timeout.
"""

from __future__ import annotations

import copy
from collections import deque
from dataclasses import dataclass, replace
from typing import Any

from rigs.fallback.expected_health import ExpectedHealth
from rigs.fallback.scenario import MS, Message, S, Scenario

from rgbd_seg_ros.fallback import Core, CoreConfig, Job, Mode, State
from rgbd_seg_ros.frames import STREAMS, Frame, Stream

PAIRED: tuple[Stream, ...] = ("rgb", "depth")
SINGLE_NETWORK = {"rgb": "rgb", "depth": "depth", "depth_raw": "depth"}
NETWORK_OF = {
    ("rgb", "depth"): "rgbd", ("rgb",): "rgb", ("depth",): "depth", ("depth_raw",): "depth"
}  # fmt: skip
#: More than the total capacity of all bounded memories of the core.
MAX_REMEMBERED = 1240


@dataclass(eq=False)
class Record:
    """A usable frame that was offered."""

    stream: Stream
    frame: Frame
    arrival: int
    #: Its stream was OK, so it may be used in a job.
    serves: bool
    used: bool = False


@dataclass
class Claim:
    """A frame's claim to a job; see the module's docstring."""

    stream: Stream
    stamp: int
    #: Time by which the job must exist.
    due: int
    #: It waits while the periods are unknown.
    while_unknown: bool = False


class Oracle:
    """Checks every call of the core; raises AssertionError at the first broken guarantee."""

    def __init__(self, core: Core, scenario: Scenario) -> None:
        self.core = core
        self.scenario = scenario
        self.config = CoreConfig(**scenario.config)
        self.networks = set(scenario.networks)
        #: Features that this scenario exercised, for the coverage assertions.
        self.features: set[str] = set()
        #: The job that waits for the engine.
        self.pending: Job | None = None
        #: The clock or the process has just jumped, so frames may have waited too long.
        self.irregular = False
        self.jobs: list[tuple[int, Job]] = []
        self.offered = dict.fromkeys(STREAMS, 0)
        self.unusable: dict[Stream, dict[str, int]] = {stream: {} for stream in STREAMS}
        self.used = dict.fromkeys(STREAMS, 0)
        self.disabled = dict.fromkeys(STREAMS, 0)
        self._enabled = True
        self._late = round(scenario.tick_late_ms * MS)
        self._now = 0
        self._deadline: int | None = None
        self._clear()

    def _clear(self) -> None:
        self.health = {s: ExpectedHealth(self.config) for s in STREAMS}
        self.records: dict[int, Record] = {}
        self.newest: dict[Stream, Frame] = {}
        #: The frame_ids of the last three usable frames, and the one that counts.
        self.recent_ids: dict[Stream, deque[str]] = {s: deque(maxlen=3) for s in STREAMS}
        self.frame_id: dict[Stream, str] = {}
        #: Depth is aligned to color, as far as is known.
        self.aligned = True
        self.last_stamp: int | None = None
        #: Stamp after which there has been no job: the last job's, or the first after a change.
        self._since: int | None = -(10**18)
        self._started: int | None = None
        #: STARTING is over: a job was decided, or the grace has passed.
        self._running = False
        self._claim: Claim | None = None
        #: Networks of the last 30 jobs since both streams serve.
        self._made_by: deque[str] = deque(maxlen=30)
        #: Most of them are not, so the mode must not be RGBD.
        self._mostly_alone = False
        self.pending = None
        self._cleared = True

    # --- Before and after each call ------------------------------------------------------------

    def before(self, now: int) -> None:
        """A call other than an action follows; work out whether it must clear all state."""
        self._cleared = False
        if now <= 0:
            return
        step = round(self.config.clock_step_s * S)
        ahead = max(self._now, self._deadline or now)
        if self._now and (now < self._now - step or now > ahead + step):
            self.features.add("clock step")
            self._remember_counters()
            self._clear()
            self._now = now
        self._now = max(now, self._now)

    def after_offer(self, message: Message, now: int) -> None:
        """Called after a message was offered."""
        stream = message.stream
        self.offered[stream] += 1
        if not self._enabled:
            self.disabled[stream] += 1
        elif now > 0:
            self._observe(stream, message)
        self._check(now)

    def after_tick(self, deadline: int, now: int) -> None:
        """Called after a tick."""
        late = self._now - deadline > self.config.late_tick_ms * MS
        if not self._cleared:
            for health in self.health.values():
                health.tick(self._now, late=late)
        self._check(now)

    def after_next_job(self, job: Job | None, now: int) -> None:
        """Called after the engine has asked for a job."""
        if job is not None:
            assert job is self.pending, "a job that was not waiting"
            assert self._now - job.stamp_ns <= self.config.max_age_s * S, "a stale job"
            for record in self._records_of(job):
                self.used[record.stream] += 1
            stopped = any(
                not self.health[s].dependable(self._now)
                and self.health[s].silence_deadline is not None
                and self.health[s].timeout <= 5 * S
                for s in PAIRED
            )
            if self.fusing and not stopped:
                self._count_fused(job)
        assert self.core._work.waiting is None
        if self.pending is not None or self._cleared:  # else nothing has changed
            self.pending = None
            self._check(now, decides=False)

    def before_action(self) -> None:
        """Called before a user action."""
        self._remember_counters()

    def after_action(self, action: str, now: int) -> None:
        """Called after a user action."""
        fate = {"reset": "reset", "disable": "disabled", "enable": "reset"}.get(action)
        if fate is not None:
            changed = action == "reset" or self._enabled != (action == "enable")
            self._enabled = {"disable": False, "enable": True}.get(action, self._enabled)
            if changed:
                self._check_cleared(fate)
                if fate == "disabled":
                    for s in STREAMS:
                        self.disabled[s] += self._pending_before[s]
                self._clear()
                self._now = now if action == "reset" else 0
        if action.startswith("force"):
            self.config = replace(self.config, force_network=action.split()[1])
        self._claim = self._since = None
        self._cleared = False
        self._check(now)

    def finish(self) -> None:
        """The scenario ended seconds after the last message, so every timeout has passed."""
        if self._enabled and self._started is not None:
            assert self.core.mode is Mode.NO_INPUT, f"{self.core.mode} long after the last message"
        self._check_steady()
        events = len(self.core.drain_mode_changes()), len(self.core.drain_warnings())
        assert max(events) <= 256, "events accumulate if they are not fetched"
        remembered = _size(self.core, set())
        assert remembered <= MAX_REMEMBERED, f"the core remembers {remembered} things"

    # --- Expected state ------------------------------------------------------------------------

    def allowed(self, network: str, stream: Stream) -> bool:
        """Whether this network may run on this stream."""
        if network not in self.networks:
            return False
        if self.config.force_network not in ("auto", network):
            return False
        return network not in self.scenario.need_intrinsics or self._has_intrinsics(stream)

    def _has_intrinsics(self, stream: Stream) -> bool:
        sources = PAIRED if stream != "depth_raw" and self.aligned else (stream,)
        return any(s in self.newest and self.newest[s].intrinsics for s in sources)

    def _is_aligned(self) -> bool:
        if self.config.assume_aligned or not set(PAIRED) <= self.newest.keys():
            return True
        rgb, depth = self.newest["rgb"], self.newest["depth"]
        if rgb.size[0] * depth.size[1] != rgb.size[1] * depth.size[0]:
            return False
        same = self.frame_id["rgb"] == self.frame_id["depth"]
        return same or bool(rgb.intrinsics and depth.intrinsics)

    def ok(self, stream: Stream) -> bool:
        """Whether this stream is OK."""
        return self.health[stream].state is State.OK

    @property
    def fusing(self) -> bool:
        """Whether color and depth are to be fused."""
        return self.ok("rgb") and self.ok("depth") and self.aligned and self.allowed("rgbd", "rgb")

    def serves_alone(self, stream: Stream) -> bool:
        """Whether frames of this stream create jobs without a partner."""
        if not self.ok(stream) or not self.allowed(SINGLE_NETWORK[stream], stream):
            return False
        if stream == "rgb":
            return True
        better: tuple[Stream, ...] = ("rgb",) if stream == "depth" else PAIRED
        return not self.fusing and not any(self.serves_alone(s) for s in better)

    @property
    def primary(self) -> Stream:
        """The stream that sets the pace."""
        return "rgb" if self.allowed("rgb", "rgb") else "depth"

    @property
    def skew(self) -> int:
        """Largest stamp difference within an instant."""
        if self.config.max_skew_ms:
            return round(self.config.max_skew_ms * MS)
        known = self._known_periods
        return min(known) // 2 if known else 20 * MS

    @property
    def max_wait(self) -> int:
        """Longest time that a frame may wait for its partner."""
        return round(self.config.max_wait_ms * MS)

    @property
    def _known_periods(self) -> list[int]:
        periods = [self.health[s].period for s in PAIRED]
        return [p for p in periods if p is not None]

    @property
    def mode(self) -> Mode:
        """The mode that the states must lead to."""
        if not self._running:
            return Mode.STARTING
        if self.fusing:
            if not self._mostly_alone:
                return Mode.RGBD
            by_depth = self._made_by.count("depth") > self._made_by.count("rgb")
            return Mode.DEPTH_ONLY if by_depth else Mode.RGB_ONLY
        if self.serves_alone("rgb"):
            return Mode.RGB_ONLY
        if self.serves_alone("depth") or self.serves_alone("depth_raw"):
            return Mode.DEPTH_ONLY
        return Mode.NO_INPUT

    def _observe(self, stream: Stream, message: Message) -> None:
        if self._started is None:
            self._started = self._now
        health = self.health[stream]
        if health.losses > 1:
            self.features.add("flapping")
        if all(self.health[s].state is State.LOST for s in PAIRED):
            self.features.add("both lost")
        if health.is_copy(message):
            self._count_unusable(stream, "repeated_stamp")
            return
        health.arrives(self._now)
        reason = health.judge(message, self._now)
        alone = not any(
            self.health[s].dependable(self._now) and self.allowed(SINGLE_NETWORK[s], s)
            for s in STREAMS
            if s != stream
        )
        state = health.message(reason, self._now, alone=alone)
        if reason is not None:
            self._count_unusable(stream, reason)
            return
        assert isinstance(message.item, Frame)
        self.newest[stream] = message.item
        recent = self.recent_ids[stream]
        recent.append(message.item.frame_id)
        if stream not in self.frame_id or (len(recent) == 3 and len(set(recent)) == 1):
            self.frame_id[stream] = recent[-1]
        self.aligned = self._is_aligned()
        record = Record(stream, message.item, self._now, state is State.OK)
        self.records[id(message.item)] = record
        if record.serves:
            self._update_claim(record)

    def _count_fused(self, job: Job) -> None:
        """Below 40 % of 30 jobs the mode may no longer be RGBD, above 60 % it must be again."""
        self._made_by.append(job.network)
        if len(self._made_by) == 30:
            share = self._made_by.count("rgbd") / 30
            self._mostly_alone = share < (0.6 if self._mostly_alone else 0.4)
            if self._mostly_alone:
                self.features.add("mostly alone")

    def _count_unusable(self, stream: Stream, reason: str) -> None:
        reasons = self.unusable[stream]
        reasons[reason] = reasons.get(reason, 0) + 1

    # --- Guarantee 3: jobs keep coming ---------------------------------------------------------

    def _update_claim(self, record: Record) -> None:
        """Give this frame a claim if it qualifies, and end the claim that it contradicts."""
        stream, stamp, primary = record.stream, record.frame.stamp_ns, self.primary
        if stream == "depth_raw":
            if self._running and self.serves_alone(stream) and stamp > (self.last_stamp or 0):
                self._claim = Claim(stream, stamp, self._now)
            return
        if self._claim and self._claim.while_unknown and stream == primary != self._claim.stream:
            self._claim = None  # it waited for a frame of the primary, and here it is
        known = self._known_periods
        if not (self.fusing or self.serves_alone(stream)):
            return
        if not self.allowed(SINGLE_NETWORK[stream], stream):
            return  # it creates no job without a partner
        if (
            self.fusing
            and len(known) < 2
            and stream != primary
            and primary in self.newest
            and self.newest[primary].stamp_ns > stamp + self.skew
        ):
            return  # the primary delivers at a rate not yet known, so no mask between its frames
        if self._since is None:
            # After a change by the user: earlier frames were dropped under the old rule.
            self._since = max(f.stamp_ns for f in self.newest.values())
        if stamp - self._since > self._patience(stream):
            waits = self.fusing or not self._running
            claim = Claim(stream, stamp, self._now + (self.max_wait if waits else 0))
            if self._claim is not None and self._claim.due <= claim.due:
                claim = replace(self._claim, stream=stream)
            claim.while_unknown = waits and (not self._running or len(known) < 2)
            self._claim = claim

    def _patience(self, stream: Stream) -> int:
        """How much later than the last job's stamp a frame's stamp must be for a claim."""
        patience, known = max(self.skew, 20 * MS), self._known_periods
        if not (self.fusing and len(known) == 2):
            return patience
        own = 0 if stream == self.primary else min(known)
        return max(patience, max(known) + self.skew) + own

    def _drop_claim(self) -> None:
        """End the claim if its reason no longer holds."""
        claim = self._claim
        if claim is None:
            return
        within_patience = (
            claim.stream != "depth_raw"
            and self._since is not None
            and claim.stamp - self._since <= self._patience(claim.stream)
        )
        if (
            not (self.fusing or self.serves_alone(claim.stream))
            or (claim.while_unknown and self._running and len(self._known_periods) == 2)
            or within_patience
        ):
            self._claim = None

    # --- Checks --------------------------------------------------------------------------------

    def _check(self, now: int, *, decides: bool = True) -> None:
        """Check what must hold after every call; ``decides``: the call decides jobs."""
        core = self.core
        if self._cleared and now > 0:
            self._check_cleared("reset")
        waiting = core._work.waiting
        job = None if waiting is None else waiting.job
        if job is not None and job is not self.pending:
            self._check_job(job)
            self.pending = job
            self._running = True
            self._claim = None
        grace = round(self.config.start_grace_s * S)
        if decides and self._started is not None and self._now >= self._started + grace:
            self._running = True
        if not self.fusing:
            self._made_by.clear()
            self._mostly_alone = False
        for s in STREAMS:
            assert core.health[s].state is self.health[s].state, (
                f"{s} is {core.health[s].state}, should be {self.health[s].state}"
            )
        assert core.mode is self.mode, f"mode {core.mode}, should be {self.mode}"
        self._check_accounting()
        self._drop_claim()
        self._deadline = core.next_deadline(self._now) if self._enabled else None
        self._check_deadline()
        if self._claim is not None:
            assert self._now <= self._claim.due + self._late, "no job although usable frames come"

    def _remember_counters(self) -> None:
        self._pending_before = {s: self.core.counters.pending(s) for s in STREAMS}
        self._fates_before = copy.deepcopy(self.core.counters.fates)

    def _check_cleared(self, fate: str) -> None:
        """Check that everything that was pending has ended as ``fate``."""
        for s in STREAMS:
            grown = self.core.counters.fates[s][fate] - self._fates_before[s][fate]
            assert grown == self._pending_before[s], f"pending {s} did not end as {fate}"

    def _check_deadline(self) -> None:
        """Check that the core's deadline is early enough."""
        if not self._enabled:
            return
        due = [health.silence_deadline for health in self.health.values()]
        if not self._running and self._started is not None:
            due.append(self._started + round(self.config.start_grace_s * S))
        due.append(self._claim.due if self._claim else None)
        latest = min((d for d in due if d is not None), default=None)
        if latest is not None:
            assert self._deadline is not None, "the core has no deadline"
            assert self._deadline <= max(latest, self._now), "the core's deadline is too late"

    def _check_accounting(self) -> None:
        """Guarantee 1."""
        counters = self.core.counters
        held = {s: len(self._held(s)) for s in STREAMS}
        if self.core._work.waiting is not None:
            for record in self._records_of(self.core._work.waiting.job):
                held[record.stream] += 1
        for s in STREAMS:
            ended = sum(counters.fates[s].values()) + sum(counters.unusable[s].values())
            assert counters.offered[s] == self.offered[s]
            assert self.offered[s] == ended + held[s], (
                f"{s}: {self.offered[s]} ≠ {ended}+{held[s]}"
            )
            assert counters.unusable[s] == self.unusable[s], f"{s}: {counters.unusable[s]}"
            assert counters.fates[s]["used"] == self.used[s], f"used {s}"
            assert counters.fates[s]["disabled"] == self.disabled[s], f"disabled {s}"

    def _records_of(self, job: Job) -> list[Record]:
        return [self.records[id(f)] for f in (job.rgb, job.depth) if f is not None]

    def _check_job(self, job: Job) -> None:
        """Guarantees 2 and 4 for a job that was just decided."""
        assert self._enabled, "a job while disabled"
        for frame in (job.rgb, job.depth):
            assert frame is None or id(frame) in self.records, "a frame that is not usable now"
        records = self._records_of(job)
        assert records, "a job without frames"
        for record in records:
            assert not record.used, "a frame is used twice"
            record.used = True
            assert record.serves, "a frame of a lost stream"
        assert self.last_stamp is None or job.stamp_ns > self.last_stamp, "stamps do not increase"
        streams = tuple(record.stream for record in records)
        head = records[0].frame
        assert job.network == NETWORK_OF[streams]
        assert job.raw == (streams == ("depth_raw",))
        assert self.allowed(job.network, streams[0]), f"{job.network} may not be used"
        assert (job.stamp_ns, job.frame_id) == (head.stamp_ns, head.frame_id)
        assert job.mode is self.core.mode
        assert job.network not in self.scenario.need_intrinsics or job.intrinsics is not None
        size = head.size
        if streams == ("depth",) and "rgb" in self.newest and self.aligned:
            size = self.newest["rgb"].size
        assert job.size == size, f"a mask of {job.size}, not {size}"
        if job.rgb is not None and job.depth is not None:
            assert self.fusing, "fused although a stream is not back, or depth is not aligned"
            self._check_partners(job.rgb, job.depth)
        elif self.fusing and not job.raw:
            self._check_no_partner(records[0])
        else:
            assert self.serves_alone(streams[0]) or not self._running, "another stream serves"
        waited = self._now - max(record.arrival for record in records)
        assert waited <= self.max_wait + self._late or self.irregular, f"waited {waited / MS} ms"
        self.last_stamp = self._since = job.stamp_ns
        self.jobs.append((self._now, job))

    def _held(self, stream: Stream) -> list[Frame]:
        """Frames that the core holds for pairing. It has no public view of them."""
        held = self.core._pairer._held
        return [] if stream == "depth_raw" else [frame for frame, _ in held[stream]]

    def _nearer_held(self, stream: Stream, stamp: int, apart: int) -> bool:
        """Whether a held frame of ``stream`` is nearer to ``stamp`` than ``apart``."""
        return any(abs(frame.stamp_ns - stamp) < apart for frame in self._held(stream))

    def _check_partners(self, rgb: Frame, depth: Frame) -> None:
        """Check that two fused frames belong together and that neither has a better partner."""
        apart = abs(rgb.stamp_ns - depth.stamp_ns)
        assert apart <= self.skew, f"frames {apart / MS} ms apart"
        assert not self._nearer_held("depth", rgb.stamp_ns, apart), "a nearer depth frame is held"
        assert not self._nearer_held("rgb", depth.stamp_ns, apart), "a nearer color frame is held"

    def _check_no_partner(self, record: Record) -> None:
        """Check that a frame used alone could not be fused with any held frame."""
        for other in self._held("depth" if record.stream == "rgb" else "rgb"):
            apart = abs(other.stamp_ns - record.frame.stamp_ns)
            nearer = self._nearer_held(record.stream, other.stamp_ns, apart)
            assert apart > self.skew or nearer, "used alone although its partner has arrived"

    def _check_steady(self) -> None:
        """Check that two healthy, aligned streams stay fused while their lag grows slowly."""
        scenario, config = self.scenario, self.config
        rgb, depth = scenario.sensors.get("rgb"), scenario.sensors.get("depth")
        undisturbed = not (
            scenario.faults or scenario.steps or scenario.pauses or scenario.stalls
            or scenario.actions or scenario.zero_s
        )  # fmt: skip
        if not undisturbed or rgb is None or depth is None or not self.jobs:
            return
        lag_ms = max(
            abs(a.lag_ms + a.lag_growth_ms * t - b.lag_ms - b.lag_growth_ms * t) + a.lag_jitter_ms
            for a, b in ((rgb, depth), (depth, rgb))
            for t in (0, scenario.duration_s)
        ) + max(rgb.lag_jump_ms, depth.lag_jump_ms)
        # The learned wait is two frames behind, its margin is 5 ms, and lags jitter.
        growth_ms = abs(rgb.lag_growth_ms - depth.lag_growth_ms) / rgb.rate_hz
        apart = abs(rgb.phase - depth.phase) + max(rgb.jitter, depth.jitter)
        apart_ms = apart * 1000 / rgb.rate_hz
        steady = (
            rgb.rate_hz == depth.rate_hz
            and apart <= 0.3
            and (not config.max_skew_ms or config.max_skew_ms >= apart_ms + 1)
            and lag_ms <= 80
            and config.max_wait_ms >= lag_ms + 5
            and growth_ms <= 1.25
            and scenario.duration_s >= 2.5
            and self.aligned
            and self.allowed("rgbd", "rgb")
        )
        if not steady:
            return
        self.features.add("steady")
        end = max(job.stamp_ns for _, job in self.jobs)
        last = [job for _, job in self.jobs if job.stamp_ns > end - S]
        fused = sum(job.network == "rgbd" for job in last)
        # If the lag jitters and grows, the wait learned from earlier lags may miss a few frames.
        assert fused >= 0.6 * len(last), f"{fused} of the last {len(last)} jobs are fused"


def _size(thing: Any, seen: set[int]) -> int:
    """Number of objects that ``thing`` refers to; arrays and frames count as one."""
    if id(thing) in seen:
        return 0
    seen.add(id(thing))
    if isinstance(thing, dict):
        return sum(1 + _size(value, seen) for value in thing.values())
    if isinstance(thing, (str, bytes, Frame)) or type(thing).__module__ == "numpy":
        return 0
    if hasattr(thing, "__dict__"):
        return _size(vars(thing), seen)
    if hasattr(thing, "__iter__") and hasattr(thing, "__len__"):
        return sum(1 + _size(value, seen) for value in thing)
    return 0
