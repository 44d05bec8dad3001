# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Replay loop: drives the core in bag time, so that every run computes the same masks."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rgbd_seg_ros.fallback import Core, Job
from rgbd_seg_ros.frames import NS_PER_MS, NS_PER_S, Defect, Frame, NetworkName, Stream
from rgbd_seg_ros.gravity import Gravity
from rgbd_seg_ros.inference import ArrivalTimes, Engine, run_job
from rgbd_seg_ros.replay.health_timeline import HealthTimeline
from rgbd_seg_ros.replay.source import Arrival, TransformArrival

if TYPE_CHECKING:
    from rgbd_seg_ros.engine import Segmentation

#: Number of frames whose arrival times are remembered, from which switch latencies are computed.
REMEMBERED_FRAMES = 256
#: Bag time between the frames on which all networks are compared, nanoseconds.
COMPARE_EVERY_NS = NS_PER_S


class ReplayError(ValueError):
    """Options of a replay that cannot be used; the message names the remedy."""


@dataclass(frozen=True, eq=False)
class ReplayResult:
    """One mask, with its job and its times."""

    job: Job
    segmentation: Segmentation
    #: Bag time at which the mask is ready, nanoseconds.
    ready_ns: int
    #: Bag time at which each frame of the job arrived, nanoseconds.
    arrived_ns: dict[Stream, int]
    #: Mask of the fused network with a blank image; None if not requested or no image is missing.
    without_fallback: Segmentation | None = None
    #: Masks of the other networks on the same frames; empty if not requested.
    others: dict[NetworkName, Segmentation] = field(default_factory=dict)

    @property
    def engine_ms(self) -> float:
        """Time of the engine for this and all other masks of the same frames, milliseconds."""
        masks = [self.segmentation, *self.others.values(), self.without_fallback]
        return sum(m.timings_ms.get("total", 0.0) for m in masks if m is not None)

    @property
    def latency_ms(self) -> float:
        """Time that the engine took on this machine, milliseconds."""
        return self.segmentation.timings_ms.get("total", 0.0)


class Replay:
    """Offers arrivals to a core at their receive times and runs its jobs.

    Args:
        core: a new core.
        engine: computes the masks.
        engine_latency_ms: bag time that a mask takes; 0 for an engine that is always free.
        without_fallback: also run the fused network with a blank image wherever one stream is
            missing.
        gravity: finds the direction of gravity for networks whose input is HHA; estimated from
            depth by default.
        consistency: run all networks on one fused frame pair in each second.
    """

    def __init__(
        self,
        core: Core,
        engine: Engine,
        engine_latency_ms: float = 0.0,
        without_fallback: bool = False,
        gravity: Gravity | None = None,
        consistency: bool = False,
    ) -> None:
        if not 0 <= engine_latency_ms < math.inf:
            raise ReplayError(f"engine latency must be 0 ms or more, got {engine_latency_ms}")
        self.core = core
        self.health = HealthTimeline(core)
        self._engine = engine
        self._latency_ns = round(engine_latency_ms * NS_PER_MS)
        self._without_fallback = without_fallback and "rgbd" in engine.available
        self.gravity = gravity or Gravity("")
        self._consistency = consistency
        self._compare_from_ns = 0
        self._now_ns = 0
        #: Time at which the engine becomes free; None while it is free.
        self._busy_until_ns: int | None = None
        self._arrival_times = ArrivalTimes(REMEMBERED_FRAMES)

    def run(
        self,
        arrivals: Iterable[Arrival | TransformArrival],
        on_truth: Callable[[Frame], None] = lambda _: None,
        end_ns: Callable[[], int] = lambda: 0,
    ) -> Iterator[ReplayResult]:
        """The masks in the order in which they are computed.

        Args:
            arrivals: in the order of their receive times.
            on_truth: called with each ground-truth mask when it arrives.
            end_ns: called after the last arrival; the time when the recording ends, which may go
                on without images.
        """
        for arrival in arrivals:
            if isinstance(arrival, TransformArrival):
                self.gravity.tree.add(arrival.message)
                continue
            yield from self._advance(arrival.receive_ns)
            self._now_ns = max(self._now_ns, arrival.receive_ns)
            if arrival.kind == "truth":
                if isinstance(arrival.item, Frame):
                    on_truth(arrival.item)
                continue
            if not isinstance(arrival.item, Defect):
                self._arrival_times.add(arrival.kind, arrival.item.stamp_ns, arrival.receive_ns)
            self.core.offer(arrival.kind, arrival.item, arrival.receive_ns)
            self.health.note(self._now_ns)
            yield from self._run_jobs()
        # Advance the time to the end of the recording, and for frames that still wait for a
        # partner or for the engine, but not longer: otherwise every one would end in NO_INPUT.
        patience_ns = round(self.core.config.max_wait_ms * NS_PER_MS) + 2 * self._latency_ns
        yield from self._advance(max(self._now_ns + patience_ns, end_ns()))

    def _advance(self, until_ns: int) -> Iterator[ReplayResult]:
        """Tick exactly at each deadline, and run jobs whenever the engine becomes free."""
        ticked_ns = -1
        while True:
            deadline_ns = self.core.next_deadline(max(self._now_ns, 1))
            if deadline_ns is not None and deadline_ns <= ticked_ns:
                deadline_ns = None  # the core has already had this tick
            times = [t for t in (deadline_ns, self._busy_until_ns) if t is not None]
            if not times or min(times) > until_ns:
                return
            self._now_ns = max(self._now_ns, min(times))
            if deadline_ns is not None and deadline_ns <= self._now_ns:
                self.core.tick(self._now_ns)
                self.health.note(self._now_ns)
                ticked_ns = self._now_ns
            yield from self._run_jobs()

    def _run_jobs(self) -> Iterator[ReplayResult]:
        if self._busy_until_ns is not None and self._busy_until_ns <= self._now_ns:
            self._busy_until_ns = None
        while self._busy_until_ns is None:
            while frames := self.core.next_decodes(self._now_ns):
                for frame in frames:
                    self.core.decoded(frame, frame.decode(), self._now_ns)
                self.health.note(self._now_ns)
            job = self.core.next_job(self._now_ns)
            if job is None:
                return
            ready_ns = self._now_ns + self._latency_ns
            if self._latency_ns:
                self._busy_until_ns = ready_ns
            if self.core.accept_mask(job, ready_ns):
                yield self._run_job(job, ready_ns)

    def _run_job(self, job: Job, ready_ns: int) -> ReplayResult:
        config = self.core.config
        segmentation = run_job(self._engine, job, config, self.gravity)
        without_fallback = None
        can_fuse = job.intrinsics is not None or "rgbd" not in self._engine.need_intrinsics
        if self._without_fallback and can_fuse and job.network != "rgbd":
            without_fallback = run_job(self._engine, job, config, self.gravity, network="rgbd")
        arrived_ns = self._arrival_times.of(job, lambda frame: frame.stamp_ns)
        others = self._run_others(job, ready_ns)
        return ReplayResult(job, segmentation, ready_ns, arrived_ns, without_fallback, others)

    def _run_others(self, job: Job, ready_ns: int) -> dict[NetworkName, Segmentation]:
        due = self._consistency and ready_ns >= self._compare_from_ns
        if not due or job.network != "rgbd" or job.rgb is None or job.depth is None:
            return {}
        self._compare_from_ns = ready_ns + COMPARE_EVERY_NS
        return {
            name: run_job(self._engine, job, self.core.config, self.gravity, network=name)
            for name in self._engine.available
            if name != "rgbd" and (job.intrinsics or name not in self._engine.need_intrinsics)
        }
