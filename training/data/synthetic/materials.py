# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Materials: random colors and procedural patterns, evaluated per pixel.

A pattern mixes three colors: albedo = lerp(lerp(a, b, w), c, w2). Coordinates are meters on the
surface, or -1..1 across the face for patterns that fill it (doors, pictures, rugs).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.floating[Any]]
Color = tuple[float, float, float]

TAU = np.float32(2 * np.pi)


@dataclass(frozen=True)
class Material:
    """The appearance of a surface to the color camera and to the depth sensor's infrared."""

    #: Linear reflectances, 0..1.
    a: Color
    b: Color
    c: Color
    pattern: str = "solid"
    #: Meters per repeat of the pattern, and its rotation in radians.
    period_m: float = 0.2
    angle: float = 0.0
    #: Up to three parameters; each pattern documents its own.
    options: tuple[float, float, float] = (0.0, 0.0, 0.0)
    #: Infrared reflectance relative to the one derived from the color.
    infrared: float = 1.0
    #: Light emitted by the area that does not have color ``c``, relative to the room's light.
    emission: float = 0.0


@dataclass
class Surface:
    """Surface coordinates and parameters of the P pixels that show one pattern."""

    #: Meters on the surface.
    u: Array
    v: Array
    #: The same, divided by the face's half extents: -1..1.
    s: Array
    t: Array
    half_u: Array
    half_v: Array
    period: Array
    angle: Array
    options: Array = field(repr=False)  # P×3
    #: Meters that one pixel covers; finer patterns fade to their mean.
    footprint: Array = field(repr=False)

    def fade(self, w: Array, mean: float = 0.5) -> Array:
        """Fade a repeating pattern to its mean where pixels are too coarse to resolve it."""
        keep = np.clip(self.period / (2.5 * self.footprint + 1e-6), 0, 1)
        return np.asarray(mean + (w - mean) * keep, np.float32)

    def rotated(self) -> tuple[Array, Array]:
        """Surface coordinates in repeats, rotated by the pattern's angle."""
        c, s = np.cos(self.angle) / self.period, np.sin(self.angle) / self.period
        return self.u * c + self.v * s, self.v * c - self.u * s


@cache
def _noise_table() -> Array:
    return np.random.Generator(np.random.PCG64(7)).random((256, 256), dtype=np.float32)


def value_noise(x: Array, y: Array) -> Array:
    """Smooth noise in 0..1 with features of size 1 and a period of 256."""
    x0, y0 = np.floor(x), np.floor(y)
    fx, fy = x - x0, y - y0
    fx, fy = fx * fx * (3 - 2 * fx), fy * fy * (3 - 2 * fy)
    column, row = x0.astype(np.int32) & 255, (y0.astype(np.int32) & 255) << 8
    column1, row1 = (column + 1) & 255, (row + 256) & 65535
    table = _noise_table().ravel()
    top = table[row + column] * (1 - fx) + table[row + column1] * fx
    bottom = table[row1 + column] * (1 - fx) + table[row1 + column1] * fx
    return np.asarray(top * (1 - fy) + bottom * fy, np.float32)


def _line(x: Array, width: Array | float) -> Array:
    """1 within ``width`` of an integer, else 0."""
    return (np.abs(x - np.round(x)) < width).astype(np.float32)


def _band(inside: npt.NDArray[np.bool_]) -> Array:
    return inside.astype(np.float32)


Mix = tuple[Array, Array]


def _none(f: Surface) -> Array:
    return np.zeros_like(f.u)


def solid(f: Surface) -> Mix:
    return _none(f), _none(f)


def stripes(f: Surface) -> Mix:
    x, _ = f.rotated()
    return f.fade(np.clip(0.5 + 2.5 * np.sin(TAU * x), 0, 1)), _none(f)


def checker(f: Surface) -> Mix:
    x, y = f.rotated()
    return f.fade(np.clip(0.5 + 5 * np.sin(TAU * x) * np.sin(TAU * y), 0, 1)), _none(f)


def plaid(f: Surface) -> Mix:
    x, y = f.rotated()
    return f.fade(0.5 * _line(x, 0.22) + 0.5 * _line(y, 0.22)), f.fade(_line(x + 0.5, 0.05), 0.1)


def dots(f: Surface) -> Mix:
    x, y = f.rotated()
    dx, dy = x - np.round(x), y - np.round(y)
    return f.fade(_band(dx * dx + dy * dy < 0.08), 0.25), _none(f)


def blotches(f: Surface) -> Mix:
    x, y = f.rotated()
    return 0.65 * value_noise(x, y) + 0.35 * f.fade(value_noise(3.1 * x + 9, 3.1 * y)), _none(f)


def tiles(f: Surface) -> Mix:
    """Options: contrast between individual tiles, width of the joints in repeats."""
    x, y = f.rotated()
    tone = value_noise(np.floor(x) * 7.3, np.floor(y) * 5.7)
    joints = np.maximum(_line(x, f.options[:, 1]), _line(y, f.options[:, 1]))
    return f.fade(tone * f.options[:, 0], 0.2), f.fade(joints, 0.1)


def bricks(f: Surface) -> Mix:
    x, y = f.u / f.period, 2.6 * f.v / f.period
    x = x + 0.5 * (np.floor(y + 0.5) % 2)
    joints = np.maximum(_line(x + 0.5, 0.03), _line(y + 0.5, 0.07))
    return f.fade(value_noise(np.round(x) * 3.7, np.round(y) * 8.1)), f.fade(joints, 0.15)


def wood(f: Surface) -> Mix:
    """Options: strength of the joints between planks that are one ``period`` wide."""
    x, y = f.rotated()
    plank = np.floor(y)
    grain = value_noise(1.5 * x + 31 * plank, 9 * y)
    joints = np.maximum(_line(y, 0.04), _line(x / 6 + 0.37 * plank, 0.004))
    tone = value_noise(plank * 13.7, 0 * plank)
    return f.fade(0.6 * grain + 0.4 * tone), f.fade(0.7 * joints * f.options[:, 0], 0.05)


def wallpaper(f: Surface) -> Mix:
    """Options: heights in meters of the baseboard (c) and of the lower color (b)."""
    height = f.v + f.half_v
    lower = _band(height < f.options[:, 1])
    return np.maximum(lower, 0.15 * value_noise(3 * f.u, 3 * f.v)), _band(height < f.options[:, 0])


def panels(f: Surface) -> Mix:
    """Doors and drawers of a cabinet. Options: columns, rows, 1 with knobs."""
    x, y = (f.s + 1) / 2 * f.options[:, 0], (f.t + 1) / 2 * f.options[:, 1]
    dx, dy = x - np.round(x), y - np.round(y)
    # The gaps have the same width in meters for every size of door.
    wide, high = 2 * f.half_u / f.options[:, 0], 2 * f.half_v / f.options[:, 1]
    gap = np.minimum(np.abs(dx) * wide, np.abs(dy) * high)
    knob = (np.abs(x - np.floor(x) - 0.85) * wide < 0.02) & (
        np.abs(y - np.floor(y) - 0.55) * high < 0.06
    )
    inset = _band(gap > 0.07)
    return inset, np.maximum(_band(gap < 0.01), _band(knob) * f.options[:, 2])


def door(f: Surface) -> Mix:
    """Leaf (a), frame (b), panel lines and handle (c). Options: rows of panels, handle's side."""
    frame = (np.abs(f.s) * f.half_u > f.half_u - 0.07) | (f.t * f.half_v > f.half_v - 0.07)
    gap = np.minimum(f.half_u - np.abs(f.u), f.half_v - f.v)
    leaf_gap = np.abs(gap - 0.08) < 0.012
    y = (f.t + 1) / 2 * f.options[:, 0]
    inset_x = np.abs(np.abs(f.s) - 0.6) * f.half_u < 0.014
    inset_y = np.abs(np.abs(y - np.floor(y) - 0.5) - 0.38) * 2 * f.half_v < 0.014 * f.options[:, 0]
    inside_x, inside_y = np.abs(f.s) < 0.62, np.abs(y - np.floor(y) - 0.5) < 0.39
    lines = ((inset_x & inside_y) | (inset_y & inside_x)) & (f.options[:, 0] > 0)
    handle = (np.abs(f.s - 0.72 * f.options[:, 1]) * f.half_u < 0.05) & (np.abs(f.v) < 0.022)
    return _band(frame), np.clip(_band(handle | leaf_gap) + 0.45 * _band(lines & ~frame), 0, 1)


def picture(f: Surface) -> Mix:
    """A frame (c) around an abstract painting. Options: frame width in m, noise offset, style."""
    edge = np.minimum(f.half_u - np.abs(f.u), f.half_v - np.abs(f.v))
    shift, style = f.options[:, 1], f.options[:, 2]
    scale = 1.2 + 2 * (style % 1)
    cloud = value_noise(scale * (f.s + 1) + shift, scale * (f.t + 1) + 3 * shift)
    fine = value_noise(6 * f.s + shift, 6 * f.t)
    horizon = _band(f.t < 0.5 * np.sin(2 * f.s + shift) - 0.1)
    disc = _band((f.s - 0.4) ** 2 + (f.t - 0.3) ** 2 < 0.12)
    kind = np.floor(style)
    w = np.where(kind == 0, np.clip(3 * cloud - 1, 0, 1), np.where(kind == 1, horizon, cloud))
    w = np.where((kind == 1) & (disc > 0), 0.5, 0.8 * w + 0.2 * fine)
    return np.asarray(w, np.float32), _band(edge < f.options[:, 0])


def rug(f: Surface) -> Mix:
    """Borders (c) around a field. Options: border width in m, style, noise offset."""
    edge = np.minimum(f.half_u - np.abs(f.u), f.half_v - np.abs(f.v))
    width, style, shift = f.options[:, 0], np.floor(f.options[:, 1]), f.options[:, 2]
    x, y = f.u / f.period, f.v / f.period
    diamonds = f.fade(np.clip(0.5 + 4 * np.cos(TAU * x) * np.cos(TAU * y), 0, 1))
    rings = f.fade(np.clip(0.5 + 3 * np.sin(TAU * edge / f.period), 0, 1))
    lines = f.fade(np.clip(0.5 + 3 * np.sin(TAU * x), 0, 1))
    cloud = np.clip(2 * value_noise(x + shift, y) - 0.5, 0, 1)
    w = np.where(
        style == 0, diamonds, np.where(style == 1, rings, np.where(style == 2, lines, cloud))
    )
    border = (edge < width) & ((edge > 0.55 * width) | (edge < 0.3 * width))
    return np.asarray(w, np.float32), _band(border)


def window(f: Surface) -> Mix:
    """Sky (a) over land (b) behind a frame with bars (c). Options: columns, rows, noise offset."""
    edge = np.minimum(f.half_u - np.abs(f.u), f.half_v - np.abs(f.v))
    x, y = (f.s + 1) / 2 * f.options[:, 0], (f.t + 1) / 2 * f.options[:, 1]
    bars = np.minimum(
        np.abs(x - np.round(x)) * 2 * f.half_u / f.options[:, 0],
        np.abs(y - np.round(y)) * 2 * f.half_v / f.options[:, 1],
    )
    land = 0.25 * value_noise(4 * f.u + f.options[:, 2], 2 * f.v) - 0.35
    w = np.clip(4 * (land - f.t) + 0.5, 0, 1)
    w = np.maximum(w * (0.6 + 0.4 * value_noise(9 * f.u, 9 * f.v)), 0.15 * (1 - f.t))
    return np.asarray(w, np.float32), _band((edge < 0.06) | (bars < 0.025))


def carton(f: Surface) -> Mix:
    """Cardboard (a) with tape (b) and a sticker (c).

    Options: position of the sticker, 1 with tape, 1 with a sticker.
    """
    place = f.options[:, 0]
    sticker = (np.abs(f.s - place) < 0.25) & (np.abs(f.t + 0.5 * place) < 0.2)
    return _band(np.abs(f.v) < 0.03) * f.options[:, 1], 0.8 * _band(sticker) * f.options[:, 2]


PATTERNS: dict[str, Callable[[Surface], Mix]] = {
    f.__name__: f
    for f in (
        solid, stripes, checker, plaid, dots, blotches, tiles, bricks, wood, wallpaper, panels,
        door, picture, rug, window, carton,
    )
}  # fmt: skip


def linear(srgb: npt.ArrayLike) -> Color:
    """sRGB in 0..1 as linear reflectance."""
    r, g, b = (float(x) ** 2.2 for x in np.clip(np.asarray(srgb, np.float64), 0.0, 1.0))
    return r, g, b


def hsv(h: float, s: float, v: float) -> Color:
    """Hue, saturation and value in 0..1 as linear RGB."""
    wheel = np.clip(np.abs((h * 6 + np.array([0, 4, 2])) % 6 - 3) - 1, 0, 1)
    return linear(v * (1 - s + s * wheel))


def any_color(rng: np.random.Generator) -> Color:
    """A color from one palette for all furniture, so that color does not reveal the class."""
    style = rng.random()
    if style < 0.3:  # woods
        return hsv(rng.uniform(0.05, 0.1), rng.uniform(0.25, 0.75), rng.uniform(0.25, 0.85))
    if style < 0.45:  # whites
        return hsv(rng.uniform(0.05, 0.2), rng.uniform(0, 0.12), rng.uniform(0.75, 0.95))
    if style < 0.6:  # grays
        return hsv(rng.random(), rng.uniform(0, 0.1), rng.uniform(0.2, 0.7))
    if style < 0.68:  # blacks
        return hsv(rng.random(), rng.uniform(0, 0.3), rng.uniform(0.06, 0.18))
    return hsv(rng.random(), rng.uniform(0.3, 0.95), rng.uniform(0.25, 0.95))


def shade_of(color: Color, factor: float) -> Color:
    """The same hue, lighter (``factor`` > 1) or darker."""
    r, g, b = (min(1.0, x * factor) for x in color)
    return r, g, b


def unlike(
    rng: np.random.Generator, other: Color, draw: Callable[[np.random.Generator], Color]
) -> Color:
    """Draw a color visibly different from ``other``; after eight tries, take the last one."""
    color = draw(rng)
    for _ in range(7):
        distance = sum(
            abs(x ** (1 / 2.2) - y ** (1 / 2.2)) for x, y in zip(color, other, strict=True)
        )
        if distance > 0.35:
            break
        color = draw(rng)
    return color


def furniture_material(rng: np.random.Generator, fabric: bool = False) -> Material:
    """Draw a material for furniture; with ``fabric``, one with a textile pattern."""
    a = any_color(rng)
    soft = rng.random() < 0.7
    b = shade_of(a, rng.uniform(0.45, 0.8)) if soft else any_color(rng)
    pattern = str(
        rng.choice(["solid", "blotches", "stripes", "plaid", "checker", "dots"])
        if fabric
        else rng.choice(["solid", "solid", "wood", "wood", "blotches", "stripes"])
    )
    return Material(
        a, b, any_color(rng), pattern,
        period_m=rng.uniform(0.06, 0.25), angle=float(rng.choice([0.0, np.pi / 2])),
        infrared=rng.uniform(0.6, 1.5),
    )  # fmt: skip


def with_pattern(material: Material, pattern: str, *options: float, c: Color) -> Material:
    """The same colors in a pattern that fills the face."""
    filled = (*options, 0.0, 0.0, 0.0)
    return replace(
        material, pattern=pattern, options=(filled[0], filled[1], filled[2]), c=c,
        b=shade_of(material.a, 0.85),
    )  # fmt: skip
