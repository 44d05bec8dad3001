# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Summary of a batch of replays: every measure of each, and differences between bundles."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rgbd_seg_ros.replay.batch_plan import BatchRun, ReplayBatchPlan
from rgbd_seg_ros.replay.measures import MEASURES

#: Bootstrap samples behind an interval, and the seed of their random numbers.
SAMPLES, SEED = 4000, 0


@dataclass(frozen=True, eq=False)
class BatchResult:
    """What one replay of a batch has left."""

    run: BatchRun
    #: Of the process; None if it has not run.
    exit_code: int | None = None
    #: Why it failed; empty if it did not.
    error: str = ""
    seconds: float | None = None
    #: The keys of ``replay --json``; None if it failed or has not run.
    summary: dict[str, Any] | None = None

    def entry(self) -> dict[str, Any]:
        """One entry of ``runs`` in the summary of the batch."""
        summary = self.summary
        values = {name: None if summary is None else m(summary) for name, m in MEASURES.items()}
        return {
            "bag": self.run.bag,
            "faults": self.run.faults,
            "bundle": self.run.bundle,
            "folder": self.run.folder,
            "exit_code": self.exit_code,
            "error": self.error,
            "seconds": self.seconds,
            "measures": values,
            "verdict": None if summary is None else summary["verdict"],
            "warnings": [] if summary is None else summary["warnings"],
            "damage": None if summary is None else summary["damage"],
            "unscored_stamps_ns": None if summary is None else summary["unscored_stamps_ns"],
            "determinism_sha256": None if summary is None else summary["determinism_sha256"],
        }


def summarize(
    results: Sequence[BatchResult], plan: ReplayBatchPlan, interrupted: bool
) -> dict[str, Any]:
    """The summary of a batch, see docs/replay.md.

    Args:
        results: one for each replay of the plan.
        plan: the plan.
        interrupted: whether replays of the plan are still to be run.
    """
    runs = [result.entry() for result in results]
    return {
        "interrupted": interrupted,
        "passed": all(run["exit_code"] == 0 for run in runs),
        "bundles": list(plan.bundles),
        "columns": list(plan.columns),
        "runs": runs,
        "comparisons": [
            comparison(runs, plan.bundles[0], other, plan.columns) for other in plan.bundles[1:]
        ],
    }


def comparison(
    runs: Sequence[dict[str, Any]], control: str, other: str, measures: Sequence[str]
) -> dict[str, Any]:
    """The paired differences between two bundles: same recording, same faults.

    Args:
        runs: entries of the summary.
        control: bundle whose value is subtracted.
        other: the other bundle.
        measures: what is compared.

    Returns:
        ``pairs``: for each recording and schedule, each measure's ``control``, ``other`` and
        ``difference``, None where one has no value; ``differences``: for each measure, the mean,
        the least and the greatest difference, the 95 % interval of the mean (see
        :func:`interval_over_bags`), and how many of the pairs are higher and lower.
    """
    by_key = {(run["bag"], run["faults"], run["bundle"]): run["measures"] for run in runs}
    pairs = []
    for bag, faults, bundle in by_key:
        if bundle != control or (bag, faults, other) not in by_key:
            continue
        values = by_key[bag, faults, control], by_key[bag, faults, other]
        pairs.append(
            {
                "bag": bag,
                "faults": faults,
                "measures": {name: _pair(*(v[name] for v in values)) for name in measures},
            }
        )
    return {
        "control": control,
        "other": other,
        "pairs": pairs,
        "differences": {name: _differences(pairs, name) for name in measures},
    }


def interval_over_bags(differences: Sequence[Sequence[float]]) -> list[float] | None:
    """95 % interval of the mean difference: a bootstrap that draws recordings with replacement.

    A recording brings all its pairs along, since its schedules see the same scenes. The intervals
    of a few recordings are too narrow, as those of every bootstrap.

    Args:
        differences: for each recording, those of its pairs; none is empty.

    Returns:
        Percentiles 2.5 and 97.5; None for fewer than two recordings, which say nothing about how
        much recordings differ.
    """
    if len(differences) < 2:
        return None
    sums = np.array([sum(found) for found in differences])
    counts = np.array([len(found) for found in differences])
    drawn = np.random.default_rng(SEED).integers(len(sums), size=(SAMPLES, len(sums)))
    means = sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1)
    return [round(float(value), 6) for value in np.percentile(means, (2.5, 97.5))]


def _pair(control: float | None, other: float | None) -> dict[str, float | None]:
    known = control is not None and other is not None
    difference = round(other - control, 6) if known else None  # type: ignore[operator]
    return {"control": control, "other": other, "difference": difference}


def _differences(pairs: Sequence[dict[str, Any]], name: str) -> dict[str, Any]:
    by_bag: defaultdict[str, list[float]] = defaultdict(list)
    for pair in pairs:
        value = pair["measures"][name]["difference"]
        if value is not None:
            by_bag[pair["bag"]].append(value)
    values = [value for found in by_bag.values() for value in found]
    return {
        "pairs": len(values),
        "bags": len(by_bag),
        "ci95": interval_over_bags(list(by_bag.values())),
        "mean": round(statistics.fmean(values), 6) if values else None,
        "min": min(values, default=None),
        "max": max(values, default=None),
        "higher": sum(value > 0 for value in values),
        "lower": sum(value < 0 for value in values),
    }
