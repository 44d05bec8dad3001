# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Criteria: what they accept, the verdict, the exit code and the JUnit file."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from rigs.broken_files import BROKEN, assert_one_line
from rigs.recordings import HEIGHT, MS, START_NS, WIDTH

from rgbd_seg_ros import cli
from rgbd_seg_ros.image_io import write_image
from rgbd_seg_ros.replay import command
from rgbd_seg_ros.replay.criteria import CriteriaError, Criterion, load_criteria, verdict
from rgbd_seg_ros.replay.faults import Fault, FaultSchedule
from rgbd_seg_ros.replay.junit_file import JunitSuite, failure, junit
from rgbd_seg_ros.replay.measures import MEASURES
from rgbd_seg_ros.replay.truth_folder import TruthFolder

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "replay.md"


@pytest.mark.parametrize(
    ("text", "value", "passed"),
    [
        ("masks >= 5", 5, True),
        ("masks >= 6", 5, False),
        ("masks>4.5", 5, True),
        ("masks > 5", 5, False),
        ("masks <= 5", 5, True),
        ("masks < 5e0", 5, False),
        ("masks == 5", 5, True),
        ("masks != 5", 5, False),
        ("  masks   <  .5 ", 0, True),
        ("masks >= 5e-1", 1, True),
        ("masks >= -1", None, False),
        ("masks != 5", None, False),
    ],
)
def test_a_criterion_compares_its_measure(text: str, value: float | None, passed: bool) -> None:
    assert Criterion.parse(text).judge({"masks": value})["passed"] is passed


def test_the_verdict_is_on_all_criteria() -> None:
    criteria = [Criterion.parse("masks > 1"), Criterion.parse("masks > 2")]
    assert verdict(criteria, {"masks": 3})["passed"]
    assert not verdict(criteria, {"masks": 2})["passed"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- miou_rgb_onyl >= 0.4", "criterion 1: unknown measure 'miou_rgb_onyl'; did you mean"),
        ("- MIOU >= 0.4", "unknown measure 'MIOU'; did you mean 'miou'"),
        ("- masks > 1\n- miou = 3", "criterion 2: expected MEASURE COMPARISON NUMBER.*'miou = 3'"),
        ("- miou >= high", "expected MEASURE COMPARISON NUMBER"),
        ("- miou >= nan", "expected MEASURE COMPARISON NUMBER"),
        ("- 3", "got 3"),
        ("miou: 0.4", "expected a list of criteria"),
        ("[]", "expected a list of criteria"),
        ("", "expected a list of criteria"),
    ],
)
def test_unusable_criteria_are_refused_in_one_line(
    tmp_path: Path, text: str, message: str
) -> None:
    path = tmp_path / "criteria.yaml"
    path.write_text(text)
    with pytest.raises(CriteriaError, match=message) as caught:
        load_criteria(path)
    assert_one_line(caught.value, path)


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_file_is_refused_in_one_line(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "criteria.yaml"
    BROKEN[kind](path)
    with pytest.raises(CriteriaError) as caught:
        load_criteria(path)
    assert_one_line(caught.value, path)


def test_every_measure_is_documented() -> None:
    assert [name for name in MEASURES if f"`{name}`" not in DOCUMENT.read_text()] == []


def test_every_measure_has_a_value_in_a_replay_with_truth(recording: Path, run_replay) -> None:  # type: ignore[no-untyped-def]
    faults = FaultSchedule([Fault("drop", "depth", 0.8, 1.2), Fault("drop", "rgb", 2.3, 2.7)])
    options = {
        "topics": {"truth": "/truth/mask"},
        "consistency": True,
        "without_fallback": True,
        "without_faults": True,
    }
    summary = run_replay(recording, faults=faults, **options).summary
    missing = {name for name, measure in MEASURES.items() if measure(summary) is None}
    assert missing <= {"network_share"}  # the fake engine states times that it does not take
    worst = min(p["miou"] for p in summary["phases"] if p["streams"])
    assert MEASURES["miou_worst_fault"](summary) == worst
    assert MEASURES["switch_ms"](summary) == max(summary["switch_latency_ms"])


def _response(detected, degraded, recovered, **changes):  # type: ignore[no-untyped-def]
    times = {"detected_ms": detected, "degraded_ms": degraded, "recovered_ms": recovered}
    fault = {"stream": "depth", "fault": "drop", "from": 2.0, "to": 3.0, "frames": 10,
             "used_before": True}  # fmt: skip
    return {**fault, **times, **changes}


GOOD = _response(100, 50, 900)


@pytest.mark.parametrize(
    ("measure", "responses", "value", "note"),
    [
        ("detected_ms", [GOOD, _response(200, 20, 300)], 200, ""),
        ("degraded_ms", [GOOD, _response(200, 20, 300)], 50, ""),
        ("recovered_ms", [GOOD, _response(200, 20, 300)], 900, ""),
        # One that was never detected fails all three, whatever the others took.
        *(
            (
                key,
                [GOOD, _response(None, None, None, stream="rgb", fault="freeze")],
                None,
                "rgb freeze from 2 s was never detected",
            )
            for key in ("detected_ms", "degraded_ms", "recovered_ms")
        ),
        (
            "degraded_ms",
            [GOOD, _response(90, None, 80)],
            None,
            "depth drop from 2 s was followed by no mask without the stream",
        ),
        (
            "recovered_ms",
            [GOOD, _response(90, 80, None)],
            None,
            "depth drop from 2 s was followed by no recovery",
        ),
        # After a fault that lasts until the end, nothing can recover.
        ("recovered_ms", [GOOD, _response(90, 80, None, to=None)], 900, ""),
        ("recovered_ms", [GOOD, _response(90, 80, None, to=10.0)], 900, ""),
        (
            "recovered_ms",
            [_response(90, 80, None, to=None)],
            None,
            "no fault of a stream that was used before ended before the recording did",
        ),
        # Depth that was never used, for example since it is not aligned, does not recover.
        ("recovered_ms", [GOOD, _response(90, 0, None, used_before=False)], 900, ""),
        ("degraded_ms", [GOOD, _response(90, 0, None, used_before=False)], 50, ""),
        # What changed no frame is not to be detected; idle_faults counts it.
        ("detected_ms", [GOOD, _response(None, None, None, frames=0)], 100, ""),
        ("detected_ms", [], None, "no fault changed a frame of color or depth"),
        (
            "detected_ms",
            [_response(None, None, None)] * 5,
            None,
            "depth drop from 2 s, depth drop from 2 s, depth drop from 2 s and 2 more were never "
            "detected",
        ),
    ],
)
def test_a_fault_without_a_response_meets_no_criterion(  # type: ignore[no-untyped-def]
    measure: str, responses, value, note
) -> None:
    summary = {"fault_responses": responses, "duration_s": 10.0}
    entry = Criterion.parse(f"{measure} <= 9999").judge(summary)
    assert (entry["value"], entry["note"]) == (value, note)
    assert entry["passed"] is (value is not None)


#: The measures that need ground truth.
SCORES = (
    "miou", "miou_all", "miou_rgbd", "miou_rgb_only", "miou_depth_only", "miou_worst_fault",
    "miou_fallback", "miou_without_fallback", "fallback_gain", "miou_without_faults", "fault_cost",
    "ece_rgbd", "ece_rgb_only", "ece_depth_only",
)  # fmt: skip


@pytest.mark.parametrize("keep", [1, 2])
def test_a_score_says_how_many_masks_it_leaves_out(
    recording: Path,
    run_replay,  # type: ignore[no-untyped-def]
    tmp_path: Path,
    keep: int,
) -> None:
    truth = tmp_path / "truth"
    truth.mkdir()
    for index in range(0, 40, keep):
        stamp_ns = START_NS + index * 100 * MS - 4 * MS
        write_image(truth / f"{stamp_ns}.png", np.ones((HEIGHT, WIDTH), np.uint8))
    summary = run_replay(
        recording,
        truth=TruthFolder(truth),
        faults=FaultSchedule([Fault("drop", "depth", 0.8, 1.2), Fault("drop", "rgb", 2.3, 2.7)]),
        without_fallback=True,
        without_faults=True,
        criteria=[Criterion.parse(f"{name} >= -1") for name in (*SCORES, "masks")],
    ).summary
    masks, unscored = summary["masks"], summary["unscored"]
    assert (unscored > 10) is (keep == 2)
    *scores, other, _ = summary["verdict"]["criteria"]
    note = f"{unscored} of {masks} masks have no ground truth" if unscored > 1 else ""
    assert {entry["criterion"]: entry["note"] for entry in scores} == {
        f"{name} >= -1": note for name in SCORES
    }
    assert all(entry["passed"] for entry in scores)
    assert other["note"] == ""


def test_an_undetected_fault_fails_a_replay_in_which_another_is_detected(
    recording: Path,
    replay,  # type: ignore[no-untyped-def]
    tmp_path: Path,
) -> None:
    detected = "- {stream: depth, fault: drop, from: 1, to: 1.5}\n"
    frozen = "- {stream: rgb, fault: freeze, from: 3, to: 3.5}\n"  # 5 repeats; 10 are noticed
    schedule = tmp_path / "faults.yaml"
    criteria = "".join(f"- {k} <= 9999\n" for k in ("detected_ms", "degraded_ms", "recovered_ms"))
    schedule.write_text(detected)
    assert replay(criteria, recording, "--faults", schedule)[0] == 0
    schedule.write_text(detected + frozen)
    code, out, err = replay(criteria, recording, "--faults", schedule, "--json")
    summary = json.loads(out)
    assert code == 1
    notes = [entry["note"] for entry in summary["verdict"]["criteria"] if not entry["passed"]]
    assert notes == ["rgb freeze from 3 s was never detected"] * 3
    warning = "rgb freeze from 3 s reaches 5 frames, but at 9.99 Hz it is noticed only after 10"
    assert warning in err
    _, text, _ = replay(criteria, recording, "--faults", schedule)
    assert "FAILED          detected_ms <= 9999: rgb freeze from 3 s was never detected" in text


@pytest.mark.parametrize(
    ("phases", "value", "note"),
    [
        ([("a", ["rgb"], 0.5), ("b", [], 0.1), ("c", ["depth"], 0.3)], 0.3, ""),
        (
            [("a", ["rgb"], 0.5), ("b", ["rgb", "depth"], None)],
            None,
            "no scored mask in 0-1 s b",
        ),
        ([("no fault", [], 0.5)], None, "the schedule has no fault"),
    ],
)
def test_the_worst_phase_may_be_one_without_masks(phases, value, note) -> None:  # type: ignore[no-untyped-def]
    entries = [
        {"name": name, "streams": streams, "miou": miou, "from": 0.0, "to": 1.0}
        for name, streams, miou in phases
    ]
    entry = Criterion.parse("miou_worst_fault > 0").judge({"phases": entries, "miou": 0.5})
    assert (entry["value"], entry["note"]) == (value, note)


def test_junit_escapes_and_counts() -> None:
    entries = verdict([Criterion.parse("masks > 1"), Criterion.parse("miou > 0")], {"masks": 3})
    root = ElementTree.fromstring(junit([JunitSuite('a<b>"\x01', entries)]))
    suite = root.find("testsuite")
    assert suite is not None
    assert (suite.get("tests"), suite.get("failures")) == ("2", "1")
    assert suite.get("name") == 'a<b>"?'
    good, bad = suite.findall("testcase")
    assert good.find("failure") is None
    failure = bad.find("failure")
    assert failure is not None
    assert failure.get("message") == "miou > 0: no mask has ground truth"


#: Element of JUnit files → attributes that it needs, and may have besides; and its children in
#: their order, after junit-10.xsd of Jenkins' xUnit plugin.
JUNIT: dict[str, tuple[set[str], set[str], tuple[str, ...]]] = {
    "testsuites": (set(), {"name", "time", "tests", "failures", "errors"}, ("testsuite",)),
    "testsuite": (
        {"name", "tests", "failures", "errors"},
        {"time", "timestamp", "hostname"},
        ("properties", "testcase", "system-out", "system-err"),
    ),
    "testcase": ({"name", "classname"}, {"time"}, ("error", "failure", "system-out")),
    "failure": (set(), {"type", "message"}, ()),
    "error": (set(), {"type", "message"}, ()),
    "system-out": (set(), set(), ()),
}


def test_junit_has_warnings_and_notes_in_the_form_of_its_schema() -> None:
    summary = {"masks_lost": 0, "masks": 3, "modes": {"NO_INPUT": 0.7}}
    criteria = [Criterion.parse("masks_lost == 0"), Criterion.parse("masks > 5")]
    found = verdict(criteria, summary)
    lines = ["depth <lags> & stutters", "bell\a"]
    text = junit([JunitSuite("a", found, "", lines), JunitSuite("b", None, "broken", [])])
    root = ElementTree.fromstring(text)
    for element in root.iter():
        needed, allowed, children = JUNIT[element.tag]
        assert needed <= set(element.attrib) <= needed | allowed
        places = [children.index(child.tag) for child in element]
        assert places == sorted(places)
    first, second = root.findall("testsuite")
    assert first.findtext("system-out") == "warning: depth <lags> & stutters\nwarning: bell?"
    assert second.find("system-out") is None
    lost, _ = first.findall("testcase")
    assert lost.findtext("system-out") == (
        "masks_lost == 0: 0 (however, no stream was usable for 0.7 s: masks are missing for want "
        "of input, see no_input_s and longest_gap_s)"
    )
    assert (root.get("tests"), root.get("failures"), root.get("errors")) == ("3", "1", "1")


@pytest.fixture
def replay(monkeypatch, engine, capsys, tmp_path: Path):  # type: ignore[no-untyped-def]
    """Run `rgbd_seg replay` with criteria; returns (exit code, stdout, stderr)."""
    monkeypatch.setattr(command, "load_engine", lambda bundle, device, backend: engine)

    def run(criteria: str, *arguments: object) -> tuple[int, str, str]:
        (tmp_path / "criteria.yaml").write_text(criteria)
        given = [f"--criteria={tmp_path / 'criteria.yaml'}"] if criteria else []
        code = cli.main(["replay", *given, *map(str, arguments)])
        return code, *capsys.readouterr()

    return run


@pytest.mark.parametrize(("limit", "code"), [(1, 0), (10_000, 1)])
def test_the_exit_code_and_the_files_hold_the_verdict(
    recording: Path,
    replay,  # type: ignore[no-untyped-def]
    tmp_path: Path,
    limit: int,
    code: int,
) -> None:
    xml, out = tmp_path / "new" / "verdict.xml", tmp_path / "out"
    options = ("--junit", xml, "--out", out)
    found, text, _ = replay(f"- masks >= {limit}\n- masks_lost == 0\n", recording, *options)
    assert found == code
    assert ("FAILED" if code else "passed") in text
    entries = json.loads((out / "summary.json").read_text())["verdict"]
    assert entries["passed"] is (code == 0)
    assert [entry["passed"] for entry in entries["criteria"]] == [code == 0, True]
    assert ElementTree.parse(xml).getroot().get("failures") == str(code)


@pytest.mark.parametrize(
    ("faults", "text", "note"),
    [
        ("late.yaml", "- {stream: depth, fault: drop, from: 50}\n", "depth drop from 50 s"),
        (
            "one.yaml",
            "- {stream: depth, fault: drop, from: 1, to: 2}\n"
            "- {stream: depth_raw, fault: drop, from: 1, to: 2}\n",
            "depth_raw drop from 1 s",
        ),
        ("empty.yaml", "[]\n", "empty.yaml has no fault in this recording"),
    ],
)
def test_a_schedule_that_never_fires_fails_the_verdict(  # type: ignore[no-untyped-def]
    recording: Path, replay, tmp_path: Path, faults: str, text: str, note: str
) -> None:
    (tmp_path / faults).write_text(text)
    xml = tmp_path / "verdict.xml"
    options = (recording, "--faults", tmp_path / faults, "--json")
    code, out, err = replay("- masks > 1\n", *options, "--junit", xml)
    assert code == 1
    summary = json.loads(out)
    (unmet,) = [e for e in summary["verdict"]["criteria"] if not e["passed"]]
    assert unmet["criterion"] == "idle_faults == 0"
    assert unmet["note"].endswith(note)
    told = [line for line in err.splitlines() if line.startswith("warning: ")]
    assert len([line for line in told if note.partition(" has")[0] in line]) == 1
    assert ElementTree.parse(xml).getroot().findtext("testsuite/system-out", "") == "\n".join(told)
    # Whoever knows may allow it.
    allowed = replay("- masks > 1\n- idle_faults >= 0\n", *options)[0]
    assert allowed == (1 if faults == "empty.yaml" else 0)


def test_random_faults_in_a_recording_too_short_for_them_fail_the_verdict(
    recording: Path,
    replay,  # type: ignore[no-untyped-def]
) -> None:
    from rgbd_seg_ros.replay.fault_presets import random_faults

    empty = next(seed for seed in range(99) if not random_faults(seed, 3.903))
    code, out, _ = replay("- masks > 1\n", recording, "--random-faults", empty)
    assert code == 1
    assert f"idle_faults == 0: --random-faults {empty} has no fault in this recording" in out


def test_without_a_switch_there_is_no_time_of_a_switch(recording: Path, replay) -> None:  # type: ignore[no-untyped-def]
    code, out, _ = replay("- switch_ms <= 100\n", recording)
    assert code == 1
    assert "FAILED          switch_ms <= 100: no switch lost a stream and left another one" in out


def test_a_switch_that_no_mask_followed_has_no_time() -> None:
    summary = {"switch_latency_ms": [20.0], "switches_without_mask": [3.25]}
    entry = Criterion.parse("switch_ms <= 100").judge(summary)
    assert (entry["passed"], entry["note"]) == (False, "no mask followed the switch at 3.25 s")
    assert Criterion.parse("switch_ms <= 100").judge({**summary, "switches_without_mask": []})[
        "passed"
    ]


def test_masks_without_input_are_not_lost_but_named(
    recording: Path,
    replay,  # type: ignore[no-untyped-def]
    tmp_path: Path,
) -> None:
    (tmp_path / "f.yaml").write_text(
        "- {stream: rgb, fault: drop, from: 1, to: 2}\n"
        "- {stream: depth, fault: drop, from: 1, to: 2}\n"
    )
    criteria = "- masks_lost == 0\n- longest_gap_s <= 0.5\n- no_input_s == 0\n"
    code, out, _ = replay(criteria, recording, "--faults", tmp_path / "f.yaml", "--json")
    summary = json.loads(out)
    assert code == 1
    lost, gap, silent, _ = summary["verdict"]["criteria"]
    assert lost["passed"]
    assert "masks are missing for want of input" in lost["note"]
    assert (gap["passed"], silent["passed"]) == (False, False)
    # From the last pair at 0.903 s to the first color frame after the faults, at 2 s.
    assert gap["value"] == summary["longest_gap_s"] == 1.097
    assert replay("- masks_lost == 0\n", recording, "--json")[0] == 0


def test_junit_is_refused_without_criteria_and_never_replaces_silently(
    recording: Path,
    replay,  # type: ignore[no-untyped-def]
    tmp_path: Path,
) -> None:
    xml = tmp_path / "verdict.xml"
    code, _, error = replay("", recording, "--junit", xml)
    assert (code, "without --criteria" in error) == (2, True)
    xml.write_text("mine")
    code, _, error = replay("- masks > 0", recording, "--junit", xml)
    assert (code, "use --overwrite" in error, xml.read_text()) == (2, True, "mine")
    assert replay("- masks > 0", recording, "--junit", xml, "--overwrite")[0] == 0
    assert replay("- masks > 0", recording, "--junit", tmp_path)[0] == 2


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--faults", "no-such-preset"), "no-such-preset"),
        (("--truth", "/no/such/folder"), "/no/such/folder"),
        (("--set", "max_wait_ms=-1"), "max_wait_ms"),
        (("BROKEN",), "broken"),
        (("BAD TRUTH",), "100×10"),
    ],
)
def test_a_replay_that_fails_leaves_no_earlier_success(
    recording: Path,
    replay,  # type: ignore[no-untyped-def]
    tmp_path: Path,
    words: tuple[str, ...],
    message: str,
) -> None:
    xml, out = tmp_path / "verdict.xml", tmp_path / "out"
    files = ("--junit", xml, "--out", out, "--overwrite")
    assert replay("- masks > 1\n", recording, *files)[0] == 0
    assert ElementTree.parse(xml).getroot().get("errors") == "0"
    bag: list[object] = [recording]
    if words == ("BROKEN",):
        words, bag = (), [tmp_path / "broken.mcap"]
        (tmp_path / "broken.mcap").write_bytes(b"not a bag")
    elif words == ("BAD TRUTH",):
        # The first mask is sound, so that the error comes in the middle of the replay.
        words = ("--truth", str(tmp_path / "truth"))
        (tmp_path / "truth").mkdir()
        for index, shape in ((0, (HEIGHT, WIDTH)), (5, (10, 100))):
            stamp_ns = START_NS + index * 100 * MS - 4 * MS
            path = tmp_path / "truth" / f"{stamp_ns}.png"
            write_image(path, np.zeros(shape, np.uint8))
    code, _, error = replay("- masks > 1\n", *bag, *words, *files)
    assert code == 2
    assert message in error
    root = ElementTree.parse(xml).getroot()
    assert (root.get("errors"), root.get("failures")) == ("1", "0")
    found = root.find("testsuite/testcase/error")
    assert found is not None
    reason = str(found.get("message"))
    assert message in reason
    assert json.loads((out / "summary.json").read_text()) == {"error": reason}
    assert not (out / "report.html").exists()


def test_a_failed_replay_writes_nothing_where_it_may_not(
    recording: Path,
    replay,  # type: ignore[no-untyped-def]
    tmp_path: Path,
) -> None:
    xml, out = tmp_path / "verdict.xml", tmp_path / "out"
    files = ("--junit", xml, "--out", out)
    # A folder is not created for an error, so that the corrected command needs no --overwrite.
    assert replay("- masks > 1\n", recording, *files, "--faults", "typo")[0] == 2
    assert not out.exists()
    assert ElementTree.parse(xml).getroot().get("errors") == "1"
    out.mkdir()
    for path in (xml, out / "summary.json"):
        path.write_text("mine")
    assert replay("- masks > 1\n", recording, *files, "--faults", "typo")[0] == 2
    assert [path.read_text() for path in (xml, out / "summary.json")] == ["mine"] * 2
    # With --overwrite, a folder without results of a replay stays as it is.
    (out / "summary.json").rename(out / "notes.txt")
    words = ("--out", out, "--overwrite", "--faults", "typo")
    assert replay("- masks > 1\n", recording, *words)[0] == 2
    assert [path.name for path in out.iterdir()] == ["notes.txt"]


def test_a_batch_that_fails_leaves_no_earlier_success(
    recording: Path,
    replay,  # type: ignore[no-untyped-def]
    tmp_path: Path,
) -> None:
    xml = tmp_path / "verdict.xml"
    xml.write_text("<testsuites errors='0'/>")
    words = ("--batch", tmp_path / "missing.yaml", "--out", tmp_path / "out", "--junit", xml)
    assert replay("- masks > 1\n", recording, *words)[0] == 2
    assert ElementTree.parse(xml).getroot().get("errors") == "1"


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({}, ""),
        ({"interrupted": True}, "the replay was interrupted"),
        ({"masks": 0}, "no mask was computed"),
        ({"unused_streams": ["depth"]}, "depth could not be used"),
        ({"unused_streams": ["depth", "rgb"]}, "depth and rgb could not be used"),
    ],
)
def test_what_fails_a_replay_whatever_its_criteria_say(  # type: ignore[no-untyped-def]
    changes, text: str
) -> None:
    summary = {"interrupted": False, "masks": 3, "unused_streams": []}
    assert failure({**summary, **changes}) == text


def test_junit_has_an_error_if_no_mask_was_computed(
    recording: Path,
    replay,  # type: ignore[no-untyped-def]
    tmp_path: Path,
) -> None:
    xml = tmp_path / "verdict.xml"
    (tmp_path / "faults.yaml").write_text("- {fault: color_driver}\n")
    words = ("--junit", xml, "--faults", tmp_path / "faults.yaml")
    assert replay("- masks == 0\n", recording, *words)[0] == 1
    assert ElementTree.parse(xml).getroot().get("errors") == "1"
