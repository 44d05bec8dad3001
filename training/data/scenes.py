# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""A random furnished room: layout without overlaps, surfaces and lights."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from training.data import raycast
from training.data.furniture import CLASS, FURNITURE, Footprint, Parts, Piece
from training.data.materials import (
    Colour,
    Material,
    any_colour,
    furniture_material,
    hsv,
    shade_of,
    unlike,
)
from training.data.raycast import CEILING, FIRST_WALL, FLOOR, RECT

#: Turn about the vertical whose +y is the inward normal of walls y=0, x=W, y=D, x=0.
WALL_YAW = (0.0, np.pi / 2, np.pi, 3 * np.pi / 2)


@dataclass(frozen=True)
class Light:
    """A point light; ``power`` is its irradiance at one metre."""

    position: tuple[float, float, float]
    power: Colour


@dataclass(frozen=True)
class Scene:
    """A room: what the rays hit, how it looks and is lit, and where a robot may not go."""

    #: W, D, H in metres.
    room_m: tuple[float, float, float]
    primitives: raycast.Primitives
    materials: tuple[Material, ...]
    footprints: tuple[Footprint, ...]
    #: The first casts shadows.
    lights: tuple[Light, ...]
    ambient: Colour
    #: Darkness of shadows, 0..1.
    shadow: float

    def clearance_m(self, points: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Distance on the floor plan of N×2 points to the nearest wall or furniture; < 0 inside."""
        w, d, _ = self.room_m
        x, y = points[:, 0], points[:, 1]
        free = np.minimum(np.minimum(x, w - x), np.minimum(y, d - y))
        for f in self.footprints:
            c, s = np.cos(f.yaw), np.sin(f.yaw)
            dx, dy = x - f.x, y - f.y
            outside_x = np.abs(c * dx + s * dy) - f.half_x
            outside_y = np.abs(c * dy - s * dx) - f.half_y
            away = np.hypot(np.maximum(outside_x, 0), np.maximum(outside_y, 0))
            free = np.minimum(free, away + np.minimum(np.maximum(outside_x, outside_y), 0))
        return np.asarray(free, np.float64)


def build_scene(rng: np.random.Generator) -> Scene:
    """Draw one room."""
    room = (rng.uniform(3.2, 6.2), rng.uniform(3.2, 6.2), rng.uniform(2.25, 2.9))
    builder = _RoomBuilder(rng, room)
    builder.shell()
    builder.openings()
    builder.furnish()
    builder.flat_things()
    parts = builder.parts
    lights, ambient = builder.lights()
    return Scene(
        room, parts.primitives(), tuple(parts.materials), tuple(parts.footprints), lights,
        ambient, rng.uniform(0.4, 0.95),
    )  # fmt: skip


def _corners(f: Footprint, margin: float) -> npt.NDArray[np.float64]:
    c, s = np.cos(f.yaw), np.sin(f.yaw)
    x = (f.half_x + margin) * np.array([1, 1, -1, -1])
    y = (f.half_y + margin) * np.array([1, -1, -1, 1])
    return np.stack([f.x + c * x - s * y, f.y + s * x + c * y], axis=1)


def overlap(a: Footprint, b: Footprint, margin_m: float = 0.0) -> bool:
    """Whether two oriented rectangles come within about ``margin_m`` (separating axes)."""
    if np.hypot(a.x - b.x, a.y - b.y) > (
        np.hypot(a.half_x, a.half_y) + np.hypot(b.half_x, b.half_y) + margin_m
    ):
        return False
    pa, pb = _corners(a, margin_m), _corners(b, 0.0)
    for yaw in (a.yaw, b.yaw):
        axes = np.array([[np.cos(yaw), -np.sin(yaw)], [np.sin(yaw), np.cos(yaw)]])
        qa, qb = pa @ axes, pb @ axes
        if ((qa.max(0) <= qb.min(0)) | (qb.max(0) <= qa.min(0))).any():
            return False
    return True


class _RoomBuilder:
    """Fills a room from the walls inward; keeps what is taken on the floor and on each wall."""

    def __init__(self, rng: np.random.Generator, room: tuple[float, float, float]) -> None:
        self.rng, self.room, self.parts = rng, room, Parts()
        #: Per wall: taken rectangles (from, to, bottom, top) in metres along it.
        self.on_wall: list[list[tuple[float, float, float, float]]] = [[], [], [], []]
        #: Floor to keep free in front of doors; no obstacle itself.
        self.keep_free: list[Footprint] = []
        self.windows: list[tuple[float, float, float]] = []

    def wall_length(self, wall: int) -> float:
        return self.room[wall % 2]

    def wall_place(self, wall: int, along: float, out: float) -> tuple[float, float, float]:
        """Position and heading of something ``along`` a wall and ``out`` from it."""
        w, d, _ = self.room
        x, y = ((along, out), (w - out, along), (w - along, d - out), (out, d - along))[wall]
        return x, y, WALL_YAW[wall]

    def shell(self) -> None:
        rng, (w, d, h) = self.rng, self.room
        pale = rng.random() < 0.7
        wall = (
            hsv(rng.random(), rng.uniform(0, 0.25), rng.uniform(0.7, 0.95))
            if pale
            else any_colour(rng)
        )
        style = rng.random()
        base = Material(
            wall, shade_of(wall, rng.uniform(0.6, 0.92)), any_colour(rng), "wallpaper",
            options=(rng.uniform(0.06, 0.14) * (rng.random() < 0.7), rng.choice([0.0, 0.0, 0.9]), 0.0),
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
        ground = wall if rng.random() < 0.12 else any_colour(rng)
        pattern = str(rng.choice(["wood", "wood", "tiles", "blotches", "solid", "checker"]))
        floor = Material(
            ground, shade_of(ground, rng.uniform(0.5, 0.85)), shade_of(ground, rng.uniform(0.3, 1.5)),
            pattern, rng.uniform(0.1, 0.5), float(rng.choice([0.0, np.pi / 2, 0.4])),
            (1.0, rng.uniform(0.01, 0.03), 0.0),
        )  # fmt: skip
        self.floor_colour, self.wall_colour = ground, wall
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
        # Sometimes one wall is painted otherwise.
        accent = int(rng.integers(0, 12))
        for i in range(4):
            m = plain
            if i == accent:
                colour = any_colour(rng)
                m = material(Material(colour, shade_of(colour, 0.9), base.c, "blotches", 0.5))
            x, y, yaw = self.wall_place(i, self.wall_length(i) / 2, 0.0)
            half = (self.wall_length(i) / 2, 0.0, h / 2)
            add(RECT, (x, y, h / 2), half, yaw, "wall", m, -1, FIRST_WALL + i)
        if rng.random() < 0.25:  # a built-out corner makes the room L-shaped
            a, b = rng.uniform(0.3, 0.3 * w), rng.uniform(0.3, 0.3 * d)
            x, y = float(rng.choice([a / 2, w - a / 2])), float(rng.choice([b / 2, d - b / 2]))
            self.parts.add(
                raycast.BOX, (x, y, h / 2), (a / 2, b / 2, h / 2 + 0.01), 0.0, "wall", plain
            )
            self.parts.footprints.append(Footprint(x, y, a / 2, b / 2, 0.0, 0.0, h, CLASS["wall"]))

    def _free_on_wall(
        self, wall: int, width: float, bottom: float, top: float, gap: float, tries: int = 8
    ) -> float | None:
        """Middle of a free stretch of a wall, or None."""
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

    def _hang(
        self, label: str, material: Material, wall: int, along: float, bottom: float, size: tuple[float, float]
    ) -> None:  # fmt: skip
        x, y, yaw = self.wall_place(wall, along, 0.0)
        w, h = size
        index = self.parts.add_material(material)
        half = (w / 2, 0.0, h / 2)
        self.parts.add(
            RECT, (x, y, bottom + h / 2), half, yaw, label, index, -1, FIRST_WALL + wall
        )
        self.on_wall[wall].append((along - w / 2, along + w / 2, bottom, bottom + h))

    def openings(self) -> None:
        """Doors and windows."""
        rng = self.rng
        for _ in range(int(rng.integers(1, 4))):
            wall, h = int(rng.integers(0, 4)), rng.uniform(1.95, 2.12)
            w = rng.uniform(0.8, 1.05)
            along = self._free_on_wall(wall, w, 0.0, h, 0.1)
            if along is None:
                continue
            # A white door in a white wall too: then only its lines and handle tell.
            leaf = (
                any_colour(rng)
                if rng.random() < 0.7
                else shade_of(self.wall_colour, rng.uniform(0.8, 1.2))
            )
            frame = (
                shade_of(leaf, rng.uniform(0.5, 1.1)) if rng.random() < 0.6 else any_colour(rng)
            )
            side = float(rng.choice([-1.0, 1.0]))
            look = Material(
                leaf,
                frame,
                shade_of(leaf, 0.25),
                "door",
                options=(float(rng.integers(0, 4)), side, 0),
            )
            self._hang("door", look, wall, along, 0.0, (w, h))
            x, y, yaw = self.wall_place(wall, along, 0.35)
            self.keep_free.append(Footprint(x, y, w / 2, 0.35, yaw, 0, h, CLASS["door"]))
        for _ in range(int(rng.integers(1, 4))):
            wall, w, h = int(rng.integers(0, 4)), rng.uniform(0.8, 2.0), rng.uniform(0.8, 1.4)
            bottom = rng.uniform(0.5, 1.0)
            along = self._free_on_wall(wall, w, bottom, bottom + h, 0.15)
            if along is not None:
                self._window(wall, along, bottom, (w, h))

    def _window(self, wall: int, along: float, bottom: float, size: tuple[float, float]) -> None:
        rng, (w, h) = self.rng, size
        day = rng.random() < 0.75
        sky = hsv(rng.uniform(0.52, 0.62), rng.uniform(0.0, 0.5), rng.uniform(0.75, 1.0))
        land = hsv(rng.uniform(0.05, 0.4), rng.uniform(0.1, 0.6), rng.uniform(0.2, 0.6))
        if not day:
            sky, land = shade_of(sky, 0.03), shade_of(land, 0.02)
        frame = any_colour(rng) if rng.random() < 0.4 else hsv(0.1, 0.05, rng.uniform(0.7, 0.95))
        bars = (float(rng.integers(1, 4)), float(rng.integers(1, 3)), rng.uniform(0, 50))
        look = Material(sky, land, frame, "window", options=bars, emission=rng.uniform(1.0, 6.0))
        self._hang("window", look, wall, along, bottom, (w, h))
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

    def furnish(self) -> None:
        rng = self.rng
        area = self.room[0] * self.room[1]
        wishes = ["bed"] * int(rng.random() < 0.5) + ["sofa"] * int(rng.random() < 0.85)
        wishes += ["cabinet"] * int(rng.integers(1, 3)) + ["shelf"] * int(rng.integers(1, 3))
        wishes += ["table"] * int(rng.integers(1, 3)) + ["lamp"] * int(rng.integers(0, 3))
        wishes += ["chair"] * int(rng.integers(1, 4))
        wishes += ["ball"] * int(rng.integers(1, 5)) + ["box"] * int(rng.integers(1, 5))
        taken = 0.0
        for name in wishes:
            builder, ranges, against_wall = FURNITURE[name]
            w, d, h = (float(rng.uniform(*r)) for r in ranges)
            if name == "ball":
                d = h = w
            elif name == "lamp":
                d = w
            small = name in ("lamp", "ball", "box", "chair")
            if taken + w * d > (0.5 if small else 0.4) * area:
                continue
            place = self._against_wall(w, d, h) if against_wall else self._anywhere(name, w, d)
            if place is None:
                continue
            footprint = self._stand(name, place, (w, d, h))
            taken += w * d
            if name == "table" and h > 0.6:
                self._chairs_around(footprint)

    def _stand(
        self, name: str, place: tuple[float, float, float], size: tuple[float, float, float]
    ) -> Footprint:
        builder, _, against_wall = FURNITURE[name]
        piece = Piece(self.parts, self.rng, place, len(self.parts.footprints))
        builder(piece, size)
        margin = {"chair": 0.06, "cabinet": 0.02, "sofa": 0.03, "box": 0.02}.get(name, 0.0)
        footprint = Footprint(
            place[0], place[1], size[0] / 2 + margin, size[1] / 2 + margin, place[2], 0.0, size[2],
            CLASS[name],
        )  # fmt: skip
        self.parts.footprints.append(footprint)
        return footprint

    def _fits(self, f: Footprint, margin: float) -> bool:
        corners = _corners(f, 0.0)
        inside = (corners >= -1e-9).all() and (corners <= np.array(self.room[:2]) + 1e-9).all()
        return bool(inside) and not any(
            overlap(f, other, margin) for other in (*self.parts.footprints, *self.keep_free)
        )

    def _against_wall(self, w: float, d: float, h: float) -> tuple[float, float, float] | None:
        for _ in range(12):
            wall = int(self.rng.integers(0, 4))
            # A window behind it must end above it or start below.
            along = self._free_on_wall(wall, w, 0.0, h, 0.02, tries=2)
            if along is None:
                continue
            place = self.wall_place(wall, along, d / 2 + 0.035)
            if self._fits(Footprint(*place[:2], w / 2, d / 2, place[2], 0, h, 0), 0.05):
                self.on_wall[wall].append((along - w / 2, along + w / 2, 0.0, h))
                return place
        return None

    def _anywhere(self, name: str, w: float, d: float) -> tuple[float, float, float] | None:
        for _ in range(12):
            x, y = (float(self.rng.uniform(0.1, size - 0.1)) for size in self.room[:2])
            yaw = float(self.rng.choice(WALL_YAW))
            if name not in ("table", "lamp") or self.rng.random() < 0.3:
                yaw = float(self.rng.uniform(0, 2 * np.pi))
            reach = 0.12 if name == "table" else 0.06
            if self._fits(Footprint(x, y, w / 2 + reach, d / 2 + reach, yaw, 0, 1, 0), 0.04):
                return x, y, yaw
        return None

    def _chairs_around(self, table: Footprint) -> None:
        rng, c, s = self.rng, np.cos(table.yaw), np.sin(table.yaw)
        for side in rng.permutation(4)[: int(rng.integers(1, 5))].tolist():
            reach = (table.half_y if side % 2 == 0 else table.half_x) + rng.uniform(0.3, 0.5)
            dx, dy = ((0, -reach), (reach, 0), (0, reach), (-reach, 0))[side]
            # Its +y (the front) faces the table.
            yaw = table.yaw + side * np.pi / 2 + rng.normal(0, 0.25)
            w, d, h = (float(rng.uniform(*r)) for r in FURNITURE["chair"][1])
            x, y = table.x + c * dx - s * dy, table.y + s * dx + c * dy
            footprint = Footprint(x, y, w / 2 + 0.06, d / 2 + 0.06, yaw, 0, h, 0)
            if self._fits(footprint, 0.02):
                self._stand("chair", (x, y, yaw), (w, d, h))

    def flat_things(self) -> None:
        """Pictures and rugs: no depth of their own, only colour tells them. Pendant lamps."""
        rng, (w, d, h) = self.rng, self.room
        for _ in range(int(rng.integers(3, 9))):
            wall, pw, ph = int(rng.integers(0, 4)), rng.uniform(0.5, 1.6), rng.uniform(0.5, 1.2)
            bottom = rng.uniform(0.55, max(0.6, h - ph - 0.25))
            along = self._free_on_wall(wall, pw, bottom, bottom + ph, 0.06)
            if along is None:
                continue
            a = unlike(rng, self.wall_colour, any_colour)
            options = (rng.uniform(0.015, 0.07), rng.uniform(0, 40), rng.uniform(0, 3))
            look = Material(
                a,
                unlike(rng, a, any_colour),
                unlike(rng, self.wall_colour, any_colour),
                "picture",
                options=options,
            )
            self._hang("picture", look, wall, along, bottom, (pw, ph))
        for _ in range(int(rng.integers(0, 3)) + int(rng.random() < 0.5)):
            hx, hy = rng.uniform(0.5, 1.3), rng.uniform(0.4, 0.9)
            yaw = (
                float(rng.choice(WALL_YAW)) if rng.random() < 0.7 else float(rng.uniform(0, np.pi))
            )
            x, y = rng.uniform(0.2 * w, 0.8 * w), rng.uniform(0.2 * d, 0.8 * d)
            a = unlike(rng, self.floor_colour, any_colour)
            b = unlike(rng, a, any_colour)
            look = Material(
                a, b, unlike(rng, self.floor_colour, any_colour), "rug", rng.uniform(0.12, 0.4),
                options=(rng.uniform(0.05, 0.18), rng.uniform(0, 4), rng.uniform(0, 50)),
                infrared=rng.uniform(0.5, 1.2),
            )  # fmt: skip
            self.parts.add(
                RECT,
                (x, y, 0.0),
                (hx, hy, 0.0),
                yaw,
                "rug",
                self.parts.add_material(look),
                -1,
                FLOOR,
            )
        if rng.random() < 0.5:
            x, y = w * rng.uniform(0.3, 0.7), d * rng.uniform(0.3, 0.7)
            piece = Piece(self.parts, rng, (x, y, 0.0), -1)
            glow = Material(
                hsv(0.1, 0.1, 1.0), hsv(0.1, 0.1, 0.8), any_colour(rng), emission=rng.uniform(0, 5)
            )
            r, tall = rng.uniform(0.15, 0.32), rng.uniform(0.12, 0.3)
            bottom = max(1.75, h - tall - rng.uniform(0.02, 0.5))
            piece.cone(
                "lamp",
                piece.material(glow),
                0,
                0,
                (bottom, bottom + tall),
                r,
                r * rng.uniform(0.3, 1),
            )
            if bottom + tall < h:
                cord = piece.material(furniture_material(rng))
                piece.cone("lamp", cord, 0, 0, (bottom + tall, h), 0.012, 0.012)

    def lights(self) -> tuple[tuple[Light, ...], Colour]:
        """One to three point lights (lamp below the ceiling, windows) and soft light from all sides."""
        rng, (w, d, h) = self.rng, self.room
        found = []
        if self.windows and rng.random() < 0.7:
            x, y, z = self.windows[0]
            found.append(Light((x, y, z), self._tint(rng.uniform(2, 9), 0.58)))
        if not found or rng.random() < 0.6:
            place = (
                w * rng.uniform(0.25, 0.75),
                d * rng.uniform(0.25, 0.75),
                h - rng.uniform(0.1, 0.4),
            )
            found.append(Light(place, self._tint(rng.uniform(2, 8), 0.1)))
        if rng.random() < 0.35:
            place = (
                w * rng.uniform(0.05, 0.95),
                d * rng.uniform(0.05, 0.95),
                rng.uniform(1.0, h - 0.1),
            )
            found.append(Light(place, self._tint(rng.uniform(0.5, 4), rng.random())))
        return tuple(found), self._tint(float(np.exp(rng.uniform(np.log(0.06), np.log(1.0)))), 0.1)

    def _tint(self, power: float, hue: float) -> Colour:
        return shade_of_light(hsv(hue, float(self.rng.uniform(0, 0.3)), 1.0), power)


def shade_of_light(colour: Colour, power: float) -> Colour:
    """A light's colour times its power (unlike a reflectance, not limited to 1)."""
    r, g, b = (x * power for x in colour)
    return r, g, b
