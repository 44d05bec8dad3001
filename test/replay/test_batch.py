# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Many replays from one command: results, resuming, comparisons, defective plans."""

from __future__ import annotations

import html
import json
import os
import shutil
import sys
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from rigs.recordings import MS, START_NS, truth_mask

from rgbd_seg_ros import cli
from rgbd_seg_ros.files import OutputError
from rgbd_seg_ros.image_io import write_image
from rgbd_seg_ros.replay import batch, batch_command
from rgbd_seg_ros.replay.batch_plan import read_batch
from rgbd_seg_ros.replay.batch_report import batch_markdown, batch_page
from rgbd_seg_ros.replay.batch_summary import comparison, interval_over_bags

PROGRAM = (sys.executable, str(Path(__file__).resolve().parents[1] / "rigs" / "fake_replay.py"))


@pytest.fixture
def replay(monkeypatch, capsys):  # type: ignore[no-untyped-def]
    """Run `rgbd_seg replay` whose processes have a fake engine; returns (code, stdout, stderr)."""
    started: list[str] = []
    real = batch.ReplayBatch

    class Watched(real):  # type: ignore[misc, valid-type]
        def __init__(self, *arguments) -> None:  # type: ignore[no-untyped-def]
            super().__init__(*arguments, program=PROGRAM)

        def _start(self, run, lock):  # type: ignore[no-untyped-def]
            started.append(run.folder.removeprefix("runs/"))
            return super()._start(run, lock)

    monkeypatch.setattr(batch_command, "ReplayBatch", Watched)

    def run(*arguments: object) -> tuple[int, str, str]:
        started.clear()
        code = cli.main(["replay", *map(str, arguments)])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    run.started = started  # type: ignore[attr-defined]
    return run


@pytest.fixture
def worse(tmp_path: Path) -> Path:
    """A folder that looks like a bundle, whose single networks are never right."""
    folder = tmp_path / "worse"
    folder.mkdir()
    (folder / "bundle.json").write_text("{}")
    return folder


def _plan(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "plan.yaml"
    path.write_text(text)
    return path


def test_a_batch_replays_everything_and_goes_on_where_it_stopped(
    recording: Path,
    replay,  # type: ignore[no-untyped-def]
    tmp_path: Path,
) -> None:
    path = _plan(
        tmp_path,
        "options: {no_masks: true}\n"
        f"bags:\n  truth: {{bag: {recording}, truth_topic: /truth/mask}}\n  plain: {recording}\n"
        "faults: [none, lens-cap]\ncolumns: [masks, miou]\n",
    )
    out = tmp_path / "out"
    command = ("--batch", path, "--out", out, "--jobs", 2, "--json")
    code, printed, _ = replay(*command)
    assert code == 0
    everything = ["truth/none/default", "truth/lens-cap/default", "plain/none/default",
                  "plain/lens-cap/default"]  # fmt: skip
    assert replay.started == everything
    summary = json.loads(printed)
    assert summary == json.loads((out / "batch.json").read_text())
    assert [run["folder"].removeprefix("runs/") for run in summary["runs"]] == everything
    assert [run["measures"]["masks"] for run in summary["runs"]] == [40] * 4
    mious = [run["measures"]["miou"] for run in summary["runs"]]
    assert mious[0] == 0.25
    assert mious[2:] == [None, None]
    assert (out / "runs/truth/lens-cap/default/report.html").is_file()
    assert not (out / "runs/truth/lens-cap/default/masks").exists()
    page = (out / "batch.html").read_text()
    assert 'href="runs/plain/none/default/report.html"' in page
    assert "| truth | none | 40 | 25.0 % | 0 | done |" in (out / "batch.md").read_text()

    # Only what is missing or has changed is run again.
    assert replay(*command)[0] == 0
    assert replay.started == []
    (out / "runs/plain/none/default/run.json").unlink()
    path.write_text(path.read_text().replace("faults: [none", "faults: [none, 3"))
    assert replay(*command)[0] == 0
    assert replay.started == ["truth/random-3/default", "plain/none/default",
                              "plain/random-3/default"]  # fmt: skip
    replay(*command, "--overwrite")
    assert len(replay.started) == 6


def test_a_changed_recording_or_option_is_replayed_again(
    recording: Path,
    replay,  # type: ignore[no-untyped-def]
    tmp_path: Path,
) -> None:
    bag = Path(shutil.copytree(recording, tmp_path / "bag"))
    criteria = tmp_path / "criteria.yaml"
    criteria.write_text("- masks >= 1\n")
    path = _plan(tmp_path, f"bags: [{bag}]\noptions: {{criteria: {criteria}}}\n")
    command = ("--batch", path, "--out", tmp_path / "out", "--no-masks")
    assert replay(*command)[0] == 0
    assert replay(*command)[0] == 0
    assert replay.started == []
    criteria.write_text("- masks >= 99\n")
    assert replay(*command, "--junit", tmp_path / "junit.xml")[0] == 1
    assert replay.started == ["bag/none/default"]
    suite = ElementTree.parse(tmp_path / "junit.xml").getroot().find("testsuite")
    assert suite is not None
    assert (suite.get("name"), suite.get("failures")) == ("bag/none/default", "1")
    (bag / "extra.txt").touch()
    assert replay(*command, "--engine-latency", 5)[0] == 1
    assert replay.started == ["bag/none/default"]


def test_a_failed_replay_is_named_and_does_not_stop_the_others(
    recording: Path,
    replay,  # type: ignore[no-untyped-def]
    tmp_path: Path,
) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    out = tmp_path / "out"
    command = (recording, broken, "--compare", tmp_path / "worse", "--out", out)
    (tmp_path / "worse").mkdir()
    (tmp_path / "worse" / "bundle.json").write_text("{}")
    code, printed, err = replay(*command)
    assert code == 1
    assert "runs/broken/none/default failed: " in err
    failed = [line for line in printed.splitlines() if line.startswith("| broken")]
    assert "failed: " in failed[0]
    assert "broken" in failed[0]
    runs = json.loads((out / "batch.json").read_text())["runs"]
    assert [run["exit_code"] for run in runs] == [0, 0, 2, 2]
    # What failed is tried again; what did not is kept.
    assert replay(*command)[0] == 1
    assert replay.started == ["broken/none/default", "broken/none/worse"]


def test_warnings_damage_and_missing_truth_of_each_replay_are_shown(
    write_recording,  # type: ignore[no-untyped-def]
    replay,  # type: ignore[no-untyped-def]
    tmp_path: Path,
) -> None:
    write_recording(tmp_path / "good", 5)
    path = next(write_recording(tmp_path / "cut", 600).glob("*.mcap"))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    truth = tmp_path / "labels"
    truth.mkdir()
    write_image(truth / f"{START_NS - 4 * MS}.png", truth_mask())
    bags = [f"{{bag: {tmp_path / name}, truth: {truth}}}" for name in ("good", "cut")]
    path = _plan(tmp_path, f"bags:\n  good: {bags[0]}\n  cut: {bags[1]}\ncolumns: [masks]\n")
    out = tmp_path / "out"
    assert replay("--batch", path, "--out", out, "--no-masks")[0] == 0
    good, cut = json.loads((out / "batch.json").read_text())["runs"]
    assert good["damage"] is None
    assert cut["damage"]
    text, page = (out / "batch.md").read_text(), (out / "batch.html").read_text()
    unscored = (
        "4 of 5 masks have no ground truth (stamps in nanoseconds: 1700000000096000000, "
        "1700000000196000000, 1700000000296000000 and 1 more)"
    )
    damaged = [line for line in cut["warnings"] if "is damaged: " in line]
    assert len(damaged) == 1
    for line in (unscored, *damaged):
        assert f"- {line}" in text
        assert f"<li>{html.escape(line, quote=False)}</li>" in page.replace("&#39;", "'")
    assert "| good | none | 5 | 1 | done |" in text
    assert (
        f"| cut | none | {cut['measures']['masks']} | {len(cut['warnings']) + 1} | done |" in text
    )


def test_two_bundles_are_compared_recording_by_recording(
    recording: Path,
    replay,  # type: ignore[no-untyped-def]
    worse: Path,
    tmp_path: Path,
) -> None:
    options = ("--faults", "lens-cap", "--truth-topic", "/truth/mask", "--no-masks", "--json")
    code, printed, _ = replay(recording, "--compare", worse, "--out", tmp_path / "out", *options)
    assert code == 0
    summary = json.loads(printed)
    assert summary["bundles"] == ["default", "worse"]
    (found,) = summary["comparisons"]
    (pair,) = found["pairs"]
    assert (pair["bag"], pair["faults"]) == (recording.name, "lens-cap")
    by_bundle = {run["bundle"]: run["measures"] for run in summary["runs"]}
    miou = pair["measures"]["miou"]
    assert miou["control"] == by_bundle["default"]["miou"] > by_bundle["worse"]["miou"]
    assert miou["difference"] == pytest.approx(miou["other"] - miou["control"])
    difference = found["differences"]["miou"]
    assert (difference["pairs"], difference["higher"], difference["lower"]) == (1, 0, 1)
    assert "worse minus default" in (tmp_path / "out" / "batch.md").read_text()


def test_differences_are_paired() -> None:
    runs = [
        {"bag": bag, "faults": "none", "bundle": bundle, "measures": {"miou": miou}}
        for bag, bundle, miou in (
            ("a", "old", 0.5), ("b", "old", 0.2), ("c", "old", 0.9),
            ("a", "new", 0.6), ("b", "new", 0.1), ("c", "new", None), ("d", "new", 1.0),
        )
    ]  # fmt: skip
    found = comparison(runs, "old", "new", ["miou"])
    assert [pair["bag"] for pair in found["pairs"]] == ["a", "b", "c"]
    assert found["pairs"][2]["measures"]["miou"]["difference"] is None
    assert found["differences"]["miou"] == {
        "pairs": 2, "bags": 2, "mean": 0.0, "ci95": [-0.1, 0.1], "min": -0.1, "max": 0.1,
        "higher": 1, "lower": 1,
    }  # fmt: skip


def test_the_interval_is_over_recordings_not_over_pairs() -> None:
    # One recording gives no interval, whatever the number of its schedules.
    assert interval_over_bags([[0.1, 0.2, 0.3] * 9]) is None
    assert interval_over_bags([]) is None
    random = np.random.default_rng(5)
    of_bags = random.normal(0.05, 0.02, 40)
    low, high = interval_over_bags([[d] for d in of_bags]) or (0, 0)
    half = 1.96 * of_bags.std() / np.sqrt(len(of_bags))
    assert low == pytest.approx(of_bags.mean() - half, abs=0.1 * half)
    assert high == pytest.approx(of_bags.mean() + half, abs=0.1 * half)
    # Nine schedules that say the same about each recording do not make it narrower.
    assert interval_over_bags([[d] * 9 for d in of_bags]) == [low, high]
    # A recording with more pairs weighs more, as in the mean over all pairs.
    assert interval_over_bags([[0.0] * 30, [1.0]]) == [0.0, 1.0]
    assert interval_over_bags([[0.0] * 99, [1.0], [1.0]])[0] == 0.0  # type: ignore[index]


def test_the_interval_is_shown_or_told_to_need_more_recordings() -> None:
    def runs(bags: str):  # type: ignore[no-untyped-def]
        return [
            {"bag": bag, "faults": "none", "bundle": bundle, "measures": {"miou": miou}}
            for i, bag in enumerate(bags)
            for bundle, miou in (("old", 0.5), ("new", 0.5 + 0.1 * i))
        ]

    for bags, cell in (("a", "| 1 | 1 | +0.0 | – |"), ("ab", "| 2 | 2 | +5.0 | +0.0 to +10.0 |")):
        found = comparison(runs(bags), "old", "new", ["miou"])
        summary = {"bundles": ["old"], "columns": [], "runs": [], "comparisons": [found],
                   "interrupted": False}  # fmt: skip
        text = batch_markdown(summary)
        assert cell in text
        assert "One recording has no interval" in text
        page = batch_page(summary, "report.html")
        assert f'<td class="n">{cell.split(" | ")[-1].strip(" |")}</td>' in page
        assert "One recording has no interval" in page


def test_an_interrupted_batch_ends_its_replays_and_goes_on_later(
    recording: Path, tmp_path: Path
) -> None:
    path = _plan(tmp_path, f"bags: [{recording}]\nfaults: [none, 1, 2]\n")
    plan = read_batch(path, _arguments(), {}, (), "")
    calls = iter([False])
    work = batch.ReplayBatch(plan, tmp_path / "out", 1, program=PROGRAM)
    summary = work.run(lambda: next(calls, True))
    assert summary["interrupted"]
    assert [run["exit_code"] for run in summary["runs"]] == [None] * 3
    assert not list((tmp_path / "out").rglob("run.json"))
    done = batch.ReplayBatch(plan, tmp_path / "out", 3, program=PROGRAM).run()
    assert not done["interrupted"]
    assert [run["exit_code"] for run in done["runs"]] == [0] * 3


def test_a_replay_that_a_killed_batch_has_left_behind_keeps_the_folder_locked(
    recording: Path, tmp_path: Path
) -> None:
    plan = read_batch(
        _plan(tmp_path, f"bags: [{recording}]\nfaults: [none]\n"), _arguments(), {}, (), ""
    )
    out, pipe = tmp_path / "out", tmp_path / "pipe"
    os.mkfifo(pipe)
    blocked = ("sh", "-c", 'read line < "$0"', str(pipe))
    # Leaving the lock closes its descriptor, as the death of the batch does.
    with batch._locked(out) as lock:
        child = batch.ReplayBatch(plan, out, 1, True, blocked)._start(plan.runs[0], lock).process
    again = batch.ReplayBatch(plan, out, 1, True, PROGRAM)
    with pytest.raises(OutputError, match=f"still writes to {out}; wait until it ends"):
        again.run()
    pipe.write_text("go on\n")
    assert child.wait() == 0
    assert [run["exit_code"] for run in again.run()["runs"]] == [0]
    # A batch that has ended leaves no lock behind.
    assert again.run()["passed"]


# --- Bad input ---------------------------------------------------------------------------------


def _arguments():  # type: ignore[no-untyped-def]
    import argparse

    from rgbd_seg_ros.replay.command import add_arguments, core_config
    from rgbd_seg_ros.replay.replay_words import ReplayArguments

    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return ReplayArguments(parser, core_config)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[]", "expected the sections options, bags, faults, bundles, columns"),
        ("bag: {}", "unknown section 'bag'; did you mean 'bags'?"),
        ("faults: [none]", "has no recording; name one in bags"),
        ("bags: [missing]", "there is no recording 'missing'; check the path"),
        ("bags: {a: {path: BAG}}", "a must be a path, or a mapping with the path as bag"),
        ("bags: {a/b: BAG}", "a name has letters, digits"),
        ("bags: [BAG, BAG]", "two paths are named"),
        ("bags: {a: {bag: BAG, consistancy: true}}", "did you mean 'consistency'?"),
        ("bags: [BAG]\noptions: {record: x}", "plan.yaml, options: unknown option 'record'"),
        ("bags: {a: {bag: BAG, record: x}}", "plan.yaml, bags: a: unknown option 'record'"),
        (
            "bags: [BAG]\noptions: {faults: night}",
            "options: faults is no option; list it in faults",
        ),
        ("bags: [BAG]\noptions: {consistency: 1}", "consistency must be true or false, got 1"),
        (
            "bags: [BAG]\noptions: {truth_window: wide}",
            "must be a number, got 'wide'",
        ),
        ("bags: [BAG]\noptions: {stamps: heder}", "did you mean 'header'?"),
        ("bags: [BAG]\noptions: {device: 3}", "device must be text, got 3"),
        ("bags: [BAG]\noptions: {set: {max_wait: 3}}", "did you mean 'max_wait_ms'?"),
        (
            "bags: [BAG]\noptions: {criteria: no.yaml}",
            "options: no.yaml does not exist; check the",
        ),
        ("bags: {a: {bag: BAG, truth: gone}}", "bags: a: gone does not exist; check the path"),
        ("bags: [BAG]\nfaults: depth-cable", "must be a list of presets, files and seeds"),
        ("bags: [BAG]\nfaults: [depth-cabel]", "did you mean 'depth-cable'"),
        ("bags: [BAG]\nfaults: [-1]", "a seed of 0 to 4294967295, got -1"),
        ("bags: [BAG]\nfaults: [4294967296]", "a seed of 0 to 4294967295, got 4294967296"),
        ("bags: [BAG]\nfaults: [none, none]", "'none' is the second schedule named none"),
        ("bags: [BAG]\nbundles: {mine: nowhere}", "mine (nowhere) is not the folder of a bundle"),
        ("bags: [BAG]\ncolumns: [miuo]", "did you mean 'miou'?"),
        ("bags: [BAG]\ncolumns: miou", "columns must be a list of measures, got 'miou'"),
        ("bags: [BAG\n", "is not valid YAML"),
    ],
)
def test_a_defective_plan_is_one_line(  # type: ignore[no-untyped-def]
    recording: Path, replay, tmp_path: Path, text: str, message: str
) -> None:
    path = _plan(tmp_path, text.replace("BAG", str(recording)))
    code, out, err = replay("--batch", path, "--out", tmp_path / "out")
    assert code == 2
    assert out == ""
    assert message in err
    assert err.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["BAG", "BAG"], "several recordings need --batch or --compare, got 2; name one"),
        (["BAG", "--jobs", "2"], "--jobs changes nothing without --batch or --compare"),
        (["--batch", "PLAN"], "many replays need a folder for their results; add --out DIR"),
        (["--batch", "PLAN", "--out", "OUT", "--jobs", "0"], "--jobs must be 1 to 256, got 0"),
        (["--batch", "PLAN", "--out", "OUT", "--record", "x"], "--record writes one replay"),
        (["--batch", "PLAN", "--out", "OUT", "--faults", "night"], "--faults is set by the plan"),
        (["--batch", "PLAN", "--out", "OUT", "--bundle", "x"], "--bundle is set by the plan"),
        (["--batch", "PLAN", "--out", "OUT", "--junit", "OUT"], "--junit has no verdict to write"),
        (["BAG", "--compare", "nowhere", "--out", "OUT"], "is not the folder of a bundle"),
        (["--batch", "PLAN", "--out", "FULL"], "is not empty; choose another --out"),
    ],
)
def test_options_that_do_not_fit_are_one_line(  # type: ignore[no-untyped-def]
    recording: Path, replay, tmp_path: Path, arguments: list[str], message: str
) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").touch()
    places = {
        "BAG": str(recording),
        "PLAN": str(_plan(tmp_path, f"bags: [{recording}]\n")),
        "OUT": str(tmp_path / "out"),
        "FULL": str(tmp_path / "full"),
    }
    code, _, err = replay(*(places.get(word, word) for word in arguments))
    assert code == 2
    assert message in err
    assert err.count("\n") == 1


def test_the_shipped_plan_has_every_preset() -> None:
    from rgbd_seg_ros.files import read_yaml
    from rgbd_seg_ros.replay.fault_presets import PRESETS

    path = Path(__file__).resolve().parents[2] / "config" / "batch" / "stress.yaml"
    assert read_yaml(path)["faults"] == ["none", *PRESETS]
