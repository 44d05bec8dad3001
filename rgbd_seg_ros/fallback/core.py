# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Core: ties health, pairing and modes; messages and time in, jobs out."""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Collection

from rgbd_seg_ros.fallback.alignment import StreamGeometry
from rgbd_seg_ros.fallback.config import CoreConfig
from rgbd_seg_ros.fallback.counters import Counters
from rgbd_seg_ros.fallback.fusion_warnings import advice
from rgbd_seg_ros.fallback.health import NS_PER_S, SensorHealth, State
from rgbd_seg_ros.fallback.job import Job, ModeChange
from rgbd_seg_ros.fallback.modes import Mode, possible_mode
from rgbd_seg_ros.fallback.pairing import (
    NS_PER_MS,
    PARTNER,
    FramePair,
    PairedStream,
    Pairer,
    StreamStatus,
)
from rgbd_seg_ros.frames import NETWORKS, STREAMS, Defect, Frame, NetworkName, Stream

#: The network that a stream's frames run through without a partner.
ALONE: dict[Stream, NetworkName] = {"rgb": "rgb", "depth": "depth", "depth_raw": "depth"}
#: Mode changes and warnings that nobody fetches are forgotten beyond this many.
MAX_EVENTS = 256


class Core:
    """Decides which network runs on which frames.

    Drain your messages into :meth:`offer`, call :meth:`tick` at :meth:`next_deadline`, and take
    work with :meth:`next_job` whenever the engine is free. Every call carries ``now`` in
    nanoseconds; the core reads no clock, so the same calls give the same jobs. Not thread-safe:
    put one lock around it.

    Args:
        config: see :class:`CoreConfig`.
        networks: the networks that the bundle has.
        need_intrinsics: those of them that cannot run without camera intrinsics.
    """

    def __init__(
        self,
        config: CoreConfig | None = None,
        networks: Collection[NetworkName] = NETWORKS,
        need_intrinsics: Collection[NetworkName] = (),
    ) -> None:
        self._config = config or CoreConfig()
        self._networks = tuple(networks)
        self._need_intrinsics = tuple(need_intrinsics)
        self.counters = Counters()
        self.mode = Mode.STARTING
        self.mode_reason = "start"
        self._enabled = True
        self._now_ns = 0
        self._changes: deque[ModeChange] = deque(maxlen=MAX_EVENTS)
        self._warnings: deque[str] = deque(maxlen=MAX_EVENTS)
        self.health: dict[Stream, SensorHealth]
        self._pairer: Pairer
        self._job: Job | None
        self._started_ns: int | None
        self._deadline_ns: int | None
        self._geometry: StreamGeometry
        #: Warnings already given.
        self._told: set[str]
        self._forget()

    # --- What others ask and set ---------------------------------------------------------------

    @property
    def config(self) -> CoreConfig:
        """The parameters in force; assign a new one to change them at run time."""
        return self._config

    @config.setter
    def config(self, config: CoreConfig) -> None:
        self._config = config
        self._pairer.config = config
        for health in self.health.values():
            health.config = config
        if self._enabled:
            self._settle()

    @property
    def enabled(self) -> bool:
        """Whether messages are used at all."""
        return self._enabled

    def set_enabled(self, enabled: bool) -> None:
        """Pause, dropping all that is pending, or begin anew."""
        if enabled != self._enabled:
            self._clear(
                "disabled" if not enabled else "reset", "enabled" if enabled else "disabled"
            )
            self._enabled = enabled
            self._now_ns = 0  # what the clock did meanwhile is nobody's concern

    def force_network(self, network: str) -> None:
        """``auto``, or the one network to use; raises ValueError for another name."""
        self.config = dataclasses.replace(self._config, force_network=network)

    def drain_mode_changes(self) -> list[ModeChange]:
        """The changes since the last call, oldest first."""
        changes = list(self._changes)
        self._changes.clear()
        return changes

    def drain_warnings(self) -> list[str]:
        """One-line warnings since the last call; each condition is told once until a reset."""
        warnings = list(self._warnings)
        self._warnings.clear()
        return warnings

    def max_wait_ms(self, stream: PairedStream) -> float:
        """How long a frame of ``stream`` waits for its partner at present."""
        return self._pairer.max_wait_ns(stream) / NS_PER_MS

    # --- The four calls ------------------------------------------------------------------------

    def offer(self, stream: Stream, item: Frame | Defect, now_ns: int) -> None:
        """Take one message that arrived at ``now_ns``."""
        running = self._advance(now_ns)  # first: it may clear what is pending
        self.counters.offered[stream] += 1
        if not (self._enabled and running):
            self.counters.count(stream, "reset" if self._enabled else "disabled")
            return
        if self._started_ns is None:
            self._started_ns = self._now_ns
        health = self.health[stream]
        alone = not any(
            h.dependable(self._now_ns) and self._usable(ALONE[s], s)
            for s, h in self.health.items()
            if s != stream
        )
        verdict = health.observe(item, self._now_ns, alone=alone)
        if isinstance(item, Frame) and verdict.reason is None:
            self._geometry.note(stream, item)
        situation = self._situation()
        if verdict.reason is not None:
            self.counters.count_unusable(stream, verdict.reason)
            if stream != "depth_raw" and verdict.reason != "repeated_stamp":
                stamp_ns = self._credible(item.stamp_ns)
                self._pairer.note_unusable(stream, stamp_ns, self._now_ns, situation)
        elif verdict.recovering:
            self.counters.count(stream, "recovering")
        elif isinstance(item, Frame):
            if stream == "depth_raw":
                self._take_raw(item, situation)
            elif not self._pairer.push(stream, item, self._now_ns, situation):
                self.counters.count(stream, "late")
        self._settle()

    def next_deadline(self, now_ns: int) -> int | None:
        """When to call :meth:`tick` next, ns; None while only a message can change anything."""
        return self._deadline_ns if self._enabled and now_ns > 0 else None

    def tick(self, now_ns: int) -> None:
        """Let time pass: time-outs, frames that waited long enough, the end of STARTING."""
        due_ns = self._deadline_ns
        if not self._enabled or not self._advance(now_ns):
            return
        late_ns = 0 if due_ns is None else self._now_ns - due_ns
        for health in self.health.values():
            health.check_silence(
                self._now_ns, late=late_ns > self._config.late_tick_ms * NS_PER_MS
            )
        self._settle()

    def next_job(self, now_ns: int) -> Job | None:
        """The newest decided job, once; None when there is none. Its frames count as used."""
        if not self._enabled or not self._advance(now_ns) or self._job is None:
            return None
        job, self._job = self._job, None
        # The engine was busy so long that the sensors have died meanwhile.
        max_age_ns = self._config.max_age_s * NS_PER_S
        stale = 0 < max_age_ns < self._now_ns - job.stamp_ns
        self._count_job(job, "late" if stale else "used")
        return None if stale else job

    # --- Deciding ------------------------------------------------------------------------------

    def _settle(self) -> None:
        """After any news: decide instants, then the mode, then the next deadline."""
        situation = self._situation()
        self._update_mode(situation)
        for instant in self._pairer.decide(self._now_ns, situation):
            self._set_job(instant, raw=False)
        start_ends_ns = self._start_ends_ns
        if self.mode is Mode.STARTING and start_ends_ns and self._now_ns >= start_ends_ns:
            self._change_mode(self._possible_mode(self._situation()), "start")
        self._warn()
        deadlines = [health.silence_deadline_ns for health in self.health.values()]
        deadlines.append(self._pairer.deadline_ns)
        if self.mode is Mode.STARTING:
            deadlines.append(start_ends_ns)
        self._deadline_ns = min((d for d in deadlines if d is not None), default=None)

    def _set_job(self, instant: FramePair, *, raw: bool) -> None:
        if self.mode is Mode.STARTING:
            self._change_mode(self._possible_mode(self._situation()), "start")
        rgb, depth = instant.rgb, instant.depth
        source = rgb if rgb is not None else depth
        if source is None:
            raise ValueError("an instant has at least one frame")
        stream: Stream = "rgb" if rgb is not None else "depth_raw" if raw else "depth"
        if self._job is not None:
            self._count_job(self._job, "superseded")
        self._job = Job(
            network="depth" if rgb is None else "rgb" if depth is None else "rgbd",
            stamp_ns=instant.stamp_ns,
            frame_id=source.frame_id,
            rgb=rgb,
            depth=depth,
            raw=raw,
            size=self._geometry.mask_size(stream, source, self._config),
            intrinsics=source.intrinsics or self._geometry.intrinsics(stream, self._config),
            mode=self.mode,
            reason_rgb=self.health["rgb"].reason,
            reason_depth=self.health["depth"].reason,
            age_rgb_ms=_to_ms(self.health["rgb"].age_ns(self._now_ns)),
            age_depth_ms=_to_ms(self.health["depth"].age_ns(self._now_ns)),
        )

    def _take_raw(self, frame: Frame, situation: StreamStatus) -> None:
        """Raw depth makes a job only when neither color nor registered depth serves."""
        started = self.mode is not Mode.STARTING  # until then registered depth may still come
        last_ns = self._pairer.last_stamp_ns
        if situation.serving or not (started and self._usable("depth", "depth_raw")):
            self.counters.count("depth_raw", "skipped")
        elif last_ns is not None and frame.stamp_ns <= last_ns:
            self.counters.count("depth_raw", "late")
        else:
            instant = FramePair(None, frame)
            self._pairer.note_instant(instant)
            self._update_mode(situation)
            self._set_job(instant, raw=True)

    def _situation(self) -> StreamStatus:
        """What pairing has to know of the streams now."""
        rgb, depth = self._ok("rgb"), self._ok("depth")
        fusible = self._usable("rgbd", "rgb") and self._misaligned is None
        fusing = rgb and depth and fusible
        hopeful = False
        if self.mode is Mode.STARTING and fusible and rgb != depth:
            partner: Stream = "depth" if rgb else "rgb"
            hopeful = self.health[partner].state is State.WAITING
        single: set[PairedStream] = set()
        if rgb and self._usable("rgb", "rgb"):
            single.add("rgb")
        if depth and self._usable("depth", "depth") and (fusing or not single):
            single.add("depth")
        serving = frozenset(PARTNER) if fusing or hopeful else frozenset(single)
        periods: dict[PairedStream, int | None] = {
            "rgb": self.health["rgb"].period_ns,
            "depth": self.health["depth"].period_ns,
        }
        return StreamStatus(serving, frozenset(single), fusing, hopeful, periods)

    # --- Modes ---------------------------------------------------------------------------------

    def _possible_mode(self, situation: StreamStatus) -> Mode:
        raw = self._ok("depth_raw") and self._usable("depth", "depth_raw")
        return possible_mode(
            fused=situation.fusing,
            rgb="rgb" in situation.single,
            depth="depth" in situation.single or raw,
        )

    def _update_mode(self, situation: StreamStatus) -> None:
        mode = self._possible_mode(situation)
        if self.mode not in (mode, Mode.STARTING):
            reasons = [
                f"{stream} {self.health[stream].reason}"
                for stream in STREAMS
                if self.health[stream].state is State.LOST
            ]
            if self._misaligned and self._ok("rgb") and self._ok("depth"):
                reasons.append("depth not aligned")
            if self._config.force_network != "auto":
                reasons.append(f"forced to {self._config.force_network}")
            self._change_mode(mode, ", ".join(reasons) or "recovered")

    def _change_mode(self, mode: Mode, reason: str) -> None:
        if mode is not self.mode:
            self._changes.append(ModeChange(self._now_ns, self.mode, mode, reason))
            self.mode, self.mode_reason = mode, reason

    @property
    def _start_ends_ns(self) -> int | None:
        if self._started_ns is None:
            return None
        return self._started_ns + round(self._config.start_grace_s * NS_PER_S)

    # --- Fusion --------------------------------------------------------------------------------

    def _usable(self, name: NetworkName, stream: Stream) -> bool:
        """May this network run on ``stream``: there, not ruled out, and with intrinsics?"""
        return (
            name in self._networks
            and self._config.force_network in ("auto", name)
            and (
                name not in self._need_intrinsics
                or self._geometry.intrinsics(stream, self._config) is not None
            )
        )

    @property
    def _misaligned(self) -> str | None:
        return self._geometry.misaligned(self._config)

    def _warn(self) -> None:
        """Tell what keeps the streams from being fused, each condition once until a reset."""
        unfit = [
            name
            for name in self._need_intrinsics
            if any(self._ok(s) and not self._geometry.intrinsics(s, self._config) for s in PARTNER)
        ]
        dependable = all(self.health[s].dependable(self._now_ns) for s in PARTNER)
        for key, text in advice(self._config, self._pairer, self._misaligned, unfit, dependable):
            if key not in self._told:
                self._told.add(key)
                self._warnings.append(text)

    # --- Time and memory -----------------------------------------------------------------------

    def _advance(self, now_ns: int) -> bool:
        """Move time on; False while the clock does not run. A large step clears all state."""
        if now_ns <= 0:
            return False
        step_ns = round(self._config.clock_step_s * NS_PER_S)
        expected_ns = max(self._now_ns, self._deadline_ns or now_ns)
        if self._now_ns and (now_ns < self._now_ns - step_ns or now_ns > expected_ns + step_ns):
            self._now_ns = now_ns
            self._clear("reset", "clock jumped")
        self._now_ns = max(self._now_ns, now_ns)  # a small step back is ignored
        return True

    def reset(self, now_ns: int) -> None:
        """The clock jumped to ``now_ns``, or a bag starts over: clear all state."""
        self._now_ns = now_ns
        self._clear("reset", "clock jumped")

    def _clear(self, fate: str, reason: str) -> None:
        """Forget everything but the counters; what was pending ends as ``fate``."""
        for stream in STREAMS:
            self.counters.count(stream, fate, self.counters.pending(stream))
        self._forget()
        self._change_mode(Mode.STARTING, reason)
        self.mode_reason = reason

    def _forget(self) -> None:
        self.health = {stream: SensorHealth(stream, self._config) for stream in STREAMS}
        self._pairer = Pairer(self._config, self.counters)
        self._job = None
        self._started_ns = None
        self._deadline_ns = None
        self._geometry = StreamGeometry()
        self._told = set()

    def _ok(self, stream: Stream) -> bool:
        return self.health[stream].state is State.OK

    def _credible(self, stamp_ns: int | None) -> int | None:
        """A stamp that lies near now, else None."""
        if stamp_ns is None or abs(self._now_ns - stamp_ns) > NS_PER_S:
            return None
        return (
            stamp_ns if stamp_ns <= self._now_ns + self._config.max_future_s * NS_PER_S else None
        )

    def _count_job(self, job: Job, fate: str) -> None:
        if job.rgb is not None:
            self.counters.count("rgb", fate)
        if job.depth is not None:
            self.counters.count("depth_raw" if job.raw else "depth", fate)


def _to_ms(ns: int | None) -> float | None:
    return None if ns is None else ns / NS_PER_MS
