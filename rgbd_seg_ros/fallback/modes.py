# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The five modes, and which one the streams allow."""

from __future__ import annotations

import enum


class Mode(str, enum.Enum):
    """State of the streams, exactly one word."""

    STARTING = "STARTING"
    RGBD = "RGBD"
    RGB_ONLY = "RGB_ONLY"
    DEPTH_ONLY = "DEPTH_ONLY"
    NO_INPUT = "NO_INPUT"


def possible_mode(*, fused: bool, rgb: bool, depth: bool) -> Mode:
    """The best mode for what is there.

    Args:
        fused: color and registered depth are OK, and the fused network may be used.
        rgb: color is OK, and its network may be used.
        depth: depth, registered or raw, is OK, and its network may be used.
    """
    if fused:
        return Mode.RGBD
    if rgb:
        return Mode.RGB_ONLY
    return Mode.DEPTH_ONLY if depth else Mode.NO_INPUT
