# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Recordings with a frame every few seconds, or minutes, are healthy."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rigs.recordings import DEPTH, MS, RGB, START_NS, color_image, depth_image

from rgbd_seg_ros.bag.writer import BagWriter
from rgbd_seg_ros.fallback import CoreConfig

FRAME = "camera_color_optical_frame"


def write(path: Path, times_s: list[float]) -> Path:
    with BagWriter(path) as writer:
        for i, seconds in enumerate(times_s):
            ns = START_NS + round(seconds * 1000) * MS
            writer.image(RGB, ns + 4 * MS, color_image(i), ns, FRAME)
            writer.image(DEPTH, ns + 7 * MS, depth_image(i), ns + 2 * MS, FRAME)
    return path


@pytest.mark.parametrize("period_s", [1, 3.4, 4.9, 5, 10, 120])
def test_a_slow_recording_never_changes_its_mode(
    tmp_path: Path, run_replay: Callable[..., Any], period_s: float
) -> None:
    bag = write(tmp_path / "bag", [i * period_s for i in range(12)])
    summary = run_replay(bag).summary
    assert summary["networks"] == {"rgbd": 12, "rgb": 0, "depth": 0}
    assert [switch["to"] for switch in summary["switches"]] == ["RGBD"]
    if period_s <= 4:
        assert summary["warnings"] == []
    else:
        (warning,) = summary["warnings"]
        assert warning == (
            f"rgb has a message every {period_s:.3g} s and depth has a message every "
            f"{period_s:.3g} s, so second_message_s is {3 * period_s:.3g} instead of 5; set it "
            "likewise in the node"
        )


def test_the_slower_of_two_slow_streams_decides(
    tmp_path: Path, run_replay: Callable[..., Any]
) -> None:
    with BagWriter(tmp_path / "bag") as writer:
        for second in range(0, 121, 2):
            ns = START_NS + second * 1000 * MS
            if second % 6 == 0:
                writer.image(RGB, ns, color_image(second), ns, FRAME)
            if second % 20 == 0:
                writer.image(DEPTH, ns + MS, depth_image(second), ns, FRAME)
    summary = run_replay(tmp_path / "bag").summary
    assert any("so second_message_s is 60 instead of 5" in t for t in summary["warnings"])
    assert not any("silent" in switch["reason"] for switch in summary["switches"])


def test_a_gap_after_the_first_message_is_a_loss(
    tmp_path: Path, run_replay: Callable[..., Any]
) -> None:
    """One long interval is no period."""
    bag = write(tmp_path / "bag", [0, *(8 + i * 0.1 for i in range(40))])
    summary = run_replay(bag).summary
    assert "NO_INPUT" in [switch["to"] for switch in summary["switches"]]
    told = "rgb and depth: no messages from 0.0 to 8.0 s"
    assert any(text.startswith(told) for text in summary["warnings"])


def test_a_value_that_was_set_is_kept(tmp_path: Path, run_replay: Callable[..., Any]) -> None:
    bag = write(tmp_path / "bag", [i * 10 for i in range(6)])
    summary = run_replay(bag, config=CoreConfig(second_message_s=7)).summary
    assert summary["switches"][1]["reason"] == "rgb silent"
    assert not any("second_message_s is" in text for text in summary["warnings"])
