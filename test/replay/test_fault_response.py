# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Times to detect a fault, to the first mask without the stream, and to recover."""

from __future__ import annotations

from pathlib import Path

import pytest

from rgbd_seg_ros.replay.fault_response import fault_response
from rgbd_seg_ros.replay.faults import Fault, FaultSchedule
from rgbd_seg_ros.replay.measures import MEASURES

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
        ("depth", 2.5, 3.5, (None, None, 700)),  # already lost, and still so at the end
        ("depth", 2.5, 4.0, (None, None, 200)),  # already lost, and usable when it ends
        ("depth", 2.5, 4.1, (None, None, None)),  # already lost, but usable before it ends
        ("depth", 2.5, None, (None, None, None)),
        ("depth", 2.3, 3.5, (0, 0, 700)),  # lost from the first frame on
        ("depth", 1.9, 2.3, (None, 200, 1900)),  # lost only when it has just ended
        ("depth", 4.1, 5.0, (None, 0, 0)),  # a mask without it when the fault begins
        ("depth", 1.0, 2.1, (None, None, None)),  # a mask without it when the fault has ended
        ("depth", 4.0, 4.5, (None, 0, 0)),  # a loss that ends when the fault begins
        ("depth", 2.0, 4.5, (300, 100, 0)),  # used again before the end
        ("depth", 5.0, 6.0, (None, None, None)),  # not noticed
        ("rgb", 2.0, 3.0, (None, None, None)),
    ],
)
def test_times_by_hand(stream: str, start: float, end: float | None, times: object) -> None:
    fault = {"stream": stream, "fault": "drop", "from": start, "to": end, "frames": 1}
    assert _times(fault) == times


@pytest.mark.parametrize(
    ("fault", "others", "detected"),
    [
        (("blur", 2.1, 6.0), [("drop", 2.0, 2.2)], None),  # silent because of the drop
        (("blur", 2.1, 6.0), [("drop", 0.5, 1.2)], None),  # too long ago, but lost already
        (("drop", 2.0, 2.4), [("blur", 2.1, 6.0)], 300),
        (("drop", 2.1, 2.4), [("color_driver", 2.0, 2.4)], 200),  # either may be the cause
        (("rate", 2.1, 6.0), [("jitter", 2.0, 6.0)], 200),
        (("rate", 2.1, 6.0), [("freeze", 2.0, 6.0)], 200),  # a repeat is not silent
        (("rate", 2.1, 6.0), [("drop", 2.4, 6.0)], 200),  # begins after the loss
        (("rate", 2.1, 6.0), [("drop", 0.1, 1.2)], 200),  # has ended long before
        (("rate", 2.1, 6.0), [("drop", 2.0, None)], None),
    ],
)
def test_a_loss_that_another_fault_caused_is_no_detection(fault, others, detected) -> None:  # type: ignore[no-untyped-def]
    def entry(name: str, start: float, end: float | None) -> dict[str, object]:
        return {"stream": "rgb", "fault": name, "from": start, "to": end, "frames": 1}

    lost_s = 2.05 if fault == ("blur", 2.1, 6.0) and others == [("drop", 0.5, 1.2)] else 2.3
    health = {"rgb": [(0.0, lost_s, "ok"), (lost_s, 4.0, "silent"), (4.0, 9.0, "ok")]}
    schedule = [entry(*fault), *(entry(*other) for other in others)]
    networks = [(0.1, 2.2, "rgbd"), (2.3, 3.9, "depth"), (4.0, 9.0, "rgbd")]
    found = fault_response(schedule[0], health, networks, schedule)  # type: ignore[arg-type]
    assert found["detected_ms"] == detected
    # Masks without the stream were then not its doing either.
    assert (found["degraded_ms"] is None) is (detected is None)
    # A fault of another stream explains nothing.
    schedule[1:] = [{**other, "stream": "depth"} for other in schedule[1:]]
    found = fault_response(schedule[0], health, networks, schedule)  # type: ignore[arg-type]
    assert (found["detected_ms"] is None) is (lost_s == 2.05)


def test_a_new_reason_of_a_loss_is_a_detection() -> None:
    health = {"rgb": [(0.0, 1.7, "ok"), (1.7, 2.4, "black"), (2.4, 4.0, "malformed")]}
    fault = {"stream": "rgb", "fault": "truncate", "from": 2.3, "to": 3.0, "frames": 7}
    found = fault_response(fault, health, [(0.0, 1.6, "rgbd"), (1.7, 4.0, "depth")])  # type: ignore[arg-type]
    assert (found["lost_before"], found["detected_ms"], found["degraded_ms"]) == (True, 100, 0)


@pytest.mark.parametrize("blur_from_s", [2.3, 3.0])
def test_a_fault_after_another_one_is_not_detected_by_its_loss(
    write_recording,  # type: ignore[no-untyped-def]
    run_replay,  # type: ignore[no-untyped-def]
    tmp_path: Path,
    blur_from_s: float,
) -> None:
    bag = write_recording(tmp_path / "bag", 45)
    # Black color is lost from 1.7 to 3.0 s: it is held back for a second.
    faults = [Fault("black", "rgb", 1.5, 2.0), Fault("blur", "rgb", blur_from_s, 4.2, 5.0)]
    summary = run_replay(bag, faults=FaultSchedule(faults)).summary
    assert [span[:2] for span in summary["timeline"]["health"]["rgb"]][1] == [1.7, 3.0]
    black, blur = summary["fault_responses"]
    keys = ("detected_ms", "degraded_ms", "recovered_ms")
    assert [black[key] for key in keys] == pytest.approx([200, 3, 1003], abs=1)
    if blur_from_s < 3:
        assert blur["lost_before"]
        assert [blur[key] for key in keys] == [None] * 3
    else:
        assert not blur["lost_before"]
        assert blur["detected_ms"] is None
    why = "not detected, because the stream was already lost when it began"
    note = f"was {why if blur_from_s < 3 else 'never detected'}"
    for key in ("detected_ms", "degraded_ms"):
        if blur[key] is None:
            assert MEASURES[key].note(summary) == f"rgb blur from {blur_from_s:g} s {note}"
            assert MEASURES[key](summary) is None


def test_faults_during_the_recovery_from_others_are_not_called_detected(
    write_recording,  # type: ignore[no-untyped-def]
    run_replay,  # type: ignore[no-untyped-def]
    tmp_path: Path,
) -> None:
    bag = write_recording(tmp_path / "bag", 70)
    faults = [Fault("drop", "depth", 1 + 1.5 * i, 1.5 + 1.5 * i) for i in range(3)]
    summary = run_replay(bag, faults=FaultSchedule(faults)).summary
    first, *others = summary["fault_responses"]
    assert first["detected_ms"] == pytest.approx(203, abs=1)
    assert [r["detected_ms"] for r in others] == [r["degraded_ms"] for r in others] == [None] * 2
    # The stream is used again only after the last one.
    times = [r["recovered_ms"] for r in summary["fault_responses"]]
    assert times == pytest.approx([times[2] + 3000, times[2] + 1500, times[2]])
    assert MEASURES["recovered_ms"](summary) == times[0] > 3000
    assert "depth drop from 2.5 s, depth drop from 4 s were not" in MEASURES["detected_ms"].note(
        summary
    )


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
    assert "rgb black from 1.01 s: it changed no frame" in lines[0]
    assert "rgb blur from 1.21 s: not noticed" in lines[1]


def test_masks_of_a_blind_stream_are_by_the_wrong_network(recording: Path, run_replay) -> None:  # type: ignore[no-untyped-def]
    # A frozen stream is used for nine repeats; then it is lost.
    frozen = FaultSchedule([Fault("freeze", "depth", 1.0)])
    summary = run_replay(recording, faults=frozen).summary
    assert summary["masks_by_wrong_network"] == summary["phases"][1]["networks"]["rgbd"] > 5
    # Blurred images still show the scene, so that using them is not wrong.
    blurred = FaultSchedule([Fault("blur", "rgb", 1.0, value=1.0)])
    assert run_replay(recording, faults=blurred).summary["masks_by_wrong_network"] == 0
