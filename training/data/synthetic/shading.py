# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Shading: normals, patterns, lamps and shadows of the surfaces that the rays hit."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from training.data.synthetic.materials import PATTERNS, Material, Surface
from training.data.synthetic.primitives import CONE, ELLIPSOID, RECT, IntArray
from training.data.synthetic.raycast import Array, Pose
from training.data.synthetic.scenes import Scene

_PATTERN_IDS = {name: i for i, name in enumerate(PATTERNS)}


@dataclass(frozen=True)
class Shaded:
    """Light that reaches the color and the depth camera from each of P = H·W pixels."""

    #: P×3 linear RGB light.
    radiance: Array
    #: P infrared reflectances.
    infrared: Array
    #: P cosines between the surface normal and the ray.
    facing: Array


def shade(
    scene: Scene, pose: Pose, focal_px: float, depth: Array, index: IntArray, rays: Array
) -> Shaded:
    """Shade every hit of :func:`training.data.synthetic.raycast.cast`."""
    prims = scene.primitives
    hit = index.ravel()
    d, z = rays.reshape(3, -1), depth.ravel()
    points = [np.float32(pose.position[i]) + z * d[i] for i in range(3)]
    local, axis, normal = _local(scene, hit, points)
    # Make the normals face the camera.
    length = np.sqrt(d[0] * d[0] + d[1] * d[1] + d[2] * d[2])
    cosine = (normal[0] * d[0] + normal[1] * d[1] + normal[2] * d[2]) / length
    flip = np.where(cosine > 0, np.float32(-1), np.float32(1))
    normal = [n * flip for n in normal]
    facing = np.abs(cosine)
    footprint = z / np.float32(focal_px) / np.maximum(facing, 0.15)
    material = prims.material.take(hit)
    albedo, c_share = _albedo(scene, hit, material, local, axis, footprint)
    table = scene.materials
    emission = np.array([m.emission for m in table], np.float32).take(material) * (1 - c_share)
    light = _light(scene, hit, points, normal)
    infrared = np.array([m.infrared for m in table], np.float32).take(material) * (
        0.2 + 0.8 * np.sqrt(albedo.mean(axis=1))
    )
    return Shaded(albedo * (light + emission[:, None]), infrared, facing)


def _local(
    scene: Scene, hit: npt.NDArray[np.int32], points: list[Array]
) -> tuple[list[Array], npt.NDArray[np.intp], list[Array]]:
    """Points in their primitives' axes, the axis of each face hit, and normals in the world."""
    prims = scene.primitives
    f32 = np.float32
    center, turn, half = prims.center.astype(f32), prims.turn.astype(f32), prims.half.astype(f32)
    c, s = turn[:, 0].take(hit), turn[:, 1].take(hit)
    dx, dy, dz = (points[i] - center[:, i].take(hit) for i in range(3))
    local = [c * dx + s * dy, c * dy - s * dx, dz]
    solid = np.maximum(half, 1e-3)
    # A box is hit on the face where |local| / half is largest; for a patch the axis is known.
    bias = np.where((half <= 0) & (prims.kind == RECT)[:, None], f32(1e3), f32(0))
    q = [np.abs(local[i]) * (1 / solid[:, i]).take(hit) + bias[:, i].take(hit) for i in range(3)]
    axis = np.where(q[0] > q[1], np.where(q[0] > q[2], 0, 2), np.where(q[1] > q[2], 1, 2))
    normal = [np.where(axis == i, np.sign(local[i]) + (local[i] == 0), f32(0)) for i in range(3)]
    kind = prims.kind.take(hit)
    round_ = np.flatnonzero(kind == ELLIPSOID)
    if len(round_):
        h = half[hit[round_]]
        n = np.stack([local[i][round_] for i in range(3)], axis=1) / (h * h)
        n /= np.linalg.norm(n, axis=1, keepdims=True) + f32(1e-9)
        for i in range(3):
            normal[i][round_] = n[:, i]
    cone = np.flatnonzero(kind == CONE)
    if len(cone):
        h = half[hit[cone]]
        x, y, z = (local[i][cone] for i in range(3))
        side = np.abs(z) < h[:, 2] - 1e-4
        radius = np.hypot(x, y) + f32(1e-9)
        slope = (h[:, 0] - h[:, 1]) / (2 * h[:, 2])
        norm = np.sqrt(1 + slope * slope)
        normal[0][cone] = np.where(side, x / radius / norm, 0)
        normal[1][cone] = np.where(side, y / radius / norm, 0)
        normal[2][cone] = np.where(side, slope / norm, np.sign(z))
        axis[cone] = np.where(side, 0, 2)
        local[1][cone] = np.where(side, np.arctan2(y, x) * radius, y)  # the side, unrolled
    world = [c * normal[0] - s * normal[1], s * normal[0] + c * normal[1], normal[2]]
    return local, axis, world


def _albedo(
    scene: Scene, hit: IntArray, material: IntArray, local: list[Array],
    axis: npt.NDArray[np.intp], footprint: Array,
) -> tuple[Array, Array]:  # fmt: skip
    """P×3 reflectances and P shares of color c (frames, handles), pattern by pattern."""
    table: tuple[Material, ...] = scene.materials
    half = np.maximum(scene.primitives.half, 1e-3).astype(np.float32)
    # Surface coordinates: (y, z) on faces across x, (x, z) across y, (x, y) across z.
    u = np.where(axis == 0, local[1], local[0])
    v = np.where(axis == 2, local[1], local[2])
    half_u = np.where(axis == 0, half[:, 1].take(hit), half[:, 0].take(hit))
    half_v = np.where(axis == 2, half[:, 1].take(hit), half[:, 2].take(hit))
    pattern = np.array([_PATTERN_IDS[m.pattern] for m in table])
    period = np.array([m.period_m for m in table], np.float32)
    angle = np.array([m.angle for m in table], np.float32)
    options = np.array([m.options for m in table], np.float32)
    a, b, c = (np.array([getattr(m, k) for m in table], np.float32) for k in "abc")
    albedo = a.take(material, axis=0)
    share = np.zeros(len(hit), np.float32)
    of_pixel = pattern.take(material)
    for i, function in enumerate(PATTERNS.values()):
        at = np.flatnonzero(of_pixel == i) if i else ()
        if not len(at):
            continue
        m, hu, hv = material[at], half_u[at], half_v[at]
        surface = Surface(
            u[at], v[at], u[at] / hu, v[at] / hv, hu, hv,
            period[m], angle[m], options[m], footprint[at],
        )  # fmt: skip
        w, w2 = function(surface)
        mixed = a[m] + (b[m] - a[m]) * w[:, None]
        albedo[at] = mixed + (c[m] - mixed) * w2[:, None]
        share[at] = w2
    return albedo, share


def _light(scene: Scene, hit: IntArray, points: list[Array], normal: list[Array]) -> Array:
    """P×3 irradiance: ambient light, dimmed in the room's corners, plus the lamps' light."""
    f32 = np.float32
    corner = [np.minimum(p, f32(size) - p) for p, size in zip(points, scene.room_m, strict=True)]
    occlusion = np.ones_like(points[0])
    for i in range(3):  # a surface is dimmed by the faces that it meets at an angle
        dim = 1 - f32(0.35) * np.exp(-np.maximum(corner[i], 0) * f32(5))
        occlusion *= np.where(np.abs(normal[i]) > 0.7, f32(1), dim)
    soft = occlusion * (f32(0.8) + f32(0.2) * normal[2])
    total: Array = soft[:, None] * np.array(scene.ambient, f32)
    for number, light in enumerate(scene.lights):
        to = [f32(light.position[i]) - points[i] for i in range(3)]
        square = to[0] * to[0] + to[1] * to[1] + to[2] * to[2]
        lambert = (normal[0] * to[0] + normal[1] * to[1] + normal[2] * to[2]) / np.sqrt(square)
        # A lamp has a size, so its light wraps slightly around edges and stays finite up close.
        strength = np.clip((lambert + f32(0.15)) / f32(1.15), 0, 1) / (square + f32(0.4))
        if number == 0:
            strength *= 1 - f32(scene.shadow) * _shadow(scene, hit, points, to)
        total += (strength * occlusion)[:, None] * np.array(light.power, f32)
    return total


def _shadow(scene: Scene, hit: IntArray, points: list[Array], to: list[Array]) -> Array:
    """P shares of light that bounding boxes of furniture block; soft edges by chord length."""
    f32 = np.float32
    group = scene.primitives.group.take(hit)
    shadow = np.zeros(len(hit), f32)
    with np.errstate(divide="ignore", over="ignore"):
        for number, f in enumerate(scene.footprints):
            c, s = f32(np.cos(f.yaw)), f32(np.sin(f.yaw))
            dx, dy = points[0] - f32(f.x), points[1] - f32(f.y)
            middle = f32((f.bottom_m + f.top_m) / 2)
            origin = (c * dx + s * dy, c * dy - s * dx, points[2] - middle)
            toward = (c * to[0] + s * to[1], c * to[1] - s * to[0], to[2])
            half = (f.half_x, f.half_y, (f.top_m - f.bottom_m) / 2)
            enter, leave = np.zeros(len(hit), f32), np.ones(len(hit), f32)
            for i in range(3):
                inverse = 1 / (toward[i] + f32(1e-9))  # a parallel ray would give inf − inf
                center, reach = -origin[i] * inverse, f32(half[i]) * np.abs(inverse)
                enter = np.maximum(enter, center - reach)
                leave = np.minimum(leave, center + reach)
            chord = np.clip((leave - enter) * f32(10), 0, 1)
            shadow = np.maximum(shadow, np.where(group == number, f32(0), chord))
    return shadow
