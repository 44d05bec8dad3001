# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Differences of a comparison's rows to their controls, with 95 % intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rgbd_seg_ros.text_table import text_table
from training.bootstrap import load_image_counts, paired_difference
from training.comparison_results import MODALITIES
from training.options import UsageError

#: Splits of which a difference is reported. A gain that only one of them shows is no gain.
JUDGED = ("val", "test")


def differences(
    name: str,
    control: str,
    runs: Mapping[int, Sequence[Path]],
    theirs: Mapping[int, Sequence[Path]],
) -> list[dict[str, Any]]:
    """The differences of a row to its control, for each input that both have, on each split.

    Args:
        name: of the row.
        control: name of the other row.
        runs: seed → folders of the row's runs.
        theirs: the same of the control. Only seeds of both rows count.

    Returns:
        Objects with ``a``, ``b``, ``metric``, ``split``, ``difference``, ``ci95``, ``seeds`` and
        ``images``.

    Raises:
        UsageError: the counts of a run's images are missing, or belong to other images.
    """
    seeds = [seed for seed in runs if seed in theirs]
    found = []
    for split in JUDGED:
        ours = [_counts(runs[seed], split) for seed in seeds]
        others = [_counts(theirs[seed], split) for seed in seeds]
        for modality in MODALITIES:
            if not all(modality in counts for counts in (*ours, *others)):
                continue
            for a, b in zip(ours, others, strict=True):
                if not np.array_equal(a["names"], b["names"]):
                    raise UsageError(
                        f"{name} and {control} were scored on other {split} images and cannot be "
                        "compared: train them on the same data"
                    )
            result = paired_difference(
                [counts[modality] for counts in ours], [counts[modality] for counts in others]
            )
            found.append({
                "a": name,
                "b": control,
                "metric": f"miou_{modality}",
                "split": split,
                "difference": round(result.difference, 5),
                "ci95": [round(limit, 5) for limit in result.ci95],
                "seeds": seeds,
                "images": result.images,
            })  # fmt: skip
    return found


def _counts(folders: Sequence[Path], split: str) -> dict[str, Any]:
    """Student → counts of each image, of all runs of one seed, and ``names``."""
    merged: dict[str, Any] = {}
    for folder in folders:
        counts = load_image_counts(folder, split)
        if not np.array_equal(merged.get("names", counts["names"]), counts["names"]):
            raise UsageError(f"{folder} was scored on other images than {folders[0]}")
        merged.update(counts)
    return merged


def differences_to_text(found: Sequence[Mapping[str, Any]]) -> str:
    """The table: differences in points of mIoU with 95 % intervals, on validation and test."""
    rows = [["row", "control", "input", *JUDGED, "seeds", "images"]]
    keys = dict.fromkeys((f["a"], f["b"], f["metric"]) for f in found)
    for key in keys:
        own = {f["split"]: f for f in found if (f["a"], f["b"], f["metric"]) == key}
        cells = [
            f"{100 * f['difference']:+.2f} [{100 * f['ci95'][0]:+.2f}, {100 * f['ci95'][1]:+.2f}]"
            for f in (own[split] for split in JUDGED)
        ]
        images = " / ".join(str(own[split]["images"]) for split in JUDGED)
        seeds = str(len(own["test"]["seeds"]))
        rows.append([key[0], key[1], key[2].removeprefix("miou_"), *cells, seeds, images])
    return text_table(rows)
