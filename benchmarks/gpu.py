# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Benchmark of everything that depends on the GPU: one JSON file and one page of tables.

    python -m benchmarks.gpu --out runs/gpu

Each part runs in its own process, has a time limit, and writes PART.json and PART.log into the
folder. A part whose JSON exists is not measured again, so the same command continues an
interrupted benchmark. Without a GPU, only the parts that do not need one are measured: the
latency of the shipped bundle, HHA and the replay. All other networks have random weights.
"""

from __future__ import annotations

import argparse
import copy
import datetime
import functools
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from benchmarks.gpu_tables import tables
from rgbd_seg_ros.bundle import Bundle, NetworkRecord, TrainedNetwork, load_bundle
from rgbd_seg_ros.depth import DepthEncoding, to_meters
from rgbd_seg_ros.engine import Segmenter
from rgbd_seg_ros.engine.backends import BACKENDS, Backend, StagedBackend
from rgbd_seg_ros.files import write_atomically
from rgbd_seg_ros.labels import INDOOR16
from rgbd_seg_ros.models import build, network_spec
from rgbd_seg_ros.preprocess import Preprocess

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
SIZE = (480, 640)
#: Network → its depth encoding, if it reads depth.
NETWORKS = {
    "cmx_b0": "hha", "cmx_b2": "hha", "cmx_b4": "hha", "acnet_r50": "zscore",
    "segformer_b2": "", "deeplabv3plus_r50": "", "crodino_r50": "",
}  # fmt: skip
#: Timed masks of each network, by backend; 10 more at the start are not timed.
MASKS = {"cuda_graph": 300, "torch": 60, "float32": 60}


def float32_backend(network: TrainedNetwork, device: torch.device) -> Backend:
    """The baseline: eager PyTorch in full precision, also on CUDA."""
    module = copy.deepcopy(network.module).to(device).eval()
    return StagedBackend(network.record.preprocess, device, lambda *x: module(*x).logits)


BACKENDS["float32"] = float32_backend


@functools.cache
def images(count: int = 4) -> list[tuple[Any, ...]]:
    """Color, meters, intrinsics and gravity of synthetic rooms."""
    from training.data.synthetic.renderer import RoomViews

    views = RoomViews(size=SIZE, split="test")
    rooms = [views[i] for i in range(count)]
    return [(r.rgb, to_meters(r.depth_mm), r.intrinsics, r.gravity) for r in rooms]


def random_bundle(networks: dict[str, str]) -> Bundle:
    """A bundle of named networks (modality → name) for images of SIZE."""
    torch.manual_seed(0)
    trained: dict[Any, TrainedNetwork] = {}
    for modality, name in networks.items():
        encoding = DepthEncoding.for_hha() if NETWORKS[name] == "hha" else DepthEncoding()
        channels = encoding.channels
        spec = network_spec(name, modality=modality, num_classes=16, depth_channels=channels)
        record = NetworkRecord(spec, Preprocess(SIZE, depth=encoding), INDOOR16)
        trained[modality] = TrainedNetwork(build(spec).eval(), record)
    return Bundle(INDOOR16, trained)


def percentiles(
    segmenter: Segmenter, masks: int, gravity: bool = True, **options: Any
) -> dict[str, float]:
    """Milliseconds from arrays to a mask, both in main memory, and of each stage."""
    totals, stages = [], []
    for i in range(10 + masks):
        *inputs, down = images()[i % 4]
        begin = time.perf_counter()
        mask = segmenter(*inputs, down if gravity else None, **options)
        totals.append((time.perf_counter() - begin) * 1e3)
        stages.append(mask.timings_ms)
    times = {f"p{q}": float(np.percentile(totals[10:], q)) for q in (50, 90, 99)}
    for stage in ("preprocess", "network", "postprocess"):
        times[stage] = float(np.median([s[stage] for s in stages[10:]]))
    return {name: round(ms, 3) for name, ms in times.items()}


def agreement(one: Segmenter, other: Segmenter, **options: Any) -> float:
    """Share of pixels to which both give the same class."""
    pairs = [(one(*x, **options).labels, other(*x, **options).labels) for x in images()]
    return round(float(np.mean([a == b for a, b in pairs])), 5)


def latency_of(name: str, backend: str, built: Any, alone: Any) -> dict[str, Any]:
    """One network's row. All are built side by side, then measured one at a time."""
    try:
        modality = network_spec(name).modality
        bundle = random_bundle({modality: name})
        images()
        begin = time.perf_counter()
        segmenter = Segmenter(bundle, DEVICE, backend)
        segmenter(*images()[0], network=modality)
        row: dict[str, Any] = {"setup_s": round(time.perf_counter() - begin, 1)}
        reference = Segmenter(bundle, DEVICE, "float32")
    finally:
        built.wait()
    masks = MASKS[backend]
    with alone:
        row |= percentiles(segmenter, masks, network=modality)
        if NETWORKS[name] == "hha":
            row["gravity_estimated"] = percentiles(segmenter, masks, False, network=modality)
        row["same_as_float32"] = agreement(segmenter, reference, network=modality)
    return row


def latency(backend: str) -> dict[str, Any]:
    """Network → milliseconds at SIZE."""
    spawn = get_context("spawn")
    with spawn.Manager() as manager, ProcessPoolExecutor(len(NETWORKS), spawn) as pool:
        built, alone = manager.Barrier(len(NETWORKS)), manager.Lock()
        jobs = {n: pool.submit(latency_of, n, backend, built, alone) for n in NETWORKS}
        return {
            name: {"error": repr(job.exception())[:300]} if job.exception() else job.result()
            for name, job in jobs.items()
        }


def tests() -> dict[str, Any]:
    """Outcome of the tests that need a GPU."""
    command = [sys.executable, "-m", "pytest", "-m", "gpu", "-q", "-p", "no:cacheprovider"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    print(done.stdout, done.stderr)
    counts = dict(re.findall(r"(\d+) (passed|failed|errors?|skipped)", done.stdout))
    failed = re.findall(r"^(?:FAILED|ERROR) (\S+)", done.stdout, re.MULTILINE)
    return {**{word: int(number) for number, word in counts.items()}, "failed_tests": failed}


def hha() -> dict[str, Any]:
    """Milliseconds of each depth encoding, see :mod:`benchmarks.hha`."""
    from benchmarks.hha import measure, room_inputs

    return measure(room_inputs(SIZE), DEVICE, 50)


def memory() -> dict[str, Any]:
    """Backend → MiB of GPU memory that three large networks reserve."""
    three = {"rgbd": "cmx_b2"} | dict.fromkeys(("rgb", "depth"), "deeplabv3plus_r50")
    reserved = {}
    for backend in MASKS:
        torch.cuda.empty_cache()
        before = torch.cuda.memory_reserved()
        segmenter = Segmenter(random_bundle(three), DEVICE, backend)
        for network in segmenter.available:
            segmenter(*images()[0], network=network)
        reserved[backend] = round((torch.cuda.memory_reserved() - before) / 2**20)
        del segmenter
    return reserved


def shipped() -> dict[str, Any]:
    """Backend → network of the shipped bundle → milliseconds at SIZE."""
    reference = Segmenter(load_bundle(), DEVICE, "float32")
    rows: dict[str, Any] = {}
    for backend in MASKS if DEVICE == "cuda" else ("torch",):
        segmenter = Segmenter(load_bundle(), DEVICE, backend)
        rows[backend] = {}
        for network in segmenter.available:
            same = {"same_as_float32": agreement(segmenter, reference, network=network)}
            rows[backend][network] = percentiles(segmenter, MASKS[backend], network=network) | same
    return rows


def replay(pairs: int = 300) -> dict[str, Any]:
    """Masks per second of a bag through the core, decoding included, without ROS."""
    from rgbd_seg_ros.bag.writer import BagWriter
    from rgbd_seg_ros.inference import load_engine
    from rgbd_seg_ros.replay.replay_options import ReplayOptions
    from rgbd_seg_ros.replay.session import replay_bag
    from training.data.synthetic.renderer import render_drive
    from training.demo import COLOR, DEPTH, FRAME_ID, START_NS

    samples = list(render_drive(0, 8, SIZE, 30.0))
    with tempfile.TemporaryDirectory() as folder:
        bag = Path(folder) / "bag"
        with BagWriter(bag) as writer:
            for i in range(pairs):
                sample, stamp = samples[i % 8], START_NS + i * 33_000_000
                for topic, image in ((COLOR, sample.rgb), (DEPTH, sample.depth_mm)):
                    info = topic.replace("image_raw", "camera_info")
                    writer.image(topic, stamp, image, stamp, FRAME_ID)
                    writer.camera_info(info, stamp, sample.intrinsics, stamp, FRAME_ID)
        engine = load_engine(None, DEVICE)
        begin = time.perf_counter()
        masks = replay_bag(ReplayOptions(bag=bag), lambda: engine).summary["masks"]
        return {"masks": masks, "masks_per_s": round(masks / (time.perf_counter() - begin), 1)}


def training(amp: str) -> dict[str, Any]:
    """Seconds of a step of CMX-B2 in batches of 8, see :mod:`benchmarks.training`."""
    from benchmarks.training import step_times
    from training.distributed import process_group
    from training.loop import Run
    from training.results import peak_memory_mb
    from training.settings import resolve

    with tempfile.TemporaryDirectory() as out:
        words = f"""--config config/train/nyuv2_cmx_b4_rgbd.yaml --network cmx_b2
            --pretrained none --data synthetic --train-frames 16 --val-frames 1 --workers 8
            --amp {amp} --tensorboard false --cache {out}/cache --out {out}/run"""
        with process_group(DEVICE) as device:
            step = step_times(Run(resolve("supervised", words.split()), device))
            return {**step, "peak_mb": peak_memory_mb(device)}


class Part(NamedTuple):
    """One part of the benchmark; it is stopped after ``limit_s`` seconds."""

    measure: Callable[[], dict[str, Any]]
    limit_s: int
    needs_gpu: bool = True


PARTS = {
    "shipped": Part(shipped, 240, needs_gpu=False),
    "hha": Part(hha, 60, needs_gpu=False),
    "replay": Part(replay, 240, needs_gpu=False),
    **{f"latency_{backend}": Part(functools.partial(latency, backend), 90) for backend in MASKS},
    "memory": Part(memory, 60),
    "training_float32": Part(functools.partial(training, "off"), 60),
    "training_bf16": Part(functools.partial(training, "bf16"), 60),
    "tests": Part(tests, 240),
}


def run_part(name: str, out: Path) -> None:
    """Measure a part in a process of its own, unless its JSON exists; print how it ended."""
    if (out / f"{name}.json").exists():
        return
    if PARTS[name].needs_gpu and DEVICE == "cpu":
        print(f"{name}: needs an NVIDIA GPU", file=sys.stderr)
        return
    command = [sys.executable, "-m", "benchmarks.gpu", "--out", str(out), "--part", name]
    begin = time.monotonic()
    with (out / f"{name}.log").open("w") as log:
        child = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        try:
            code: Any = child.wait(PARTS[name].limit_s)
        except subprocess.TimeoutExpired:
            code = f"stopped after {PARTS[name].limit_s} s"
            os.killpg(child.pid, 9)
            child.wait()
    print(f"{name}: {code or 'done'}, {time.monotonic() - begin:.0f} s", file=sys.stderr)


def main() -> int:
    """Measure all parts, or print why not; 1 if one failed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="output folder")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS), metavar="PART",
                        help=f"some of: {', '.join(PARTS)}")  # fmt: skip
    parser.add_argument("--part", choices=PARTS, help=argparse.SUPPRESS)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    if args.part:
        result = PARTS[args.part].measure()
        write_atomically(args.out / f"{args.part}.json", json.dumps(result, indent=1) + "\n")
        return 0
    for name in args.parts:
        run_part(name, args.out)
    device = torch.cuda.get_device_name() if DEVICE == "cuda" else f"CPU, {os.cpu_count()} cores"
    date = str(datetime.date.today())
    results: dict[str, Any] = {"device": device, "torch": torch.__version__, "date": date}
    for path in (args.out / f"{part}.json" for part in PARTS):
        results[path.stem] = json.loads(path.read_text()) if path.exists() else None
    (args.out / "gpu.json").write_text(json.dumps(results, indent=1) + "\n")
    page = tables(results, list(NETWORKS), f"python -m benchmarks.gpu --out {args.out}")
    (args.out / "gpu.md").write_text(page)
    print(page)
    skipped = {part for part in PARTS if DEVICE == "cpu" and PARTS[part].needs_gpu}
    return 0 if all(results[part] for part in args.parts if part not in skipped) else 1


if __name__ == "__main__":
    sys.exit(main())
