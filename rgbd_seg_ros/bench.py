# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""`rgbd_seg bench`: latency of every backend and network, interleaved, beside the machine's limit.

The backends take turns mask by mask, so that a change of the machine's load reaches all of them
and the ratios between them hold.
"""

from __future__ import annotations

import argparse
import copy
import dataclasses
import json
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rgbd_seg_ros.names import shown
from rgbd_seg_ros.progress import say
from rgbd_seg_ros.text_table import text_table

if TYPE_CHECKING:
    import torch

    from rgbd_seg_ros.bundle import Bundle
    from rgbd_seg_ros.engine import Segmenter

#: Masks of each network and backend that are not timed.
WARM_UP = 3
STAGES = ("preprocess", "network", "postprocess")
#: Size of the images if --size is not given: (height, width).
IMAGE_SIZE = (480, 640)
#: Name of eager PyTorch in float32, the baseline of every run.
FLOAT32 = "float32"
#: The same, with the head of SegFormer and CMX as it is published.
PUBLISHED = "published"


class BenchError(ValueError):
    """Options that cannot be used; the message names the value and the remedy."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `rgbd_seg bench`."""
    add = parser.add_argument
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--bundle", type=Path, metavar="DIR", help="networks (default: shipped)")
    what.add_argument(
        "--network", nargs="+", metavar="NAME", help="networks with random weights, as cmx_b2"
    )
    add("--size", metavar="HxW", default="480x640", help="size of the images and, with --network, "
        "of the networks' inputs (default %(default)s)")  # fmt: skip
    add("--device", default="auto", help="auto, cpu, cuda or cuda:N (default %(default)s)")
    add("--backend", nargs="+", metavar="NAME", help="backends (default: all that can run here)")
    add("--masks", type=int, default=30, metavar="N", help="timed masks of each (default 30)")
    add("--threads", type=int, default=0, metavar="N", help="threads of the CPU (default: "
        "PyTorch's choice)")  # fmt: skip
    add("--json", action="store_true", help="print the result as JSON on stdout")


def run(args: argparse.Namespace) -> int:
    """Measure and print; 1 if a backend could not be measured."""
    if args.masks < 2:
        raise BenchError(f"--masks must be at least 2, got {args.masks}")
    cores = len(os.sched_getaffinity(0))
    if not 0 <= args.threads <= cores:
        raise BenchError(f"--threads must be 1 to {cores}, the cores of this machine, or 0, got "
                         f"{args.threads}")  # fmt: skip
    size = _size(args.size)
    import torch

    from rgbd_seg_ros.bundle import load_bundle
    from rgbd_seg_ros.engine import backends

    if args.threads:
        torch.set_num_threads(args.threads)
    device = backends.resolve_device(args.device)
    names = _backends(args.backend, device)
    warnings: list[str] = []
    peaks = measured_peaks(device)
    runs: list[dict[str, Any]] = []
    if args.network:
        chosen = [(n, _random_bundle(n, size)) for n in dict.fromkeys(args.network)]
    else:
        chosen = [("", load_bundle(*([args.bundle] if args.bundle else [])))]
    for network, bundle in chosen:
        runs += _measure(network, bundle, names, device, size, args.masks, peaks, warnings)
    document = {
        "runs": runs,
        "peaks": peaks,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "load_average": round(os.getloadavg()[0], 2),
        "warnings": warnings,
    }
    print(json.dumps(document) if args.json else table(document))
    return 1 if warnings else 0


def _measure(
    label: str, bundle: Bundle, names: Sequence[str], device: torch.device, size: tuple[int, int],
    masks: int, peaks: dict[str, float], warnings: list[str],
) -> list[dict[str, Any]]:  # fmt: skip
    """All backends with all networks of a bundle, taking turns."""
    import numpy as np

    from rgbd_seg_ros.engine import Segmenter
    from rgbd_seg_ros.engine.guard import FRAMES, render_boxes

    segmenters: dict[str, Segmenter] = {}
    memory: dict[str, float] = {}
    published = _published_form(bundle)
    for name in [PUBLISHED, *names] if published.networks else names:
        say(f"loading {label or 'the bundle'} with backend {name} ...")
        before = _memory_mb(device)
        try:
            if name == PUBLISHED:
                segmenters[name] = Segmenter(published, str(device), FLOAT32)
            else:
                segmenters[name] = Segmenter(bundle, str(device), name, compare=not label)
        except (ValueError, RuntimeError) as error:
            warnings.append(f"backend {name} of {label or 'the bundle'} is not measured: {error}")
            say(warnings[-1])
        memory[name] = _memory_mb(device) - before
    frames = [render_boxes(seed, size) for seed in range(FRAMES)]
    runs = []
    for network in bundle.networks:
        rivals = {n: s for n, s in segmenters.items() if network in s.available}
        times: dict[str, list[dict[str, float]]] = {name: [] for name in rivals}
        switched: dict[str, list[float]] = {name: [] for name in rivals}
        same: dict[str, list[float]] = {name: [] for name in rivals}
        for i in range(WARM_UP + masks):
            labels = {}
            for name, segmenter in rivals.items():
                timed, labels[name] = _timed(segmenter, frames[i % FRAMES], network)
                if i >= WARM_UP:
                    times[name].append(timed)
            for name in labels:
                same[name].append(float(np.mean(labels[name] == labels[FLOAT32])))
        for i in range(min(masks, 10)):
            for name, segmenter in rivals.items():
                others = [n for n in segmenter.available if n != network]
                if not others:
                    continue
                _timed(segmenter, frames[i % FRAMES], others[i % len(others)])
                switched[name].append(_timed(segmenter, frames[i % FRAMES], network)[0]["end"])
        floor = floor_ms(bundle.networks[network], peaks)
        for name in rivals:
            row = summarize(times[name], switched[name])
            runs.append({
                "network": label or network,
                "backend": name,
                "precision": precision_of(name, device),
                "device": str(device),
                "size": list(size),
                "input_size": list(bundle.networks[network].record.preprocess.size),
                **row,
                "same_as_float32": _round(np.mean(same[name])),
                "memory_mb": round(memory[name], 1),
                "floor_ms": floor,
            })  # fmt: skip
    return runs


def _published_form(bundle: Bundle) -> Bundle:
    """The networks with an all-MLP head, which computes as the papers publish it."""
    from rgbd_seg_ros.models.segformer import AllMLPHead

    networks = {}
    for name, network in bundle.networks.items():
        module = copy.deepcopy(network.module)
        for part in module.modules():
            if isinstance(part, AllMLPHead):
                part.forward = part.published  # type: ignore[method-assign]
                networks[name] = dataclasses.replace(network, module=module)
    return dataclasses.replace(bundle, networks=networks)


def _timed(segmenter: Segmenter, frame: Any, network: Any) -> tuple[dict[str, float], Any]:
    """Milliseconds of each stage and in all (``end``), and the mask."""
    rgb, depth, intrinsics, gravity = frame
    started = time.perf_counter()
    mask = segmenter(rgb, depth, intrinsics, gravity, network=network)
    return {**mask.timings_ms, "end": (time.perf_counter() - started) * 1e3}, mask.labels


def summarize(times: Sequence[dict[str, float]], switched: Sequence[float]) -> dict[str, Any]:
    """Percentiles of one network with one backend.

    Args:
        times: of each mask, milliseconds per stage and from arrays to the mask (``end``).
        switched: milliseconds of first masks after another network.
    """
    import numpy as np

    end = [t["end"] for t in times]
    row: dict[str, Any] = {
        "end_to_end_ms": {f"p{q}": _round(np.percentile(end, q)) for q in (50, 95, 99)},
        "stages_ms": {s: _round(np.median([t[s] for t in times])) for s in STAGES},
        "fps": _round(1e3 / np.mean(end)),
        "first_after_switch_ms": _round(np.median(switched)) if switched else None,
    }
    return row


def measured_peaks(device: torch.device) -> dict[str, float]:
    """GFLOP/s of a float32 and a bfloat16 matrix product, and GB/s of a copy, at their fastest."""
    import torch

    from rgbd_seg_ros.engine.backends import synchronize

    def fastest(work: Callable[[], Any]) -> float:
        best = float("inf")
        for _ in range(6):
            started = time.perf_counter()
            work()
            synchronize(device)
            best = min(best, time.perf_counter() - started)
        return best

    n = 8192 if device.type == "cuda" else 1536
    peaks = {}
    with torch.inference_mode():
        for name, dtype in (("f32", torch.float32), ("bf16", torch.bfloat16)):
            a = torch.ones(n, n, dtype=dtype, device=device)
            peaks[f"gflops_{name}"] = _round(2 * n**3 / fastest(lambda a=a: a @ a) / 1e9)  # type: ignore[misc]
        source = torch.ones(2**26, device=device)  # 256 MiB, more than the caches
        target = torch.empty_like(source)
        copied = 2 * source.numel() * 4
        peaks["gb_per_s"] = _round(copied / fastest(lambda: target.copy_(source)) / 1e9)
    return peaks


def floor_ms(network: Any, peaks: dict[str, float]) -> dict[str, float]:
    """The network's operations over the measured peaks, and its weights over the bandwidth.

    An implementation with these operations cannot be faster than the larger one; Winograd's
    convolutions have fewer. Operations are those of matrix products and convolutions.
    """
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    record = network.record
    inputs = [torch.zeros(1, c, *record.preprocess.size) for c in record.spec.in_channels]
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network.module(*inputs)
    flops = counter.get_total_flops()
    weights = sum(p.numel() for p in network.module.parameters()) * 4
    return {
        "f32": _round(flops / peaks["gflops_f32"] / 1e6),
        "bf16": _round(flops / peaks["gflops_bf16"] / 1e6),
        "weights_f32": _round(weights / peaks["gb_per_s"] / 1e6),
    }


def table(document: dict[str, Any]) -> str:
    """The result for a terminal."""
    rows = [["network", "backend", "p50", "p95", "p99", *STAGES, "after switch", "fps", "MB",
             "floor", "faster", "same"]]  # fmt: skip
    runs = document["runs"]
    base = {r["network"]: r["end_to_end_ms"]["p50"] for r in runs if r["backend"] == FLOAT32}
    for r in runs:
        p, switch = r["end_to_end_ms"], r["first_after_switch_ms"]
        times = [p["p50"], p["p95"], p["p99"], *(r["stages_ms"][s] for s in STAGES)]
        floor = r["floor_ms"]["f32" if r["precision"] == "f32" else "bf16"]
        ratio = f"{base[r['network']] / p['p50']:.2f} x" if r["network"] in base else ""
        rows.append([
            r["network"], r["backend"], *(f"{t:.1f}" for t in times),
            "" if switch is None else f"{switch:.1f}", f"{r['fps']:.1f}", f"{r['memory_mb']:.0f}",
            f"{floor:.1f}", ratio, f"{r['same_as_float32']:.2%}",
        ])  # fmt: skip
    peaks = document["peaks"]
    return (
        f"{text_table(rows)}\n\nMilliseconds; stages are medians; 'faster' is against {FLOAT32}.\n"
        f"Measured peaks: {peaks['gflops_f32']:.0f} GFLOP/s in float32, "
        f"{peaks['gflops_bf16']:.0f} in bfloat16, {peaks['gb_per_s']:.1f} GB/s; "
        f"{document['threads']} threads, load average {document['load_average']}."
    )


def precision_of(backend: str, device: torch.device) -> str:
    """``f32``, ``bf16`` or ``f16``."""
    if backend == "openvino_bf16":
        return "bf16"
    half = backend in ("cuda_graph", "torch", "compile") and device.type == "cuda"
    return "f16" if half else "f32"


def _backends(given: Sequence[str] | None, device: torch.device) -> list[str]:
    """The backends to measure; float32 is the first, because the others are compared with it.

    Without a choice, all that can run here, except for ``compile``, which takes minutes to build.
    """
    from rgbd_seg_ros.engine.backends import BACKENDS, resolve_backend, why_not

    if given:
        names = [name for word in given for name in resolve_backend(word, device)]
    else:
        names = [name for name in BACKENDS if why_not(name, device) is None and name != "compile"]
    return list(dict.fromkeys([FLOAT32, *names]))


def _random_bundle(name: str, size: tuple[int, int]) -> Bundle:
    """One named network with random weights, for inputs of a size; CMX reads HHA."""
    import torch

    from rgbd_seg_ros.bundle import Bundle, NetworkRecord, TrainedNetwork
    from rgbd_seg_ros.depth import DepthEncoding
    from rgbd_seg_ros.labels import INDOOR16
    from rgbd_seg_ros.models import build, network_spec
    from rgbd_seg_ros.preprocess import Preprocess

    encoding = DepthEncoding.for_hha() if name.startswith("cmx") else DepthEncoding()
    try:
        spec = network_spec(name, num_classes=len(INDOOR16), depth_channels=encoding.channels)
    except ValueError as error:
        raise BenchError(str(error)) from error
    torch.manual_seed(0)
    record = NetworkRecord(spec, Preprocess(size, depth=encoding), INDOOR16)
    network = TrainedNetwork(build(spec).eval(), record)
    return Bundle(INDOOR16, {spec.modality: network})  # type: ignore[dict-item]


def _size(text: str) -> tuple[int, int]:
    height, _, width = text.lower().partition("x")
    if height.isdecimal() and width.isdecimal() and len(text) < 12:
        size = int(height), int(width)
        if min(size) >= 32 and max(size) <= 8192:
            return size
    raise BenchError(
        f"--size must be HEIGHTxWIDTH of 32 to 8192 each, such as 480x640, got {shown(text)}"
    )


def _memory_mb(device: torch.device) -> float:
    """GPU memory of tensors; on a CPU, what the process holds in main memory."""
    from rgbd_seg_ros.engine.backends import memory_mb

    found = memory_mb(device)
    if found is None:  # see proc_pid_statm(5)
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        found = pages * os.sysconf("SC_PAGE_SIZE") / 2**20
    return found


def _round(value: Any) -> float:
    return round(float(value), 3)
