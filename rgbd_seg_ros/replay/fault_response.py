# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Response to each fault: time to detect it, to the first mask without the stream, to recover."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rgbd_seg_ros.frames import NetworkName, Stream
from rgbd_seg_ros.replay.faults import AFTERMATH_S

#: The streams that each network uses. Raw depth counts as depth.
NETWORK_STREAMS: dict[NetworkName, tuple[Stream, ...]] = {
    "rgbd": ("rgb", "depth"),
    "rgb": ("rgb",),
    "depth": ("depth",),
}
_HEALTHY = ("ok", "waiting")
#: Faults that certainly cause a loss for a reason. If one of them is on, another fault that is on
#: at the same time does not count as detected.
CAUSES: dict[str, tuple[str, ...]] = {
    "silent": ("drop", "color_driver"),
    "black": ("black", "zero"),
    "no_depth": ("zero", "nan"),
    "frozen": ("freeze",),
    "malformed": ("truncate",),
    "saturated": ("saturate",),
}

#: From s, to s (not included), and the reason or network.
Span = tuple[float, float, Any]


def fault_response(
    fault: Mapping[str, Any],
    health: Mapping[Stream, Sequence[Span]],
    networks: Sequence[Span],
    schedule: Sequence[Mapping[str, Any]] = (),
) -> dict[str, Any]:
    """How the fallback has answered one fault.

    A loss counts only if it began while the fault was on, or if its reason changed then, and if
    no other fault certainly caused it. A fault of a stream that was lost for another cause has no
    times, except that of the recovery if the stream was lost until its end.

    Args:
        fault: ``stream``, ``fault``, ``from`` and ``to`` in seconds, None as ``to``: no end; and
            ``frames``, the number of frames that it changed or dropped.
        health: spans of each stream's health.
        networks: spans of consecutive masks of one network, each from its first to its last mask.
        schedule: all faults of the replay.

    Returns:
        ``detected_ms``: from the start of the fault until the stream is lost. ``degraded_ms``:
        until the first mask without the stream, 0 if it was not used before. ``recovered_ms``:
        from the end of the fault until the first mask with the stream, if the stream was lost or
        there were masks without it; 0 if it was used again before. Each is None if it never came.
        ``lost_before``: whether the stream was already lost when the fault began.
        ``used_before``: whether a mask before the fault used the stream; if not, no recovery is to
        be expected.
    """
    stream, start_s, end_s = fault["stream"], fault["from"], fault["to"]
    until_s = float("inf") if end_s is None else end_s
    lost = [span for span in health.get(stream, ()) if span[2] not in _HEALTHY]
    with_stream = [span for span in networks if stream in NETWORK_STREAMS[span[2]]]
    without = [span for span in networks if stream not in NETWORK_STREAMS[span[2]]]
    began = [span for span in lost if start_s <= span[0] < until_s]
    own = [span for span in began if not _has_other_cause(span, fault, schedule)]
    lost_before = any(a < start_s < b for a, b, _ in lost)
    detected = _milliseconds(min(a for a, _, _ in own) - start_s) if own else None
    if detected is None and (lost_before or began):
        degraded = None
        noticed = any(a < until_s <= b for a, b, _ in lost)
    else:
        degraded = _first_mask(without, start_s, until_s)
        noticed = detected is not None or degraded is not None
    return {
        "stream": stream,
        "fault": fault["fault"],
        "from": start_s,
        "to": end_s,
        "frames": fault["frames"],
        "lost_before": lost_before,
        "used_before": any(from_s < start_s for from_s, _, _ in with_stream),
        "detected_ms": detected,
        "degraded_ms": degraded,
        "recovered_ms": _first_mask(with_stream, until_s) if noticed else None,
    }


def _has_other_cause(
    loss: Span, fault: Mapping[str, Any], schedule: Sequence[Mapping[str, Any]]
) -> bool:
    """Whether another fault of the stream certainly caused a loss, and this one did not."""
    from_s, _, reason = loss
    causes = CAUSES.get(reason, ())
    return fault["fault"] not in causes and any(
        other["stream"] == fault["stream"]
        and other["fault"] in causes
        and other["from"] <= from_s
        and (other["to"] is None or from_s < other["to"] + AFTERMATH_S)
        for other in schedule
    )


def _first_mask(
    spans: Sequence[Span], from_s: float, until_s: float = float("inf")
) -> float | None:
    """Milliseconds from a time to the first mask of some spans; None without one.

    Args:
        spans: each from its first to its last mask, both included.
        from_s: the time, included.
        until_s: the end, not included.
    """
    times = [max(a - from_s, 0.0) for a, b, _ in spans if b >= from_s and a < until_s]
    return _milliseconds(min(times)) if times else None


def _milliseconds(seconds: float) -> float:
    return round(seconds * 1000, 3)
