# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Benchmark of the depth encodings of one image, on the CPU and in a CUDA graph.

    python -m benchmarks.hha --size 480 640 [--threads 2] [--json]

HHA is timed with gravity given and with gravity estimated. Without transforms, the node estimates
gravity, smooths it over time and passes it to HHA, which costs the sum of "gravity alone" and
"gravity given". Other load on the machine only adds time, so the minimum is printed beside the
median.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from rgbd_seg_ros.depth import DepthEncoding, encode, to_meters
from rgbd_seg_ros.hha import estimate_gravity


def room_inputs(size: tuple[int, int]) -> tuple[Tensor, Tensor, Tensor]:
    """Depth with holes, intrinsics and gravity of a synthetic room, as a batch of one."""
    from training.data.synthetic.renderer import RoomViews

    room = RoomViews(size=size, split="test")[0]
    arrays = to_meters(room.depth_mm)[None], room.intrinsics.matrix(), room.gravity
    depth, intrinsics, gravity = (torch.from_numpy(array)[None] for array in arrays)
    return depth, intrinsics, gravity


def times_ms(run: Callable[[], object], repeats: int) -> dict[str, float]:
    """Minimum and median time of a call, milliseconds."""
    run()
    spans = []
    for _ in range(repeats):
        start = time.perf_counter()
        run()
        spans.append((time.perf_counter() - start) * 1e3)
    return {"least_ms": round(min(spans), 2), "median_ms": round(statistics.median(spans), 2)}


#: Case → encoding, and whether gravity is given.
CASES = {
    "zscore": (DepthEncoding("zscore"), False),
    "disparity": (DepthEncoding("disparity"), False),
    "hha, gravity given": (DepthEncoding.for_hha(), True),
    "hha, gravity estimated": (DepthEncoding.for_hha(), False),
}


def on_cpu(run: Callable[[], object], repeats: int) -> dict[str, float]:
    """Time eager execution, as the engine runs it on a CPU."""
    with torch.inference_mode():
        return times_ms(run, repeats)


def on_cuda(run: Callable[[], object], repeats: int) -> dict[str, float]:
    """Time replays of a captured graph, including the work on the device."""
    side = torch.cuda.Stream()
    with torch.cuda.stream(side):
        for _ in range(3):
            run()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        run()

    def replay() -> None:
        graph.replay()
        torch.cuda.synchronize()

    return times_ms(replay, repeats)


def measure(
    inputs: tuple[Tensor, Tensor, Tensor], device: str, repeats: int
) -> dict[str, dict[str, float]]:
    """Times of all cases."""
    depth, intrinsics, gravity = (tensor.to(device) for tensor in inputs)
    timed = on_cuda if device == "cuda" else on_cpu
    runs = {
        name: partial(encode, depth, encoding, intrinsics, gravity if given else None)
        for name, (encoding, given) in CASES.items()
    }
    runs["gravity alone"] = partial(estimate_gravity, depth, intrinsics)
    return {name: timed(run, repeats) for name, run in runs.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--size", type=int, nargs=2, default=[480, 640], metavar=("H", "W"))
    parser.add_argument("--threads", type=int, default=2, help="CPU threads (default 2)")
    parser.add_argument("--repeats", type=int, default=50, help="timed calls (default 50)")
    parser.add_argument(
        "--json", action="store_true", help="print one JSON object instead of text"
    )
    args = parser.parse_args()
    if min(args.threads, args.repeats) < 1 or min(args.size) < 8:
        parser.error("--threads and --repeats must be at least 1, --size at least 8 8")
    torch.set_num_threads(args.threads)
    inputs = room_inputs((args.size[0], args.size[1]))
    rows = {f"cpu, {args.threads} thread(s)": measure(inputs, "cpu", args.repeats)}
    if torch.cuda.is_available():
        rows[torch.cuda.get_device_name()] = measure(inputs, "cuda", args.repeats)
    if args.json:
        print(json.dumps({"size": args.size, "repeats": args.repeats, "devices": rows}))
        return
    for device, cases in rows.items():
        for case, ms in cases.items():
            print(
                f"{args.size[1]}×{args.size[0]}, {device}, {case}: "
                f"{ms['least_ms']} ms, median {ms['median_ms']} ms"
            )


if __name__ == "__main__":
    main()
