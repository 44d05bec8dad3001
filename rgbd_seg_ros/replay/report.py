# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Report of replays: charts, scores, pictures and frame counts in one HTML file."""

from __future__ import annotations

import base64
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from rgbd_seg_ros.image_io import encode_image
from rgbd_seg_ros.labels import LabelSet
from rgbd_seg_ros.replay.film import FilmFrame, SwitchStrip
from rgbd_seg_ros.replay.report_charts import (
    MODE_COLORS,
    NETWORK_COLORS,
    NETWORK_TITLES,
    STREAM_TITLES,
    Summary,
    confusion_table,
    iou_curve,
    latency_bars,
    timeline,
)
from rgbd_seg_ros.replay.report_measures import measure_rows
from rgbd_seg_ros.replay.snapshots import Snapshot
from rgbd_seg_ros.replay.templates import open_template

if TYPE_CHECKING:
    import jinja2

#: Captions of a snapshot's images. The first three are always shown.
IMAGE_TITLES = {
    "color": "color",
    "depth": "depth",
    "mask": "mask",
    "truth": "ground truth",
    "without_fallback": "fused, blank image",
}
#: Captions of the pictures of a switch.
STRIP_TITLES = ("before", "at the switch", "after")
#: Maximum number of mode switches shown; summary.json contains all of them.
MAX_SWITCHES = 40


@dataclass(frozen=True, eq=False)
class ReportedReplay:
    """What the report shows of one replay."""

    title: str
    #: The keys of ``replay --json``.
    summary: Summary
    snapshots: Sequence[Snapshot] = ()
    #: Pictures of the whole replay, and of its switches.
    film: Sequence[FilmFrame] = ()
    strips: Sequence[SwitchStrip] = ()


def render(runs: Sequence[ReportedReplay], labels: LabelSet) -> str:
    """The report as HTML, from the template ``report.html.j2``.

    Args:
        runs: the replays.
        labels: names and colors of the classes.

    Raises:
        ReplayError: jinja2 is not installed.
    """
    return load_template().render(runs=[_run(run) for run in runs], labels=labels)


def load_template() -> jinja2.Template:
    """The template of the report.

    Raises:
        ReplayError: jinja2 is not installed.
    """
    return open_template(
        "report.html.j2",
        mode_colors=MODE_COLORS,
        mode_names={mode: mode for mode in MODE_COLORS},
        network_colors=NETWORK_COLORS,
        network_names=NETWORK_TITLES,
        stream_names=STREAM_TITLES,
        image_names=IMAGE_TITLES,
        strip_names=STRIP_TITLES,
        max_switches=MAX_SWITCHES,
    )


def _run(run: ReportedReplay) -> dict[str, Any]:
    """The variables of one replay in the template."""
    summary, snapshots = run.summary, run.snapshots
    latencies_ms = summary["switch_latency_ms"]
    accounting = summary["accounting"].values()
    return {
        "title": run.title,
        "summary": summary,
        "switch_latency_ms": statistics.median(latencies_ms) if latencies_ms else None,
        "measures": measure_rows(summary),
        "timeline": timeline(summary),
        "iou_curve": iou_curve(summary),
        "latency_bars": latency_bars(summary),
        "confusion": confusion_table(summary),
        "film": [_picture(frame) for frame in run.film],
        "strips": [[_picture(frame) for frame in strip.frames] for strip in run.strips],
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


def _picture(frame: FilmFrame) -> dict[str, Any]:
    return {
        "text": f"{frame.t_s:.2f} s, {NETWORK_TITLES[frame.network]}, {frame.mode}",
        "source": f"data:image/jpeg;base64,{base64.b64encode(frame.jpeg).decode()}",
    }


def _data_url(name: str, image: npt.NDArray[np.uint8] | None) -> str | None:
    """An image as the source of an ``img``: camera images as JPEG, masks losslessly as PNG."""
    if image is None:
        return None
    kind, suffix = ("jpeg", ".jpg") if name in ("color", "depth") else ("png", ".png")
    return f"data:image/{kind};base64,{base64.b64encode(encode_image(suffix, image)).decode()}"
