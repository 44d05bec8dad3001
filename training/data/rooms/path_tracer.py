# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Path tracing with Mitsuba 3 on the CPU: light, exact depth and class ids from the same triangles.

Rays are generated here rather than by a sensor plugin, so that a moving camera blurs exactly and
the view through a window replaces the light of its pane.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from rgbd_seg_ros.frames import Intrinsics
from rgbd_seg_ros.labels import IGNORE_ID
from training.data.rooms.looks import Look, MeshPart
from training.data.rooms.room_scene import RoomScene
from training.data.synthetic.raycast import Pose
from training.options import UsageError

Array = npt.NDArray[np.float32]

VARIANT = "llvm_ad_rgb"
INSTALL = "pip install mitsuba trimesh pyoidn (or pip install -e '.[render]')"
#: LLVM that Dr.Jit works with; Debian's LLVM 14 aborts the process.
LLVM = ("libLLVM-19.so", "libLLVM.so.19.1", "libLLVM-19.so.1", "libLLVM-18.so", "libLLVM.so.18.1",
        "libLLVM-18.so.1", "libLLVM-20.so", "libLLVM.so.20.1")  # fmt: skip
LLVM_FOLDERS = ("/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib64", "/usr/lib")
#: Longest light path in segments.
DEPTH = 6


@dataclass(frozen=True, eq=False)
class TracedView:
    """One view, before the cameras."""

    #: H×W×3 linear light.
    radiance: Array
    #: H×W exact z-depth in meters, and class ids, at the pixels' centers.
    depth_m: Array
    labels: npt.NDArray[np.uint8]
    #: H×W infrared reflectances, and cosines between normal and ray.
    infrared: Array
    facing: Array
    #: H×W, True on panes and other glass.
    glass: npt.NDArray[np.bool_]


@cache
def mitsuba(threads: int = 0) -> Any:
    """The ``mitsuba`` module with its LLVM variant.

    Raises:
        ImportError: Mitsuba is not installed.
        UsageError: it finds no LLVM that works.
    """
    path = find_llvm()
    os.environ["DRJIT_LIBLLVM_PATH"] = str(path)
    try:
        import drjit as dr
        import mitsuba as mi
    except ImportError as error:
        raise ImportError(f"the path tracer needs Mitsuba 3: {INSTALL}") from error
    try:
        mi.set_variant(VARIANT)
        probe = dr.llvm.Float([1.0]) + 1
        dr.eval(probe)
    except Exception as error:
        reason = " ".join(str(error).split())[:160]
        raise UsageError(
            f"Mitsuba cannot use LLVM {path} ({reason}): install libllvm19 or set "
            "DRJIT_LIBLLVM_PATH"
        ) from error
    if threads:
        dr.set_thread_count(threads)
    mi.set_log_level(mi.LogLevel.Error)
    return mi


def find_llvm() -> Path:
    """The shared library of LLVM, from ``DRJIT_LIBLLVM_PATH`` or from the usual folders.

    Raises:
        UsageError: the file that the variable names is missing, or there is no usable version.
    """
    remedy = "install the Debian or Ubuntu package libllvm19, or set DRJIT_LIBLLVM_PATH to its .so"
    if chosen := os.environ.get("DRJIT_LIBLLVM_PATH"):
        if not Path(chosen).is_file():
            raise UsageError(f"DRJIT_LIBLLVM_PATH is {chosen}, which is not a file: {remedy}")
        return Path(chosen)
    for name in LLVM:
        for folder in LLVM_FOLDERS:
            if (path := Path(folder) / name).is_file():
                return path
    raise UsageError(f"the path tracer finds no LLVM 18 to 20: {remedy}")


class LoadedRoom:
    """A room in Mitsuba's memory: views of it can be traced."""

    def __init__(self, room: RoomScene, threads: int = 0) -> None:
        self.mi = mi = mitsuba(threads)
        self.room = room
        meshes = [*room.parts, *room.panes]
        shapes: dict[str, Any] = {"type": "scene"}
        panes = range(len(room.parts), len(meshes))
        self._materials: dict[int, Any] = {}
        for i, part in enumerate(meshes):
            emission = part.look.emission
            if i in panes:
                emission = (room.daylight,) * 3
            shapes[f"s{i:04d}"] = self._shape(part, emission)
        # In parallel, shapes would be registered in a random order, which changes the samples.
        self.scene = mi.load_dict(shapes, parallel=False)
        self.integrator = mi.load_dict({"type": "path", "max_depth": DEPTH, "rr_depth": 10})
        self._register(meshes, len(room.parts))
        self.outside = mi.Texture2f(
            mi.TensorXf(np.ascontiguousarray(room.panorama * room.daylight)),
            wrap_mode=self._dr.WrapMode.Repeat,
        )

    @property
    def _dr(self) -> Any:
        import drjit

        return drjit

    def _shape(self, part: MeshPart, emission: tuple[float, float, float] | None) -> Any:
        mi, look = self.mi, part.look
        if id(look) not in self._materials:
            self._materials[id(look)] = mi.load_dict(_bsdf(mi, look), parallel=False)
        props = mi.Properties()
        props["bsdf"] = self._materials[id(look)]
        if emission is not None:
            props["emitter"] = mi.load_dict(
                {"type": "area", "radiance": {"type": "rgb", "value": list(emission)}},
                parallel=False,
            )
        textured = part.uv is not None and look.texture is not None
        mesh = mi.Mesh(
            "part", len(part.vertices), len(part.faces), has_vertex_normals=part.normals is not None,
            has_vertex_texcoords=textured, props=props,
        )  # fmt: skip
        values = mi.traverse(mesh)
        values["vertex_positions"] = part.vertices.ravel()
        values["faces"] = part.faces.ravel()
        if part.normals is not None:
            values["vertex_normals"] = part.normals.ravel()
        if textured and part.uv is not None:
            values["vertex_texcoords"] = (part.uv * (1, -1) + (0, 1)).astype(np.float32).ravel()
        values.update()
        return mesh

    def _register(self, meshes: list[MeshPart], first_pane: int) -> None:
        """Tables from the registry index of a shape to its class, infrared and glass."""
        dr, mi = self._dr, self.mi
        shapes = self.scene.shapes()
        index = [int(dr.reinterpret_array(mi.UInt32, mi.ShapePtr(s))[0]) for s in shapes]
        n = max(index) + 1
        label, infrared = np.full(n, IGNORE_ID, np.uint32), np.ones(n, np.float32)
        glass, outside = np.zeros(n, bool), np.zeros(n, bool)
        for i, (where, part) in enumerate(zip(index, meshes, strict=True)):
            label[where], infrared[where] = part.label, part.look.infrared
            outside[where] = i >= first_pane
            glass[where] = i >= first_pane or part.look.is_glass
        self._label, self._infrared = mi.UInt32(label), mi.Float(infrared)
        self._glass, self._outside = mi.Bool(glass), mi.Bool(outside)

    def _rows(self, si: Any) -> Any:
        return self._dr.reinterpret_array(self.mi.UInt32, si.shape)

    def _rays(self, pose: Pose, u: Any, v: Any, k: Intrinsics, shift: Any = None) -> Any:
        """Rays of pixel positions; their length is z-depth times the norm of the direction."""
        mi, dr = self.mi, self._dr
        x, y = (u - k.cx) / k.fx, (v - k.cy) / k.fy
        r = pose.rotation
        d = mi.Vector3f(*(float(r[i, 0]) * x + float(r[i, 1]) * y + float(r[i, 2])
                          for i in range(3)))  # fmt: skip
        origin = mi.Point3f(*map(float, pose.position))
        if shift is not None:
            move, turn = shift
            origin = origin + move
            d = d + dr.cross(turn, d)
        norm = dr.norm(d)
        return mi.RayDifferential3f(mi.Ray3f(origin, d / norm)), norm

    def probe(self, pose: Pose, k: Intrinsics) -> tuple[Array, npt.NDArray[np.uint8]]:
        """Exact depth and class ids of a view at the centers of its pixels, without light."""
        depth, row, _, _ = self._center(pose, k)
        shape = (k.height, k.width)
        labels = self._dr.gather(self.mi.UInt32, self._label, row)
        return (np.array(depth, np.float32).reshape(shape),
                np.array(labels).astype(np.uint8).reshape(shape))  # fmt: skip

    def _center(self, pose: Pose, k: Intrinsics) -> tuple[Any, Any, Any, Any]:
        mi, dr = self.mi, self._dr
        index = dr.arange(mi.UInt32, k.width * k.height)
        u, v = mi.Float(index % k.width), mi.Float(index // k.width)
        ray, norm = self._rays(pose, u, v, k)
        si = self.scene.ray_intersect(ray)
        depth = dr.select(si.is_valid(), si.t / norm, 30.0)
        return depth, self._rows(si), si, ray

    def trace(
        self, pose: Pose, k: Intrinsics, samples: int, seed: int,
        motion: tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]] | None = None,
        denoise: bool = True,
    ) -> TracedView:  # fmt: skip
        """Trace one view.

        Args:
            pose: the camera in the middle of the exposure.
            k: its intrinsics.
            samples: paths per pixel.
            seed: of all random numbers.
            motion: movement (m) and rotation vector (rad) during the exposure, world axes.
            denoise: whether OIDN, guided by albedo and normals, cleans the light.
        """
        mi, dr = self.mi, self._dr
        shape, count = (k.height, k.width), k.width * k.height
        depth, row, si, ray = self._center(pose, k)
        label = dr.gather(mi.UInt32, self._label, row)
        facing = dr.abs(dr.dot(si.n, ray.d))
        ir, glass = dr.gather(mi.Float, self._infrared, row), dr.gather(mi.Bool, self._glass, row)
        dr.eval(depth, label, facing, ir, glass)
        sums: list[npt.NDArray[np.float32]] = []
        side = max(1, round(samples**0.5))
        for i in range(side):  # one row of a stratified pattern at a time, which bounds memory
            sums.append(self._pass(pose, k, side, i, seed, motion))
        color, albedo, normal = np.split(np.mean(sums, axis=0, dtype=np.float32), 3, axis=1)
        color, albedo, normal = (a.reshape(*shape, 3) for a in (color, albedo, normal))
        if denoise:
            color = denoised(color, albedo, normal)
        light = 0.2 + 0.8 * np.sqrt(albedo.mean(axis=2))
        as_image = lambda a: np.array(a).reshape(shape)  # noqa: E731
        del count
        return TracedView(
            np.maximum(color, 0), as_image(depth).astype(np.float32),
            as_image(label).astype(np.uint8), as_image(ir).astype(np.float32) * light,
            as_image(facing).astype(np.float32), as_image(glass).astype(bool),
        )  # fmt: skip

    def _pass(
        self, pose: Pose, k: Intrinsics, side: int, row: int, seed: int, motion: Any
    ) -> npt.NDArray[np.float32]:
        """P×9 means of light, albedo and normals of ``side`` samples per pixel."""
        mi, dr = self.mi, self._dr
        n = k.width * k.height * side
        sampler = mi.load_dict({"type": "independent"})
        sampler.seed((seed * 64 + row) % 2**32, n)
        index = dr.arange(mi.UInt32, n)
        pixel, column = index // side, index % side
        u = mi.Float(pixel % k.width) + (mi.Float(column) + sampler.next_1d()) / side - 0.5
        v = mi.Float(pixel // k.width) + (row + sampler.next_1d()) / side - 0.5
        shift = None
        if motion is not None:
            t = sampler.next_1d() - 0.5
            shift = (mi.Vector3f(*map(float, motion[0])) * t, mi.Vector3f(*map(float, motion[1])) * t)
        ray, _ = self._rays(pose, u, v, k, shift)
        light, _, _ = self.integrator.sample(self.scene, sampler, ray)
        si = self.scene.ray_intersect(ray)
        rows = self._rows(si)
        seen = dr.gather(mi.Bool, self._outside, rows) & si.is_valid()
        light = dr.select(seen, self._view_outside(ray.d), light)
        albedo = dr.select(si.is_valid(), si.bsdf(ray).eval_diffuse_reflectance(si), mi.Color3f(0))
        albedo = dr.select(seen, 1.0, albedo)
        if self.room.sun is not None:
            light += self._sunlight(si, albedo, seen)
        light = dr.select(dr.isfinite(light), dr.minimum(light, 20 * self.room.daylight + 60), 0)
        normal = dr.select(si.is_valid(), si.sh_frame.n, 0)
        values = [dr.block_sum(c, side) / side for v in (light, albedo, normal) for c in v]
        dr.eval(*values)
        return np.stack([np.array(v, np.float32) for v in values], axis=1)

    def _view_outside(self, d: Any) -> Any:
        mi, dr = self.mi, self._dr
        u = dr.atan2(d.y, d.x) / (2 * dr.pi)
        v = 0.5 - dr.asin(dr.clip(d.z, -1, 1)) / dr.pi
        return mi.Color3f(*self.outside.eval(mi.Point2f(u, v)))

    def _sunlight(self, si: Any, albedo: Any, seen: Any) -> Any:
        """Direct light of the sun: a ray toward it must leave through a pane."""
        mi, dr = self.mi, self._dr
        assert self.room.sun is not None
        direction, strength = self.room.sun
        toward = mi.Vector3f(*direction)
        # A two-sided surface is lit on the side that the camera sees.
        normal = si.sh_frame.n * dr.sign(dr.dot(si.sh_frame.n, si.to_world(si.wi)))
        cosine = dr.maximum(dr.dot(normal, toward), 0)
        active = si.is_valid() & ~seen & (cosine > 0)
        hit = self.scene.ray_intersect(si.spawn_ray(toward), active)
        free = active & hit.is_valid() & dr.gather(mi.Bool, self._outside, self._rows(hit))
        glow = albedo * (cosine * (strength * self.room.daylight / dr.pi))
        return dr.select(free, glow, 0)


def _bsdf(mi: Any, look: Look) -> dict[str, Any]:
    """Mitsuba's material for a look."""
    if look.texture is not None:
        texture = {"type": "bitmap", "bitmap": mi.Bitmap(np.ascontiguousarray(look.texture))}
        color: dict[str, Any] = texture
    else:
        color = {"type": "rgb", "value": list(look.color)}
    if look.is_glass:
        return {"type": "thindielectric", "specular_transmittance": {"type": "rgb", "value": 0.92}}
    if look.metal:
        inner = {"type": "roughconductor", "material": "none", "alpha": look.roughness,
                 "specular_reflectance": color}  # fmt: skip
    elif look.roughness < 0.7:
        inner = {"type": "roughplastic", "alpha": max(0.05, look.roughness**1.5),
                 "diffuse_reflectance": color}  # fmt: skip
    else:
        inner = {"type": "diffuse", "reflectance": color}
    return {"type": "twosided", "bsdf": inner}


def denoised(color: Array, albedo: Array, normal: Array) -> Array:
    """The light without noise, by Intel Open Image Denoise; unchanged if it is not installed."""
    try:
        import pyoidn
    except ImportError:
        return color
    arrays = [np.ascontiguousarray(a, np.float32) for a in (color, np.clip(albedo, 0, 1), normal)]
    return np.asarray(pyoidn.denoise(*arrays, hdr=True), np.float32)
