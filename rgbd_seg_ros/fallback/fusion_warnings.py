# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Warnings about anything that prevents the fusion of color and depth, each with a remedy."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rgbd_seg_ros.fallback.config import CoreConfig
from rgbd_seg_ros.fallback.pairing import PARTNER, Pairer
from rgbd_seg_ros.frames import NS_PER_MS

#: Warn if more than this share of the last 30 frame pairs is incomplete.
MISSED_WARNING = 0.1


def fusion_problems(
    config: CoreConfig,
    pairer: Pairer,
    *,
    misaligned: str | None,
    without_intrinsics: Sequence[str],
    delivering: bool,
) -> Iterator[tuple[str, str]]:
    """Yield (key, message) for every problem; the core logs each key once.

    Args:
        config: current parameters.
        pairer: provides the lag and the share of missing partner frames.
        misaligned: why depth is not aligned to color; None if it is.
        without_intrinsics: networks that need camera intrinsics and have none.
        delivering: both streams deliver usable frames. If not, missing partners give no reason to
            change the wait or the skew.
    """
    if misaligned is not None:
        yield (
            "aligned",
            f"{misaligned}; only color is used. Get aligned depth from the driver (RealSense: "
            "align_depth.enable:=true, topic aligned_depth_to_color), or set assume_aligned if "
            "depth is aligned",
        )
    if without_intrinsics:
        yield (
            "intrinsics",
            f"network {', '.join(without_intrinsics)} needs camera intrinsics and is not used "
            "until a camera_info arrives",
        )
    for stream, partner in PARTNER.items():
        lag_ns = pairer.lag_ns(stream)
        if lag_ns is not None and lag_ns > config.max_wait_ms * NS_PER_MS:
            yield (
                "lag",
                f"{partner} arrives {lag_ns / NS_PER_MS:.0f} ms after {stream}, more than "
                f"max_wait_ms={config.max_wait_ms:g}, so only {stream} is used: raise max_wait_ms "
                "to fuse them",
            )
    if delivering and pairer.missed_fraction > MISSED_WARNING:
        yield (
            "missed",
            f"{pairer.missed_fraction:.0%} of the last 30 frame pairs are incomplete (depth "
            f"lags color by {(pairer.lag_ns('rgb') or 0) / NS_PER_MS:.0f} ms, max_wait_ms="
            f"{config.max_wait_ms:g}, max_skew_ms={config.max_skew_ms:g}): raise max_wait_ms or "
            "max_skew_ms, or find out where frames are lost (`ros2 topic hz` on both topics)",
        )
