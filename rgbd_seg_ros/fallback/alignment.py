# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Decides from headers and camera_info whether depth is aligned, and which intrinsics to use."""

from __future__ import annotations

from dataclasses import replace

from rgbd_seg_ros.camera_names import name_two_cameras, same_frame
from rgbd_seg_ros.fallback.config import CoreConfig
from rgbd_seg_ros.frames import AnyFrame, Frame, Intrinsics, Stream, same_aspect
from rgbd_seg_ros.names import shown

#: Difference of intrinsics that count as equal, as a share of the image's longer side.
TOLERANCE = 0.01


class StreamGeometry:
    """Determines alignment, intrinsics and mask size from each stream's newest usable frame."""

    def __init__(self, config: CoreConfig) -> None:
        self.config = config
        self._newest: dict[Stream, Frame] = {}
        #: frame_id and intrinsics that differ from those of the newest frame, and their run.
        self._changed: dict[Stream, tuple[tuple[str, Intrinsics | None], int]] = {}
        self._misaligned: str | None = None

    def update(self, stream: Stream, frame: Frame) -> None:
        """Replace the newest usable frame of ``stream``; the header of a damaged image may lie.

        Another frame_id, or other intrinsics than before, count from the third frame in a row on:
        those of two drivers on one topic alternate, and the mode must not alternate with them.
        """
        self._newest[stream] = self._steady(stream, frame)
        rgb, depth = self._newest.get("rgb"), self._newest.get("depth")
        if rgb is not None and depth is not None:
            self._misaligned = misalignment(rgb, depth)

    def _steady(self, stream: Stream, frame: Frame) -> Frame:
        """The frame with the frame_id and the intrinsics that count."""
        kept = self._newest.get(stream)
        new = frame.frame_id, frame.intrinsics
        if kept is None or new in ((kept.frame_id, kept.intrinsics), (kept.frame_id, None)):
            # A missing camera_info says nothing against the last one.
            self._changed.pop(stream, None)
            intrinsics = frame.intrinsics or (kept.intrinsics if kept else None)
            return replace(frame, intrinsics=intrinsics)
        former, run = self._changed.get(stream, (new, 0))
        self._changed[stream] = new, run + 1 if former == new else 1
        first = kept.intrinsics is None and frame.frame_id == kept.frame_id
        if first or 0 < self.config.accept_change_after <= self._changed[stream][1]:
            del self._changed[stream]
            return frame
        return replace(frame, frame_id=kept.frame_id, intrinsics=kept.intrinsics)

    @property
    def misaligned(self) -> str | None:
        """Why depth is not aligned to color; None if it is, or until both have been seen."""
        return None if self.config.assume_aligned else self._misaligned

    def has_strays(self, rgb: AnyFrame, depth: AnyFrame) -> bool:
        """Whether a frame of another camera than usual makes this pair misaligned."""
        frames: dict[Stream, AnyFrame] = {"rgb": rgb, "depth": depth}
        usual = all(
            stream not in self._newest or self._newest[stream].frame_id == frame.frame_id
            for stream, frame in frames.items()
        )
        return not (usual or self.config.assume_aligned or misalignment(rgb, depth) is None)

    def intrinsics(self, stream: Stream) -> Intrinsics | None:
        """Intrinsics of ``stream``; color and aligned depth can use each other's."""
        sources: list[Stream] = [stream]
        if stream != "depth_raw" and self.misaligned is None:
            sources += ["rgb", "depth"]
        frames = (self._newest.get(source) for source in sources)
        return next((f.intrinsics for f in frames if f and f.intrinsics), None)

    def mask_size(self, stream: Stream, frame: AnyFrame) -> tuple[int, int]:
        """(height, width) of the mask of ``frame``; aligned depth gets color's size."""
        rgb = self._newest.get("rgb")
        if stream != "depth" or rgb is None or self.misaligned is not None:
            return frame.size
        return rgb.size


def misalignment(rgb: AnyFrame, depth: AnyFrame) -> str | None:
    """Why this depth is not aligned to this color image, in one line; None if it is.

    Drivers call aligned depth "registered". It has color's aspect ratio within 1 %, and either
    color's frame_id (neither empty nor ``0``) or a camera_info that agrees with color's within 1 %
    of the image's longer side once both are scaled to one size. The sizes may differ.

    Equal camera_infos prove nothing if the frame_ids name two cameras, such as ``front_color`` and
    ``rear_color``: two cameras of one model have equal camera_infos. They count for two frame_ids
    of one camera, because some drivers give aligned depth a frame_id of its own (RealSense's for
    ROS 1: ``camera_aligned_depth_to_color_frame``).
    """
    if not same_aspect(rgb.size, depth.size):
        (rgb_h, rgb_w), (depth_h, depth_w) = rgb.size, depth.size
        return f"depth is not aligned: it is {depth_w}×{depth_h} but color is {rgb_w}×{rgb_h}"
    if same_frame(rgb.frame_id, depth.frame_id):
        return None
    if name_two_cameras(rgb.frame_id, depth.frame_id):
        return (
            f"depth seems to be from another camera: its frame_id is {shown(depth.frame_id)} but "
            f"color's is {shown(rgb.frame_id)}"
        )
    if rgb.intrinsics is not None and depth.intrinsics is not None:
        if _agree(rgb.intrinsics, depth.intrinsics):
            return None
        return "depth is not aligned: its camera_info differs from color's"
    if rgb.frame_id == depth.frame_id:
        return (
            f"nothing shows that depth is aligned: both frame_ids are {shown(rgb.frame_id)}, and "
            "there are no two camera_infos to compare"
        )
    return (
        f"depth does not seem to be aligned: its frame_id is {shown(depth.frame_id)} but "
        f"color's is {shown(rgb.frame_id)}"
    )


def _agree(a: Intrinsics, b: Intrinsics) -> bool:
    b = b.resized(a.width, a.height)
    pairs = ((a.fx, b.fx), (a.fy, b.fy), (a.cx, b.cx), (a.cy, b.cy))
    return all(abs(x - y) <= TOLERANCE * max(a.width, a.height) for x, y in pairs)
