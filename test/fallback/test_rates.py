# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Unusual rates: slow streams, streams of different rates, copies of messages."""

from __future__ import annotations

import pytest
from rigs.fallback.bench import T0, Bench, black, rgb
from rigs.fallback.scenario import MS

from rgbd_seg_ros.fallback import Mode, State


@pytest.mark.parametrize("period_ms", [1000, 2000, 4900])
def test_slow_streams_are_healthy_from_the_start(period_ms: int) -> None:
    bench = Bench().both(0, 10 * period_ms, period_ms)
    assert bench.networks == ["rgbd"] * 10
    assert [change.to_mode for change in bench.core.drain_mode_changes()] == [Mode.RGBD]


def test_a_stream_without_a_second_message_is_silent_after_second_message_s() -> None:
    bench = Bench(second_message_s=3.0).both(0, 40)
    bench.to(2999)
    assert bench.core.mode is Mode.RGBD
    bench.to(3001)
    assert bench.core.mode is Mode.NO_INPUT


def test_streams_that_are_rarely_fused_give_a_mode_without_fusion() -> None:
    bench = Bench()
    for index in range(120):
        bench.rgb(40.0 * index)
        if index % 10 == 0:
            bench.depth(40.0 * index)
    assert bench.core.mode is Mode.RGB_ONLY
    assert bench.core.mode_reason == "only 17% of the masks are fused"
    assert bench.jobs[-1][1].fused_share == pytest.approx(0.1)
    warnings = bench.core.drain_warnings()
    rates = [text for text in warnings if text.startswith("by their stamps, color has 25 Hz but")]
    assert len(rates) == 1
    assert "depth 2.5 Hz, so many masks use one of them only: set both to one rate" in rates[0]
    assert not any("incomplete" in text for text in warnings)  # a longer wait would not help
    bench.both(4800, 7200)
    assert bench.core.mode is Mode.RGBD
    assert bench.core.mode_reason == "recovered"


def test_a_slow_partner_is_noticed_before_its_period_is_known() -> None:
    bench = Bench()
    for index in range(150):  # five seconds at 30 Hz, with a depth image every second
        bench.rgb(33.3 * index)
        if index % 30 == 0:
            bench.depth(33.3 * index)
    assert bench.core.health["depth"].period_ns is None
    assert bench.core.mode is Mode.RGB_ONLY
    assert bench.core.mode_reason.endswith("% of the masks are fused")
    assert any("of the last 30 masks are fused" in text for text in bench.core.drain_warnings())


def test_what_follows_from_half_the_rate_is_told() -> None:
    bench = Bench()
    for index in range(240):
        bench.rgb(33.3 * index)
        if index % 2 == 0:
            bench.depth(33.3 * index)
    assert bench.networks.count("rgbd") == 120
    assert len(bench.networks) <= 122
    assert bench.core.drain_warnings() == [
        "by their stamps, color has 30 Hz but depth 15 Hz, so masks have the lower rate: set both "
        "to one rate"
    ]


def test_fast_depth_follows_the_pace_of_color() -> None:
    bench = Bench()
    for index in range(120):
        if index % 4 == 0:
            bench.rgb(40.0 * index)
        bench.depth(40.0 * index)
    assert bench.core.mode is Mode.RGBD
    assert bench.networks[-20:] == ["rgbd"] * 20


def test_copies_say_nothing_against_their_stream() -> None:
    bench = Bench()
    for t in range(0, 2000, 40):
        bench.rgb(t).depth(t)
        for _ in range(4):
            bench.offer("rgb", rgb(T0 + t * MS))
    assert bench.core.mode is Mode.RGBD
    assert bench.networks == ["rgbd"] * 50
    assert bench.core.health["rgb"].state is State.OK
    assert bench.core.counters.unusable["rgb"] == {"repeated_stamp": 200}


def test_only_copies_are_a_lost_stream() -> None:
    bench = Bench().both(0, 400)
    for t in range(400, 1000, 40):
        bench.offer("rgb", rgb(T0 + 360 * MS), t).depth(t)
    assert bench.core.health["rgb"].reason == "repeated_stamp"
    assert bench.networks[-1] == "depth"


def test_the_latest_detail_of_each_reason_is_kept_and_told_once() -> None:
    bench = Bench().both(0, 400)
    for age_s in (2, 3, 4, 5):
        bench.offer("rgb", rgb(bench.now - age_s * 1000 * MS))
    bench.offer("rgb", black(bench.now + MS))
    details = bench.core.counters.details["rgb"]
    assert details["stale"] == "its stamp is 5 s old, max_age_s is 1"
    assert set(details) == {"stale", "black"}
    (text,) = bench.core.drain_warnings()
    assert text == "rgb: 3 messages are unusable (stale): its stamp is 4 s old, max_age_s is 1"


def test_a_rate_that_no_camera_has_is_that_of_two_programs() -> None:
    """Each frame comes twice, with stamps 1 µs apart."""
    bench = Bench()
    for index in range(120):
        ns = T0 + index * 40 * MS
        bench.offer("rgb", rgb(ns), 40.0 * index).depth(40.0 * index)
        bench.offer("rgb", rgb(ns + 1000), 40.0 * index + 0.5)
    warnings = bench.core.drain_warnings()
    assert [text for text in warnings if "Hz" in text] == []
    (text,) = [text for text in warnings if "several programs" in text]
    assert text.startswith("the stamps of rgb advance by less than 1 ms from message to message")
