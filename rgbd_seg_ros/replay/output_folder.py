# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Files of a replay: masks, overlays, one status line per mask, summary; each whole or absent."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TextIO

import cv2
import numpy as np
import numpy.typing as npt

from rgbd_seg_ros.bag.reader import BagError
from rgbd_seg_ros.colorize import colorize_depth, overlay
from rgbd_seg_ros.fallback import CoreConfig, Job
from rgbd_seg_ros.labels import LabelSet
from rgbd_seg_ros.replay.runner import ReplayResult, depth_m

Image = npt.NDArray[np.uint8]
#: All that a replay leaves in its folder.
MASKS, OVERLAYS, LINES, SUMMARY, REPORT = (
    "masks", "overlays", "masks.jsonl", "summary.json", "report.html",
)  # fmt: skip


def status(made: ReplayResult) -> dict[str, str]:
    """The status of a mask, as the node publishes it."""
    job = made.job
    ages = {"age_rgb_ms": job.age_rgb_ms, "age_depth_ms": job.age_depth_ms}
    return {
        "mode": job.mode.value,
        "network": made.result.network,
        "reason_rgb": job.reason_rgb,
        "reason_depth": job.reason_depth,
        **{key: "" if age is None else f"{age:.1f}" for key, age in ages.items()},
        "latency_ms": f"{made.result.timings_ms.get('total', 0.0):.2f}",
    }


def background(job: Job, config: CoreConfig) -> Image:
    """What an overlay is drawn on: the color picture, else depth in false colors; mask-sized."""
    picture = depth_picture(job, config) if job.rgb is None else job.rgb.array
    height, width = job.size
    if picture is None:
        return np.zeros((height, width, 3), np.uint8)
    if picture.shape[:2] != (height, width):
        picture = cv2.resize(picture, (width, height), interpolation=cv2.INTER_NEAREST)
    return np.asarray(picture, dtype=np.uint8)


def depth_picture(job: Job, config: CoreConfig) -> Image | None:
    """The job's depth in false colors; None without any."""
    meters = depth_m(job, config)
    return None if meters is None else colorize_depth(meters)


class Folder:
    """The folder of one replay.

    Args:
        path: made when it is not there.
        overwrite: replace what an earlier replay left in it; other files are never touched.

    Raises:
        BagError: it is no folder, or not empty without ``overwrite``.
    """

    def __init__(self, path: Path, overwrite: bool) -> None:
        self.path = path
        check_folder(path, overwrite)
        for name in (MASKS, OVERLAYS):
            shutil.rmtree(path / name, ignore_errors=True)
            (path / name).mkdir(parents=True)
        for name in (LINES, SUMMARY, REPORT):
            (path / name).unlink(missing_ok=True)
        self._lines: TextIO = (path / LINES).open("w", encoding="utf-8")
        self._count = 0

    def add(
        self, made: ReplayResult, labels: LabelSet, config: CoreConfig, seconds: float
    ) -> None:
        """Write one mask, its overlay and its line."""
        name = f"{self._count:06d}_{made.job.stamp_ns}"
        self._count += 1
        mask = made.result.labels
        picture = overlay(background(made.job, config), mask, labels)
        write_picture(self.path / MASKS / f"{name}.png", mask)
        write_picture(self.path / OVERLAYS / f"{name}.jpg", picture)
        line = {
            "stamp_ns": made.job.stamp_ns,
            "t": round(seconds, 3),
            "frame_id": made.job.frame_id,
            **status(made),
            "mean_confidence": round(float(made.result.confidence.mean()) / 255, 4),
            "mask": f"{MASKS}/{name}.png",
            "overlay": f"{OVERLAYS}/{name}.jpg",
        }
        self._lines.write(json.dumps(line) + "\n")
        self._lines.flush()

    def finish(self, summary: Mapping[str, Any], report: str) -> None:
        """Write the summary and the report."""
        self._lines.close()
        write_atomically(self.path / REPORT, report.encode())
        write_atomically(self.path / SUMMARY, (json.dumps(summary, indent=2) + "\n").encode())

    def close(self) -> None:
        """Let go of the files."""
        self._lines.close()


def check_folder(path: Path, overwrite: bool) -> None:
    """Raise BagError unless a replay may write into this folder."""
    if path.exists() and not path.is_dir():
        raise BagError(f"--out {path} is a file; give a folder")
    if path.exists() and any(path.iterdir()) and not overwrite:
        raise BagError(f"{path} is not empty; choose another --out or add --overwrite")


def encoded(suffix: str, picture: Image) -> bytes:
    """H×W ids or H×W×3 RGB as the bytes of a PNG or JPEG file."""
    bgr = picture if picture.ndim == 2 else cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)
    options = [cv2.IMWRITE_JPEG_QUALITY, 90] if suffix == ".jpg" else []
    done, data = cv2.imencode(suffix, bgr, options)
    if not done:
        raise BagError(f"OpenCV cannot write {suffix} pictures here; install its usual build")
    return bytes(data)


def write_picture(path: Path, picture: Image) -> None:
    """Write a picture of the kind that the file's name says."""
    write_atomically(path, encoded(path.suffix, picture))


def write_atomically(path: Path, data: bytes) -> None:
    """The file appears whole or not at all."""
    scratch = path.with_name(f".{path.name}.partial")
    try:
        scratch.write_bytes(data)
        os.replace(scratch, path)
    except OSError as error:
        raise BagError(f"cannot write {path}: {error.strerror}") from error
