# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Response to each fault: time to detect it, to the first mask without the stream, to recover."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rgbd_seg_ros.frames import NetworkName, Stream

#: The streams that each network uses. Raw depth counts as depth.
NETWORK_STREAMS: dict[NetworkName, tuple[Stream, ...]] = {
    "rgbd": ("rgb", "depth"),
    "rgb": ("rgb",),
    "depth": ("depth",),
}
_HEALTHY = ("ok", "waiting")

#: From s, to s, and the reason or network.
Span = tuple[float, float, Any]


def fault_response(
    fault: Mapping[str, Any],
    health: Mapping[Stream, Sequence[Span]],
    networks: Sequence[Span],
) -> dict[str, Any]:
    """How the fallback has answered one fault.

    Args:
        fault: ``stream``, ``fault``, ``from`` and ``to`` in seconds, None as ``to``: no end; and
            ``frames``, the number of frames that it reached.
        health: spans of each stream's health.
        networks: spans of consecutive masks of one network, each from its first to its last mask.

    Returns:
        ``detected_ms``: from the start of the fault until the stream is lost. ``degraded_ms``:
        until the first mask without the stream. ``recovered_ms``: from the end of the fault until
        the first mask with the stream, if the stream was lost or there were masks without it.
        Each is 0 if it was so already, and None if it never came. ``used_before``: whether a mask
        before the fault used the stream; if not, no recovery is to be expected.
    """
    stream, start_s, end_s = fault["stream"], fault["from"], fault["to"]
    until_s = float("inf") if end_s is None else end_s
    lost = [span for span in health.get(stream, ()) if span[2] not in _HEALTHY]
    with_stream = [span for span in networks if stream in NETWORK_STREAMS[span[2]]]
    without = [span for span in networks if stream not in NETWORK_STREAMS[span[2]]]
    detected = _first(lost, start_s, until_s)
    degraded = _first(without, start_s, until_s)
    noticed = detected is not None or degraded is not None
    recovered = _first(with_stream, until_s) if noticed else None
    return {
        "stream": stream,
        "fault": fault["fault"],
        "from": start_s,
        "to": end_s,
        "frames": fault["frames"],
        "used_before": any(from_s < start_s for from_s, _, _ in with_stream),
        "detected_ms": detected,
        "degraded_ms": degraded,
        "recovered_ms": recovered,
    }


def _first(spans: Sequence[Span], from_s: float, until_s: float = float("inf")) -> float | None:
    """Milliseconds from a time to the first span that is not over by then; None without one."""
    times = [max(a - from_s, 0.0) for a, b, _ in spans if b >= from_s and a < until_s]
    return round(min(times) * 1000, 3) if times else None
