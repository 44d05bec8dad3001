# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Training benchmark: samples per second of the loader and of the training step, peak memory.

    python -m benchmarks.training --config config/train/synthetic_rgb.yaml [--key value ...]

The loader is timed alone with the recipe's workers, and the step alone on preloaded batches. At a
ratio of 2, the loader is twice as fast as the step. Other load on the machine only adds time, so
the benchmark prints the minimum step time beside the median, and the CPU time of all threads,
which other load hardly affects.
"""

from __future__ import annotations

import dataclasses
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from training.command import run_command
from training.options import UsageError, read_yaml
from training.settings import Settings, resolve

if TYPE_CHECKING:
    from training.loop import Run

#: Training samples per epoch of the loader.
SAMPLES = 96
WARM_UP_STEPS = 2
STEPS = 10


def loader_rate(run: Run, epochs: int = 3) -> dict[str, float]:
    """Samples per second of the loader alone, and CPU time per sample.

    The first epoch, which starts the workers, is not timed. The CPU time is measured in this
    process, without workers.
    """
    spans = []
    for epoch in range(epochs + 1):
        run.sampler.epoch, run.sampler.start = epoch, 0
        begin = time.perf_counter()
        count = sum(len(raw["rgb"]) for raw in run.loader)
        spans.append((time.perf_counter() - begin) / count)
    data: Any = run.loader.dataset
    begin = time.process_time()
    for index in range(SAMPLES):
        data[(0, index)]
    cpu_s = (time.process_time() - begin) / SAMPLES
    return {"samples_per_s": 1 / statistics.median(spans[1:]), "cpu_ms_per_sample": 1e3 * cpu_s}


def step_times(run: Run) -> dict[str, float]:
    """Seconds per optimizer step, including normalization on the device."""
    import torch

    run.method.train()
    run.sampler.epoch, run.sampler.start = 0, 0
    raws = []
    for raw in run.loader:
        raws.append(raw)
        if len(raws) == run.plan.accumulate:
            break
    shares = run.plan.shares(0, 0)
    spans, work = [], []
    for _ in range(WARM_UP_STEPS + STEPS):
        begin, busy = time.perf_counter(), time.process_time()
        run.optimizer_step(raws, shares)
        if run.device.type == "cuda":
            torch.cuda.synchronize()
        spans.append(time.perf_counter() - begin)
        work.append(time.process_time() - busy)
    timed = spans[WARM_UP_STEPS:]
    return {
        "step_s": statistics.median(timed),
        "least_step_s": min(timed),
        "cpu_s": statistics.median(work[WARM_UP_STEPS:]),
    }


def measure(settings: Settings) -> dict[str, Any]:
    """Benchmark one recipe."""
    from training.distributed import process_group
    from training.loop import Run
    from training.results import count, peak_memory_mb

    with process_group(settings.run.device) as device:
        run = Run(settings, device)
        step = step_times(run)
        loader = loader_rate(run)
        batch = settings.run.batch
        workers = run.loader.num_workers
        return {
            "device": str(device),
            "method": settings.method,
            "parameters": {name: count(net) for name, net in run.method.students.items()},
            "size": list(settings.run.size),
            "batch": batch,
            "amp": settings.run.amp,
            "workers": workers,
            **loader,
            **step,
            "step_samples_per_s": batch / step["step_s"],
            "loader_over_step": loader["samples_per_s"] * step["step_s"] / batch,
            "peak_memory_mb": peak_memory_mb(device),
        }


def main(argv: list[str] | None = None) -> int:
    """Parse, measure, print; return the exit code."""
    argv = sys.argv[1:] if argv is None else list(argv)
    as_json = "--json" in argv
    argv = [word for word in argv if word != "--json"]
    if "-h" in argv or "--help" in argv or "--config" not in argv[:-1]:
        print(__doc__)
        return 0 if "-h" in argv or "--help" in argv else 2
    recipe = read_yaml(Path(argv[argv.index("--config") + 1]))
    if "method" not in recipe:
        raise UsageError("the recipe must name its method")
    settings = resolve(recipe["method"], argv, "python -m benchmarks.training")
    with tempfile.TemporaryDirectory() as out:
        few = dataclasses.replace(
            settings.run, out=out, train_frames=SAMPLES, val_frames=1, tensorboard=False
        )
        report = measure(dataclasses.replace(settings, run=few))
    if as_json:
        print(json.dumps(report))
    sizes = ", ".join(f"{n} {p / 1e6:.2f} M" for n, p in report["parameters"].items())
    print(
        f"{report['method']} ({sizes}) at {report['size'][0]}×{report['size'][1]}, batch "
        f"{report['batch']}, amp {report['amp']}, {report['device']}\n"
        f"step    {report['step_s']:.3f} s (minimum {report['least_step_s']:.3f}; CPU time "
        f"{report['cpu_s']:.3f} s), {report['step_samples_per_s']:.1f} samples/s\n"
        f"loader  {report['samples_per_s']:.1f} samples/s with {report['workers']} workers "
        f"({report['cpu_ms_per_sample']:.1f} ms of CPU per sample), "
        f"{report['loader_over_step']:.1f} × the step\n"
        f"memory  {report['peak_memory_mb']} MB peak",
        file=sys.stderr,
    )
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main))
