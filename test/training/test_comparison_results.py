# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Results of a comparison's runs: a damaged or incomplete file is refused in one line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rigs.broken_files import BROKEN, assert_one_line

from training.comparison_results import last_losses, read_results
from training.options import UsageError


def results() -> dict[str, Any]:
    split = {"val": {"miou": 0.5}, "test": {"miou": 0.25}}
    return {"students": {"rgb": split}, "parameters": {"rgb": 10}, "parameters_teacher": 0,
            "parameters_training_only": 3, "steps": 4, "train_s": 2.5}  # fmt: skip


def write(folder: Path, document: Any) -> Path:
    (folder / "results.json").write_text(json.dumps(document))
    return folder / "results.json"


def test_good_results_are_read_and_a_missing_file_is_none(tmp_path: Path) -> None:
    assert read_results(tmp_path) is None
    write(tmp_path, results())
    assert read_results(tmp_path) == results()


def test_a_score_may_be_undefined(tmp_path: Path) -> None:
    document = results()
    document["students"]["rgb"]["test"]["miou"] = float("nan")
    write(tmp_path, document)
    found = read_results(tmp_path)
    assert found is not None
    assert found["students"]["rgb"]["test"]["miou"] != found["students"]["rgb"]["test"]["miou"]


@pytest.mark.parametrize("kind", BROKEN)
@pytest.mark.parametrize(
    ("name", "read"), [("results.json", read_results), ("log.jsonl", last_losses)]
)
def test_a_broken_file_is_refused_in_one_line(
    kind: str, name: str, read: Callable[[Path], Any], tmp_path: Path
) -> None:
    BROKEN[kind](tmp_path / name)
    with pytest.raises(UsageError, match="delete that folder to train again") as caught:
        read(tmp_path)
    assert_one_line(caught.value, tmp_path / name)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.pop("students"), "students must have mIoUs on val and test, got None"),
        (lambda d: d.update(students={}), "students must have mIoUs"),
        (lambda d: d.update(students={"rgb": 3}), "students must have mIoUs"),
        (lambda d: d["students"]["rgb"]["val"].update(miou="x"), "students must have mIoUs"),
        (lambda d: d["students"]["rgb"].pop("test"), "students must have mIoUs"),
        (
            lambda d: d["students"].update(rgdb=d["students"]["rgb"]),
            "unknown student 'rgdb'; did you mean 'rgb'",
        ),
        (lambda d: d.update(parameters=[10]), r"parameters must be counts .*, got \[10\]"),
        (lambda d: d.update(parameters={"rgb": None}), "parameters must be counts"),
        (lambda d: d.update(steps=0), "steps must be a number of 1 or more, got 0"),
        (lambda d: d.update(steps=True), "steps must be a number"),
        (lambda d: d.pop("train_s"), "train_s must be a number of 0 or more, got None"),
        (lambda d: d.update(parameters_teacher="x"), "parameters_teacher must be a number"),
    ],
)
def test_incomplete_results_name_the_value(
    change: Callable[[dict[str, Any]], Any], message: str, tmp_path: Path
) -> None:
    document = results()
    change(document)
    path = write(tmp_path, document)
    with pytest.raises(UsageError, match=message) as caught:
        read_results(tmp_path)
    assert_one_line(caught.value, path)


@pytest.mark.parametrize(
    "lines",
    ["", '{"event": "x"}', '{"event": "train"}', '{"event": "train", "scalars": 3}'],
)
def test_a_log_without_training_reports_is_refused(lines: str, tmp_path: Path) -> None:
    (tmp_path / "log.jsonl").write_text(lines)
    with pytest.raises(UsageError, match=r"log\.jsonl is not the log of a finished run"):
        last_losses(tmp_path)


def test_a_separator_within_a_text_does_not_end_a_line(tmp_path: Path) -> None:
    event = {"event": "train", "scalars": {"ce": 1.5, "lr": 0.1}, "note": "a\u2028b\x85c"}
    (tmp_path / "log.jsonl").write_text(
        json.dumps(event, ensure_ascii=False) + "\n", encoding="utf-8"
    )
    assert last_losses(tmp_path) == {"ce": 1.5}
