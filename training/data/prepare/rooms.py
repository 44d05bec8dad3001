# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Rendered rooms as a prepared dataset: in parallel, resumable, equal for each seed and index."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

from rgbd_seg_ros.depth import to_meters
from rgbd_seg_ros.labels import INDOOR16
from rgbd_seg_ros.progress import say
from training.data.prepare.base import Entry, FrameData, RawDataset
from training.data.rooms.catalog import Catalog, credits_text, find_catalog
from training.data.synthetic.renderer import RoomSample, RoomViews
from training.options import UsageError, opt

#: Splits are assigned in blocks of this many rooms, so that more frames never change one.
_BLOCK = 20
#: Random stream of the numpy renderer; with it, each frame shows another room.
_NUMPY_SPLIT = "train"


@dataclass(frozen=True)
class RoomsOptions:
    """Options of the rooms. All but frames and processes determine what a frame shows."""

    frames: int = opt(1000, "number of frames; more of them continue an earlier preparation")
    size: tuple[int, int] = opt((240, 320), "height,width in pixels")
    seed: int = opt(0, "random seed of the rooms")
    views: int = opt(4, "views of each room; frames of one room share a split")
    held_out: tuple[int, int] = opt(
        (1, 1), "rooms of every 20 that are for validation, and for the test"
    )
    renderer: Literal["auto", "mitsuba", "numpy"] = opt(
        "auto", "path tracer, or the simple renderer; auto: mitsuba where it is installed"
    )
    furniture: Literal["auto", "catalog", "cc0", "simple"] = opt(
        "auto", "models of the catalog (cc0: only those that need no credit), or simple shapes"
    )
    samples: int = opt(9, "light paths per pixel, rounded to a square")
    processes: int = opt(0, "processes that render; 0: one per core")

    def __post_init__(self) -> None:
        for key, low in (("frames", 1), ("views", 1), ("samples", 1), ("seed", 0),
                         ("processes", 0)):  # fmt: skip
            if getattr(self, key) < low:
                raise UsageError(f"{key} must be {low} or more, got {getattr(self, key)}")
        if min(self.held_out) < 1 or sum(self.held_out) >= _BLOCK:
            raise UsageError(
                f"held_out must be two numbers of 1 or more whose sum is below {_BLOCK}, "
                f"got {self.held_out}"
            )
        if not all(16 <= side <= 2160 for side in self.size):
            raise UsageError(f"size must be height,width of 16..2160 pixels, got {self.size}")


class RenderedRooms(RawDataset):
    """Random furnished rooms with exact labels."""

    name: ClassVar[str] = "rooms"
    page: ClassVar[str] = "docs/data.md"
    options_class: ClassVar[type] = RoomsOptions
    needs_source: ClassVar[bool] = False
    #: Each frame takes seconds, so few are rendered for the estimate and lost by an interruption.
    sampled: ClassVar[int] = 2
    chunk: ClassVar[int] = 2

    def __init__(self, root: Path, options: RoomsOptions, partial: bool) -> None:
        del partial
        self.label_set, self.options = INDOOR16, options
        self.expected = {}
        self.renderer = choose_renderer(options.renderer)
        self.catalog: Catalog | None = None
        source = "" if root == Path() else str(root)
        if self.renderer == "mitsuba" and options.furniture != "simple":
            required = options.furniture in ("catalog", "cc0")
            self.catalog = find_catalog(source, required, options.furniture == "cc0")
            if self.catalog is None:
                say("note: the package sweethome3d-furniture is not installed, so simple shapes "
                    "are the furniture")  # fmt: skip
        elif options.furniture in ("catalog", "cc0"):
            raise UsageError(
                f"furniture {options.furniture} needs the renderer mitsuba; got {self.renderer}"
            )
        self.files = list(self.catalog.files) if self.catalog else []
        for note in self.catalog.notes if self.catalog else ():
            say(note)
        self._views: Any = None

    @property
    def fingerprint_options(self) -> dict[str, Any]:
        """The options that determine what a frame shows."""
        values = {k: v for k, v in asdict(self.options).items()
                  if k not in ("frames", "processes", "held_out")}  # fmt: skip
        values["size"] = list(self.options.size)
        values["renderer"] = self.renderer
        values["furniture"] = self.options.furniture if self.catalog else "simple"
        values["code"] = code_hash()
        return values

    def entries(self) -> list[Entry]:
        """All frames; whole rooms are held out, so that more frames never change a split."""
        views = self.options.views if self.renderer == "mitsuba" else 1
        return [
            Entry(f"{i:06d}", f"room{i // views:06d}", self._split(i // views % _BLOCK), i)
            for i in range(self.options.frames)
        ]

    def _split(self, room: int) -> str:
        """Split of a room of a block: the last ones are for the test."""
        val, test = self.options.held_out
        first = min(_BLOCK // 2, _BLOCK - test - val)
        if room >= _BLOCK - test:
            return "test"
        return "val" if first <= room < first + val else "train"

    def read(self, entry: Entry) -> FrameData:
        """Render one frame in this process."""
        if self._views is None:
            self._views = open_views(self.renderer, self.options, self.catalog, 0)
        return to_frame(self._views[entry.key])

    def read_each(self, entries: Sequence[Entry]) -> Iterator[FrameData]:
        """Render frames in several processes, in order."""
        count = self.options.processes or os.cpu_count() or 1
        rooms: dict[str, list[int]] = {}
        for entry in entries:
            rooms.setdefault(entry.group, []).append(entry.key)
        jobs = list(rooms.values())
        if min(count, len(jobs)) <= 1:
            yield from map(self.read, entries)
            return
        # Spawned, because a forked process in which libraries have threads may hang.
        pool = ProcessPoolExecutor(
            min(count, len(jobs)), multiprocessing.get_context("spawn"), _start_worker,
            (self.renderer, self.options, self.catalog),
        )  # fmt: skip
        try:
            for future in [pool.submit(_render, job) for job in jobs]:
                yield from future.result()
        except BrokenProcessPool as error:
            raise UsageError(
                "a rendering process ended unexpectedly, perhaps for lack of memory: run the "
                "command again to continue, with fewer --processes if it happens again"
            ) from error
        finally:
            pool.shutdown(cancel_futures=True)

    def finished(self, out: Path) -> dict[str, str]:
        """Files to write beside the index: the authors of the models."""
        return {} if self.catalog is None else {"credits.txt": credits_text(self.catalog) + "\n"}


def choose_renderer(name: str) -> str:
    """The renderer to use.

    Raises:
        UsageError, ImportError: the path tracer is asked for, or installed, but does not work.
    """
    from importlib.util import find_spec

    if name == "auto" and not (find_spec("mitsuba") and find_spec("trimesh")):
        say("note: mitsuba and trimesh are not installed (pip install -e '.[render]'), so the "
            "simple renderer draws the rooms")  # fmt: skip
        return "numpy"
    if name == "numpy":
        return name
    from training.data.rooms.mitsuba_setup import check_mitsuba

    check_mitsuba()
    return "mitsuba"


def open_views(renderer: str, options: RoomsOptions, catalog: Catalog | None, threads: int) -> Any:
    """``views[i] → RoomSample`` of a renderer."""
    if renderer == "numpy":
        return RoomViews(options.size, options.seed, _NUMPY_SPLIT)
    from training.data.rooms.furnished_views import FurnishedViews

    return FurnishedViews(
        options.size, options.seed, catalog, options.samples, options.views, threads
    )


def to_frame(view: RoomSample) -> FrameData:
    """A view in the units of a prepared dataset."""
    k = view.intrinsics
    g = [float(v) for v in view.gravity]
    return FrameData(
        view.rgb, to_meters(view.depth_mm), view.labels, (k.fx, k.fy, k.cx, k.cy),
        (g[0], g[1], g[2]),
    )  # fmt: skip


def code_hash() -> str:
    """Short hash of the code that draws the rooms: other code gives other frames."""
    digest = hashlib.sha256()
    for folder in ("rooms", "synthetic"):
        for path in sorted((Path(__file__).parents[1] / folder).iterdir()):
            if path.suffix in (".py", ".yaml"):
                digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


_worker_views: Any = None


def _start_worker(renderer: str, options: RoomsOptions, catalog: Catalog | None) -> None:
    """Prepare a process: one thread each, since there is one process per core."""
    import signal

    global _worker_views
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which ends the pool
    os.environ["OMP_NUM_THREADS"] = "1"
    os.environ["OIDN_NUM_THREADS"] = "1"
    _worker_views = open_views(renderer, options, catalog, 1)


def _render(indices: list[int]) -> list[FrameData]:
    """Render the frames of one room."""
    return [to_frame(_worker_views[i]) for i in indices]
