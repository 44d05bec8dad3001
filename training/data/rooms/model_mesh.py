# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Meshes of catalog models: read from the archive, scaled to the catalog's size."""

from __future__ import annotations

import io
import logging
import zipfile
from collections import OrderedDict
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import numpy.typing as npt

from rgbd_seg_ros.progress import say
from training.data.rooms.catalog import CatalogModel, rotation_of
from training.data.rooms.looks import Look, MeshPart
from training.data.synthetic.materials import Color
from training.options import UsageError

#: Larger files in an archive are not read, bytes; models with more triangles are not used.
MAX_FILE_BYTES, MAX_TRIANGLES = 1 << 26, 120_000
#: Models of the catalog that a process keeps.
KEPT = 160
#: Longest side of a texture; frames are hardly larger.
MAX_TEXTURE = 512
#: Piece axes from the catalog's: x right → -x, z toward the viewer → y (front), y up → z.
_AXES = np.array([[-1.0, 0, 0], [0, 0, 1], [0, 1, 0]])


class ModelFileError(UsageError):
    """A model of the catalog that cannot be loaded."""


class MeshStore:
    """Loads models on demand and keeps the most recently used ones.

    A model's origin is the center of its footprint, its front is +y, and z is up.
    """

    def __init__(self) -> None:
        self._kept: OrderedDict[str, tuple[MeshPart, ...] | None] = OrderedDict()

    def get(self, model: CatalogModel) -> tuple[MeshPart, ...] | None:
        """The parts of a model, without class; None if it does not load, which is said once."""
        if model.id not in self._kept:
            try:
                self._kept[model.id] = load_model(model)
            except ModelFileError as error:
                say(f"note: {error}; a simple shape takes its place")
                self._kept[model.id] = None
            if len(self._kept) > KEPT:
                self._kept.popitem(last=False)
        self._kept.move_to_end(model.id)
        return self._kept[model.id]


def load_model(model: CatalogModel) -> tuple[MeshPart, ...]:
    """Read one model.

    Raises:
        ModelFileError: the archive or the model is damaged, too large or empty.
        ImportError: trimesh is not installed.
    """
    trimesh = _trimesh()
    try:
        files = _folder(model)
        resolver = trimesh.resolvers.ZipResolver(files)
        name = PurePosixPath(model.path).name
        scene = trimesh.load_scene(
            io.BytesIO(files[name].getvalue()), file_type="obj", resolver=resolver,
            process=False, group_material=True,
        )  # fmt: skip
        meshes = [g for g in scene.dump() if len(getattr(g, "faces", ()))]
        count = sum(len(g.faces) for g in meshes)
        if not 0 < count <= MAX_TRIANGLES:
            raise ValueError(f"it has {count} triangles, allowed are 1..{MAX_TRIANGLES}")
        return _scaled(meshes, model)
    except ImportError:
        raise
    except Exception as error:  # trimesh and Pillow raise many kinds of errors on damaged files
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:160]
        raise ModelFileError(f"{model.archive.name}: model {model.id} is not used ({reason})"
                             ) from error  # fmt: skip


def _trimesh() -> Any:
    try:
        import trimesh
    except ImportError as error:
        raise ImportError(
            "the furniture catalog needs trimesh: pip install trimesh (or pip install -e "
            "'.[render]')"
        ) from error
    logging.getLogger("trimesh").setLevel(logging.ERROR)
    return trimesh


@lru_cache(maxsize=8)
def _archive(path: Path) -> tuple[zipfile.ZipFile, dict[str, list[zipfile.ZipInfo]]]:
    """An open archive, and folder → its files; reading the list of files takes 30 ms."""
    archive = zipfile.ZipFile(path)
    folders: dict[str, list[zipfile.ZipInfo]] = {}
    for info in archive.infolist():
        if not info.is_dir():
            folders.setdefault(info.filename.rpartition("/")[0], []).append(info)
    return archive, folders


def _folder(model: CatalogModel) -> dict[str, io.BytesIO]:
    """Name → content of the files beside a model's OBJ file."""
    archive, folders = _archive(model.archive)
    found = {}
    for info in folders.get(model.path.rpartition("/")[0], []):
        if info.file_size > MAX_FILE_BYTES:
            raise ValueError(f"{info.filename} has {info.file_size} bytes")
        found[info.filename.rpartition("/")[2]] = io.BytesIO(archive.read(info))
    return found


def _scaled(meshes: list[Any], model: CatalogModel) -> tuple[MeshPart, ...]:
    turn = _AXES @ rotation_of(model)
    points = [np.asarray(g.vertices) @ turn.T for g in meshes]
    used = np.concatenate([p[np.unique(g.faces)] for p, g in zip(points, meshes, strict=True)])
    low, high = used.min(axis=0), used.max(axis=0)
    extent = np.maximum(high - low, 1e-9)
    scale = np.array(model.size_m) / extent
    origin = np.array([(low[0] + high[0]) / 2, (low[1] + high[1]) / 2, low[2]])
    parts = []
    for mesh, p in zip(meshes, points, strict=True):
        normals = mesh._cache.cache.get("vertex_normals")
        if normals is not None:
            normals = np.asarray(normals) @ turn.T / scale
            length = np.linalg.norm(normals, axis=1, keepdims=True)
            normals = (normals / np.maximum(length, 1e-12)).astype(np.float32)
        look, uv = _look(mesh)
        parts.append(
            MeshPart(((p - origin) * scale).astype(np.float32), np.asarray(mesh.faces, np.uint32),
                     uv, normals, look, 0)
        )  # fmt: skip
    return tuple(parts)


def _look(mesh: Any) -> tuple[Look, npt.NDArray[np.float32] | None]:
    """The look of a material of a MTL file, and texture coordinates if it has a texture."""
    material = getattr(mesh.visual, "material", None)
    values = getattr(material, "kwargs", {}) or {}
    diffuse = np.asarray(getattr(material, "diffuse", (128, 128, 128, 255)), np.float64)[:3] / 255
    specular = float(np.mean(np.asarray(getattr(material, "specular", (0, 0, 0)))[:3])) / 255
    opacity = _number(values.get("d"), 1.0)
    shine = float(getattr(material, "glossiness", 0.0) or 0.0)
    roughness = float(np.clip(np.sqrt(2 / (2 + max(shine, 0.0))), 0.12, 1.0))
    color = _linear(diffuse)
    metal = specular > 0.6 and roughness < 0.35 and float(np.ptp(diffuse)) < 0.15
    metal = metal and 0.25 < float(diffuse.mean()) < 0.85
    if specular < 0.05:
        roughness = 1.0
    image, uv = getattr(material, "image", None), getattr(mesh.visual, "uv", None)
    texture = None
    if image is not None and uv is not None and len(uv) == len(mesh.vertices):
        picture = image.convert("RGB")
        picture.thumbnail((MAX_TEXTURE, MAX_TEXTURE))
        texture = np.asarray(picture, np.uint8)
    look = Look(color, texture, roughness, metal and texture is None, opacity)
    return look, None if texture is None else np.asarray(uv, np.float32)


def _number(value: Any, default: float) -> float:
    try:
        return float(value[0] if isinstance(value, list | tuple) else value)
    except (TypeError, ValueError):
        return default


def _linear(srgb: npt.NDArray[np.float64]) -> Color:
    r, g, b = (float(x) for x in np.clip(0.02 + 0.92 * srgb**2.2, 0, 0.94))
    return r, g, b
