# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Everything that is worth measuring on a GPU machine, as one JSON file and one page of tables.

    python -m benchmarks.gpu --out runs/gpu

Each part runs in a process of its own and leaves PART.json and PART.log in the folder. One whose
JSON is there is not measured again, so the same command takes up what was cut short. All but the
last two parts take five minutes on an H100; those wait for a compiler, which may outlast their
limits the first time but remembers what it has done. The latency tables' weights are random.
"""

from __future__ import annotations

import argparse
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
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.gpu_tables import tables

SIZE = (480, 640)
#: Network → how it reads depth, if it does.
NETWORKS = {
    "cmx_b0": "hha", "cmx_b2": "hha", "cmx_b4": "hha", "acnet_r50": "zscore",
    "segformer_b2": "", "deeplabv3plus_r50": "", "crodino_r50": "",
}  # fmt: skip
#: Masks timed of each network: of a graph, of an eager backend.
MASKS, EAGER_MASKS = 300, 60


@functools.cache
def pictures(count: int = 4) -> list[tuple[Any, ...]]:
    """Colour, metres, intrinsics and gravity of some synthetic rooms."""
    from rgbd_seg_ros.depth import to_metres
    from training.data.synthetic import SceneSource

    source = SceneSource(size=SIZE, split="test")
    rooms = [source[i] for i in range(count)]
    return [(r.rgb, to_metres(r.depth_mm), r.intrinsics, r.gravity) for r in rooms]


def make_backend(name: str) -> Any:
    """A backend by name, ``float32`` among them: eager and in full precision, the baseline."""
    from rgbd_seg_ros.engine.backends import BACKENDS, TorchBackend

    BACKENDS.setdefault("float32", functools.partial(TorchBackend, half=False))
    return BACKENDS[name]


def random_bundle(networks: dict[str, str]) -> Any:
    """A bundle of named networks (modality → name, or ``rgbd`` alone for its own) at SIZE."""
    import torch

    from rgbd_seg_ros.bundle import Bundle, Network, NetworkRecord
    from rgbd_seg_ros.depth import DepthEncoding
    from rgbd_seg_ros.labels import INDOOR16
    from rgbd_seg_ros.models import build, network_spec
    from rgbd_seg_ros.preprocess import Preprocess

    torch.manual_seed(0)
    made: dict[Any, Network] = {}
    for modality, name in networks.items():
        hha = NETWORKS[name] == "hha"
        spec = network_spec(
            name, modality=modality, num_classes=16, depth_channels=3 if hha else 1
        )
        encoding = DepthEncoding.for_hha() if hha else DepthEncoding()
        record = NetworkRecord(spec, Preprocess(SIZE, depth=encoding), INDOOR16)
        made[modality] = Network(build(spec).eval(), record)
    return Bundle(INDOOR16, made)


def percentiles(segmenter: Any, gravity: bool = True, **options: Any) -> dict[str, Any]:
    """Milliseconds from arrays to a mask, both on the host, and of each stage."""
    spans, stages = [], []
    for i in range(10 + (MASKS if segmenter.prepares_by_size else EAGER_MASKS)):
        rgb, depth, intrinsics, down = pictures()[i % 4]
        begin = time.perf_counter()
        mask = segmenter(rgb, depth, intrinsics, down if gravity else None, **options)
        spans.append((time.perf_counter() - begin) * 1e3)
        stages.append(mask.timings_ms)
    found = {f"p{q}": float(np.percentile(spans[10:], q)) for q in (50, 90, 99)}
    for stage in ("preprocess", "network", "postprocess"):
        found[stage] = float(np.median([s[stage] for s in stages[10:]]))
    return {name: round(ms, 3) for name, ms in found.items()}


def agreement(one: Any, other: Any, **options: Any) -> float:
    """Share of pixels in which two segmenters make the same decision."""
    pairs = [(one(*p, **options).labels, other(*p, **options).labels) for p in pictures()]
    return round(float(np.mean([a == b for a, b in pairs])), 5)


def latency_of(name: str, backend: str, built: Any, alone: Any) -> dict[str, Any]:
    """One network's row. All are built side by side, then measured one at a time."""
    make_backend("float32")
    try:
        from rgbd_seg_ros.engine import Segmenter
        from rgbd_seg_ros.models import network_spec

        modality = network_spec(name).modality
        bundle = random_bundle({modality: name})
        pictures()
        begin = time.perf_counter()
        segmenter = Segmenter(bundle, "cuda", backend)
        segmenter(*pictures()[0], network=modality)
        row: dict[str, Any] = {"setup_s": round(time.perf_counter() - begin, 1)}
        reference = Segmenter(bundle, "cuda", "float32")
    finally:
        built.wait()
    with alone:
        row |= percentiles(segmenter, network=modality)
        if NETWORKS[name] == "hha":
            row["gravity_estimated"] = percentiles(segmenter, gravity=False, network=modality)
        row["same_as_float32"] = agreement(segmenter, reference, network=modality)
    return row


def latency(backend: str) -> dict[str, Any]:
    """Network → milliseconds at SIZE."""
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context

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
    from benchmarks.hha import measure, picture

    return measure(picture(SIZE), "cuda", 50)


def resident() -> dict[str, Any]:
    """MiB that three networks hold; the shipped bundle's milliseconds."""
    import torch

    from rgbd_seg_ros.bundle import DEFAULT_BUNDLE, load_bundle
    from rgbd_seg_ros.engine import Segmenter

    make_backend("float32")
    rows: dict[str, Any] = {}
    three = {"rgbd": "cmx_b2", "rgb": "deeplabv3plus_r50", "depth": "deeplabv3plus_r50"}
    for backend in ("float32", "torch", "cuda_graph"):
        torch.cuda.empty_cache()
        before = torch.cuda.memory_reserved()
        segmenter = Segmenter(random_bundle(three), "cuda", backend)
        for network in segmenter.available:
            segmenter(*pictures()[0], network=network)
        held = (torch.cuda.memory_reserved() - before) / 2**20
        row: dict[str, Any] = {"reserved_mib": round(held)}
        reference = Segmenter(load_bundle(DEFAULT_BUNDLE), "cuda", "float32")
        segmenter = Segmenter(load_bundle(DEFAULT_BUNDLE), "cuda", backend)
        for network in segmenter.available:
            same = agreement(segmenter, reference, network=network)
            row[network] = percentiles(segmenter, network=network) | {"same_as_float32": same}
        rows[backend] = row
        del segmenter, reference
    return rows


def replay(instants: int = 300) -> dict[str, Any]:
    """Masks per second of a bag through the core, decoding included, without ROS."""
    from rgbd_seg_ros.bag.command import load_engine
    from rgbd_seg_ros.bag.session import Options, replay_bag
    from rgbd_seg_ros.bag.writer import BagWriter
    from training.data.synthetic import render_sequence
    from training.demo import COLOUR, DEPTH, FRAME_ID, START_NS

    samples = list(render_sequence(0, 8, SIZE, 30.0))
    with tempfile.TemporaryDirectory() as folder:
        bag = Path(folder) / "bag"
        with BagWriter(bag) as writer:
            for i in range(instants):
                sample, stamp = samples[i % 8], START_NS + i * 33_000_000
                for topic, picture in ((COLOUR, sample.rgb), (DEPTH, sample.depth_mm)):
                    info = topic.replace("image_raw", "camera_info")
                    writer.image(topic, stamp, picture, stamp, FRAME_ID)
                    writer.camera_info(info, stamp, sample.intrinsics, stamp, FRAME_ID)
        engine = load_engine(None, "cuda")
        begin = time.perf_counter()
        masks = replay_bag(Options(bag=bag), lambda: engine).summary["masks"]
        return {"masks": masks, "masks_per_s": round(masks / (time.perf_counter() - begin), 1)}


def training(amp: str) -> dict[str, Any]:
    """Seconds of a step of CMX-B2 in batches of 8, see :mod:`benchmarks.training`."""
    from benchmarks.training import step_times
    from training.config import resolve
    from training.distributed import process_group
    from training.loop import Run
    from training.results import peak_memory_mb

    with tempfile.TemporaryDirectory() as out:
        recipe = "config/train/nyuv2_cmx_b4_rgbd.yaml"
        words = f"""--config {recipe} --network cmx_b2 --pretrained none --data synthetic
            --train-frames 16 --val-frames 1 --workers 8 --amp {amp} --tensorboard false
            --cache {tempfile.gettempdir()}/rgbd_seg_gpu --out {out}"""
        settings = resolve("supervised", words.split())
        with process_group("cuda") as device:
            run = Run(settings, device)
            step = step_times(run)
            return {**step, "batch": settings.run.batch, "peak_mb": peak_memory_mb(device)}


#: Name → (what measures it, seconds after which it is given up).
PARTS: dict[str, tuple[Callable[[], dict[str, Any]], int]] = {
    "hha": (hha, 40),
    "latency_cuda_graph": (functools.partial(latency, "cuda_graph"), 70),
    "latency_float32": (functools.partial(latency, "float32"), 90),
    "latency_torch": (functools.partial(latency, "torch"), 90),
    "resident": (resident, 60),
    "replay": (replay, 60),
    "training_float32": (functools.partial(training, "off"), 60),
    "training_bf16": (functools.partial(training, "bf16"), 60),
    "latency_cuda_compiled": (functools.partial(latency, "cuda_compiled"), 300),
    "tests": (tests, 240),
}


def run_part(name: str, out: Path) -> None:
    """Measure a part in a process of its own, unless its JSON is there; say how it went."""
    path, limit_s = out / f"{name}.json", PARTS[name][1]
    if path.exists():
        return
    command = [sys.executable, "-m", "benchmarks.gpu", "--out", str(out), "--part", name]
    begin = time.monotonic()
    with (out / f"{name}.log").open("w") as log:
        child = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        try:
            code: Any = child.wait(limit_s)
        except subprocess.TimeoutExpired:
            code = f"stopped after {limit_s} s"
            os.killpg(child.pid, 9)
            child.wait()
    print(f"{name}: {code or 'done'}, {time.monotonic() - begin:.0f} s", file=sys.stderr)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="where results go")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS), metavar="PART",
                        help=f"some of: {', '.join(PARTS)}")  # fmt: skip
    parser.add_argument("--part", choices=PARTS, help=argparse.SUPPRESS)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    if args.part:
        result = PARTS[args.part][0]()
        (args.out / f"{args.part}.json").write_text(json.dumps(result, indent=1) + "\n")
        return 0
    import torch

    if not torch.cuda.is_available():
        parser.error("there is no CUDA device; see `rgbd_seg doctor`")
    for name in args.parts:
        run_part(name, args.out)
    found: dict[str, Any] = {"device": torch.cuda.get_device_name(), "torch": torch.__version__}
    found["date"] = str(datetime.date.today())
    for name in PARTS:
        path = args.out / f"{name}.json"
        found[name] = json.loads(path.read_text()) if path.exists() else None
    (args.out / "gpu.json").write_text(json.dumps(found, indent=1) + "\n")
    page = tables(found, list(NETWORKS), f"python -m benchmarks.gpu --out {args.out}")
    (args.out / "gpu.md").write_text(page)
    print(page)
    return 0 if all(found[name] for name in args.parts) else 1


if __name__ == "__main__":
    sys.exit(main())
