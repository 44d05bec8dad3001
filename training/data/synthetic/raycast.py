# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Ray casting: the exact nearest hit of every camera ray with the primitives of a room.

Ray directions have z = 1 in the optical frame (x right, y down), so a ray's parameter is its
z-depth. A primitive is tested only inside the rectangle of pixels that it projects to, which makes
small furniture very cheap.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rgbd_seg_ros.frames import Intrinsics
from training.data.synthetic.primitives import (
    BOX,
    CEILING,
    ELLIPSOID,
    FIRST_WALL,
    FLOOR,
    RECT,
    IntArray,
    Primitives,
)

Array = npt.NDArray[np.float32]

#: Surfaces closer than this to the camera's plane are not drawn, meters.
NEAR_M = 0.02

_CORNERS = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], np.float64)
_EDGES = np.array([(i, i | b) for i in range(8) for b in (1, 2, 4) if not i & b])


@dataclass(frozen=True)
class Pose:
    """A camera in the world: position in meters and 3×3 rotation from optical to world axes."""

    position: npt.NDArray[np.float64]
    rotation: npt.NDArray[np.float64]

    @staticmethod
    def looking(
        position: npt.ArrayLike, yaw: float, pitch: float = 0.0, roll: float = 0.0
    ) -> Pose:
        """A pose from angles in radians: ``yaw`` from x to y, ``pitch`` up, ``roll`` clockwise."""
        forward = np.array(
            [np.cos(yaw) * np.cos(pitch), np.sin(yaw) * np.cos(pitch), np.sin(pitch)]
        )
        right = np.array([np.sin(yaw), -np.cos(yaw), 0.0])
        down = np.cross(forward, right)
        turned = np.cos(roll) * right + np.sin(roll) * down
        axes = np.stack([turned, np.cross(forward, turned), forward], axis=1)
        return Pose(np.asarray(position, np.float64), axes)

    @property
    def gravity(self) -> Array:
        """Unit vector pointing down, in the optical frame."""
        return np.asarray(-self.rotation[2], np.float32)


def ray_directions(intrinsics: Intrinsics, rotation: npt.NDArray[np.float64]) -> Array:
    """3×H×W ray directions in the world whose optical z is 1."""
    k, r = intrinsics, rotation.astype(np.float32)
    x = (np.arange(k.width, dtype=np.float32) - np.float32(k.cx)) / np.float32(k.fx)
    y = (np.arange(k.height, dtype=np.float32) - np.float32(k.cy)) / np.float32(k.fy)
    return np.stack([r[i, 0] * x[None, :] + (r[i, 1] * y[:, None] + r[i, 2]) for i in range(3)])


def pixel_windows(prims: Primitives, pose: Pose, k: Intrinsics) -> IntArray:
    """N×4 half-open pixel rectangles (top, bottom, left, right); empty if out of view.

    The twelve edges of each bounding box are clipped at the near plane, so a box that extends
    behind the camera still gets a tight rectangle instead of the whole image.
    """
    local = _CORNERS * prims.extent()[:, None, :]
    c, s = prims.turn[:, None, 0], prims.turn[:, None, 1]
    world = np.stack(
        [
            c * local[..., 0] - s * local[..., 1],
            s * local[..., 0] + c * local[..., 1],
            local[..., 2],
        ],
        axis=-1,
    )
    camera = (world + (prims.center - pose.position)[:, None, :]) @ pose.rotation
    a, b = camera[:, _EDGES[:, 0]], camera[:, _EDGES[:, 1]]
    za, zb = a[..., 2], b[..., 2]
    crossing = (za < NEAR_M) != (zb < NEAR_M)
    f = np.where(crossing, (NEAR_M - za) / np.where(crossing, zb - za, 1.0), 0.0)
    points = np.concatenate([camera, a + f[..., None] * (b - a)], axis=1)
    z = np.concatenate([camera[..., 2], np.where(crossing, NEAR_M, -1.0)], axis=1)
    ahead = z >= NEAR_M
    z = np.where(ahead, z, 1.0)
    u = points[..., 0] / z * k.fx + k.cx
    v = points[..., 1] / z * k.fy + k.cy
    windows = np.zeros((len(prims.kind), 4), np.int32)
    for column, (value, size) in enumerate(((v, k.height), (u, k.width))):
        low = np.where(ahead, value, np.inf).min(axis=1)
        high = np.where(ahead, value, -np.inf).max(axis=1)
        windows[:, 2 * column] = np.clip(np.floor(np.clip(low, -1, size)), 0, size)
        windows[:, 2 * column + 1] = np.clip(np.ceil(np.clip(high, -1, size)) + 1, 0, size)
    windows[~ahead.any(axis=1)] = 0
    return windows


def cast(
    prims: Primitives, room_m: tuple[float, float, float], pose: Pose, intrinsics: Intrinsics
) -> tuple[Array, IntArray, Array]:
    """Find the nearest hit of every pixel's ray.

    Args:
        prims: the primitives that the rays can hit.
        room_m: width, depth and height of the room, meters.
        pose: pose of the camera.
        intrinsics: intrinsics of the camera.

    Returns:
        H×W float32 z-depth in meters (exact up to float32), H×W int32 primitive index, and 3×H×W
        ray directions.
    """
    rays = ray_directions(intrinsics, pose.rotation)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        depth, index = _cast_room(rays, pose.position, room_m)
        windows = pixel_windows(prims, pose, intrinsics)
        c, s = prims.turn[:, 0], prims.turn[:, 1]
        offset = pose.position - prims.center
        origin = np.stack(
            [
                c * offset[:, 0] + s * offset[:, 1],
                c * offset[:, 1] - s * offset[:, 0],
                offset[:, 2],
            ],
            axis=1,
        )
        turned = _TurnedRays(rays)
        for i in np.flatnonzero(
            (windows[:, 1] > windows[:, 0]) & (windows[:, 3] > windows[:, 2])
        ).tolist():
            if i < FIRST_WALL + 4:
                continue
            top, bottom, left, right = windows[i].tolist()
            at = (slice(top, bottom), slice(left, right))
            kind, half, o = int(prims.kind[i]), prims.half[i].tolist(), origin[i].tolist()
            frame = (prims.turn[i, 0], prims.turn[i, 1])
            if kind == RECT:
                _paint(
                    depth[at], index[at], i, int(prims.support[i]), turned.rays(frame, at), o, half
                )
                continue
            if kind == BOX:
                t, hit = _hit_box(turned.inverse(frame, at), o, half)
            elif kind == ELLIPSOID:
                t, hit = _hit_ellipsoid(turned.rays(frame, at), o, half)
            else:
                t, hit = _hit_cone(turned.rays(frame, at), o, half)
            nearer = hit & (t < depth[at]) & (t > NEAR_M)
            np.copyto(depth[at], t, where=nearer)
            np.copyto(index[at], i, where=nearer)
    return depth, index, rays


class _TurnedRays:
    """Cache of ray directions in rotated frames; furniture has few distinct angles."""

    def __init__(self, rays: Array) -> None:
        self._world = rays
        self._rays: dict[tuple[float, float], Array] = {}
        self._inverse: dict[tuple[float, float], Array] = {}

    def _frame(self, frame: tuple[float, float]) -> Array:
        if frame not in self._rays:
            c, s = np.float32(frame[0]), np.float32(frame[1])
            x, y, z = self._world
            self._rays[frame] = np.stack([c * x + s * y, c * y - s * x, z])
        return self._rays[frame]

    def rays(self, frame: tuple[float, float], at: tuple[slice, slice]) -> Array:
        return self._frame(frame)[:, at[0], at[1]]

    def inverse(self, frame: tuple[float, float], at: tuple[slice, slice]) -> Array:
        if frame not in self._inverse:
            # Clipped, because a ray parallel to a slab would give inf − inf.
            self._inverse[frame] = np.clip(1.0 / self._frame(frame), -1e9, 1e9)
        return self._inverse[frame][:, at[0], at[1]]


def _cast_room(
    rays: Array, position: npt.NDArray[np.float64], room_m: tuple[float, float, float]
) -> tuple[Array, IntArray]:
    """Depth and face at which rays from inside leave the room."""
    leave = []
    for axis in range(3):
        low, high = np.float32(-position[axis]), np.float32(room_m[axis] - position[axis])
        t = np.where(rays[axis] > 0, high, low) / rays[axis]
        leave.append(np.where(rays[axis] == 0, np.float32(np.inf), t))
    depth = np.minimum(np.minimum(leave[0], leave[1]), leave[2])
    # Walls 0..3 are y=0, x=W, y=D, x=0; each inward normal is the previous one rotated by 90°.
    index = np.where(rays[0] > 0, FIRST_WALL + 1, FIRST_WALL + 3)
    index = np.where(leave[1] <= depth, np.where(rays[1] > 0, FIRST_WALL + 2, FIRST_WALL), index)
    index = np.where(leave[2] <= depth, np.where(rays[2] > 0, CEILING, FLOOR), index)
    return depth, index.astype(np.int32)


def _paint(
    depth: Array,
    index: IntArray,
    i: int,
    support: int,
    d: Array,
    o: list[float],
    half: list[float],
) -> None:
    """Assign the pixels of face ``support`` that lie inside the patch to patch ``i``."""
    inside = index == support
    for axis in range(3):
        if half[axis] > 0:
            inside &= np.abs(o[axis] + depth * d[axis]) <= np.float32(half[axis])
    np.copyto(index, i, where=inside)


def _hit_box(
    inverse: Array, o: list[float], half: list[float]
) -> tuple[Array, npt.NDArray[np.bool_]]:
    """Ray-box intersection by the slab method; the camera is never inside a box."""
    shape = inverse.shape[1:]
    enter, leave = np.full(shape, -np.inf, np.float32), np.full(shape, np.inf, np.float32)
    for axis in range(3):
        middle = inverse[axis] * np.float32(-o[axis])
        reach = np.abs(inverse[axis]) * np.float32(half[axis])
        enter = np.maximum(enter, middle - reach)
        leave = np.minimum(leave, middle + reach)
    return enter, enter < leave


def _hit_ellipsoid(
    d: Array, o: list[float], half: list[float]
) -> tuple[Array, npt.NDArray[np.bool_]]:
    """Ray-ellipsoid intersection: a unit sphere in scaled space, |o + t d|² = 1."""
    inv = np.array([1 / h for h in half], np.float32)
    x, y, z = d[0] * inv[0], d[1] * inv[1], d[2] * inv[2]
    ox, oy, oz = (np.float32(o[i]) * inv[i] for i in range(3))
    a = x * x + y * y + z * z
    b = ox * x + oy * y + oz * z
    square = b * b - a * (ox * ox + oy * oy + oz * oz - 1)
    return (-b - np.sqrt(square)) / a, square > 0


def _hit_cone(d: Array, o: list[float], half: list[float]) -> tuple[Array, npt.NDArray[np.bool_]]:
    """Ray-frustum intersection: the nearest of two hits on the side and two on the end discs."""
    bottom, top, h = half
    slope, middle = (top - bottom) / (2 * h), (top + bottom) / 2
    ox, oy, oz = o
    radius = middle + slope * oz
    k = np.float32(slope)
    a = d[0] * d[0] + d[1] * d[1] - k * k * d[2] * d[2]
    b = np.float32(ox) * d[0] + np.float32(oy) * d[1] - np.float32(slope * radius) * d[2]
    square = b * b - a * np.float32(ox * ox + oy * oy - radius * radius)
    root = np.sqrt(np.maximum(square, 0))
    best = np.full(d.shape[1:], np.inf, np.float32)
    for sign in (-1, 1):
        t = (sign * root - b) / a
        z = np.float32(oz) + t * d[2]
        good = (square > 0) & (np.abs(z) <= h) & (t > NEAR_M) & (k * z + np.float32(middle) >= 0)
        best = np.where(good & (t < best), t, best)
    for z, r in ((-h, bottom), (h, top)):
        t = np.float32(z - oz) / d[2]
        x, y = np.float32(ox) + t * d[0], np.float32(oy) + t * d[1]
        best = np.where((x * x + y * y <= r * r) & (t > NEAR_M) & (t < best), t, best)
    return best, np.isfinite(best)
