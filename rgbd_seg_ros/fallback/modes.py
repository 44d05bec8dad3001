# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The five modes, and which one the streams allow."""

from __future__ import annotations

import enum
from collections.abc import Collection

from rgbd_seg_ros.frames import NetworkName


class Mode(str, enum.Enum):
    """State of the streams, exactly one word."""

    STARTING = "STARTING"
    RGBD = "RGBD"
    RGB_ONLY = "RGB_ONLY"
    DEPTH_ONLY = "DEPTH_ONLY"
    NO_INPUT = "NO_INPUT"


def possible_mode(
    *, rgb_ok: bool, depth_ok: bool, fusible: bool, networks: Collection[NetworkName]
) -> Mode:
    """The best mode for what is there.

    Args:
        rgb_ok: colour is OK.
        depth_ok: depth, registered or raw, is OK.
        fusible: depth is registered to colour and the fused network has all it needs.
        networks: those that may be used: in the bundle, and not ruled out by ``force_network``.
    """
    if rgb_ok and depth_ok and fusible and "rgbd" in networks:
        return Mode.RGBD
    if rgb_ok and "rgb" in networks:
        return Mode.RGB_ONLY
    if depth_ok and "depth" in networks:
        return Mode.DEPTH_ONLY
    return Mode.NO_INPUT
