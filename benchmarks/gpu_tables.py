# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Results of benchmarks/gpu.py as Markdown tables for docs/performance.md."""

from __future__ import annotations

from typing import Any

MISSING = "not measured"
#: Columns of the latency table, slowest first.
BACKENDS = ("float32", "torch", "cuda_graph")


def ms(row: Any, *keys: str) -> str:
    """Milliseconds of a row, or that there are none."""
    return " / ".join(f"{row[key]:.2f}" for key in keys) if row and keys[0] in row else MISSING


def tables(results: dict[str, Any], networks: list[str], command: str) -> str:
    """Three tables: latency, its stages, and the rest. They hold what was measured only."""
    latency = {b: results.get(f"latency_{b}") or {} for b in BACKENDS}
    shipped = results.get("shipped") or {}
    cases = {name: [latency[b].get(name) for b in BACKENDS] for name in networks}
    for name in ("rgbd", "rgb", "depth"):
        cases[f"shipped bundle, {name}"] = [shipped.get(b, {}).get(name) for b in BACKENDS]
    lines = [
        f"{results['device']}, PyTorch {results['torch']}, {results['date']}: `{command}`. "
        "Milliseconds from arrays to a mask at 640×480, p50 / p99:",
        "",
        f"| network | {' | '.join(BACKENDS)} |",
        "|---" * (len(BACKENDS) + 1) + "|",
        *(
            f"| {name} | {' | '.join(ms(row, 'p50', 'p99') for row in rows)} |"
            for name, rows in cases.items()
            if any(rows)
        ),
        "",
        "| network, backend | preprocess | network | postprocess | gravity estimated, p50 |"
        " same pixels as float32 | start, s |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, rows in cases.items():
        for backend, row in zip(BACKENDS, rows, strict=True):
            if row:
                times = " | ".join(ms(row, k) for k in ("preprocess", "network", "postprocess"))
                estimated = row.get("gravity_estimated", {}).get("p50", "")
                same, start = row.get("same_as_float32", MISSING), row.get("setup_s", "")
                lines.append(f"| {name}, {backend} | {times} | {estimated} | {same} | {start} |")
    lines += ["", "| what | measured |", "|---|---|"]
    lines += [f"| {what} | {value} |" for what, value in others(results).items()]
    return "\n".join(lines) + "\n"


def others(results: dict[str, Any]) -> dict[str, str]:
    """Everything but latency."""
    rows: dict[str, str] = {}
    for case, times in (results.get("hha") or {}).items():
        rows[f"{case}, ms"] = ms(times, "median_ms")
    for backend, mib in (results.get("memory") or {}).items():
        rows[f"GPU memory of CMX-B2 and two DeepLabV3+, {backend}"] = f"{mib} MiB"
    if bag := results.get("replay"):
        rows["replay of a bag, shipped bundle"] = f"{bag['masks_per_s']} masks/s"
    for name in ("training_float32", "training_bf16"):
        if step := results.get(name):
            rows[f"{name.replace('_', ' ')}, step of CMX-B2, batch 8"] = (
                f"{step['step_s'] * 1e3:.0f} ms, {step['peak_mb']} MB peak"
            )
    if tests := results.get("tests"):
        counts = f"{tests.get('passed', 0)} passed, {tests.get('failed', 0)} failed"
        rows["tests that need a GPU"] = counts
    return rows
