# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Is depth registered to color, and which intrinsics hold? Judged by what the messages say."""

from __future__ import annotations

from rgbd_seg_ros.fallback.config import CoreConfig
from rgbd_seg_ros.frames import Frame, Intrinsics, Stream

#: Relative difference that still counts as the same, for aspect ratios and intrinsics.
TOLERANCE = 0.01


class StreamGeometry:
    """The newest usable frame of each stream, and what follows for fusion and intrinsics."""

    def __init__(self) -> None:
        self._newest: dict[Stream, Frame] = {}
        self._misaligned: str | None = None

    def note(self, stream: Stream, frame: Frame) -> None:
        """Take a newer frame."""
        self._newest[stream] = frame
        rgb, depth = self._newest.get("rgb"), self._newest.get("depth")
        if rgb is not None and depth is not None:
            self._misaligned = misalignment(rgb, depth)

    def misaligned(self, config: CoreConfig) -> str | None:
        """Why the newest frames cannot be fused; None when they can, as far as is known."""
        return None if config.assume_aligned else self._misaligned

    def intrinsics(self, stream: Stream, config: CoreConfig) -> Intrinsics | None:
        """Of the newest frame of ``stream``; color and registered depth lend theirs."""
        sources: list[Stream] = [stream]
        if stream != "depth_raw" and self.misaligned(config) is None:
            sources += ["rgb", "depth"]
        frames = (self._newest.get(source) for source in sources)
        return next((f.intrinsics for f in frames if f and f.intrinsics), None)

    def mask_size(self, stream: Stream, frame: Frame, config: CoreConfig) -> tuple[int, int]:
        """(height, width) of the mask made for ``frame``: registered depth has color's."""
        rgb = self._newest.get("rgb")
        if stream != "depth" or rgb is None or self.misaligned(config) is not None:
            return frame.size
        return rgb.size


def misalignment(rgb: Frame, depth: Frame) -> str | None:
    """Why these two cannot be fused, in one line; None when depth is registered to color.

    Registered depth has color's frame_id (neither empty nor ``0``) and aspect ratio, or
    camera_infos that agree once scaled to one size. A difference of size alone is harmless.
    """
    (rgb_h, rgb_w), (depth_h, depth_w) = rgb.size, depth.size
    same_shape = abs(rgb_w * depth_h - depth_w * rgb_h) <= TOLERANCE * rgb_w * depth_h
    if not same_shape:
        return f"depth is {depth_w}×{depth_h} but color {rgb_w}×{rgb_h}: not registered"
    if rgb.frame_id == depth.frame_id and rgb.frame_id not in ("", "0"):
        return None
    if rgb.intrinsics is not None and depth.intrinsics is not None:
        if _agree(rgb.intrinsics, depth.intrinsics):
            return None
        return "depth's camera_info differs from color's: not registered"
    return (
        f"depth has frame_id {depth.frame_id!r} and color {rgb.frame_id!r}: "
        "depth does not seem to be registered"
    )


def _agree(a: Intrinsics, b: Intrinsics) -> bool:
    b = b.resized(a.width, a.height)
    pairs = ((a.fx, b.fx), (a.fy, b.fy), (a.cx, b.cx), (a.cy, b.cy))
    return all(abs(x - y) <= TOLERANCE * max(a.width, a.height) for x, y in pairs)
