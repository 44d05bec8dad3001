# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The guarantees hold for any mix of raw and compressed frames, faults, delays and clock steps."""

from __future__ import annotations

import dataclasses
import random
from collections import Counter
from dataclasses import dataclass
from typing import Any
from weakref import WeakSet

from hypothesis import HealthCheck, example, given, seed, settings
from hypothesis import strategies as st
from rigs.fallback.bench import T0
from rigs.fallback.scenario import BAD_DEPTH, BAD_RGB, DEPTH, MS, RGB, S

from rgbd_seg_ros.fallback import Core, CoreConfig, Job, Mode
from rgbd_seg_ros.frames import STREAMS, CompressedFrame, Defect, Frame, Stream

STEP_MS, FAULTY_MS, CALM_MS = 5, 2_500, 2_000
#: More than the core holds: 17 waiting for partners, 2 jobs, and 4 per stream to be decoded.
MAX_HELD = 60
#: What happens to a frame; the first ones are usable.
USABLE = ("good", "good", "good")
FAULTS = (*USABLE, "bad", "defect", "dropped", "stale", "copy", "back", "future", "undecodable")
ACTIONS = ("reset", "disable", "enable", "force rgb", "force depth", "force auto", "zero")


@dataclass(frozen=True)
class Schedule:
    """What happens to one core; the seed decides about each frame."""

    seed: int
    rates_hz: tuple[int, int, int]
    #: Share of compressed frames by stream.
    compressed: tuple[float, float, float]
    fault_share: float
    lags_ms: tuple[int, int, int]
    decode_ms: int
    job_ms: int
    #: (ms, seconds).
    steps: tuple[tuple[int, float], ...]
    #: (ms, one of ACTIONS).
    actions: tuple[tuple[int, str], ...]


RATES, SHARES, LAGS = (10, 15, 30), (1.0, 0.5, 0.0, 0.98), (0, 10, 40, 120)
TIMES = st.integers(1, FAULTY_MS // STEP_MS - 1).map(lambda step: step * STEP_MS)
SCHEDULES = st.builds(
    Schedule,
    seed=st.integers(0, 2**16),
    rates_hz=st.tuples(*[st.sampled_from(RATES)] * 2, st.sampled_from((0, 10))),
    compressed=st.tuples(*[st.sampled_from(SHARES)] * 3),
    fault_share=st.sampled_from((0.0, 0.05, 0.3, 0.8)),
    lags_ms=st.tuples(*[st.sampled_from(LAGS)] * 3),
    decode_ms=st.sampled_from((0, 10, 60, 300, 1200)),
    job_ms=st.sampled_from((0, 20, 120, 700)),
    steps=st.lists(st.tuples(TIMES, st.sampled_from((-100.0, -0.3, 0.3, 100.0))), max_size=2).map(
        tuple
    ),
    actions=st.lists(st.tuples(TIMES, st.sampled_from(ACTIONS)), max_size=4).map(tuple),
)


class Play:
    """Plays one schedule and checks the guarantees after every call."""

    def __init__(self, schedule: Schedule) -> None:
        self.schedule = schedule
        self.random = random.Random(schedule.seed)
        self.core = Core(CoreConfig())
        self.ms = 0
        self.offset_ns = 0
        self.zero_until_ms = 0
        self.alive: WeakSet[Frame | CompressedFrame] = WeakSet()
        #: Array and whether it is usable, by the identity of the array, which is kept alive.
        self.arrays: dict[int, tuple[Any, bool]] = {}
        self.decodes: Counter[int] = Counter()
        self.used: set[int] = set()
        self.last_stamp_ns = -(10**18)
        self.last_sent: dict[Stream, int] = {}
        self.sent = 0
        self.queue: list[tuple[int, Stream, Any]] = []
        self.decoding: list[CompressedFrame] = []
        self.free_ms = 0
        #: (ms, facts) of every job.
        self.jobs: list[tuple[Any, ...]] = []

    @property
    def now(self) -> int:
        return 0 if self.ms < self.zero_until_ms else T0 + self.ms * MS + self.offset_ns

    def run(self) -> Play:
        for self.ms in range(0, FAULTY_MS + CALM_MS, STEP_MS):
            calm = self.ms >= FAULTY_MS
            if self.ms == FAULTY_MS:
                self.act("enable")
                self.act("force auto")
            if not calm:
                for at, seconds in self.schedule.steps:
                    if at == self.ms:
                        self.offset_ns += round(seconds * S)
                for at, action in self.schedule.actions:
                    if at == self.ms:
                        self.act(action)
            self.cameras(calm)
            self.work(calm)
            self.check()
        for _ in range(200):  # without messages, everything is decided
            self.ms += STEP_MS
            self.work(calm=True)
        assert not any(self.core.counters.pending(stream) for stream in STREAMS)
        return self

    def act(self, action: str) -> None:
        if action == "zero":
            self.zero_until_ms = self.ms + 100
        elif action == "reset" and self.now:
            self.core.reset(self.now)
        elif action in ("enable", "disable"):
            self.core.set_enabled(action == "enable")
        elif action.startswith("force"):
            network = action.split()[1]
            self.core.config = dataclasses.replace(self.core.config, force_network=network)

    # --- Cameras ---

    def cameras(self, calm: bool) -> None:
        for number, stream in enumerate(STREAMS):
            rate_hz = self.schedule.rates_hz[number]
            if rate_hz and self.ms * rate_hz // 1000 != (self.ms - STEP_MS) * rate_hz // 1000:
                faulty = not calm and self.random.random() < self.schedule.fault_share
                kind = self.random.choice(FAULTS) if faulty else "good"
                if kind != "dropped" and self.now:
                    arrival = self.ms + self.schedule.lags_ms[number]
                    self.queue.append((arrival, stream, self.message(stream, number, kind)))
        due = [entry for entry in self.queue if entry[0] <= self.ms]
        self.queue = [entry for entry in self.queue if entry[0] > self.ms]
        for _, stream, item in due:
            if not isinstance(item, Defect):
                self.alive.add(item)
            self.core.offer(stream, item, self.now)
            self.check()

    def message(self, stream: Stream, number: int, kind: str) -> Any:
        stamp_ns, self.sent = self.now, self.sent + 1
        if kind in ("stale", "future"):
            stamp_ns += (-3 if kind == "stale" else 3) * S
        elif kind in ("copy", "back"):
            stamp_ns = self.last_sent.get(stream, stamp_ns) - (kind == "back") * 500 * MS
        else:
            self.last_sent[stream] = stamp_ns
        pool, bad = (RGB, BAD_RGB) if stream == "rgb" else (DEPTH, BAD_DEPTH)
        source = self.random.choice(list(bad.values())) if kind == "bad" else pool[self.sent % 64]
        array = source.view()
        # A repeated stamp is usable if the first message with it was a defect or before a reset.
        self.arrays[id(array)] = (array, kind in ("good", "copy", "back"))
        frame = Frame(array, stamp_ns, "camera")
        compressed = self.random.random() < self.schedule.compressed[number]
        if kind == "defect" or (kind == "undecodable" and not compressed):
            return Defect("malformed", "x", self.random.choice((None, stamp_ns)))
        if not compressed:
            return frame
        key = self.sent

        def decode() -> Frame | Defect:
            self.decodes[key] += 1
            # A skin may return the frame as it is, or a copy.
            return Defect("malformed", "y") if kind == "undecodable" else frame

        return CompressedFrame((8, 8), stamp_ns, "camera", decode)

    # --- The caller of the core ---

    def work(self, calm: bool) -> None:
        core, schedule = self.core, self.schedule
        deadline_ns = core.next_deadline(self.now)
        if deadline_ns is not None and self.now >= deadline_ns:
            core.tick(self.now)
            self.check()
        while self.ms >= self.free_ms or calm:
            while self.decoding:
                frame = self.decoding.pop()
                core.decoded(frame, frame.decode(), self.now)
                del frame
                self.check()
            self.decoding = core.next_decodes(self.now)
            self.check()
            if self.decoding:
                self.free_ms = self.ms + (0 if calm else schedule.decode_ms)
                continue
            job = core.next_job(self.now)
            self.check()
            if job is None:
                break
            self.take(job)
            self.free_ms = self.ms + (0 if calm else schedule.job_ms)

    def take(self, job: Job) -> None:
        frames = [frame for frame in (job.rgb, job.depth) if frame is not None]
        assert len(frames) == 2 if job.network == "rgbd" else len(frames) == 1
        assert (job.rgb is not None) == (job.network != "depth")
        for frame in frames:
            assert isinstance(frame, Frame)
            key = id(frame.array)
            assert self.arrays[key][1], "an unusable frame"
            assert key not in self.used, "a frame is used twice"
            self.used.add(key)
            assert self.now - frame.stamp_ns <= S + 50 * MS
        assert job.stamp_ns == frames[0].stamp_ns
        assert job.stamp_ns > self.last_stamp_ns, "stamps do not increase"
        self.last_stamp_ns = job.stamp_ns
        self.jobs.append((self.ms, job.network, job.stamp_ns, job.mode, job.raw, job.fused_share))

    def check(self) -> None:
        if any(change.to_mode is Mode.STARTING for change in self.core.drain_mode_changes()):
            self.last_stamp_ns = -(10**18)  # everything was cleared
        for stream in STREAMS:
            assert 0 <= self.core.counters.pending(stream) <= MAX_HELD
        waiting = sum(not isinstance(item, Defect) for _, _, item in self.queue)
        assert len(self.alive) <= MAX_HELD + waiting
        assert not self.decodes or max(self.decodes.values()) == 1, "a frame is decoded twice"


@seed(0)
@settings(max_examples=150, database=None, deadline=None, suppress_health_check=list(HealthCheck))
@example(
    # The clock reads zero while the frames of a job are decoded.
    Schedule(0, (30, 30, 0), (1.0, 1.0, 0.0), 0.0, (0, 0, 0), 60, 0, (), ((1000, "zero"),))
)
@given(SCHEDULES)
def test_guarantees(schedule: Schedule) -> None:
    play = Play(schedule).run()
    # Whatever happened before, usable frames make masks again: the slowest camera has 10 Hz.
    assert play.jobs
    assert play.jobs[-1][0] >= FAULTY_MS + CALM_MS - 300
    if schedule.seed % 4 == 0:
        again = Play(schedule).run()
        assert again.jobs == play.jobs
        assert again.core.counters == play.core.counters
