# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Times to detect a fault, to the first mask without the stream, and to recover."""

from __future__ import annotations

from pathlib import Path

import pytest

from rgbd_seg_ros.replay.fault_response import fault_response
from rgbd_seg_ros.replay.faults import Fault, FaultSchedule

HEALTH = {"depth": [(0.0, 2.3, "ok"), (2.3, 4.0, "silent"), (4.0, 9.0, "ok")]}
NETWORKS = [(0.1, 1.9, "rgbd"), (2.1, 4.1, "rgb"), (4.2, 9.0, "rgbd")]


def _times(fault, health=HEALTH, networks=NETWORKS):  # type: ignore[no-untyped-def]
    found = fault_response(fault, health, networks)
    return found["detected_ms"], found["degraded_ms"], found["recovered_ms"]


@pytest.mark.parametrize(
    ("stream", "start", "end", "times"),
    [
        ("depth", 2.0, 3.0, (300, 100, 1200)),
        ("depth", 2.0, None, (300, 100, None)),
        ("depth", 2.5, 3.5, (0, 0, 700)),  # lost already
        ("depth", 2.0, 4.5, (300, 100, 0)),  # used again before the end
        ("depth", 5.0, 6.0, (None, None, None)),  # not noticed
        ("rgb", 2.0, 3.0, (None, None, None)),
    ],
)
def test_times_by_hand(stream: str, start: float, end: float | None, times: object) -> None:
    fault = {"stream": stream, "fault": "drop", "from": start, "to": end, "frames": 1}
    assert _times(fault) == times


@pytest.mark.parametrize(
    ("stream", "start", "used"),
    [("depth", 2.0, True), ("depth", 0.05, False), ("rgb", 4.0, True), ("rgb", 0.1, False)],
)
def test_a_stream_was_used_before_a_fault_or_not(stream: str, start: float, used: bool) -> None:
    fault = {"stream": stream, "fault": "drop", "from": start, "to": None, "frames": 9}
    assert fault_response(fault, HEALTH, NETWORKS)["used_before"] is used  # type: ignore[arg-type]


def test_recovery_counts_also_if_all_streams_were_lost() -> None:
    # Color and depth are lost from 2.3 to 4 s: there are no masks, so none without depth.
    networks = [(0.1, 1.9, "rgbd"), (4.2, 9.0, "rgbd")]
    fault = {"stream": "depth", "fault": "drop", "from": 2.0, "to": 3.0, "frames": 9}
    assert _times(fault, networks=networks) == (300, None, 1200)


def test_the_response_in_a_replay(recording: Path, run_replay) -> None:  # type: ignore[no-untyped-def]
    faults = FaultSchedule([Fault("drop", "depth", 1.0, 1.75), Fault("noise", "rgb", 3, 3.5, 1.0)])
    summary = run_replay(recording, faults=faults).summary
    # At 10 Hz, depth arrives 3 ms after color, and is lost 3 periods after its last frame at
    # 0.903 s. A color frame is used alone as soon as depth is late, at most 100 ms.
    lost, noisy = summary["fault_responses"]
    assert lost["detected_ms"] == pytest.approx(203, abs=1)
    assert 0 < lost["degraded_ms"] <= 100
    # It is held for 1 s from its first frame at 1.803 s, so the frame at 2.803 s ends the loss.
    # The color frame of that instant has its mask already; the next pair is complete at 2.903 s.
    assert lost["recovered_ms"] == pytest.approx(1153, abs=1)
    assert (noisy["detected_ms"], noisy["degraded_ms"], noisy["recovered_ms"]) == (None,) * 3
    health = summary["timeline"]["health"]
    assert [reason for *_, reason in health["depth"]] == ["waiting", "ok", "silent", "ok"]
    assert [reason for *_, reason in health["rgb"]] == ["ok"]
    assert "depth_raw" not in health
    # While depth recovers, its frames are not used although they have no fault.
    without = summary["networks"]["rgb"] - summary["phases"][1]["masks"]
    assert summary["masks_by_wrong_network"] == without > 5


def test_a_fault_during_which_no_frame_arrived_is_not_called_unnoticed(
    write_recording,  # type: ignore[no-untyped-def]
    run_replay,  # type: ignore[no-untyped-def]
    tmp_path: Path,
) -> None:
    from rgbd_seg_ros.replay.summary import summary_lines

    bag = write_recording(tmp_path / "bag", 20)
    faults = [Fault("black", "rgb", 1.01, 1.05), Fault("blur", "rgb", 1.21, 1.35, 1.0)]
    summary = run_replay(bag, faults=FaultSchedule(faults)).summary
    assert [response["frames"] for response in summary["fault_responses"]] == [0, 1]
    lines = [line for line in summary_lines(summary) if line.startswith("fault ")]
    assert "rgb black from 1.01 s: no frame arrived while it was on" in lines[0]
    assert "rgb blur from 1.21 s: not noticed" in lines[1]


def test_masks_of_a_blind_stream_are_by_the_wrong_network(recording: Path, run_replay) -> None:  # type: ignore[no-untyped-def]
    # A frozen stream is used for nine repeats; then it is lost.
    frozen = FaultSchedule([Fault("freeze", "depth", 1.0)])
    summary = run_replay(recording, faults=frozen).summary
    assert summary["masks_by_wrong_network"] == summary["phases"][1]["networks"]["rgbd"] > 5
    # Blurred images still show the scene, so that using them is not wrong.
    blurred = FaultSchedule([Fault("blur", "rgb", 1.0, value=1.0)])
    assert run_replay(recording, faults=blurred).summary["masks_by_wrong_network"] == 0
