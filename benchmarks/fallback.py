# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Benchmark of the fallback: CPU time per offered message and per tick.

    python -m benchmarks.fallback [--frames 2000] [--json]

Two healthy 30 Hz streams, depth 20 ms after color; every pair is fused and every job is taken.
"""

from __future__ import annotations

import argparse
import json
import time
from typing import Any

import numpy as np

from rgbd_seg_ros.fallback import Core
from rgbd_seg_ros.frames import NS_PER_MS as MS
from rgbd_seg_ros.frames import Frame, Stream

SIZES = ((480, 640), (720, 1280))
#: Number of different images, so that no stream appears frozen.
IMAGES = 8


def images(size: tuple[int, int]) -> dict[str, list[Any]]:
    """Color, 16-bit depth and float depth; a tenth of the depth pixels is invalid."""
    rng = np.random.default_rng(0)
    rgb = [rng.integers(0, 256, (*size, 3), dtype=np.uint8) for _ in range(IMAGES)]
    depth = [rng.integers(500, 5000, size, dtype=np.uint16) for _ in range(IMAGES)]
    for image in depth:
        image[rng.random(size) < 0.1] = 0
    meters = [(image / np.float32(1000)).astype(np.float32) for image in depth]
    return {"rgb": rgb, "16UC1": depth, "32FC1": meters}


def measure(size: tuple[int, int], encoding: str, frames: int) -> dict[str, list[float]]:
    """CPU time of every call in microseconds, by kind; other load hardly affects it."""
    arrays = images(size)
    core = Core()
    cost: dict[str, list[float]] = {"rgb": [], encoding: [], "tick": []}

    def offer(stream: Stream, kind: str, index: int, stamp: int, now: int) -> None:
        array = arrays[kind][index % IMAGES]
        # Use a copy, so that caches are as cold as for a message from another process.
        frame = Frame(array.copy(), stamp, "camera", kind)
        begin = time.thread_time_ns()
        core.offer(stream, frame, now)
        cost[kind].append((time.thread_time_ns() - begin) / 1e3)
        core.next_job(now)

    now = 10**12
    for index in range(frames):
        stamp = now + index * 33 * MS
        offer("rgb", "rgb", index, stamp, stamp + 5 * MS)
        offer("depth", encoding, index, stamp, stamp + 25 * MS)
        begin = time.thread_time_ns()
        core.tick(stamp + 25 * MS)
        cost["tick"].append((time.thread_time_ns() - begin) / 1e3)
    if core.counters.fates["rgb"]["used"] != frames:
        raise RuntimeError(f"the core did not fuse every pair: {core.counters}")
    return cost


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--frames", type=int, default=2000, help="per stream (default 2000)")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of text")
    args = parser.parse_args()
    if args.frames < 10:
        parser.error("--frames must be at least 10")
    rows = []
    for size in SIZES:
        for encoding in ("16UC1", "32FC1"):
            for call, costs in measure(size, encoding, args.frames).items():
                name = "tick" if call == "tick" else f"offer {call}"
                p50, p99 = np.percentile(costs, (50, 99))
                rows.append(
                    {"size": size, "call": name, "beside": encoding,
                     "p50_us": round(float(p50), 1), "p99_us": round(float(p99), 1)}
                )  # fmt: skip
    if args.json:
        print(json.dumps({"frames": args.frames, "calls": rows}))
        return
    for row in rows:
        height, width = row["size"]
        print(
            f"{width}×{height}, depth {row['beside']}: {row['call']:12} "
            f"p50 {row['p50_us']:6.1f} µs, p99 {row['p99_us']:6.1f} µs"
        )


if __name__ == "__main__":
    main()
