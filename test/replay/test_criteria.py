# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Criteria: what they accept, the verdict, the exit code and the JUnit file."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest
from rigs.broken_files import BROKEN, assert_one_line

from rgbd_seg_ros import cli
from rgbd_seg_ros.replay import command
from rgbd_seg_ros.replay.criteria import (
    MEASURES,
    CriteriaError,
    Criterion,
    junit,
    load_criteria,
    verdict,
)

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
    from rgbd_seg_ros.replay.faults import Fault, FaultSchedule

    faults = FaultSchedule([Fault("drop", "depth", 1, 2), Fault("drop", "rgb", 3, 4)])
    options = {
        "topics": {"truth": "/truth/mask"},
        "consistency": True,
        "without_fallback": True,
        "without_faults": True,
    }
    summary = run_replay(recording, faults=faults, **options).summary
    assert [name for name, measure in MEASURES.items() if measure(summary) is None] == []
    worst = min(p["miou"] for p in summary["phases"] if p["streams"])
    assert MEASURES["miou_worst_fault"](summary) == worst
    assert MEASURES["switch_ms"](summary) == max(summary["switch_latency_ms"])


def test_junit_escapes_and_counts() -> None:
    entries = verdict([Criterion.parse("masks > 1"), Criterion.parse("miou > 0")], {"masks": 3})
    root = ElementTree.fromstring(junit([('a<b>"\x01', entries, "")]))
    suite = root.find("testsuite")
    assert suite is not None
    assert (suite.get("tests"), suite.get("failures")) == ("2", "1")
    assert suite.get("name") == 'a<b>"?'
    good, bad = suite.findall("testcase")
    assert good.find("failure") is None
    failure = bad.find("failure")
    assert failure is not None
    assert failure.get("message") == "miou > 0: the replay has no such value"


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
