# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Benchmark of the renderers: frames per second of one process and of several in parallel.

    python -m benchmarks.synthetic --size 120 160 --processes 2 [--json]
    python -m benchmarks.synthetic --renderer mitsuba --size 240 320 --frames 20

Each process uses one thread, like the workers of a loader. Mitsuba renders four views of each room
with the installed furniture, or with simple shapes if there is none.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any

#: Index of the frame that is rendered before the measurement, of a room that is not measured.
WARM_UP = 10_000
# This must be set before numpy is imported, here and in the workers.
os.environ.setdefault("OMP_NUM_THREADS", "1")


def open_views(renderer: str, size: tuple[int, int]) -> Any:
    """``views[i]`` of a renderer, in one thread."""
    if renderer == "numpy":
        from training.data.synthetic.renderer import RoomViews

        return RoomViews(size=size, split="test")
    os.environ["OIDN_NUM_THREADS"] = "1"
    from training.data.rooms.catalog import find_catalog
    from training.data.rooms.furnished_views import FurnishedViews

    return FurnishedViews(size, 0, find_catalog("", required=False), threads=1)


def render(job: tuple[str, tuple[int, int], int, int]) -> tuple[float, float, float]:
    """Render frames [begin, end); returns start and end (system clock) and CPU time, seconds."""
    renderer, size, begin, end = job
    views = open_views(renderer, size)
    views[begin + WARM_UP]  # loads modules and tables, and compiles
    began, cpu_s = time.time(), time.process_time()
    for index in range(begin, end):
        views[index]
    return began, time.time(), time.process_time() - cpu_s


def frames_per_second(
    renderer: str, size: tuple[int, int], frames: int, processes: int
) -> tuple[float, float]:
    """Frames per second for ``frames`` frames in each process, excluding startup.

    Returns:
        Frames per second of wall time, and per second of CPU time, on which other load on the
        machine has little influence.
    """
    jobs = [(renderer, size, i * frames, (i + 1) * frames) for i in range(processes)]
    if processes == 1:
        spans = [render(jobs[0])]
    else:
        with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
            spans = list(pool.map(render, jobs))
    wall_s = max(end for _, end, _ in spans) - min(begin for begin, _, _ in spans)
    cpu_s = sum(cpu for _, _, cpu in spans)
    return processes * frames / wall_s, processes * frames / cpu_s


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--renderer", choices=("numpy", "mitsuba"), default="numpy")
    parser.add_argument("--size", type=int, nargs=2, default=[120, 160], metavar=("H", "W"))
    parser.add_argument("--frames", type=int, default=100, help="frames per process (default 100)")
    parser.add_argument("--processes", type=int, default=2, help="in the parallel run (default 2)")
    parser.add_argument(
        "--json", action="store_true", help="print one JSON object instead of text"
    )
    args = parser.parse_args()
    if min(args.frames, args.processes) < 1 or min(args.size) < 8:
        parser.error("--frames and --processes must be at least 1, --size at least 8 8")
    size = (args.size[0], args.size[1])
    rates = {}
    for n in sorted({1, args.processes}):
        found = frames_per_second(args.renderer, size, args.frames, n)
        keys = ("fps", "fps_per_core")
        rates[str(n)] = {key: round(v, 2) for key, v in zip(keys, found, strict=True)}
    if args.json:
        values = {"renderer": args.renderer, "size": size, "frames": args.frames}
        print(json.dumps({**values, "by_processes": rates}))
        return
    for n, rate in rates.items():
        print(
            f"{args.renderer}, {size[1]}×{size[0]}, {n} process(es): {rate['fps']} frames per "
            f"second, {rate['fps_per_core']} per second of CPU time"
        )


if __name__ == "__main__":
    main()
