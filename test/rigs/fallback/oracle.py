# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The five guarantees, checked at every call of the core by a witness that knows the truth.

Guarantee 3 ("jobs keep coming") is checked as: whenever a usable frame *may make a job* arrives
and its stamp is at least ``patience`` newer than the last job's, a job follows within ``wait``.

| situation of the frame's stream | patience (in stamps) | wait (in time) |
|---|---|---|
| it alone serves | skew, at least 20 ms | 0 |
| STARTING | the same | max_wait |
| both fuse, periods not known yet | the same | max_wait |
| both fuse, it is the primary | slower period + skew | max_wait |
| both fuse, it is not | slower + faster period + skew | max_wait |
| raw depth, nothing else serves | 0 | 0 |

Patience is never below one skew, because a frame within it belongs to the last job's instant. The
primary (color, or depth where only depth has a network of its own) sets the pace; the other
stream makes no mask between two of its frames, hence one period more, and while the periods are
not known it makes none if a later frame of the primary is here already.

What frees the core of a claim: the stream is lost (the other one's frames then have claims of
their own, without wait); the periods get known (then it is known which frames have no partner);
a period is found to be longer, so that the frame was within patience after all (the next one that
is not has a claim of its own); the user forces a network.

A frame makes no job while its stream is lost, so the states are checked too: a lost stream must
be OK at its first usable frame unless another one that can serve has had a usable frame within
two of its periods (250 ms while they are not known). That is how long the robot may be blind on
good frames: a partner that has just gone is OK in name until it is overdue. Depth that is not
registered, and raw depth, serve once color is lost, so there the bound is color's time-out.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from rigs.fallback.expected_health import StreamTruth
from rigs.fallback.scenario import MS, Message, Plan, S

from rgbd_seg_ros.fallback import Core, CoreConfig, Job, Mode, State
from rgbd_seg_ros.frames import Frame, Stream

STREAMS: tuple[Stream, ...] = ("rgb", "depth", "depth_raw")
ALONE = {"rgb": "rgb", "depth": "depth", "depth_raw": "depth"}
#: More than all bounded memories of the core together hold.
MAX_REMEMBERED = 600


@dataclass(eq=False)
class Record:
    """What became of one offered frame."""

    stream: Stream
    frame: Frame
    arrival: int
    usable: bool
    #: Its stream was OK, so it may make a job.
    serves: bool
    used: bool = False


class Oracle:
    """Looks on; raises AssertionError at the first broken promise."""

    def __init__(self, core: Core, plan: Plan) -> None:
        self.core = core
        self.plan = plan
        self.config = CoreConfig(**plan.config)
        self.networks = set(plan.networks)
        self.features: set[str] = set()
        #: The job waiting for the engine.
        self.pending: Job | None = None
        #: The clock or the process jumped just now: waits may have run over.
        self.irregular = False
        self.jobs: list[tuple[int, Job]] = []
        self.offered = dict.fromkeys(STREAMS, 0)
        self.unusable: dict[Stream, dict[str, int]] = {stream: {} for stream in STREAMS}
        self.used = dict.fromkeys(STREAMS, 0)
        self.disabled = dict.fromkeys(STREAMS, 0)
        self._enabled = True
        self._late = round(plan.tick_late_ms * MS)
        self._now = 0
        self._deadline: int | None = None
        self._cleared = False
        self._clear()

    def _clear(self) -> None:
        self.streams = {s: StreamTruth(self.config) for s in STREAMS}
        self.records: dict[int, Record] = {}
        self.newest: dict[Stream, Frame] = {}
        #: Is depth registered to color, as far as is known?
        self.aligned = True
        self.last_stamp: int | None = None
        #: Stamp since which no job has come: the last job's, or the first after a change.
        self._since: int | None = -(10**18)
        self._started: int | None = None
        self._running = False  # a job was decided, or the grace is over
        self._owed: int | None = None
        self._owed_while_unknown = False
        self._owed_stream: Stream = "rgb"
        self._owed_stamp = 0
        self.pending = None
        self._cleared = True

    # --- Before and after each call ------------------------------------------------------------

    def before(self, now: int) -> None:
        """Work out whether this call must clear all state, and let effective time pass."""
        self._cleared = False
        if now <= 0:
            return
        step = round(self.config.clock_step_s * S)
        ahead = max(self._now, self._deadline or now)
        if self._now and (now < self._now - step or now > ahead + step):
            self.features.add("clock step")
            self._pending_before = {s: self.core.counters.pending(s) for s in STREAMS}
            self._reset_before = {s: self.core.counters.fates[s]["reset"] for s in STREAMS}
            self._clear()
            self._now = now
        self._now = max(now, self._now)

    def after_offer(self, message: Message, now: int) -> None:
        """One message was offered."""
        stream = message.stream
        self.offered[stream] += 1
        if not self._enabled:
            self.disabled[stream] += 1
        elif now > 0:
            self._observe(stream, message)
        self._check(now)

    def after_tick(self, deadline: int, now: int) -> None:
        """Time passed."""
        late = self._now - deadline > self.config.late_tick_ms * MS
        if not self._cleared:
            for truth in self.streams.values():
                truth.tick(self._now, late=late)
        self._check(now)

    def after_next_job(self, job: Job | None, now: int) -> None:
        """The engine asked for work."""
        if job is not None:
            assert job is self.pending, "a job that was not waiting"
            assert self._now - job.stamp_ns <= self.config.max_age_s * S, "a stale job"
            for record in self._records_of(job):
                self.used[record.stream] += 1
        assert self.core._job is None
        if self.pending is not None or self._cleared:  # else nothing has changed
            self.pending = None
            self._check(now, settled=False)

    def before_action(self, action: str, now: int) -> None:
        """The user is about to do something."""
        self._pending_before = {s: self.core.counters.pending(s) for s in STREAMS}
        self._fate_before = {
            fate: {s: self.core.counters.fates[s][fate] for s in STREAMS}
            for fate in ("reset", "disabled")
        }

    def after_action(self, action: str, now: int) -> None:
        """The user did something."""
        fate = {"reset": "reset", "disable": "disabled", "enable": "reset"}.get(action)
        if fate is not None:
            changed = action == "reset" or self._enabled != (action == "enable")
            self._enabled = {"disable": False, "enable": True}.get(action, self._enabled)
            if changed:
                for s in STREAMS:
                    grown = self.core.counters.fates[s][fate] - self._fate_before[fate][s]
                    assert grown == self._pending_before[s], f"pending {s} did not end as {fate}"
                    if fate == "disabled":
                        self.disabled[s] += grown
                self._clear()
                self._now = now if action == "reset" else 0
        if action.startswith("force"):
            self.config = replace(self.config, force_network=action.split()[1])
        self._owed = self._since = None
        self._cleared = False
        self._check(now)

    def finish(self, now: int) -> None:
        """The schedule is over, seconds after the last message: every time-out has come."""
        if self._enabled and self._started is not None:
            assert self.core.mode is Mode.NO_INPUT, f"{self.core.mode} long after the last message"
        self._check_steady()
        events = len(self.core.drain_mode_changes()), len(self.core.drain_warnings())
        assert max(events) <= 256, "events that nobody fetches pile up"
        remembered = _size(self.core, set())
        assert remembered <= MAX_REMEMBERED, f"the core remembers {remembered} things"

    # --- Truth ---------------------------------------------------------------------------------

    def allowed(self, network: str, stream: Stream) -> bool:
        """May this network run on this stream?"""
        if network not in self.networks:
            return False
        if self.config.force_network not in ("auto", network):
            return False
        return network not in self.plan.need_intrinsics or self._intrinsics(stream)

    def _intrinsics(self, stream: Stream) -> bool:
        lenders = [stream]
        if stream != "depth_raw" and self.aligned:
            lenders = ["rgb", "depth"]
        return any(s in self.newest and self.newest[s].intrinsics for s in lenders)

    def _registered(self) -> bool:
        if self.config.assume_aligned or not {"rgb", "depth"} <= self.newest.keys():
            return True
        rgb, depth = self.newest["rgb"], self.newest["depth"]
        if rgb.size[0] * depth.size[1] != rgb.size[1] * depth.size[0]:
            return False
        named = rgb.frame_id == depth.frame_id
        return named or bool(rgb.intrinsics and depth.intrinsics)

    def ok(self, stream: Stream) -> bool:
        """Is this stream OK?"""
        return self.streams[stream].state is State.OK

    @property
    def fusing(self) -> bool:
        """Are both to be fused?"""
        return self.ok("rgb") and self.ok("depth") and self.aligned and self.allowed("rgbd", "rgb")

    def serves_alone(self, stream: Stream) -> bool:
        """Do frames of this stream make jobs without a partner?"""
        if not self.ok(stream) or not self.allowed(ALONE[stream], stream):
            return False
        if stream == "rgb":
            return True
        better: tuple[Stream, ...] = ("rgb",) if stream == "depth" else ("rgb", "depth")
        return not self.fusing and not any(self.serves_alone(s) for s in better)

    @property
    def skew(self) -> int:
        """Largest stamp difference within an instant."""
        if self.config.max_skew_ms:
            return round(self.config.max_skew_ms * MS)
        known = self._known_periods
        return min(known) // 2 if known else 20 * MS

    @property
    def _known_periods(self) -> list[int]:
        periods = [self.streams[s].period for s in ("rgb", "depth")]
        return [p for p in periods if p is not None]

    @property
    def mode(self) -> Mode:
        """The mode that the states must lead to."""
        if not self._running:
            return Mode.STARTING
        if self.fusing:
            return Mode.RGBD
        if self.serves_alone("rgb"):
            return Mode.RGB_ONLY
        if self.serves_alone("depth") or self.serves_alone("depth_raw"):
            return Mode.DEPTH_ONLY
        return Mode.NO_INPUT

    def _observe(self, stream: Stream, message: Message) -> None:
        if self._started is None:
            self._started = self._now
        truth = self.streams[stream]
        if truth.losses > 1:
            self.features.add("flapping")
        if all(self.streams[s].state is State.LOST for s in ("rgb", "depth")):
            self.features.add("both lost")
        truth.arrives(self._now)
        reason = truth.judge(message, self._now)
        others = [s for s in STREAMS if s != stream]
        alone = not any(
            self.streams[s].dependable(self._now) and self.allowed(ALONE[s], s) for s in others
        )
        state = truth.message(reason, self._now, alone=alone)
        item = message.item
        if reason is not None:
            reasons = self.unusable[stream]
            reasons[reason] = reasons.get(reason, 0) + 1
            return
        assert isinstance(item, Frame)
        self.newest[stream] = item
        self.aligned = self._registered()
        serves = state is State.OK
        record = Record(stream, item, self._now, True, serves)
        self.records[id(item)] = record
        if serves:
            self._owe(record)

    # --- Guarantee 3: jobs keep coming ---------------------------------------------------------

    def _owe(self, record: Record) -> None:
        """Does this frame entitle to a job, and by when?"""
        stream, stamp = record.stream, record.frame.stamp_ns
        if stream == "depth_raw":
            if self._running and self.serves_alone(stream) and stamp > (self.last_stamp or 0):
                self._owed, self._owed_stream = self._now, stream
            return
        primary = "rgb" if self.allowed("rgb", "rgb") else "depth"
        if stream == primary != self._owed_stream and self._owed_while_unknown:
            self._owed = None  # the other one waited for a frame of the primary; here it is
        known = self._known_periods
        if not (self.fusing or self.serves_alone(stream)):
            return
        if not self.allowed(ALONE[stream], stream):
            return  # it makes no job without a partner
        if (
            self.fusing
            and len(known) < 2
            and stream != primary
            and primary in self.newest
            and self.newest[primary].stamp_ns > stamp + self.skew
        ):
            return  # the primary delivers, at a rate not known yet: no mask between its own
        if self._since is None:
            # After the user's change; the frames before it were dropped under the old rule.
            self._since = max(f.stamp_ns for f in self.newest.values())
        if stamp - self._since > self._patience(stream):
            waits = self.fusing or not self._running
            owed = self._now + (round(self.config.max_wait_ms * MS) if waits else 0)
            if self._owed is None or owed < self._owed:
                self._owed, self._owed_stamp = owed, stamp
            self._owed_while_unknown = waits and (not self._running or len(known) < 2)
            self._owed_stream = stream

    def _patience(self, stream: Stream) -> int:
        """How much newer than the last job a frame must be to have a claim, in stamps."""
        patience, known = max(self.skew, 20 * MS), self._known_periods
        if not (self.fusing and len(known) == 2):
            return patience
        primary = "rgb" if self.allowed("rgb", "rgb") else "depth"
        own = 0 if stream == primary else min(known)
        return max(patience, max(known) + self.skew) + own

    # --- Checks --------------------------------------------------------------------------------

    def _check(self, now: int, *, settled: bool = True) -> None:
        """Everything that must hold after every call; ``settled`` if the call decides things."""
        core = self.core
        if self._cleared and now > 0:
            for s in STREAMS:
                grown = core.counters.fates[s]["reset"] - self._reset_before[s]
                assert grown == self._pending_before[s], "a clock step did not clear what waited"
        job = core._job
        if job is not None and job is not self.pending:
            self._check_job(job)
            self.pending = job
            self._running = True
            self._owed = None
        grace = round(self.config.start_grace_s * S)
        if settled and self._started is not None and self._now >= self._started + grace:
            self._running = True
        for s in STREAMS:
            assert core.health[s].state is self.streams[s].state, (
                f"{s} is {core.health[s].state}, should be {self.streams[s].state}"
            )
        assert core.mode is self.mode, f"mode {core.mode}, should be {self.mode}"
        self._check_accounting()
        if not (self.fusing or self.serves_alone(self._owed_stream)):
            self._owed = None  # what waits when its stream is lost is dropped; others have claims
        if self._owed_while_unknown and self._running and len(self._known_periods) == 2:
            self._owed = None  # now it is known which instants have no partner
        if self._owed is not None and self._owed_stream != "depth_raw" and self._since is not None:
            gap = self._owed_stamp - self._since
            if gap <= self._patience(self._owed_stream):
                self._owed = None  # a period is longer than it seemed
        self._deadline = core.next_deadline(self._now) if self._enabled else None
        self._check_deadline()
        if self._owed is not None and self._now > self._owed + self._late:
            raise AssertionError("no job although usable frames come")

    def _check_deadline(self) -> None:
        if not self._enabled:
            return
        due = [t.silence_deadline for t in self.streams.values()]
        if not self._running and self._started is not None:
            due.append(self._started + round(self.config.start_grace_s * S))
        due.append(self._owed)
        wanted = min((d for d in due if d is not None), default=None)
        if wanted is not None:
            assert self._deadline is not None, "nobody wakes the core"
            assert self._deadline <= max(wanted, self._now), "the core sleeps too long"

    def _check_accounting(self) -> None:
        counters = self.core.counters
        held = {**self.core._pairer.held, "depth_raw": 0}
        if self.core._job is not None:
            for record in self._records_of(self.core._job):
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
        """Guarantees 2 and 4 for a job just decided."""
        assert self._enabled, "a job while disabled"
        for frame in (job.rgb, job.depth):
            assert frame is None or id(frame) in self.records, "a frame that is not usable now"
        records = self._records_of(job)
        assert records, "a job of nothing"
        for record in records:
            assert not record.used, "a frame serves twice"
            record.used = True
            assert record.serves, "a frame of a lost stream"
        assert self.last_stamp is None or job.stamp_ns > self.last_stamp, "stamps do not increase"
        streams = [record.stream for record in records]
        wanted = {
            ("rgb", "depth"): "rgbd", ("rgb",): "rgb", ("depth",): "depth", ("depth_raw",): "depth"
        }  # fmt: skip
        assert job.network == wanted[tuple(streams)]
        assert job.raw == (streams == ["depth_raw"])
        assert self.allowed(job.network, streams[0]), f"{job.network} may not be used"
        head = records[0].frame
        assert (job.stamp_ns, job.frame_id) == (head.stamp_ns, head.frame_id)
        assert job.mode is self.core.mode
        assert job.network not in self.plan.need_intrinsics or job.intrinsics is not None
        size = head.size
        if streams == ["depth"] and "rgb" in self.newest and self.aligned:
            size = self.newest["rgb"].size
        assert job.size == size, f"a mask of {job.size}, not {size}"
        if job.network == "rgbd":
            assert self.fusing, "fused although a stream is not back, or not registered"
            skew = abs(job.rgb.stamp_ns - job.depth.stamp_ns)  # type: ignore[union-attr]
            assert skew <= self.skew, f"frames {skew / MS} ms apart"
            self._check_best(job)
        elif self.fusing and not job.raw:
            self._check_no_partner(records[0])
        else:
            assert self.serves_alone(streams[0]) or not self._running, "not this stream's turn"
        cap = round(self.config.max_wait_ms * MS)
        waited = self._now - max(record.arrival for record in records)
        assert waited <= cap + self._late or self.irregular, f"waited {waited / MS} ms"
        self.last_stamp = self._since = job.stamp_ns
        self.jobs.append((self._now, job))

    def _apart(self, stream: Stream, stamp: int) -> list[int]:
        """Stamp differences between this stamp and the frames of ``stream`` that wait."""
        return [abs(frame.stamp_ns - stamp) for frame in self._waiting(stream)]

    def _waiting(self, stream: Stream) -> list[Frame]:
        return [frame for frame, _ in self.core._pairer._held[stream]]

    def _check_best(self, job: Job) -> None:
        """Neither of the two has a better partner among those that wait."""
        rgb, depth = job.rgb.stamp_ns, job.depth.stamp_ns  # type: ignore[union-attr]
        skew = abs(rgb - depth)
        nearer = [
            any(d < skew for d in self._apart("depth", rgb)),
            any(d < skew for d in self._apart("rgb", depth)),
        ]
        assert not any(nearer), "a nearer partner waits"

    def _check_no_partner(self, record: Record) -> None:
        """A frame goes alone only if no frame that waits could be fused with it."""
        for other in self._waiting("depth" if record.stream == "rgb" else "rgb"):
            apart = abs(other.stamp_ns - record.frame.stamp_ns)
            nearer = any(d < apart for d in self._apart(record.stream, other.stamp_ns))
            assert apart > self.skew or nearer, "alone although its partner is here"

    def _check_steady(self) -> None:
        """Two healthy streams of one rate, registered, are fused while their lag grows slowly."""
        plan = self.plan
        rgb, depth = plan.sensors.get("rgb"), plan.sensors.get("depth")
        quiet = not (plan.faults or plan.steps or plan.pauses or plan.stalls or plan.actions)
        if not quiet or rgb is None or depth is None or plan.zero_s or not self.jobs:
            return
        lag_ms = max(
            abs(a.lag_ms + a.lag_growth_ms * t - b.lag_ms - b.lag_growth_ms * t) + a.lag_jitter_ms
            for a, b in ((rgb, depth), (depth, rgb))
            for t in (0, plan.duration_s)
        ) + max(rgb.lag_jump_ms, depth.lag_jump_ms)
        apart = abs(rgb.phase - depth.phase) + max(rgb.jitter, depth.jitter)
        if rgb.rate_hz != depth.rate_hz or apart > 0.3 or lag_ms > 80 or plan.duration_s < 2.5:
            return
        growth_ms = abs(rgb.lag_growth_ms - depth.lag_growth_ms) / rgb.rate_hz
        if growth_ms > 1.25:
            return  # the learned wait is two frames behind, its margin 5 ms, and lags jitter
        skew_ms = self.config.max_skew_ms
        if skew_ms and skew_ms < apart * 1000 / rgb.rate_hz + 1:
            return
        if not self.aligned or not self.allowed("rgbd", "rgb"):
            return
        if self.config.max_wait_ms < lag_ms + 5:
            return
        self.features.add("steady")
        end = max(job.stamp_ns for _, job in self.jobs)
        last = [job for _, job in self.jobs if job.stamp_ns > end - S]
        fused = sum(job.network == "rgbd" for job in last)
        # Where the lag jitters and grows, the wait, learned from earlier lags, may miss a few.
        assert fused >= 0.6 * len(last), f"{fused} of the last {len(last)} jobs are fused"


def _size(thing: Any, seen: set[int]) -> int:
    """How many things hang on this one, arrays and frames counted as one."""
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
