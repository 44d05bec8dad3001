# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Numerical guard: compares a backend's masks with those of eager PyTorch in float32."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from rgbd_seg_ros.bundle import TrainedNetwork
from rgbd_seg_ros.engine.stages import RawInputs, RawMask
from rgbd_seg_ros.frames import Intrinsics

#: Least share of pixels with the same class, of all frames and of the worst one.
MIN_OVERALL, MIN_WORST = 0.99, 0.97
FRAMES = 4
#: Half of the room in meters, to the right, down and forward; the camera is near its center.
_ROOM = np.array([2.6, 1.3, 3.2])

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class MaskAgreement:
    """Shares of the pixels that have the same class as in float32."""

    overall: float
    worst: float

    @property
    def passed(self) -> bool:
        """Whether the backend may be used."""
        return self.overall >= MIN_OVERALL and self.worst >= MIN_WORST

    def __str__(self) -> str:
        return (
            f"{100 * self.overall:.2f} % of the pixels as in float32, "
            f"{100 * self.worst:.2f} % in the worst frame"
        )


def agreement(
    network: TrainedNetwork,
    reference: Callable[[RawInputs, tuple[int, int]], RawMask],
    backend: Callable[[RawInputs, tuple[int, int]], RawMask],
) -> MaskAgreement:
    """Compare two backends on rendered frames of the network's input size."""
    size = network.record.preprocess.size
    shares = []
    for seed in range(FRAMES):
        inputs = guard_inputs(network, seed)
        expected, found = reference(inputs, size).labels, backend(inputs, size).labels
        shares.append(float(np.mean(expected == found)))
    return MaskAgreement(float(np.mean(shares)), min(shares))


def guard_inputs(network: TrainedNetwork, seed: int) -> RawInputs:
    """The inputs that the network reads, of one rendered frame."""
    preprocess, modality = network.record.preprocess, network.record.spec.modality
    rgb, depth, intrinsics, gravity = render_boxes(seed, preprocess.size)
    if modality == "rgb":
        return RawInputs(rgb)
    color = rgb if modality == "rgbd" else None
    if not preprocess.depth.needs_intrinsics:
        return RawInputs(color, depth)
    return RawInputs(color, depth, intrinsics, gravity)


def render_boxes(
    seed: int, size: tuple[int, int]
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32], Intrinsics, npt.NDArray[np.float32]]:
    """Color (H×W×3 uint8), depth (H×W float32 meters), camera and gravity of a room with boxes.

    Rays are cast against the room's walls and six boxes on its floor. Surfaces have stripes and
    shading; depth has sensor noise and 3 % invalid pixels (NaN). The same seed gives the same
    frame.
    """
    rng = np.random.default_rng(seed)
    height, width = size
    focal = 0.9 * width
    center = (width - 1) / 2, (height - 1) / 2
    camera = Intrinsics(focal, focal, *center, width, height)
    u, v = np.meshgrid(np.arange(width) - center[0], np.arange(height) - center[1])
    rays = np.stack([u / focal, v / focal, np.ones_like(u)], axis=-1)
    pitch, yaw = rng.uniform(0.1, 0.4), rng.uniform(0, 2 * np.pi)
    down = np.array(
        [[1, 0, 0], [0, np.cos(pitch), np.sin(pitch)], [0, -np.sin(pitch), np.cos(pitch)]]
    )
    turn = np.array([[np.cos(yaw), 0, np.sin(yaw)], [0, 1, 0], [-np.sin(yaw), 0, np.cos(yaw)]])
    rotation = turn @ down
    rays = rays @ rotation.T
    near, far = _slabs(rays, -_ROOM, _ROOM)
    distance, surface = far, np.zeros(size, int)
    for box in range(1, 7):
        half = rng.uniform((0.2, 0.2, 0.2), (0.6, 0.6, 0.6))
        angle, radius = rng.uniform(0, 2 * np.pi), rng.uniform(1.2, 2.2)
        middle = np.array([radius * np.cos(angle), _ROOM[1] - half[1], radius * np.sin(angle)])
        near, far = _slabs(rays, middle - half, middle + half)
        hit = (near < far) & (near > 0.2) & (near < distance)
        distance, surface = np.where(hit, near, distance), np.where(hit, box, surface)
    points = rays * distance[..., None]
    colors = rng.uniform(40, 220, (7, 3))
    stripes = 1 + 0.2 * np.sin(points @ rng.uniform(4, 12, 3))
    # The surfaces' directions follow from the differences of neighboring points.
    normals = np.cross(np.gradient(points, axis=1), np.gradient(points, axis=0))
    length = np.linalg.norm(normals, axis=-1, keepdims=True)
    shade = 0.7 + 0.3 * np.abs(normals / np.maximum(length, 1e-9)) @ np.array([0.2, 0.9, 0.4])
    image = colors[surface] * (stripes * shade)[..., None] + rng.normal(0, 4, (*size, 3))
    depth = distance * (1 + rng.normal(0, 0.004, size))
    depth[rng.random(size) < 0.03] = np.nan
    gravity = rotation.T @ np.array([0.0, 1.0, 0.0])
    rgb = np.clip(image, 0, 255).astype(np.uint8)
    return rgb, depth.astype(np.float32), camera, gravity.astype(np.float32)


def _slabs(rays: Floats, low: Any, high: Any) -> tuple[Floats, Floats]:
    """Distances along rays from the origin at which they enter and leave a box."""
    safe = np.where(np.abs(rays) < 1e-9, 1e-9, rays)
    first, second = low / safe, high / safe
    return np.minimum(first, second).max(axis=-1), np.maximum(first, second).min(axis=-1)
