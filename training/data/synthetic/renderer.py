# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Renderer: single RGB-D views of random rooms for training, drives through one room for demos.

A view depends only on (seed, split, index), not on the order or the process. NumPy 1.26 and 2.4
gave equal depth and labels, and colors that differed by one level in 2 of a million values. Labels
are ids of ``rgbd_seg_ros.labels.INDOOR16``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from rgbd_seg_ros.frames import Intrinsics
from training.data.synthetic.primitives import CLASS, RECT
from training.data.synthetic.raycast import Pose, cast
from training.data.synthetic.scenes import Scene, build_scene
from training.data.synthetic.sensors import ColorCamera, DepthSensor
from training.data.synthetic.shading import shade
from training.data.synthetic.trajectories import draw_intrinsics, draw_view, drive_poses

#: Number that is part of the random seed, so that no two splits share a room.
SPLIT_NUMBERS: dict[str, int] = {"train": 0, "val": 1, "test": 2, "sequence": 3}


@dataclass(frozen=True, eq=False)
class RoomSample:
    """One RGB-D view with its ground truth. Color and depth share the pixel grid."""

    #: H×W×3 uint8.
    rgb: npt.NDArray[np.uint8]
    #: H×W uint16 z-depth in millimeters as the sensor measures it, 0 invalid.
    depth_mm: npt.NDArray[np.uint16]
    #: H×W uint8 class ids; every pixel has one.
    labels: npt.NDArray[np.uint8]
    #: H×W float32 exact z-depth in meters.
    depth_true_m: npt.NDArray[np.float32]
    intrinsics: Intrinsics
    #: Unit vector pointing down, in the optical frame (x right, y down, z forward).
    gravity: npt.NDArray[np.float32]
    #: 4×4 float64 transform from the optical frame to the world (z up, floor at 0).
    world_from_camera: npt.NDArray[np.float64]
    stamp_ns: int = 0


class RoomViews:
    """Endless views of random rooms, one room per index: ``views[i] → RoomSample``.

    Args:
        size: (height, width) in pixels.
        seed: any integer ≥ 0; another seed gives other rooms.
        split: train, val or test; no two share a room.

    Raises:
        ValueError: a size below 8 pixels, a negative seed or index, or an unknown split.
    """

    def __init__(
        self, size: tuple[int, int] = (120, 160), seed: int = 0, split: str = "train"
    ) -> None:
        if min(size) < 8:
            raise ValueError(f"size must be (height, width) of at least 8 pixels each, got {size}")
        if seed < 0:
            raise ValueError(f"seed must be 0 or more, got {seed}")
        if split not in SPLIT_NUMBERS:
            raise ValueError(f"unknown split {split!r}; known: {', '.join(SPLIT_NUMBERS)}")
        self.size, self.seed, self.split = size, seed, split

    def __getitem__(self, index: int) -> RoomSample:
        rng = _generator(self.seed, self.split, index)
        scene = build_scene(rng)
        intrinsics = draw_intrinsics(rng, self.size)
        pose = draw_view(scene, rng, intrinsics)
        sensor, camera = DepthSensor.draw(rng), ColorCamera.draw(rng)
        return render_view(scene, pose, intrinsics, sensor, camera, rng)[0]


def render_drive(
    seed: int = 0, num_frames: int = 150, size: tuple[int, int] = (120, 160), fps: float = 15.0
) -> Iterator[RoomSample]:
    """Render a drive through one room with one pair of sensors and automatic exposure.

    Frames depend on ``seed``, ``size`` and ``fps`` only: a longer drive begins with the same ones.

    Yields:
        Samples with ``stamp_ns`` from 0 in steps of 1/``fps``.

    Raises:
        ValueError: ``num_frames`` < 1 or ``fps`` ≤ 0.
    """
    if num_frames < 1 or not fps > 0:
        raise ValueError(f"need num_frames ≥ 1 and fps > 0, got {num_frames} and {fps}")
    rng = _generator(seed, "sequence", 0)
    scene = _roomiest([build_scene(rng) for _ in range(6)])
    intrinsics = draw_intrinsics(rng, size)
    sensor, camera = DepthSensor.draw(rng), ColorCamera.draw(rng)
    # A drive is well exposed, because the replay adds the faults.
    camera = replace(camera, exposure_ev=float(np.clip(rng.normal(0.35, 0.2), 0.0, 0.7)))
    gain: float | None = None
    for i, pose in enumerate(drive_poses(scene, rng, intrinsics, num_frames, fps)):
        frame_rng = _generator(seed, "sequence", 1 + i)
        sample, gain = render_view(
            scene, pose, intrinsics, sensor, camera, frame_rng, gain, 1 / fps
        )
        yield replace(sample, stamp_ns=round(i * 1e9 / fps))


def render_view(
    scene: Scene, pose: Pose, intrinsics: Intrinsics, sensor: DepthSensor, camera: ColorCamera,
    rng: np.random.Generator, gain: float | None = None, step_s: float = 0.0,
) -> tuple[RoomSample, float]:  # fmt: skip
    """Render one view.

    Automatic exposure follows the light with a time constant of 0.5 s.

    Args:
        scene: the room.
        pose: pose of the camera.
        intrinsics: intrinsics of the camera.
        sensor: the depth sensor.
        camera: the color camera.
        rng: random generator for the noise.
        gain: exposure gain of the previous view; if None, the exposure has settled.
        step_s: seconds since the previous view.

    Returns:
        The view, and the exposure gain for the next one.
    """
    depth, index, rays = cast(scene.primitives, scene.room_m, pose, intrinsics)
    shaded = shade(scene, pose, intrinsics.fx, depth, index, rays)
    shape = depth.shape
    labels = scene.primitives.label.astype(np.uint8).take(index)
    radiance = shaded.radiance.reshape(*shape, 3)
    settled = camera.automatic_gain(radiance)
    if gain is None:
        gain = settled
    else:
        gain = float(gain * (settled / gain) ** (1 - np.exp(-step_s / 0.5)))
    glass = (labels == CLASS["window"]) & (scene.primitives.kind.take(index) == RECT)
    measured = sensor.measure(
        depth, shaded.infrared.reshape(shape), shaded.facing.reshape(shape), glass,
        intrinsics.fx, rng,
    )  # fmt: skip
    world_from_camera = np.eye(4)
    world_from_camera[:3, :3], world_from_camera[:3, 3] = pose.rotation, pose.position
    rgb = camera.expose(radiance, gain, rng)
    sample = RoomSample(rgb, measured, labels, depth, intrinsics, pose.gravity, world_from_camera)
    return sample, gain


def _roomiest(scenes: list[Scene]) -> Scene:
    """The scene to drive through: the one with the most classes, then the most free floor."""

    def score(scene: Scene) -> float:
        w, d, _ = scene.room_m
        x, y = np.meshgrid(np.linspace(0, w, 40), np.linspace(0, d, 40))
        clear = scene.clearance_m(np.stack([x.ravel(), y.ravel()], axis=1))
        return len(np.unique(scene.primitives.label)) + 12 * float((clear > 0.45).mean())

    return max(scenes, key=score)


def _generator(seed: int, split: str, index: int) -> np.random.Generator:
    return np.random.Generator(
        np.random.PCG64(np.random.SeedSequence([SPLIT_NUMBERS[split], seed, index]))
    )
