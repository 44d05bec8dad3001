# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Bugs to plant into the real classes; the property test must catch each of them."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable
from typing import Any

from rigs.fallback.scenario import S

from rgbd_seg_ros.fallback import Core, Mode, SensorHealth, State
from rgbd_seg_ros.fallback import core as core_module
from rgbd_seg_ros.fallback import health as health_module
from rgbd_seg_ros.fallback.health import Verdict
from rgbd_seg_ros.fallback.pairing import FramePair, Pairer

#: Replaces an attribute of a class or module until the test is over.
Plant = Callable[[Any, str, Any], None]
BUGS: dict[str, Callable[[Plant], None]] = {}


def bug(plant: Callable[[Plant], None]) -> Callable[[Plant], None]:
    """Register a bug under its function's name."""
    BUGS[plant.__name__.replace("_", " ")] = plant
    return plant


@bug
def a_frame_is_used_twice(plant: Plant) -> None:
    real = Pairer._decide_oldest

    def decide(self: Pairer, stream: Any, now: int, situation: Any) -> FramePair | None:
        held = {s: list(h) for s, h in self._held.items()}
        instant = real(self, stream, now, situation)
        if instant is not None and instant.rgb is not None and instant.depth is not None:
            self._held["depth"] = [e for e in held["depth"] if e[0] is instant.depth]
        return instant

    plant(Pairer, "_decide_oldest", decide)


@bug
def late_frames_are_used(plant: Plant) -> None:
    plant(Pairer, "_is_late", lambda *_: False)
    plant(Pairer, "note_instant", lambda self, instant: setattr(self, "_last", instant))


@bug
def frames_late_for_their_instant_make_a_second_mask(plant: Plant) -> None:
    plant(
        Pairer,
        "_is_late",
        lambda self, stream, stamp, *_: self._last is not None and stamp < self._last.stamp_ns,
    )


@bug
def the_wait_never_ends(plant: Plant) -> None:
    plant(Pairer, "deadline_ns", property(lambda self: None))


@bug
def the_wait_is_twice_as_long(plant: Plant) -> None:
    real = Pairer.max_wait_ns
    plant(Pairer, "max_wait_ns", lambda self, stream: 2 * real(self, stream) + 10**7)


@bug
def a_lost_partner_is_waited_for(plant: Plant) -> None:
    real = Core._situation

    def situation(self: Core) -> Any:
        found = real(self)
        if found.single and not found.fusing and self.health["depth"].state is State.LOST:
            object.__setattr__(found, "hopeful", True)
        return found

    plant(Core, "_situation", situation)


@bug
def hysteresis_is_skipped(plant: Plant) -> None:
    plant(SensorHealth, "_held_long_enough", lambda self, now: True)


@bug
def the_hold_does_not_double(plant: Plant) -> None:
    plant(SensorHealth, "hold_ns", property(lambda self: round(self.config.hold_s * S)))


@bug
def blind_on_good_frames_during_the_hold(plant: Plant) -> None:
    real = SensorHealth.observe
    plant(
        SensorHealth,
        "observe",
        lambda self, item, now, *, alone: real(self, item, now, alone=False),
    )


@bug
def an_overdue_partner_counts_as_serving(plant: Plant) -> None:
    plant(SensorHealth, "dependable", lambda self, now: self.state is State.OK)


@bug
def superseded_jobs_are_not_counted(plant: Plant) -> None:
    real = Core._count_job
    plant(
        Core,
        "_count_job",
        lambda self, job, fate: None if fate == "superseded" else real(self, job, fate),
    )


@bug
def the_older_job_wins(plant: Plant) -> None:
    real = Core._set_job

    def set_job(self: Core, instant: FramePair, *, raw: bool) -> None:
        waiting = self._job
        real(self, instant, raw=raw)
        if waiting is not None:
            self._job = waiting

    plant(Core, "_set_job", set_job)


@bug
def stale_frames_are_used(plant: Plant) -> None:
    real = SensorHealth._stamp_defect
    plant(
        SensorHealth,
        "_stamp_defect",
        lambda self, frame, now: real(self, frame, min(now, frame.stamp_ns + S)),
    )


@bug
def a_job_grows_stale_while_the_engine_is_busy(plant: Plant) -> None:
    def next_job(self: Core, now: int) -> Any:
        job, self._job = self._job, None
        if job is not None:
            self._count_job(job, "used")
        return job

    plant(Core, "next_job", next_job)


@bug
def unusable_pictures_are_used(plant: Plant) -> None:
    plant(health_module, "color_defect", lambda sample, config: None)


@bug
def unusable_depth_is_used(plant: Plant) -> None:
    plant(health_module, "depth_defect", lambda sample, config: None)


@bug
def frozen_pictures_pass(plant: Plant) -> None:
    plant(SensorHealth, "_frozen", lambda self, sample: None)


@bug
def repeated_stamps_pass(plant: Plant) -> None:
    real = SensorHealth._stamp_defect

    def defect(self: SensorHealth, frame: Any, now: int) -> str | None:
        reason = real(self, frame, now)
        return None if reason == "repeated_stamp" else reason

    plant(SensorHealth, "_stamp_defect", defect)


@bug
def a_changed_size_passes(plant: Plant) -> None:
    real = SensorHealth._format_defect

    def defect(self: SensorHealth, frame: Any) -> str | None:
        self._format = None
        return real(self, frame)

    plant(SensorHealth, "_format_defect", defect)


@bug
def newest_first(plant: Plant) -> None:
    real = Pairer.decide
    plant(Pairer, "decide", lambda self, now, s: list(reversed(real(self, now, s))))
    plant(Pairer, "_is_late", lambda *_: False)


@bug
def a_memory_without_bound(plant: Plant) -> None:
    real = Pairer.push

    def push(self: Pairer, stream: Any, frame: Any, now: int, situation: Any) -> bool:
        vars(self).setdefault("_history", []).append((frame.stamp_ns, now, stream))
        return real(self, stream, frame, now, situation)

    plant(Pairer, "push", push)


@bug
def a_clock_step_clears_nothing(plant: Plant) -> None:
    real = Core._clear

    def clear(self: Core, fate: str, reason: str) -> None:
        if reason != "clock jumped":
            real(self, fate, reason)

    plant(Core, "_clear", clear)


@bug
def pairing_survives_a_clock_step(plant: Plant) -> None:
    real = Core._forget

    def forget(self: Core) -> None:
        pairer = vars(self).get("_pairer")
        real(self)
        if pairer is not None:
            self._pairer = pairer

    plant(Core, "_forget", forget)


@bug
def small_steps_clear_all(plant: Plant) -> None:
    real = Core._advance

    def advance(self: Core, now: int) -> bool:
        if 0 < now < self._now_ns:
            self.reset(now)
        return real(self, now)

    plant(Core, "_advance", advance)


@bug
def partners_outside_the_skew(plant: Plant) -> None:
    real = Pairer._nearest
    plant(
        Pairer,
        "_nearest",
        lambda self, stream, stamp, skew: real(self, stream, stamp, 2 * skew + 10**7),
    )


@bug
def the_oldest_partner_instead_of_the_nearest(plant: Plant) -> None:
    def nearest(self: Pairer, stream: Any, stamp: int, skew: int) -> int | None:
        near = [abs(f.stamp_ns - stamp) <= skew for f, _ in self._held[stream]]
        return near.index(True) if any(near) else None

    plant(Pairer, "_nearest", nearest)
    plant(Pairer, "_has_nearer", lambda *_: False)


@bug
def partners_are_not_fused(plant: Plant) -> None:
    plant(Pairer, "_nearest", lambda *_: None)


@bug
def late_frames_do_not_teach_the_lag(plant: Plant) -> None:
    real = Pairer._learn_lag

    def learn(self: Pairer, stream: Any, stamp: int, now: int, skew: int) -> None:
        if self._last is None or stamp > self._last.stamp_ns + skew:
            real(self, stream, stamp, now, skew)

    plant(Pairer, "_learn_lag", learn)


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
def odd_pictures_raise(plant: Plant) -> None:
    real = SensorHealth._format_defect

    def defect(self: SensorHealth, frame: Any) -> str | None:
        height, width = frame.array.shape[:2]
        return real(self, frame) if height and width else "malformed"

    plant(SensorHealth, "_format_defect", defect)


@bug
def decisions_by_chance(plant: Plant) -> None:
    real = Pairer.max_wait_ns
    dice = random.Random(1)
    plant(Pairer, "max_wait_ns", lambda self, stream: round(real(self, stream) * dice.random()))


@bug
def decisions_by_what_another_core_did(plant: Plant) -> None:
    count = itertools.count()
    real = Pairer._due
    plant(Pairer, "_due", lambda self, *a: real(self, *a) and next(count) % 7 != 0)


@bug
def silence_is_never_noticed(plant: Plant) -> None:
    plant(SensorHealth, "silence_deadline_ns", property(lambda self: None))


@bug
def a_late_tick_condemns_the_sensors(plant: Plant) -> None:
    real = SensorHealth.check_silence
    plant(SensorHealth, "check_silence", lambda self, now, *, late: real(self, now, late=False))


@bug
def late_ticks_put_off_silence_for_ever(plant: Plant) -> None:
    real = SensorHealth.check_silence

    def check(self: SensorHealth, now: int, *, late: bool) -> None:
        if late:
            self._granted_until_ns = 0
        real(self, now, late=late)

    plant(SensorHealth, "check_silence", check)


@bug
def starting_never_ends(plant: Plant) -> None:
    plant(Core, "_start_ends_ns", property(lambda self: None))


@bug
def starting_waits_for_nobody(plant: Plant) -> None:
    real = Core._advance

    def advance(self: Core, now: int) -> bool:
        runs = real(self, now)
        if self.mode is Mode.STARTING and self._started_ns is not None:
            self._change_mode(self._possible_mode(self._situation()), "start")
        return runs

    plant(Core, "_advance", advance)


@bug
def force_network_is_ignored(plant: Plant) -> None:
    plant(core_module.Core, "force_network", lambda self, network: None)


@bug
def networks_that_the_bundle_lacks(plant: Plant) -> None:
    real = Pairer._alone

    def alone(self: Pairer, stream: Any, situation: Any, *, missed: bool = False) -> Any:
        object.__setattr__(situation, "single", frozenset(("rgb", "depth")))
        return real(self, stream, situation, missed=missed)

    plant(Pairer, "_alone", alone)


@bug
def unregistered_depth_is_fused(plant: Plant) -> None:
    plant(Core, "_misaligned", property(lambda self: None))


@bug
def raw_depth_competes_with_color(plant: Plant) -> None:
    real = Core._take_raw

    def take(self: Core, frame: Any, situation: Any) -> None:
        object.__setattr__(situation, "serving", frozenset())
        real(self, frame, situation)

    plant(Core, "_take_raw", take)


@bug
def disabled_but_deciding(plant: Plant) -> None:
    def set_enabled(self: Core, enabled: bool) -> None:
        self._clear("disabled" if not enabled else "reset", "")

    plant(Core, "set_enabled", set_enabled)


@bug
def recovering_frames_are_used(plant: Plant) -> None:
    real = SensorHealth.observe

    def observe(self: SensorHealth, item: Any, now: int, *, alone: bool) -> Verdict:
        verdict = real(self, item, now, alone=alone)
        return Verdict(verdict.reason)

    plant(SensorHealth, "observe", observe)
    plant(Core, "_ok", lambda self, s: self.health[s].state is not State.WAITING)
