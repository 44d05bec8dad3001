# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Results of a comparison's runs: reads and checks their files, and prints the table."""

from __future__ import annotations

import math
import os
import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rgbd_seg_ros.files import InputFileError, read_json, read_json_lines
from rgbd_seg_ros.names import shown, unknown_name
from rgbd_seg_ros.text_table import text_table
from training.options import UsageError

#: Inputs of students, in the order of the table.
MODALITIES = ("rgb", "depth", "rgbd")
#: Scalars of a training report that are not losses.
NOT_LOSSES = ("lr", "samples_per_s", "data_share")
#: A run's final training loss is the mean over this many of its last reports.
LAST_REPORTS = 10
#: Numbers in a run's results, and the least that each can be.
RESULTS = {"steps": 1, "train_s": 0, "parameters_training_only": 0, "parameters_teacher": 0}


def read_results(folder: Path) -> dict[str, Any] | None:
    """``results.json`` of a run; None if the run has not finished.

    Raises:
        UsageError: the file is damaged or lacks a result.
    """
    path = folder / "results.json"
    if not os.path.lexists(path):
        return None
    remedy = "delete that folder to train again"
    try:
        document = read_json(path, allow_nan=True)
    except InputFileError as error:
        raise UsageError(f"{error}; {remedy}") from error
    if problem := _defect(document):
        raise UsageError(f"{path} is not a run's results: {problem}; {remedy}")
    results: dict[str, Any] = document
    return results


def _defect(document: Any) -> str:
    """What the comparison cannot use in a run's results; an empty string if it can use them."""

    def number(value: Any, least: float = -math.inf) -> bool:
        return isinstance(value, int | float) and not isinstance(value, bool) and value >= least

    def scored(student: Any) -> bool:
        splits = [student.get(s) if isinstance(student, dict) else None for s in ("val", "test")]
        return all(isinstance(s, dict) and isinstance(s.get("miou"), int | float) for s in splits)

    if not isinstance(document, dict):
        return f"expected an object, got {shown(document)}"
    students, sizes = document.get("students"), document.get("parameters")
    if not isinstance(students, dict) or not students or not all(map(scored, students.values())):
        return f"students must have mIoUs on val and test, got {shown(students)}"
    if unknown := [name for name in students if name not in MODALITIES]:
        return unknown_name("student", unknown[0], MODALITIES)
    if not isinstance(sizes, dict) or not all(number(size, 0) for size in sizes.values()):
        return f"parameters must be counts of each student, got {shown(sizes)}"
    for key, least in RESULTS.items():
        if not number(document.get(key), least):
            return f"{key} must be a number of {least} or more, got {shown(document.get(key))}"
    return ""


def last_losses(folder: Path) -> dict[str, float]:
    """Loss → its mean over a run's last reports, which reduces noise.

    Raises:
        UsageError: the log is damaged or has no report of a training step.
    """
    path = folder / "log.jsonl"
    try:
        events = read_json_lines(path, allow_nan=True)
        last = [event["scalars"] for event in events if event["event"] == "train"][-LAST_REPORTS:]
        return {
            name: round(statistics.mean(report[name] for report in last), 4)
            for name in last[-1]
            if name not in NOT_LOSSES
        }
    except InputFileError as error:
        why = str(error)
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        why = f"{path} is not the log of a finished run ({type(error).__name__}: {error})"
    raise UsageError(f"{why}; delete that folder to train again")


def to_text(document: Mapping[str, Mapping[str, Any]]) -> str:
    """The table: test mIoU in percent, mean ± std over the seeds, and the costs."""
    names = [f"miou_{m}" for m in MODALITIES]
    shown = [n for n in names if any(row[n] for row in document.values())]
    head = ["run", *(n.removeprefix("miou_") for n in shown), "mean", "seeds", "epochs", "lr",
            "step, s", "M main / aux / teacher"]  # fmt: skip
    rows = [head]
    for name, row in document.items():
        kept = [row[n] for n in shown if row[n]]
        means = [statistics.mean(seed) for seed in zip(*kept, strict=True)]
        cells = [mean_std(row[n]) if row[n] else "" for n in shown]
        rates = ", ".join(f"{rate:g}" for rate in row["lr"])
        millions = [row[f"params_{part}"] / 1e6 for part in ("main", "aux", "teacher")]
        rows.append([
            name, *cells, mean_std(means), str(len(row["seeds"])), str(row["epochs"]), rates,
            f"{row['step_s']:.2f}", " / ".join(f"{m:.2f}" for m in millions),
        ])  # fmt: skip
    return text_table(rows)


def mean_std(values: list[float]) -> str:
    """Mean ± sample std in percent; a single value has no std."""
    mean = f"{100 * statistics.mean(values):.2f}"
    return f"{mean} ± {100 * statistics.stdev(values):.2f}" if len(values) > 1 else mean
