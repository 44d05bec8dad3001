# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Is depth registered to colour? Judged by what the messages say of themselves."""

from __future__ import annotations

from rgbd_seg_ros.frames import Frame, Intrinsics

#: Relative difference that still counts as the same, for aspect ratios and intrinsics.
TOLERANCE = 0.01


def misalignment(rgb: Frame, depth: Frame) -> str | None:
    """Why these two cannot be fused, in one line; None when depth is registered to colour.

    Registered depth has colour's frame_id (neither empty nor ``0``) and aspect ratio, or
    camera_infos that agree once scaled to one size. A difference of size alone is harmless.
    """
    (rgb_h, rgb_w), (depth_h, depth_w) = rgb.size, depth.size
    same_shape = abs(rgb_w * depth_h - depth_w * rgb_h) <= TOLERANCE * rgb_w * depth_h
    if not same_shape:
        return f"depth is {depth_w}×{depth_h} but colour {rgb_w}×{rgb_h}: not registered"
    if rgb.frame_id == depth.frame_id and rgb.frame_id not in ("", "0"):
        return None
    if rgb.intrinsics is not None and depth.intrinsics is not None:
        if _agree(rgb.intrinsics, depth.intrinsics):
            return None
        return "depth's camera_info differs from colour's: not registered"
    return (
        f"depth has frame_id {depth.frame_id!r} and colour {rgb.frame_id!r}: "
        "depth does not seem to be registered"
    )


def _agree(a: Intrinsics, b: Intrinsics) -> bool:
    b = b.resized(a.width, a.height)
    pairs = ((a.fx, b.fx), (a.fy, b.fy), (a.cx, b.cx), (a.cy, b.cy))
    return all(abs(x - y) <= TOLERANCE * max(a.width, a.height) for x, y in pairs)
