# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""What /diagnostics reports: missing masks, errors and warnings, and for how long."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2: source /opt/ros/<distro>/setup.bash")

from diagnostic_updater import DiagnosticStatusWrapper

from rgbd_seg_ros.fallback import Core, Mode, State
from rgbd_seg_ros.frames import STREAMS
from rgbd_seg_ros.ros import diagnostics
from rgbd_seg_ros.ros.diagnostics import (
    ERROR,
    OK,
    WARN,
    Measurements,
    NodeState,
    SegmentationTask,
    core_warnings,
)

pytestmark = pytest.mark.ros
NOW = 1_000 * 10**9


def state_of(monkeypatch: pytest.MonkeyPatch, periods_s: list[float]) -> NodeState:
    """The report of an RGBD core whose streams have these periods."""
    monkeypatch.setattr(diagnostics, "core_values", lambda _core: {})
    monkeypatch.setattr(diagnostics, "core_warnings", lambda *_: [])
    health = {
        name: SimpleNamespace(state=State.OK, period_ns=round(period * 1e9))
        for name, period in zip(("rgb", "depth"), periods_s, strict=True)
    }
    core: Any = SimpleNamespace(enabled=True, mode=Mode.RGBD, health=health)
    report = NodeState("loading", NOW)
    report.add_core(core)
    return report


@pytest.mark.parametrize(
    ("periods_s", "mask_age_s", "image_age_s", "missing"),
    [
        ([1 / 30, 1 / 30], 1.0, 0.02, False),
        ([1 / 30, 1 / 30], 1.1, 0.02, True),
        ([1 / 30, 1 / 30], 5.0, 5.0, False),  # no images either: the streams are silent
        ([1.0, 1.0], 2.9, 0.9, False),  # 1 Hz: a mask may be missing for three seconds
        ([1.0, 1.0], 3.1, 0.9, True),
        ([1 / 30, 1.0], 2.9, 0.02, False),  # the slowest stream counts
    ],
)
def test_masks_are_missed(
    periods_s: list[float],
    mask_age_s: float,
    image_age_s: float,
    missing: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    measured = Measurements()
    measured.rates["masks"].event(NOW - round(mask_age_s * 1e9))
    measured.rates["rgb"].event(NOW - round(image_age_s * 1e9))
    silence_s = measured.silence_s(state_of(monkeypatch, periods_s))
    assert silence_s == (pytest.approx(mask_age_s) if missing else None)


def test_masks_are_missed_only_since_the_mode_promises_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    measured = Measurements()
    measured.rates["rgb"].event(NOW)
    measured.mode_since_ns = NOW - 900_000_000
    assert measured.silence_s(state_of(monkeypatch, [0.033, 0.033])) is None
    measured.mode_since_ns = NOW - 1_500_000_000
    assert measured.silence_s(state_of(monkeypatch, [0.033, 0.033])) == pytest.approx(1.5)


class Clock:
    """Replaces the monotonic clock of the module."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_s = 100.0
        monkeypatch.setattr(diagnostics.time, "monotonic", lambda: self.now_s)


def report(measured: Measurements, *warnings: str) -> tuple[bytes, str]:
    """Level and summary of the task while the node is in the mode RGBD."""
    state = NodeState("RGBD", NOW, [*measured.current_warnings(), *warnings])
    stat = SegmentationTask(lambda: state, measured).run(DiagnosticStatusWrapper())
    return stat.level, stat.message


def test_an_error_is_reported_for_five_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, measured = Clock(monkeypatch), Measurements()
    assert measured.add_error(RuntimeError("out of\n  memory")) == "RuntimeError: out of memory"
    clock.now_s += 4.9
    assert report(measured) == (bytes([ERROR]), "processing failed: RuntimeError: out of memory")
    clock.now_s += 0.2
    assert report(measured) == (bytes([OK]), "RGBD: color and depth are fused")
    assert measured.engine_errors == 1


def test_the_text_of_an_error_is_short() -> None:
    text = Measurements().add_error(ValueError("x" * 100_000))
    assert text == "ValueError: " + "x" * 300


def test_a_warning_is_reported_for_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, measured = Clock(monkeypatch), Measurements()
    measured.add_warning("depth is late")
    measured.add_warning("for ever", math.inf)
    clock.now_s += 59.9
    level, text = report(measured)
    assert level == bytes([WARN])
    assert text == "RGBD: color and depth are fused; depth is late; for ever"
    clock.now_s += 0.2
    assert measured.current_warnings() == ["for ever"]


def test_only_the_latest_warnings_are_kept() -> None:
    measured = Measurements()
    for number in range(20):
        measured.add_warning(str(number))
    assert measured.current_warnings() == [str(number) for number in range(11, 20)]


def test_lost_recovering_and_slow_streams_are_named_but_not_raw_depth() -> None:
    core = Core()
    for stream in STREAMS:
        core.health[stream].state = State.LOST
        core.health[stream]._lost_reason = "silent"
    assert core_warnings(core, NOW) == ["rgb is lost: silent", "depth is lost: silent"]
    core.health["rgb"].state = State.OK
    core.health["rgb"].period_ns = 33_000_000
    core.health["rgb"]._intervals_ns.extend([100_000_000] * 5)
    core.health["depth"]._usable_run = 2
    core.health["depth"]._usable_since_ns = NOW - 400_000_000
    assert core_warnings(core, NOW) == [
        "depth is recovering: usable for 0.4 s of 1 s, after silent",
        "the rate of rgb has dropped",
    ]
