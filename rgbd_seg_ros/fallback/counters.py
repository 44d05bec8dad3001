# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Counters: what happened to every message that was offered to the core."""

from __future__ import annotations

from dataclasses import dataclass, field

from rgbd_seg_ros.frames import STREAMS, Stream

#: What can happen to a usable message; until then it is pending.
#:
#: - ``used``: a job that contains it was handed out.
#: - ``superseded``: a newer job replaced its job before the engine was free, or a newer frame of
#:   its stream arrived before it was decoded.
#: - ``skipped``: not needed, for example a frame between two frames of a slower partner.
#: - ``recovering``: its stream was lost and has not completed its recovery.
#: - ``late``: its instant, or a later one, was already decided; or it became too old while it
#:   waited for the engine.
#: - ``reset``: the clock jumped, or was not running yet.
#: - ``disabled``: the core was disabled.
FATES = ("used", "superseded", "skipped", "recovering", "late", "reset", "disabled")


@dataclass
class Counters:
    """Counts per stream since startup: offered = pending + all fates + all unusable."""

    offered: dict[Stream, int] = field(default_factory=lambda: dict.fromkeys(STREAMS, 0))
    fates: dict[Stream, dict[str, int]] = field(
        default_factory=lambda: {stream: dict.fromkeys(FATES, 0) for stream in STREAMS}
    )
    #: Messages that failed a frame test, by reason.
    unusable: dict[Stream, dict[str, int]] = field(
        default_factory=lambda: {stream: {} for stream in STREAMS}
    )
    #: The latest detail of each of these reasons: one line with the value seen.
    details: dict[Stream, dict[str, str]] = field(
        default_factory=lambda: {stream: {} for stream in STREAMS}
    )
    #: Number of instants decided without a partner frame that was due.
    partner_missed: int = 0
    #: Number of masks that were too old when they were ready, and therefore dropped.
    masks_expired: int = 0

    def count(self, stream: Stream, fate: str, number: int = 1) -> None:
        """Count ``number`` messages that ended as ``fate``."""
        self.fates[stream][fate] += number

    def count_unusable(self, stream: Stream, reason: str, detail: str = "") -> None:
        """Count one message that failed a frame test."""
        reasons = self.unusable[stream]
        reasons[reason] = reasons.get(reason, 0) + 1
        self.details[stream][reason] = detail

    def pending(self, stream: Stream) -> int:
        """Number of messages that wait for their partner or for the engine."""
        ended = sum(self.fates[stream].values()) + sum(self.unusable[stream].values())
        return self.offered[stream] - ended
