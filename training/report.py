# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""An evaluation's files: scores.json, confusion matrices as CSV and picture, panels."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from rgbd_seg_ros.colorize import legend
from rgbd_seg_ros.image_io import write_image
from rgbd_seg_ros.metrics import ConfusionMatrix
from training.data.sample import Samples
from training.options import UsageError
from training.panels import panel
from training.scoring import Predictor


def write_report(
    folder: Path,
    document: Mapping[str, Any],
    matrices: Mapping[str, ConfusionMatrix],
    cases: Mapping[str, Predictor],
    samples: Samples,
    panels: int,
    device: torch.device,
) -> None:
    """Write everything into ``folder``; files of an earlier report are replaced."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "scores.json").write_text(json.dumps(document, indent=1) + "\n")
    classes = samples.label_set.classes
    for name, matrix in matrices.items():
        stem = "confusion_" + re.sub(r"[^\w.-]+", "_", name)
        write_csv(folder / f"{stem}.csv", matrix, classes)
        draw_confusion(folder / f"{stem}.png", matrix, classes, name)
    # Evenly through the split, not its first frames, which may all be of one room.
    for index in np.linspace(0, len(samples) - 1, min(panels, len(samples))).round().astype(int):
        row = panel(samples[int(index)], cases, samples.label_set, device)
        write_image(folder / f"panel_{index:06d}.png", row)
    write_image(folder / "legend.png", legend(samples.label_set))


def write_csv(path: Path, matrix: ConfusionMatrix, classes: tuple[str, ...]) -> None:
    """Pixel counts, a row per true class, a column per predicted one."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["truth \\ predicted", *classes, "none"])
        for name, row in zip(classes, matrix.counts.tolist(), strict=True):
            writer.writerow([name, *row])


def draw_confusion(
    path: Path, matrix: ConfusionMatrix, classes: tuple[str, ...], title: str
) -> None:
    """Share of each true class's pixels per predicted class, as a picture."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise UsageError(
            "the picture of a confusion matrix needs matplotlib: pip install matplotlib"
        ) from error
    counts = matrix.counts[:, : len(classes)].astype(np.float64)
    share = counts / np.maximum(matrix.counts.sum(axis=1, keepdims=True), 1)
    side = 2.5 + 0.32 * len(classes)
    figure = Figure(figsize=(side + 0.8, side), layout="constrained")
    axes = figure.add_subplot()
    image = axes.imshow(share, vmin=0, vmax=1, cmap="viridis")
    axes.set_xticks(range(len(classes)), classes, rotation=90)
    axes.set_yticks(range(len(classes)), classes)
    axes.set_xlabel("predicted")
    axes.set_ylabel("truth")
    axes.set_title(title)
    if len(classes) <= 20:  # more would be unreadable
        for (row, column), value in np.ndenumerate(share):
            if value >= 0.005:
                color = "black" if value > 0.6 else "white"
                axes.text(column, row, f"{100 * value:.0f}", ha="center", va="center",
                          color=color, fontsize=7)  # fmt: skip
    figure.colorbar(image, label="share of the true class's pixels", shrink=0.8)
    figure.savefig(path, dpi=110)
