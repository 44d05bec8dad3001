# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Log of a run: progress lines on stderr, JSON lines, and TensorBoard if it is installed."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt


class RunLog:
    """The log of one run. Only the main rank writes; on other ranks, every call does nothing."""

    def __init__(self, folder: Path, active: bool, tensorboard: bool) -> None:
        self.active = active
        self._board: Any = None
        self._file = None
        if not active:
            return
        folder.mkdir(parents=True, exist_ok=True)
        self._file = (folder / "log.jsonl").open("a", encoding="utf-8", buffering=1)
        if tensorboard:
            try:
                from torch.utils.tensorboard import SummaryWriter
            except ImportError:
                self.say("no TensorBoard files: pip install tensorboard, or --tensorboard false")
            else:
                self._board = SummaryWriter(str(folder / "tensorboard"))

    def say(self, text: str) -> None:
        """Print a line on stderr."""
        if self.active:
            print(text, file=sys.stderr, flush=True)

    def event(self, kind: str, **values: Any) -> None:
        """Write one JSON line; numbers under ``scalars`` also go to TensorBoard at ``step``."""
        if self._file is None:
            return
        line = {"event": kind, "time": round(time.time(), 3), **values}
        self._file.write(json.dumps(line, ensure_ascii=False) + "\n")
        if self._board is not None and "step" in values:
            for name, value in values.get("scalars", {}).items():
                self._board.add_scalar(f"{kind}/{name}", value, values["step"])

    @property
    def wants_images(self) -> bool:
        """Whether images are logged, that is, whether TensorBoard is on."""
        return self._board is not None

    def image(self, name: str, image: npt.NDArray[np.uint8], step: int) -> None:
        """Send an H×W×3 image to TensorBoard."""
        if self._board is not None:
            self._board.add_image(name, image, step, dataformats="HWC")

    def close(self) -> None:
        """Flush and close the files."""
        if self._file is not None:
            self._file.close()
        if self._board is not None:
            self._board.close()


class Clock:
    """Measures throughput and the share of time spent waiting for data, since the last reading."""

    def __init__(self) -> None:
        self._mark = time.perf_counter()
        self._reset()

    def _reset(self) -> None:
        self._waited = self._worked = 0.0
        self._samples = self._steps = 0

    def loaded(self) -> None:
        """Mark the moment at which the next step's data has arrived."""
        now = time.perf_counter()
        self._waited += now - self._mark
        self._mark = now

    def stepped(self, samples: int) -> None:
        """Mark the end of a step over ``samples`` samples."""
        now = time.perf_counter()
        self._worked += now - self._mark
        self._mark = now
        self._samples += samples
        self._steps += 1

    def read(self) -> tuple[float, float, float]:
        """Samples per second, share of time spent waiting (0 to 1), seconds per step."""
        total = max(self._waited + self._worked, 1e-9)
        figures = self._samples / total, self._waited / total, total / max(1, self._steps)
        self._reset()
        return figures


def duration(seconds: float) -> str:
    """``75`` → ``1:15``, ``3700`` → ``1:01:40``."""
    minutes, s = divmod(round(max(0.0, seconds)), 60)
    hours, m = divmod(minutes, 60)
    return f"{hours}:{m:02d}:{s:02d}" if hours else f"{m}:{s:02d}"


def progress_line(
    epoch: int,
    epochs: int,
    step: int,
    steps: int,
    losses: Mapping[str, float],
    rate: float,
    samples_per_s: float,
    waiting: float,
    eta_s: float,
) -> str:
    """``epoch 3/50  step 120/500  ETA 12:10  31 samples/s (data 1 %)  lr 6.0e-05  ce 1.234``."""
    terms = "  ".join(f"{name} {value:.4f}" for name, value in losses.items())
    return (
        f"epoch {epoch + 1}/{epochs}  step {step}/{steps}  ETA {duration(eta_s)}  "
        f"{samples_per_s:.1f} samples/s (data {100 * waiting:.0f} %)  lr {rate:.2e}  {terms}"
    )
