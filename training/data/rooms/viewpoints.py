# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Viewpoints: cameras as robots carry them, with the focal lengths of real sensors."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rgbd_seg_ros.frames import Intrinsics
from training.data.rooms.path_tracer import LoadedRoom, Motion
from training.data.rooms.room_scene import RoomScene
from training.data.synthetic.primitives import CLASS
from training.data.synthetic.raycast import Pose

#: Sensor → horizontal field of view in degrees (manufacturers' data sheets).
SENSORS_FOV_DEG: dict[str, float] = {
    "RealSense D415": 65.0, "RealSense D435": 69.0, "RealSense D455": 87.0, "OAK-D": 69.0,
    "OAK-D Lite": 69.0, "Kinect v1": 57.0, "Kinect v2": 70.6, "Azure Kinect": 75.0,
    "Orbbec Astra": 60.0, "Orbbec Femto": 71.0, "Orbbec Gemini 2": 86.0,
    "ZED 2, narrow lens": 72.0,
}  # fmt: skip
#: Share of views with any field of view from 45° to 90°, such as cropped images.
ANY_FOV = 0.3
#: Share of views that look at an object from close by, and of those that are strongly rolled.
CLOSE, ROLLED = 0.2, 0.1
#: Poses among which the best one is chosen, and the width of the images that judge them.
TRIES, PROBE_WIDTH = 10, 40
#: Value of a class in view. Rare classes and those that stand for most of a room's use count more.
_VALUES = {
    "floor": 0.8, "wall": 1.0, "ceiling": 0.9, "door": 1.1, "window": 1.0, "table": 1.4,
    "chair": 1.3, "sofa": 2.5, "bed": 1.8, "cabinet": 1.6, "shelf": 1.7, "box": 0.8, "ball": 0.5,
    "lamp": 1.6, "picture": 1.6, "rug": 0.3,
}  # fmt: skip
_VALUE = np.array([_VALUES[name] for name in CLASS])


@dataclass(frozen=True)
class Viewpoint:
    """A camera in a room."""

    pose: Pose
    intrinsics: Intrinsics
    #: Movement during the exposure, or None.
    motion: Motion | None


def draw_lens(rng: np.random.Generator, size: tuple[int, int]) -> Intrinsics:
    """A pinhole camera with the field of view of a real sensor and a slightly shifted center."""
    height, width = size
    if rng.random() < ANY_FOV:
        fov = rng.uniform(45, 90)
    else:
        fov = float(rng.choice(list(SENSORS_FOV_DEG.values()))) + rng.normal(0, 1)
    focal = float(width / 2 / np.tan(np.radians(np.clip(fov, 45, 90)) / 2))
    cx = (width - 1) / 2 + rng.normal(0, 0.01) * width
    cy = (height - 1) / 2 + rng.normal(0, 0.01) * height
    return Intrinsics(focal, focal * rng.normal(1, 0.003), float(cx), float(cy), width, height)


def draw_viewpoint(
    room: RoomScene, loaded: LoadedRoom, rng: np.random.Generator, size: tuple[int, int]
) -> Viewpoint:
    """The best of some random poses, judged by the classes that a small image of each shows."""
    k = draw_lens(rng, size)
    small = k.resized(PROBE_WIDTH, max(8, round(PROBE_WIDTH * size[0] / size[1])))
    close = rng.random() < CLOSE
    best, best_score = None, -np.inf
    for _ in range(TRIES):
        pose = _pose(room, rng, close)
        score = _score(*loaded.probe(pose, small)) + rng.uniform(0, 0.5)
        if best is None or score > best_score:
            best, best_score = pose, score
    assert best is not None
    motion: Motion | None = None
    if rng.random() < 0.35:
        motion = rng.normal(0, 0.005, 3), rng.normal(0, 0.006, 3)
    return Viewpoint(best, k, motion)


def _pose(room: RoomScene, rng: np.random.Generator, close: bool) -> Pose:
    w, d, h = room.room_m
    z = float(np.clip(rng.uniform(0.15, 1.6), 0.15, h - 0.3))
    target = np.array([w / 2, d / 2, 0.8])
    if len(room.targets):
        target = room.targets[rng.integers(0, len(room.targets))]
    floor = rng.random((64, 2)) * np.array([w, d])
    free = floor[room.layout.clearance_m(floor) > (0.15 if close else 0.25)]
    if len(free):
        away = np.hypot(*(free - target[:2]).T)
        good = free[(away > 0.35) & (away < (1.2 if close else 20))]
        x, y = (good if len(good) else free)[0]
    else:
        x, y = w / 2, d / 2
    yaw = float(np.arctan2(target[1] - y, target[0] - x) + rng.normal(0, 0.25))
    # From 10° up to 40° down; high cameras and those that look at something close look down more.
    down = rng.normal(6 + 12 * (z - 0.6), 9)
    if close:
        down = np.degrees(np.arctan2(z - target[2], np.hypot(target[0] - x, target[1] - y)))
        down += rng.normal(0, 8)
    roll = rng.normal(0, 0.25) if rng.random() < ROLLED else rng.normal(0, 0.02)
    pitch = -np.radians(np.clip(down, -10, 40))
    return Pose.looking((float(x), float(y), z), yaw, float(pitch), float(roll))


def _score(depth: npt.NDArray[np.float32], labels: npt.NDArray[np.uint8]) -> float:
    """How much a view shows; views of almost nothing or from within an object are bad."""
    share = np.bincount(labels.ravel(), minlength=256) / labels.size
    known = share[: len(_VALUE)]
    score = float((_VALUE * np.sqrt(known)).sum())
    near = float((depth < 0.22).mean())
    return score - 6 * near - 4 * max(0.0, float(share.max()) - 0.6) - 2 * float(share[255])
