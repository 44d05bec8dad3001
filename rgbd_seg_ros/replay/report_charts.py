# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Geometry of the report's charts: timeline, IoU over time, histogram, confusion matrix."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

Summary = dict[str, Any]

#: Colors that color-blind readers can tell apart (after Okabe and Ito); text on them is dark.
MODE_COLORS = {
    "STARTING": "#b8bec8",
    "RGBD": "#43b58c",
    "RGB_ONLY": "#6db3e8",
    "DEPTH_ONLY": "#eea13c",
    "NO_INPUT": "#e0705a",
}
NETWORK_COLORS = {"rgbd": "#43b58c", "rgb": "#6db3e8", "depth": "#eea13c"}
NETWORK_TITLES = {"rgbd": "fused", "rgb": "color only", "depth": "depth only"}
STREAM_TITLES = {"rgb": "rgb", "depth": "depth", "depth_raw": "raw depth", "truth": "ground truth"}
FAULT_COLOR = "#c9cfd8"
HEALTH_COLORS = {"ok": "#43b58c", "waiting": "#b8bec8"}
LOST_COLOR = "#e0705a"

#: Timeline: widths of the row names and of the whole chart, height of a row, in SVG units.
LEFT, WIDTH, ROW_HEIGHT = 92, 1000, 30
#: Height of a curve or histogram, in SVG units.
CHART_HEIGHT = 150
#: Width of a character in a block of the timeline.
CHARACTER = 7.5
TICK_STEPS_S = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1800, 3600)
#: Largest confusion matrix that is shown, in classes.
MAX_CLASSES = 24

#: From s, to s, text, color.
TimeBlock = tuple[float, float, str, str]


def timeline(summary: Summary) -> dict[str, Any]:
    """The timeline of faults, health, modes and networks."""
    duration_s = summary["duration_s"] or 1e-9
    scale = (WIDTH - LEFT) / duration_s
    modes = [(a, b, mode, MODE_COLORS[mode]) for a, b, mode in summary["timeline"]["modes"]]
    health = [
        (
            f"{STREAM_TITLES[stream]} health",
            [(a, b, reason, HEALTH_COLORS.get(reason, LOST_COLOR)) for a, b, reason in spans],
        )
        for stream, spans in summary["timeline"].get("health", {}).items()
    ]
    rows = [
        *_fault_spans(summary, duration_s),
        *health,
        ("mode", modes),
        ("network", _network_spans(summary)),
    ]
    return {
        "width": WIDTH,
        "height": len(rows) * ROW_HEIGHT,
        "row_height": ROW_HEIGHT,
        "ticks": [{"second": s, "x": round(LEFT + s * scale, 1)} for s in _ticks(duration_s)],
        "rows": [
            {"name": name, "y": index * ROW_HEIGHT, "blocks": list(_blocks(spans, scale))}
            for index, (name, spans) in enumerate(rows)
        ],
    }


def iou_curve(summary: Summary) -> dict[str, Any] | None:
    """mIoU over time, on the time axis of the timeline; None if fewer than two parts have one."""
    points = [(t, miou) for t, miou in summary["miou_over_time"] if miou is not None]
    if len(points) < 2:
        return None
    duration_s = summary["duration_s"] or 1e-9
    scale = (WIDTH - LEFT) / duration_s
    placed = [(LEFT + min(t, duration_s) * scale, CHART_HEIGHT * (1 - miou)) for t, miou in points]
    faults = [
        (max(p["from"], 0.0), min(p["to"], duration_s)) for p in summary["phases"] if p["streams"]
    ]
    return {
        "width": WIDTH,
        "height": CHART_HEIGHT,
        "left": LEFT,
        "ticks": [{"second": s, "x": round(LEFT + s * scale, 1)} for s in _ticks(duration_s)],
        "levels": [{"share": s / 4, "y": CHART_HEIGHT * (1 - s / 4)} for s in range(5)],
        "faults": [
            {"x": round(LEFT + a * scale, 1), "width": round((b - a) * scale, 1)}
            for a, b in faults
        ],
        "lines": _lines(points, placed),
        "points": [
            {"x": round(x, 1), "y": round(y, 1), "text": f"{t:.1f} s: {miou * 100:.1f} %"}
            for (x, y), (t, miou) in zip(placed, points, strict=True)
        ],
    }


def _lines(
    points: Sequence[tuple[float, float]], placed: Sequence[tuple[float, float]]
) -> list[str]:
    """The curve as polylines, interrupted where parts of the recording have no score."""
    step_s = min(b - a for (a, _), (b, _) in itertools.pairwise(points))
    lines = [[placed[0]]]
    for (before, after), place in zip(itertools.pairwise(points), placed[1:], strict=True):
        if after[0] - before[0] > 1.5 * step_s:
            lines.append([])
        lines[-1].append(place)
    return [" ".join(f"{x:.1f},{y:.1f}" for x, y in line) for line in lines if len(line) > 1]


def latency_bars(summary: Summary) -> dict[str, Any] | None:
    """The histogram of the time per mask; None without masks."""
    histogram = summary["latency_histogram"]
    if histogram is None:
        return None
    counts, edges = histogram["counts"], histogram["edges_ms"]
    step, highest = (WIDTH - LEFT) / len(counts), max(counts)
    return {
        "width": WIDTH,
        "height": CHART_HEIGHT,
        "left": LEFT,
        "highest": highest,
        "bars": [
            {
                "x": round(LEFT + i * step + 1, 1),
                "y": round(CHART_HEIGHT * (1 - count / highest), 1),
                "width": round(step - 2, 1),
                "height": round(CHART_HEIGHT * count / highest, 1),
                "text": f"{edges[i]:.1f} to {edges[i + 1]:.1f} ms: {count} masks",
            }
            for i, count in enumerate(counts)
        ],
        "labels": [
            {"x": round(LEFT + i * step, 1), "text": f"{edges[i]:.4g} ms"}
            for i in range(0, len(edges), max(1, len(counts) // 6))
        ],
    }


def confusion_table(summary: Summary) -> dict[str, Any] | None:
    """Shares of each true class by class of the mask; the classes that occur, most common first.

    None without ground truth.
    """
    counts = summary["confusion"]
    if counts is None:
        return None
    names = [*summary["classes"], "unlabeled"]
    totals = [sum(row) for row in counts]
    present = sorted((i for i, n in enumerate(totals) if n), key=lambda i: -totals[i])
    shown = present[:MAX_CLASSES]
    columns = [i for i in [*shown, len(counts)] if i < len(counts) or any(r[-1] for r in counts)]
    return {
        "columns": [names[i] for i in columns],
        "rows": [
            {
                "name": names[i],
                "share": totals[i] / sum(totals),
                "cells": [{"share": counts[i][j] / totals[i], "right": i == j} for j in columns],
            }
            for i in shown
        ],
        "left_out": len(present) - len(shown),
    }


def _blocks(spans: Iterable[TimeBlock], scale: float) -> Iterator[dict[str, Any]]:
    drawn_to = 0.0
    for from_s, to_s, text, color in spans:
        x, width = LEFT + from_s * scale, max((to_s - from_s) * scale, 1.5)
        if x + width < drawn_to + 0.5:
            continue  # hidden by the previous block; keeps the chart of a flapping stream small
        drawn_to = x + width
        yield {
            "x": round(x, 1),
            "width": round(width, 1),
            "middle": round(x + width / 2, 1),
            "text": text,
            "span": f"{from_s:.2f} s to {to_s:.2f} s",
            "color": color,
            "has_room": width > CHARACTER * len(text),
        }


def _fault_spans(summary: Summary, duration_s: float) -> list[tuple[str, list[TimeBlock]]]:
    """One row of the timeline for each stream with faults."""
    faults = summary["faults"]
    return [
        (
            f"{STREAM_TITLES[stream]} fault",
            [
                (f["from"], min(f["to"] or duration_s, duration_s), f["fault"], FAULT_COLOR)
                for f in faults
                if f["stream"] == stream and f["from"] < duration_s
            ],
        )
        for stream in dict.fromkeys(f["stream"] for f in faults)
    ]


def _network_spans(summary: Summary) -> list[TimeBlock]:
    """Spans of masks by one network, each extended to the next span unless masks are missing."""
    runs: Sequence[Any] = summary["timeline"]["networks"]
    step_s = summary["duration_s"] / max(summary["masks"], 1)
    spans = []
    for i, (from_s, to_s, name) in enumerate(runs):
        next_s = runs[i + 1][0] if i + 1 < len(runs) else summary["duration_s"]
        end_s = max(min(to_s + step_s, next_s), to_s)
        spans.append((from_s, end_s, NETWORK_TITLES[name], NETWORK_COLORS[name]))
    return spans


def _ticks(duration_s: float) -> list[float]:
    """Round tick times in seconds, about twelve at most."""
    step = next((s for s in TICK_STEPS_S if duration_s / s <= 12), TICK_STEPS_S[-1])
    return [round(i * step, 3) for i in range(int(duration_s / step + 1e-9) + 1)]
