# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Each fault acts as documented and only while active; errors in a schedule name their line."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from rigs.broken_files import BROKEN, assert_one_line

from rgbd_seg_ros.frames import Defect, Frame
from rgbd_seg_ros.replay.fault_kinds import ReceivedItem
from rgbd_seg_ros.replay.faults import Fault, FaultError, FaultSchedule, load_faults

S = 1_000_000_000
START_NS = 5 * S


def _array(stream: str, value: int, floating: bool = False) -> np.ndarray:
    if stream == "rgb":
        return np.full((4, 6, 3), value, np.uint8)
    return np.full((4, 6), value, np.float32 if floating else np.uint16)


def _run(faults: list[Fault], stream: str, times_s, floating: bool = False):  # type: ignore[no-untyped-def]
    """Apply faults to frames with the values 1, 2, 3 … received at the given times."""
    schedule = FaultSchedule(faults)
    arrived = []
    for i, t_s in enumerate(times_s):
        now_ns = START_NS + round(t_s * S)
        frame = Frame(_array(stream, i + 1, floating), now_ns - 1000, "cam", "encoding")
        arrived.append(schedule.apply(stream, ReceivedItem(frame, now_ns), START_NS))  # type: ignore[arg-type]
    return arrived


def _values(samples):  # type: ignore[no-untyped-def]
    return [None if s is None else float(s.item.array.flat[0]) for s in samples]


TIMES = (0.0, 0.9, 1.0, 1.5, 1.999, 2.0, 3.0)


@pytest.mark.parametrize(
    ("fault", "stream", "expected"),
    [
        ("drop", "rgb", [1, 2, None, None, None, 6, 7]),
        ("drop", "depth", [1, 2, None, None, None, 6, 7]),
        ("freeze", "depth_raw", [1, 2, 2, 2, 2, 6, 7]),
        ("zero", "depth", [1, 2, 0, 0, 0, 6, 7]),
        ("nan", "depth", [1, 2, 0, 0, 0, 6, 7]),
        ("black", "rgb", [1, 2, 0, 0, 0, 6, 7]),
    ],
)
def test_a_fault_is_active_from_its_start_to_just_before_its_end(fault, stream, expected) -> None:  # type: ignore[no-untyped-def]
    samples = _run([Fault(fault, stream, 1.0, 2.0)], stream, TIMES)
    assert _values(samples) == expected
    for sample, t_s in zip(samples, TIMES, strict=True):
        if sample is not None:  # a faulty image still has a new stamp
            assert sample.item.stamp_ns == START_NS + round(t_s * S) - 1000
            assert sample.item.array.dtype == _array(stream, 0).dtype


def test_nan_in_meters() -> None:
    values = _values(_run([Fault("nan", "depth", 1.0)], "depth", (0, 1), floating=True))
    assert values[0] == 1
    assert math.isnan(values[1])


def test_freeze_from_the_start_holds_the_first_frame() -> None:
    assert _values(_run([Fault("freeze", "rgb", 0.0, 1.0)], "rgb", (0, 0.1, 0.2, 1))) == [
        1, 1, 1, 4,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("stream", "expected"), [("rgb", [1, None]), ("depth", [1, None]), ("depth_raw", [1, 2])]
)
def test_color_driver_drops_color_and_aligned_depth(stream: str, expected: list) -> None:
    assert _values(_run([Fault("color_driver", from_s=1)], stream, (0, 1))) == expected


def test_other_streams_pass_and_faults_combine() -> None:
    faults = [Fault("freeze", "rgb", 1, 3), Fault("drop", "rgb", 2, 4)]
    assert _values(_run(faults, "rgb", (0, 1, 2, 3, 4))) == [1, 1, None, None, 5]
    assert _values(_run(faults, "depth", (0, 1, 2))) == [1, 2, 3]


def test_a_frozen_frame_outlasts_a_malformed_message() -> None:
    schedule = FaultSchedule([Fault("freeze", "rgb", 1.0)])
    good = ReceivedItem(Frame(_array("rgb", 7), 1, "cam", "rgb8"), START_NS)
    bad = ReceivedItem(Defect("malformed", "x"), START_NS + 2 * S)
    assert schedule.apply("rgb", good, START_NS) is good
    assert schedule.apply("rgb", bad, START_NS) is bad
    late = ReceivedItem(Frame(_array("rgb", 9), 2, "cam", "rgb8"), START_NS + 3 * S)
    assert _values([schedule.apply("rgb", late, START_NS)]) == [7]


def test_phases_begin_where_faults_change() -> None:
    schedule = FaultSchedule(
        [Fault("drop", "depth", 2, 4), Fault("drop", "rgb", 3, 5), Fault("drop", "rgb", 90, 99)]
    )
    phases = schedule.phases(10.0)
    assert [(p.from_s, p.to_s, p.name, p.streams) for p in phases] == [
        (0, 2, "no fault", ()),
        (2, 3, "depth drop", ("depth",)),
        (3, 4, "depth drop, rgb drop", ("rgb", "depth")),
        (4, 5, "rgb drop", ("rgb",)),
        (5, 10, "no fault", ()),
    ]
    assert [p.name for p in FaultSchedule().phases(1.0)] == ["no fault"]


def test_a_schedule_is_read_from_yaml(tmp_path: Path) -> None:
    path = tmp_path / "faults.yaml"
    path.write_text(
        "# one stream after the other\n"
        "- {stream: depth, fault: drop, from: 2.0, to: 5}\n"
        "- stream: rgb\n"
        "  fault: freeze\n"
        "- {fault: color_driver, from: 8.5}\n"
    )
    assert load_faults(path).faults == (
        Fault("drop", "depth", 2, 5),
        Fault("freeze", "rgb", 0, math.inf),
        Fault("color_driver", None, 8.5),
    )


def test_the_old_name_of_color_driver_is_accepted_with_one_warning(
    recording: Path,
    run_replay,  # type: ignore[no-untyped-def]
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = tmp_path / "faults.yaml"
    path.write_text(
        "- {fault: colour_driver, from: 1, to: 1.5}\n- {fault: colour_driver, from: 3}\n"
    )
    schedule = load_faults(path)
    assert [fault.fault for fault in schedule.faults] == ["color_driver", "color_driver"]
    summary = run_replay(recording, faults=schedule).summary
    (warning,) = summary["warnings"]
    assert warning.startswith("fault colour_driver is now called color_driver")
    assert capsys.readouterr().err.count("colour_driver") == 1
    assert {fault["fault"] for fault in summary["faults"]} == {"color_driver"}
    with pytest.raises(FaultError, match="unknown fault 'colour_driver'"):
        Fault("colour_driver")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "- {stream: depth, fault: dorp}",
            r":1: unknown fault 'dorp'; did you mean 'drop'\? \(known",
        ),
        ("\n- {stream: dept, fault: drop}", ":2: unknown stream 'dept'; did you mean 'depth'"),
        (
            "- {stream: rgb, fault: drop}\n- {stream: rgb, fault: nan}",
            ":2: .*cannot affect stream rgb",
        ),
        ("- {stream: depth, fault: black}", "only rgb"),
        ("- {fault: drop}", "needs a stream"),
        ("- {stream: rgb}", "the key fault is missing"),
        ("- {stream: rgb, fault: color_driver}", "omit the stream"),
        ("- {stream: rgb, fault: drop, form: 1}", "unknown key 'form'; did you mean 'from'"),
        ("- {stream: rgb, fault: drop, from: 3, to: 2}", "must satisfy 0 ≤ from < to"),
        ("- {stream: rgb, fault: drop, from: -1}", "must satisfy 0 ≤ from < to"),
        ("- {stream: rgb, fault: drop, from: soon}", "from must be a number, got 'soon'"),
        ("- {stream: rgb, fault: drop, from: true}", "from must be a number"),
        ("- {stream: rgb, fault: drop, to: .nan}", "to must be a number"),
        ("- {stream: rgb, fault: drop, value: 3}", "takes no value"),
        ("- {stream: rgb, fault: blur}", r"needs a value \(std of the blur in pixels, .*got none"),
        ("- {stream: rgb, fault: blur, value: 0}", "from 0.3 to 100"),
        ("- {stream: depth, fault: patch, value: 1.1}", "from 0.001 to 1"),
        ("- {stream: depth, fault: misalign, value: 2.5}", "whole number.*got 2.5"),
        (
            "- {stream: depth, fault: misalign, value: 0}",
            "but not 0, which changes nothing.*got 0",
        ),
        ("- {stream: depth, fault: units, value: 1}", "but not 1, which changes nothing.*got 1"),
        ("- {stream: rgb, fault: saturate, value: 1.0}", "but not 1, which changes nothing"),
        ("- {stream: rgb, fault: skew, value: 0}", "but not 0, which changes nothing"),
        ("- {fault: jump, value: 0}", "but not 0, which changes nothing"),
        ("- {stream: rgb, fault: jump, value: 2}", "omit the stream"),
        ("- {stream: rgb, fault: drop, seed: -1}", "seed must be 0 to"),
        ("- {stream: rgb, fault: drop, seed: 1.5}", "seed must be a whole number"),
        ("- drop", "expected .*got 'drop'"),
        ("fault: drop", "expected a list"),
        ("", "expected a list"),
        ("- {stream: rgb", r":1 is not valid YAML: expected ',' or '}'"),
        ("- !!python/object/apply:os.system [ls]", ":1 is not valid YAML: could not determine"),
    ],
)
def test_errors_in_a_schedule_name_their_line(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "faults.yaml"
    path.write_text(text)
    with pytest.raises(FaultError, match=message) as caught:
        load_faults(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_schedule_is_refused_in_one_line(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "faults.yaml"
    BROKEN[kind](path)
    with pytest.raises(FaultError) as caught:
        load_faults(path)
    assert_one_line(caught.value, path)


def test_values_with_an_exponent_are_numbers(tmp_path: Path) -> None:
    path = tmp_path / "faults.yaml"
    path.write_text("- {stream: rgb, fault: noise, from: 1e-1, to: 2e0, value: 2e1}\n")
    assert load_faults(path).faults == (Fault("noise", "rgb", 0.1, 2.0, 20.0),)


ROOT = Path(__file__).resolve().parents[2]
SHIPPED = sorted((ROOT / "config" / "faults").glob("*.yaml"))


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_schedules_are_valid(path: Path) -> None:
    assert load_faults(path).faults


def test_the_losses_of_the_demo_are_a_shipped_schedule_too() -> None:
    from training import demo

    def key(fault: Fault) -> tuple:
        return (fault.from_s, fault.to_s, str(fault))

    shipped = load_faults(ROOT / "config" / "faults" / "each_then_both.yaml").faults
    assert sorted(map(key, shipped)) == sorted(map(key, demo.schedule().faults))
