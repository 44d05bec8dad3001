# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Gravity in the camera's frame, for HHA: from tf, else estimated from depth and smoothed."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from rgbd_seg_ros.names import shown

Vector = npt.NDArray[np.float32]

#: The base frame of most robots. Its z axis points up (REP 103).
DEFAULT_FRAME = "base_link"
#: Time constant for smoothing estimates, which jitter faster than a camera tilts.
SMOOTHING_S = 0.5
#: Estimates older than this are not used for smoothing.
MEMORY_S = 5.0
#: Transforms of at most this many frames are kept, for /tf and /tf_static each. A large robot has
#: some hundreds.
MAX_FRAMES = 4096
#: At most so many sources of gravity are logged.
MAX_LOGGED = 16
#: Frames with longer names are ignored, in characters.
MAX_NAME = 256


class TransformTree:
    """Rotations between coordinate frames, the newest of each from tf messages.

    Translations are ignored, since they do not rotate gravity. Of more than
    :data:`MAX_FRAMES` frames, those that have not been sent for longest are dropped, so that a
    publisher that invents frames does not fill the memory. Static frames are counted separately,
    because they are sent only once.
    """

    def __init__(self) -> None:
        #: Frame → (parent, rotation that turns the frame's coordinates into the parent's).
        self._moving: dict[str, tuple[str, npt.NDArray[np.float64]]] = {}
        self._static: dict[str, tuple[str, npt.NDArray[np.float64]]] = {}

    def add(self, message: Any, *, static: bool = False) -> None:
        """Add a ``tf2_msgs/TFMessage``; invalid transforms are ignored.

        Args:
            message: the message, of any content.
            static: it comes from /tf_static.
        """
        kept, other = self._static, self._moving
        if not static:
            kept, other = other, kept
        transforms = getattr(message, "transforms", None)
        for item in transforms if isinstance(transforms, Iterable) else ():
            try:
                q = item.transform.rotation
                rotation = rotation_matrix(float(q.x), float(q.y), float(q.z), float(q.w))
                parent, child = str(item.header.frame_id), str(item.child_frame_id)
            except (AttributeError, TypeError, ValueError, OverflowError):
                continue
            parent, child = parent.lstrip("/"), child.lstrip("/")
            if rotation is None or max(len(parent), len(child)) > MAX_NAME:
                continue
            other.pop(child, None)
            kept.pop(child, None)  # so that the frames are in the order of their last messages
            kept[child] = (parent, rotation)
            if len(kept) > MAX_FRAMES:
                del kept[next(iter(kept))]

    def down(self, frame: str, level_frame: str) -> Vector | None:
        """Unit vector (3) pointing down in ``frame``; None if the frames are not connected.

        Args:
            frame: for example a camera's optical frame.
            level_frame: a frame whose z axis points up.
        """
        here, there = self._to_root(frame), self._to_root(level_frame)
        common = next((name for name in here if name in there), None)
        if common is None:
            return None
        down: Vector = here[common].T @ there[common] @ np.array([0.0, 0.0, -1.0])
        return down.astype(np.float32)

    def _to_root(self, frame: str) -> dict[str, npt.NDArray[np.float64]]:
        """The frame itself and its ancestors, each with the rotation into it."""
        frame = frame.lstrip("/")
        rotation = np.eye(3)
        found = {frame: rotation}
        while (link := self._moving.get(frame) or self._static.get(frame)) is not None:
            frame, step = link
            if frame in found:  # a loop, as in a broken robot description
                break
            rotation = step @ rotation
            found[frame] = rotation
        return found


def rotation_matrix(x: float, y: float, z: float, w: float) -> npt.NDArray[np.float64] | None:
    """The 3×3 rotation of a quaternion of any length; None if it is zero or not finite."""
    norm = math.sqrt(x * x + y * y + z * z + w * w)
    if not 1e-6 < norm < math.inf:
        return None
    x, y, z, w = x / norm, y / norm, z / norm, w / norm
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )


class Gravity:
    """Direction of gravity in the camera's frame for each image.

    Transforms are exact and are used unchanged. Estimates jitter, so they are smoothed over
    time. Smoothing restarts if the camera changes, time jumps back, or no estimate arrived for
    ``MEMORY_S``.

    Args:
        level_frame: a frame whose z axis points up; if empty, gravity is always estimated.
        log: called with one line whenever the source of gravity changes.
    """

    def __init__(
        self, level_frame: str = DEFAULT_FRAME, log: Callable[[str], object] = lambda _: None
    ) -> None:
        self.tree = TransformTree()
        self._level_frame = level_frame
        self._log = log
        #: Camera and source of the last logged line.
        #: Camera frames, and whether transforms were known, of which the log tells.
        self._logged: set[tuple[str, bool]] = set()
        #: The smoothed estimate, its time and its camera.
        self._smoothed: tuple[Vector, int, str] | None = None

    def __call__(self, camera_frame: str, stamp_ns: int, estimate: Callable[[], Vector]) -> Vector:
        """Unit vector (3) pointing down in ``camera_frame``.

        Args:
            camera_frame: frame_id of the depth image.
            stamp_ns: its stamp.
            estimate: estimates gravity from the image; called only if no transforms are known.
        """
        known = self.tree.down(camera_frame, self._level_frame) if self._level_frame else None
        source = camera_frame, known is not None
        if source not in self._logged and len(self._logged) < MAX_LOGGED:
            self._logged.add(source)
            self._log(self._message(*source))
        if known is not None:
            self._smoothed = None
            return known
        return self._smooth(estimate(), stamp_ns, camera_frame)

    def _smooth(self, new: Vector, stamp_ns: int, camera_frame: str) -> Vector:
        if self._smoothed is not None:
            old, old_ns, old_frame = self._smoothed
            passed_s = (stamp_ns - old_ns) / 1e9
            if old_frame == camera_frame and 0 <= passed_s < MEMORY_S:
                mixed = old + (new - old) * (1 - math.exp(-passed_s / SMOOTHING_S))
                norm = float(np.linalg.norm(mixed))
                if norm > 0.1:  # otherwise the two directions are opposite
                    new = (mixed / norm).astype(np.float32)
        self._smoothed = (new, stamp_ns, camera_frame)
        return new

    def _message(self, camera_frame: str, known: bool) -> str:
        where = shown(camera_frame)[1:-1] or "the unnamed camera frame"
        start = f"HHA in {where}: intrinsics from camera_info"
        if known:
            return f"{start}, gravity from the transforms to {self._level_frame}"
        if not self._level_frame:
            return f"{start}, gravity estimated from depth"
        return (
            f"{start}, gravity estimated from depth, because no transforms connect this frame to "
            f"{self._level_frame}; publish them, or set gravity_frame to a frame whose z axis "
            "points up"
        )
