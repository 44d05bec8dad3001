# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Replay: runs the core on a bag's own time, so that every run makes the same masks."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from rgbd_seg_ros.bag.reader import BagError
from rgbd_seg_ros.depth import to_meters
from rgbd_seg_ros.fallback import Core, CoreConfig, Job
from rgbd_seg_ros.frames import Frame, NetworkName, Stream
from rgbd_seg_ros.gravity import Gravity
from rgbd_seg_ros.labels import LabelSet
from rgbd_seg_ros.replay.source import Arrival

if TYPE_CHECKING:
    from rgbd_seg_ros.engine import Segmentation

NS_PER_MS = 1_000_000
#: Arrival times of so many frames are remembered, to know what a switch took.
REMEMBERED = 256


class Engine(Protocol):
    """What a replay needs of :class:`rgbd_seg_ros.engine.Segmenter`."""

    labels: LabelSet

    @property
    def available(self) -> tuple[NetworkName, ...]: ...

    def __call__(
        self, rgb: Any, depth: Any, intrinsics: Any, /, *, size: Any, network: Any
    ) -> Segmentation: ...


@dataclass(frozen=True, eq=False)
class ReplayResult:
    """One mask and how it came about."""

    job: Job
    result: Segmentation
    #: Bag time at which it is there, nanoseconds.
    ready_ns: int
    #: When the frames in it arrived, nanoseconds.
    arrived_ns: dict[Stream, int]
    #: The fused network on the same instant with the missing partner empty, where asked for.
    without_fallback: Segmentation | None = None


class Replay:
    """Drives one core with arrivals and their times.

    Args:
        core: a fresh core.
        engine: makes the masks.
        engine_latency_ms: bag time that a mask takes; 0 for an engine that is always free.
        compare: also ask the fused network wherever a partner is missing.
        gravity: tells which way is down, for networks that read HHA; by default estimated.
    """

    def __init__(
        self,
        core: Core,
        engine: Engine,
        engine_latency_ms: float = 0.0,
        compare: bool = False,
        gravity: Gravity | None = None,
    ) -> None:
        if not 0 <= engine_latency_ms < math.inf:
            raise BagError(f"engine latency must be 0 ms or more, got {engine_latency_ms}")
        self.core = core
        self._engine = engine
        self._latency_ns = round(engine_latency_ms * NS_PER_MS)
        self._compare = compare and "rgbd" in engine.available
        self._gravity = gravity or Gravity("")
        self._needs_intrinsics = "rgbd" in getattr(engine, "need_intrinsics", ())
        self._now_ns = 0
        #: When the engine is free again; None while it is.
        self._busy_until_ns: int | None = None
        self._arrived_ns: OrderedDict[tuple[Stream, int], int] = OrderedDict()

    def run(
        self, arrivals: Iterable[Arrival], on_truth: Callable[[Frame], None] = lambda _: None
    ) -> Iterator[ReplayResult]:
        """The masks, in the order in which they are made.

        Args:
            arrivals: in the order of their receive times.
            on_truth: is given the true masks as they come by.
        """
        for arrival in arrivals:
            yield from self._pass_time(arrival.receive_ns)
            self._now_ns = max(self._now_ns, arrival.receive_ns)
            if arrival.kind == "truth":
                if isinstance(arrival.item, Frame):
                    on_truth(arrival.item)
                continue
            if isinstance(arrival.item, Frame):
                self._remember(arrival.kind, arrival.item.stamp_ns, arrival.receive_ns)
            self.core.offer(arrival.kind, arrival.item, arrival.receive_ns)
            yield from self._take()
        # What still waits for a partner or for the engine gets what it waits for; no more time
        # passes than that, or every recording would end in NO_INPUT.
        patience_ns = round(self.core.config.max_wait_ms * NS_PER_MS) + 2 * self._latency_ns
        yield from self._pass_time(self._now_ns + patience_ns)

    def _pass_time(self, until_ns: int) -> Iterator[ReplayResult]:
        """Tick exactly at each deadline, and take work whenever the engine gets free."""
        ticked_ns = -1
        while True:
            deadline_ns = self.core.next_deadline(max(self._now_ns, 1))
            if deadline_ns is not None and deadline_ns <= ticked_ns:
                deadline_ns = None  # this tick was asked for and has been given
            times = [t for t in (deadline_ns, self._busy_until_ns) if t is not None]
            if not times or min(times) > until_ns:
                return
            self._now_ns = max(self._now_ns, min(times))
            if deadline_ns is not None and deadline_ns <= self._now_ns:
                self.core.tick(self._now_ns)
                ticked_ns = self._now_ns
            yield from self._take()

    def _take(self) -> Iterator[ReplayResult]:
        if self._busy_until_ns is not None and self._busy_until_ns <= self._now_ns:
            self._busy_until_ns = None
        while self._busy_until_ns is None:
            job = self.core.next_job(self._now_ns)
            if job is None:
                return
            ready_ns = self._now_ns + self._latency_ns
            if self._latency_ns:
                self._busy_until_ns = ready_ns
            yield self._make(job, ready_ns)

    def _make(self, job: Job, ready_ns: int) -> ReplayResult:
        result = segment(self._engine, job, self.core.config, self._gravity)
        other = None
        can_fuse = job.intrinsics is not None or not self._needs_intrinsics
        if self._compare and can_fuse and job.network != "rgbd":
            other = segment(self._engine, job, self.core.config, self._gravity, network="rgbd")
        depth: Stream = "depth_raw" if job.raw else "depth"
        frames: tuple[tuple[Stream, Frame | None], ...] = (("rgb", job.rgb), (depth, job.depth))
        arrived_ns = {
            stream: self._arrived_ns.get((stream, frame.stamp_ns), frame.stamp_ns)
            for stream, frame in frames
            if frame is not None
        }
        return ReplayResult(job, result, ready_ns, arrived_ns, other)

    def _remember(self, stream: Stream, stamp_ns: int, receive_ns: int) -> None:
        self._arrived_ns[stream, stamp_ns] = receive_ns
        if len(self._arrived_ns) > REMEMBERED:
            self._arrived_ns.popitem(last=False)


def segment(
    engine: Engine,
    job: Job,
    config: CoreConfig,
    gravity: Gravity | None = None,
    network: NetworkName | None = None,
) -> Segmentation:
    """One job on the engine, by the job's network or another.

    ``gravity`` is asked only for a network that needs it; without one the engine estimates.
    """
    rgb = job.rgb.array if job.rgb is not None else None
    depth, name = depth_m(job, config), network or job.network
    options: dict[str, Any] = {"size": job.size, "network": name}
    needed = name in getattr(engine, "need_intrinsics", ())
    if needed and gravity is not None and job.depth is not None and job.intrinsics is not None:
        find = partial(engine.estimate_gravity, depth, job.intrinsics)  # type: ignore[attr-defined]
        options["gravity"] = gravity(job.depth.frame_id, job.depth.stamp_ns, find)
    return engine(rgb, depth, job.intrinsics, **options)


def depth_m(job: Job, config: CoreConfig) -> npt.NDArray[np.float32] | None:
    """The job's depth in meters, NaN invalid; None without any."""
    if job.depth is None:
        return None
    return to_meters(job.depth.array, config.depth_scale, config.max_depth_m or math.inf)
