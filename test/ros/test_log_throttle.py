# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Lines of one kind are logged at most once per period, and the others are counted."""

from __future__ import annotations

import pytest

from rgbd_seg_ros.ros import log_throttle
from rgbd_seg_ros.ros.log_throttle import MAX_KINDS, LogThrottle


class Clock:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_s = 5.0
        monkeypatch.setattr(log_throttle.time, "monotonic", lambda: self.now_s)


def test_lines_that_differ_in_numbers_are_one_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, lines = Clock(monkeypatch), []
    log = LogThrottle(lines.append, 10.0)
    for number in range(5):
        log(f"rgb: {number} messages of 64×{number}.5")
    log("depth: 1 message")
    assert lines == ["rgb: 0 messages of 64×0.5", "depth: 1 message"]
    clock.now_s += 9.9
    log("rgb: 5 messages of 64×5.5")
    clock.now_s += 0.2
    log("rgb: 6 messages of 64×6.5")
    assert lines[2:] == ["rgb: 6 messages of 64×6.5 (and 5 more like this)"]
    clock.now_s += 10.1
    log("rgb: 7 messages of 64×7.5")
    assert lines[3:] == ["rgb: 7 messages of 64×7.5"]


def test_a_burst_is_logged(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, lines = Clock(monkeypatch), []
    log = LogThrottle(lines.append, 10.0, 3)
    for _ in range(8):
        log("RGBD -> RGB_ONLY")
    assert lines == ["RGBD -> RGB_ONLY"] * 3
    clock.now_s += 10.1
    log("RGBD -> RGB_ONLY")
    assert lines[3:] == ["RGBD -> RGB_ONLY (and 5 more like this)"]


def test_kinds_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    Clock(monkeypatch)
    lines: list[str] = []
    log = LogThrottle(lines.append, 10.0)
    for index in range(3 * MAX_KINDS):
        log("x" * (index + 1))
        assert len(log._kinds) <= MAX_KINDS
    assert len(lines) == 3 * MAX_KINDS
