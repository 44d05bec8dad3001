# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""When /diagnostics misses masks: after a second and two periods of the slowest stream."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2: source /opt/ros/<distro>/setup.bash")

from rgbd_seg_ros.fallback import Mode, State
from rgbd_seg_ros.ros import diagnostics
from rgbd_seg_ros.ros.diagnostics import Measurements, NodeState

pytestmark = pytest.mark.ros
NOW = 1_000 * 10**9


def state_of(monkeypatch: pytest.MonkeyPatch, periods_s: list[float]) -> NodeState:
    """The report of an RGBD core whose streams have these periods."""
    monkeypatch.setattr(diagnostics, "core_values", lambda _core: {})
    monkeypatch.setattr(diagnostics, "core_warnings", lambda _core: [])
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
