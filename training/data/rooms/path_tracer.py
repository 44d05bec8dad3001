# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Path tracing with Mitsuba 3: light, exact depth and class ids from the same triangles.

Rays are generated here rather than by a sensor plugin, so that a moving camera blurs exactly and
the view through a window replaces the light of its pane.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from rgbd_seg_ros.frames import Intrinsics
from training.data.rooms.looks import Look
from training.data.rooms.mitsuba_setup import mitsuba
from training.data.rooms.room_geometry import (
    Soup,
    as_emitter,
    nowhere,
    texture_tables,
    to_mesh,
    to_soup,
    two_skins,
)
from training.data.rooms.room_scene import RoomScene
from training.data.synthetic.raycast import Pose

Array = npt.NDArray[np.float32]
#: Movement in meters and rotation vector in radians during an exposure, world axes.
Motion = tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]

#: Longest light path in segments, and depth where a ray leaves the room, meters.
DEPTH, FAR_M = 6, 30.0
#: Kinds of meshes.
OPAQUE, GLASS, PANE, LAMP = range(4)


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


class LoadedRoom:
    """A room in Mitsuba's memory; views of it can be traced.

    Args:
        room: the room.
        threads: threads that render; 0 for one per core.
    """

    def __init__(self, room: RoomScene, threads: int = 0) -> None:
        self.mi = mi = mitsuba(threads)
        import drjit

        self.dr, self.room = drjit, room
        opaque = [p for p in room.parts if not p.look.is_glass and p.look.emission is None]
        glass = [p for p in room.parts if p.look.is_glass]
        shining = [p for p in room.parts if p.look.emission is not None]
        lamps = [q for p in shining for q in (two_skins(p) if len(p.faces) > 2 else [p])]
        dark = nowhere(Look(emission=(0.0, 0.0, 0.0)))
        day = Look(emission=(room.daylight,) * 3)
        panes = [replace(p, look=day) for p in room.panes]
        # Four meshes in every room: more of them, or others, would be compiled again.
        soups = [to_soup(opaque), to_soup([*glass, nowhere(Look())]), to_soup([*panes, dark]),
                 to_soup([*lamps, dark])]  # fmt: skip
        clear = mi.load_dict(
            {"type": "thindielectric", "specular_transmittance": {"type": "rgb", "value": 0.92}}
        )
        black = mi.load_dict({"type": "diffuse", "reflectance": {"type": "rgb", "value": 0.0}})
        document: dict[str, Any] = {
            "type": "scene",
            "shape0": to_mesh(mi, soups[0], self._surface(soups[0])),
            "shape1": to_mesh(mi, soups[1], clear),
            "shape2": to_mesh(mi, as_emitter(soups[2]), black, self._light(soups[2])),
            "shape3": to_mesh(mi, as_emitter(soups[3]), black, self._light(soups[3])),
        }
        # In parallel, shapes would be registered in a random order, which changes the samples.
        self.scene = mi.load_dict(document, parallel=False)
        self.integrator = mi.load_dict({"type": "path", "max_depth": DEPTH, "rr_depth": 3})
        self._register(soups)
        self.panorama = self._opaque_list((room.panorama * room.daylight).reshape(-1, 3).T)
        self.panorama_size = room.panorama.shape[:2]

    def _opaque(self, value: float) -> Any:
        """A number that is not compiled into the code."""
        return self.dr.opaque(self.mi.Float, float(value))

    def _opaque_list(self, rows: npt.ArrayLike) -> list[Any]:
        return [self.mi.Float(np.ascontiguousarray(r, np.float32)) for r in np.asarray(rows)]

    def _surface(self, soup: Soup) -> Any:
        """The material of all opaque surfaces, which looks up its tables by triangle."""
        mi = self.mi
        texels, plain, where = texture_tables(soup.looks)
        tables = {
            "look": mi.UInt32(soup.look), "texels": mi.UInt32(texels),
            "plain": self._opaque_list(plain.T),
            "where": [mi.UInt32(np.ascontiguousarray(c)) for c in where.T],
        }  # fmt: skip
        self._tables = tables
        texture = _texture_class(mi)
        return mi.load_dict({
            "type": "twosided",
            "bsdf": {
                "type": "principled",
                "base_color": texture(mi.Properties(), tables, "color"),
                "roughness": texture(mi.Properties(), tables, "roughness"),
                "metallic": texture(mi.Properties(), tables, "metal"),
                "specular": 0.4,
            },
        })  # fmt: skip

    def _light(self, soup: Soup) -> Any:
        """An area light whose radiance depends on the part that it belongs to."""
        table = np.array([look.emission for look in soup.looks], np.float32)
        radiance = _light_class(self.mi)(self.mi.Properties(), self._opaque_list(table.T))
        return self.mi.load_dict({"type": "area", "radiance": radiance}, parallel=False)

    def _register(self, soups: list[Soup]) -> None:
        """Tables from a mesh's registry index, and from the triangles of all meshes."""
        dr, mi = self.dr, self.mi
        index = [int(dr.reinterpret_array(mi.UInt32, mi.ShapePtr(s))[0])
                 for s in self.scene.shapes()]  # fmt: skip
        start, kind = np.zeros((2, max(index) + 1), np.uint32)
        start[index] = np.cumsum([0, *(len(s.faces) for s in soups[:-1])])
        kind[index] = (OPAQUE, GLASS, PANE, LAMP)
        infrared = [np.array([k.infrared for k in s.looks], np.float32)[s.look] for s in soups]
        self._start, self._kind = mi.UInt32(start), mi.UInt32(kind)
        self._label = mi.UInt32(np.concatenate([s.label for s in soups]))
        self._infrared = mi.Float(np.concatenate(infrared))

    def _hit(self, si: Any) -> tuple[Any, Any]:
        """Row of each hit triangle, and the kind of its mesh."""
        dr, mi = self.dr, self.mi
        shape = dr.reinterpret_array(mi.UInt32, si.shape)
        row = dr.gather(mi.UInt32, self._start, shape) + si.prim_index
        return row, dr.gather(mi.UInt32, self._kind, shape)

    def _camera(self, pose: Pose, k: Intrinsics) -> dict[str, Any]:
        o = self._opaque
        return {
            "position": [o(v) for v in pose.position],
            "rotation": [[o(v) for v in row] for row in pose.rotation],
            "k": [o(v) for v in (k.fx, k.fy, k.cx, k.cy)],
            "width": self.dr.opaque(self.mi.UInt32, k.width),
        }

    def _rays(self, camera: dict[str, Any], u: Any, v: Any, shift: Any = None) -> tuple[Any, Any]:
        """Rays through pixel positions, and the lengths of their directions with optical z 1."""
        mi, dr = self.mi, self.dr
        fx, fy, cx, cy = camera["k"]
        x, y = (u - cx) / fx, (v - cy) / fy
        d = mi.Vector3f(*(r[0] * x + r[1] * y + r[2] for r in camera["rotation"]))
        origin = mi.Point3f(*camera["position"])
        if shift is not None:
            origin, d = origin + shift[0], d + dr.cross(shift[1], d)
        norm = dr.norm(d)
        return mi.RayDifferential3f(mi.Ray3f(origin, d / norm)), norm

    def probe(self, pose: Pose, k: Intrinsics) -> tuple[Array, npt.NDArray[np.uint8]]:
        """Exact depth and class ids of a view at the centers of its pixels, without light."""
        found = self._center(self._camera(pose, k), k)
        self.dr.eval(*found)
        shape = (k.height, k.width)
        return (np.array(found[0], np.float32).reshape(shape),
                np.array(found[1]).astype(np.uint8).reshape(shape))  # fmt: skip

    def _center(self, camera: dict[str, Any], k: Intrinsics) -> list[Any]:
        """Depth, class id, infrared, cosine and kind at the centers of the pixels."""
        mi, dr = self.mi, self.dr
        index = dr.arange(mi.UInt32, k.width * k.height)
        u, v = mi.Float(index % camera["width"]), mi.Float(index // camera["width"])
        ray, norm = self._rays(camera, u, v)
        si = self.scene.ray_intersect(ray)
        row, kind = self._hit(si)
        valid = si.is_valid()
        return [
            dr.select(valid, si.t / norm, FAR_M),
            dr.select(valid, dr.gather(mi.UInt32, self._label, row, valid), 255),
            dr.gather(mi.Float, self._infrared, row, valid),
            dr.abs(dr.dot(si.n, ray.d)),
            kind,
        ]

    def trace(
        self, pose: Pose, k: Intrinsics, samples: int, seed: int, motion: Motion | None = None
    ) -> TracedView:
        """Trace one view.

        Args:
            pose: the camera in the middle of the exposure.
            k: its intrinsics.
            samples: paths per pixel, rounded to a square number.
            seed: of all random numbers.
            motion: movement of the camera during the exposure; None for none.
        """
        camera, shape = self._camera(pose, k), (k.height, k.width)
        center = self._center(camera, k)
        self.dr.eval(*center)
        depth, label, infrared, facing, kind = (np.array(c).reshape(shape) for c in center)
        side = max(1, round(samples**0.5))
        # One row of a stratified pattern at a time, which bounds the memory.
        rows = [self._pass(camera, k, side, i, seed, motion) for i in range(side)]
        image = np.mean(rows, axis=0, dtype=np.float32).reshape(*shape, 9)
        color, albedo, normal = image[..., :3], image[..., 3:6], image[..., 6:]
        color = denoised(color, albedo, normal)
        light = 0.2 + 0.8 * np.sqrt(np.clip(albedo.mean(axis=2), 0, 1))
        return TracedView(
            np.maximum(color, 0), depth.astype(np.float32), label.astype(np.uint8),
            (infrared * light).astype(np.float32), facing.astype(np.float32),
            (kind == GLASS) | (kind == PANE),
        )  # fmt: skip

    def _pass(
        self, camera: dict[str, Any], k: Intrinsics, side: int, row: int, seed: int,
        motion: Motion | None,
    ) -> Array:  # fmt: skip
        """P×9 means of light, albedo and normals of ``side`` samples per pixel."""
        mi, dr = self.mi, self.dr
        n = k.width * k.height * side
        sampler = mi.load_dict({"type": "independent"})
        sampler.seed(dr.opaque(mi.UInt32, (seed * 64 + row) % 2**32), n)
        index = dr.arange(mi.UInt32, n)
        pixel, column = index // side, index % side
        u = mi.Float(pixel % camera["width"]) - 0.5
        v = mi.Float(pixel // camera["width"]) - 0.5
        u += (mi.Float(column) + sampler.next_1d()) / side
        v += (self._opaque(row) + sampler.next_1d()) / side
        t = sampler.next_1d() - 0.5
        move, turn = motion if motion is not None else (np.zeros(3), np.zeros(3))
        shift = tuple(mi.Vector3f(*(self._opaque(c) for c in m)) * t for m in (move, turn))
        ray, _ = self._rays(camera, u, v, shift)
        light, _, _ = self.integrator.sample(self.scene, sampler, ray)
        si = self.scene.ray_intersect(ray)
        _, kind = self._hit(si)
        valid = si.is_valid()
        seen = valid & (kind == PANE)
        light = dr.select(seen, self._view_outside(ray.d), light)
        albedo = dr.select(
            valid & (kind == OPAQUE), si.bsdf(ray).eval_diffuse_reflectance(si), 1.0
        )
        light += self._sunlight(si, albedo, valid & (kind == OPAQUE))
        light = dr.select(dr.isfinite(light), dr.minimum(light, self._opaque(400.0)), 0)
        normal = dr.select(valid, si.sh_frame.n, 0)
        values = [c for v in (light, albedo, normal) for c in v]
        dr.eval(*values)  # a sum of what is not evaluated would trace the paths once per channel
        values = [dr.block_sum(c, side) / side for c in values]
        dr.eval(*values)
        return np.stack([np.array(v, np.float32) for v in values], axis=1)

    def _view_outside(self, d: Any) -> Any:
        """Bilinear view of the panorama."""
        mi, dr = self.mi, self.dr
        h, w = self.panorama_size
        x = dr.atan2(d.y, d.x) * (w / (2 * np.pi)) + w
        y = dr.clip((0.5 - dr.asin(dr.clip(d.z, -1, 1)) / np.pi) * h, 0, h - 1.001)
        x0, y0 = dr.floor(x), dr.floor(y)
        fx, fy = x - x0, y - y0
        left, top = mi.UInt32(x0) % w, mi.UInt32(y0)
        right = (left + 1) % w
        result = []
        for c in self.panorama:
            a, b, e, f = (dr.gather(mi.Float, c, r * w + q)
                          for r in (top, top + 1) for q in (left, right))  # fmt: skip
            result.append((a * (1 - fx) + b * fx) * (1 - fy) + (e * (1 - fx) + f * fx) * fy)
        return mi.Color3f(*result)

    def _sunlight(self, si: Any, albedo: Any, active: Any) -> Any:
        """Direct light of the sun: a ray toward it must leave through a pane."""
        mi, dr = self.mi, self.dr
        direction, strength = self.room.sun or ((0.0, 0.0, 1.0), 0.0)
        toward = mi.Vector3f(*(self._opaque(c) for c in direction))
        power = self._opaque(strength * self.room.daylight / np.pi)
        # A two-sided surface is lit on the side that the camera sees.
        normal = si.sh_frame.n * dr.sign(dr.dot(si.sh_frame.n, si.to_world(si.wi)))
        cosine = dr.dot(normal, toward)
        active = active & (cosine > 0) & (power > 0)
        hit = self.scene.ray_intersect(si.spawn_ray(toward), active)
        _, kind = self._hit(hit)
        free = active & hit.is_valid() & (kind == PANE)
        return dr.select(free, albedo * (cosine * power), 0)


def _texture_class(mi: Any) -> Any:
    """A texture that looks up colors, roughness or metal of the opaque mesh by triangle."""
    import drjit as dr

    class TriangleTable(mi.Texture):  # type: ignore[misc]
        def __init__(self, props: Any, tables: dict[str, Any], what: str) -> None:
            super().__init__(props)
            self.tables, self.what = tables, what

        def _look(self, si: Any, active: Any) -> Any:
            return dr.gather(mi.UInt32, self.tables["look"], si.prim_index, active)

        def eval(self, si: Any, active: Any = True) -> Any:
            look = self._look(si, active)
            t = self.tables
            plain = mi.Color3f(*(dr.gather(mi.Float, t["plain"][i], look, active)
                                 for i in range(3)))  # fmt: skip
            offset, w, h = (dr.gather(mi.UInt32, c, look, active) for c in t["where"])
            textured = active & (w > 0)
            x = (si.uv.x - dr.floor(si.uv.x)) * mi.Float(w) - 0.5
            y = (1 - si.uv.y + dr.floor(si.uv.y)) * mi.Float(h) - 0.5
            x0, y0 = dr.floor(x), dr.floor(y)
            fx, fy = x - x0, y - y0
            total = mi.Color3f(0)
            for dx, wx in ((0, 1 - fx), (1, fx)):
                for dy, wy in ((0, 1 - fy), (1, fy)):
                    column = dr.select(x0 + dx < 0, w - 1, mi.UInt32(dr.maximum(x0 + dx, 0)))
                    line = dr.select(y0 + dy < 0, h - 1, mi.UInt32(dr.maximum(y0 + dy, 0)))
                    column = dr.select(column >= w, 0, column)
                    line = dr.select(line >= h, 0, line)
                    texel = dr.gather(mi.UInt32, t["texels"], offset + line * w + column, textured)
                    rgb = mi.Color3f(*(mi.Float((texel >> s) & 255) / 255 for s in (0, 8, 16)))
                    total += rgb * (wx * wy)
            # Interpolated before it is made linear; 2.2 as in to_srgb().
            return dr.select(textured, dr.power(dr.maximum(total, 0), 2.2), plain)

        def eval_1(self, si: Any, active: Any = True) -> Any:
            column = self.tables["plain"][{"roughness": 3, "metal": 4}[self.what]]
            return dr.gather(mi.Float, column, self._look(si, active), active)

        def eval_3(self, si: Any, active: Any = True) -> Any:
            return self.eval(si, active)

        def mean(self) -> Any:
            return mi.Float(0.5)

        def is_spatially_varying(self) -> bool:
            return True

        def to_string(self) -> str:
            return f"TriangleTable[{self.what}]"

    return TriangleTable


def _light_class(mi: Any) -> Any:
    """A radiance that is looked up by the first texture coordinate."""
    import drjit as dr

    class LightTable(mi.Texture):  # type: ignore[misc]
        def __init__(self, props: Any, table: list[Any]) -> None:
            super().__init__(props)
            self.table = table

        def eval(self, si: Any, active: Any = True) -> Any:
            row = mi.UInt32(dr.maximum(si.uv.x + 0.5, 0))
            return mi.Color3f(*(dr.gather(mi.Float, c, row, active) for c in self.table))

        def mean(self) -> Any:
            return mi.Float(1)

        def is_spatially_varying(self) -> bool:
            return False  # the mesh is sampled by area, which is cheaper than by its texture

        def to_string(self) -> str:
            return "LightTable[]"

    return LightTable


def denoised(color: Array, albedo: Array, normal: Array) -> Array:
    """The light without noise, by Intel Open Image Denoise; unchanged if it is not installed."""
    try:
        import pyoidn
    except ImportError:
        return color
    arrays = [np.ascontiguousarray(a, np.float32) for a in (color, np.clip(albedo, 0, 1), normal)]
    return np.asarray(pyoidn.denoise(*arrays, hdr=True), np.float32)
