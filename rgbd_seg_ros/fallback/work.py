# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Work for the engine: the job that waits for it, and the job whose frames are being decoded."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from rgbd_seg_ros.fallback.config import CoreConfig
from rgbd_seg_ros.fallback.counters import Counters
from rgbd_seg_ros.fallback.decoding import DecodeQueue
from rgbd_seg_ros.fallback.health import Verdict
from rgbd_seg_ros.fallback.job import Job
from rgbd_seg_ros.fallback.modes import Mode
from rgbd_seg_ros.fallback.pairing import FramePair
from rgbd_seg_ros.fallback.streams import Streams
from rgbd_seg_ros.frames import (
    NS_PER_MS,
    NS_PER_S,
    STREAMS,
    AnyFrame,
    CompressedFrame,
    Defect,
    Frame,
    Stream,
)


@dataclass(frozen=True, eq=False)
class PendingJob:
    """A job that the core holds; its compressed frames are missing in it until decoded."""

    job: Job
    #: The frames of the job, color first.
    frames: Mapping[Stream, AnyFrame]
    #: Frames that turned out to be unusable when they were decoded.
    unusable: Mapping[Stream, Verdict] = field(default_factory=dict)

    @property
    def undecoded(self) -> dict[Stream, CompressedFrame]:
        """The frames that are still to be decoded."""
        return {
            stream: frame
            for stream, frame in self.frames.items()
            if isinstance(frame, CompressedFrame) and stream not in self.unusable
        }

    def with_result(self, stream: Stream, result: Frame | Defect, verdict: Verdict) -> PendingJob:
        """The same job with one more frame decoded and judged."""
        if isinstance(result, Defect) or verdict.reason is not None:
            return replace(self, unusable={**self.unusable, stream: verdict})
        job = replace(self.job, rgb=result) if stream == "rgb" else replace(self.job, depth=result)
        return replace(self, job=job, frames={**self.frames, stream: result})


def make_job(
    pair: FramePair,
    streams: Streams,
    mode: Mode,
    now_ns: int,
    fused_share: float | None,
    *,
    raw: bool,
) -> PendingJob:
    """The job of a frame pair, as of ``now_ns``; ``raw`` if its depth is not aligned to color."""
    rgb, depth = pair.rgb, pair.depth
    frames: dict[Stream, AnyFrame] = {}
    if rgb is not None:
        frames["rgb"] = rgb
    if depth is not None:
        frames["depth_raw" if raw else "depth"] = depth
    stream, source = next(iter(frames.items()))
    health, geometry = streams.health, streams.geometry
    job = Job(
        network="depth" if rgb is None else "rgb" if depth is None else "rgbd",
        stamp_ns=pair.stamp_ns,
        frame_id=source.frame_id,
        rgb=rgb if isinstance(rgb, Frame) else None,
        depth=depth if isinstance(depth, Frame) else None,
        raw=raw,
        size=geometry.mask_size(stream, source),
        intrinsics=source.intrinsics or geometry.intrinsics(stream),
        mode=mode,
        reason_rgb=health["rgb"].reason,
        reason_depth=health["depth"].reason,
        age_rgb_ms=_to_ms(health["rgb"].age_ns(now_ns)),
        age_depth_ms=_to_ms(health["depth"].age_ns(now_ns)),
        fused_share=fused_share,
    )
    return PendingJob(job, frames)


def slow_decode(frame: CompressedFrame, elapsed_ns: int, config: CoreConfig) -> Defect:
    """The defect of an image that has been decoded for too long."""
    height, width = frame.size
    return Defect(
        "slow_decode",
        f"decoding {width}×{height} pixels takes {elapsed_ns / NS_PER_S:.2g} s or more, "
        f"decode_timeout_s is {config.decode_timeout_s:g}: send smaller or raw images",
        frame.stamp_ns,
    )


class Work:
    """Hands out jobs, and the frames to decode before them. All times are the caller's, in ns.

    Args:
        config: current parameters; may be assigned.
        counters: counts what happens to the frames of jobs that are never handed out.
    """

    def __init__(self, config: CoreConfig, counters: Counters) -> None:
        self.config = config
        self._counters = counters
        self.queue = DecodeQueue()
        #: The newest job, which waits for the engine.
        self.waiting: PendingJob | None = None
        #: The job whose frames are being decoded, or are decoded and wait for :meth:`next_job`.
        self.started: PendingJob | None = None
        self._started_ns = 0

    def put(self, pending: PendingJob) -> None:
        """Make this job the next one, in place of a job that is still waiting."""
        if self.waiting is not None:
            self._count(self.waiting, "superseded")
        self.waiting = pending

    def next_job(self, now_ns: int) -> Job | None:
        """The next job if its frames are decoded and not too old; its frames count as used."""
        pending = self.started or self.waiting
        if pending is None or pending.undecoded:
            return None
        if pending is self.started:
            self.started = None
        else:
            self.waiting = None
        # The engine may have been busy for longer than the maximum age of a frame.
        expired = self.is_expired(pending.job.stamp_ns, now_ns)
        self._count(pending, "late" if expired else "used")
        return None if expired else pending.job

    @property
    def timeout_ns(self) -> int:
        """How long an image may be decoded."""
        return round(self.config.decode_timeout_s * NS_PER_S)

    @property
    def decode_deadline_ns(self) -> int | None:
        """When the started job no longer waits for its frames; None if it waits for none."""
        waits = self.started is not None and self.started.undecoded
        return self._started_ns + self.timeout_ns if waits else None

    def too_slow(self, now_ns: int) -> dict[Stream, CompressedFrame]:
        """The frames of the started job that are to be given up now."""
        if self.started is None:
            return {}
        return {
            stream: frame
            for stream, frame in self.started.undecoded.items()
            if now_ns >= self._started_ns + self.timeout_ns
            or self.queue.is_stuck(stream, now_ns, self.timeout_ns)
        }

    def next_decodes(
        self,
        now_ns: int,
        is_held: Callable[[AnyFrame], bool],
        is_ok: Callable[[Stream], bool],
    ) -> list[CompressedFrame]:
        """The frames to decode now. The waiting job starts, unless another one has started.

        Args:
            now_ns: the current time.
            is_held: whether pairing holds a frame, so that it may become part of a job.
            is_ok: whether a stream is OK.
        """
        job_frames: dict[Stream, CompressedFrame] = {}
        if self.started is None and self.waiting is not None and self.waiting.undecoded:
            pending, self.waiting = self.waiting, None
            if self.is_expired(pending.job.stamp_ns, now_ns):
                self._count(pending, "late")
            else:
                self.started, job_frames = pending, pending.undecoded
                self._started_ns = now_ns

        stuck = [s for s in job_frames if self.queue.is_stuck(s, now_ns, self.timeout_ns)]
        job_frames = {s: frame for s, frame in job_frames.items() if s not in stuck}
        jobs = [job for job in (self.waiting, self.started) if job is not None]

        def is_pending(frame: CompressedFrame) -> bool:
            return is_held(frame) or any(frame in job.frames.values() for job in jobs)

        self.queue.forget_health(stream for stream in STREAMS if not is_ok(stream))
        period_ns = round(self.config.decode_period_s * NS_PER_S)
        return self.queue.next(
            now_ns, period_ns, job_frames, job_waits=bool(jobs), is_pending=is_pending
        )

    def add_result(self, stream: Stream, result: Frame | Defect, verdict: Verdict) -> PendingJob:
        """Add a decoded frame, or why it is unusable, to the started job; returns the job."""
        if self.started is None:
            raise RuntimeError("no job has started")
        self.started = self.started.with_result(stream, result, verdict)
        return self.started

    def is_awaited(self, stream: Stream, frame: CompressedFrame) -> bool:
        """Whether the started job still waits for this frame."""
        return self.started is not None and self.started.undecoded.get(stream) is frame

    def is_expired(self, stamp_ns: int, now_ns: int) -> bool:
        """Whether a stamp is older than the maximum age of a frame."""
        return 0 < self.config.max_age_s * NS_PER_S < now_ns - stamp_ns

    def _count(self, pending: PendingJob, fate: str) -> None:
        for stream in pending.frames:
            self._counters.count(stream, fate)


def _to_ms(ns: int | None) -> float | None:
    return None if ns is None else ns / NS_PER_MS
