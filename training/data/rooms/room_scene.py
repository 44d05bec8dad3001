# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Scenes for the path tracer: a furnished room as triangles, with its daylight and lamps."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from training.data.rooms.catalog import Catalog, CatalogModel
from training.data.rooms.furnished import FurnishedBuilder, target_table
from training.data.rooms.looks import Look, MeshPart, PatternTextures
from training.data.rooms.model_mesh import MeshStore
from training.data.rooms.openings import (
    REVEAL_M,
    Hole,
    WallFrame,
    corridor,
    door_leaf,
    pane,
    panorama,
    plain_window,
    reveal,
)
from training.data.rooms.placing import placed
from training.data.rooms.solids import primitive_parts, quad, wall_with_holes
from training.data.synthetic.materials import Material, any_color, hsv
from training.data.synthetic.primitives import (
    CEILING,
    CLASS,
    FIRST_WALL,
    FLOOR,
    Footprint,
    Piece,
    Primitives,
)
from training.data.synthetic.scenes import Scene


@dataclass(frozen=True, eq=False)
class RoomScene:
    """A room that the path tracer can load."""

    room_m: tuple[float, float, float]
    parts: tuple[MeshPart, ...]
    #: Panes of holes to the outside: each emits daylight and shows the panorama.
    panes: tuple[MeshPart, ...]
    #: Radiance of the panes.
    daylight: float
    #: H×W×3 view to the outside, relative to the daylight.
    panorama: npt.NDArray[np.float32]
    #: Unit vector toward the sun and its irradiance relative to the daylight, or None.
    sun: tuple[tuple[float, float, float], float] | None
    #: Floor that is free of furniture.
    layout: Scene
    #: N×3 points that a camera may look at, and their N class ids.
    targets: npt.NDArray[np.float64]
    target_labels: npt.NDArray[np.int64]
    #: Ids of the catalog models in the room.
    models: tuple[str, ...]


def build_room(rng: np.random.Generator, catalog: Catalog | None, store: MeshStore) -> RoomScene:
    """Draw one room."""
    large = rng.random() < 0.25
    top = 8.5 if large else 5.5
    room = (rng.uniform(2.8, top), rng.uniform(2.8, 5.5), rng.uniform(2.3, 3.0))
    return _SceneBuilder(rng, room, catalog, store).build()


class _SceneBuilder(FurnishedBuilder):
    """Adds the walls with their holes and the light to the furniture."""

    def build(self) -> RoomScene:
        rng = self.rng
        self.textures = PatternTextures()
        self.holes: list[Hole] = []
        self.panes: list[MeshPart] = []
        self.day = bool(rng.random() < 0.8)
        self.add_faces()
        shell = list(range(len(self.parts.rows)))
        self._add_doors()
        self._add_windows()
        self.add_furniture()
        self.add_fixtures()
        self.add_decorations()
        lamps = self._add_ceiling_lights()
        prims, materials = self.parts.primitives(), tuple(self.parts.materials)
        floor_r = float(rng.choice([0.15, 0.3, 0.5, 0.9], p=[0.15, 0.25, 0.25, 0.35]))
        rough = {int(prims.material[FLOOR]): floor_r, int(prims.material[CEILING]): 1.0}
        rough |= {int(prims.material[i]): 1.0 for i in range(FIRST_WALL, FIRST_WALL + 4)}
        rest = [i for i in range(len(prims.kind)) if i >= FIRST_WALL + 4]
        parts = primitive_parts(prims, materials, self.textures, rest, roughness=rough)
        for i in range(FIRST_WALL + 4, len(prims.kind)):
            if i >= len(shell) and prims.group[i] < 0 and prims.label[i] != CLASS["rug"]:
                self.targets.append((*map(float, prims.center[i]), int(prims.label[i])))
        parts += self._faces(prims, materials, rough)
        parts += self.meshes + lamps
        daylight = float(np.exp(rng.uniform(np.log(2.0), np.log(14.0)))) if self.day else 0.02
        sun = self._sun() if self.day and self.panes and rng.random() < 0.45 else None
        layout = Scene(self.room, prims, materials, tuple(self.parts.footprints), (), (0, 0, 0), 0)
        points, labels = target_table(self.targets)
        return RoomScene(
            self.room, tuple(parts), tuple(self.panes), daylight, panorama(rng, self.day), sun,
            layout, points, labels, tuple(sorted({m.id for m in self.used})),
        )  # fmt: skip

    def _frame(self, wall: int) -> WallFrame:
        return WallFrame(*self.wall_place(wall, 0.0, 0.0))

    # --- Walls -----------------------------------------------------------------------------------

    def _faces(
        self, prims: Primitives, materials: tuple[Material, ...], rough: dict[int, float]
    ) -> list[MeshPart]:
        """Floor, ceiling and walls with their holes."""
        w, d, h = self.room
        parts: list[MeshPart] = []
        x, y, _ = np.eye(3)
        ground, above = (int(prims.material[i]) for i in (FLOOR, CEILING))
        floor = self.textures.look(materials[ground], w / 2, d / 2, rough[ground])
        ceiling = self.textures.look(materials[above], w / 2, d / 2, 1.0)
        parts.append(quad(np.zeros(3), w * x, d * y, floor, CLASS["floor"]))
        parts.append(quad(np.array([0, 0, h]), w * x, d * y, ceiling, CLASS["ceiling"]))
        for wall in range(4):
            length, frame = self.wall_length(wall), self._frame(wall)
            material = materials[prims.material[FIRST_WALL + wall]]
            look = self.textures.look(material, length / 2, h / 2, 1.0)
            holes = [hole for hole in self.holes if hole.wall == wall]
            cut = [(o.left, o.right, o.bottom, o.top) for o in holes]
            origin, along = frame.at(0, 0, 0), frame.axes[0]
            parts += wall_with_holes(origin, along, (length, h), cut, look, CLASS["wall"])
            plain = Look(material.a, roughness=1.0)
            for hole in holes:
                parts += reveal(frame, hole, plain, CLASS["wall"], hole.bottom > 0.01)
                if hole.bottom <= 0.01:  # the floor within the wall
                    corner = frame.at(hole.left, 0, 0.0)
                    parts.append(
                        quad(
                            corner,
                            (hole.right - hole.left) * along,
                            -REVEAL_M * frame.axes[1],
                            floor,
                            CLASS["floor"],
                        )
                    )
        return parts

    # --- Doors and windows -----------------------------------------------------------------------

    def _cut(self, wall: int, width: float, bottom: float, top: float, gap: float) -> Hole | None:
        along = self.free_on_wall(wall, width, bottom, top, gap)
        if along is None:
            return None
        hole = Hole(wall, along - width / 2, along + width / 2, bottom, top)
        self.on_wall[wall].append((hole.left - 0.1, hole.right + 0.1, bottom, top + 0.1))
        self.holes.append(hole)
        x, y, _ = self.wall_place(wall, along, 0.0)
        self.targets.append((x, y, (bottom + top) / 2, CLASS["window" if bottom else "door"]))
        return hole

    def _add_doors(self) -> None:
        rng, h = self.rng, self.room[2]
        for _ in range(int(rng.integers(1, 4))):
            wall = int(rng.integers(0, 4))
            model = self.draw_model("door", ("opening",), (1.9, 0.3, h - 0.05))
            if model is not None and rng.random() < 0.4:
                hole = self._cut(wall, model.size_m[0] - 0.02, 0.0, model.size_m[2], 0.12)
                if hole is not None:
                    self._catalog_opening(model, hole, "door")
            else:
                top = rng.uniform(1.95, min(2.15, h - 0.1))
                hole = self._cut(wall, rng.uniform(0.75, 1.05), 0.0, top, 0.12)
                if hole is not None:
                    self._plain_door(hole)
            if hole is not None:
                middle = (hole.left + hole.right) / 2
                x, y, yaw = self.wall_place(wall, middle, 0.35)
                half = (hole.right - hole.left) / 2
                self.keep_free.append(Footprint(x, y, half, 0.35, yaw, 0, h, CLASS["door"]))

    def _plain_door(self, hole: Hole) -> None:
        rng, frame = self.rng, self._frame(hole.wall)
        style = rng.random()
        angle = 0.0 if style < 0.5 else rng.uniform(0.15, 1.9)
        if style > 0.93:  # a doorway without a leaf
            angle = -1.0
        if angle >= 0:
            self.meshes += door_leaf(rng, frame, hole, self.textures, float(angle))
        if angle != 0:
            near = rng.random() < 0.5
            wall = Look(self.wall_color if near else any_color(rng), roughness=1.0)
            floor = Look(self.floor_color if near else any_color(rng), roughness=0.6)
            ceiling = Look(hsv(0.1, 0.03, 0.9), roughness=1.0)
            height = max(hole.top + 0.05, self.room[2] - 0.05)
            self.meshes += corridor(rng, frame, hole, wall, floor, ceiling, height)
            if rng.random() < 0.5:  # light in the corridor
                middle = frame.at((hole.left + hole.right) / 2 - 0.15, -REVEAL_M - 0.7,
                                  height - 0.02)  # fmt: skip
                along, out, _ = frame.axes
                glow = Look((0.8, 0.8, 0.8), emission=(8.0, 7.5, 6.5))
                self.meshes.append(quad(middle, 0.3 * out, 0.3 * along, glow, CLASS["lamp"]))

    def _add_windows(self) -> None:
        rng, h = self.rng, self.room[2]
        for _ in range(int(rng.integers(1, 5))):
            wall = int(rng.integers(0, 4))
            model = self.draw_model("window", ("opening",), (2.6, 0.4, h - 0.05))
            if model is not None and rng.random() < 0.6:
                stretch = rng.uniform(0.85, 1.25)
                low = model.elevation_m if model.elevation_m > 0.2 else 0.12
                top = min(low + model.size_m[2], h - 0.08)
                hole = self._cut(wall, stretch * model.size_m[0], low, top, 0.12)
                if hole is not None:
                    self._catalog_opening(model, hole, "window")
                continue
            tall, bottom = rng.uniform(0.8, 1.5), rng.uniform(0.45, 1.05)
            hole = self._cut(
                wall, rng.uniform(0.7, 2.2), bottom, min(bottom + tall, h - 0.1), 0.12
            )
            if hole is not None:
                frame = self._frame(wall)
                self.meshes += plain_window(rng, frame, hole, self.textures)
                self._open_to_outside(frame, hole, "window")

    def _open_to_outside(self, frame: WallFrame, hole: Hole, label: str) -> None:
        self.panes.append(pane(frame, hole, Look((0.0, 0.0, 0.0)), CLASS[label], -REVEAL_M))

    def _catalog_opening(self, model: CatalogModel, hole: Hole, label: str) -> None:
        """Fit a catalog door or window into a hole; behind its glass is the outside."""
        parts = self.store.get(model) or ()
        frame = self._frame(hole.wall)
        glass = any(p.look.is_glass for p in parts)
        solid = [p for p in parts if not p.look.is_glass]
        w, d, h = model.size_m
        width, height = hole.right - hole.left, hole.top - hole.bottom
        stretch = ((width + 0.02) / w, 0.9 * REVEAL_M / d if d > REVEAL_M else 1.0, height / h)
        deep = d * stretch[1]
        x, y, yaw = self.wall_place(hole.wall, (hole.left + hole.right) / 2, 0.02 - deep / 2)
        self.meshes += placed(solid, (x, y, yaw), hole.bottom, CLASS[label], stretch)
        self.used.append(model)
        if glass or label == "window":
            self._open_to_outside(frame, hole, label)
        else:
            dark = Look((0.05, 0.05, 0.05), roughness=1.0)
            self.meshes.append(pane(frame, hole, dark, CLASS[label], -REVEAL_M))

    # --- Light -----------------------------------------------------------------------------------

    def _add_ceiling_lights(self) -> list[MeshPart]:
        """Panels below the ceiling, at least one at night or without windows."""
        rng, (w, d, h) = self.rng, self.room
        needed = not (self.day and self.panes)
        if not needed and rng.random() < 0.5:
            return []
        parts = []
        columns = 1 if w < 4.5 else int(rng.integers(1, 3))
        size = rng.uniform(0.2, 0.6), rng.uniform(0.2, 1.2)
        power = float(np.exp(rng.uniform(np.log(4.0), np.log(25.0))))
        r, g, b = (power * v for v in hsv(rng.uniform(0.08, 0.16), rng.uniform(0.0, 0.3), 1.0))
        glow = Look((0.8, 0.8, 0.8), emission=(r, g, b))
        for i in range(columns):
            x = w * (i + 0.5) / columns + rng.uniform(-0.3, 0.3)
            y = d * rng.uniform(0.35, 0.65)
            corner = np.array([x - size[0] / 2, y + size[1] / 2, h - 0.03])
            # along_u × along_v points down, where the panel shines.
            panel = quad(corner, np.array([size[0], 0, 0]), np.array([0, -size[1], 0]), glow,
                         CLASS["lamp"])  # fmt: skip
            parts.append(panel)
            piece = Piece(self.parts, rng, (x, y, 0.0), -1)
            metal = piece.material(self.parts.materials[self.parts.rows[CEILING][5]])
            rim, top = 0.03, (h - 0.04, h)
            for x0, x1, y0, y1 in (
                (-size[0] / 2 - rim, -size[0] / 2, -size[1] / 2, size[1] / 2),
                (size[0] / 2, size[0] / 2 + rim, -size[1] / 2, size[1] / 2),
                (-size[0] / 2 - rim, size[0] / 2 + rim, size[1] / 2, size[1] / 2 + rim),
                (-size[0] / 2 - rim, size[0] / 2 + rim, -size[1] / 2 - rim, -size[1] / 2),
            ):
                piece.box("lamp", metal, (x0, x1), (y0, y1), top)
        return parts

    def _sun(self) -> tuple[tuple[float, float, float], float]:
        """A direction in which the sun shines through a window."""
        rng = self.rng
        one = self.panes[int(rng.integers(0, len(self.panes)))]
        a, b, c = one.vertices[:3].astype(np.float64)
        outward = -np.cross(b - a, c - b)
        yaw = np.arctan2(outward[1], outward[0]) + rng.uniform(-0.9, 0.9)
        height = rng.uniform(0.25, 0.9)
        x, y = np.cos(yaw) * np.cos(height), np.sin(yaw) * np.cos(height)
        return (float(x), float(y), float(np.sin(height))), float(rng.uniform(3, 12))
