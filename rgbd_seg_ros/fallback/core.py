# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The core of the fallback: takes messages and the current time, and hands out jobs.

Four calls drive it: :meth:`Core.offer`, :meth:`Core.tick`, :meth:`Core.next_deadline` and
:meth:`Core.next_job`. If images are compressed, :meth:`Core.next_decodes` says which to decode
whenever the engine is free, and :meth:`Core.decoded` takes the result. What happened is in its
counters, its health and the mode changes and warnings that the ``drain_*`` calls return. Health
judges a message, pairing decides which frames form a pair, and the newest pair waits as the job
for the engine.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection
from dataclasses import replace

from rgbd_seg_ros.fallback.config import CoreConfig
from rgbd_seg_ros.fallback.core_warnings import CoreWarnings, fusion_problems
from rgbd_seg_ros.fallback.counters import Counters
from rgbd_seg_ros.fallback.decoding import Purpose
from rgbd_seg_ros.fallback.fused_share import FusedShare, best_mode
from rgbd_seg_ros.fallback.health import SensorHealth, State, Verdict
from rgbd_seg_ros.fallback.job import Job
from rgbd_seg_ros.fallback.modes import Mode, ModeChange
from rgbd_seg_ros.fallback.pairing import FramePair, PairedStream, Pairer, StreamStatus
from rgbd_seg_ros.fallback.streams import Streams
from rgbd_seg_ros.fallback.work import PendingJob, Work, make_job, slow_decode
from rgbd_seg_ros.frames import (
    NETWORK_NAMES,
    NS_PER_MS,
    NS_PER_S,
    STREAMS,
    AnyFrame,
    CompressedFrame,
    Defect,
    Frame,
    NetworkName,
    Stream,
)

#: At most this many mode changes are kept until the caller fetches them.
MAX_EVENTS = 256


class Core:
    """Decides which network runs on which frames.

    Give every message to :meth:`offer`, call :meth:`tick` at :meth:`next_deadline`, and take work
    with :meth:`next_job` whenever the engine is free. Every call carries the current time in
    nanoseconds; the core reads no clock, so the same calls give the same jobs. It is not
    thread-safe: put one lock around it, but do not hold the lock while decoding.

    Args:
        config: see :class:`CoreConfig`; assign :attr:`config` to change it at run time.
        networks: the networks that the bundle has.
        need_intrinsics: the networks that cannot run without camera intrinsics.
        simulated: see :class:`CoreWarnings`.
    """

    def __init__(
        self,
        config: CoreConfig | None = None,
        networks: Collection[NetworkName] = NETWORK_NAMES,
        need_intrinsics: Collection[NetworkName] = (),
        simulated: Callable[[Stream, int], bool] = lambda stream, ns: False,
    ) -> None:
        self._config = config or CoreConfig()
        self._networks, self._need_intrinsics = tuple(networks), tuple(need_intrinsics)
        self.counters = Counters()
        self.mode = Mode.STARTING
        self.mode_reason = "start"
        self._enabled = True
        self._now_ns = 0
        self._changes: deque[ModeChange] = deque(maxlen=MAX_EVENTS)
        self.warnings = CoreWarnings(simulated)
        self._forget()

    def _forget(self) -> None:
        """Forget everything that was learned from the streams."""
        self._streams = Streams(self._config, self._networks, self._need_intrinsics)
        self._pairer = Pairer(self._config, self.counters)
        self._fused_share = FusedShare()
        self._work = Work(self._config, self.counters)
        self._started_ns: int | None = None  # time of the first message
        self._deadline_ns: int | None = None
        self.warnings.forget()

    # --- The four calls ------------------------------------------------------------------------

    def offer(self, stream: Stream, item: AnyFrame | Defect, now_ns: int) -> None:
        """Take one message that arrived at ``now_ns``."""
        running = self._advance(now_ns)  # first, since a clock step clears pending messages
        self.counters.offered[stream] += 1
        if not (self._enabled and running):
            self.counters.count(stream, "reset" if self._enabled else "disabled")
            return
        if self._started_ns is None:
            self._started_ns = self._now_ns
        alone = self._streams.no_other_serves(stream, self._now_ns)
        verdict = self.health[stream].observe(item, self._now_ns, alone=alone)
        if isinstance(item, CompressedFrame) and verdict.undecoded:
            if self._streams.ok(stream):
                self._work.queue.note(stream, item)
                self._take(stream, item, verdict)
            elif self._work.queue.admit(stream, item):
                self.counters.count(stream, "superseded")
        else:
            self._take(stream, item, verdict)
        self._decide()

    def _take(self, stream: Stream, item: AnyFrame | Defect, verdict: Verdict) -> None:
        """Pass a judged message to pairing, or count what else happened to it."""
        if isinstance(item, Frame) and verdict.reason is None:
            self._streams.geometry.update(stream, item)
        status = self._status()
        self._count(stream, verdict)
        if verdict.reason is not None:
            if stream != "depth_raw" and verdict.reason != "repeated_stamp":
                self._pairer.note_unusable(stream, item.stamp_ns, self._now_ns, status)
        elif verdict.recovering:
            self.counters.count(stream, "recovering")
        elif isinstance(item, (Frame, CompressedFrame)):
            if stream == "depth_raw":
                self._take_raw(item, status)
            elif not self._pairer.push(stream, item, self._now_ns, status):
                self.counters.count(stream, "late")

    def next_deadline(self, now_ns: int) -> int | None:
        """When to call :meth:`tick` next, ns; None if only a message can change anything."""
        if not self._enabled or now_ns <= 0:
            return None
        deadlines = (self._deadline_ns, self._work.decode_deadline_ns)
        return min((d for d in deadlines if d is not None), default=None)

    def tick(self, now_ns: int) -> None:
        """Advance the time: handle timeouts, the end of a frame's wait, the end of STARTING."""
        due_ns = self._deadline_ns
        if not self._enabled or not self._advance(now_ns):
            return
        late = self._now_ns - (due_ns or self._now_ns) > self._config.late_tick_ms * NS_PER_MS
        for health in self.health.values():
            health.check_silence(self._now_ns, late=late)
        self._give_up_slow_decodes()
        self._decide()

    def next_job(self, now_ns: int) -> Job | None:
        """Hand out the newest job, once; its frames count as used. None if no job is ready.

        A job with compressed frames is ready once :meth:`next_decodes` has handed them out and
        :meth:`decoded` has taken them all.
        """
        if not self._enabled or not self._advance(now_ns):
            return None
        job = self._work.next_job(self._now_ns)
        status = self._status()
        # A stream that has just stopped says nothing; it will be silent.
        if job is not None and status.fusing and not self._streams.just_stopped(self._now_ns):
            self._fused_share.add(job.network)
            self._update_mode(status)
        return job

    def accept_mask(self, job: Job, now_ns: int) -> bool:
        """Whether the mask of a job may be published at ``now_ns``; if not, it is counted."""
        if not self._work.is_expired(job.stamp_ns, now_ns):
            return True
        self.counters.masks_expired += 1
        self.warnings.add_expired(job, now_ns, self._config.max_age_s)
        return False

    # --- Compressed frames ---------------------------------------------------------------------

    def next_decodes(self, now_ns: int) -> list[CompressedFrame]:
        """The compressed frames to decode now, because the engine is free.

        Decode them outside the lock, give the result of every one to :meth:`decoded`, and repeat
        until the list is empty. All other compressed frames need not be decoded.
        """
        if not self._enabled or not self._advance(now_ns):
            return []
        frames = self._work.next_decodes(self._now_ns, self._pairer.holds, self._streams.ok)
        self._give_up_slow_decodes()  # of a job whose stream is still busy with an earlier frame
        return frames

    def stream_of(self, frame: CompressedFrame) -> Stream:
        """The stream of a frame that is being decoded; give each stream a thread of its own."""
        return self._work.queue.stream_of(frame)

    def decoded(self, frame: CompressedFrame, result: Frame | Defect, now_ns: int) -> None:
        """Take the decoded pixels of a frame from :meth:`next_decodes`."""
        self._advance(now_ns)
        found = self._work.queue.finish(frame, self._now_ns)
        if found is None:
            return  # everything was cleared in the meantime
        stream, purpose, elapsed_ns = found
        if elapsed_ns >= self._work.timeout_ns:
            result = slow_decode(frame, elapsed_ns, self._config)
        result = replace(result, stamp_ns=frame.stamp_ns)
        if isinstance(result, Frame):
            result = replace(result, frame_id=frame.frame_id, intrinsics=frame.intrinsics)
        if purpose is not Purpose.JOB and self._work.is_expired(frame.stamp_ns, self._now_ns):
            if purpose is Purpose.ADMISSION:
                self.counters.count(stream, "late")
            return
        alone = self._streams.no_other_serves(stream, self._now_ns)
        verdict = self.health[stream].judge(result, self._now_ns, alone=alone)
        if isinstance(result, Frame) and verdict.reason is None:
            self._streams.geometry.update(stream, result)
        if purpose is Purpose.ADMISSION:
            self._take(stream, result, verdict)
        elif purpose is Purpose.JOB:
            if self._work.is_awaited(stream, frame):
                self._take_decoded(stream, result, verdict)
        elif verdict.reason is not None:
            self.counters.details[stream][verdict.reason] = verdict.detail
        self._decide()

    def _give_up_slow_decodes(self) -> None:
        """Let the started job go on without frames whose decoding takes too long."""
        for stream, frame in self._work.too_slow(self._now_ns).items():
            defect = slow_decode(frame, self._work.timeout_ns, self._config)
            alone = self._streams.no_other_serves(stream, self._now_ns)
            verdict = self.health[stream].judge(defect, self._now_ns, alone=alone)
            self._take_decoded(stream, defect, verdict)

    def _take_decoded(self, stream: Stream, result: Frame | Defect, verdict: Verdict) -> None:
        """Complete the started job; if one frame is unusable, use its partner alone at once."""
        pending = self._work.add_result(stream, result, verdict)
        if pending.undecoded or not pending.unusable:
            return
        self._work.started = None
        for stream, verdict in pending.unusable.items():
            self._count(stream, verdict)
        status = self._status()
        self._update_mode(status)
        for stream, frame in pending.frames.items():
            if stream in pending.unusable:
                continue
            waiting = self._work.waiting
            in_order = waiting is None or frame.stamp_ns < waiting.job.stamp_ns
            if stream in status.single and in_order:
                pair = FramePair(frame, None) if stream == "rgb" else FramePair(None, frame)
                self._work.started = self._make_job(pair, raw=False)
                if waiting is None:
                    self._pairer.note_decided(pair)
            else:
                self.counters.count(stream, "skipped")

    # --- Deciding ------------------------------------------------------------------------------

    def _decide(self) -> None:
        """Update the mode, decide frame pairs, warn, and set the next deadline."""
        status = self._status()
        self._update_mode(status)
        for pair in self._pairer.decide(self._now_ns, status):
            self._set_job(pair, raw=False)
        start_ends_ns = self._start_ends_ns
        if start_ends_ns is not None and self._now_ns >= start_ends_ns:
            self._end_starting()
        self.warnings.add_all(
            fusion_problems(
                self._config, self._pairer, self._streams, self._fused_share, self._now_ns
            )
        )
        deadlines = [health.silence_deadline_ns for health in self.health.values()]
        deadlines.append(self._pairer.deadline_ns)
        if self.mode is Mode.STARTING:
            deadlines.append(start_ends_ns)
        self._deadline_ns = min((d for d in deadlines if d is not None), default=None)

    def _set_job(self, pair: FramePair, *, raw: bool) -> None:
        """Make the pair the job for the engine, replacing a job that is still waiting."""
        if self._streams.is_of_two_cameras(pair.rgb, pair.depth):
            self.counters.count("depth", "skipped")
            pair = FramePair(pair.rgb, None)
        self._end_starting()
        self._work.put(self._make_job(pair, raw=raw))

    def _make_job(self, pair: FramePair, *, raw: bool) -> PendingJob:
        share = self._fused_share.value
        return make_job(pair, self._streams, self.mode, self._now_ns, share, raw=raw)

    def _take_raw(self, frame: AnyFrame, status: StreamStatus) -> None:
        """Create a job from raw depth only if neither color nor aligned depth can be used."""
        started = self.mode is not Mode.STARTING  # until then, aligned depth may still arrive
        last_ns = self._pairer.last_stamp_ns
        if status.serving or not (started and self._streams.can_run_alone("depth_raw")):
            self.counters.count("depth_raw", "skipped")
        elif last_ns is not None and frame.stamp_ns <= last_ns:
            self.counters.count("depth_raw", "late")
        else:
            pair = FramePair(None, frame)
            self._pairer.note_decided(pair)
            self._update_mode(status)
            self._set_job(pair, raw=True)

    def _status(self) -> StreamStatus:
        return self._streams.status(starting=self.mode is Mode.STARTING)

    def _count(self, stream: Stream, verdict: Verdict) -> None:
        if verdict.reason is not None:
            self.counters.count_unusable(stream, verdict.reason, verdict.detail)
        waiting = self.health[stream].state is State.WAITING
        self.warnings.add_verdict(stream, verdict, self._now_ns, waiting=waiting)

    # --- Modes ---------------------------------------------------------------------------------

    def _update_mode(self, status: StreamStatus) -> None:
        mode, reason = best_mode(self._streams, status, self._fused_share)
        if self.mode not in (mode, Mode.STARTING):
            self._change_mode(mode, reason)

    def _end_starting(self) -> None:
        if self.mode is Mode.STARTING:
            mode = best_mode(self._streams, self._status(), self._fused_share)[0]
            self._change_mode(mode, "start")

    @property
    def _start_ends_ns(self) -> int | None:
        """When STARTING ends without a job; None before the first message."""
        grace_ns = round(self._config.start_grace_s * NS_PER_S)
        return None if self._started_ns is None else self._started_ns + grace_ns

    def _change_mode(self, mode: Mode, reason: str) -> None:
        if mode is not self.mode:
            self._changes.append(ModeChange(self._now_ns, self.mode, mode, reason))
            self.mode, self.mode_reason = mode, reason

    # --- Time ----------------------------------------------------------------------------------

    def _advance(self, now_ns: int) -> bool:
        """Set the time; False while the clock is not running. A large step clears all state."""
        if now_ns <= 0:
            return False
        step_ns = round(self._config.clock_step_s * NS_PER_S)
        if now_ns < self._now_ns - step_ns:
            self.reset(now_ns)
        elif self._now_ns and now_ns > max(self._now_ns, self._deadline_ns or now_ns) + step_ns:
            self.reset(now_ns, "stalled or clock jumped")  # the core cannot tell which
        self._now_ns = max(self._now_ns, now_ns)  # a small step back is ignored
        return True

    def reset(self, now_ns: int, reason: str = "clock jumped") -> None:
        """Clear all state, because the clock jumped to ``now_ns`` or a bag starts over."""
        self._now_ns = now_ns
        self._clear("reset", reason)

    def _clear(self, fate: str, reason: str) -> None:
        """Clear everything except the counters; pending messages are counted as ``fate``."""
        for stream in STREAMS:
            self.counters.count(stream, fate, self.counters.pending(stream))
        self._forget()
        self._change_mode(Mode.STARTING, reason)
        self.mode_reason = reason

    # --- Settings and reports ------------------------------------------------------------------

    @property
    def config(self) -> CoreConfig:
        """Current parameters. To change some, assign the result of ``dataclasses.replace``."""
        return self._config

    @config.setter
    def config(self, config: CoreConfig) -> None:
        self._config = self._pairer.config = self._work.config = config
        self._streams.configure(config)
        if self._enabled:
            self._decide()

    @property
    def health(self) -> dict[Stream, SensorHealth]:
        """Health of every stream."""
        return self._streams.health

    @property
    def enabled(self) -> bool:
        """Whether the core processes messages."""
        return self._enabled

    def set_enabled(self, enabled: bool) -> None:
        """Disable the core, which drops all pending messages, or enable it again."""
        if enabled != self._enabled:
            self._clear(*(("reset", "enabled") if enabled else ("disabled", "disabled")))
            self._enabled = enabled
            self._now_ns = 0  # ignore clock changes while disabled

    def drain_mode_changes(self) -> list[ModeChange]:
        """The mode changes since the last call, oldest first."""
        changes = list(self._changes)
        self._changes.clear()
        return changes

    def drain_warnings(self) -> list[str]:
        """One-line warnings since the last call; each problem is reported once until a reset."""
        return self.warnings.drain()

    def max_wait_ms(self, stream: PairedStream) -> float:
        """How long a frame of ``stream`` currently waits for its partner, milliseconds."""
        return self._pairer.max_wait_ns(stream) / NS_PER_MS
