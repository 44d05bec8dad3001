# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Checks of a fault schedule after its replay: faults without effect, and too short ones."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from rgbd_seg_ros.fallback import CoreConfig
from rgbd_seg_ros.fallback.health import MIN_INTERVALS
from rgbd_seg_ros.frames import Stream
from rgbd_seg_ros.replay.faults import FaultSchedule

#: Faults after which nothing arrives, and those whose images are unusable or unreadable.
SILENT = ("drop", "color_driver")
UNUSABLE = ("zero", "nan", "black", "truncate")


def idle_faults(schedule: FaultSchedule) -> list[str]:
    """The entries of a schedule that changed no frame, for example ``depth drop from 5 s``."""
    pairs = zip(schedule.faults, schedule.hits, strict=True)
    return [f"{fault} from {fault.from_s:g} s" for fault, hits in pairs if not hits]


def idle_warnings(
    schedule: FaultSchedule, streams: Collection[Stream], duration_s: float
) -> Iterator[str]:
    """One warning for each entry of a schedule that changed no frame.

    Args:
        schedule: after the replay.
        streams: streams of the replay.
        duration_s: of the recording, seconds.
    """
    entries = zip(schedule.faults, schedule.hits, schedule.covers, strict=True)
    for fault, hits, covered in entries:
        if hits:
            continue
        if covered:
            frames = f"{covered} frame{'s' if covered > 1 else ''}"
            reason = f"the {frames} of its time are the same without it; " + (
                "make it longer" if fault.value is None else "choose another value"
            )
        elif set(streams) & set(fault.streams):
            reason = f"the recording lasts {duration_s:.1f} s"
        else:
            reason = f"the replay has no stream {' or '.join(fault.streams)}"
        yield f"fault {fault} from {fault.from_s:g} s affects no frame: {reason}"


def too_short(
    responses: Sequence[Mapping[str, Any]],
    periods_s: Mapping[Stream, float],
    config: CoreConfig,
) -> Iterator[str]:
    """One warning for each fault that was too short to be detected.

    Args:
        responses: ``fault_responses`` of the summary.
        periods_s: mean time between two recorded frames of each stream, seconds.
        config: parameters of the core.
    """
    for response in responses:
        frames, period_s = response["frames"], periods_s.get(response["stream"])
        if not frames or response["detected_ms"] is not None or period_s is None:
            continue
        before = math.ceil(response["from"] / period_s - 1e-6)
        needed = _frames_needed(response["fault"], period_s, before, config)
        if needed is not None and frames < needed:
            early = response["fault"] in SILENT and before <= MIN_INTERVALS
            why = " so early, when the rate of the stream is not known yet" if early else ""
            remedy = "begin it later or make it longer" if early else "make it longer"
            yield (
                f"fault {response['stream']} {response['fault']} from {response['from']:g} s "
                f"reaches {frames} frame{'s' if frames > 1 else ''}, but at {1 / period_s:.3g} Hz "
                f"it is noticed only after {needed}{why}: {remedy}, or use a longer recording"
            )


def _frames_needed(fault: str, period_s: float, before: int, config: CoreConfig) -> int | None:
    """Number of frames that a fault must reach to be detected; None if that is not known.

    Args:
        fault: its kind.
        period_s: mean time between two frames, seconds.
        before: number of frames before the fault.
        config: parameters of the core.
    """
    if fault in SILENT:
        if not config.silent_periods:
            return None
        # Until the core knows the period, it waits longer, as StreamHealth.timeout_ns says.
        shortest_s = config.min_silence_s
        if before <= MIN_INTERVALS:
            shortest_s = max(shortest_s, config.first_silence_s)
        if before <= 1:
            shortest_s = max(shortest_s, config.second_message_s)
        silence_s = max(config.silent_periods * period_s, shortest_s)
        # From the last frame before the fault to the first one after it.
        return max(1, int(silence_s / period_s + 1e-6))
    if fault in UNUSABLE:
        return min((n for n in (config.lost_after, config.lost_of_last_10) if n), default=None)
    return (config.frozen_after or None) if fault == "freeze" else None
