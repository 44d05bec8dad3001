# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Measures of a replay: the numbers that criteria and batches name, and why one has no value."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

Summary = dict[str, Any]
#: Largest number of faults, phases or switches that a note names.
MAX_NAMED = 3


@dataclass(frozen=True)
class Measure:
    """One number of a replay, from the keys of its summary."""

    value: Callable[[Summary], float | None]
    #: Why there is no value.
    why_none: Callable[[Summary], str] = lambda summary: "the replay has no such value"
    #: What the value leaves out; empty for nothing.
    remark: Callable[[Summary], str] = lambda summary: ""

    def __call__(self, summary: Summary) -> float | None:
        """The value; None if the replay has none."""
        return self.value(summary)

    def note(self, summary: Summary) -> str:
        """Why there is no value, or what the value leaves out; empty for nothing."""
        return self.why_none(summary) if self.value(summary) is None else self.remark(summary)


def _at(
    *path: str, why: Callable[[Summary], str] = lambda summary: "the replay has no such value"
) -> Measure:
    """The value at a path of keys in the summary; None if it is not there.

    Args:
        path: the keys.
        why: why there is no value.
    """

    def get(summary: Summary) -> float | None:
        value: Any = summary
        for key in path:
            value = value.get(key) if isinstance(value, dict) else None
        return value if isinstance(value, (int, float)) else None

    return Measure(get, why)


def _difference(a: str, b: str, why: str) -> Measure:
    """A score of the summary minus another one; None without both."""

    def get(summary: Summary) -> float | None:
        values = summary[a], summary[b]
        return None if None in values else round(values[0] - values[1], 6)

    return Measure(get, lambda summary: why, _without_truth)


def _without_truth(summary: Summary) -> str:
    """How many masks the scores leave out; empty if none."""
    if not (unscored := summary.get("unscored")):
        return ""
    masks = f"{summary['masks']} mask{'' if summary['masks'] == 1 else 's'}"
    return f"{unscored} of {masks} {'has' if unscored == 1 else 'have'} no ground truth"


def _scored(*path: str) -> Measure:
    """A score at a path of keys; None without ground truth or without masks that it covers."""

    def why(summary: Summary) -> str:
        return (
            "no mask has ground truth"
            if summary.get("miou") is None
            else "no such mask was scored"
        )

    return replace(_at(*path, why=why), remark=_without_truth)


def _needs(what: str, *path: str, scored: bool = False) -> Measure:
    """The value at a path of keys; without it, the note says what it needs.

    Args:
        what: what it needs.
        path: the keys.
        scored: whether masks without ground truth are left out.
    """
    measure = _at(*path, why=lambda summary: f"needs {what}")
    return replace(measure, remark=_without_truth) if scored else measure


def _named(names: Sequence[str]) -> str:
    more = f" and {len(names) - MAX_NAMED} more" if len(names) > MAX_NAMED else ""
    return ", ".join(names[:MAX_NAMED]) + more


# --- Faults --------------------------------------------------------------------------------------


def _reached(summary: Summary, key: str) -> list[dict[str, Any]]:
    """Responses to the faults that changed a frame.

    For recoveries, those of faults that ended, and whose stream was used before.
    """
    found = [response for response in summary["fault_responses"] if response["frames"]]
    if key != "recovered_ms":
        return found
    end_s = summary["duration_s"]
    ended = (r for r in found if r["to"] is not None and r["to"] < end_s)
    return [response for response in ended if response["used_before"]]


#: What a fault without a time is said to lack.
_LACKS = {
    "degraded_ms": "followed by no mask without the stream",
    "recovered_ms": "followed by no recovery",
}


def _lack(response: dict[str, Any], key: str) -> str:
    """What a fault without a time lacks."""
    if response["detected_ms"] is not None:
        return _LACKS[key]
    if response.get("lost_before"):
        return "not detected, because the stream was already lost when it began"
    return "never detected"


def _longest(key: str) -> Measure:
    """The longest time that a fault took; None without a fault, or if one has no such time."""

    def get(summary: Summary) -> float | None:
        times = [response[key] for response in _reached(summary, key)]
        return None if None in times else max(times, default=None)

    def why(summary: Summary) -> str:
        faults = _reached(summary, key)
        if not faults:
            if key == "recovered_ms":
                return "no fault of a stream that was used before ended before the recording did"
            return "no fault changed a frame of color or depth"
        lacking: dict[str, list[str]] = {}
        for r in (r for r in faults if r[key] is None):
            name = f"{r['stream']} {r['fault']} from {r['from']:g} s"
            lacking.setdefault(_lack(r, key), []).append(name)
        return "; ".join(
            f"{_named(names)} {'was' if len(names) == 1 else 'were'} {lack}"
            for lack, names in lacking.items()
        )

    return Measure(get, why)


def _bad_phases(summary: Summary) -> list[str]:
    """The phases with faults that have no scored mask."""
    return [
        f"{phase['from']:g}-{phase['to']:g} s {phase['name']}"
        for phase in summary["phases"]
        if phase["streams"] and phase["miou"] is None
    ]


def _worst_fault(summary: Summary) -> float | None:
    scores = [phase["miou"] for phase in summary["phases"] if phase["streams"]]
    return None if None in scores else min(scores, default=None)


def _why_no_worst_fault(summary: Summary) -> str:
    if summary["miou"] is None:
        return "no mask has ground truth"
    bad = _bad_phases(summary)
    return f"no scored mask in {_named(bad)}" if bad else "the schedule has no fault"


def _idle_faults(summary: Summary) -> int | None:
    # A schedule that was asked for, but is empty, tests nothing.
    if summary["fault_schedule"] is not None and not summary["faults"]:
        return None
    return len(summary["idle_faults"])


# --- Switches and masks --------------------------------------------------------------------------


def _switch_ms(summary: Summary) -> float | None:
    if summary["switches_without_mask"]:
        return None
    return max(summary["switch_latency_ms"], default=None)


def _why_no_switch_ms(summary: Summary) -> str:
    times = [f"{t:.2f} s" for t in summary["switches_without_mask"]]
    if times:
        return f"no mask followed the switch at {_named(times)}"
    return "no switch lost a stream and left another one"


def _without_input(summary: Summary) -> str:
    seconds = summary.get("modes", {}).get("NO_INPUT", 0)
    if not seconds:
        return ""
    return (
        f"however, no stream was usable for {seconds:g} s: masks are missing for want of input, "
        "see no_input_s and longest_gap_s"
    )


def _why_no_network_share(summary: Summary) -> str:
    if summary["speed"]["network_seconds"] is None:
        return "no mask was computed"
    return "the load of this machine changed during the replay; replay again while it is constant"


#: What some measures need.
_FALLBACK = "--without-fallback, ground truth, and masks for which one stream was missing"
_FAULTS = "--without-faults, --faults and ground truth"
_FLICKER = "masks at most 0.5 s apart, some by one network and some around a switch of the network"
_CONSISTENCY = "--consistency, fused frame pairs, and both networks"

#: What criteria can name. None means that the replay has no such value.
MEASURES: dict[str, Measure] = {
    "miou": _scored("miou"),
    "miou_all": _scored("miou_all"),
    "miou_rgbd": _scored("miou_by_network", "rgbd"),
    "miou_rgb_only": _scored("miou_by_network", "rgb"),
    "miou_depth_only": _scored("miou_by_network", "depth"),
    "miou_worst_fault": Measure(_worst_fault, _why_no_worst_fault, _without_truth),
    "miou_fallback": _needs(_FALLBACK, "miou_fallback", scored=True),
    "miou_without_fallback": _needs(_FALLBACK, "miou_without_fallback", scored=True),
    "fallback_gain": _difference("miou_fallback", "miou_without_fallback", f"needs {_FALLBACK}"),
    "miou_without_faults": _needs(_FAULTS, "miou_without_faults", scored=True),
    "fault_cost": _difference("miou_without_faults", "miou", f"needs {_FAULTS}"),
    "unscored": _needs("ground truth", "unscored"),
    "masks": _at("masks"),
    "masks_lost": Measure(_at("masks_lost"), remark=_without_input),
    "masks_by_wrong_network": _at("masks_by_wrong_network"),
    "masks_rgbd": _at("networks", "rgbd"),
    "masks_rgb_only": _at("networks", "rgb"),
    "masks_depth_only": _at("networks", "depth"),
    "longest_gap_s": _at("longest_gap_s"),
    "no_input_s": _at("modes", "NO_INPUT"),
    "idle_faults": Measure(
        _idle_faults,
        lambda summary: f"{summary['fault_schedule']} has no fault in this recording",
        lambda summary: _named(summary["idle_faults"]),
    ),
    "switches": Measure(lambda summary: len(summary["switches"])),
    "switch_ms": Measure(_switch_ms, _why_no_switch_ms),
    "detected_ms": _longest("detected_ms"),
    "degraded_ms": _longest("degraded_ms"),
    "recovered_ms": _longest("recovered_ms"),
    "flicker": _needs(_FLICKER, "flicker", "excess"),
    "consistency_rgbd_rgb": _needs(_CONSISTENCY, "consistency", "rgbd_rgb"),
    "consistency_rgbd_depth": _needs(_CONSISTENCY, "consistency", "rgbd_depth"),
    "consistency_rgb_depth": _needs(_CONSISTENCY, "consistency", "rgb_depth"),
    "ece_rgbd": _scored("ece_by_network", "rgbd"),
    "ece_rgb_only": _scored("ece_by_network", "rgb"),
    "ece_depth_only": _scored("ece_by_network", "depth"),
    "partner_missed": _at("partner_missed"),
    "unusable": Measure(lambda summary: sum(summary["unusable"].values())),
    "latency_p50_ms": _at("latency_ms", "p50"),
    "latency_p95_ms": _at("latency_ms", "p95"),
    "latency_p99_ms": _at("latency_ms", "p99"),
    "masks_per_s": _at("speed", "masks_per_s"),
    "engine_share": _at("speed", "engine_share"),
    "network_share": _at("speed", "network_share", why=_why_no_network_share),
    "warnings": Measure(lambda summary: len(summary["warnings"])),
}

#: Measures that are shares, by the start of their names, and those that are differences of shares.
_SHARES = (
    "miou",
    "fallback_gain",
    "fault_cost",
    "flicker",
    "consistency",
    "ece",
    "engine_share",
    "network_share",
)
_DIFFERENCES = ("fallback_gain", "fault_cost", "flicker")


def show_measure(name: str, value: float | None, signed: bool = False) -> str:
    """A measure with its unit; a dash for None.

    Args:
        name: of the measure.
        value: as in the summary.
        signed: with a sign, for differences; shares are then in percentage points.
    """
    if value is None:
        return "–"
    signed = signed or name in _DIFFERENCES
    sign = "+" if signed else ""
    if name.startswith(_SHARES):
        return f"{value * 100:{sign}.1f}" + ("" if signed else " %")
    if name.endswith("_ms"):
        return f"{value:{sign}.0f} ms"
    if name.endswith("_s") and name != "masks_per_s":
        return f"{value:{sign}.1f} s"
    return f"{value:{sign}g}"
