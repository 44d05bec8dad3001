# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Synthetic rooms, rendered once into files that every later epoch and run maps into memory."""

from __future__ import annotations

import fcntl
import hashlib
import json
import multiprocessing
import os
import re
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from rgbd_seg_ros.depth import to_meters
from rgbd_seg_ros.labels import INDOOR16
from training import distributed
from training.data.sample import Sample
from training.options import UsageError

#: Frames a worker renders between two reports; also what an interruption can lose per worker.
CHUNK = 16


class RenderedScenes:
    """The first ``count`` frames of one split of the synthetic rooms.

    Frames lie in a folder named after everything that decides how they look: split, size, seed
    and a hash of the renderer's source. A longer run extends the folder, an interrupted
    rendering is taken up where it stopped, and two runs that want the same frames take turns.
    """

    label_set = INDOOR16

    def __init__(
        self, cache: str, size: tuple[int, int], seed: int, split: str, count: int
    ) -> None:
        if not cache:
            raise UsageError("synthetic rooms are rendered into files: give a folder as cache")
        height, width = size
        key = f"{split}-{height}x{width}-seed{seed}-{_source_hash()}"
        self.folder = Path(cache) / "synthetic" / key
        self.count = count
        self.fields: dict[str, tuple[str, tuple[int, ...]]] = {
            "rgb": ("uint8", (height, width, 3)),
            "depth_mm": ("uint16", (height, width)),
            "labels": ("uint8", (height, width)),
            "intrinsics": ("float32", (3, 3)),
            "gravity": ("float32", (3,)),
        }
        if distributed.is_main():
            self._render(size, seed, split)
        distributed.barrier()
        self._maps: dict[str, np.memmap[Any, Any]] | None = None

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Sample:
        if not 0 <= index < self.count:
            raise IndexError(index)
        if self._maps is None:  # opened in the process that reads
            self._maps = open_maps(self.folder, self.fields, self.count, "r")
        frame = {name: np.array(array[index]) for name, array in self._maps.items()}
        return Sample(
            frame["rgb"],
            to_meters(frame["depth_mm"]),
            frame["labels"],
            f"{self.folder.name}#{index}",
            frame["intrinsics"],
            frame["gravity"],
        )

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_maps": None}  # a pickled memory map would be its content

    def _render(self, size: tuple[int, int], seed: int, split: str) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        with _locked(self.folder / "lock"):
            done = _read_count(self.folder)
            if done >= self.count:
                return
            for name, (dtype, shape) in self.fields.items():
                with (self.folder / f"{name}.bin").open("ab") as file:
                    frame_bytes = int(np.prod(shape)) * np.dtype(dtype).itemsize
                    file.truncate(frame_bytes * self.count)
            starts = range(done, self.count, CHUNK)
            jobs = [(size, seed, split, s, min(s + CHUNK, self.count), self.folder, self.fields,
                     self.count) for s in starts]  # fmt: skip
            workers = min(os.cpu_count() or 1, len(jobs))
            began = time.monotonic()
            # Fresh interpreters: a fork of a process whose torch has threads may hang.
            with multiprocessing.get_context("spawn").Pool(workers) as pool:
                for end in pool.imap(_render_chunk, jobs):
                    _write_count(self.folder, end)
                    _report(split, end - done, self.count - done, time.monotonic() - began)


def open_maps(
    folder: Path, fields: dict[str, tuple[str, tuple[int, ...]]], count: int, mode: Any
) -> dict[str, np.memmap[Any, Any]]:
    """The files of a folder as arrays of ``count`` frames."""
    return {
        name: np.memmap(folder / f"{name}.bin", dtype, mode, shape=(count, *shape))
        for name, (dtype, shape) in fields.items()
    }


def _render_chunk(job: tuple[Any, ...]) -> int:
    """Render frames [begin, end) into the folder's files; returns ``end``."""
    size, seed, split, begin, end, folder, fields, count = job
    import torch

    torch.set_num_threads(1)  # one process per core is parallel enough
    from training.data.synthetic.renderer import SceneSource

    source = SceneSource(size=size, seed=seed, split=split)
    maps = open_maps(folder, fields, count, "r+")
    for index in range(begin, end):
        frame = source[index]
        maps["rgb"][index] = frame.rgb
        maps["depth_mm"][index] = frame.depth_mm
        maps["labels"][index] = frame.labels
        maps["intrinsics"][index] = frame.intrinsics.matrix()
        maps["gravity"][index] = frame.gravity
    for array in maps.values():
        array.flush()
    return int(end)


def _source_hash() -> str:
    """Short hash of the renderer: its source, wherever it imports from, and the class names."""
    folder = Path(__file__).parent
    todo, seen = ["renderer"], set[str]()
    digest = hashlib.sha256(repr(INDOOR16.classes).encode())
    while todo:
        module = todo.pop()
        path = folder / f"{module}.py"
        if module in seen or not path.is_file():
            continue
        seen.add(module)
        source = path.read_bytes()
        digest.update(source)
        todo += sorted(re.findall(r"training\.data\.synthetic\.(\w+)", source.decode()))
    return digest.hexdigest()[:12]


def _read_count(folder: Path) -> int:
    try:
        return int(json.loads((folder / "count.json").read_text())["frames"])
    except (OSError, ValueError, KeyError):
        return 0


def _write_count(folder: Path, frames: int) -> None:
    scratch = folder / "count.json.new"
    scratch.write_text(json.dumps({"frames": frames}))
    scratch.replace(folder / "count.json")


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _report(split: str, done: int, total: int, seconds: float) -> None:
    left = seconds / done * (total - done)
    end = "\n" if done == total or not sys.stderr.isatty() else "\r"
    if sys.stderr.isatty() or done == total or done // CHUNK % 25 == 1:
        text = (
            f"rendering {split}: {done}/{total} frames, {done / seconds:.0f}/s, {left:.0f} s left"
        )
        print(text, file=sys.stderr, end=end, flush=True)
