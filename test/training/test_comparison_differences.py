# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Differences to controls: which rows and seeds are paired, the JSON, the table, mistakes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from rgbd_seg_ros.metrics import ConfusionMatrix
from training.bootstrap import save_image_counts
from training.compare import compared
from training.comparison_differences import differences, differences_to_text
from training.comparison_plan import read_plan
from training.options import UsageError


def score(folder: Path, hits: dict[str, list[int]], names: str = "abcd") -> Path:
    """Write counts of a run: per student, correct pixels of 10 in each of four images."""
    folder.mkdir(parents=True, exist_ok=True)
    students = {}
    for student, of_image in hits.items():
        matrix = students[student] = ConfusionMatrix(1)
        for name, hit in zip(names, of_image, strict=True):
            prediction = np.where(np.arange(10) < hit, 0, 255)
            matrix.update(np.zeros(10, int), prediction, name)
    for split in ("val", "test"):
        save_image_counts(folder, split, students)
    return folder


def test_seeds_and_inputs_in_common_are_paired(tmp_path: Path) -> None:
    ours = {
        s: [score(tmp_path / f"a{s}", {"rgb": [5 + s] * 4, "depth": [3] * 4})] for s in (0, 1, 2)
    }
    theirs = {s: [score(tmp_path / f"b{s}", {"rgb": [4] * 4})] for s in (2, 1)}
    found = differences("a", "b", ours, theirs)
    assert [(f["metric"], f["split"]) for f in found] == [
        ("miou_rgb", "val"),
        ("miou_rgb", "test"),
    ]
    test = found[1]
    assert test["seeds"] == [1, 2]
    assert test["images"] == 4
    assert test["difference"] == pytest.approx(0.25)  # seeds 1 and 2: 0.6 and 0.7 against 0.4
    assert test["ci95"] == [pytest.approx(0.2), pytest.approx(0.3)]  # all images are equal
    text = differences_to_text(found)
    assert "+25.00 [+20.00, +30.00]" in text
    assert "4 / 4" in text


def test_the_networks_of_a_pair_are_one_row(tmp_path: Path) -> None:
    ours = {0: [score(tmp_path / "a", {"rgb": [5] * 4, "depth": [7] * 4})]}
    pair = {0: [score(tmp_path / m, {m: [4] * 4}) for m in ("rgb", "depth")]}
    found = differences("a", "pair", ours, pair)
    values = {(f["metric"], f["split"]): f["difference"] for f in found}
    assert values[("miou_rgb", "test")] == pytest.approx(0.1)
    assert values[("miou_depth", "val")] == pytest.approx(0.3)


def test_runs_on_other_images_are_refused(tmp_path: Path) -> None:
    ours = {0: [score(tmp_path / "a", {"rgb": [5] * 4})]}
    theirs = {0: [score(tmp_path / "b", {"rgb": [5] * 4}, "abce")]}
    with pytest.raises(UsageError, match="a and b were scored on other val images"):
        differences("a", "b", ours, theirs)


def plan_of(tmp_path: Path, **control: Any) -> Path:
    one = {"method": "supervised", "network": "deeplabv3plus_mit_b0", "modality": "rgb"}
    rows = {"base": {**one, "seeds": [0]}, "far": {**one, "seeds": [5]}, "new": {**one, **control}}
    document = {"seeds": [0, 1], "tune": {"lr": [1e-3], "epochs": 1, "seed": 9},
                "keys": {"data": "folder"}, "rows": rows}  # fmt: skip
    path = tmp_path / "plan.yaml"
    path.write_text(yaml.safe_dump(document, sort_keys=False))
    return path


def test_a_plan_names_the_control(tmp_path: Path) -> None:
    plan = read_plan(plan_of(tmp_path, control="base"))
    assert plan.rows["new"].controls == ("base",)
    score(tmp_path / "runs/base/seed_0", {"rgb": [4] * 4})
    score(tmp_path / "runs/new/seed_0", {"rgb": [6] * 4})
    found = compared(plan, tmp_path, {"base", "new"})
    assert [(f["a"], f["b"], f["difference"]) for f in found] == [("new", "base", 0.2)] * 2
    assert compared(plan, tmp_path, {"new"}) == []  # the control has not finished


@pytest.mark.parametrize(
    ("control", "message"),
    [
        ("bas", "unknown row 'bas'; did you mean 'base'"),
        (["base", "far"], "control far must be another row with a seed in common"),
        ("new", "control new must be another row"),
        (3, "unknown row 3"),
    ],
)
def test_an_impossible_control_is_refused(control: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=message):
        read_plan(plan_of(tmp_path, control=control))
