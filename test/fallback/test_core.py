# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The core: start, modes, clock, raw depth, headers and sizes, networks, settings."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from rigs.fallback.bench import T0, Bench, black, depth, hole, rgb
from rigs.fallback.scenario import INTRINSICS, MS, S

from rgbd_seg_ros.fallback import Core, CoreConfig, Mode, State
from rgbd_seg_ros.frames import Defect, Intrinsics

# --- start -------------------------------------------------------------------------------------


def test_starting_ends_with_the_first_job() -> None:
    bench = Bench().rgb(0)
    assert (bench.core.mode, bench.jobs) == (Mode.STARTING, [])
    bench.depth(0, lag=30)
    assert (bench.core.mode, bench.networks) == (Mode.RGBD, ["rgbd"])
    (change,) = bench.core.drain_mode_changes()
    assert (change.from_mode, change.to_mode, change.t_ns) == (
        Mode.STARTING,
        Mode.RGBD,
        T0 + 30 * MS,
    )
    assert bench.core.drain_mode_changes() == []


@pytest.mark.parametrize("stream", ["rgb", "depth"])
def test_the_first_frame_waits_max_wait_for_its_partner(stream: str) -> None:
    bench = Bench()
    getattr(bench, stream)(0)
    bench.to(99)
    assert bench.core.mode is Mode.STARTING
    bench.to(100)
    assert [(ms, job.network) for ms, job in bench.jobs] == [(100, stream)]
    assert bench.core.mode is (Mode.RGB_ONLY if stream == "rgb" else Mode.DEPTH_ONLY)
    assert bench.core.counters.partner_missed == 0


@pytest.mark.parametrize(("grace_s", "end_ms"), [(1.0, 1000), (0.3, 300)])
def test_starting_ends_after_the_grace_without_a_usable_frame(grace_s: float, end_ms: int) -> None:
    bench = Bench(start_grace_s=grace_s).offer("rgb", black(T0), 0).to(end_ms - 1)
    assert bench.core.mode is Mode.STARTING
    assert bench.to(end_ms).core.mode is Mode.NO_INPUT


def test_nothing_is_decided_before_the_first_message() -> None:
    bench = Bench().to(60_000)
    assert (bench.core.mode, bench.core.next_deadline(bench.now)) == (Mode.STARTING, None)


# --- modes -------------------------------------------------------------------------------------


def test_no_input_is_reported_when_both_streams_time_out() -> None:
    bench = Bench().both(0, 400).to(609)
    assert bench.core.mode is Mode.RGBD
    bench.to(610)
    assert bench.core.mode is Mode.NO_INPUT
    assert "silent" in bench.core.mode_reason
    assert bench.jobs[-1][0] == 360
    bench.rgb(3000)
    assert (bench.core.mode, bench.networks[-1]) == (Mode.RGB_ONLY, "rgb")


def test_fusion_resumes_after_the_hold() -> None:
    bench = Bench().both(0, 400)
    for t in range(400, 800, 40):
        bench.rgb(t)
    assert bench.core.mode is Mode.RGB_ONLY
    bench.both(800, 1800)
    assert bench.core.mode is Mode.RGB_ONLY
    assert bench.core.counters.fates["depth"]["recovering"] == 25
    bench.both(1800, 1880)
    assert bench.core.mode is Mode.RGBD
    assert bench.core.drain_mode_changes()[-1].reason == "recovered"


def test_a_stream_in_its_hold_is_used_when_the_other_one_stops() -> None:
    bench = Bench().both(0, 400)
    for t in range(400, 800, 40):
        bench.rgb(t)
    bench.both(800, 1200)
    bench.jobs.clear()
    for t in range(1200, 1600, 40):
        bench.depth(t)
    assert bench.jobs[0][0] - 1160 <= 3 * 40 + bench.core.max_wait_ms("depth")


def test_jobs_carry_the_state_at_their_decision() -> None:
    bench = Bench().both(0, 400)
    for t in range(400, 800, 40):
        bench.rgb(t, lag=7)
    _, job = bench.jobs[-1]
    assert (job.mode, job.reason_rgb, job.reason_depth) == (Mode.RGB_ONLY, "ok", "silent")
    assert (job.age_rgb_ms, job.age_depth_ms) == (7, 760 + 7 - 360)


# --- clock -------------------------------------------------------------------------------------


def test_clock_at_zero_decides_nothing() -> None:
    core = Core()
    core.offer("rgb", rgb(0), 0)
    core.tick(0)
    assert (core.next_deadline(0), core.next_job(0), core.mode) == (None, None, Mode.STARTING)
    assert core.counters.fates["rgb"]["reset"] == 1


def test_no_job_is_handed_out_while_the_clock_reads_zero() -> None:
    core = Core()
    core.offer("rgb", rgb(T0), T0)
    core.offer("depth", depth(T0), T0)
    assert core.next_job(0) is None
    assert core.next_job(T0) is not None


def test_a_stopped_clock_is_a_pause() -> None:
    bench = Bench().both(0, 400)
    for _ in range(100):
        bench.core.tick(bench.now)
    assert bench.core.mode is Mode.RGBD
    bench.both(400, 800)
    assert set(bench.networks) == {"rgbd"}


@pytest.mark.parametrize("step_s", [-0.5, -0.3, 0.3])
def test_small_steps_are_ignored(step_s: float) -> None:
    bench = Bench().both(0, 400)
    core = bench.core
    now = bench.now + round(step_s * S)
    core.offer("rgb", rgb(T0 + 400 * MS), now)
    core.offer("depth", depth(T0 + 400 * MS), now)
    assert core.mode is Mode.RGBD
    assert core.next_job(now) is not None
    assert core.counters.fates["rgb"]["reset"] == 0


@pytest.mark.parametrize("step_s", [-0.51, -10.0, -900.0, 0.76, 10.0, 1e9])
@pytest.mark.parametrize("call", ["offer", "tick", "next_job"])
def test_large_steps_clear_all_state(step_s: float, call: str) -> None:
    core = Core()
    for i in range(10):
        t = T0 + i * 40 * MS
        core.offer("rgb", rgb(t), t)
        core.offer("depth", depth(t), t)
    core.offer("rgb", rgb(t + 40 * MS), t)
    now = t + round(step_s * S)
    if call == "offer":
        core.offer("rgb", rgb(now), now)
    elif call == "tick":
        core.tick(now)
    else:
        assert core.next_job(now) is None
    assert core.mode is Mode.STARTING
    # The core sees no difference between a clock that jumps ahead and a process that was stopped.
    assert core.mode_reason == ("clock jumped" if step_s < 0 else "stalled or clock jumped")
    assert core.health["depth"].state is State.WAITING
    assert core.counters.fates["rgb"]["reset"] == 2
    assert core.counters.fates["depth"]["reset"] == 1
    core.offer("rgb", rgb(now + 1), now + 1)  # stamps before the last job's are valid again
    core.offer("depth", depth(now + 1), now + 1)
    assert core.next_job(now + 1) is not None


@pytest.mark.parametrize(("late_ms", "cleared"), [(500, False), (501, True)])
def test_a_step_ahead_is_measured_from_the_tick_that_was_due(late_ms: int, cleared: bool) -> None:
    bench = Bench().both(0, 400)
    due = bench.core.next_deadline(bench.now)
    assert due is not None
    bench.core.tick(due + late_ms * MS)
    assert bench.core.mode is (Mode.STARTING if cleared else Mode.RGBD)


def test_a_late_tick_grants_one_more_period() -> None:
    bench = Bench().both(0, 400)
    core, late = bench.core, T0 + (360 + 250 + 51) * MS
    core.tick(late)
    assert core.mode is Mode.RGBD
    assert core.next_deadline(late) == late + 40 * MS
    core.tick(late + 40 * MS)
    assert core.mode is Mode.NO_INPUT


def test_a_tick_in_time_makes_silent_streams_lost() -> None:
    bench = Bench().both(0, 400)
    bench.core.tick(T0 + (360 + 250 + 50) * MS)
    assert bench.core.mode is Mode.NO_INPUT


def test_a_job_that_waited_too_long_is_late() -> None:
    core = Core()
    core.offer("rgb", rgb(T0), T0)
    core.offer("depth", depth(T0), T0)
    core.tick(T0 + S)
    assert core.next_job(T0 + S + 1) is None
    assert core.counters.fates["rgb"]["late"] == 1


def test_reset_clears_all_state() -> None:
    bench = Bench().both(0, 400).rgb(400)
    bench.core.reset(T0)
    assert bench.core.mode is Mode.STARTING
    assert bench.core.counters.fates["rgb"]["reset"] == 1
    assert bench.core.next_deadline(T0) is None


# --- raw depth ---------------------------------------------------------------------------------


def test_raw_depth_is_used_only_when_color_and_aligned_depth_are_lost() -> None:
    bench = Bench()
    for t in range(0, 400, 40):
        bench.rgb(t).depth(t).raw(t)
    assert set(bench.networks) == {"rgbd"}
    assert bench.core.counters.fates["depth_raw"]["skipped"] == 10
    for t in range(400, 800, 40):  # color stops, aligned depth does not
        bench.depth(t).raw(t)
    assert not any(job.raw for _, job in bench.jobs)
    bench.jobs.clear()
    for t in range(800, 1600, 40):  # both stop
        bench.raw(t)
    ms, job = bench.jobs[0]
    assert ms - 760 <= 250 + 40
    assert (job.network, job.raw, job.frame_id) == ("depth", True, "raw")
    assert bench.core.mode is Mode.DEPTH_ONLY
    assert len(bench.jobs) == len({job.stamp_ns for _, job in bench.jobs}) >= 13


def test_raw_depth_is_used_if_color_has_no_network() -> None:
    bench = Bench(force_network="depth")
    for t in range(0, 1200, 40):
        bench.rgb(t).raw(t)
    assert bench.core.mode is Mode.DEPTH_ONLY
    assert bench.jobs[-1][1].raw


def test_raw_depth_is_used_after_the_grace_until_color_arrives() -> None:
    bench = Bench()
    for t in range(0, 1400, 40):
        bench.raw(t)
    assert bench.jobs[0][0] == pytest.approx(1000, abs=40)
    bench.rgb(1400).raw(1440)
    assert bench.networks[-1] == "rgb"


# --- headers and sizes -------------------------------------------------------------------------


def big(stamp_ns: int, **other: Any) -> Any:
    """A color frame of twice the usual size."""
    return rgb(stamp_ns, array=np.tile(rgb(stamp_ns).array, (2, 2, 1)), **other)


def test_a_mask_with_color_has_its_header_and_size() -> None:
    bench = Bench()
    bench.offer("rgb", big(T0), 0).depth(3)
    _, job = bench.jobs[0]
    assert (job.network, job.stamp_ns, job.frame_id, job.size) == ("rgbd", T0, "camera", (16, 16))


def test_a_mask_of_aligned_depth_has_the_last_size_of_color() -> None:
    bench = Bench()
    for i in range(10):
        bench.offer("rgb", big(T0 + i * 40 * MS), i * 40).depth(i * 40)
    bench.depth(400).to(420)
    _, job = bench.jobs[-1]
    assert (job.network, job.stamp_ns, job.size) == ("depth", T0 + 400 * MS, (16, 16))


def test_a_mask_of_misaligned_depth_has_its_own_size() -> None:
    bench = Bench()
    for i in range(10):
        bench.offer("rgb", big(T0 + i * 40 * MS), i * 40).depth(i * 40, frame_id="depth")
    for t in range(400, 1000, 40):
        bench.depth(t, frame_id="depth")
    _, job = bench.jobs[-1]
    assert (job.network, job.size, job.frame_id) == ("depth", (8, 8), "depth")


def test_unusable_color_does_not_set_the_size_of_depth() -> None:
    bench = Bench()
    bench.offer("rgb", black(T0), 0)
    bench.core.offer("rgb", rgb(T0 + 1, array=np.zeros((16, 12, 3), np.uint8)), T0 + 1)
    bench.depth(2)
    assert bench.jobs[0][1].size == (8, 8)


# --- alignment ---------------------------------------------------------------------------------


def test_misaligned_depth_warns_once_and_is_used_only_when_color_is_lost() -> None:
    bench = Bench()
    for t in range(0, 400, 40):
        bench.rgb(t).depth(t, frame_id="depth")
    assert set(bench.networks) <= {"rgb"}
    assert bench.core.mode is Mode.RGB_ONLY
    (text,) = bench.core.drain_warnings()
    assert "align_depth" in text
    assert "assume_aligned" in text
    for t in range(400, 800, 40):
        bench.depth(t, frame_id="depth")
    assert (bench.core.mode, bench.networks[-1]) == (Mode.DEPTH_ONLY, "depth")


def test_assume_aligned_fuses_misaligned_depth() -> None:
    bench = Bench(assume_aligned=True)
    for t in range(0, 400, 40):
        bench.rgb(t).depth(t, frame_id="depth")
    assert set(bench.networks) == {"rgbd"}
    assert bench.core.drain_warnings() == []


# --- networks ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("network", "mode"),
    [("rgb", Mode.RGB_ONLY), ("depth", Mode.DEPTH_ONLY), ("rgbd", Mode.RGBD)],
)
def test_force_network(network: str, mode: Mode) -> None:
    bench = Bench().both(0, 400)
    bench.core.config = CoreConfig(force_network=network)
    assert bench.core.mode is mode  # at once
    bench.jobs.clear()
    bench.both(400, 800)
    assert bench.networks == [network] * 10
    bench.core.config = CoreConfig(force_network="auto")
    assert bench.core.mode is Mode.RGBD


@pytest.mark.parametrize(
    ("networks", "fused", "no_depth", "no_rgb"),
    [
        (("rgbd",), {"rgbd"}, set(), set()),
        (("rgb",), {"rgb"}, {"rgb"}, set()),
        (("depth",), {"depth"}, set(), {"depth"}),
        (("rgb", "depth"), {"rgb"}, {"rgb"}, {"depth"}),
        (("rgbd", "depth"), {"rgbd"}, set(), {"depth"}),
        (("rgbd", "rgb"), {"rgbd"}, {"rgb"}, set()),
    ],
)
def test_bundles_that_lack_networks(
    networks: Any, fused: set[str], no_depth: set[str], no_rgb: set[str]
) -> None:
    """Both streams are healthy, then one is unusable but not yet lost, then it is lost."""
    for stream, expected in (("rgb", no_depth), ("depth", no_rgb)):
        bench = Bench(Core(networks=networks)).both(0, 400)
        assert set(bench.networks) == fused
        bench.jobs.clear()
        for i in range(10):
            t = 400 + 40 * i
            if stream == "rgb":
                bench.rgb(t).offer("depth", hole(T0 + t * MS), t)
            else:
                bench.offer("rgb", black(T0 + t * MS), t).depth(t)
        assert set(bench.networks) == expected
        assert (bench.core.mode is Mode.NO_INPUT) is (not expected)


def test_a_stream_without_a_network_does_not_keep_another_in_its_hold() -> None:
    bench = Bench(force_network="depth").both(0, 400)
    for t in range(400, 800, 40):
        bench.rgb(t)
    assert bench.core.mode is Mode.NO_INPUT
    bench.jobs.clear()
    bench.both(800, 840)
    assert bench.networks == ["depth"]


def test_a_network_is_not_used_until_its_intrinsics_arrive() -> None:
    bench = Bench(Core(need_intrinsics=("rgbd", "depth"))).both(0, 400)
    assert set(bench.networks) == {"rgb"}
    (text,) = bench.core.drain_warnings()
    assert "camera_info" in text
    for t in range(400, 800, 40):
        bench.rgb(t, intrinsics=INTRINSICS).depth(t)
    assert bench.networks[-1] == "rgbd"
    for t in range(800, 1600, 40):
        bench.depth(t)
    _, job = bench.jobs[-1]
    assert (job.network, job.intrinsics) == ("depth", INTRINSICS)  # aligned, so color's apply


def test_raw_depth_needs_its_own_intrinsics() -> None:
    for own in (None, Intrinsics(9, 9, 3, 3, 8, 8)):
        bench = Bench(Core(need_intrinsics=("depth",)))
        for t in range(0, 400, 40):
            bench.rgb(t, intrinsics=INTRINSICS)
        for t in range(400, 1600, 40):
            bench.raw(t, intrinsics=own)
        assert bench.core.mode is (Mode.DEPTH_ONLY if own else Mode.NO_INPUT)
        assert {job.intrinsics for _, job in bench.jobs if job.raw} == ({own} if own else set())


# --- settings ----------------------------------------------------------------------------------


def test_a_disabled_core_drops_everything_and_an_enabled_one_starts_again() -> None:
    bench = Bench().both(0, 400).rgb(400)
    core = bench.core
    core.set_enabled(False)
    assert core.counters.fates["rgb"]["disabled"] == 1
    bench.both(440, 800)
    core.tick(bench.now)
    assert core.counters.fates["rgb"]["disabled"] == 10
    assert (core.next_deadline(bench.now), core.next_job(bench.now)) == (None, None)
    assert (core.mode, core.mode_reason) == (Mode.STARTING, "disabled")
    core.set_enabled(True)
    assert (core.mode, core.mode_reason) == (Mode.STARTING, "enabled")
    bench.jobs.clear()
    bench.both(60_000, 60_400)
    assert bench.networks == ["rgbd"] * 10


@pytest.mark.parametrize("step_s", [-900.0, -0.4, 0.4, 900.0])
def test_clock_changes_while_disabled_are_ignored(step_s: float) -> None:
    bench = Bench().both(0, 400)
    core = bench.core
    core.set_enabled(False)
    core.offer("rgb", rgb(bench.now), bench.now)
    core.set_enabled(True)
    now = bench.now + round(step_s * S)
    core.offer("rgb", rgb(now), now)
    core.offer("depth", depth(now), now)
    assert (core.mode, core.next_job(now) is not None) == (Mode.RGBD, True)
    assert core.next_deadline(now) == now + 5 * S  # the longest silence, counted from now
    assert core.counters.fates["rgb"]["reset"] == 0


def test_config_changes_at_run_time() -> None:
    bench = Bench().both(0, 400)
    bench.core.config = CoreConfig(frozen_after=2)
    for t in range(400, 600, 40):
        bench.rgb(t, image=0).depth(t)
    assert bench.core.health["rgb"].reason == "frozen"


def test_events_that_are_never_fetched_are_bounded() -> None:
    core = Core()
    for i in range(2000):
        core.config = dataclasses.replace(core.config, force_network="rgb")
        core.reset(T0 + i)
        core.offer("rgb", rgb(T0 + i), T0 + i)
    assert len(core.drain_mode_changes()) <= 256


# --- Stamps and headers that jump ---------------------------------------------------------------


@pytest.mark.parametrize("check", [True, False])
def test_one_stamp_far_ahead_stops_the_masks_for_three_frames_only(check: bool) -> None:
    bench = Bench(max_future_s=0.0, check_repeated_stamp=check).both(0, 1000)
    bench.offer("rgb", rgb(T0 + 3600 * S))
    count = len(bench.jobs)
    bench.both(1000, 3000)
    stamps = [job.stamp_ns for _, job in bench.jobs[count + 1 :]]
    assert stamps[-40:] == [T0 + t * MS for t in range(1400, 3000, 40)]
    assert stamps[0] <= T0 + 1160 * MS
    assert bench.core.mode is Mode.RGBD


def test_a_recording_that_is_repeated_without_an_age_limit_goes_on() -> None:
    bench = Bench(max_age_s=0.0)
    for lap in range(2):
        for t in range(0, 4000, 40):
            at = lap * 4000 + t
            bench.offer("rgb", rgb(T0 + t * MS, image=at), at)
            bench.offer("depth", depth(T0 + t * MS, image=at), at)
    stamps = [job.stamp_ns for _, job in bench.jobs]
    assert stamps[-90:] == [T0 + t * MS for t in range(400, 4000, 40)]
    assert bench.networks[-90:] == ["rgbd"] * 90


def test_frames_a_second_late_between_others_begin_no_new_series() -> None:
    bench = Bench(max_age_s=10.0).both(0, 2000)
    for t in range(2000, 4000, 40):
        bench.offer("rgb", rgb(T0 + t * MS), t)
        bench.offer("depth", depth(T0 + (t - 1500) * MS), t)
    stamps = [job.stamp_ns for _, job in bench.jobs]
    assert stamps == sorted(set(stamps))


def test_frame_ids_that_alternate_do_not_let_the_mode_alternate() -> None:
    bench = Bench().both(0, 400)
    for t in range(400, 4000, 40):
        name = "camera" if t // 40 % 2 else "other"
        bench.rgb(t).depth(t, frame_id=name)
    assert bench.core.mode is Mode.RGBD
    assert len(bench.core.drain_mode_changes()) == 1
    for t in range(4000, 4120, 40):
        bench.rgb(t).depth(t, frame_id="other")
    assert bench.core.mode is Mode.RGB_ONLY


def test_frames_of_two_cameras_on_the_same_topics_are_not_fused() -> None:
    bench = Bench().both(0, 400)
    for t in range(400, 2000, 40):
        bench.rgb(t, frame_id="front_color").depth(t, frame_id="front_depth")
        bench.rgb(t + 15, frame_id="rear_color").depth(t + 15, frame_id="rear_depth")
    pairs = [
        (job.rgb.frame_id, job.depth.frame_id) for _, job in bench.jobs if job.network == "rgbd"
    ]
    assert not [names for names in pairs if names[0][:4] != names[1][:4]]


def test_a_stray_frame_of_another_camera_is_not_fused() -> None:
    bench = Bench().both(0, 400)
    bench.rgb(400).depth(400, frame_id="rear_depth")
    bench.both(440, 800)
    networks = {job.stamp_ns: job.network for _, job in bench.jobs}
    assert networks.pop(T0 + 400 * MS) == "rgb"
    assert set(networks.values()) == {"rgbd"}
    assert bench.core.counters.fates["depth"]["skipped"] == 1


def test_camera_infos_that_come_and_go_do_not_let_the_mode_alternate() -> None:
    camera = Intrinsics(8.0, 8.0, 3.5, 3.5, 8, 8)
    bench = Bench(Core(CoreConfig(), need_intrinsics=("rgbd",)))
    for t in range(0, 2000, 40):
        bench.rgb(t, intrinsics=camera if t // 40 % 2 else None).depth(t)
    assert bench.core.mode is Mode.RGBD
    assert len(bench.core.drain_mode_changes()) <= 2


def test_a_network_without_intrinsics_is_the_reason() -> None:
    bench = Bench(Core(CoreConfig(), need_intrinsics=("rgbd",))).both(0, 400)
    assert bench.core.mode is Mode.RGB_ONLY
    assert bench.core._streams.degradation == "no intrinsics for rgbd"


def test_the_mode_follows_the_masks_if_silence_is_not_detected() -> None:
    bench = Bench(silent_periods=0).both(0, 2000)
    for t in range(2000, 8000, 40):
        bench.rgb(t)
    assert bench.core.health["depth"].state is State.OK
    assert bench.core.mode is Mode.RGB_ONLY
    assert bench.core.mode_reason.endswith("of the masks are fused")


def test_a_damaged_image_interrupts_the_run_of_a_new_format() -> None:
    bench = Bench().both(0, 400)
    for t in (400, 440):
        bench.rgb(t, encoding="bgr8").depth(t)
    bench.offer("rgb", Defect("malformed", "cut off", T0 + 480 * MS)).depth(480)
    for t in (520, 560):
        bench.rgb(t, encoding="bgr8").depth(t)
    assert bench.core.counters.unusable["rgb"] == {"malformed": 5}
    bench.rgb(600, encoding="bgr8")  # the third in a row
    assert bench.core.counters.unusable["rgb"] == {"malformed": 5}
