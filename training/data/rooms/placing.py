# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Catalog models in a room: turned and moved, recolored, and the surfaces they offer to others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from training.data.rooms.looks import Look, MeshPart
from training.data.synthetic.materials import Color, any_color, hsv

#: Share of the untextured instances that get another main color.
RECOLORED = 0.4


def area_m2(part: MeshPart) -> float:
    """Area of all triangles of a part."""
    a, b, c = (part.vertices[part.faces[:, i]] for i in range(3))
    return float(np.linalg.norm(np.cross(b - a, c - a), axis=1).sum() / 2)


def placed(
    parts: Sequence[MeshPart], place: tuple[float, float, float], z: float, label: int,
    stretch: tuple[float, float, float] = (1.0, 1.0, 1.0),
) -> list[MeshPart]:  # fmt: skip
    """Parts of a model in world coordinates.

    Args:
        parts: the parts around the model's own origin.
        place: x, y and yaw of the origin.
        z: height of the model's lowest point, meters.
        label: class id of all parts.
        stretch: factors of width, depth and height.
    """
    x, y, yaw = place
    c, s = np.cos(yaw), np.sin(yaw)
    turn = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1.0]])
    matrix = turn * np.array(stretch)
    shift = np.array([x, y, z])
    result = []
    for part in parts:
        normals = part.normals
        if normals is not None:
            n = (normals / np.array(stretch)) @ turn.T
            normals = (n / np.maximum(np.linalg.norm(n, axis=1, keepdims=True), 1e-12)).astype(
                np.float32
            )
        vertices = (part.vertices @ matrix.T + shift).astype(np.float32)
        result.append(replace(part, vertices=vertices, normals=normals, label=label))
    return result


def recolored(parts: Sequence[MeshPart], rng: np.random.Generator) -> list[MeshPart]:
    """The parts with the main color changed, or with all colors slightly shifted."""
    plain = [p for p in parts if p.look.texture is None and not p.look.is_glass]
    main: Color | None = None
    new: Color = (0.5, 0.5, 0.5)
    if plain and rng.random() < RECOLORED:
        main, new = max(plain, key=area_m2).look.color, any_color(rng)
    warmth, light = rng.normal(0, 0.05), float(np.exp(rng.normal(0, 0.15)))
    gain = np.array([1 + warmth, 1.0, 1 - warmth]) * light
    infrared = float(rng.uniform(0.6, 1.5))
    looks: dict[int, Look] = {}
    result = []
    for part in parts:
        look = part.look
        if id(look) not in looks:
            base = new if main is not None and look.color == main else look.color
            r, g, b = (float(v) for v in np.clip(np.array(base) * gain, 0.005, 0.95))
            texture = look.texture
            if texture is not None:
                table = 255 * (np.arange(256)[:, None] / 255) * gain ** (1 / 2.2)
                texture = np.stack(
                    [table[:, i].clip(0, 255).astype(np.uint8)[texture[..., i]] for i in range(3)],
                    axis=-1,
                )
            looks[id(look)] = replace(look, color=(r, g, b), texture=texture, infrared=infrared)
        result.append(replace(part, look=looks[id(look)]))
    return result


def lit(parts: Sequence[MeshPart], rng: np.random.Generator, hanging: bool) -> list[MeshPart]:
    """A lamp whose shade glows: its highest large part, or the lowest of a hanging lamp."""
    sizes = [area_m2(p) for p in parts]
    large = [p for p, a in zip(parts, sizes, strict=True) if a > 0.12 * sum(sizes)]
    sign = -1 if hanging else 1
    shade = max(large, key=lambda p: sign * float(p.vertices[np.unique(p.faces), 2].mean()))
    glow = hsv(rng.uniform(0.07, 0.15), rng.uniform(0.05, 0.4), 1.0)
    power = float(np.exp(rng.uniform(np.log(2.0), np.log(12.0))))
    r, g, b = (power * v for v in glow)
    look = replace(shade.look, texture=None, opacity=1.0, emission=(r, g, b))
    return [replace(p, look=look, uv=None) if p is shade else p for p in parts]


def support_height(
    parts: Sequence[MeshPart], points: npt.NDArray[np.float64], limit: float
) -> npt.NDArray[np.float64]:
    """Height of the highest triangle below ``limit`` at N×2 points; NaN where there is none.

    Triangles that are not nearly horizontal do not count.
    """
    best = np.full(len(points), np.nan)
    for part in parts:
        a, b, c = (part.vertices[part.faces[:, i]].astype(np.float64) for i in range(3))
        normal = np.cross(b - a, c - a)
        flat = np.abs(normal[:, 2]) > 0.95 * np.linalg.norm(normal, axis=1) + 1e-12
        flat &= (a[:, 2] < limit) & (a[:, 2] > 0.2)
        a, b, c = a[flat], b[flat], c[flat]
        if not len(a):
            continue
        for i, p in enumerate(points):
            w0 = _side(b, c, p)
            w1 = _side(c, a, p)
            w2 = _side(a, b, p)
            inside = ((w0 >= 0) & (w1 >= 0) & (w2 >= 0)) | ((w0 <= 0) & (w1 <= 0) & (w2 <= 0))
            if inside.any():
                best[i] = np.fmax(best[i], a[inside, 2].max())
    return best


def _side(
    a: npt.NDArray[np.float64], b: npt.NDArray[np.float64], p: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    value: npt.NDArray[np.float64] = (b[:, 0] - a[:, 0]) * (p[1] - a[:, 1]) - (
        b[:, 1] - a[:, 1]
    ) * (p[0] - a[:, 0])
    return value
