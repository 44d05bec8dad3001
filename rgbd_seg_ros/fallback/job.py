# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""A job: one mask to compute, with its frames, its network and the state of the streams."""

from __future__ import annotations

from dataclasses import dataclass

from rgbd_seg_ros.fallback.modes import Mode
from rgbd_seg_ros.frames import Frame, Intrinsics, NetworkName


@dataclass(frozen=True, eq=False)
class Job:
    """One mask to compute."""

    network: NetworkName
    #: Stamp and frame_id of the mask: color's if the job has color, else depth's.
    stamp_ns: int
    frame_id: str
    rgb: Frame | None
    #: Aligned depth, or raw depth if ``raw`` is set.
    depth: Frame | None
    raw: bool
    #: (height, width) of the mask in pixels.
    size: tuple[int, int]
    intrinsics: Intrinsics | None
    #: Mode and state of the streams when the job was decided: ``ok``, ``waiting`` or the reason
    #: why the stream is lost.
    mode: Mode
    reason_rgb: str
    reason_depth: str
    #: Age of each stream's newest frame at that time, milliseconds; None before the first frame.
    age_rgb_ms: float | None
    age_depth_ms: float | None
    #: Share of the recent masks that are fused, 0..1; None if not yet known or not fusing.
    fused_share: float | None = None
