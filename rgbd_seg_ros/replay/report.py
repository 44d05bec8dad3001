# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Report of replays: timeline of modes, scores, pictures and frame counts in one HTML file."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

from rgbd_seg_ros.labels import LabelSet
from rgbd_seg_ros.replay.page import (
    MODE_COLORS,
    NETWORK_COLORS,
    bar,
    card,
    chip,
    facts,
    no_picture,
    page,
    percent,
    picture,
    table,
)
from rgbd_seg_ros.replay.snapshots import Snapshot

Summary = dict[str, Any]
#: Rows of changes and of one picture strip that still read well.
MAX_SWITCHES = 40
NETWORK_WORDS = {"rgbd": "fused", "rgb": "color only", "depth": "depth only"}


def render(runs: Sequence[tuple[str, Summary, Sequence[Snapshot]]], labels: LabelSet) -> str:
    """The report as HTML.

    Args:
        runs: (title, summary, strips) of each replay, see :func:`rgbd_seg_ros.replay.session`.
        labels: names and colors of the classes.
    """
    parts: list[str] = []
    for title, summary, strips in runs:
        parts.append(f"<h2>{escape(title)}</h2>")
        parts += _run(summary, strips, labels)
    parts.append(card("Classes", _legend(labels)))
    masks = sum(summary["masks"] for _, summary, _ in runs)
    lead = f"{masks} masks from {len(runs)} recording{'s' if len(runs) > 1 else ''}"
    return page("RGB-D segmentation that keeps seeing", lead, parts)


def _run(summary: Summary, strips: Sequence[Snapshot], labels: LabelSet) -> list[str]:
    parts = [_intro(summary), facts(_facts(summary)), _timeline(summary)]
    if any(phase["masks"] for phase in summary["phases"]) and summary["miou"] is not None:
        parts.append(_phases(summary))
    if summary["iou_by_network"]:
        parts.append(_classes(summary, labels))
    if strips:
        parts.append(_pictures(strips))
    parts += [_switches(summary), _accounting(summary)]
    if summary["warnings"]:
        items = "".join(f"<li>{escape(text)}</li>" for text in summary["warnings"])
        parts.append(card("Warnings", f"<ul>{items}</ul>"))
    return [part for part in parts if part]


def _intro(summary: Summary) -> str:
    topics = ", ".join(
        f"{name.replace('_', ' ')} <code>{escape(topic)}</code>"
        for name, topic in summary["topics"].items()
    )
    cut = " <b class=bad>Interrupted: only the beginning.</b>" if summary["interrupted"] else ""
    return f'<p class="soft">{topics}; stamps by {summary["stamps"]}.{cut}</p>'


def _facts(summary: Summary) -> list[tuple[str, str]]:
    frames = summary["frames_in"]
    named = " + ".join(f"{count} {name.replace('_', ' ')}" for name, count in frames.items())
    pairs = [
        (f"masks from {named} frames", str(summary["masks"])),
        ("of recording", f"{summary['duration_s']:.1f} s"),
    ]
    if summary["miou"] is not None:
        pairs.append(("mean IoU over classes present", percent(summary["miou"])))
    if summary["switch_latency_ms"]:
        median = statistics.median(summary["switch_latency_ms"])
        pairs.append(("median gap at a switch to the fallback", f"{median:.0f} ms"))
    if summary["latency_ms"]["p50"] is not None:
        pairs.append(("compute per mask here, median", f"{summary['latency_ms']['p50']:.0f} ms"))
    return pairs


# --- Timeline ----------------------------------------------------------------------------------

_LEFT, _WIDTH, _ROW = 92, 1000, 30


def _timeline(summary: Summary) -> str:
    duration_s = summary["duration_s"] or 1e-9
    scale = (_WIDTH - _LEFT) / duration_s

    def blocks(row: int, spans: Iterable[tuple[float, float, str, str]]) -> str:
        shapes = []
        drawn_to = 0.0
        for from_s, to_s, text, color in spans:
            x, width = _LEFT + from_s * scale, max((to_s - from_s) * scale, 1.5)
            y = row * _ROW + 4
            if x + width < drawn_to + 0.5:
                continue  # hidden behind the one before: an hour of flapping stays drawable
            drawn_to = x + width
            shapes.append(
                f'<g class="on"><title>{escape(text)}: {from_s:.2f} s to {to_s:.2f} s</title>'
                f'<rect x="{x:.1f}" y="{y}" width="{width:.1f}" height="{_ROW - 8}" rx="3" '
                f'fill="{color}"/>'
            )
            if width > 7.5 * len(text):
                place = f'x="{x + width / 2:.1f}" y="{y + 15}" text-anchor="middle"'
                shapes.append(f"<text {place}>{escape(text)}</text>")
            shapes.append("</g>")
        return "".join(shapes)

    rows = [
        ("mode", [(a, b, m, MODE_COLORS[m]) for a, b, m in summary["timeline"]["modes"]]),
        ("network", _closed_runs(summary)),
    ]
    for stream in reversed(list(dict.fromkeys(f["stream"] for f in summary["faults"]))):
        spans = [
            (f["from"], min(f["to"] or duration_s, duration_s), f["fault"], "#c9cfd8")
            for f in summary["faults"]
            if f["stream"] == stream and f["from"] < duration_s
        ]
        rows.insert(0, (f"{stream.replace('_', ' ')} fault", spans))
    drawn, height = [], len(rows) * _ROW
    for second in _ticks(duration_s):
        x = _LEFT + second * scale
        drawn.append(f'<line class="grid" x1="{x:.1f}" y1="0" x2="{x:.1f}" y2="{height}"/>')
        drawn.append(
            f'<text class="soft" x="{x:.1f}" y="{height + 15}" text-anchor="middle">'
            f"{second:g} s</text>"
        )
    for index, (name, spans) in enumerate(rows):
        drawn.append(f'<text class="soft" x="0" y="{index * _ROW + 19}">{name}</text>')
        drawn.append(blocks(index, spans))
    svg = (
        f'<svg viewBox="0 0 {_WIDTH + 24} {height + 22}" role="img" '
        f'aria-label="timeline of faults, modes and networks">{"".join(drawn)}</svg>'
    )
    return card("What happened when", svg)


def _closed_runs(summary: Summary) -> list[tuple[float, float, str, str]]:
    """Runs of one network drawn until the next one's first mask, gaps in masks left open."""
    runs = summary["timeline"]["networks"]
    step_s = summary["duration_s"] / max(summary["masks"], 1)
    spans = []
    for i, (from_s, to_s, name) in enumerate(runs):
        end_s = min(to_s + step_s, runs[i + 1][0] if i + 1 < len(runs) else summary["duration_s"])
        spans.append((from_s, max(end_s, to_s), NETWORK_WORDS[name], NETWORK_COLORS[name]))
    return spans


def _ticks(duration_s: float) -> list[float]:
    """Round seconds, about ten of them."""
    steps = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1800, 3600)
    step = next((s for s in steps if duration_s / s <= 12), 3600)
    return [round(i * step, 3) for i in range(int(duration_s / step + 1e-9) + 1)]


# --- Scores ------------------------------------------------------------------------------------


def _phases(summary: Summary) -> str:
    compared = any(p["miou_without_fallback"] is not None for p in summary["phases"])
    head = ["Phase", "Time", "Masks by network", "Mean IoU"]
    if compared:
        head += ["Fallback", "Fused, empty partner", "Gain"]
    rows = []
    for phase in summary["phases"]:
        used = " ".join(
            chip(f"{NETWORK_WORDS[name]} {count}", NETWORK_COLORS[name])
            for name, count in phase["networks"].items()
            if count
        )
        row = [
            escape(phase["name"]),
            f"{phase['from']:.4g}–{phase['to']:.4g} s",
            used or '<span class="soft">none</span>',
            percent(phase["miou"]),
        ]
        if compared:
            row += [
                percent(phase["miou_fallback"]),
                percent(phase["miou_without_fallback"]),
                _gain(phase["miou_fallback"], phase["miou_without_fallback"]),
            ]
        rows.append(row)
    note = "Mean IoU over the classes present in the truth."
    if compared:
        note += (
            " The last three columns are over the same instants: those where a partner was "
            "missing, once by the network that the fallback chose and once by the fused network "
            "with a black picture or an empty depth."
        )
    return card("Scores by phase", table(head, rows, numbers=range(3, len(head))), note)


def _gain(fallback: float | None, fused: float | None) -> str:
    if fallback is None or fused is None:
        return "–"
    points = (fallback - fused) * 100
    return f'<span class="{"good" if points > 0 else "bad"}">{points:+.1f}</span>'


def _classes(summary: Summary, labels: LabelSet) -> str:
    tables = summary["iou_by_network"]
    head = ["Class", *(NETWORK_WORDS[name] for name in tables)]
    rows = [
        [
            _swatch(labels, i) + escape(name),
            *(bar(ious[name], NETWORK_COLORS[network]) for network, ious in tables.items()),
        ]
        for i, name in enumerate(labels.classes)
        if any(ious[name] is not None for ious in tables.values())
    ]
    means = [bar(summary["miou_by_network"][n], NETWORK_COLORS[n]) for n in tables]
    rows.insert(0, ["<b>mean (classes present)</b>", *means])
    note = "Each network over the masks that it made; the instants differ from column to column."
    return card("IoU by class and network", table(head, rows, even=True), note)


# --- Pictures ----------------------------------------------------------------------------------


def _pictures(strips: Sequence[Snapshot]) -> str:
    names = {
        "color": "color",
        "depth": "depth",
        "mask": "mask",
        "truth": "truth",
        "fused": "fused, empty partner",
    }
    shown = [
        name
        for name in names
        if name in ("color", "depth", "mask")
        or any(strip.pictures.get(name) is not None for strip in strips)
    ]
    rows = []
    for strip in strips:
        by = f" · {NETWORK_WORDS[strip.network]}" if strip.network else " · no mask"
        cells = []
        for name in shown:
            array = strip.pictures.get(name)
            if array is None:
                text = "not used" if name == "fused" else "none"
                cells.append(no_picture(text, names[name]))
            else:
                cells.append(picture(array, names[name], lossless=name not in ("color", "depth")))
        header = f"<header>{escape(f'{strip.t_s:.1f} s · {strip.phase}{by}')}</header>"
        style = f"grid-template-columns:repeat({len(shown)},1fr)"
        rows.append(f'<div class="strip" style="{style}">{header}{"".join(cells)}</div>')
    return card("What the networks saw and made", "".join(rows))


def _legend(labels: LabelSet) -> str:
    entries = (
        f"<span>{_swatch(labels, i)}{escape(name)}</span>" for i, name in enumerate(labels.classes)
    )
    return f'<div class="legend">{"".join(entries)}</div>'


def _swatch(labels: LabelSet, index: int) -> str:
    r, g, b = labels.palette[index]
    return f'<span class="swatch" style="background:rgb({r},{g},{b})"></span>'


# --- Counts ------------------------------------------------------------------------------------


def _switches(summary: Summary) -> str:
    rows = [
        [
            f"{s['t']:.2f} s",
            f"{chip(s['from'], MODE_COLORS[s['from']])} → {chip(s['to'], MODE_COLORS[s['to']])}",
            escape(s["reason"]),
        ]
        for s in summary["switches"][:MAX_SWITCHES]
    ]
    more = len(summary["switches"]) - len(rows)
    latencies = ", ".join(f"{ms:.0f} ms" for ms in summary["switch_latency_ms"])
    note = f"{more} more are in summary.json. " if more > 0 else ""
    if latencies:
        note += (
            f"From the arrival of the lost stream's last used frame to the first mask without it: "
            f"{latencies}."
        )
    return card("Changes of mode", table(["Time", "Change", "Reason"], rows, [0]), note)


def _accounting(summary: Summary) -> str:
    streams = summary["accounting"]
    keys = list(next(iter(streams.values())))
    shown = [k for k in keys if k in ("offered", "used") or any(s[k] for s in streams.values())]
    rows = [
        [escape(name.replace("_", " ")), *(str(counts[key]) for key in shown)]
        for name, counts in streams.items()
    ]
    dropped = summary["dropped_by_faults"]
    note = ""
    if dropped:
        words = ", ".join(f"{count} {name}" for name, count in dropped.items())
        note = f"Never offered, dropped by the fault schedule: {words}. "
    if summary["unusable"]:
        words = ", ".join(f"{reason} {count}" for reason, count in summary["unusable"].items())
        note += f"Unusable: {words}. "
    note += f"Checksum of all masks: {summary['determinism_sha256'][:16]}…"
    head = ["Stream", *(key.replace("_", " ") for key in shown)]
    return card("Where every frame went", table(head, rows, range(1, len(head))), note)
