# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Furniture: one builder per class, which draws a piece's details and adds its primitives.

A piece's own axes: x along the wall behind it, y toward its front, z up; the origin is the center
of its footprint on the floor.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np

from training.data.synthetic.materials import (
    Material,
    any_color,
    furniture_material,
    hsv,
    shade_of,
    with_pattern,
)
from training.data.synthetic.primitives import Piece

Size = tuple[float, float, float]


def table(p: Piece, size: Size) -> None:
    w, d, h = size[0] / 2, size[1] / 2, size[2]
    rng = p.rng
    top = p.material(furniture_material(rng))
    legs = top if rng.random() < 0.5 else p.material(furniture_material(rng))
    thick = rng.uniform(0.025, 0.06)
    if rng.random() < 0.2:  # a round table on a pedestal
        r = min(w, d)
        p.cone("table", top, 0, 0, (h - thick, h), r, r)
        p.cone("table", legs, 0, 0, (0.03, h - thick), 0.05, 0.05)
        p.cone("table", legs, 0, 0, (0, 0.03), 0.55 * r, 0.5 * r)
    else:
        p.box("table", top, (-w, w), (-d, d), (h - thick, h))
        p.legs("table", legs, w - 0.03, d - 0.03, rng.uniform(0.02, 0.045), h - thick)
        if rng.random() < 0.5:  # an apron under the top
            p.box(
                "table",
                legs,
                (0.07 - w, w - 0.07),
                (0.07 - d, d - 0.07),
                (h - thick - 0.08, h - thick),
            )
    for slot in rng.permutation([-1, 0, 1])[: rng.integers(0, 3)].tolist():
        _small_object(p, slot * 0.6 * w, 0.5 * d, h)


def _small_object(p: Piece, x: float, reach: float, z: float) -> None:
    """Put a box, a ball or a lamp on top of a piece of furniture."""
    x, y = x + p.rng.uniform(-0.05, 0.05), p.rng.uniform(-reach, reach)
    style = p.rng.random()
    if style < 0.65:
        hx, hy, hz = (float(p.rng.uniform(*r)) for r in ((0.07, 0.2), (0.07, 0.16), (0.04, 0.15)))
        p.box(
            "box",
            _carton(p),
            (x - hx, x + hx),
            (y - hy, y + hy),
            (z, z + 2 * hz),
            p.rng.uniform(-1, 1),
        )
    elif style < 0.8:
        _ball(p, x, y, z, p.rng.uniform(0.06, 0.14))
    else:
        _table_lamp(p, x, y, z)


def _carton(p: Piece) -> int:
    """Add the material of a cardboard box and return its index."""
    rng = p.rng
    if rng.random() < 0.55:
        brown = hsv(rng.uniform(0.06, 0.1), rng.uniform(0.35, 0.6), rng.uniform(0.4, 0.75))
    else:
        brown = any_color(rng)
    tape = shade_of(brown, rng.uniform(0.4, 1.4))
    return p.material(
        Material(
            brown, tape, any_color(rng), "carton" if rng.random() < 0.7 else "blotches",
            options=(rng.uniform(-0.6, 0.6), float(rng.random() < 0.7), float(rng.random() < 0.5)),
        )
    )  # fmt: skip


def _ball(p: Piece, x: float, y: float, z: float, r: float) -> None:
    material = furniture_material(p.rng, fabric=True)
    p.ellipsoid("ball", p.material(material), (x, y, z + r), (r, r, r))


def _lampshade(p: Piece) -> int:
    """Add the material of a lampshade, lit or not, and return its index."""
    glow = float(p.rng.uniform(1.0, 5.0)) if p.rng.random() < 0.55 else 0.0
    warm = hsv(p.rng.uniform(0.08, 0.14), p.rng.uniform(0.05, 0.35), p.rng.uniform(0.7, 1.0))
    color = warm if p.rng.random() < 0.6 else any_color(p.rng)
    return p.material(Material(color, shade_of(color, 0.7), color, emission=glow))


def _table_lamp(p: Piece, x: float, y: float, z: float) -> None:
    rng = p.rng
    foot, h, r = (
        p.material(furniture_material(rng)),
        rng.uniform(0.35, 0.6),
        rng.uniform(0.12, 0.2),
    )
    p.cone("lamp", foot, x, y, (z, z + 0.03), 0.6 * r, 0.6 * r)
    p.cone("lamp", foot, x, y, (z + 0.03, z + 0.6 * h), rng.uniform(0.015, 0.07), 0.02)
    p.cone("lamp", _lampshade(p), x, y, (z + 0.5 * h, z + h), r, r * rng.uniform(0.4, 1.0))


def chair(p: Piece, size: Size) -> None:
    w, d, back = size[0] / 2, size[1] / 2, size[2]
    rng = p.rng
    seat_z = rng.uniform(0.42, 0.5)
    cloth = p.material(furniture_material(rng, fabric=rng.random() < 0.5))
    frame = cloth if rng.random() < 0.4 else p.material(furniture_material(rng))
    thick = rng.uniform(0.03, 0.09)
    p.box("chair", cloth, (-w, w), (-d, d), (seat_z - thick, seat_z))
    if rng.random() < 0.3:  # an office chair with a column and a star base
        p.cone("chair", frame, 0, 0, (0.08, seat_z - thick), 0.03, 0.03)
        for angle in np.arange(5) * 2 * np.pi / 5:
            x, y = 0.6 * w * np.cos(angle), 0.6 * d * np.sin(angle)
            p.box(
                "chair",
                frame,
                (x - 0.55 * w, x + 0.55 * w),
                (y - 0.02, y + 0.02),
                (0.03, 0.08),
                angle,
            )
        p.box("chair", cloth, (-0.9 * w, 0.9 * w), (-d - 0.05, -d), (seat_z + 0.12, back))
        p.box("chair", frame, (-0.03, 0.03), (-d - 0.04, -d), (seat_z - thick, seat_z + 0.12))
    else:
        p.legs("chair", frame, w, d, rng.uniform(0.015, 0.03), seat_z - thick)
        if rng.random() < 0.6:
            p.box("chair", cloth, (-w, w), (-d, -d + 0.04), (seat_z, back))
        else:  # a back of posts and rails
            for x in (-w, w - 0.04):
                p.box("chair", frame, (x, x + 0.04), (-d, -d + 0.04), (seat_z, back))
            for z in np.linspace(seat_z + 0.12, back - 0.08, 3):
                p.box("chair", frame, (-w, w), (-d, -d + 0.03), (z, z + 0.07))
    if rng.random() < 0.35:
        for x in (-w - 0.04, w):
            p.box("chair", frame, (x, x + 0.04), (-d, 0.6 * d), (seat_z + 0.18, seat_z + 0.22))
            p.box(
                "chair", frame, (x, x + 0.04), (0.5 * d, 0.6 * d), (seat_z - thick, seat_z + 0.18)
            )


def sofa(p: Piece, size: Size) -> None:
    w, d, back = size[0] / 2, size[1] / 2, size[2]
    rng = p.rng
    cloth = p.material(furniture_material(rng, fabric=True))
    seats = cloth if rng.random() < 0.6 else p.material(furniture_material(rng, fabric=True))
    seat_z, arm, thick = rng.uniform(0.36, 0.46), rng.uniform(0.1, 0.22), rng.uniform(0.16, 0.26)
    foot = rng.uniform(0.0, 0.1)
    p.box("sofa", cloth, (-w, w), (-d, d), (foot, seat_z - 0.14))
    p.box("sofa", cloth, (-w, w), (-d, -d + thick), (foot, back))
    for x in (-w, w - arm):
        p.box("sofa", cloth, (x, x + arm), (-d, d), (foot, seat_z + rng.uniform(0.12, 0.24)))
    count = max(1, round((2 * w - 2 * arm) / 0.7))
    edges = np.linspace(-w + arm, w - arm, count + 1)
    for x0, x1 in pairwise(edges):
        p.box(
            "sofa",
            seats,
            (x0 + 0.008, x1 - 0.008),
            (-d + thick, d + 0.02),
            (seat_z - 0.14, seat_z),
        )
        p.box(
            "sofa",
            seats,
            (x0 + 0.02, x1 - 0.02),
            (-d + thick, -d + thick + 0.13),
            (seat_z, back - 0.06),
        )
    for _ in range(int(rng.integers(0, 3))):
        x = rng.uniform(-0.6, 0.6) * (w - arm)
        cushion = p.material(furniture_material(rng, fabric=True))
        p.ellipsoid("sofa", cushion, (x, -d + thick + 0.24, seat_z + 0.18), (0.21, 0.1, 0.19))


def bed(p: Piece, size: Size) -> None:
    w, d, h = size[0] / 2, size[1] / 2, size[2]
    rng = p.rng
    frame, sheet = (
        p.material(furniture_material(rng)),
        p.material(furniture_material(rng, fabric=True)),
    )
    blanket = p.material(furniture_material(rng, fabric=True))
    base = h - rng.uniform(0.15, 0.22)
    p.box("bed", frame, (-w, w), (-d + 0.05, d), (rng.choice([0.0, 0.12]), base))
    p.box("bed", sheet, (-w + 0.03, w - 0.03), (-d + 0.06, d - 0.03), (base, h))
    p.box("bed", frame, (-w, w), (-d, -d + 0.06), (0, rng.uniform(h + 0.2, 1.15)))
    fold = rng.uniform(-0.5, 0.3) * d
    p.box(
        "bed",
        blanket,
        (-w + 0.005, w - 0.005),
        (fold, d - 0.005),
        (h - 0.16, h + rng.uniform(0.02, 0.06)),
    )
    pillow = p.material(furniture_material(rng, fabric=True))
    for x in (-0.5 * w, 0.5 * w) if w > 0.6 else (0.0,):
        p.ellipsoid(
            "bed",
            pillow,
            (x, -d + 0.3, h + 0.06),
            (min(0.36, 0.46 * w if w > 0.6 else w), 0.2, 0.1),
        )


def cabinet(p: Piece, size: Size) -> None:
    w, d, h = size[0] / 2, size[1] / 2, size[2]
    rng = p.rng
    body = furniture_material(rng)
    plain = p.material(body)
    columns, rows = max(1, round(2 * w / rng.uniform(0.4, 0.7))), int(rng.integers(1, 5))
    dark = shade_of(body.a, 0.25)
    front = with_pattern(body, "panels", columns, rows, float(rng.random() < 0.8), c=dark)
    foot = rng.choice([0.0, 0.06, 0.12])
    p.box("cabinet", plain, (-w, w), (-d, d - 0.02), (foot, h))
    p.box("cabinet", p.material(front), (-w, w), (d - 0.02, d), (foot, h - 0.015))
    if foot:
        p.legs("cabinet", plain, w - 0.03, d - 0.03, 0.025, foot)
    if rng.random() < 0.5:
        p.box(
            "cabinet",
            p.material(furniture_material(rng)),
            (-w - 0.015, w + 0.015),
            (-d, d + 0.015),
            (h, h + 0.03),
        )
        h += 0.03
    if h < 1.5:
        for slot in rng.permutation([-1, 0, 1])[: rng.integers(0, 3)].tolist():
            _small_object(p, slot * 0.6 * w, 0.3 * d, h)


def shelf(p: Piece, size: Size) -> None:
    w, d, h = size[0] / 2, size[1] / 2, size[2]
    rng = p.rng
    board, thick = p.material(furniture_material(rng)), rng.uniform(0.018, 0.035)
    for x in (-w, w - thick):
        p.box("shelf", board, (x, x + thick), (-d, d), (0, h))
    levels = np.linspace(0.05, h - thick, max(3, round(h / rng.uniform(0.3, 0.45)) + 1))
    for z in levels:
        p.box("shelf", board, (-w, w), (-d, d), (z, z + thick))
    if rng.random() < 0.65:
        back = board if rng.random() < 0.5 else p.material(furniture_material(rng))
        p.box("shelf", back, (-w, w), (-d, -d + 0.01), (0, h))
    room = levels[1] - levels[0] - thick
    for z in levels[:-1]:
        x = -w + thick + rng.uniform(0.02, 0.35)
        while x < w - 0.15 and rng.random() < 0.6:
            wide, high = rng.uniform(0.08, 0.3), rng.uniform(0.35, 0.9) * room
            end = min(x + wide, w - thick - 0.01)
            if rng.random() < 0.12:
                r = min((end - x) / 2, 0.45 * room, 0.9 * d)
                _ball(p, x + r, 0.1 * d, z + thick, r)
            else:
                deep = rng.uniform(-0.2, 0.9) * d
                p.box(
                    "box", _carton(p), (x, end), (-d + 0.02, deep), (z + thick, z + thick + high)
                )
            x = end + rng.uniform(0.02, 0.3)


def box(p: Piece, size: Size) -> None:
    w, d, h = size[0] / 2, size[1] / 2, size[2]
    p.box("box", _carton(p), (-w, w), (-d, d), (0, h))
    if p.rng.random() < 0.3 and h < 0.5:
        s, top = p.rng.uniform(0.4, 0.8), p.rng.uniform(0.1, 0.35)
        p.box(
            "box",
            _carton(p),
            (-s * w, s * w),
            (-s * d, s * d),
            (h, h + top),
            p.rng.uniform(-0.4, 0.4),
        )


def ball(p: Piece, size: Size) -> None:
    _ball(p, 0, 0, 0, size[0] / 2)


def lamp(p: Piece, size: Size) -> None:
    r, h = size[0] / 2, size[2]
    rng = p.rng
    pole, tall = p.material(furniture_material(rng)), rng.uniform(0.25, 0.5)
    p.cone("lamp", pole, 0, 0, (0, 0.03), 0.8 * r, 0.7 * r)
    p.cone("lamp", pole, 0, 0, (0.03, h - 0.5 * tall), 0.022, 0.018)
    p.cone("lamp", _lampshade(p), 0, 0, (h - tall, h), r, r * rng.uniform(0.45, 1.0))


#: Class → (builder, ranges of width, depth and height in meters, stands against a wall).
FURNITURE: dict[
    str, tuple[Callable[[Piece, Size], None], tuple[tuple[float, float], ...], bool]
] = {
    "bed": (bed, ((0.9, 1.7), (1.9, 2.1), (0.42, 0.6)), True),
    "sofa": (sofa, ((1.3, 2.2), (0.8, 0.95), (0.7, 0.9)), True),
    "cabinet": (cabinet, ((0.5, 1.5), (0.4, 0.6), (0.6, 2.0)), True),
    "shelf": (shelf, ((0.7, 1.4), (0.25, 0.4), (0.9, 2.1)), True),
    "table": (table, ((0.8, 1.7), (0.6, 1.0), (0.42, 0.78)), False),
    "chair": (chair, ((0.42, 0.56), (0.42, 0.52), (0.78, 1.1)), False),
    "lamp": (lamp, ((0.36, 0.6), (0.36, 0.6), (1.1, 1.75)), False),
    "box": (box, ((0.25, 0.65), (0.2, 0.55), (0.15, 0.6)), False),
    "ball": (ball, ((0.2, 0.66), (0.2, 0.66), (0.2, 0.66)), False),
}
