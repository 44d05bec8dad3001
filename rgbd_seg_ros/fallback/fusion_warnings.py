# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""What keeps the streams from being fused, in one line each with the remedy."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rgbd_seg_ros.fallback.config import CoreConfig
from rgbd_seg_ros.fallback.pairing import NS_PER_MS, PARTNER, Pairer

#: Share of the last 30 instants without their partner that is worth a warning.
MISSED_WARNING = 0.1


def advice(
    config: CoreConfig,
    pairer: Pairer,
    misaligned: str | None,
    unfit: Sequence[str],
    dependable: bool,
) -> Iterator[tuple[str, str]]:
    """Pairs of a key, by which a condition is told once, and the line to tell.

    Args:
        config: the parameters in force.
        pairer: asked for the lag and the share of missed partners.
        misaligned: why depth is not registered to color, if so.
        unfit: networks that lack the camera intrinsics they need.
        dependable: both streams deliver. A stream that is dying misses its instants too, and
            neither wait nor skew can help that.
    """
    if misaligned is not None:
        yield (
            "aligned",
            f"{misaligned}; color is used alone. Get registered depth (RealSense: "
            "align_depth.enable:=true, topic aligned_depth_to_color), or set assume_aligned "
            "if it is registered",
        )
    if unfit:
        yield (
            "intrinsics",
            f"network {', '.join(unfit)} needs camera intrinsics and no camera_info has come; "
            "it is not used until one does",
        )
    for stream, partner in PARTNER.items():
        lag_ns = pairer.lag_ns(stream)
        if lag_ns is not None and lag_ns > config.max_wait_ms * NS_PER_MS:
            yield (
                "lag",
                f"{partner} comes {lag_ns / NS_PER_MS:.0f} ms after {stream}, more than "
                f"max_wait_ms={config.max_wait_ms:g}, so {stream} is used alone: raise it to fuse",
            )
    if dependable and pairer.missed_fraction > MISSED_WARNING:
        yield (
            "missed",
            f"{pairer.missed_fraction:.0%} of the last 30 instants missed their partner (depth "
            f"lags color by {(pairer.lag_ns('rgb') or 0) / NS_PER_MS:.0f} ms, max_wait_ms="
            f"{config.max_wait_ms:g}, max_skew_ms={config.max_skew_ms:g}): raise one of the two, "
            "or find where frames are lost (`ros2 topic hz` on both)",
        )
