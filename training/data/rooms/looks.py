# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Looks: what a surface of a mesh looks like to both cameras, and patterns as textures."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from training.data.synthetic.materials import PATTERNS, Color, Material, Surface

#: Meters per texel of a pattern, and the largest texture.
TEXEL_M, MAX_TEXELS = 0.004, 512
#: Below this opacity, a surface is glass: light passes, and depth sensors fail.
GLASS_OPACITY = 0.65


@dataclass(frozen=True, eq=False)
class Look:
    """Colors are linear reflectances in 0..1."""

    color: Color = (0.5, 0.5, 0.5)
    #: H×W×3 uint8 sRGB, first row at v = 1, instead of the color.
    texture: npt.NDArray[np.uint8] | None = None
    #: 0.05 polished … 1 matte.
    roughness: float = 0.6
    metal: bool = False
    opacity: float = 1.0
    #: Light that the surface emits, linear radiance; None for none.
    emission: Color | None = None
    #: Infrared reflectance relative to the one derived from the color.
    infrared: float = 1.0

    @property
    def is_glass(self) -> bool:
        """Whether light passes through the surface."""
        return self.opacity < GLASS_OPACITY


@dataclass(frozen=True, eq=False)
class MeshPart:
    """Triangles of one look and one class in world coordinates, meters, z up."""

    #: N×3.
    vertices: npt.NDArray[np.float32]
    #: M×3 indices.
    faces: npt.NDArray[np.uint32]
    #: N×2 texture coordinates, or None without a texture.
    uv: npt.NDArray[np.float32] | None
    #: N×3 shading normals, or None for flat faces.
    normals: npt.NDArray[np.float32] | None
    look: Look
    #: Class id, 255 for clutter.
    label: int


@dataclass
class PatternTextures:
    """Bakes patterns of :mod:`training.data.synthetic.materials` into textures, each once."""

    _known: dict[tuple[int, int, int], Look] = field(default_factory=dict)

    def look(
        self, material: Material, half_u: float, half_v: float, roughness: float = 0.6
    ) -> Look:
        """The look of a rectangular face with some half extents in meters."""
        if material.emission > 0:
            glow = material.emission
            return Look(material.a, emission=_scaled(material.a, glow))
        if material.pattern == "solid" or max(half_u, half_v) < 0.06:
            return Look(material.a, roughness=roughness, infrared=material.infrared)
        key = (id(material), round(1000 * half_u), round(1000 * half_v))
        if key not in self._known:
            texture = bake(material, half_u, half_v)
            self._known[key] = Look(material.a, texture, roughness, infrared=material.infrared)
        return self._known[key]


def _scaled(color: Color, factor: float) -> Color:
    r, g, b = (factor * x for x in color)
    return r, g, b


def bake(material: Material, half_u: float, half_v: float) -> npt.NDArray[np.uint8]:
    """H×W×3 uint8 sRGB texture of a face of 2·half_u × 2·half_v meters."""
    w, h = (min(MAX_TEXELS, max(8, math.ceil(2 * half / TEXEL_M))) for half in (half_u, half_v))
    s, t = (np.arange(w, dtype=np.float32) + 0.5) / w, (np.arange(h, dtype=np.float32) + 0.5) / h
    grid_s, grid_t = (a.ravel() for a in np.meshgrid(2 * s - 1, 1 - 2 * t))
    n, f32 = w * h, np.float32

    def full(value: float) -> npt.NDArray[np.float32]:
        return np.full(n, value, f32)

    texel = max(2 * half_u / w, 2 * half_v / h)
    surface = Surface(
        grid_s * f32(half_u), grid_t * f32(half_v), grid_s, grid_t, full(half_u), full(half_v),
        full(material.period_m), full(material.angle),
        np.tile(np.array(material.options, f32), (n, 1)), full(texel),
    )  # fmt: skip
    w1, w2 = PATTERNS[material.pattern](surface)
    a, b, c = (np.array(x, f32) for x in (material.a, material.b, material.c))
    mixed = a + (b - a) * np.asarray(w1, f32)[:, None]
    mixed = mixed + (c - mixed) * np.asarray(w2, f32)[:, None]
    return to_srgb(mixed).reshape(h, w, 3)


def to_srgb(linear: npt.NDArray[np.floating]) -> npt.NDArray[np.uint8]:
    """Linear 0..1 as 8-bit sRGB, with a gamma of 2.2."""
    return np.asarray(np.round(255 * np.clip(linear, 0, 1) ** (1 / 2.2)), np.uint8)
