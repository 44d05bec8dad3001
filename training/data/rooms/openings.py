# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Doors, half-open doors with a corridor behind them, and windows, in holes of the walls."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from training.data.rooms.looks import Look, MeshPart, PatternTextures
from training.data.rooms.solids import box, quad
from training.data.synthetic.materials import Color, Material, any_color, hsv, shade_of
from training.data.synthetic.primitives import CLASS

Points = npt.NDArray[np.float64]

#: Depth of a hole, from the wall's face to the pane or to the corridor, meters.
REVEAL_M = 0.16


@dataclass(frozen=True)
class WallFrame:
    """Axes of a wall: ``at(along, out, up)`` is a point in the world, ``out`` into the room."""

    x: float
    y: float
    yaw: float

    def at(self, along: float, out: float, up: float) -> Points:
        c, s = np.cos(self.yaw), np.sin(self.yaw)
        return np.array([self.x + c * along - s * out, self.y + s * along + c * out, up])

    @property
    def axes(self) -> tuple[Points, Points, Points]:
        """Unit vectors along, out of and up the wall."""
        c, s = np.cos(self.yaw), np.sin(self.yaw)
        return np.array([c, s, 0.0]), np.array([-s, c, 0.0]), np.array([0.0, 0.0, 1.0])

    @property
    def turn(self) -> tuple[float, float]:
        return float(np.cos(self.yaw)), float(np.sin(self.yaw))

    def block(
        self, along: tuple[float, float], out: tuple[float, float], up: tuple[float, float],
        material: Material, label: int, textures: PatternTextures, roughness: float = 0.5,
    ) -> list[MeshPart]:  # fmt: skip
        """A box between two corners in the wall's axes."""
        middle = [(a + b) / 2 for a, b in (along, out, up)]
        half = np.array([abs(b - a) / 2 for a, b in (along, out, up)])
        return box(self.at(*middle), half, self.turn, material, label, textures, roughness)


@dataclass(frozen=True)
class Hole:
    """A hole in a wall, meters along and up the wall."""

    wall: int
    left: float
    right: float
    bottom: float
    top: float


def reveal(frame: WallFrame, hole: Hole, look: Look, label: int, sill: bool) -> list[MeshPart]:
    """The four sides of a hole, or three without the sill."""
    along, out, up = frame.axes
    w, h, back = hole.right - hole.left, hole.top - hole.bottom, -REVEAL_M * out
    low, high = frame.at(hole.left, 0, hole.bottom), frame.at(hole.left, 0, hole.top)
    right = frame.at(hole.right, 0, hole.bottom)
    sides = [quad(low, back, h * up, look, label), quad(right, h * up, back, look, label),
             quad(high, back, w * along, look, label)]  # fmt: skip
    if sill:
        sides.append(quad(low, w * along, back, look, label))
    return sides


def pane(frame: WallFrame, hole: Hole, look: Look, label: int, out_m: float) -> MeshPart:
    """A rectangle that fills a hole and faces the room."""
    along, _, up = frame.axes
    corner = frame.at(hole.right, out_m, hole.bottom)
    width, height = hole.right - hole.left, hole.top - hole.bottom
    # along × up points out of the room, so the pane runs from right to left.
    return quad(corner, -width * along, height * up, look, label)


def plain_window(
    rng: np.random.Generator, frame: WallFrame, hole: Hole, textures: PatternTextures
) -> list[MeshPart]:
    """A window without a catalog: a frame with bars in the hole, and a sill."""
    pale = rng.random() < 0.7
    paint = hsv(0.1, 0.03, rng.uniform(0.7, 0.95)) if pale else any_color(rng)
    material, label = Material(paint, paint, paint), CLASS["window"]
    t, front, back = rng.uniform(0.04, 0.08), -0.5 * REVEAL_M, -0.9 * REVEAL_M
    parts = []

    def bar(x0: float, x1: float, z0: float, z1: float) -> None:
        parts.extend(
            frame.block((x0, x1), (back, front), (z0, z1), material, label, textures, 0.35)
        )

    left, right, bottom, top = hole.left, hole.right, hole.bottom, hole.top
    bar(left, right, bottom, bottom + t)
    bar(left, right, top - t, top)
    columns = max(1, round((right - left) / rng.uniform(0.5, 1.1)))
    for x in np.linspace(left, right - t, columns + 1):
        bar(x, x + t, bottom, top)
    if rng.random() < 0.4:
        z = bottom + rng.choice([0.3, 0.5, 0.7]) * (top - bottom)
        bar(left, right, z, z + 0.6 * t)
    if rng.random() < 0.7:
        deep = rng.uniform(0.02, 0.14)
        parts += frame.block((left - 0.06, right + 0.06), (-REVEAL_M, deep),
                             (bottom - 0.04, bottom), material, label, textures, 0.35)  # fmt: skip
    return parts


def door_leaf(
    rng: np.random.Generator, frame: WallFrame, hole: Hole, textures: PatternTextures,
    angle: float,
) -> list[MeshPart]:  # fmt: skip
    """A door frame with its leaf, which is open by ``angle`` radians into the room."""
    leaf = any_color(rng) if rng.random() < 0.6 else hsv(0.1, 0.04, rng.uniform(0.7, 0.95))
    trim = leaf if rng.random() < 0.6 else any_color(rng)
    left, right, top = hole.left, hole.right, hole.top
    label, t = CLASS["door"], rng.uniform(0.05, 0.09)
    edge = Material(trim, trim, trim)
    parts = []
    for x0, x1, z0, z1 in (
        (left - t, left + 0.02, 0.0, top + t),
        (right - 0.02, right + t, 0.0, top + t),
        (left + 0.02, right - 0.02, top - 0.02, top + t),
    ):
        parts += frame.block((x0, x1), (-REVEAL_M, 0.018), (z0, z1), edge, label, textures, 0.4)
    width = right - left - 0.05
    mirror = 1.0 if rng.random() < 0.5 else -1.0
    hinge = frame.at(left + 0.025 if mirror > 0 else right - 0.025, -0.02, 0.0)
    yaw = frame.yaw + (0 if mirror > 0 else np.pi) + mirror * angle
    # The leaf's own wall frame: from the hinge along the leaf, its room side at out = 0.
    own = WallFrame(float(hinge[0]), float(hinge[1]), float(yaw))
    look = Material(leaf, shade_of(leaf, 0.9), shade_of(leaf, 0.25), "door",
                    options=(float(rng.integers(0, 4)), 1.0, 0.0))  # fmt: skip
    sides = (-0.04, 0.0) if mirror > 0 else (0.0, 0.04)
    parts += own.block((0.0, width), sides, (0.01, top - 0.03), look, label, textures, 0.4)
    steel = Material(*(hsv(0.1, 0.05, rng.uniform(0.4, 0.8)),) * 3)
    grip, z = 0.9 * width, rng.uniform(0.95, 1.1)
    for side in (sides[0] - 0.05, sides[1] + 0.03):
        parts += own.block((grip - 0.11, grip), (side, side + 0.02), (z, z + 0.022), steel, label,
                           textures, 0.2)  # fmt: skip
    parts += own.block((grip - 0.02, grip), (sides[0] - 0.05, sides[1] + 0.05), (z, z + 0.02),
                       steel, label, textures, 0.2)  # fmt: skip
    return parts


def corridor(
    rng: np.random.Generator, frame: WallFrame, hole: Hole, wall: Look, floor: Look, ceiling: Look,
    height: float,
) -> list[MeshPart]:  # fmt: skip
    """What an open door shows: a corridor with its own floor, walls and ceiling."""
    deep, side = rng.uniform(0.9, 2.6), rng.uniform(0.2, 1.5)
    along, out, up = frame.axes
    left, right = hole.left - side * rng.random(), hole.right + side * rng.random()
    front, back = -REVEAL_M, -REVEAL_M - deep
    w, far = right - left, (back - front) * out
    base, top = frame.at(left, front, 0.0), frame.at(left, front, height)
    return [
        quad(base, w * along, far, floor, CLASS["floor"]),
        quad(top, far, w * along, ceiling, CLASS["ceiling"]),
        quad(frame.at(left, back, 0.0), w * along, height * up, wall, CLASS["wall"]),
        quad(base, far, height * up, wall, CLASS["wall"]),
        quad(frame.at(right, front, 0.0), height * up, far, wall, CLASS["wall"]),
    ]


def panorama(rng: np.random.Generator, day: bool) -> npt.NDArray[np.float32]:
    """128×512×3 linear view from a window over all directions, sky of mean 1.

    Rows run from straight up to straight down, columns over the yaw.
    """
    h, w = 128, 512
    elevation = np.linspace(np.pi / 2, -np.pi / 2, h)[:, None]
    sky = np.array(hsv(rng.uniform(0.54, 0.62), rng.uniform(0.0, 0.55), 1.0))
    haze = np.array(hsv(rng.uniform(0.05, 0.6), rng.uniform(0.0, 0.15), 1.0))
    mix = np.clip(np.sin(np.maximum(elevation, 0)) * 1.5, 0, 1)[..., None]
    image = haze + (sky - haze) * mix + np.zeros((h, w, 1))
    clouds = _smooth(rng, (h, w), (10, 24)) * rng.uniform(0, 0.7)
    image = image * (1 - clouds[..., None]) + clouds[..., None] * rng.uniform(0.8, 1.2)
    ground: Color = hsv(rng.uniform(0.05, 0.3), rng.uniform(0.05, 0.4), rng.uniform(0.2, 0.6))
    below = elevation[:, 0] < rng.uniform(-0.15, 0.05)
    noise = 0.6 + 0.6 * _smooth(rng, (h, w), (24, 90))
    image[below] = np.array(ground) * 0.6 * noise[below][..., None]
    for _ in range(int(rng.integers(0, 14))):  # buildings with rows of windows
        left, wide = int(rng.integers(0, w)), int(rng.integers(12, 70))
        top, base = rng.uniform(0.0, 0.9), -rng.uniform(0.05, 0.5)
        rows = np.flatnonzero((elevation[:, 0] < top) & (elevation[:, 0] > base))
        columns = (left + np.arange(wide)) % w
        front = np.array(hsv(rng.random(), rng.uniform(0, 0.35), rng.uniform(0.3, 0.9)))
        facade = np.tile(front, (len(rows), wide, 1))
        if rng.random() < 0.8:
            every = int(rng.integers(4, 8))
            inside = ((np.arange(len(rows)) % every) >= every // 2)[:, None] & (
                (np.arange(wide) % every) >= every // 2
            )
            facade[inside] *= rng.uniform(0.2, 0.6)
        image[np.ix_(rows, columns)] = facade
    for _ in range(int(rng.integers(0, 12))):  # trees
        y, x = rng.uniform(-0.3, 0.3), int(rng.integers(0, w))
        r = rng.uniform(0.1, 0.5)
        dx = (np.arange(w) - x + w // 2) % w - w // 2
        away = np.hypot(dx[None] / w * 2 * np.pi, elevation - y) / r
        leaf = np.array(hsv(rng.uniform(0.2, 0.38), rng.uniform(0.2, 0.6), rng.uniform(0.2, 0.5)))
        edge = away + 0.5 * (_smooth(rng, (h, w), (30, 120)) - 0.5) < 1
        image[edge] = (leaf * (0.4 + noise[..., None]))[edge]
    scale = 1.0 if day else float(np.exp(rng.uniform(np.log(1.0), np.log(8.0))))
    return np.asarray(scale * np.maximum(image, 0), np.float32)


def _smooth(
    rng: np.random.Generator, shape: tuple[int, int], cells: tuple[int, int]
) -> npt.NDArray[np.float64]:
    """H×W noise in 0..1 that is seamless over the columns."""
    import cv2

    grid = rng.random(cells)
    grid = np.column_stack([grid, grid[:, :1]])
    return np.asarray(cv2.resize(grid, shape[::-1], interpolation=cv2.INTER_CUBIC).clip(0, 1))
