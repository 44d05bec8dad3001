# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Building blocks of a room: primitive shapes, footprints on the floor, pieces of furniture.

World: x and y along the walls, z up, floor at z = 0; the room is [0,W]×[0,D]×[0,H] meters.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from rgbd_seg_ros.labels import INDOOR16
from training.data.synthetic.materials import Material

CLASS = {name: i for i, name in enumerate(INDOOR16.classes)}

IntArray = npt.NDArray[np.int32]

#: Kinds of primitives.
RECT, BOX, ELLIPSOID, CONE = range(4)
#: Rows of the room's faces in every table of primitives; the walls are FIRST_WALL + 0..3.
FLOOR, CEILING, FIRST_WALL = 0, 1, 2


@dataclass(frozen=True)
class Primitives:
    """A table of N shapes, each rotated about the vertical axis only.

    A RECT is a coplanar patch of a room face and has exactly the face's depth, a BOX is an
    oriented box, and an ELLIPSOID has three half-axes. A CONE is a vertical frustum whose ``half``
    is (bottom radius, top radius, half height). The first six rows are the room's faces.
    """

    #: N, one of RECT, BOX, ELLIPSOID, CONE.
    kind: IntArray
    #: N×3 center in the world, meters.
    center: npt.NDArray[np.float64]
    #: N×3 half extents along the shape's own axes, meters; 0 along the normal of a RECT.
    half: npt.NDArray[np.float64]
    #: N×2 cosine and sine of the rotation about the vertical axis.
    turn: npt.NDArray[np.float64]
    #: N, the room face that a RECT lies on (a face's own row; -1 for solids).
    support: IntArray
    #: N class ids.
    label: IntArray
    #: N indices into the scene's materials.
    material: IntArray
    #: N indices of pieces of furniture; -1 for the room itself.
    group: IntArray

    def extent(self) -> npt.NDArray[np.float64]:
        """N×3 half extents of the bounding boxes along the shapes' own axes."""
        extent: npt.NDArray[np.float64] = self.half.copy()
        cone = self.kind == CONE
        extent[cone, 0] = extent[cone, 1] = self.half[cone, :2].max(axis=1)
        return extent


@dataclass(frozen=True)
class Footprint:
    """The space of a piece of furniture: an oriented rectangle on the floor and a height range."""

    x: float
    y: float
    half_x: float
    half_y: float
    yaw: float
    bottom_m: float
    top_m: float
    label: int


def overlap(a: Footprint, b: Footprint, margin_m: float = 0.0) -> bool:
    """Whether ``a``, widened by a margin, overlaps ``b`` on the floor (separating-axis test)."""
    dx, dy = b.x - a.x, b.y - a.y
    ax, ay = a.half_x + margin_m, a.half_y + margin_m
    c, s = abs(math.cos(b.yaw - a.yaw)), abs(math.sin(b.yaw - a.yaw))
    for yaw, hx, hy, other_x, other_y in (
        (a.yaw, ax, ay, b.half_x, b.half_y),
        (b.yaw, b.half_x, b.half_y, ax, ay),
    ):
        along, across = math.cos(yaw), math.sin(yaw)
        if abs(along * dx + across * dy) >= hx + c * other_x + s * other_y:
            return False
        if abs(along * dy - across * dx) >= hy + s * other_x + c * other_y:
            return False
    return True


def inside_room(f: Footprint, width_m: float, depth_m: float) -> bool:
    """Whether a footprint lies within [0,W]×[0,D]."""
    c, s = abs(math.cos(f.yaw)), abs(math.sin(f.yaw))
    x, y = c * f.half_x + s * f.half_y, s * f.half_x + c * f.half_y
    return x <= f.x <= width_m - x and y <= f.y <= depth_m - y


@dataclass
class SceneParts:
    """Primitives, materials and footprints of a scene under construction."""

    rows: list[tuple[int, tuple[float, ...], tuple[float, ...], float, int, int, int, int]] = (
        field(default_factory=list)
    )
    materials: list[Material] = field(default_factory=list)
    footprints: list[Footprint] = field(default_factory=list)

    def add_material(self, material: Material) -> int:
        """Add a material and return its index."""
        self.materials.append(material)
        return len(self.materials) - 1

    def add(
        self, kind: int, center: tuple[float, ...], half: tuple[float, ...], yaw: float,
        label: str, material: int, group: int = -1, support: int = -1,
    ) -> None:  # fmt: skip
        """Add one row of :class:`Primitives`."""
        self.rows.append((kind, center, half, yaw, CLASS[label], material, group, support))

    def primitives(self) -> Primitives:
        """The table of all rows added so far."""
        kind, center, half, yaw, label, material, group, support = zip(*self.rows, strict=True)
        angle = np.array(yaw)
        # Rounding makes right angles exact, so that all furniture along the walls shares one set
        # of rotated rays.
        turn = np.round(np.stack([np.cos(angle), np.sin(angle)], axis=1), 12) + 0.0
        i32 = np.int32
        return Primitives(
            np.array(kind, i32), np.array(center), np.array(half), turn, np.array(support, i32),
            np.array(label, i32), np.array(material, i32), np.array(group, i32),
        )  # fmt: skip


class Piece:
    """A piece of furniture: adds primitives to a scene in the piece's own axes.

    Args:
        parts: the scene that receives the primitives.
        rng: random generator for the piece's details.
        place: x and y in the world, meters, and yaw in radians.
        group: index of the piece; -1 for a part of the room.
    """

    def __init__(
        self, parts: SceneParts, rng: np.random.Generator, place: tuple[float, float, float],
        group: int,
    ) -> None:  # fmt: skip
        self.parts, self.rng, self.group = parts, rng, group
        self.x, self.y, self.yaw = place
        self.c, self.s = float(np.cos(self.yaw)), float(np.sin(self.yaw))

    def at(self, x: float, y: float, z: float) -> tuple[float, float, float]:
        """World coordinates of a point given in the piece's axes."""
        return self.x + self.c * x - self.s * y, self.y + self.s * x + self.c * y, z

    def material(self, material: Material) -> int:
        """Add a material and return its index."""
        return self.parts.add_material(material)

    def box(
        self, label: str, material: int, x: tuple[float, float], y: tuple[float, float],
        z: tuple[float, float], yaw: float = 0.0,
    ) -> None:  # fmt: skip
        """Add a box between two corners; ``yaw`` rotates it about its center."""
        center = self.at((x[0] + x[1]) / 2, (y[0] + y[1]) / 2, (z[0] + z[1]) / 2)
        half = ((x[1] - x[0]) / 2, (y[1] - y[0]) / 2, (z[1] - z[0]) / 2)
        self.parts.add(BOX, center, half, self.yaw + yaw, label, material, self.group)

    def cone(
        self, label: str, material: int, x: float, y: float, z: tuple[float, float],
        bottom: float, top: float,
    ) -> None:  # fmt: skip
        """Add a vertical frustum with the radii ``bottom`` and ``top``."""
        center = self.at(x, y, (z[0] + z[1]) / 2)
        half = (bottom, top, (z[1] - z[0]) / 2)
        self.parts.add(CONE, center, half, self.yaw, label, material, self.group)

    def ellipsoid(
        self, label: str, material: int, center: tuple[float, float, float],
        half: tuple[float, float, float],
    ) -> None:  # fmt: skip
        """Add an ellipsoid with three half-axes."""
        self.parts.add(ELLIPSOID, self.at(*center), half, self.yaw, label, material, self.group)

    def legs(self, label: str, material: int, hx: float, hy: float, r: float, top: float) -> None:
        """Add four legs at ±hx, ±hy: square or round, straight or tapered."""
        style = self.rng.random()
        for sx in (-1, 1):
            for sy in (-1, 1):
                x, y = sx * (hx - r), sy * (hy - r)
                if style < 0.6:
                    self.box(label, material, (x - r, x + r), (y - r, y + r), (0, top))
                else:
                    self.cone(label, material, x, y, (0, top), r * (0.6 if style < 0.8 else 1), r)
