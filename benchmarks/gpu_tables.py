# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The figures of benchmarks/gpu.py as Markdown, to be pasted into docs/performance.md."""

from __future__ import annotations

from typing import Any

NEVER = "never measured"
#: What the latency columns show, the slowest first.
BACKENDS = ("float32", "torch", "cuda_graph", "cuda_compiled")


def ms(row: Any, *keys: str) -> str:
    """Milliseconds of a row, or that there are none."""
    return " / ".join(f"{row[key]:.2f}" for key in keys) if row and keys[0] in row else NEVER


def tables(found: dict[str, Any], networks: list[str], command: str) -> str:
    """Three tables: latency, its stages, and the rest."""
    lines = [
        f"{found['device']}, PyTorch {found['torch']}, {found['date']}: `{command}`. Milliseconds,"
        " p50 / p99, from arrays to a mask at 640×480:",
        "",
        f"| network | {' | '.join(BACKENDS)} |",
        "|---" * (len(BACKENDS) + 1) + "|",
    ]
    latency = {b: found.get(f"latency_{b}") or {} for b in BACKENDS}
    for network in networks:
        cells = [ms(latency[b].get(network), "p50", "p99") for b in BACKENDS]
        lines.append(f"| {network} | {' | '.join(cells)} |")
    lines += [
        "",
        "| network, backend | copy in | device | copy out | gravity estimated, p50 |"
        " same pixels as float32 | start, s |",
        "|---|---|---|---|---|---|---|",
    ]
    for backend in BACKENDS[2:]:
        for network in networks:
            row = latency[backend].get(network) or {}
            stages = " | ".join(ms(row, k) for k in ("preprocess", "network", "postprocess"))
            estimated = ms(row["gravity_estimated"], "p50") if "gravity_estimated" in row else ""
            same, start = row.get("same_as_float32", NEVER), row.get("setup_s", NEVER)
            cells = f"{stages} | {estimated} | {same} | {start}"
            lines.append(f"| {network}, {backend} | {cells} |")
    lines += ["", "| what | measured |", "|---|---|"]
    lines += [f"| {what} | {value} |" for what, value in others(found).items()]
    return "\n".join(lines) + "\n"


def others(found: dict[str, Any]) -> dict[str, str]:
    """Everything but the latency tables."""
    rows: dict[str, str] = {}
    for case, span in (found.get("hha") or {"depth encodings": None}).items():
        rows[f"{case}, in a graph, ms"] = ms(span, "median_ms")
    for backend, row in (found.get("resident") or {"": {}}).items():
        rows[f"CMX-B2 and two DeepLabV3+ resident, {backend}"] = (
            f"{row['reserved_mib']} MiB" if row else NEVER
        )
        for network in ("rgbd", "rgb", "depth") if row else ():
            same = row[network]["same_as_float32"]
            text = f"{ms(row[network], 'p50', 'p99')} ms, {100 * same:.2f} % of pixels as float32"
            rows[f"shipped bundle, {network}, {backend}"] = text
    bag = found.get("replay")
    rows["replay of a bag, shipped bundle"] = f"{bag['masks_per_s']} masks/s" if bag else NEVER
    for name in ("training_float32", "training_bf16"):
        step = found.get(name)
        rows[f"step of {name.replace('_', ' ')}, CMX-B2, batch 8"] = (
            f"{step['step_s'] * 1e3:.0f} ms, {step['peak_mb']} MB at the peak" if step else NEVER
        )
    tests = found.get("tests")
    rows["tests that need a GPU"] = (
        f"{tests.get('passed', 0)} passed, {tests.get('failed', 0)} failed" if tests else NEVER
    )
    return rows
