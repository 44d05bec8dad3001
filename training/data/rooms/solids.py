# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Triangles of boxes, frusta, ellipsoids and walls with holes."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import numpy.typing as npt

from training.data.rooms.looks import Look, MeshPart, PatternTextures
from training.data.synthetic.materials import Material
from training.data.synthetic.primitives import BOX, CONE, ELLIPSOID, RECT, Primitives

Points = npt.NDArray[np.float64]

#: Faces of a box: axis across, sign, and the axes of u and v.
_BOX_FACES = (
    (0, 1, 1, 2),
    (0, -1, 1, 2),
    (1, 1, 0, 2),
    (1, -1, 0, 2),
    (2, 1, 0, 1),
    (2, -1, 0, 1),
)
_QUAD = np.array([[0, 1, 2], [0, 2, 3]], np.uint32)
_SEGMENTS = 28


def quad(
    corner: Points, along_u: Points, along_v: Points, look: Look, label: int,
    uv: tuple[float, float, float, float] = (0.0, 0.0, 1.0, 1.0),
) -> MeshPart:  # fmt: skip
    """A parallelogram; its front faces along_u × along_v. ``uv`` is u0, v0, u1, v1."""
    vertices = np.stack([corner, corner + along_u, corner + along_u + along_v, corner + along_v])
    u0, v0, u1, v1 = uv
    corners = np.array([[u0, v0], [u1, v0], [u1, v1], [u0, v1]], np.float32)
    return MeshPart(vertices.astype(np.float32), _QUAD, corners, None, look, label)


def box(
    center: Points, half: Points, turn: tuple[float, float], material: Material, label: int,
    textures: PatternTextures, roughness: float = 0.6,
) -> list[MeshPart]:  # fmt: skip
    """The six faces of a box that is rotated about the vertical axis by (cos, sin)."""
    parts = []
    c, s = turn
    axes = np.array([[c, s, 0], [-s, c, 0], [0, 0, 1.0]])
    for axis, sign, u, v in _BOX_FACES:
        if min(half[u], half[v]) <= 0:
            continue
        look = textures.look(material, float(half[u]), float(half[v]), roughness)
        middle = center + sign * half[axis] * axes[axis]
        corner = middle - half[u] * axes[u] - half[v] * axes[v]
        parts.append(quad(corner, 2 * half[u] * axes[u], 2 * half[v] * axes[v], look, label))
    return merged(parts)


def merged(parts: list[MeshPart]) -> list[MeshPart]:
    """Parts of the same look and class as one part each."""
    groups: dict[tuple[int, int, bool], list[MeshPart]] = {}
    for part in parts:
        key = (_look_key(part.look), part.label, part.normals is None)
        groups.setdefault(key, []).append(part)
    return [_join(group) for group in groups.values()]


def _look_key(look: Look) -> int:
    if look.texture is not None:
        return id(look)
    return hash((look.color, look.roughness, look.metal, look.opacity, look.emission,
                 look.infrared))  # fmt: skip


def _join(parts: list[MeshPart]) -> MeshPart:
    if len(parts) == 1:
        return parts[0]
    offsets = np.cumsum([0, *(len(p.vertices) for p in parts[:-1])])
    faces = [p.faces + np.uint32(o) for p, o in zip(parts, offsets, strict=True)]
    first = parts[0]
    uv = None
    if first.look.texture is not None:
        uv = np.concatenate([p.uv for p in parts if p.uv is not None])
    normals = None
    if first.normals is not None:
        normals = np.concatenate([p.normals for p in parts if p.normals is not None])
    vertices = np.concatenate([p.vertices for p in parts])
    return MeshPart(vertices, np.concatenate(faces), uv, normals, first.look, first.label)


def _revolved(
    radii: Points, heights: Points, look: Look, label: int, center: Points,
    turn: tuple[float, float],
    stretch: tuple[float, float] = (1.0, 1.0), normals: bool = True,
) -> MeshPart:  # fmt: skip
    """A surface of revolution about the vertical axis, through (radius, height) rings."""
    angle = np.linspace(0, 2 * np.pi, _SEGMENTS + 1)
    ring = np.stack([np.cos(angle) * stretch[0], np.sin(angle) * stretch[1]], axis=1)
    points = np.concatenate(
        [np.column_stack([r * ring, np.full(len(ring), h)])
         for r, h in zip(radii, heights, strict=True)]
    )  # fmt: skip
    n = len(ring)
    faces = []
    for row in range(len(radii) - 1):
        i = row * n + np.arange(_SEGMENTS)
        faces += [np.column_stack([i, i + 1, i + n + 1]), np.column_stack([i, i + n + 1, i + n])]
    u = np.tile(np.linspace(0, 1, n), len(radii))
    v = np.repeat(np.linspace(0, 1, len(radii)), n)
    shading = None
    if normals:  # from the slope of the outline
        dr, dh = np.gradient(radii), np.gradient(heights)
        length = np.hypot(dr, dh) + 1e-12
        outward, up = dh / length, -dr / length
        flat = np.concatenate(
            [np.column_stack([o * ring / np.array(stretch) ** 2, np.full(n, z)])
             for o, z in zip(outward, up, strict=True)]
        )  # fmt: skip
        flat /= np.linalg.norm(flat, axis=1, keepdims=True) + 1e-12
        shading = _turned(flat, turn).astype(np.float32)
    vertices = (_turned(points, turn) + center).astype(np.float32)
    uv = np.column_stack([u, v]).astype(np.float32)
    return MeshPart(vertices, np.concatenate(faces).astype(np.uint32), uv, shading, look, label)


def _turned(points: Points, turn: tuple[float, float]) -> Points:
    c, s = turn
    return np.column_stack(
        [c * points[:, 0] - s * points[:, 1], s * points[:, 0] + c * points[:, 1], points[:, 2]]
    )


def primitive_parts(
    prims: Primitives, materials: tuple[Material, ...], textures: PatternTextures,
    rows: npt.ArrayLike, patch_m: float = 0.012, roughness: dict[int, float] | None = None,
) -> list[MeshPart]:  # fmt: skip
    """The triangles of some rows of a table of primitives.

    Args:
        prims: the table.
        materials: the materials that it refers to.
        textures: bakes the patterns.
        rows: indices of the rows.
        patch_m: thickness of a flat patch on a wall or on the floor.
        roughness: material index → roughness; 0.6 for the others.
    """
    parts: list[MeshPart] = []
    rough = roughness or {}
    for i in np.asarray(rows).tolist():
        kind, center, half = int(prims.kind[i]), prims.center[i], prims.half[i]
        turn = (float(prims.turn[i, 0]), float(prims.turn[i, 1]))
        index, label = int(prims.material[i]), int(prims.label[i])
        material, r = materials[index], rough.get(index, 0.6)
        if kind in (BOX, RECT):
            if kind == RECT:
                half = np.maximum(half, patch_m)
            parts += box(center, half, turn, material, label, textures, r)
        elif kind == CONE:
            bottom, top, h = half
            side = textures.look(material, np.pi * max(bottom, top), h, r)
            cap = textures.look(material, max(bottom, top), max(bottom, top), r)
            z = np.array([-h, h])
            parts.append(_revolved(np.array([bottom, top]), z, side, label, center, turn))
            for height, radius in ((-h, bottom), (h, top)):
                disc = np.array([radius, 0.0]), np.full(2, height)
                parts.append(_revolved(*disc, cap, label, center, turn, normals=False))
        elif kind == ELLIPSOID:
            look = textures.look(material, np.pi * half[0], np.pi / 2 * half[2], r)
            angle = np.linspace(-np.pi / 2, np.pi / 2, 15)
            parts.append(
                _revolved(np.cos(angle), half[2] * np.sin(angle), look, label, center, turn,
                          (float(half[0]), float(half[1])), normals=False)
            )  # fmt: skip
    return merged(parts)


def wall_with_holes(
    origin: Points, along: Points, size: tuple[float, float],
    holes: list[tuple[float, float, float, float]], look: Look, label: int,
) -> list[MeshPart]:  # fmt: skip
    """A vertical rectangle with rectangular holes.

    Args:
        origin: lower corner, world meters.
        along: unit vector along the wall; its front faces along × up.
        size: length and height in meters.
        holes: from, to, bottom, top of each, meters along and up the wall.
        look: look of the wall, whose texture covers all of it.
        label: class id.
    """
    length, height = size
    xs = sorted({0.0, length, *(v for h in holes for v in h[:2])})
    zs = sorted({0.0, height, *(v for h in holes for v in h[2:])})
    up = np.array([0, 0, 1.0])
    parts = []
    for x0, x1 in pairwise(xs):
        for z0, z1 in pairwise(zs):
            x, z = (x0 + x1) / 2, (z0 + z1) / 2
            if any(a < x < b and c < z < d for a, b, c, d in holes):
                continue
            corner = origin + x0 * along + z0 * up
            cell = (x0 / length, z0 / height, x1 / length, z1 / height)
            parts.append(quad(corner, (x1 - x0) * along, (z1 - z0) * up, look, label, cell))
    return merged(parts)
