# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Bugs to plant into the real classes; the oracle must catch each of them.

In many bugs, the core uses other parameters than it was given (:data:`WRONG_CONFIG`). The
others replace a public method, property or function. A few need a private one, because which frame
is late and which partner is chosen cannot be changed from outside.
"""

from __future__ import annotations

import itertools
import random
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from rgbd_seg_ros.fallback import Core, CoreConfig, Mode, SensorHealth, State
from rgbd_seg_ros.fallback import health as health_module
from rgbd_seg_ros.fallback.counters import Counters
from rgbd_seg_ros.fallback.health import Verdict, strided_sample
from rgbd_seg_ros.fallback.pairing import FramePair, Pairer, StreamStatus
from rgbd_seg_ros.fallback.streams import Streams
from rgbd_seg_ros.frames import NETWORK_NAMES, Frame
from rgbd_seg_ros.frames import NS_PER_MS as MS
from rgbd_seg_ros.frames import NS_PER_S as S

#: Attribute to replace: class or module, name, and a function from real to wrong value.
Replacement = tuple[Any, str, Callable[[Any], Any]]
#: Every bug by name.
BUGS: dict[str, list[Replacement]] = defaultdict(list)


def bug(owner: Any, attribute: str, name: str = "") -> Callable[[Any], Any]:
    """Register a function that replaces an attribute; its first argument is the real one.

    Args:
        owner: class or module.
        attribute: of the owner: a method, a property or a function.
        name: of the bug that the function is a part of; by default its own name.
    """

    def register(wrong: Callable[..., Any]) -> Callable[..., Any]:
        def make(real: Any) -> Any:
            if isinstance(real, property):
                return property(lambda self: wrong(real.fget, self))
            return lambda *args, **options: wrong(real, *args, **options)

        key = name or wrong.__name__.replace("_", " ")
        BUGS[key].append((owner, attribute, make))
        return wrong

    return register


#: Parameters that the core uses instead of those it was given.
WRONG_CONFIG: dict[str, dict[str, Any]] = {
    "hysteresis is skipped": {"recover_after": 1, "hold_s": 0.0},
    "stale frames are used": {"max_age_s": 0.0},
    "frames from the future are used": {"max_future_s": 0.0},
    "frozen images are used": {"frozen_after": 0},
    "repeated stamps are used": {"check_repeated_stamp": False},
    "a changed size is used at once": {"accept_change_after": 1},
    "silence is never detected": {"silent_periods": 0.0},
    "a late tick makes streams silent": {"late_tick_ms": 10_000.0},
    "unusable frames never make a stream lost": {"lost_after": 0, "lost_of_last_10": 0},
    "STARTING never ends without a job": {"start_grace_s": 60.0},
    "STARTING ends without waiting": {"start_grace_s": 0.0},
    "a clock step clears nothing": {"clock_step_s": 3600.0},
    "small clock steps clear all state": {"clock_step_s": 0.01},
    "misaligned depth is fused": {"assume_aligned": True},
}


def _use_wrong_config(name: str, changes: dict[str, Any]) -> None:
    @bug(Core, "__init__", name)
    def init(real: Any, self: Core, config: CoreConfig, *rest: Any) -> None:
        real(self, replace(config, **changes), *rest)


for _name, _changes in WRONG_CONFIG.items():
    _use_wrong_config(_name, _changes)


# --- Health ------------------------------------------------------------------------------------


@bug(SensorHealth, "observe")
def usable_frames_wait_out_the_hold_although_no_other_stream_serves(
    real: Any, self: SensorHealth, item: Any, now: int, *, alone: bool
) -> Verdict:
    return real(self, item, now, alone=False)


@bug(SensorHealth, "observe")
def recovering_frames_are_used(
    real: Any, self: SensorHealth, item: Any, now: int, *, alone: bool
) -> Verdict:
    return Verdict(real(self, item, now, alone=alone).reason)


@bug(Streams, "ok", "recovering frames are used")
def ok(real: Any, self: Streams, stream: Any) -> bool:
    return self.health[stream].state is not State.WAITING


@bug(SensorHealth, "hold_ns")
def the_hold_does_not_double(real: Any, self: SensorHealth) -> int:
    return round(self.config.hold_s * S)


@bug(SensorHealth, "dependable")
def an_overdue_stream_counts_as_serving(real: Any, self: SensorHealth, now: int) -> bool:
    return self.state is State.OK


@bug(health_module, "color_defect")
def unusable_color_is_used(real: Any, sample: Any, config: CoreConfig) -> None:
    return None


@bug(health_module, "depth_defect")
def unusable_depth_is_used(real: Any, sample: Any, config: CoreConfig) -> None:
    return None


@bug(SensorHealth, "observe")
def odd_arrays_raise(
    real: Any, self: SensorHealth, item: Any, now: int, *, alone: bool
) -> Verdict:
    if isinstance(item, Frame):
        strided_sample(item.array)  # before the format is checked
    return real(self, item, now, alone=alone)


@bug(SensorHealth, "check_silence")
def late_ticks_put_off_silence_for_ever(
    real: Any, self: SensorHealth, now: int, *, late: bool
) -> None:
    if not late:
        real(self, now, late=False)


# --- Pairing -----------------------------------------------------------------------------------


@bug(Pairer, "decide")
def a_frame_is_used_twice(
    real: Any, self: Pairer, now: int, status: StreamStatus
) -> list[FramePair]:
    decided = real(self, now, status)
    for pair in decided:
        if pair.rgb is not None and pair.depth is not None:
            self.push("depth", pair.depth, now, status)
    return decided


@bug(Pairer, "_is_late")
def late_frames_are_used(real: Any, self: Pairer, *_: Any) -> bool:
    return False


@bug(Pairer, "_is_late")
def frames_late_for_their_instant_make_a_second_mask(
    real: Any, self: Pairer, stream: Any, stamp: int, *_: Any
) -> bool:
    return stamp < (self.last_stamp_ns or 0)


@bug(Pairer, "deadline_ns")
def the_wait_never_ends(real: Any, self: Pairer) -> None:
    return None


@bug(Pairer, "max_wait_ns")
def the_wait_is_twice_as_long(real: Any, self: Pairer, stream: Any) -> int:
    return 2 * real(self, stream) + 10 * MS


@bug(Pairer, "lag_ns")
def a_growing_lag_is_not_followed(real: Any, self: Pairer, stream: Any) -> int | None:
    lag_ns = real(self, stream)
    first = vars(self).setdefault("_first_lags_ns", {})
    return None if lag_ns is None else first.setdefault(stream, lag_ns)


@bug(Pairer, "decide")
def an_absent_partner_is_waited_for(
    real: Any, self: Pairer, now: int, status: StreamStatus
) -> list[FramePair]:
    return real(self, now, replace(status, awaiting_partner=bool(status.single)))


@bug(Pairer, "skew_ns")
def partners_outside_the_skew_are_fused(real: Any, self: Pairer, status: StreamStatus) -> int:
    return 2 * real(self, status) + 10 * MS


@bug(Pairer, "skew_ns")
def partners_are_not_fused(real: Any, self: Pairer, status: StreamStatus) -> int:
    return -1


@bug(Pairer, "_nearest")
def the_oldest_partner_wins_instead_of_the_nearest(
    real: Any, self: Pairer, stream: Any, stamp: int, skew: int
) -> int | None:
    near = [abs(f.stamp_ns - stamp) <= skew for f, _ in self._held[stream]]
    return near.index(True) if any(near) else None


@bug(Pairer, "_has_nearer", "the oldest partner wins instead of the nearest")
@bug(Pairer, "_has_nearer")
def a_frame_takes_a_partner_that_is_nearer_to_a_later_one(*_: Any) -> bool:
    return False


@bug(Pairer, "push")
def a_memory_grows_without_bound(
    real: Any, self: Pairer, stream: Any, frame: Frame, now: int, status: StreamStatus
) -> bool:
    vars(self).setdefault("_history", []).append((frame.stamp_ns, now, stream))
    return real(self, stream, frame, now, status)


_dice = random.Random(1)
_calls = itertools.count()


@bug(Pairer, "max_wait_ns")
def decisions_are_random(real: Any, self: Pairer, stream: Any) -> int:
    return round(real(self, stream) * _dice.random())


@bug(Pairer, "max_wait_ns")
def decisions_depend_on_other_cores(real: Any, self: Pairer, stream: Any) -> int:
    return real(self, stream) if next(_calls) % 7 else 0


# --- Core --------------------------------------------------------------------------------------


@bug(Counters, "count")
def superseded_jobs_are_not_counted(
    real: Any, self: Counters, stream: Any, fate: str, number: int = 1
) -> None:
    if fate != "superseded":
        real(self, stream, fate, number)


@bug(Core, "offer")
def the_older_job_wins(real: Any, self: Core, *message: Any) -> None:
    waiting = self._work.waiting
    real(self, *message)
    if waiting is not None and self.mode is not Mode.STARTING:
        self._work.waiting = waiting


@bug(Core, "next_job")
def a_job_that_grew_stale_is_handed_out(real: Any, self: Core, now: int) -> Any:
    waiting = self._work.waiting
    job = real(self, now)
    return waiting and waiting.job if job is None and self.mode is not Mode.STARTING else job


@bug(Core, "next_job")
def a_mask_is_invented_without_input(real: Any, self: Core, now: int) -> Any:
    job = real(self, now) or (self.mode is Mode.NO_INPUT and vars(self).get("_last_job")) or None
    vars(self)["_last_job"] = job or vars(self).get("_last_job")
    return job


@bug(Core, "reset")
def pairing_survives_a_reset(real: Any, self: Core, now: int) -> None:
    pairer = self._pairer
    real(self, now)
    self._pairer = pairer


@bug(Streams, "configure")
def force_network_is_ignored(real: Any, self: Streams, config: CoreConfig) -> None:
    real(self, replace(config, force_network="auto"))


@bug(Core, "__init__")
def networks_that_the_bundle_lacks_are_used(
    real: Any, self: Core, config: CoreConfig, networks: Any, need_intrinsics: Any
) -> None:
    real(self, config, NETWORK_NAMES, need_intrinsics)


@bug(Core, "__init__")
def networks_run_without_the_intrinsics_they_need(
    real: Any, self: Core, config: CoreConfig, networks: Any, need_intrinsics: Any
) -> None:
    real(self, config, networks)


@bug(Streams, "status")
def raw_depth_competes_with_color(real: Any, self: Streams, *, starting: bool) -> StreamStatus:
    return replace(real(self, starting=starting), serving=frozenset())


@bug(Core, "set_enabled")
def a_disabled_core_decides(real: Any, self: Core, enabled: bool) -> None:
    for stream in self.counters.offered:
        pending = self.counters.pending(stream)
        self.counters.count(stream, "reset" if enabled else "disabled", pending)
