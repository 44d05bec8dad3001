# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Report of replays: timeline, scores, snapshots and frame counts in one HTML file."""

from __future__ import annotations

import base64
import statistics
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from rgbd_seg_ros.image_io import encode_image
from rgbd_seg_ros.labels import LabelSet
from rgbd_seg_ros.replay.snapshots import Snapshot
from rgbd_seg_ros.replay.templates import open_template

if TYPE_CHECKING:
    import jinja2

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
FAULT_COLOR = "#c9cfd8"
NETWORK_TITLES = {"rgbd": "fused", "rgb": "color only", "depth": "depth only"}
STREAM_TITLES = {"rgb": "rgb", "depth": "depth", "depth_raw": "raw depth", "truth": "ground truth"}
#: Captions of a snapshot's images. The first three are always shown.
IMAGE_TITLES = {
    "color": "color",
    "depth": "depth",
    "mask": "mask",
    "truth": "ground truth",
    "without_fallback": "fused, blank image",
}
#: Maximum number of mode switches shown; summary.json contains all of them.
MAX_SWITCHES = 40

#: Timeline: widths of the row names and of the whole chart, height of a row, in SVG units.
LEFT, WIDTH, ROW_HEIGHT = 92, 1000, 30
#: Width of a character in a block of the timeline.
CHARACTER = 7.5
TICK_STEPS_S = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1800, 3600)

#: From s, to s, text, color.
Span = tuple[float, float, str, str]


def render(runs: Sequence[tuple[str, Summary, Sequence[Snapshot]]], labels: LabelSet) -> str:
    """The report as HTML, from the template ``report.html.j2``.

    Args:
        runs: title, summary (keys of ``replay --json``) and snapshots of each replay.
        labels: names and colors of the classes.

    Raises:
        ReplayError: jinja2 is not installed.
    """
    return load_template().render(
        runs=[_run(title, summary, snapshots) for title, summary, snapshots in runs],
        labels=labels,
    )


def load_template() -> jinja2.Template:
    """The template of the report.

    Raises:
        ReplayError: jinja2 is not installed.
    """
    return open_template(
        "report.html.j2",
        mode_colors=MODE_COLORS,
        network_colors=NETWORK_COLORS,
        network_names=NETWORK_TITLES,
        stream_names=STREAM_TITLES,
        image_names=IMAGE_TITLES,
        max_switches=MAX_SWITCHES,
    )


def _run(title: str, summary: Summary, snapshots: Sequence[Snapshot]) -> dict[str, Any]:
    """The variables of one replay in the template."""
    latencies_ms = summary["switch_latency_ms"]
    accounting = summary["accounting"].values()
    return {
        "title": title,
        "summary": summary,
        "switch_latency_ms": statistics.median(latencies_ms) if latencies_ms else None,
        "timeline": _timeline(summary),
        "shown_images": [
            name
            for name in IMAGE_TITLES
            if name in ("color", "depth", "mask")
            or any(s.images.get(name) is not None for s in snapshots)
        ],
        "snapshots": [
            {
                "t_s": snapshot.t_s,
                "phase": snapshot.phase,
                "network": snapshot.network,
                "images": {
                    name: _data_url(name, snapshot.images.get(name)) for name in IMAGE_TITLES
                },
            }
            for snapshot in snapshots
        ],
        "shown_counts": [
            key
            for key in next(iter(accounting))
            if key in ("offered", "used") or any(counts[key] for counts in accounting)
        ],
    }


def _timeline(summary: Summary) -> dict[str, Any]:
    """Geometry of the timeline, in SVG units."""
    duration_s = summary["duration_s"] or 1e-9
    scale = (WIDTH - LEFT) / duration_s
    modes = [(a, b, mode, MODE_COLORS[mode]) for a, b, mode in summary["timeline"]["modes"]]
    rows = [
        *_fault_spans(summary, duration_s),
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


def _blocks(spans: Iterable[Span], scale: float) -> Iterable[dict[str, Any]]:
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


def _fault_spans(summary: Summary, duration_s: float) -> list[tuple[str, list[Span]]]:
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


def _network_spans(summary: Summary) -> list[Span]:
    """Spans of masks by one network, each extended to the next span unless masks are missing."""
    runs = summary["timeline"]["networks"]
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


def _data_url(name: str, image: npt.NDArray[np.uint8] | None) -> str | None:
    """An image as the source of an ``img``: camera images as JPEG, masks losslessly as PNG."""
    if image is None:
        return None
    kind, suffix = ("jpeg", ".jpg") if name in ("color", "depth") else ("png", ".png")
    return f"data:image/{kind};base64,{base64.b64encode(encode_image(suffix, image)).decode()}"
