# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Geometry for Mitsuba: all opaque triangles as one mesh, with tables of materials and classes.

With one mesh and one material, every room runs through the same compiled code, which would
otherwise take longer to compile than to run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from training.data.rooms.looks import Look, MeshPart

#: A tiny triangle far below the room.
_NOWHERE = np.array([[0, 0, -50], [1e-3, 0, -50], [0, 1e-3, -50]], np.float32)


@dataclass(frozen=True, eq=False)
class Soup:
    """Triangles with one row of each table per triangle or look."""

    vertices: npt.NDArray[np.float32]
    normals: npt.NDArray[np.float32]
    uv: npt.NDArray[np.float32]
    faces: npt.NDArray[np.uint32]
    #: Class id and index of the look of each triangle.
    label: npt.NDArray[np.uint32]
    look: npt.NDArray[np.uint32]
    looks: tuple[Look, ...]


def to_soup(parts: Sequence[MeshPart]) -> Soup:
    """Join parts into one mesh; flat parts get separate vertices with the faces' normals."""
    looks: dict[int, int] = {}
    table: list[Look] = []
    columns: list[list[npt.NDArray[Any]]] = [[] for _ in range(6)]
    offset = 0
    for part in parts:
        if id(part.look) not in looks:
            looks[id(part.look)] = len(table)
            table.append(part.look)
        vertices, faces, normals = part.vertices, part.faces, part.normals
        uv = part.uv if part.uv is not None else np.zeros((len(vertices), 2), np.float32)
        if normals is None:
            corners = vertices[faces]
            n = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
            n /= np.maximum(np.linalg.norm(n, axis=1, keepdims=True), 1e-20)
            vertices, uv = corners.reshape(-1, 3), uv[faces].reshape(-1, 2)
            normals = np.repeat(n, 3, axis=0)
            faces = np.arange(len(vertices), dtype=np.uint32).reshape(-1, 3)
        count = len(faces)
        for column, values in zip(
            columns,
            (vertices, normals, uv, faces + np.uint32(offset), np.full(count, part.label),
             np.full(count, looks[id(part.look)])),
            strict=True,
        ):  # fmt: skip
            column.append(values)
        offset += len(vertices)
    v, n, t, f, label, look = (np.concatenate(c) for c in columns)
    return Soup(
        v.astype(np.float32), n.astype(np.float32), t.astype(np.float32), f.astype(np.uint32),
        label.astype(np.uint32), look.astype(np.uint32), tuple(table),
    )  # fmt: skip


def texture_tables(
    looks: Sequence[Look],
) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.float32], npt.NDArray[np.uint32]]:
    """Textures of all looks.

    Returns:
        All texels, 8-bit RGB packed into 32 bits; L×6 red, green and blue of plain looks,
        roughness, metal, infrared; L×3 offset of the first texel, width and height, 0 for plain.
    """
    texels: list[npt.NDArray[np.uint32]] = [np.zeros(1, np.uint32)]
    plain, where = np.zeros((len(looks), 6), np.float32), np.zeros((len(looks), 3), np.uint32)
    offset, known = 1, dict[int, int]()
    for i, look in enumerate(looks):
        plain[i] = (*look.color, look.roughness, float(look.metal), look.infrared)
        if look.texture is None:
            continue
        h, w = look.texture.shape[:2]
        if id(look.texture) not in known:
            rgb = look.texture.astype(np.uint32)
            texels.append((rgb[..., 0] | rgb[..., 1] << 8 | rgb[..., 2] << 16).ravel())
            known[id(look.texture)] = offset
            offset += h * w
        where[i] = (known[id(look.texture)], w, h)
    return np.concatenate(texels), plain, where


def two_skins(part: MeshPart) -> list[MeshPart]:
    """A shade that shines to both sides, since lights shine on one side of a triangle only."""
    corners = part.vertices[part.faces].astype(np.float64)
    n = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    n /= np.maximum(np.linalg.norm(n, axis=1, keepdims=True), 1e-12)
    behind = (corners - 0.001 * n[:, None]).reshape(-1, 3).astype(np.float32)
    order = np.arange(len(behind), dtype=np.uint32).reshape(-1, 3)[:, ::-1]
    front = replace(part, uv=None, normals=None)
    return [front, replace(front, vertices=behind, faces=order)]


def as_emitter(soup: Soup) -> Soup:
    """The soup with the index of its look as the first texture coordinate of each triangle."""
    vertices = soup.vertices[soup.faces].reshape(-1, 3)
    normals = soup.normals[soup.faces].reshape(-1, 3)
    uv = np.zeros((len(vertices), 2), np.float32)
    uv[:, 0] = np.repeat(soup.look, 3)
    faces = np.arange(len(vertices), dtype=np.uint32).reshape(-1, 3)
    return replace(soup, vertices=vertices, normals=normals, uv=uv, faces=faces)


def to_mesh(mi: Any, soup: Soup, bsdf: Any, light: Any = None) -> Any:
    """A Mitsuba mesh of a soup, with an area light if one is given."""
    props = mi.Properties()
    props["bsdf"] = bsdf
    if light is not None:
        props["emitter"] = light
    mesh = mi.Mesh(
        "part", len(soup.vertices), len(soup.faces), has_vertex_normals=True,
        has_vertex_texcoords=True, props=props,
    )  # fmt: skip
    values = mi.traverse(mesh)
    values["vertex_positions"] = soup.vertices.ravel()
    values["faces"] = soup.faces.ravel()
    values["vertex_normals"] = soup.normals.ravel()
    values["vertex_texcoords"] = soup.uv.ravel()
    values.update()
    return mesh


def nowhere(look: Look) -> MeshPart:
    """A tiny triangle far below the room, for a mesh that would be empty."""
    return MeshPart(_NOWHERE, np.array([[0, 2, 1]], np.uint32), None, None, look, 255)
