# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""A live replay passes only if counters explain every difference from the offline replay."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

from rgbd_seg_ros.ros.replay.agreement import Agreement, Decision, Event, Evidence, compare, events

MS = 1_000_000
PERIOD_MS, COUNT = 100, 200


def rgb_stamp(i: int) -> int:
    return (1000 + i * PERIOD_MS) * MS


def depth_stamp(i: int) -> int:
    return rgb_stamp(i) + 2 * MS


ARRIVALS = {
    ("rgb", rgb_stamp(i)): rgb_stamp(i) + 4 * MS for i in range(COUNT)
} | {("depth", depth_stamp(i)): rgb_stamp(i) + 7 * MS for i in range(COUNT)}  # fmt: skip


def decision(i: int, network: str = "rgbd") -> Decision:
    frames = {"rgb": ("rgb", rgb_stamp(i)), "depth": ("depth", depth_stamp(i))}
    used = [frames[s] for s in ("rgb", "depth") if s in network.replace("rgbd", "rgb depth")]
    stamp = depth_stamp(i) if network == "depth" else rgb_stamp(i)
    return Decision(network, stamp, frozenset(used))  # type: ignore[arg-type]


OFFLINE = [decision(i) for i in range(COUNT)]


def live_without(*left_out: int) -> dict[int, Any]:
    """The masks of the offline replay except some."""
    return {d.stamp_ns: d.network for i, d in enumerate(OFFLINE) if i not in left_out}


def at(counter: str, i: int, live: bool = True) -> Event:
    """A counter that is incremented while frame ``i`` is decided."""
    return Event(counter, live, rgb_stamp(i), rgb_stamp(i) + 100 * MS)


def compared(live: dict[int, Any], found: Iterable[Event] = (), **losses: int) -> Agreement:
    return compare(OFFLINE, live, ARRIVALS, Evidence(list(found), losses))


def test_equal_replays_pass() -> None:
    result = compared(live_without())
    assert (result.agreement, result.coverage, result.unexplained) == (1, 1, 0)
    assert not result.failures()


def test_a_missing_mask_needs_a_counter_for_each_of_its_frames() -> None:
    live, both = live_without(50), [at("rgb_superseded", 50), at("depth_superseded", 50)]
    assert compared(live, both).causes == {"rgb_superseded": 1, "depth_superseded": 1}
    assert not compared(live, both).failures()
    for one in both:
        assert compared(live, [one]).unexplained == 1
    assert any("no counter" in line for line in compared(live).failures())


def test_a_counter_explains_only_differences_near_it() -> None:
    far = [at("rgb_superseded", 150), at("depth_superseded", 150)]
    assert compared(live_without(50), far).unexplained == 1


def test_a_counter_explains_only_one_difference() -> None:
    once = [at("rgb_superseded", 50), at("depth_superseded", 50)]
    result = compared(live_without(50, 51), once)
    assert [bool(d.causes) for d in result.differences] == [True, False]
    assert not compared(live_without(50, 51), [*once, *once]).unexplained


def test_each_difference_takes_the_event_of_its_own_time() -> None:
    """Of a pair that was split and then superseded, only the depth frame is late."""
    found = [at("rgb_superseded", i) for i in (50, 52, 54)]
    found += [at("depth_superseded", 50), at("depth_late", 52), at("depth_superseded", 54)]
    result = compared(live_without(50, 52, 54), found)
    assert [d.causes[0] for d in result.differences] == [
        "depth_superseded", "depth_late", "depth_superseded",
    ]  # fmt: skip


def test_too_many_missing_masks_fail_although_explained() -> None:
    left_out = range(100, 110)
    found = [at(f"{stream}_superseded", i) for i in left_out for stream in ("rgb", "depth")]
    result = compared(live_without(*left_out), found)
    assert result.unexplained == 0
    assert result.coverage == pytest.approx(0.95)
    (line,) = result.failures()
    assert "10 of 200" in line
    assert "superseded" in line
    assert "rate:=" in line


def test_too_many_masks_by_another_network_fail_although_explained() -> None:
    live = live_without() | {rgb_stamp(i): "rgb" for i in range(100, 110)}
    result = compared(live, [at("depth_late", i) for i in range(100, 110)])
    assert (result.coverage, result.agreement, result.unexplained) == (1, 0.95, 0)
    (line,) = result.failures()
    assert "depth_late 10" in line


def test_another_network_is_explained_only_by_the_partner_frame() -> None:
    live = live_without() | {rgb_stamp(50): "rgb"}
    assert compared(live, [at("depth_late", 50)]).causes == {"depth_late": 1}
    assert compared(live, [at("partner_missed", 50)]).causes == {"partner_missed": 1}
    assert compared(live, depth_lost=1).causes == {"depth_lost": 1}
    assert compared(live, [at("rgb_late", 50)], rgb_lost=1).unexplained == 1


def test_a_stamp_that_only_the_live_replay_has_is_a_difference() -> None:
    """Color is lost, so the pair has a mask from depth with the stamp of depth."""
    live = live_without(50) | {depth_stamp(50): "depth"}
    assert compared(live).unexplained == 2
    result = compared(live, rgb_lost=1)
    assert [d.causes for d in result.differences] == [("rgb_lost",)] * 2
    assert not result.failures()


def test_a_mask_from_frames_that_were_unused_offline_needs_a_cause() -> None:
    offline = [d for i, d in enumerate(OFFLINE) if i != 50]
    found = [at("rgb_recovering", 50, live=False), at("depth_recovering", 50, live=False)]
    live = live_without()
    assert compare(offline, live, ARRIVALS, Evidence([])).unexplained == 1
    assert compare(offline, live, ARRIVALS, Evidence(found)).unexplained == 0


def test_each_loss_explains_one_difference() -> None:
    live = live_without() | {rgb_stamp(i): "rgb" for i in (50, 90)}
    assert compared(live, depth_lost=1).unexplained == 1
    assert compared(live, depth_lost=1, depth_pending=1).unexplained == 0


def test_a_mask_that_was_not_recorded() -> None:
    assert compared(live_without(50), mask_not_recorded=1).causes == {"mask_not_recorded": 1}


def test_raw_depth_is_distinguished_from_aligned_depth_by_its_stamp() -> None:
    raw = Decision("depth", 5 * MS, frozenset({("depth_raw", 5 * MS)}))
    arrivals = {("depth_raw", 5 * MS): 6 * MS}
    assert compare([raw], {5 * MS: "depth"}, arrivals, Evidence([])).agreement == 1
    assert not compare([raw], {5 * MS: "depth"}, arrivals, Evidence([])).differences


def test_nothing_to_compare_fails() -> None:
    assert compare([], {}, {}, Evidence([])).failures()


# --- Counters ---------------------------------------------------------------------------------

SAMPLES_MS = range(0, 20_000, 100)


def counted(times_ms: Iterable[int]) -> list[tuple[int, int]]:
    """A counter that is incremented at each of these times."""
    return [(t * MS, i + 1) for i, t in enumerate(sorted(times_ms))]


def sampled(times_ms: Iterable[int]) -> list[tuple[int, int]]:
    """The same counter, sampled ten times per second."""
    times = list(times_ms)
    return [(t * MS, sum(at <= t for at in times)) for t in SAMPLES_MS]


BURST = range(5000, 6000, 80)


@pytest.mark.parametrize("delay_ms", [-40, 0, 60, 250])
def test_a_small_delay_is_not_an_event(delay_ms: int) -> None:
    live = {"rgb_recovering": sampled(t + delay_ms for t in BURST)}
    assert events({"rgb_recovering": counted(BURST)}, live) == []


@pytest.mark.parametrize("more", [1, 2])
def test_more_increments_than_offline_are_events_at_their_times(more: int) -> None:
    extra = [6040 + 80 * i for i in range(more)]
    live = {"rgb_recovering": sampled([*BURST, *extra])}
    found = events({"rgb_recovering": counted(BURST)}, live)
    assert [(e.counter, e.live) for e in found] == [("rgb_recovering", True)] * more
    assert all(extra[0] * MS <= e.to_ns <= (extra[-1] + 400) * MS for e in found)


def test_one_increment_less_than_offline_is_an_event() -> None:
    live = {"rgb_recovering": sampled(list(BURST)[:-1])}
    (event,) = events({"rgb_recovering": counted(BURST)}, live)
    assert not event.live
    assert event.from_ns <= BURST[-1] * MS <= event.to_ns


def test_separate_increments_are_separate_events() -> None:
    late = [2000, 9000, 15000]
    found = events({}, {"depth_late": sampled(late)})
    assert [e.to_ns // MS for e in found] == late
    assert all(e.live for e in found)
