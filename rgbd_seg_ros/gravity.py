# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Which way is down, for HHA: from the robot's transforms, else found in depth and smoothed."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

Vector = npt.NDArray[np.float32]

#: A frame whose z axis points up (REP 103), as that of every robot's base does.
DEFAULT_FRAME = "base_link"
#: Time constant of the smoothing of estimates: a camera tilts slower than they jitter.
SMOOTHING_S = 0.5
#: An estimate older than this says nothing about now.
MEMORY_S = 5.0


class TransformTree:
    """Rotations between coordinate frames, from tf messages; of each transform the newest holds.

    Translations are left out, since they do not turn gravity.
    """

    def __init__(self) -> None:
        #: Frame → (parent, rotation that turns the frame's coordinates into the parent's).
        self._parents: dict[str, tuple[str, npt.NDArray[np.float64]]] = {}

    def add(self, message: Any) -> None:
        """Take a ``tf2_msgs/TFMessage`` of /tf or /tf_static; what is no rotation is left out."""
        for item in message.transforms:
            q = item.transform.rotation
            rotation = rotation_matrix(float(q.x), float(q.y), float(q.z), float(q.w))
            if rotation is not None:
                parent = str(item.header.frame_id).lstrip("/")
                self._parents[str(item.child_frame_id).lstrip("/")] = (parent, rotation)

    def down(self, frame: str, level_frame: str) -> Vector | None:
        """Unit vector (3) that points down, in ``frame``; None where no transforms lead there.

        Args:
            frame: for example a camera's optical frame.
            level_frame: the frame whose z axis points up.
        """
        here, there = self._to_root(frame), self._to_root(level_frame)
        common = next((name for name in here if name in there), None)
        if common is None:
            return None
        down: Vector = here[common].T @ there[common] @ np.array([0.0, 0.0, -1.0])
        return down.astype(np.float32)

    def _to_root(self, frame: str) -> dict[str, npt.NDArray[np.float64]]:
        """Every ancestor of a frame, itself first, with the rotation into it."""
        frame = frame.lstrip("/")
        rotation = np.eye(3)
        found = {frame: rotation}
        while frame in self._parents:
            frame, step = self._parents[frame]
            if frame in found:  # a loop, which a broken robot description may contain
                break
            rotation = step @ rotation
            found[frame] = rotation
        return found


def rotation_matrix(x: float, y: float, z: float, w: float) -> npt.NDArray[np.float64] | None:
    """The 3×3 rotation of a quaternion, which need not be of unit length; None if it is none."""
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
    """Down in the camera's frame, picture by picture.

    Transforms are exact and are taken as they come. Estimates jitter, so they are smoothed over
    time; they start anew when the camera changes, time jumps back or nothing came for a while.

    Args:
        level_frame: the frame whose z axis points up; empty: always estimate.
        tell: takes one line whenever the source changes.
    """

    def __init__(
        self, level_frame: str = DEFAULT_FRAME, tell: Callable[[str], object] = lambda _: None
    ) -> None:
        self.tree = TransformTree()
        self._level_frame = level_frame
        self._tell = tell
        self._told: tuple[str, bool] | None = None
        #: The smoothed estimate, its time and its camera.
        self._smoothed: tuple[Vector, int, str] | None = None

    def __call__(self, camera_frame: str, stamp_ns: int, estimate: Callable[[], Vector]) -> Vector:
        """Unit vector (3) that points down in ``camera_frame``.

        Args:
            camera_frame: the picture's frame_id.
            stamp_ns: the picture's time.
            estimate: finds gravity in this picture; called only if no transforms tell it.
        """
        known = self.tree.down(camera_frame, self._level_frame) if self._level_frame else None
        if self._told != (camera_frame, known is not None):
            self._told = (camera_frame, known is not None)
            self._tell(self._words(camera_frame, known is not None))
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
                if norm > 0.1:  # not of two opposite directions
                    new = (mixed / norm).astype(np.float32)
        self._smoothed = (new, stamp_ns, camera_frame)
        return new

    def _words(self, camera_frame: str, known: bool) -> str:
        start = f"HHA in {camera_frame or 'the unnamed camera frame'}: intrinsics of camera_info,"
        if known:
            return f"{start} gravity by the transforms from {self._level_frame}"
        if not self._level_frame:
            return f"{start} gravity estimated from depth"
        return (
            f"{start} gravity estimated from depth, as no transforms lead to {self._level_frame}; "
            "publish them, or set gravity_frame to a frame whose z axis points up"
        )
