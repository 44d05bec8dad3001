# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Every frame test and timeout, just below and just above its threshold, and switched off."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from rigs.fallback.bench import T0, black, depth, rgb
from rigs.fallback.scenario import MS, ODD, S

from rgbd_seg_ros.fallback import CoreConfig, SensorHealth, State
from rgbd_seg_ros.fallback.pixel_tests import describe_depth
from rgbd_seg_ros.frames import Defect, Frame, Stream

PERIOD = 40 * MS


def health(stream: Stream = "rgb", **config: Any) -> SensorHealth:
    return SensorHealth(stream, CoreConfig(**config))


def reason(h: SensorHealth, item: Frame | Defect, now: int, alone: bool = False) -> str | None:
    return h.observe(item, now, alone=alone).reason


def feed(
    h: SensorHealth, count: int, begin: int = T0, make: Any = None, alone: bool = False
) -> int:
    """Feed ``count`` frames from ``begin`` on, one per PERIOD; returns the time of the next."""
    make = make or (rgb if h.stream == "rgb" else depth)
    for i in range(count):
        h.observe(make(begin + i * PERIOD), begin + i * PERIOD, alone=alone)
    return begin + count * PERIOD


# --- malformed ---------------------------------------------------------------------------------


@pytest.mark.parametrize("stream", ["rgb", "depth"])
@pytest.mark.parametrize("array", ODD, ids=lambda a: f"{a.dtype}{a.shape}")
def test_invalid_arrays_are_malformed(stream: Stream, array: Any) -> None:
    assert reason(health(stream), Frame(array, T0), T0) == "malformed"


def test_a_defect_keeps_its_reason() -> None:
    assert reason(health(), Defect("malformed", "short"), T0) == "malformed"


@pytest.mark.parametrize(
    "change", [{"array": rgb(T0).array[:6]}, {"encoding": "bgr8"}], ids=["size", "encoding"]
)
def test_a_change_is_accepted_at_the_third_consistent_frame(change: dict[str, Any]) -> None:
    h = health()
    t = feed(h, 8)
    found = [reason(h, rgb(t + i * PERIOD, **change), t + i * PERIOD) for i in range(3)]
    assert found == ["malformed", "malformed", None]
    assert h.state is State.OK
    assert h.period_ns is None  # a fresh start


def test_alternating_sizes_are_never_accepted() -> None:
    h, t = health(), T0
    found = []
    for i in range(12):
        array = rgb(T0).array[:6] if i % 2 else None
        found.append(reason(h, rgb(t + i * PERIOD, array=array), t + i * PERIOD))
    assert found == [None, "malformed"] * 6


def test_a_change_is_never_accepted_when_switched_off() -> None:
    h = health(accept_change_after=0)
    t = feed(h, 3)
    found = {reason(h, rgb(t + i, array=rgb(T0).array[:6]), t + i) for i in range(20)}
    assert found == {"malformed"}


# --- stamps ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("age_ms", "config", "expected"),
    [
        (999, {}, None),
        (1001, {}, "stale"),
        (1001, {"max_age_s": 0.0}, None),
        (-99, {}, None),
        (-101, {}, "future"),
        (-101, {"max_future_s": 0.0}, None),
    ],
)
def test_stale_and_future(age_ms: int, config: dict[str, Any], expected: str | None) -> None:
    assert reason(health(**config), rgb(T0 - age_ms * MS), T0) == expected


def test_repeated_stamp() -> None:
    h = health()
    assert reason(h, rgb(T0), T0) is None
    assert reason(h, rgb(T0), T0 + 1) == "repeated_stamp"
    assert reason(h, rgb(T0 - 1), T0 + 1) == "repeated_stamp"
    assert reason(h, rgb(T0 + 1), T0 + 1) is None


def test_repeated_stamp_switched_off() -> None:
    h = health(check_repeated_stamp=False)
    assert [reason(h, rgb(T0, image=i), T0) for i in range(3)] == [None] * 3


def test_a_stamp_from_the_future_does_not_affect_later_ones() -> None:
    h = health()
    assert reason(h, rgb(T0 + 5 * S), T0) == "future"
    assert reason(h, rgb(T0), T0) is None


# --- pixels ------------------------------------------------------------------------------------


def plain(mean: float, std: float) -> Any:
    """A color image with this mean and approximately this std: two values, half each."""
    array = np.full((8, 8, 3), mean)
    array[::2] += std
    array[1::2] -= std
    return np.clip(np.round(array), 0, 255).astype(np.uint8)


@pytest.mark.parametrize(
    ("mean", "std", "config", "expected"),
    [
        (7, 3, {}, "black"),
        (9, 3, {}, None),
        (7, 5, {}, None),  # dark, but with contrast
        (7, 3, {"black_mean": 0.0}, None),
        (7, 3, {"flat_std": 0.0}, None),
        (248, 3, {}, "saturated"),
        (246, 3, {}, None),
        (248, 5, {}, None),
        (248, 3, {"saturated_mean": 0.0}, None),
        (128, 0, {}, "uniform"),
        (128, 1, {}, None),
        (128, 0, {"uniform_std": 0.0}, None),
    ],
)
def test_flat_color(mean: float, std: float, config: dict[str, Any], expected: str | None) -> None:
    assert reason(health(**config), rgb(T0, array=plain(mean, std)), T0) == expected


def test_uniform_threshold_lies_between_045_and_055() -> None:
    array = np.full((10, 10, 3), 100, np.uint8)
    array[:3, :, :] = 101  # std 0.458
    assert reason(health(), rgb(T0, array=array), T0) == "uniform"
    array[3:5, :, :] = 101
    array[0, 0] = 102  # std slightly above 0.5
    assert reason(health(), rgb(T0, array=array), T0) is None


def millimeters(valid: int, value: int = 1500, spread: int = 20) -> Any:
    """10×10 pixels of depth, of which ``valid`` are valid: alternately value, value + spread."""
    array = np.zeros(100, np.uint16)
    array[:valid] = value + spread * (np.arange(valid) % 2)
    return array.reshape(10, 10)


@pytest.mark.parametrize(
    ("array", "config", "expected"),
    [
        (millimeters(0), {}, "no_depth"),
        (millimeters(0), {"min_valid_fraction": 0.0}, None),
        (np.full((8, 8), 65535, np.uint16), {}, "no_depth"),
        (np.full((8, 8), np.nan, np.float32), {}, "no_depth"),
        (np.full((8, 8), np.inf, np.float32), {}, "no_depth"),
        (np.full((8, 8), -1, np.float32), {}, "no_depth"),
        (millimeters(1), {}, "no_depth"),
        (millimeters(2), {}, None),
        (millimeters(19), {"min_valid_fraction": 0.2}, "no_depth"),
        (millimeters(20), {"min_valid_fraction": 0.2}, None),
        (np.where(np.arange(100).reshape(10, 10) < 2, 5000, 5001).astype(np.uint16),
         {"max_depth_m": 5.0}, None),
        (np.where(np.arange(100).reshape(10, 10) < 1, 5000, 5001).astype(np.uint16),
         {"max_depth_m": 5.0}, "no_depth"),
        (millimeters(100, value=6000), {"max_depth_m": 5.0, "min_valid_fraction": 0.0}, None),
        (np.tile(np.float32([2.0, 2.00018]), (8, 4)), {}, "constant_depth"),
        (np.tile(np.float32([2.0, 2.00022]), (8, 4)), {}, None),
        (millimeters(100, spread=0), {}, "constant_depth"),
        (millimeters(100, spread=1), {}, None),
        (millimeters(100, spread=0), {"min_depth_std_m": 0.0}, None),
        (millimeters(100, value=40, spread=9), {}, "depth_units"),
        (millimeters(100, value=51, spread=9), {}, None),
        (millimeters(100, value=40, spread=9), {"min_median_depth_m": 0.0}, None),
        (millimeters(100, value=50_100), {}, "depth_units"),
        (millimeters(100, value=49_900), {}, None),
        (millimeters(100, value=50_100), {"max_median_depth_m": 0.0}, None),
        (millimeters(100).astype(np.float32), {}, "depth_units"),  # millimeters sent as meters
        (millimeters(100).astype(np.float32), {"max_depth_m": 5.0}, "depth_units"),
        (millimeters(100).astype(np.float32), {"float_depth_scale": 0.001}, None),
        (millimeters(100).astype(np.float32) / 1000, {}, None),
    ],
)  # fmt: skip
def test_depth_pixels(array: Any, config: dict[str, Any], expected: str | None) -> None:
    assert reason(health("depth", **config), depth(T0, array=array), T0) == expected


# --- frozen ------------------------------------------------------------------------------------


@pytest.mark.parametrize("stream", ["rgb", "depth"])
def test_nine_repeats_pass_and_the_tenth_is_frozen_at_once(stream: Stream) -> None:
    h = health(stream)
    make = rgb if stream == "rgb" else depth
    found = [reason(h, make(T0 + i * PERIOD, image=3), T0 + i * PERIOD) for i in range(12)]
    assert found == [None] * 10 + ["frozen"] * 2
    assert (h.state, h.reason) == (State.LOST, "frozen")


def test_a_frozen_image_with_invalid_pixels_is_frozen_too() -> None:
    array = depth(T0).array / np.float32(1000)
    array[0] = np.nan
    h = health("depth", frozen_after=2)
    found = [reason(h, depth(T0 + i, array=array.copy()), T0 + i) for i in range(3)]
    assert found == [None, None, "frozen"]


def test_frozen_is_switched_off_and_interrupted_by_another_image() -> None:
    h = health(frozen_after=0)
    assert {reason(h, rgb(T0 + i, image=3), T0 + i) for i in range(30)} == {None}
    h = health(frozen_after=2)
    images = [1, 1, 2, 1, 1, 1]
    found = [reason(h, rgb(T0 + i, image=p), T0 + i) for i, p in enumerate(images)]
    assert found == [None, None, None, None, None, "frozen"]


# --- silent, slow ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("period_ms", "frames", "timeout_ms"),
    [(40, 5, 1000), (40, 6, 250), (100, 6, 300), (200, 6, 600), (11, 9, 250)],
    ids=["4 intervals", "5 intervals", "10 Hz", "5 Hz", "90 Hz"],
)
def test_silent(period_ms: int, frames: int, timeout_ms: int) -> None:
    h = health()
    for i in range(frames):
        h.observe(rgb(T0 + i * period_ms * MS), T0 + i * period_ms * MS, alone=False)
    due = T0 + ((frames - 1) * period_ms + timeout_ms) * MS
    assert h.silence_deadline_ns == due
    h.check_silence(due - 1, late=False)
    assert h.state is State.OK
    h.check_silence(due, late=False)
    assert (h.state, h.reason, h.period_ns) == (State.LOST, "silent", None)
    assert h.silence_deadline_ns is None


def test_silent_switched_off() -> None:
    h = health(silent_periods=0.0)
    feed(h, 9)
    assert h.silence_deadline_ns is None
    h.check_silence(T0 + 10**15, late=False)
    assert h.state is State.OK


def test_a_late_tick_grants_one_more_period_once() -> None:
    h = health()
    last = feed(h, 9) - PERIOD
    late = last + 400 * MS
    h.check_silence(late, late=True)
    assert (h.state, h.silence_deadline_ns) == (State.OK, late + PERIOD)
    h.check_silence(late + PERIOD, late=True)
    assert h.state is State.LOST


def test_a_message_renews_the_grant() -> None:
    h = health()
    t = feed(h, 9) + 400 * MS
    h.check_silence(t, late=True)
    h.observe(rgb(t), t, alone=False)
    assert h.silence_deadline_ns == t + 250 * MS
    h.check_silence(t + 400 * MS, late=True)
    assert h.state is State.OK


@pytest.mark.parametrize(("factor", "slow"), [(1.9, False), (2.1, True)])
def test_slow_is_only_a_warning(factor: float, slow: bool) -> None:
    h = health()
    t = feed(h, 20)
    for i in range(1, 6):
        stamp = t - PERIOD + round(i * factor * PERIOD)
        assert reason(h, rgb(stamp), stamp) is None
    assert h.slow is slow
    assert h.state is State.OK


# --- lost --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("bad", "lost"), [(2, False), (3, True)])
def test_lost_after_3_unusable_in_a_row(bad: int, lost: bool) -> None:
    h = health()
    feed(h, bad, feed(h, 10), black)
    assert (h.state is State.LOST) is lost


def pattern(h: SensorHealth, text: str) -> None:
    """Feed frames from a text: . is usable, x is unusable."""
    for i, c in enumerate(text):
        stamp = T0 + i * PERIOD
        h.observe(black(stamp) if c == "x" else rgb(stamp), stamp, alone=False)


@pytest.mark.parametrize(
    ("text", "config", "lost"),
    [
        ("..........x.x.x..x..", {}, False),
        ("..........x.x.x..x.x", {}, True),
        ("..........x.x.x..x...x", {}, False),  # the first is no longer among the last 10
        ("..........x.x.x..x.x", {"lost_of_last_10": 0}, False),
        ("..........xxxx", {"lost_after": 0}, False),
        ("..........xxxxx", {"lost_after": 0}, True),
        ("....xxxxxxxxxxxxxx", {"lost_after": 0, "lost_of_last_10": 0}, False),
        (".x", {"lost_after": 1}, True),
    ],
)
def test_lost_after_5_of_the_last_10(text: str, config: dict[str, Any], lost: bool) -> None:
    h = health(**config)
    pattern(h, text)
    assert (h.state is State.LOST) is lost


def test_waiting_until_the_first_usable_frame() -> None:
    h = health()
    feed(h, 20, make=black)
    assert (h.state, h.reason) == (State.WAITING, "waiting")
    feed(h, 1, T0 + 20 * PERIOD)
    assert (h.state, h.reason) == (State.OK, "ok")


# --- recovery ----------------------------------------------------------------------------------


def lose(h: SensorHealth, t: int) -> int:
    return feed(h, 3, t, black)


def recovery_ms(h: SensorHealth, t: int) -> tuple[int, int]:
    """Feed usable frames until the stream is OK: how long that took, and the time of the next."""
    begin = t
    while True:
        verdict = h.observe(rgb(t), t, alone=False)
        assert verdict.reason is None
        t += PERIOD
        if h.state is State.OK:
            assert not verdict.recovering
            return (t - PERIOD - begin) // MS, t
        assert verdict.recovering


def test_the_hold_doubles_while_the_stream_flaps_and_starts_over_after_a_minute() -> None:
    h = health()
    t = feed(h, 10)
    holds = []
    for _ in range(5):
        hold, t = recovery_ms(h, lose(h, t))
        holds.append(hold)
    assert holds == [1000, 2000, 4000, 8000, 8000]
    hold, t = recovery_ms(h, lose(h, feed(h, round(58 * S / PERIOD), t)))
    assert hold == 8000
    hold, _ = recovery_ms(h, lose(h, feed(h, round(61 * S / PERIOD), t)))
    assert hold == 1000


def test_recovery_also_needs_3_usable_frames_in_a_row() -> None:
    h = health(hold_s=0.0)
    t = lose(h, feed(h, 10))
    for frame in (rgb(t), rgb(t + 1), black(t + 2), rgb(t + 3), rgb(t + 4)):
        assert h.observe(frame, frame.stamp_ns, alone=False).recovering or frame.array.max() == 0
        assert h.state is State.LOST
    h.observe(rgb(t + 5), t + 5, alone=False)
    assert h.state is State.OK


def test_an_unusable_frame_or_a_silence_restarts_the_hold() -> None:
    for interrupt in (black, None):
        h = health()
        t = feed(h, 20, lose(h, feed(h, 10)))
        t = feed(h, 1, t, interrupt) if interrupt else t + S
        assert recovery_ms(h, t)[0] == 1000


def test_the_first_usable_frame_ends_the_hold_if_no_other_stream_serves() -> None:
    h = health()
    t = lose(h, feed(h, 10))
    verdict = h.observe(rgb(t), t, alone=True)
    assert (verdict.reason, verdict.recovering, h.state) == (None, False, State.OK)


def test_the_reason_is_that_of_the_latest_defect() -> None:
    h = health()
    t = lose(h, feed(h, 10))
    assert h.reason == "black"
    h.observe(Defect("malformed", ""), t, alone=False)
    assert h.reason == "malformed"


def test_dependable_until_two_periods_without_a_usable_frame() -> None:
    h = health()
    assert not h.dependable(T0)
    last = feed(h, 4) - PERIOD
    assert h.dependable(last + 250 * MS)
    assert not h.dependable(last + 250 * MS + 1)  # the period is not yet known
    last = feed(h, 6, last + PERIOD) - PERIOD
    feed(h, 1, last + PERIOD, black)
    assert h.dependable(last + 2 * PERIOD)
    assert not h.dependable(last + 2 * PERIOD + 1)


def test_the_unit_that_would_fit_is_named() -> None:
    floats = describe_depth(millimeters(100).astype(np.float32), CoreConfig())
    assert "m: is the unit wrong? set float_depth_scale to 0.001 or " in floats
    ticks = describe_depth(millimeters(100, value=40, spread=9), CoreConfig())
    assert "m: is the unit wrong? set depth_scale to 0.1 or 0.01" in ticks


@pytest.mark.parametrize("stream", ["rgb", "depth"])
def test_images_that_differ_between_the_sampled_pixels_are_not_frozen(stream: Stream) -> None:
    shape = (480, 640, 3) if stream == "rgb" else (480, 640)
    dtype = np.uint8 if stream == "rgb" else np.uint16
    still = np.random.default_rng(0).integers(50, 200, shape).astype(dtype) * (
        1 if stream == "rgb" else 10
    )
    h = health(stream)
    for i in range(30):
        image = still.copy()
        image[0, 0] = i
        assert reason(h, Frame(image, T0 + i * PERIOD), T0 + i * PERIOD) is None
