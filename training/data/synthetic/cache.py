# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Cache of rendered rooms: files that later epochs and runs map into memory."""

from __future__ import annotations

import fcntl
import hashlib
import json
import multiprocessing
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from rgbd_seg_ros.depth import to_meters
from rgbd_seg_ros.files import InputFileError, read_json, write_atomically
from rgbd_seg_ros.labels import INDOOR16
from rgbd_seg_ros.progress import progress_bar
from training import distributed
from training.data.sample import Sample
from training.options import UsageError

#: File that contains the number of finished frames.
COUNT = "count.json"
#: Frames per job of a worker; an interruption loses at most this many per worker.
CHUNK = 16


class CachedRooms:
    """The first ``count`` frames of one split of the synthetic rooms.

    The folder's name contains everything that determines the frames: split, size, seed and a hash
    of the renderer's source. A longer run extends the folder, interrupted rendering resumes
    where it stopped, and two runs that need the same frames wait for each other.

    Args:
        cache: folder that contains all caches.
        size: (height, width) in pixels.
        seed: random seed of the rooms.
        split: train, val or test.
        count: number of frames.

    Raises:
        UsageError: no cache folder is given.
    """

    label_set = INDOOR16

    def __init__(
        self, cache: str, size: tuple[int, int], seed: int, split: str, count: int
    ) -> None:
        if not cache:
            raise UsageError("synthetic rooms are rendered into files: set cache to a folder")
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
        if self._maps is None:  # each process opens the files itself
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
        return {**self.__dict__, "_maps": None}  # pickling a memory map would copy its content

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}.bin"

    def _frame_bytes(self, name: str) -> int:
        dtype, shape = self.fields[name]
        return int(np.prod(shape)) * np.dtype(dtype).itemsize

    def _stored(self, name: str) -> int:
        """Number of frames that a file has room for; fewer than rendered if it was cut off."""
        path = self._path(name)
        return path.stat().st_size // self._frame_bytes(name) if path.is_file() else 0

    def _render(self, size: tuple[int, int], seed: int, split: str) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        with _locked(self.folder / "lock"):
            done = min(_read_count(self.folder), *map(self._stored, self.fields))
            if done >= self.count:
                return
            for name in self.fields:
                with self._path(name).open("ab") as file:
                    file.truncate(self._frame_bytes(name) * self.count)
            starts = range(done, self.count, CHUNK)
            jobs = [(size, seed, split, s, min(s + CHUNK, self.count), self.folder, self.fields,
                     self.count) for s in starts]  # fmt: skip
            workers = min(os.cpu_count() or 1, len(jobs))
            # Spawned, because a forked process in which torch has threads may hang.
            with (
                multiprocessing.get_context("spawn").Pool(workers) as pool,
                progress_bar(f"rendering {split}", self.count, "frame", initial=done) as bar,
            ):
                for end in pool.imap(_render_chunk, jobs):
                    write_atomically(self.folder / COUNT, json.dumps({"frames": end}))
                    bar.update(end - bar.n)


def open_maps(
    folder: Path, fields: dict[str, tuple[str, tuple[int, ...]]], count: int, mode: Any
) -> dict[str, np.memmap[Any, Any]]:
    """Map the files of a folder as arrays of ``count`` frames."""
    return {
        name: np.memmap(folder / f"{name}.bin", dtype, mode, shape=(count, *shape))
        for name, (dtype, shape) in fields.items()
    }


def _render_chunk(job: tuple[Any, ...]) -> int:
    """Render frames [begin, end) into the folder's files and return ``end``."""
    size, seed, split, begin, end, folder, fields, count = job
    import torch

    torch.set_num_threads(1)  # the pool already runs one process per core
    from training.data.synthetic.renderer import RoomViews

    views = RoomViews(size=size, seed=seed, split=split)
    maps = open_maps(folder, fields, count, "r+")
    for index in range(begin, end):
        frame = views[index]
        maps["rgb"][index] = frame.rgb
        maps["depth_mm"][index] = frame.depth_mm
        maps["labels"][index] = frame.labels
        maps["intrinsics"][index] = frame.intrinsics.matrix()
        maps["gravity"][index] = frame.gravity
    for array in maps.values():
        array.flush()
    return int(end)


def _source_hash() -> str:
    """Short hash of the class names and of the renderer's source, including local imports."""
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
    """Number of finished frames; 0 if the file is missing or damaged, which renders them again."""
    try:
        document = read_json(folder / COUNT)
    except InputFileError:
        return 0
    count = document.get("frames") if isinstance(document, dict) else None
    return count if type(count) is int and count >= 0 else 0


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
