# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""What a run tells: a progress line, JSON lines always, TensorBoard where it is installed."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

T = TypeVar("T")


class RunLog:
    """Writes only on the main rank; elsewhere every call does nothing."""

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
        """One line for people, on stderr."""
        if self.active:
            print(text, file=sys.stderr, flush=True)

    def event(self, kind: str, **values: Any) -> None:
        """One JSON line; numbers under ``scalars`` also go to TensorBoard at ``step``."""
        if self._file is None:
            return
        line = {"event": kind, "time": round(time.time(), 3), **values}
        self._file.write(json.dumps(line, ensure_ascii=False) + "\n")
        if self._board is not None and "step" in values:
            for name, value in values.get("scalars", {}).items():
                self._board.add_scalar(f"{kind}/{name}", value, values["step"])

    @property
    def wants_pictures(self) -> bool:
        """Whether there is a TensorBoard to send pictures to."""
        return self._board is not None

    def picture(self, name: str, picture: npt.NDArray[np.uint8], step: int) -> None:
        """An H×W×3 picture for TensorBoard."""
        if self._board is not None:
            self._board.add_image(name, picture, step, dataformats="HWC")

    def close(self) -> None:
        """Flush and close the files."""
        if self._file is not None:
            self._file.close()
        if self._board is not None:
            self._board.close()


class Clock:
    """Throughput and the share of time spent waiting for data, since the last reading."""

    def __init__(self) -> None:
        self._mark = time.perf_counter()
        self._reset()

    def _reset(self) -> None:
        self._waited = self._worked = 0.0
        self._samples = self._steps = 0

    def loaded(self) -> None:
        """The data of the next step are there."""
        now = time.perf_counter()
        self._waited += now - self._mark
        self._mark = now

    def stepped(self, samples: int) -> None:
        """The step is done."""
        now = time.perf_counter()
        self._worked += now - self._mark
        self._mark = now
        self._samples += samples
        self._steps += 1

    def read(self) -> tuple[float, float, float]:
        """(samples per second, share of time spent waiting, seconds per step)."""
        total = max(self._waited + self._worked, 1e-9)
        figures = self._samples / total, self._waited / total, total / max(1, self._steps)
        self._reset()
        return figures


def duration(seconds: float) -> str:
    """``75`` → ``1:15``, ``3700`` → ``1:01:40``."""
    minutes, s = divmod(round(max(0.0, seconds)), 60)
    hours, m = divmod(minutes, 60)
    return f"{hours}:{m:02d}:{s:02d}" if hours else f"{m}:{s:02d}"


def tracked(items: Iterable[T], total: int, text: str, every_s: float = 5.0) -> Iterator[T]:
    """The items, with a line on stderr now and then: how many are done and how long it takes."""
    started = last = time.monotonic()
    for done, item in enumerate(items, start=1):
        yield item
        now = time.monotonic()
        if now - last >= every_s:
            last = now
            eta = duration((now - started) / done * (total - done))
            print(f"{text}: {done}/{total}, ETA {eta}", file=sys.stderr, flush=True)


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
    """``epoch 3/50  step 120/500  ETA 12:10  31 samples/s (data 2 %)  lr 6.0e-05  ce 1.234``."""
    terms = "  ".join(f"{name} {value:.4f}" for name, value in losses.items())
    return (
        f"epoch {epoch + 1}/{epochs}  step {step}/{steps}  ETA {duration(eta_s)}  "
        f"{samples_per_s:.1f} samples/s (data {100 * waiting:.0f} %)  lr {rate:.2e}  {terms}"
    )


def table(rows: Sequence[Sequence[str]]) -> str:
    """Left-aligned first column, right-aligned others; the first row is the heading."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [
            cell.rjust(width) if i else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    lines.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(lines)
