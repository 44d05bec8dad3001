# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Summary of a replay as lines of text for the terminal."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rgbd_seg_ros.frames import STREAMS, Stream
from rgbd_seg_ros.replay.criteria import outcome_of
from rgbd_seg_ros.replay.measures import MEASURES, show_measure
from rgbd_seg_ros.replay.report_measures import unscored_stamps

#: Measures in one line each: its label, and measure → name. Those without a value are left out.
_LINES: tuple[tuple[str, dict[str, str]], ...] = (
    (
        "gaps",
        {
            "masks_lost": "masks lost",
            "longest_gap_s": "longest time without a mask",
            "no_input_s": "without any usable stream",
        },
    ),
    ("wrong network", {"masks_by_wrong_network": "masks"}),
    (
        "same class",
        {
            "consistency_rgbd_rgb": "rgbd and rgb",
            "consistency_rgbd_depth": "rgbd and depth",
            "consistency_rgb_depth": "rgb and depth",
        },
    ),
    ("ECE", {"ece_rgbd": "rgbd", "ece_rgb_only": "rgb", "ece_depth_only": "depth"}),
    ("in points", {"fallback_gain": "gain of the fallback", "fault_cost": "cost of the faults"}),
)


def summary_lines(summary: dict[str, Any]) -> list[str]:
    """The summary, a dictionary with the keys of ``replay --json``, as lines of text."""
    unused = {key: summary[key] for key in ("superseded", "skipped", "partner_missed")}
    rows = [
        ("frames", _pairs(summary["frames_in"])),
        ("masks", f"{summary['masks']} ({_pairs(summary['networks'])})"),
        ("modes", _pairs(summary["modes"], "{} s")),
        ("not used", _pairs(unused | summary["unusable"])),
    ]
    if summary["median_depth_m"] is not None:
        rows.append(("depth", f"median {summary['median_depth_m']:.3g} m"))
    if summary["dropped_by_faults"]:
        rows.append(("faults", f"dropped {_pairs(summary['dropped_by_faults'])}"))
    for switch in summary["switches"]:
        modes = f"{switch['from']} -> {switch['to']}"
        rows.append(("switch", f"{switch['t']:.2f} s  {modes}: {switch['reason']}"))
    if summary["switch_latency_ms"]:
        latencies = ", ".join(f"{ms:.0f} ms" for ms in summary["switch_latency_ms"])
        rows.append(("switch latency", latencies))
    rows += [("fault", _response(response)) for response in summary["fault_responses"]]
    if summary["miou"] is not None:
        present, over_all = _score(summary["miou"]), _score(summary["miou_all"])
        networks = _pairs(summary["miou_by_network"])
        rows.append(("mIoU", f"{present} over classes present, {over_all} over all ({networks})"))
        rows.append(("mIoU by mode", _pairs(summary["miou_by_mode"])))
        rows += [("", _phase(phase)) for phase in summary["phases"]]
    if summary["unscored"]:
        text = f"{summary['unscored']} of {summary['masks']} masks ({unscored_stamps(summary)})"
        rows.append(("without truth", text))
    if summary["flicker"]["excess"] is not None:
        rows.append(("flicker", _flicker(summary["flicker"])))
    for label, names in _LINES:
        values = {text: MEASURES[name](summary) for name, text in names.items()}
        shown = (
            f"{text} {show_measure(name, values[text])}"
            for name, text in names.items()
            if values[text] is not None
        )
        if line := ", ".join(shown):
            rows.append((label, line))
    if summary["latency_ms"]["p50"] is not None:
        rows.append(("time per mask", _pairs(summary["latency_ms"], "{} ms")))
    if summary["speed"]["masks_per_s"] is not None:
        rows.append(("speed", _speed(summary["speed"])))
    for entry in (summary["verdict"] or {"criteria": ()})["criteria"]:
        label = "passed" if entry["passed"] else "FAILED"
        rows.append((label, f"{entry['criterion']}: {outcome_of(entry)}"))
    rows.append(("sha256", summary["determinism_sha256"]))
    return [f"{label:14}  {text}" for label, text in rows]


def add_unused_streams(summary: dict[str, Any], unread: Iterable[Stream]) -> dict[Stream, str]:
    """Add ``unused_streams``: what the bag has of color and depth, and no frame of it was usable.

    Args:
        summary: the other keys of the summary.
        unread: streams without a topic, because none of those in the bag can be read.

    Returns:
        One line for each stream without a usable frame, unless a fault was simulated on it.
    """
    lines: dict[Stream, str] = {}
    with_faults = {fault["stream"] for fault in summary["faults"]}
    for stream in STREAMS[:2]:
        topic, counts = summary["topics"].get(stream), summary["accounting"][stream]
        if topic is None or stream in with_faults or summary["interrupted"]:
            continue
        if not counts["offered"]:
            lines[stream] = f"{topic} has no messages"
        elif counts["unusable"] == counts["offered"]:
            details = summary["unusable_details"].get(stream, {})
            why = "; ".join(f"{reason}: {text}" for reason, text in details.items())
            lines[stream] = f"none of the {counts['offered']} frames of {topic} was usable ({why})"
    summary["unused_streams"] = sorted({*lines, *unread})
    return lines


def _response(response: dict[str, Any]) -> str:
    names = {
        "detected_ms": "detected",
        "degraded_ms": "first mask without",
        "recovered_ms": "used",
    }
    times = {text: response[key] for key, text in names.items()}
    found = ", ".join(
        f"{text} after {ms:.0f} ms{' from its end' if text == 'used' else ''}"
        for text, ms in times.items()
        if ms is not None
    )
    where = f"{response['stream']} {response['fault']} from {response['from']:g} s"
    missing = "not noticed" if response["frames"] else "it changed no frame"
    if response["frames"] and response["detected_ms"] is None and response["lost_before"]:
        missing = "not detected, because the stream was already lost"
        found = f"{missing}, {found}" if found else ""
    return f"{where}: {found or missing}"


def _speed(speed: dict[str, Any]) -> str:
    text = f"{speed['masks_per_s']:g} masks per second"
    if speed["network_share"] is None:
        return text
    return f"{text}, {speed['network_share'] * 100:.0f} % of the speed of the networks alone"


def _flicker(flicker: dict[str, Any]) -> str:
    return (
        f"{flicker['at_switches'] * 100:.1f} % of the pixels change at a switch, "
        f"{flicker['usual'] * 100:.1f} % otherwise"
    )


def _phase(phase: dict[str, Any]) -> str:
    text = f"{phase['from']:g}-{phase['to']:g} s {phase['name']}: {phase['masks']} masks, "
    text += _score(phase["miou"])
    if phase["miou_without_fallback"] is None:
        return text
    with_fallback, without = phase["miou_fallback"], phase["miou_without_fallback"]
    return f"{text}; without one stream {_score(with_fallback)}, fused {_score(without)}"


def _pairs(values: dict[str, Any], form: str = "{}") -> str:
    return ", ".join(f"{name} {form.format(v)}" for name, v in values.items() if v) or "none"


def _score(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
