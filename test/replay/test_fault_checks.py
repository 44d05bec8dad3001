# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Faults that reach no frame, or are too short to be detected, are named."""

from __future__ import annotations

from pathlib import Path

import pytest

from rgbd_seg_ros.fallback import CoreConfig
from rgbd_seg_ros.replay.fault_checks import idle_faults, too_short
from rgbd_seg_ros.replay.fault_presets import find_faults
from rgbd_seg_ros.replay.faults import Fault, FaultSchedule


def _response(fault: str, frames: int, detected: float | None = None):  # type: ignore[no-untyped-def]
    return {
        "stream": "depth", "fault": fault, "from": 1.5, "frames": frames, "detected_ms": detected,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("fault", "period_s", "needed", "settings"),
    [
        ("drop", 0.1, 3, {}),  # 3 periods
        ("drop", 1 / 30, 7, {}),  # at least 0.25 s
        ("color_driver", 0.1, 5, {"silent_periods": 5}),
        ("zero", 0.1, 3, {}),
        ("truncate", 0.1, 5, {"lost_after": 0}),
        ("freeze", 0.1, 10, {}),
    ],
)
def test_frames_that_a_fault_needs(fault, period_s, needed, settings) -> None:  # type: ignore[no-untyped-def]
    config = CoreConfig(**settings)

    def told(frames: int, detected: float | None = None) -> list[str]:
        response = _response(fault, frames, detected)
        return list(too_short([response], {"depth": period_s}, config))

    (text,) = told(needed - 1)
    assert f"depth {fault} from 1.5 s reaches {needed - 1} frame" in text
    assert f"it is noticed only after {needed}: " in text
    assert told(needed) == told(needed - 1, 100.0) == told(0) == []


@pytest.mark.parametrize("fault", ["noise", "rate", "drop"])
def test_nothing_is_said_where_the_need_is_not_known(fault: str) -> None:
    config = CoreConfig(silent_periods=0)
    assert list(too_short([_response(fault, 1)], {"depth": 0.1}, config)) == []
    assert list(too_short([_response("zero", 1)], {}, config)) == []


@pytest.mark.parametrize(("duration_s", "long_enough"), [(0.4, True), (0.2, False)])
def test_what_is_needed_is_what_the_core_notices(
    recording: Path,
    run_replay,  # type: ignore[no-untyped-def]
    duration_s: float,
    long_enough: bool,
) -> None:
    for fault in ("drop", "zero", "truncate"):
        schedule = FaultSchedule([Fault(fault, "depth", 1.0, 1.0 + duration_s)])
        summary = run_replay(recording, faults=schedule).summary
        (response,) = summary["fault_responses"]
        assert (response["detected_ms"] is not None) is long_enough
        short = [text for text in summary["warnings"] if "it is noticed only after 3" in text]
        assert len(short) == (not long_enough)


def test_a_preset_compressed_below_what_can_be_detected_is_told(
    write_recording,  # type: ignore[no-untyped-def]
    run_replay,  # type: ignore[no-untyped-def]
    tmp_path: Path,
) -> None:
    bag = write_recording(tmp_path / "bag", 18)
    summary = run_replay(bag, faults=find_faults("depth-cable")).summary
    # Its drops of 0.3, 1 and 4 s last 0.04, 0.13 and 0.52 s in a recording made for 13 s.
    short = [text for text in summary["warnings"] if "it is noticed only after" in text]
    reached = [fault["frames"] for fault in summary["faults"]]
    assert reached[2] >= 3
    assert len(short) == sum(0 < frames < 3 for frames in reached) > 0
    assert len(summary["idle_faults"]) == reached.count(0)


def test_faults_without_a_frame(recording: Path, run_replay) -> None:  # type: ignore[no-untyped-def]
    faults = [Fault("drop", "depth", 1, 2), Fault("blur", "rgb", 60, value=3)]
    schedule = FaultSchedule(faults)
    assert idle_faults(schedule) == ["depth drop from 1 s", "rgb blur 3 from 60 s"]
    summary = run_replay(recording, faults=schedule).summary
    assert summary["idle_faults"] == ["rgb blur 3 from 60 s"]
    assert [fault["frames"] for fault in summary["faults"]] == [10, 0]
    # Each stream has a count of its own.
    driver = FaultSchedule([Fault("color_driver", None, 1.002, 1.5)])
    summary = run_replay(recording, faults=driver).summary
    found = [(fault["stream"], fault["frames"]) for fault in summary["faults"]]
    assert found == [("rgb", 4), ("depth", 5)]  # depth arrives 3 ms after color
    assert [r["frames"] for r in summary["fault_responses"]] == [4, 5]
