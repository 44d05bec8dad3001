# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Output folder of a replay: masks, overlays, one line per mask, summary and report."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TextIO

from rgbd_seg_ros.colorize import overlay
from rgbd_seg_ros.fallback import CoreConfig
from rgbd_seg_ros.files import check_output_folder, write_atomically
from rgbd_seg_ros.image_io import write_image
from rgbd_seg_ros.inference import mask_status, overlay_background
from rgbd_seg_ros.labels import LabelSet
from rgbd_seg_ros.replay.runner import ReplayResult

#: Names of the folders and files that a replay writes.
MASKS, OVERLAYS = "masks", "overlays"
LINES, SUMMARY, REPORT = "masks.jsonl", "summary.json", "report.html"


class OutputFolder:
    """Writes the files of one replay, each one completely or not at all.

    Args:
        path: the folder, which is created if missing.
        overwrite: replace the files of an earlier replay; other files are never touched.
        masks: write masks and overlays, not only the other files.

    Raises:
        OutputError: see :func:`rgbd_seg_ros.files.check_output_folder`.
    """

    def __init__(self, path: Path, overwrite: bool, *, masks: bool = True) -> None:
        self.path = path
        check_output_folder(path, overwrite)
        for name in (MASKS, OVERLAYS):
            shutil.rmtree(path / name, ignore_errors=True)
            if masks:
                (path / name).mkdir(parents=True)
        path.mkdir(parents=True, exist_ok=True)
        for name in (LINES, SUMMARY, REPORT):
            (path / name).unlink(missing_ok=True)
        self._lines: TextIO = (path / LINES).open("w", encoding="utf-8")
        self._masks = masks
        self._count = 0

    def add(
        self, result: ReplayResult, labels: LabelSet, config: CoreConfig, seconds: float
    ) -> None:
        """Write one mask, its overlay and its line in ``masks.jsonl``.

        Args:
            result: the mask and its job.
            labels: names and colors of the classes.
            config: configuration of the core, for the scale and range of depth.
            seconds: bag time of the mask, seconds from the start of the bag.
        """
        job, segmentation = result.job, result.segmentation
        name = f"{self._count:06d}_{job.stamp_ns}"
        self._count += 1
        if self._masks:
            image = overlay(overlay_background(job, config), segmentation.labels, labels)
            write_image(self.path / MASKS / f"{name}.png", segmentation.labels)
            write_image(self.path / OVERLAYS / f"{name}.jpg", image)
        line = {
            "stamp_ns": job.stamp_ns,
            "t": round(seconds, 3),
            "frame_id": job.frame_id,
            **mask_status(job, segmentation.network, result.latency_ms),
            "mean_confidence": round(float(segmentation.confidence.mean()) / 255, 4),
        }
        if self._masks:
            line |= {"mask": f"{MASKS}/{name}.png", "overlay": f"{OVERLAYS}/{name}.jpg"}
        self._lines.write(json.dumps(line) + "\n")
        self._lines.flush()

    def finish(self, summary: Mapping[str, Any], report: str) -> None:
        """Write the summary and the report."""
        self.close()
        write_atomically(self.path / REPORT, report)
        write_atomically(self.path / SUMMARY, json.dumps(summary, indent=2) + "\n")

    def close(self) -> None:
        """Close ``masks.jsonl``."""
        self._lines.close()
