# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Faults that reach no frame, or are too short to be detected, are named."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from rgbd_seg_ros.fallback import CoreConfig
from rgbd_seg_ros.frames import Defect, Frame
from rgbd_seg_ros.replay.criteria import Criterion
from rgbd_seg_ros.replay.fault_checks import idle_faults, idle_warnings, too_short
from rgbd_seg_ros.replay.fault_kinds import ReceivedItem
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


@pytest.mark.parametrize(
    ("start", "needed"),
    [(0.0, 50), (0.05, 50), (0.1, 50), (0.15, 10), (0.5, 10), (0.55, 3), (0.6, 3)],
)
def test_a_fault_before_the_rate_is_known_needs_more_frames(start: float, needed: int) -> None:
    def told(fault: str, frames: int) -> list[str]:
        response = {**_response(fault, frames), "from": start}
        return list(too_short([response], {"depth": 0.1}, CoreConfig()))

    (text,) = told("drop", needed - 1)
    assert f"at 10 Hz it is noticed only after {needed}" in text
    assert ("so early, when the rate of the stream is not known yet" in text) is (needed > 3)
    assert told("drop", needed) == []
    assert told("zero", 3) == []  # unusable images do not wait for the rate


@pytest.mark.parametrize(("from_s", "detected"), [(0.45, False), (0.95, True)])
def test_the_core_knows_the_rate_of_a_stream_only_after_six_frames(
    recording: Path,
    run_replay,  # type: ignore[no-untyped-def]
    from_s: float,
    detected: bool,
) -> None:
    faults = FaultSchedule([Fault("drop", "depth", from_s, from_s + 0.7)])
    summary = run_replay(recording, faults=faults).summary
    (response,) = summary["fault_responses"]
    assert response["frames"] == 7
    assert (response["detected_ms"] is not None) is detected
    hints = [text for text in summary["warnings"] if "is not known yet" in text]
    assert len(hints) == (not detected)


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


def _frames(count: int, change: int = 0):  # type: ignore[no-untyped-def]
    """Frames at 10 Hz; textured, so that blur changes them."""
    array = np.zeros((8, 8, 3), np.uint8)
    array[::2] = 200
    for index in range(count):
        frame = Frame(array + np.uint8(change * index), index * 10**8, "cam", "rgb8")
        yield ReceivedItem(frame, index * 10**8)


@pytest.mark.parametrize(
    ("fault", "changed"),
    [
        (Fault("rate", "rgb", 1.0, 2.0, 30), 0),  # of a stream of 10 Hz
        (Fault("rate", "rgb", 1.0, 2.0, 5), 5),
        (Fault("bandwidth", "rgb", 1.0, 2.0, 0.01), 0),  # loses none of these 10
        (Fault("bandwidth", "rgb", 0.0, 3.0, 0.8), 23),
        (Fault("blur", "rgb", 1.0, 2.0, 0.3), 10),
        (Fault("saturate", "rgb", 1.0, 2.0, 1.001), 0),
        (Fault("saturate", "rgb", 1.0, 2.0, 1.1), 10),
        (Fault("freeze", "rgb", 1.0, 2.0), 0),  # of a scene that stands still
        (Fault("delay", "rgb", 1.0, 2.0, 50), 10),
        (Fault("skew", "rgb", 1.0, 2.0, 50), 10),
        (Fault("jump", None, 1.0, 2.0, -100), 9),  # a stamp of 0 is the earliest one
        (Fault("truncate", "rgb", 1.0, 2.0), 10),
        (Fault("black", "rgb", 1.0, 2.0), 10),
        (Fault("patch", "rgb", 1.0, 2.0, 0.2), 10),
        (Fault("drop", "rgb", 1.0, 2.0), 10),
    ],
)
def test_only_what_a_fault_changes_counts(fault: Fault, changed: int) -> None:
    schedule = FaultSchedule([fault])
    for received in _frames(30):
        if fault.fault == "jump" and received.receive_ns == 10**9:
            received = replace(received, item=replace(received.item, stamp_ns=0))
        schedule.apply("rgb", received, 0)
    assert schedule.hits == [changed]
    assert schedule.covers == [30 if fault.from_s == 0 else 10]
    assert idle_faults(schedule) == ([] if changed else [f"{fault} from 1 s"])
    warnings = list(idle_warnings(schedule, {"rgb"}, 3.0))
    assert len(warnings) == (not changed)
    for text in warnings:
        remedy = "make it longer" if fault.value is None else "choose another value"
        assert "affects no frame: the 10 frames of its time are the same without it" in text
        assert text.endswith(remedy)


def test_a_frozen_scene_that_moves_and_pixels_that_are_invalid() -> None:
    schedule = FaultSchedule([Fault("freeze", "rgb", 1.0, 2.0)])
    for received in _frames(30, change=1):
        schedule.apply("rgb", received, 0)
    assert schedule.hits == [10]
    schedule = FaultSchedule(
        [Fault("nan", "depth"), Fault("zero", "depth"), Fault("nan", "depth")]
    )
    invalid = Frame(np.full((4, 4), np.nan, np.float32), 5, "cam", "32FC1")
    schedule.apply("depth", ReceivedItem(invalid, 5), 0)
    # Depth without any value stays as it is; zeros replace it, and are replaced again.
    assert schedule.hits == [0, 1, 1]
    # A message that is broken anyway is not cut off once more, but may arrive later.
    schedule = FaultSchedule([Fault("truncate", "rgb"), Fault("delay", "rgb", value=10)])
    schedule.apply("rgb", ReceivedItem(Defect("malformed", "half", 5), 5), 0)
    assert schedule.hits == [0, 1]


def test_a_fault_without_effect_fails_a_verdict(
    recording: Path,
    run_replay,  # type: ignore[no-untyped-def]
) -> None:
    faults = FaultSchedule([Fault("rate", "rgb", 1.0, 2.0, 30), Fault("drop", "depth", 1, 2)])
    criteria = (Criterion.parse("masks > 0"),)
    summary = run_replay(recording, faults=faults, criteria=criteria).summary
    assert summary["idle_faults"] == ["rgb rate 30 from 1 s"]
    assert [fault["frames"] for fault in summary["faults"]] == [0, 10]
    assert not summary["verdict"]["passed"]
    assert [text for text in summary["warnings"] if "rate 30 from 1 s affects no frame" in text]


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
