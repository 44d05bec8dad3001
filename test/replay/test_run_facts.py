# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The facts of a run name what was replayed, with digests that sha256sum confirms."""

from __future__ import annotations

import hashlib
import json
import shlex
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rigs.recordings import HEIGHT, MS, START_NS, WIDTH

from rgbd_seg_ros import cli
from rgbd_seg_ros.image_io import write_image
from rgbd_seg_ros.replay import command
from rgbd_seg_ros.replay.run_facts import CHUNK_BYTES, digest


def test_the_digest_of_a_file_and_of_a_folder_are_those_of_sha256sum(tmp_path: Path) -> None:
    (tmp_path / "b.bin").write_bytes(b"x" * (CHUNK_BYTES + 1))
    (tmp_path / "a.txt").write_text("a")
    (tmp_path / ".hidden").write_text("changes nothing")
    (tmp_path / "sub").mkdir()
    assert digest(tmp_path / "b.bin") == hashlib.sha256(b"x" * (CHUNK_BYTES + 1)).hexdigest()
    script = "sha256sum a.txt b.bin | sha256sum"
    done = subprocess.run(script, shell=True, cwd=tmp_path, capture_output=True, check=True)
    assert digest(tmp_path) == done.stdout.decode().split()[0]
    assert digest(tmp_path / "missing") is None


@pytest.mark.parametrize("random", [False, True])
def test_a_replay_names_its_inputs_and_its_command(
    recording: Path,
    engine: Any,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    random: bool,
) -> None:
    monkeypatch.setattr(command, "load_engine", lambda bundle, device, backend: engine)
    files = {name: tmp_path / f"{name} file.yaml" for name in ("faults", "map", "criteria")}
    files["faults"].write_text(
        "- {stream: depth, fault: noise, from: 1, to: 2, value: 7, seed: 3}\n"
        "- {stream: rgb, fault: black, from: 3}\n"
    )
    classes = list(engine.labels.classes)
    files["map"].write_text(f"0: {classes[0]}\n1: {classes[1]}\n")
    files["criteria"].write_text("- masks > 1\n")
    truth = tmp_path / "truth"
    truth.mkdir()
    write_image(truth / f"{START_NS - 4 * MS}.png", np.zeros((HEIGHT, WIDTH), np.uint8))
    out = tmp_path / "out"
    schedule = ["--random-faults", "11"] if random else ["--faults", str(files["faults"])]
    words = [
        "replay", str(recording), *schedule, "--class-map", str(files["map"]), "--truth",
        str(truth), "--criteria", str(files["criteria"]), "--out", str(out),
    ]  # fmt: skip
    assert cli.main(words) in (0, 1)
    summary = json.loads((out / "summary.json").read_text())
    facts, report = summary["run"], (out / "report.html").read_text()
    assert shlex.split(facts["command"]) == ["rgbd_seg", *words]
    expected = {
        "recording": recording,
        "ground truth": truth,
        "class map": files["map"],
        "criteria": files["criteria"],
    }
    if not random:
        expected["faults"] = files["faults"]
    assert facts["inputs"] == {
        what: {"path": str(path), "sha256": digest(path)} for what, path in expected.items()
    }
    assert all(entry["sha256"] in report for entry in facts["inputs"].values())
    run = " ".join(report.partition("This run")[2].split())
    if random:
        first = summary["faults"][0]
        assert "--random-faults 11: " in run
        assert f"{first['fault']} " in run
        assert "seed 11" in run
    else:
        assert "depth noise 7.0, 1.0–2.0 s, seed 3; rgb black, 3.0–end s, seed 0" in run
    assert "--out" in run


def test_a_replay_without_a_command_line_has_none(recording: Path, run_replay) -> None:  # type: ignore[no-untyped-def]
    summary = run_replay(recording).summary
    assert summary["run"]["command"] is None
    assert list(summary["run"]["inputs"]) == ["recording"]
