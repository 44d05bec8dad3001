# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Scenes: random furnished rooms with materials, lights and a layout without overlaps."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from training.data.synthetic.furniture import FURNITURE
from training.data.synthetic.materials import (
    Color,
    Material,
    any_color,
    furniture_material,
    hsv,
    unlike,
)
from training.data.synthetic.primitives import (
    CLASS,
    FLOOR,
    RECT,
    Footprint,
    Piece,
    Primitives,
    inside_room,
    overlap,
)
from training.data.synthetic.walls import WALL_YAW, RoomShell


@dataclass(frozen=True)
class Light:
    """A point light; ``power`` is its irradiance at one meter."""

    position: tuple[float, float, float]
    power: Color


@dataclass(frozen=True)
class Scene:
    """A room: its primitives, materials, lights and obstacles."""

    #: Width, depth and height in meters.
    room_m: tuple[float, float, float]
    primitives: Primitives
    materials: tuple[Material, ...]
    footprints: tuple[Footprint, ...]
    #: The first light casts shadows.
    lights: tuple[Light, ...]
    ambient: Color
    #: Darkness of shadows, 0..1.
    shadow: float

    def clearance_m(self, points: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Meters from N×2 floor points to the nearest wall or furniture; negative inside one."""
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
    builder = RoomBuilder(rng, room)
    builder.add_faces()
    builder.add_doors_and_windows()
    builder.add_furniture()
    builder.add_decorations()
    parts = builder.parts
    lights, ambient = builder.draw_lights()
    return Scene(
        room, parts.primitives(), tuple(parts.materials), tuple(parts.footprints), lights,
        ambient, rng.uniform(0.4, 0.95),
    )  # fmt: skip


class RoomBuilder(RoomShell):
    """Furnishes and lights the empty room."""

    def add_furniture(self) -> None:
        """Add a random set of furniture, each piece where it fits."""
        rng = self.rng
        area = self.room[0] * self.room[1]
        wanted = ["bed"] * int(rng.random() < 0.5) + ["sofa"] * int(rng.random() < 0.85)
        wanted += ["cabinet"] * int(rng.integers(1, 3)) + ["shelf"] * int(rng.integers(1, 3))
        wanted += ["table"] * int(rng.integers(1, 3)) + ["lamp"] * int(rng.integers(0, 3))
        wanted += ["chair"] * int(rng.integers(1, 4))
        wanted += ["ball"] * int(rng.integers(1, 5)) + ["box"] * int(rng.integers(1, 5))
        taken = 0.0
        for name in wanted:
            _, ranges, against_wall = FURNITURE[name]
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
            footprint = self._add_piece(name, place, (w, d, h))
            taken += w * d
            if name == "table" and h > 0.6:
                self._chairs_around(footprint)

    def _add_piece(
        self, name: str, place: tuple[float, float, float], size: tuple[float, float, float]
    ) -> Footprint:
        builder = FURNITURE[name][0]
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
        return inside_room(f, *self.room[:2]) and not any(
            overlap(f, other, margin) for other in (*self.parts.footprints, *self.keep_free)
        )

    def _against_wall(self, w: float, d: float, h: float) -> tuple[float, float, float] | None:
        for _ in range(12):
            wall = int(self.rng.integers(0, 4))
            # Free up to the height of the piece, so that it does not cover a window or door.
            along = self.free_on_wall(wall, w, 0.0, h, 0.02, tries=2)
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
            # The chair's front, its +y, faces the table.
            yaw = table.yaw + side * np.pi / 2 + rng.normal(0, 0.25)
            w, d, h = (float(rng.uniform(*r)) for r in FURNITURE["chair"][1])
            x, y = table.x + c * dx - s * dy, table.y + s * dx + c * dy
            footprint = Footprint(x, y, w / 2 + 0.06, d / 2 + 0.06, yaw, 0, h, 0)
            if self._fits(footprint, 0.02):
                self._add_piece("chair", (x, y, yaw), (w, d, h))

    def draw_rugs(self) -> int:
        """Draw the number of rugs."""
        return int(self.rng.integers(0, 3)) + int(self.rng.random() < 0.5)

    def add_decorations(self) -> None:
        """Add pictures and rugs, which only color shows, and sometimes a pendant lamp."""
        rng, (w, d, h) = self.rng, self.room
        for _ in range(int(rng.integers(3, 9))):
            wall, pw, ph = int(rng.integers(0, 4)), rng.uniform(0.5, 1.6), rng.uniform(0.5, 1.2)
            bottom = rng.uniform(0.55, max(0.6, h - ph - 0.25))
            along = self.free_on_wall(wall, pw, bottom, bottom + ph, 0.06)
            if along is None:
                continue
            a = unlike(rng, self.wall_color, any_color)
            options = (rng.uniform(0.015, 0.07), rng.uniform(0, 40), rng.uniform(0, 3))
            look = Material(
                a,
                unlike(rng, a, any_color),
                unlike(rng, self.wall_color, any_color),
                "picture",
                options=options,
            )
            self.hang("picture", look, wall, along, bottom, (pw, ph))
        for _ in range(self.draw_rugs()):
            hx, hy = rng.uniform(0.5, 1.3), rng.uniform(0.4, 0.9)
            yaw = (
                float(rng.choice(WALL_YAW)) if rng.random() < 0.7 else float(rng.uniform(0, np.pi))
            )
            x, y = rng.uniform(0.2 * w, 0.8 * w), rng.uniform(0.2 * d, 0.8 * d)
            a = unlike(rng, self.floor_color, any_color)
            b = unlike(rng, a, any_color)
            look = Material(
                a, b, unlike(rng, self.floor_color, any_color), "rug", rng.uniform(0.12, 0.4),
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
                hsv(0.1, 0.1, 1.0), hsv(0.1, 0.1, 0.8), any_color(rng), emission=rng.uniform(0, 5)
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

    def draw_lights(self) -> tuple[tuple[Light, ...], Color]:
        """Draw one to three lights (window, ceiling, anywhere) and the ambient light."""
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

    def _tint(self, power: float, hue: float) -> Color:
        """A light's power per channel, slightly tinted."""
        r, g, b = (x * power for x in hsv(hue, float(self.rng.uniform(0, 0.3)), 1.0))
        return r, g, b
