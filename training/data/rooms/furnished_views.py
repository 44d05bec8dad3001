# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Views of furnished rooms: ``views[i] → RoomSample``, the same for each seed and index."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from training.data.rooms.catalog import Catalog
from training.data.rooms.model_mesh import MeshStore
from training.data.rooms.path_tracer import LoadedRoom
from training.data.rooms.room_scene import RoomScene, build_room
from training.data.rooms.time_of_flight import TimeOfFlightSensor
from training.data.rooms.viewpoints import draw_viewpoint
from training.data.synthetic.renderer import RoomSample
from training.data.synthetic.sensors import ColorCamera, DepthSensor

#: Number that separates these random streams from those of the procedural rooms.
_STREAM = 715
#: Share of views whose depth is that of a time-of-flight sensor; the others are stereo.
TIME_OF_FLIGHT = 0.35
#: Share of views whose colors were compressed.
COMPRESSED = 0.6


class FurnishedViews:
    """Endless path-traced views of random rooms, a few per room.

    Args:
        size: (height, width) in pixels.
        seed: any integer ≥ 0; another seed gives other rooms.
        catalog: the furniture; None for simple shapes only.
        samples: light paths per pixel.
        views: views of each room.
        threads: threads that render; 0 for one per core.
    """

    def __init__(
        self, size: tuple[int, int], seed: int, catalog: Catalog | None, samples: int = 9,
        views: int = 4, threads: int = 0,
    ) -> None:  # fmt: skip
        self.size, self.seed, self.catalog = size, seed, catalog
        self.samples, self.views, self.threads = samples, views, threads
        self.store = MeshStore()
        self._loaded: tuple[int, RoomScene, LoadedRoom] | None = None

    def room(self, number: int) -> tuple[RoomScene, LoadedRoom]:
        """A room by its number; the last one is kept."""
        if self._loaded is None or self._loaded[0] != number:
            self._loaded = None  # frees the memory of the last room first
            room = build_room(_generator(self.seed, number, 0), self.catalog, self.store)
            self._loaded = (number, room, LoadedRoom(room, self.threads))
        return self._loaded[1:]

    def __getitem__(self, index: int) -> RoomSample:
        number, view = divmod(index, self.views)
        room, loaded = self.room(number)
        rng = _generator(self.seed, number, 1 + view)
        at = draw_viewpoint(room, loaded, rng, self.size)
        seed = int(rng.integers(2**31))
        traced = loaded.trace(at.pose, at.intrinsics, self.samples, seed, at.motion)
        camera = draw_camera(rng)
        rgb = camera.expose(traced.radiance, camera.automatic_gain(traced.radiance), rng)
        if rng.random() < COMPRESSED:
            rgb = compressed(rgb, int(rng.integers(40, 96)))
        flight = rng.random() < TIME_OF_FLIGHT
        sensor = TimeOfFlightSensor.draw(rng) if flight else DepthSensor.draw(rng)
        depth_mm = sensor.measure(
            traced.depth_m, traced.infrared, traced.facing, traced.glass, at.intrinsics.fx, rng
        )
        world_from_camera = np.eye(4)
        world_from_camera[:3, :3], world_from_camera[:3, 3] = at.pose.rotation, at.pose.position
        return RoomSample(
            rgb, depth_mm, traced.labels, traced.depth_m, at.intrinsics, at.pose.gravity,
            world_from_camera,
        )  # fmt: skip


def draw_camera(rng: np.random.Generator) -> ColorCamera:
    """A color camera; one in twelve strongly underexposes, one in twelve overexposes."""
    style = rng.random()
    if style < 0.84:
        ev = float(rng.normal(0.2, 0.45))
    else:
        ev = rng.uniform(-4.5, -1.5) if style < 0.92 else rng.uniform(1.2, 2.6)
    log = np.log
    return ColorCamera(
        exposure_ev=ev,
        gamma=rng.uniform(1.9, 2.5),
        white_balance=(float(np.exp(rng.normal(0, 0.1))), 1.0, float(np.exp(rng.normal(0, 0.12)))),
        read_noise=float(np.exp(rng.uniform(log(0.0007), log(0.006)))),
        shot_noise=float(np.exp(rng.uniform(log(0.004), log(0.03)))),
        vignetting=rng.uniform(0.0, 0.4),
        softness=rng.uniform(0.1, 0.9),
        gray=rng.uniform(0.0, 0.45),
    )


def compressed(rgb: npt.NDArray[np.uint8], quality: int) -> npt.NDArray[np.uint8]:
    """The image after JPEG compression."""
    import cv2

    data = cv2.imencode(".jpg", rgb[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return np.ascontiguousarray(cv2.imdecode(data, cv2.IMREAD_COLOR)[..., ::-1])


def _generator(seed: int, room: int, part: int) -> np.random.Generator:
    sequence = np.random.SeedSequence([_STREAM, seed, room, part])
    return np.random.Generator(np.random.PCG64(sequence))
