# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Bugs to plant into the real classes; the oracle must catch each of them.

Many bugs are a core that uses other parameters than it was given (:data:`WRONG_CONFIG`). The
others replace a public method or property. A few need a private one, because which frame is late
and which partner is chosen cannot be changed from outside.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from rgbd_seg_ros.fallback import Core, CoreConfig, Mode, SensorHealth, State
from rgbd_seg_ros.fallback import health as health_module
from rgbd_seg_ros.fallback.counters import Counters
from rgbd_seg_ros.fallback.health import Verdict
from rgbd_seg_ros.fallback.pairing import FramePair, Pairer, StreamStatus
from rgbd_seg_ros.fallback.streams import Streams
from rgbd_seg_ros.frames import NETWORKS
from rgbd_seg_ros.frames import NS_PER_MS as MS
from rgbd_seg_ros.frames import NS_PER_S as S

#: Replaces an attribute of a class or module until the test is over.
Plant = Callable[[Any, str, Any], None]
BUGS: dict[str, Callable[[Plant], None]] = {}

#: Parameters that the core uses instead of those it was given.
WRONG_CONFIG: dict[str, dict[str, Any]] = {
    "hysteresis is skipped": {"recover_after": 1, "hold_s": 0.0},
    "stale frames are used": {"max_age_s": 0.0},
    "frames from the future are used": {"max_future_s": 0.0},
    "frozen images are used": {"frozen_after": 0},
    "repeated stamps are used": {"check_repeated_stamp": False},
    "a changed size is used at once": {"accept_change_after": 1},
    "silence is never noticed": {"silent_periods": 0.0},
    "a late tick makes streams silent": {"late_tick_ms": 10_000.0},
    "unusable frames never make a stream lost": {"lost_after": 0, "lost_of_last_10": 0},
    "STARTING never ends without a job": {"start_grace_s": 60.0},
    "STARTING ends without waiting": {"start_grace_s": 0.0},
    "a clock step clears nothing": {"clock_step_s": 3600.0},
    "small clock steps clear all state": {"clock_step_s": 0.01},
    "misaligned depth is fused": {"assume_aligned": True},
}


def bug(plant: Callable[[Plant], None]) -> Callable[[Plant], None]:
    """Register a bug under its function's name."""
    BUGS[plant.__name__.replace("_", " ")] = plant
    return plant


def use_wrong_config(plant: Plant, changes: dict[str, Any]) -> None:
    """Let every core ignore the parameters in ``changes``."""
    real = Core.__init__

    def init(self: Core, config: CoreConfig | None = None, *rest: Any) -> None:
        real(self, replace(config or CoreConfig(), **changes), *rest)

    plant(Core, "__init__", init)


for _name, _changes in WRONG_CONFIG.items():
    BUGS[_name] = lambda plant, changes=_changes: use_wrong_config(plant, changes)  # type: ignore[misc]


# --- Health ------------------------------------------------------------------------------------


@bug
def usable_frames_wait_out_the_hold_although_no_stream_serves(plant: Plant) -> None:
    real = SensorHealth.observe
    plant(
        SensorHealth,
        "observe",
        lambda self, item, now, *, alone: real(self, item, now, alone=False),
    )


@bug
def recovering_frames_are_used(plant: Plant) -> None:
    real = SensorHealth.observe

    def observe(self: SensorHealth, item: Any, now: int, *, alone: bool) -> Verdict:
        return Verdict(real(self, item, now, alone=alone).reason)

    plant(SensorHealth, "observe", observe)
    plant(Streams, "ok", lambda self, stream: self.health[stream].state is not State.WAITING)


@bug
def the_hold_does_not_double(plant: Plant) -> None:
    plant(SensorHealth, "hold_ns", property(lambda self: round(self.config.hold_s * S)))


@bug
def an_overdue_stream_counts_as_serving(plant: Plant) -> None:
    plant(SensorHealth, "dependable", lambda self, now: self.state is State.OK)


@bug
def unusable_color_is_used(plant: Plant) -> None:
    plant(health_module, "color_defect", lambda sample, config: None)


@bug
def unusable_depth_is_used(plant: Plant) -> None:
    plant(health_module, "depth_defect", lambda sample, config: None)


@bug
def odd_arrays_raise(plant: Plant) -> None:
    real = health_module.strided_sample
    observe = SensorHealth.observe

    def look_first(self: SensorHealth, item: Any, now: int, *, alone: bool) -> Verdict:
        if hasattr(item, "array"):
            real(item.array)
        return observe(self, item, now, alone=alone)

    plant(SensorHealth, "observe", look_first)


@bug
def late_ticks_put_off_silence_for_ever(plant: Plant) -> None:
    real = SensorHealth.check_silence

    def check(self: SensorHealth, now: int, *, late: bool) -> None:
        if not late:
            real(self, now, late=False)

    plant(SensorHealth, "check_silence", check)


# --- Pairing -----------------------------------------------------------------------------------


@bug
def a_frame_is_used_twice(plant: Plant) -> None:
    real = Pairer.decide

    def decide(self: Pairer, now: int, status: StreamStatus) -> list[FramePair]:
        decided = real(self, now, status)
        for pair in decided:
            if pair.rgb is not None and pair.depth is not None:
                self.push("depth", pair.depth, now, status)
        return decided

    plant(Pairer, "decide", decide)


@bug
def late_frames_are_used(plant: Plant) -> None:
    plant(Pairer, "_is_late", lambda *_: False)


@bug
def frames_late_for_their_instant_make_a_second_mask(plant: Plant) -> None:
    plant(
        Pairer,
        "_is_late",
        lambda self, stream, stamp, *_: stamp < (self.last_stamp_ns or 0),
    )


@bug
def the_wait_never_ends(plant: Plant) -> None:
    plant(Pairer, "deadline_ns", property(lambda self: None))


@bug
def the_wait_is_twice_as_long(plant: Plant) -> None:
    real = Pairer.max_wait_ns
    plant(Pairer, "max_wait_ns", lambda self, stream: 2 * real(self, stream) + 10 * MS)


@bug
def a_growing_lag_is_not_followed(plant: Plant) -> None:
    real = Pairer.lag_ns

    def lag(self: Pairer, stream: Any) -> int | None:
        first = vars(self).setdefault("_first_lags_ns", {})
        lag_ns = real(self, stream)
        return None if lag_ns is None else first.setdefault(stream, lag_ns)

    plant(Pairer, "lag_ns", lag)


@bug
def an_absent_partner_is_waited_for(plant: Plant) -> None:
    real = Pairer.decide

    def decide(self: Pairer, now: int, status: StreamStatus) -> list[FramePair]:
        return real(self, now, replace(status, awaiting_partner=bool(status.single)))

    plant(Pairer, "decide", decide)


@bug
def partners_outside_the_skew_are_fused(plant: Plant) -> None:
    real = Pairer.skew_ns
    plant(Pairer, "skew_ns", lambda self, status: 2 * real(self, status) + 10 * MS)


@bug
def partners_are_not_fused(plant: Plant) -> None:
    plant(Pairer, "skew_ns", lambda self, status: -1)


@bug
def the_oldest_partner_wins_instead_of_the_nearest(plant: Plant) -> None:
    def nearest(self: Pairer, stream: Any, stamp: int, skew: int) -> int | None:
        near = [abs(f.stamp_ns - stamp) <= skew for f, _ in self._held[stream]]
        return near.index(True) if any(near) else None

    plant(Pairer, "_nearest", nearest)
    plant(Pairer, "_has_nearer", lambda *_: False)


@bug
def a_nearer_frame_of_the_own_stream_is_ignored(plant: Plant) -> None:
    plant(Pairer, "_has_nearer", lambda *_: False)


@bug
def a_memory_grows_without_bound(plant: Plant) -> None:
    real = Pairer.push

    def push(self: Pairer, stream: Any, frame: Any, now: int, status: StreamStatus) -> bool:
        vars(self).setdefault("_history", []).append((frame.stamp_ns, now, stream))
        return real(self, stream, frame, now, status)

    plant(Pairer, "push", push)


@bug
def decisions_are_random(plant: Plant) -> None:
    real = Pairer.max_wait_ns
    dice = random.Random(1)
    plant(Pairer, "max_wait_ns", lambda self, stream: round(real(self, stream) * dice.random()))


@bug
def decisions_depend_on_other_cores(plant: Plant) -> None:
    real = Pairer.max_wait_ns
    calls = itertools.count()
    plant(Pairer, "max_wait_ns", lambda self, stream: real(self, stream) if next(calls) % 7 else 0)


# --- Core --------------------------------------------------------------------------------------


@bug
def superseded_jobs_are_not_counted(plant: Plant) -> None:
    real = Counters.count

    def count(self: Counters, stream: Any, fate: str, number: int = 1) -> None:
        if fate != "superseded":
            real(self, stream, fate, number)

    plant(Counters, "count", count)


@bug
def the_older_job_wins(plant: Plant) -> None:
    real = Core.offer

    def offer(self: Core, stream: Any, item: Any, now: int) -> None:
        waiting = self._job
        real(self, stream, item, now)
        if waiting is not None and self.mode is not Mode.STARTING:
            self._job = waiting

    plant(Core, "offer", offer)


@bug
def a_job_that_grew_stale_is_handed_out(plant: Plant) -> None:
    real = Core.next_job

    def next_job(self: Core, now: int) -> Any:
        waiting = self._job
        job = real(self, now)
        return waiting if job is None and self.mode is not Mode.STARTING else job

    plant(Core, "next_job", next_job)


@bug
def a_mask_is_invented_without_input(plant: Plant) -> None:
    real = Core.next_job

    def next_job(self: Core, now: int) -> Any:
        job = real(self, now)
        if job is None and self.mode is Mode.NO_INPUT:
            return vars(self).get("_last_job")
        vars(self)["_last_job"] = job or vars(self).get("_last_job")
        return job

    plant(Core, "next_job", next_job)


@bug
def pairing_survives_a_reset(plant: Plant) -> None:
    real = Core.reset

    def reset(self: Core, now: int) -> None:
        pairer = self._pairer
        real(self, now)
        self._pairer = pairer

    plant(Core, "reset", reset)


@bug
def force_network_is_ignored(plant: Plant) -> None:
    real = Streams.configure
    plant(
        Streams,
        "configure",
        lambda self, config: real(self, replace(config, force_network="auto")),
    )


@bug
def networks_that_the_bundle_lacks_are_used(plant: Plant) -> None:
    real = Core.__init__
    plant(Core, "__init__", lambda self, config, _, need: real(self, config, NETWORKS, need))


@bug
def networks_run_without_the_intrinsics_they_need(plant: Plant) -> None:
    real = Core.__init__
    plant(Core, "__init__", lambda self, config, networks, _: real(self, config, networks))


@bug
def raw_depth_competes_with_color(plant: Plant) -> None:
    real = Streams.status

    def status(self: Streams, *, starting: bool) -> StreamStatus:
        return replace(real(self, starting=starting), serving=frozenset())

    plant(Streams, "status", status)


@bug
def a_disabled_core_decides(plant: Plant) -> None:
    def set_enabled(self: Core, enabled: bool) -> None:
        for stream in self.counters.offered:
            pending = self.counters.pending(stream)
            self.counters.count(stream, "reset" if enabled else "disabled", pending)

    plant(Core, "set_enabled", set_enabled)
