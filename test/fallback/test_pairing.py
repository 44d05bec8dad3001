# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Every rule of pairing, tested through the core."""

from __future__ import annotations

from typing import Any

import pytest
from rigs.fallback.bench import T0, Bench, black, depth, hole, rgb
from rigs.fallback.scenario import MS

from rgbd_seg_ros.fallback import Core, CoreConfig, Mode
from rgbd_seg_ros.frames import Defect


def fused(**config: Any) -> Bench:
    """A bench after ten fused frame pairs 40 ms apart, 0 to 360 ms, depth 4 ms after color."""
    bench = Bench(**config).both(0, 400, lag=4)
    assert bench.networks == ["rgbd"] * 10
    bench.jobs.clear()
    return bench


def test_both_frames_are_fused_at_once() -> None:
    bench = fused().rgb(400).depth(402, lag=1)
    assert [(ms, job.network) for ms, job in bench.jobs] == [(403, "rgbd")]


@pytest.mark.parametrize(("apart_ms", "together"), [(19, True), (21, False)])
def test_skew_is_half_the_period(apart_ms: float, together: bool) -> None:
    bench = Bench().both(0, 400, lag=30)
    bench.rgb(400).depth(400 + apart_ms, lag=1).to(440)
    assert ("rgbd" in bench.networks[10:]) is together
    assert bench.networks[10:]


@pytest.mark.parametrize(("apart_ms", "networks"), [(5, ["rgbd"]), (6, ["rgb"])])
def test_skew_as_configured(apart_ms: float, networks: list[str]) -> None:
    bench = fused(max_skew_ms=5.0).rgb(400).depth(400 + apart_ms).to(430)
    assert bench.networks == networks


def test_the_nearest_partner_wins() -> None:
    bench = fused(max_skew_ms=30.0)
    bench.depth(385).rgb(412).depth(410)
    assert [job.depth.stamp_ns for _, job in bench.jobs if job.rgb] == [T0 + 410 * MS]


def test_a_frame_is_used_alone_at_once_if_its_partner_stream_is_lost() -> None:
    bench = fused()
    for t in range(400, 1000, 40):
        bench.rgb(t)
    assert bench.core.mode is Mode.RGB_ONLY
    bench.jobs.clear()
    bench.rgb(1000)
    assert [(ms, job.network) for ms, job in bench.jobs] == [(1000, "rgb")]


def test_a_frame_is_used_alone_at_once_if_its_partner_is_unusable() -> None:
    bench = fused().rgb(400).offer("depth", hole(T0 + 401 * MS), 401)
    assert [(ms, job.network) for ms, job in bench.jobs] == [(401, "rgb")]
    bench.offer("rgb", black(T0 + 440 * MS), 440).depth(441)
    assert [(ms, job.network) for ms, job in bench.jobs[1:]] == [(441, "depth")]
    assert bench.core.counters.partner_missed == 0


def test_an_unusable_message_without_a_stamp_counts_as_the_partner_that_is_due() -> None:
    bench = fused().rgb(400).offer("depth", Defect("malformed", ""), 402)
    assert bench.networks == ["rgb"]


def test_a_frame_waits_for_a_due_partner_as_long_as_learned() -> None:
    bench = fused().rgb(400).to(480)
    assert [(ms, job.network) for ms, job in bench.jobs] == [(409, "rgb")]  # lag 4 + 5 ms
    assert bench.core.counters.partner_missed == 1
    bench.depth(400, lag=90)
    assert bench.core.counters.fates["depth"]["late"] == 1


def test_the_wait_ends_when_a_later_partner_arrives() -> None:
    bench = fused().rgb(400).depth(425, lag=1)
    assert [(ms, job.network) for ms, job in bench.jobs] == [(409, "rgb")]
    bench = fused(max_skew_ms=4.0).rgb(400).depth(405)
    assert [(ms, job.network) for ms, job in bench.jobs] == [(405, "rgb")]


def test_the_wait_is_the_cap_until_the_lag_is_known() -> None:
    bench = Bench(max_wait_ms=70.0).both(0, 80).rgb(80).to(300)
    assert [(ms, job.network) for ms, job in bench.jobs[2:]] == [(150, "rgb")]


def test_a_frame_does_not_wait_for_a_partner_that_arrives_earlier() -> None:
    bench = Bench()
    for t in range(0, 400, 40):
        bench.depth(t).rgb(t, lag=20)
    bench.jobs.clear()
    bench.rgb(400, lag=20)
    assert [(ms, job.network) for ms, job in bench.jobs] == [(420, "rgb")]


@pytest.mark.parametrize("lag_ms", [10, 60, 90])
def test_the_wait_follows_a_rise_in_lag(lag_ms: int) -> None:
    bench = fused()
    events = [(t, "rgb", t) for t in range(400, 2400, 40)]
    events += [(t + lag_ms, "depth", t) for t in range(400, 2400, 40)]
    for _, stream, t in sorted(events):
        bench.rgb(t) if stream == "rgb" else bench.depth(t, lag=lag_ms)
    assert bench.networks.count("rgb") <= 4
    assert set(bench.networks[-30:]) == {"rgbd"}
    assert bench.core.max_wait_ms("rgb") == pytest.approx(min(lag_ms + 5, 100))


def test_a_lag_above_the_cap_is_warned_about_once() -> None:
    bench = Bench()
    events = [(t, "rgb", t) for t in range(0, 2400, 40)]
    events += [(t + 130, "depth", t) for t in range(0, 2400, 40)]
    for _, stream, t in sorted(events):
        bench.rgb(t) if stream == "rgb" else bench.depth(t, lag=130)
    warnings = [text for text in bench.core.drain_warnings() if "arrives 130 ms" in text]
    assert len(warnings) == 1
    assert "max_wait_ms=100" in warnings[0]
    assert "raise" in warnings[0]
    assert "rgbd" not in bench.networks
    assert bench.core.max_wait_ms("rgb") == 100


@pytest.mark.parametrize(("lag_ms", "network"), [(94, "rgbd"), (106, "depth")])
def test_depth_makes_the_masks_if_color_lags_by_more_than_the_cap(
    lag_ms: int, network: str
) -> None:
    """A timely mask is preferred to a fused one, since color may have stopped."""
    bench = Bench()
    events = [(t, "depth", t) for t in range(0, 2400, 40)]
    events += [(t + lag_ms, "rgb", t) for t in range(0, 2400, 40)]
    for _, stream, t in sorted(events):
        bench.depth(t) if stream == "depth" else bench.rgb(t, lag=lag_ms)
    assert set(bench.networks[10:]) == {network}
    assert {round(ms - (job.stamp_ns - T0) / MS) for ms, job in bench.jobs[10:-3]} == {
        min(lag_ms, 100)
    }
    # Both streams are OK, but the mode must not promise more than the masks.
    expected = Mode.RGBD if network == "rgbd" else Mode.DEPTH_ONLY
    assert bench.core.mode is expected
    warnings = [
        text for text in bench.core.drain_warnings() if "rgb arrives 106 ms after depth" in text
    ]
    assert bool(warnings) is (network == "depth")


def mixed(rgb_ms: int, depth_ms: int, end_ms: int, **config: Any) -> Bench:
    """A bench after two streams of these periods, from 0 on."""
    bench = Bench(**config)
    events = [(t, "rgb") for t in range(0, end_ms, rgb_ms)]
    events += [(t, "depth") for t in range(0, end_ms, depth_ms)]
    for t, stream in sorted(events):
        bench.rgb(t) if stream == "rgb" else bench.depth(t)
    return bench


def test_color_between_two_frames_of_a_slower_partner_is_skipped() -> None:
    bench = mixed(30, 120, 2400)
    assert {job.network for ms, job in bench.jobs if ms > 1200} == {"rgbd"}
    skipped = bench.core.counters.fates["rgb"]["skipped"]
    assert skipped >= 40
    assert bench.core.counters.partner_missed <= 16  # before the periods are known


def test_color_between_two_frames_of_a_slower_partner_is_used_alone_if_configured() -> None:
    bench = mixed(30, 120, 2400, unpaired="single")
    assert bench.core.counters.fates["rgb"]["skipped"] == 0
    assert bench.networks[-8:].count("rgbd") == 2


@pytest.mark.parametrize(("depth_ms", "skips"), [(60, False), (64, True)])
def test_a_partner_counts_as_slower_above_one_and_a_half_periods(
    depth_ms: int, skips: bool
) -> None:
    bench = mixed(40, depth_ms, 2400)
    assert (bench.core.counters.fates["rgb"]["skipped"] > 0) is skips


@pytest.mark.parametrize(("depth_ms", "skips"), [(200, True), (210, False)])
def test_no_frame_is_skipped_for_a_partner_slower_than_200_ms(depth_ms: int, skips: bool) -> None:
    bench = mixed(30, depth_ms, 3600)
    assert (bench.core.counters.fates["rgb"]["skipped"] > 0) is skips


def test_color_is_used_alone_one_period_after_a_slower_partner_stops() -> None:
    bench = mixed(30, 120, 2400)
    bench.jobs.clear()
    for t in range(2400, 2700, 30):
        bench.rgb(t)
    first_ms, first = bench.jobs[0]
    assert first.network == "rgb"
    assert first_ms - 2280 <= 120 + bench.core.max_wait_ms("rgb")


def test_depth_between_two_color_frames_makes_no_job() -> None:
    bench = mixed(120, 30, 2400)
    assert set(bench.networks) == {"rgbd"}
    assert bench.core.counters.fates["depth"]["skipped"] >= 40


def test_depth_is_used_alone_as_soon_as_due_color_is_missing() -> None:
    bench = fused()
    for t in range(400, 600, 40):
        bench.depth(t, lag=4)
    assert bench.networks == ["depth"] * 4  # the fifth still waits, for at most 5 ms
    for (ms, _), t in zip(bench.jobs, range(400, 560, 40), strict=True):
        assert ms - (t + 4) <= 5
    assert bench.core.mode is Mode.RGBD  # color has not reached its timeout


def test_unusable_color_counts_as_missing_even_outside_the_skew() -> None:
    bench = Bench(max_skew_ms=5.0)
    for t in range(0, 800, 40):
        bench.rgb(t).depth(t + 20)
    bench.jobs.clear()
    bench.offer("rgb", black(T0 + 800 * MS), 800).depth(820)
    bench.offer("rgb", black(T0 + 840 * MS), 840).depth(860)
    assert "depth" in bench.networks


def test_a_frame_whose_partner_is_nearer_to_another_does_not_delay_the_pair() -> None:
    bench = Bench(max_skew_ms=30.0)
    for t in range(0, 400, 40):
        bench.depth(t).rgb(t, lag=30)
    bench.depth(390).depth(410).rgb(405, lag=7)
    ms, job = bench.jobs[-1]
    assert (ms, job.network) == (412, "rgbd")
    assert job.depth is not None
    assert job.depth.stamp_ns == T0 + 410 * MS


def test_equal_rates_out_of_phase_give_masks_and_a_warning() -> None:
    bench = Bench(max_skew_ms=5.0)
    for t in range(0, 2400, 40):
        bench.rgb(t).depth(t + 20)
    assert set(bench.networks[10:]) == {"rgb"}
    assert len(bench.jobs) == 60
    assert any("max_skew_ms=5" in text for text in bench.core.drain_warnings())


def test_frames_older_than_the_last_job_are_late() -> None:
    bench = fused().rgb(440).depth(440).depth(441).rgb(430)
    assert (
        bench.core.counters.fates["depth"]["late"]
        + bench.core.counters.unusable["rgb"]["repeated_stamp"]
        >= 1
    )
    order = [job.stamp_ns for _, job in bench.jobs]
    assert order == sorted(set(order))


def test_newest_wins_while_the_engine_is_busy() -> None:
    core = Core(CoreConfig())
    for i in range(5):
        t = T0 + i * 40 * MS
        core.offer("rgb", rgb(t), t)
        core.offer("depth", depth(t), t)
    job = core.next_job(t)
    assert job is not None
    assert job.stamp_ns == t
    assert core.next_job(t) is None
    assert core.counters.fates["rgb"]["superseded"] == 4
    assert core.counters.fates["depth"]["superseded"] == 4
    assert core.counters.fates["rgb"]["used"] == 1


def test_more_than_a_tenth_of_missed_partners_is_warned_about() -> None:
    for every, count in ((10, 0), (7, 1)):  # 3 of 30, and at least 4 of 30
        bench = fused()
        for i in range(40):
            bench.rgb(400 + 40 * i)
            if i % every:
                bench.depth(400 + 40 * i, lag=4)
        warnings = bench.core.drain_warnings()
        assert len(warnings) == count
        assert all("max_wait_ms" in text and "max_skew_ms" in text for text in warnings)


def test_a_partner_that_stops_does_not_cause_a_warning_about_lag_and_skew() -> None:
    bench = Bench().both(0, 1600, lag=4)
    for t in range(1600, 2400, 40):
        bench.rgb(t)
    bench.both(2400, 5000, lag=4)
    assert bench.core.mode is Mode.RGBD
    assert bench.core.drain_warnings() == []


def test_the_number_of_held_frames_is_bounded() -> None:
    bench = fused(max_wait_ms=10_000.0)
    core = bench.core
    for i in range(200):  # a burst of color frames without depth
        t = T0 + (400 + i) * MS
        core.offer("rgb", rgb(t), T0 + 600 * MS)
        assert core.counters.pending("rgb") <= 17  # 16 held and one in the waiting job


def test_a_waiting_frame_is_not_dropped_at_high_rates() -> None:
    bench = Bench()
    for t in range(0, 100, 2):
        bench.rgb(t)
    assert bench.jobs
