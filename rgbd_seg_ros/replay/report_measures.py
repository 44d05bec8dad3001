# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Measures of a replay as rows of text, for the report and the terminal."""

from __future__ import annotations

from typing import Any

from rgbd_seg_ros.replay.measures import MEASURES, Summary, show_measure

#: Measure → what it is called, in the order shown.
TITLES = {
    "masks_lost": "masks lost (engine busy, or mask too old)",
    "masks_by_wrong_network": "masks by the wrong network",
    "longest_gap_s": "longest time without a mask",
    "no_input_s": "time without any usable stream",
    "switch_ms": "slowest switch to another network",
    "unscored": "masks without ground truth",
    "flicker": "switch flicker, in percentage points",
    "consistency_rgbd_rgb": "same class: fused and color only",
    "consistency_rgbd_depth": "same class: fused and depth only",
    "consistency_rgb_depth": "same class: color only and depth only",
    "ece_rgbd": "calibration error (ECE): fused",
    "ece_rgb_only": "calibration error (ECE): color only",
    "ece_depth_only": "calibration error (ECE): depth only",
    "miou_fallback": "mIoU of the fallback",
    "miou_without_fallback": "mIoU of the fused network on the same frames, blank image",
    "fallback_gain": "gain of the fallback, in percentage points",
    "miou_without_faults": "mIoU without faults",
    "fault_cost": "cost of the faults, in percentage points",
}
#: Number of masks without ground truth that are named.
MAX_STAMPS = 3


def measure_rows(summary: Summary) -> list[dict[str, str]]:
    """The measures in :data:`TITLES`, each with ``title``, ``value`` and ``note``."""
    return [
        {
            "title": title,
            "value": show_measure(name, MEASURES[name](summary)),
            "note": MEASURES[name].note(summary) or _details(name, summary),
        }
        for name, title in TITLES.items()
    ]


def _details(name: str, summary: Summary) -> str:
    """What else is known about a measure; empty for nothing."""
    if name == "flicker":
        found = summary["flicker"]
        return (
            f"of the pixels, {found['at_switches'] * 100:.1f} % change their class at a switch "
            f"({found['switches']} compared), and {found['usual'] * 100:.1f} % from mask to mask "
            "otherwise"
        )
    if name == "consistency_rgbd_rgb":
        return f"of the pixels of {summary['consistency']['frames']} frame pairs"
    if name == "fault_cost":
        return "masks that are missing because of the faults are not scored"
    if name == "unscored":
        return unscored_stamps(summary)
    return ""


def unscored_stamps(summary: Summary) -> str:
    """The stamps of the first masks without ground truth; empty if all have it."""
    stamps: list[Any] = summary["unscored_stamps_ns"] or []
    more = f" and {summary['unscored'] - MAX_STAMPS} more" if len(stamps) > MAX_STAMPS else ""
    names = ", ".join(str(stamp) for stamp in stamps[:MAX_STAMPS])
    return f"stamps in nanoseconds: {names}{more}" if stamps else ""
