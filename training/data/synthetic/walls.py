# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The shell of a room: floor, ceiling, walls, doors and windows."""

from __future__ import annotations

import numpy as np

from training.data.synthetic.materials import Material, any_color, hsv, shade_of
from training.data.synthetic.primitives import (
    BOX,
    CEILING,
    CLASS,
    FIRST_WALL,
    FLOOR,
    RECT,
    Footprint,
    Piece,
    SceneParts,
    overlap,
)

#: Yaw at which +y is the inward normal of the walls y=0, x=W, y=D, x=0.
WALL_YAW = (0.0, np.pi / 2, np.pi, 3 * np.pi / 2)


class RoomShell:
    """The empty room under construction; keeps track of the space taken on each wall.

    Args:
        rng: random generator for all random numbers.
        room: width, depth and height in meters.
    """

    def __init__(self, rng: np.random.Generator, room: tuple[float, float, float]) -> None:
        self.rng, self.room, self.parts = rng, room, SceneParts()
        #: Per wall: occupied rectangles (from, to, bottom, top), meters along and up the wall.
        self.on_wall: list[list[tuple[float, float, float, float]]] = [[], [], [], []]
        #: Floor in front of doors, which furniture must not cover; not an obstacle for a robot.
        self.keep_free: list[Footprint] = []
        #: Positions of daylight in front of the windows.
        self.windows: list[tuple[float, float, float]] = []

    def wall_length(self, wall: int) -> float:
        """Length of a wall in meters."""
        return self.room[wall % 2]

    def wall_place(self, wall: int, along: float, out: float) -> tuple[float, float, float]:
        """x, y and yaw of a point ``along`` a wall and ``out`` from it, meters and radians."""
        w, d, _ = self.room
        x, y = ((along, out), (w - out, along), (w - along, d - out), (out, d - along))[wall]
        return x, y, WALL_YAW[wall]

    def add_faces(self) -> None:
        """Add floor, ceiling and walls, sometimes with a built-out corner."""
        rng, (w, d, h) = self.rng, self.room
        pale = rng.random() < 0.7
        wall = (
            hsv(rng.random(), rng.uniform(0, 0.25), rng.uniform(0.7, 0.95))
            if pale
            else any_color(rng)
        )
        style = rng.random()
        base = Material(
            wall, shade_of(wall, rng.uniform(0.6, 0.92)), any_color(rng), "wallpaper",
            options=(
                rng.uniform(0.06, 0.14) * (rng.random() < 0.7), rng.choice([0.0, 0.0, 0.9]), 0.0,
            ),
        )  # fmt: skip
        if style > 0.7:
            pattern = str(rng.choice(["stripes", "dots", "bricks", "wood", "blotches", "plaid"]))
            second = shade_of(wall, rng.uniform(0.5, 0.9))
            base = Material(wall, second, shade_of(wall, 0.6), pattern, rng.uniform(0.1, 0.4))
        alike = rng.random()
        top = (
            wall
            if alike < 0.35
            else hsv(rng.random(), rng.uniform(0, 0.08), rng.uniform(0.75, 0.95))
        )
        ceiling_pattern = "tiles" if rng.random() < 0.2 else "blotches"
        ceiling = Material(
            top,
            shade_of(top, 0.93),
            shade_of(top, 0.6),
            ceiling_pattern,
            0.6,
            options=(0.3, 0.01, 0),
        )
        ground = wall if rng.random() < 0.12 else any_color(rng)
        pattern = str(rng.choice(["wood", "wood", "tiles", "blotches", "solid", "checker"]))
        floor = Material(
            ground, shade_of(ground, rng.uniform(0.5, 0.85)),
            shade_of(ground, rng.uniform(0.3, 1.5)),
            pattern, rng.uniform(0.1, 0.5), float(rng.choice([0.0, np.pi / 2, 0.4])),
            (1.0, rng.uniform(0.01, 0.03), 0.0),
        )  # fmt: skip
        self.floor_color, self.wall_color = ground, wall
        add, material = self.parts.add, self.parts.add_material
        add(
            RECT,
            (w / 2, d / 2, 0.0),
            (w / 2, d / 2, 0.0),
            0.0,
            "floor",
            material(floor),
            -1,
            FLOOR,
        )
        add(
            RECT,
            (w / 2, d / 2, h),
            (w / 2, d / 2, 0.0),
            0.0,
            "ceiling",
            material(ceiling),
            -1,
            CEILING,
        )
        plain = material(base)
        # In one room out of three, one wall has another color.
        accent = int(rng.integers(0, 12))
        for i in range(4):
            m = plain
            if i == accent:
                color = any_color(rng)
                m = material(Material(color, shade_of(color, 0.9), base.c, "blotches", 0.5))
            x, y, yaw = self.wall_place(i, self.wall_length(i) / 2, 0.0)
            half = (self.wall_length(i) / 2, 0.0, h / 2)
            add(RECT, (x, y, h / 2), half, yaw, "wall", m, -1, FIRST_WALL + i)
        if rng.random() < 0.25:  # a built-out corner makes the room L-shaped
            a, b = rng.uniform(0.3, 0.3 * w), rng.uniform(0.3, 0.3 * d)
            x, y = float(rng.choice([a / 2, w - a / 2])), float(rng.choice([b / 2, d - b / 2]))
            self.parts.add(BOX, (x, y, h / 2), (a / 2, b / 2, h / 2 + 0.01), 0.0, "wall", plain)
            self.parts.footprints.append(Footprint(x, y, a / 2, b / 2, 0.0, 0.0, h, CLASS["wall"]))

    def free_on_wall(
        self, wall: int, width: float, bottom: float, top: float, gap: float, tries: int = 8
    ) -> float | None:
        """Center of a random free stretch of a wall in meters along it, or None."""
        length = self.wall_length(wall)
        if length < width + 0.2:
            return None
        for _ in range(tries):
            along = float(self.rng.uniform(width / 2 + 0.05, length - width / 2 - 0.05))
            low, high = along - width / 2 - gap, along + width / 2 + gap
            if all(
                high <= a or low >= b or top <= z0 or bottom >= z1
                for a, b, z0, z1 in self.on_wall[wall]
            ) and not self._in_corner(wall, along, width):
                return along
        return None

    def _in_corner(self, wall: int, along: float, width: float) -> bool:
        """Whether the built-out corner hides this stretch of wall."""
        x, y, yaw = self.wall_place(wall, along, 0.05)
        strip = Footprint(x, y, width / 2, 0.05, yaw, 0, 1, 0)
        return any(overlap(strip, f) for f in self.parts.footprints if f.label == CLASS["wall"])

    def hang(
        self, label: str, material: Material, wall: int, along: float, bottom: float,
        size: tuple[float, float],
    ) -> None:  # fmt: skip
        """Add a flat rectangle to a wall and mark its place as taken."""
        x, y, yaw = self.wall_place(wall, along, 0.0)
        w, h = size
        index = self.parts.add_material(material)
        half = (w / 2, 0.0, h / 2)
        self.parts.add(
            RECT, (x, y, bottom + h / 2), half, yaw, label, index, -1, FIRST_WALL + wall
        )
        self.on_wall[wall].append((along - w / 2, along + w / 2, bottom, bottom + h))

    def add_doors_and_windows(self) -> None:
        """Add one to three doors and one to three windows, where there is space."""
        rng = self.rng
        for _ in range(int(rng.integers(1, 4))):
            wall, h = int(rng.integers(0, 4)), rng.uniform(1.95, 2.12)
            w = rng.uniform(0.8, 1.05)
            along = self.free_on_wall(wall, w, 0.0, h, 0.1)
            if along is None:
                continue
            # Some doors have the wall's color, so that only their lines and handle are visible.
            leaf = (
                any_color(rng)
                if rng.random() < 0.7
                else shade_of(self.wall_color, rng.uniform(0.8, 1.2))
            )
            frame = shade_of(leaf, rng.uniform(0.5, 1.1)) if rng.random() < 0.6 else any_color(rng)
            side = float(rng.choice([-1.0, 1.0]))
            look = Material(
                leaf,
                frame,
                shade_of(leaf, 0.25),
                "door",
                options=(float(rng.integers(0, 4)), side, 0),
            )
            self.hang("door", look, wall, along, 0.0, (w, h))
            x, y, yaw = self.wall_place(wall, along, 0.35)
            self.keep_free.append(Footprint(x, y, w / 2, 0.35, yaw, 0, h, CLASS["door"]))
        for _ in range(int(rng.integers(1, 4))):
            wall, w, h = int(rng.integers(0, 4)), rng.uniform(0.8, 2.0), rng.uniform(0.8, 1.4)
            bottom = rng.uniform(0.5, 1.0)
            along = self.free_on_wall(wall, w, bottom, bottom + h, 0.15)
            if along is not None:
                self._window(wall, along, bottom, (w, h))

    def _window(self, wall: int, along: float, bottom: float, size: tuple[float, float]) -> None:
        rng, (w, h) = self.rng, size
        day = rng.random() < 0.75
        sky = hsv(rng.uniform(0.52, 0.62), rng.uniform(0.0, 0.5), rng.uniform(0.75, 1.0))
        land = hsv(rng.uniform(0.05, 0.4), rng.uniform(0.1, 0.6), rng.uniform(0.2, 0.6))
        if not day:
            sky, land = shade_of(sky, 0.03), shade_of(land, 0.02)
        frame = any_color(rng) if rng.random() < 0.4 else hsv(0.1, 0.05, rng.uniform(0.7, 0.95))
        bars = (float(rng.integers(1, 4)), float(rng.integers(1, 3)), rng.uniform(0, 50))
        look = Material(sky, land, frame, "window", options=bars, emission=rng.uniform(1.0, 6.0))
        self.hang("window", look, wall, along, bottom, (w, h))
        x, y, yaw = self.wall_place(wall, along, 0.0)
        piece = Piece(self.parts, rng, (x, y, yaw), -1)
        m, thick, deep = (
            piece.material(Material(frame, frame, frame)),
            0.05,
            rng.uniform(0.015, 0.05),
        )
        for x0 in (-w / 2 - thick, w / 2):
            piece.box(
                "window", m, (x0, x0 + thick), (0, deep), (bottom - thick, bottom + h + thick)
            )
        piece.box("window", m, (-w / 2, w / 2), (0, deep), (bottom + h, bottom + h + thick))
        piece.box(
            "window",
            m,
            (-w / 2 - 0.08, w / 2 + 0.08),
            (0, deep + rng.uniform(0.02, 0.12)),
            (bottom - thick, bottom),
        )
        if day:
            x, y, _ = self.wall_place(wall, along, 0.3)
            self.windows.append((x, y, bottom + h / 2))
