# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Summary of a replay as lines of text for the terminal."""

from __future__ import annotations

from typing import Any

from rgbd_seg_ros.replay.criteria import outcome_of


def summary_lines(summary: dict[str, Any]) -> list[str]:
    """The summary, a dictionary with the keys of ``replay --json``, as lines of text."""
    unused = {key: summary[key] for key in ("superseded", "skipped", "partner_missed")}
    rows = [
        ("frames", _pairs(summary["frames_in"])),
        ("masks", f"{summary['masks']} ({_pairs(summary['networks'])})"),
        ("modes", _pairs(summary["modes"], "{} s")),
        ("not used", _pairs(unused | summary["unusable"])),
    ]
    if summary["dropped_by_faults"]:
        rows.append(("faults", f"dropped {_pairs(summary['dropped_by_faults'])}"))
    for switch in summary["switches"]:
        modes = f"{switch['from']} -> {switch['to']}"
        rows.append(("switch", f"{switch['t']:.2f} s  {modes}: {switch['reason']}"))
    if summary["switch_latency_ms"]:
        latencies = ", ".join(f"{ms:.0f} ms" for ms in summary["switch_latency_ms"])
        rows.append(("switch latency", latencies))
    if summary["miou"] is not None:
        present, over_all = _score(summary["miou"]), _score(summary["miou_all"])
        networks = _pairs(summary["miou_by_network"])
        rows.append(("mIoU", f"{present} over classes present, {over_all} over all ({networks})"))
        rows += [("", _phase(phase)) for phase in summary["phases"]]
    if summary["latency_ms"]["p50"] is not None:
        rows.append(("time per mask", _pairs(summary["latency_ms"], "{} ms")))
    for entry in (summary["verdict"] or {"criteria": ()})["criteria"]:
        label = "passed" if entry["passed"] else "FAILED"
        rows.append((label, f"{entry['criterion']}: {outcome_of(entry)}"))
    rows.append(("sha256", summary["determinism_sha256"]))
    return [f"{label:14}  {text}" for label, text in rows]


def _phase(phase: dict[str, Any]) -> str:
    text = f"{phase['from']:g}-{phase['to']:g} s {phase['name']}: {phase['masks']} masks, "
    if phase["miou_without_fallback"] is None:
        return text + _score(phase["miou"])
    with_fallback, without = phase["miou_fallback"], phase["miou_without_fallback"]
    return text + f"{_score(with_fallback)}, without fallback {_score(without)}"


def _pairs(values: dict[str, Any], form: str = "{}") -> str:
    return ", ".join(f"{name} {form.format(v)}" for name, v in values.items() if v) or "none"


def _score(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
