# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Furnished rooms: kinds of rooms with catalog models, or with simple shapes where none fits."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from rgbd_seg_ros.labels import IGNORE_ID
from training.data.rooms.catalog import CLUTTER, Catalog, CatalogModel
from training.data.rooms.looks import MeshPart
from training.data.rooms.model_mesh import MeshStore
from training.data.rooms.placing import lit, placed, recolored, support_height
from training.data.synthetic.furniture import FURNITURE
from training.data.synthetic.primitives import CLASS, Footprint, inside_room, overlap
from training.data.synthetic.scenes import RoomBuilder

#: Share of the pieces that are simple shapes although the catalog has models.
SIMPLE = 0.1
#: Kind of room → (share, pieces): class, place, fewest and most.
Wanted = tuple[str, str, int, int]
ROOMS: dict[str, tuple[float, tuple[Wanted, ...]]] = {
    "living": (0.26, (
        ("sofa", "back", 1, 3), ("cabinet", "back", 1, 2), ("table", "floor", 1, 1),
        ("shelf", "back", 0, 2), ("chair", "floor", 0, 2), ("lamp", "floor", 0, 1),
        (CLUTTER, "back", 0, 1), (CLUTTER, "floor", 1, 3),
    )),
    "bedroom": (0.22, (
        ("bed", "back", 1, 1), ("cabinet", "back", 1, 4), ("chair", "floor", 0, 1),
        ("table", "back", 0, 1), ("shelf", "back", 0, 1), ("lamp", "floor", 0, 1),
        (CLUTTER, "floor", 1, 3),
    )),
    "office": (0.2, (
        ("table", "back", 1, 3), ("table", "floor", 0, 2), ("shelf", "back", 0, 2),
        ("cabinet", "back", 0, 2), (CLUTTER, "back", 0, 1), (CLUTTER, "floor", 1, 3),
        ("box", "floor", 0, 2),
    )),
    "kitchen": (0.16, (
        ("table", "floor", 1, 1), ("cabinet", "back", 0, 1), (CLUTTER, "back", 1, 3),
        ("chair", "seat", 0, 2), (CLUTTER, "floor", 0, 2), ("shelf", "back", 0, 1),
    )),
    "mixed": (0.16, (
        ("bed", "back", 0, 1), ("sofa", "back", 0, 1), ("cabinet", "back", 1, 2),
        ("shelf", "back", 1, 2), ("table", "floor", 1, 2), ("table", "back", 0, 1),
        ("chair", "seat", 1, 3), ("chair", "floor", 0, 1), ("lamp", "floor", 0, 2),
        (CLUTTER, "floor", 0, 3), (CLUTTER, "back", 0, 1), ("box", "floor", 1, 4),
        ("ball", "floor", 1, 3),
    )),
}  # fmt: skip


@dataclass
class Stand:
    """A piece of furniture that may carry others."""

    footprint: Footprint
    parts: list[MeshPart] = field(repr=False)
    top_m: float
    label: str


class FurnishedBuilder(RoomBuilder):
    """Places furniture; what is not from the catalog goes into the table of primitives.

    Args:
        rng: random generator for all random numbers.
        room: width, depth and height in meters.
        catalog: the furniture catalog, or None.
        store: meshes of the catalog.
    """

    def __init__(
        self, rng: np.random.Generator, room: tuple[float, float, float],
        catalog: Catalog | None, store: MeshStore,
    ) -> None:  # fmt: skip
        super().__init__(rng, room)
        self.catalog, self.store = catalog, store
        self.meshes: list[MeshPart] = []
        self.used: list[CatalogModel] = []
        self.stands: list[Stand] = []
        #: Spaces of what already stands on each stand, by its identity.
        self._items: dict[int, list[Footprint]] = {}
        #: Centers of what a camera may look at, and their classes.
        self.targets: list[tuple[float, float, float, int]] = []

    # --- Choosing ------------------------------------------------------------------------------

    def draw_model(
        self, label: str, places: tuple[str, ...], limit: tuple[float, float, float],
        simple: float = SIMPLE,
    ) -> CatalogModel | None:  # fmt: skip
        """A random model of a class that is not larger than ``limit``; None for a simple shape."""
        if self.catalog is None or (label in FURNITURE and self.rng.random() < simple):
            return None
        fitting = [
            m for m in self.catalog.of(label, *places)
            if all(a <= b for a, b in zip(m.size_m, limit, strict=True))
        ]  # fmt: skip
        for _ in range(3):
            if fitting:
                model = fitting[int(self.rng.integers(0, len(fitting)))]
                if self.store.get(model) is not None:
                    return model
        return None

    def add_model(
        self, model: CatalogModel, place: tuple[float, float, float], z: float, group: bool = True
    ) -> Footprint:
        """Add a model with a slightly random size; returns its space."""
        rng = self.rng
        parts = self.store.get(model)
        assert parts is not None, "draw_model() returns only models that load"
        scale = float(np.clip(rng.normal(1, 0.05), 0.88, 1.12))
        stretch = (scale, scale, float(np.clip(rng.normal(1, 0.03), 0.92, 1.08)))
        look = recolored(parts, rng)
        if model.label == "lamp" and rng.random() < 0.6:
            look = lit(look, rng, model.place == "ceiling")
        label = CLASS.get(model.label, IGNORE_ID)
        found = placed(look, place, z, label, stretch)
        self.meshes += found
        self.used.append(model)
        w, d, h = (a * b for a, b in zip(model.size_m, stretch, strict=True))
        footprint = Footprint(place[0], place[1], w / 2, d / 2, place[2], z, z + h, label)
        self.targets.append((place[0], place[1], z + h / 2, label))
        if group:
            self.parts.footprints.append(footprint)
            if model.top_m is not None:
                top = z + model.top_m * stretch[2] + 0.03
                self.stands.append(Stand(footprint, found, top, model.label))
        return footprint

    def add_simple(
        self, label: str, place: tuple[float, float, float], size: tuple[float, float, float]
    ) -> Footprint:
        """Add a piece made of primitives."""
        footprint = self._add_piece(label, place, size)
        self.targets.append((place[0], place[1], size[2] / 2, CLASS[label]))
        return footprint

    # --- Furniture -----------------------------------------------------------------------------

    def add_furniture(self) -> None:
        """Add the pieces of a random kind of room, then what stands on them."""
        rng = self.rng
        names = list(ROOMS)
        shares = np.array([ROOMS[n][0] for n in names])
        kind = names[int(rng.choice(len(names), p=shares / shares.sum()))]
        if kind == "kitchen":
            self._kitchen_row()
        area = self.room[0] * self.room[1]
        dense = float(np.clip(area / 15, 0.9, 2.0))
        for label, place, fewest, most in ROOMS[kind][1]:
            for _ in range(round(rng.integers(fewest, most + 1) * dense)):
                self._add_wanted(label, place)
        for label, most in (("box", 2), ("ball", 2)):
            for _ in range(int(rng.integers(0, most + 1))):
                self._add_wanted(label, "floor", simple=0.6)
        self.add_items()

    def _add_wanted(self, label: str, place: str, simple: float = SIMPLE) -> None:
        rng = self.rng
        limit = (0.8 * max(self.room[:2]), 0.6 * min(self.room[:2]), self.room[2] - 0.05)
        model = self.draw_model(label, (place,), limit, simple)
        if model is None:
            if label not in FURNITURE:
                return
            w, d, h = (float(rng.uniform(*r)) for r in FURNITURE[label][1])
            if label == "ball":
                d = h = w
            elif label == "lamp":
                d = w
        else:
            w, d, h = (1.12 * v for v in model.size_m)
        against = place == "back"
        spot = self._against_wall(w, d, h) if against else self._anywhere(label, w, d)
        if spot is None:
            return
        if model is None:
            footprint = self.add_simple(label, spot, (w, d, h))
        else:
            footprint = self.add_model(model, spot, model.elevation_m)
        if label == "table" and footprint.top_m > 0.6:
            self._seats(footprint, place == "back")

    def _seats(self, table: Footprint, one_side: bool) -> None:
        """Add chairs around a table, some pushed in; one before a desk."""
        rng, c, s = self.rng, np.cos(table.yaw), np.sin(table.yaw)
        model = self.draw_model("chair", ("seat",), (0.75, 0.75, 1.2), simple=0.08)
        long = max(1, int(2 * table.half_x / 0.6))
        spots: list[tuple[int, float]] = []
        for side in (2,) if one_side else (0, 1, 2, 3):
            count = long if side % 2 == 0 else 1
            count = 1 if one_side else count
            width = 2 * table.half_x if side % 2 == 0 else 2 * table.half_y
            spots += [(side, (i + 0.5) / count * width - width / 2) for i in range(count)]
        keep = rng.random(len(spots)) < (0.9 if one_side else rng.uniform(0.3, 1.0))
        for side, shift in [spot for spot, kept in zip(spots, keep, strict=True) if kept]:
            if rng.random() < 0.15:  # another chair
                model = self.draw_model("chair", ("seat",), (0.75, 0.75, 1.2), simple=0.08)
            w, d, h = model.size_m if model else (0.45, 0.45, 0.9)
            reach = table.half_y if side % 2 == 0 else table.half_x
            pushed = rng.uniform(-0.25, 0.35) * d
            reach += d / 2 + pushed
            dx, dy = ((shift, -reach), (reach, shift), (shift, reach), (-reach, shift))[side]
            yaw = table.yaw + side * np.pi / 2 + rng.normal(0, 0.2)
            if rng.random() < 0.1:
                yaw += rng.uniform(-1.5, 1.5)
            x, y = table.x + c * dx - s * dy, table.y + s * dx + c * dy
            own = Footprint(x, y, w / 2, d / 2, yaw, 0, h, 0)
            others = [f for f in (*self.parts.footprints, *self.keep_free) if f != table]
            if not inside_room(own, *self.room[:2]) or any(overlap(own, f, 0.01) for f in others):
                continue
            if model is None:
                self.add_simple("chair", (x, y, yaw), (w, d, h))
            else:
                self.add_model(model, (x, y, yaw), 0.0)

    def _kitchen_row(self) -> None:
        """Add lower cabinets and devices side by side along a wall, upper cabinets above them."""
        if self.catalog is None:
            return
        rng = self.rng
        names = {"Lower cabinet", "Small lower cabinet", "Drawers cabinet", "Sink cabinet",
                 "High cabinet"}  # fmt: skip
        lower = [m for m in self.catalog.of("cabinet", "back") if m.name in names]
        lower += [
            m
            for m in self.catalog.of(CLUTTER, "back")
            if m.name in ("Large stove", "Washing machine", "Refrigerator", "Large fridge")
        ]
        upper = self.catalog.of("cabinet", "hung") + self.catalog.of("shelf", "hung")
        lower = [m for m in lower if self.store.get(m) is not None]
        if not lower:
            return
        wall = int(rng.integers(0, 4))
        start = rng.uniform(0.02, 0.3) * self.wall_length(wall)
        along = start
        style = str(rng.choice([m.author for m in lower]))
        for _ in range(int(rng.integers(3, 8))):
            same = [m for m in lower if m.author == style or rng.random() < 0.15]
            model = same[int(rng.integers(0, len(same)))] if same else lower[0]
            w, d, h = model.size_m
            if along + 1.12 * w > self.wall_length(wall) - 0.05:
                break
            x, y, yaw = self.wall_place(wall, along + w / 2, d / 2 + 0.02)
            own = Footprint(x, y, w / 2, d / 2, yaw, 0, h, 0)
            taken = any(along < b and along + w > a and z0 < h
                        for a, b, z0, _ in self.on_wall[wall])  # fmt: skip
            blocked = any(
                overlap(own, f, -0.05) for f in (*self.parts.footprints, *self.keep_free)
            )
            if not taken and not blocked:
                self.add_model(model, (x, y, yaw), 0.0)
                self.on_wall[wall].append((along, along + w, 0.0, h))
            along += w + 0.005
        end, along = along, start
        while upper and along < end and rng.random() < 0.9:
            model = upper[int(rng.integers(0, len(upper)))]
            w, d, h = model.size_m
            z = max(1.35, min(1.5, self.room[2] - 1.1 * h))
            free = not any(along < b and along + w > a and z < z1 and z + h > z0
                           for a, b, z0, z1 in self.on_wall[wall])  # fmt: skip
            fits = along + w < self.wall_length(wall) and z + h < self.room[2]
            if free and fits and self.store.get(model) is not None:
                x, y, yaw = self.wall_place(wall, along + w / 2, d / 2)
                self.add_model(model, (x, y, yaw), z, group=False)
                self.on_wall[wall].append((along, along + w, z, z + h))
            along += w + 0.005

    # --- On furniture, walls and the ceiling ---------------------------------------------------

    def add_items(self) -> None:
        """Put lamps, boxes and clutter on tables, cabinets and shelves, some also on seats."""
        rng = self.rng
        share = {"table": 3.5, "cabinet": 1.6, "shelf": 2.0, "bed": 0.5, "sofa": 0.5,
                 "chair": 0.12, CLUTTER: 0.2}  # fmt: skip
        tidy = rng.uniform(0.2, 1.3)
        for stand in list(self.stands):
            for _ in range(int(rng.poisson(tidy * share.get(stand.label, 0.0)))):
                self._add_item(stand)

    def _add_item(self, stand: Stand) -> None:
        rng = self.rng
        f = stand.footprint
        label = str(rng.choice(["lamp", "box", CLUTTER, "picture"], p=[0.16, 0.06, 0.75, 0.03]))
        if stand.label in ("bed", "sofa", "chair") or stand.top_m > 1.5:
            label = CLUTTER
        small = (1.4 * min(f.half_x, f.half_y),) * 2
        model = self.draw_model(label, ("top",), (*small, 0.75), simple=0.0)
        if model is None:
            return
        c, s = np.cos(f.yaw), np.sin(f.yaw)
        u = rng.uniform(-1, 1, 2) * np.maximum(
            np.array([f.half_x, f.half_y]) - np.array(model.size_m[:2]) / 2, 0
        )
        x, y = f.x + c * u[0] - s * u[1], f.y + s * u[0] + c * u[1]
        own = Footprint(x, y, model.size_m[0] / 2, model.size_m[1] / 2, f.yaw, 0, 1, 0)
        if any(overlap(own, other) for other in self._items.get(id(stand), ())):
            return
        corners = np.array([[x, y]]) + 0.3 * np.array(
            [[0, 0], [own.half_x, own.half_y], [-own.half_x, -own.half_y]]
        )
        heights = support_height(stand.parts, corners, stand.top_m + 1e-3)
        if not np.isfinite(heights).all() or np.ptp(heights) > 0.02:
            return
        self._items.setdefault(id(stand), []).append(own)
        yaw = f.yaw + (rng.normal(0, 0.3) if rng.random() < 0.7 else rng.uniform(0, 2 * np.pi))
        self.add_model(model, (x, y, yaw), float(heights.max()), group=False)

    def draw_rugs(self) -> int:
        """Fewer rugs than in the simple rooms, since the catalog has some, too."""
        return int(self.rng.random() < 0.35)

    def add_fixtures(self) -> None:
        """Hang clutter on the walls and lamps below the ceiling."""
        rng, (w, d, h) = self.rng, self.room
        for label, most in ((CLUTTER, 4), ("lamp", 1)):
            for _ in range(int(rng.integers(0, most + 1))):
                model = self.draw_model(label, ("hung",), (2.0, 0.4, h - 0.3))
                if model is None:
                    continue
                wall = int(rng.integers(0, 4))
                size = model.size_m
                z = min(model.elevation_m, h - size[2] - 0.05)
                along = self.free_on_wall(wall, size[0], z, z + size[2], 0.04)
                if along is None:
                    continue
                x, y, yaw = self.wall_place(wall, along, size[1] / 2)
                own = Footprint(x, y, size[0] / 2, size[1] / 2, yaw, z, z + size[2], 0)
                if z < 1.0 and any(overlap(own, f) for f in self.parts.footprints):
                    continue
                self.add_model(model, (x, y, yaw), z, group=z < 0.3)
                self.on_wall[wall].append((along - size[0] / 2, along + size[0] / 2, z,
                                           z + size[2]))  # fmt: skip
        for _ in range(int(rng.integers(0, 3))):
            model = self.draw_model("lamp", ("ceiling",), (1.5, 1.5, 1.0))
            if model is None:
                continue
            place = (w * rng.uniform(0.25, 0.75), d * rng.uniform(0.25, 0.75),
                     float(rng.choice([0, np.pi / 2])))  # fmt: skip
            self.add_model(model, place, h - model.size_m[2] * 1.08, group=False)
        if rng.random() < 0.3:
            model = self.draw_model("rug", ("flat",), (3.0, 3.0, 0.1))
            if model is not None:
                place = (w * rng.uniform(0.25, 0.75), d * rng.uniform(0.25, 0.75),
                         float(rng.uniform(0, np.pi)))  # fmt: skip
                self.add_model(model, place, 0.003, group=False)


def target_table(
    targets: list[tuple[float, float, float, int]],
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """N×3 points and N class ids of what a camera may look at."""
    table = np.array(targets, np.float64).reshape(-1, 4)
    return table[:, :3], table[:, 3].astype(np.int64)
