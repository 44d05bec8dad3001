# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""What the core hands out: jobs, and changes of mode."""

from __future__ import annotations

from dataclasses import dataclass

from rgbd_seg_ros.fallback.modes import Mode
from rgbd_seg_ros.frames import Frame, Intrinsics, NetworkName


@dataclass(frozen=True, eq=False)
class Job:
    """One mask to be made."""

    network: NetworkName
    #: Header of the mask: color's when color is in it, else depth's.
    stamp_ns: int
    frame_id: str
    rgb: Frame | None
    #: Registered depth, or raw depth when ``raw`` is set.
    depth: Frame | None
    raw: bool
    #: (height, width) of the mask.
    size: tuple[int, int]
    intrinsics: Intrinsics | None
    #: The mode when the job was decided, and why each stream is as it is.
    mode: Mode
    reason_rgb: str
    reason_depth: str
    #: Age of the newest frame of each stream at the decision; None before the first.
    age_rgb_ms: float | None
    age_depth_ms: float | None


@dataclass(frozen=True)
class ModeChange:
    """A change of mode and its reason."""

    t_ns: int
    from_mode: Mode
    to_mode: Mode
    reason: str
