# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Camera poses: single views of a room, and smooth drives of a robot through it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from rgbd_seg_ros.frames import Intrinsics
from training.data.synthetic.primitives import CLASS, FIRST_WALL
from training.data.synthetic.raycast import Pose
from training.data.synthetic.scenes import Scene

#: Minimum distance in meters of single views and of a driving robot from walls and furniture. By
#: cutting corners, the robot may come up to 0.1 m closer.
CLEARANCE_M, ROBOT_CLEARANCE_M = 0.3, 0.4
#: Weight of each class in the score of a view; rare classes have higher weights.
_WEIGHTS = {
    "floor": 0.0, "wall": 0.0, "ceiling": 0.6, "ball": 1.5, "lamp": 1.6, "picture": 1.6,
    "rug": 1.4, "window": 1.3, "door": 1.3, "shelf": 1.3, "box": 1.2, "chair": 1.3,
}  # fmt: skip
_WEIGHT = np.array([_WEIGHTS.get(name, 1.0) for name in CLASS])
_STEPS_PER_S = 20


def draw_intrinsics(rng: np.random.Generator, size: tuple[int, int]) -> Intrinsics:
    """Draw a camera with 55–87° horizontal field of view and a slightly displaced center."""
    height, width = size
    focal = width / 2 / np.tan(np.radians(rng.uniform(55, 87)) / 2)
    cx = (width - 1) / 2 + rng.normal(0, 0.01) * width
    cy = (height - 1) / 2 + rng.normal(0, 0.01) * height
    return Intrinsics(float(focal), float(focal), float(cx), float(cy), width, height)


def _free_points(
    scene: Scene, rng: np.random.Generator, count: int, clearance_m: float
) -> npt.NDArray[np.float64]:
    """N×2 floor points with enough clearance, or the single best one if none has enough."""
    points = rng.random((16 * count, 2)) * np.array(scene.room_m[:2])
    clear = scene.clearance_m(points)
    good = points[clear > clearance_m][:count]
    return np.asarray(good if len(good) else points[clear.argmax()][None])


def draw_view(scene: Scene, rng: np.random.Generator, intrinsics: Intrinsics) -> Pose:
    """Draw a robot's view: the one of twelve random poses that shows the most classes."""
    points = _free_points(scene, rng, 12, CLEARANCE_M)
    views = []
    for i in range(12):
        x, y = points[i % len(points)]
        z = rng.uniform(0.2, 1.6)
        target = scene.primitives.center[rng.integers(0, len(scene.primitives.kind))]
        yaw = np.arctan2(target[1] - y, target[0] - x) + rng.normal(0, 0.2)
        # Low robots look up, high ones down.
        pitch = np.clip(rng.normal(0.28 - 0.38 * z, 0.2), -0.75, 0.5)
        pose = Pose.looking((x, y, z), float(yaw), float(pitch), float(rng.normal(0, 0.05)))
        score = _interest(scene, pose, intrinsics) + rng.uniform(0, 1.5)
        views.append((score, pose))
    return max(views, key=lambda view: view[0])[1]


def _interest(scene: Scene, pose: Pose, k: Intrinsics) -> float:
    """Sum of the weights of all classes in view (by their centers); near ones count more."""
    camera = (scene.primitives.center - pose.position) @ pose.rotation
    z = np.maximum(camera[:, 2], 1e-3)
    u, v = camera[:, 0] / z * k.fx + k.cx, camera[:, 1] / z * k.fy + k.cy
    seen = (camera[:, 2] > 0.5) & (u > 0) & (u < k.width) & (v > 0) & (v < k.height)
    near = np.zeros(len(_WEIGHT))
    value = np.clip(2.2 / z, 0.2, 1.0)
    np.maximum.at(near, scene.primitives.label[seen], value[seen])
    return float((near * _WEIGHT).sum())


def drive_poses(
    scene: Scene, rng: np.random.Generator, intrinsics: Intrinsics, num_frames: int, fps: float
) -> list[Pose]:
    """Poses of a robot that wanders over the free floor and looks at one object after another.

    The beginning of a drive does not depend on its length. Speeds stay below 0.4 m/s and 50°/s.
    """
    dt = 1 / _STEPS_PER_S
    steps = int(np.ceil((num_frames - 1) / fps * _STEPS_PER_S)) + 2
    positions = _wander(scene, np.random.default_rng(rng.integers(2**63)), steps)
    gaze = np.random.default_rng(rng.integers(2**63))
    height, tilt = rng.uniform(0.6, 1.35), rng.uniform(-0.05, 0.1)
    phase = rng.uniform(0, 2 * np.pi, 3)
    target = _choose_target(scene, gaze, intrinsics, (*positions[0], height), 0.0)
    yaw = float(np.arctan2(target[1] - positions[0, 1], target[0] - positions[0, 0]))
    rate, hold, yaws = 0.0, int(4 / dt), []
    for x, y in positions:
        if hold <= 0:
            target = _choose_target(scene, gaze, intrinsics, (x, y, height), yaw)
            hold = int(gaze.uniform(3, 6) / dt)
        hold -= 1
        error = np.arctan2(target[1] - y, target[0] - x) - yaw
        error = (error + np.pi) % (2 * np.pi) - np.pi
        # A critically damped servo with limited rate and acceleration turns toward the target.
        rate += float(np.clip((1.2 * 1.2 * error - 2 * 1.2 * rate) * dt, -1.2 * dt, 1.2 * dt))
        rate = float(np.clip(rate, -0.8, 0.8))
        yaw += rate * dt
        yaws.append(yaw)
    poses = []
    for i in range(num_frames):
        t = i / fps
        j = int(t * _STEPS_PER_S)
        f = t * _STEPS_PER_S - j
        x, y = (1 - f) * positions[j] + f * positions[j + 1]
        bob = 0.006 * np.sin(2.1 * t + phase[0])
        pitch = 0.15 - 0.3 * height + tilt + 0.12 * np.sin(0.35 * t + phase[1])
        roll = 0.02 * np.sin(0.8 * t + phase[2])
        heading = (1 - f) * yaws[j] + f * yaws[j + 1]
        poses.append(Pose.looking((x, y, height + bob), heading, float(pitch), float(roll)))
    return poses


def _choose_target(
    scene: Scene, rng: np.random.Generator, k: Intrinsics, position: tuple[float, float, float],
    seen_yaw: float,
) -> npt.NDArray[np.float64]:  # fmt: skip
    """Of eight objects at least 1.5 m away, the one with the most classes in its direction."""
    centers = scene.primitives.center[FIRST_WALL:]
    away = np.hypot(centers[:, 0] - position[0], centers[:, 1] - position[1])
    far = centers[away > min(1.5, float(away.max()) - 1e-9)]
    best, best_score = far[0], -np.inf
    for target in far[rng.integers(0, len(far), 8)]:
        yaw = float(np.arctan2(target[1] - position[1], target[0] - position[0]))
        # A target away from the current view shows more of the room.
        score = _interest(scene, Pose.looking(position, yaw, -0.1), k) + rng.uniform(0, 1.5)
        score -= 4 * float(np.cos(yaw - seen_yaw))
        if score > best_score:
            best, best_score = target, score
    return np.asarray(best)


def _wander(scene: Scene, rng: np.random.Generator, steps: int) -> npt.NDArray[np.float64]:
    """Steps×2 positions at 20 Hz: a path along free straight segments with rounded corners."""
    nodes = _free_points(scene, rng, 60, ROBOT_CLEARANCE_M)
    links = [_reachable(scene, node, nodes) for node in nodes]
    here = int(np.argmax([len(link) for link in links]))
    speed = 0.35 / _STEPS_PER_S
    # A mean over 1.5 s of driving cuts a corner by at most 0.1 m, which the clearance allows.
    kernel = np.hanning(31)
    kernel /= kernel.sum()
    walk = [nodes[here]] * (len(kernel) // 2 + 1)
    before = -1
    while len(walk) < steps + len(kernel):
        ahead = [n for n in links[here] if n != before] or links[here]
        if not ahead:  # no reachable node: stand still
            walk.append(nodes[here])
            continue
        # Long segments show more of the room.
        options = rng.choice(ahead, size=min(2, len(ahead)), replace=False).tolist()
        following = max(options, key=lambda n: _distance(nodes[n], nodes[here]))
        count = max(1, int(_distance(nodes[following], nodes[here]) / speed))
        for f in np.arange(1, count + 1) / count:
            walk.append((1 - f) * nodes[here] + f * nodes[following])
        before, here = here, following
    dense = np.array(walk)
    smooth = [np.convolve(dense[:, i], kernel, mode="valid")[:steps] for i in range(2)]
    return np.stack(smooth, axis=1)


def _distance(a: npt.NDArray[np.float64], b: npt.NDArray[np.float64]) -> float:
    return float(np.hypot(a[0] - b[0], a[1] - b[1]))


def _reachable(
    scene: Scene, start: npt.NDArray[np.float64], nodes: npt.NDArray[np.float64]
) -> list[int]:
    """Nodes at least 0.5 m from ``start`` that a straight free line connects to it."""
    f = np.linspace(0, 1, 40)[None, :, None]
    lines = start + f * (nodes[:, None, :] - start)
    clear = scene.clearance_m(lines.reshape(-1, 2)).reshape(len(nodes), -1).min(axis=1)
    far = np.hypot(*(nodes - start).T) > 0.5
    return [int(i) for i in np.flatnonzero((clear > ROBOT_CLEARANCE_M) & far)]
