# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Inference: run one job of the core on the engine; status and overlay background of its mask."""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import cv2
import numpy as np
import numpy.typing as npt

from rgbd_seg_ros.colorize import colorize_depth
from rgbd_seg_ros.depth import to_meters
from rgbd_seg_ros.fallback import CoreConfig, Job, Mode
from rgbd_seg_ros.frames import Intrinsics, NetworkName
from rgbd_seg_ros.gravity import Gravity
from rgbd_seg_ros.labels import LabelSet

if TYPE_CHECKING:
    from rgbd_seg_ros.engine import Segmentation

#: Level of ``diagnostic_msgs/DiagnosticStatus`` for each mode: 0 OK, 1 WARN, 2 ERROR.
MODE_LEVELS: dict[Mode, int] = {
    Mode.STARTING: 1,
    Mode.RGBD: 0,
    Mode.RGB_ONLY: 1,
    Mode.DEPTH_ONLY: 1,
    Mode.NO_INPUT: 2,
}


class Engine(Protocol):
    """Turns images into masks. :class:`rgbd_seg_ros.engine.Segmenter` is one."""

    @property
    def labels(self) -> LabelSet:
        """Classes of the masks."""

    @property
    def available(self) -> tuple[NetworkName, ...]:
        """Networks that can be asked for."""

    @property
    def need_intrinsics(self) -> tuple[NetworkName, ...]:
        """Networks that cannot run without camera intrinsics (they read HHA)."""

    @property
    def device(self) -> object:
        """Where the networks run; printed for people."""

    @property
    def memory_mb(self) -> float | None:
        """GPU memory held, MiB; None on a CPU."""

    def __call__(
        self,
        rgb: npt.NDArray[np.uint8] | None,
        depth: npt.NDArray[np.float32] | None,
        intrinsics: Intrinsics | None = None,
        gravity: npt.NDArray[np.float32] | None = None,
        *,
        size: tuple[int, int],
        network: NetworkName,
    ) -> Segmentation:
        """Segment one frame pair; see :meth:`rgbd_seg_ros.engine.Segmenter.__call__`."""

    def estimate_gravity(
        self, depth: npt.NDArray[np.float32], intrinsics: Intrinsics
    ) -> npt.NDArray[np.float32]:
        """Unit vector (3) pointing down in the optical frame, from H×W meters."""


def load_engine(bundle: Path | str | None, device: str = "auto", backend: str = "auto") -> Engine:
    """Load a bundle and warm its networks up.

    Args:
        bundle: directory of a bundle; None or an empty string for the shipped one.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        backend: ``auto`` or a name of :data:`rgbd_seg_ros.engine.backends.BACKENDS`.

    Raises:
        RuntimeError: PyTorch or safetensors is not installed.
        ValueError: the bundle, the device or the backend cannot be used.
    """
    try:
        from rgbd_seg_ros.bundle import DEFAULT_BUNDLE, load_bundle
        from rgbd_seg_ros.engine import Segmenter
    except ImportError as error:
        raise RuntimeError(
            f"{error}: PyTorch and safetensors are required; install the PyTorch build for this "
            "machine from https://pytorch.org/get-started, then run `rgbd_seg doctor`"
        ) from error
    return Segmenter(load_bundle(bundle or DEFAULT_BUNDLE), device, backend)


def run_job(
    engine: Engine,
    job: Job,
    config: CoreConfig,
    gravity: Gravity | None = None,
    network: NetworkName | None = None,
) -> Segmentation:
    """Make the mask of one job.

    Args:
        engine: makes the mask.
        job: from the core.
        config: scale and range of depth.
        gravity: finds the down direction for a network that reads HHA; without it the network's
            own depth encoding estimates it.
        network: the network to use instead of the job's.
    """
    name = network or job.network
    rgb = None if job.rgb is None else job.rgb.array
    depth = depth_in_meters(job, config)
    down = None
    if (
        gravity is not None
        and name in engine.need_intrinsics
        and job.depth is not None
        and depth is not None
        and job.intrinsics is not None
    ):
        estimate = partial(engine.estimate_gravity, depth, job.intrinsics)
        down = gravity(job.depth.frame_id, job.depth.stamp_ns, estimate)
    return engine(rgb, depth, job.intrinsics, down, size=job.size, network=name)


def depth_in_meters(job: Job, config: CoreConfig) -> npt.NDArray[np.float32] | None:
    """The job's depth as H×W float32 meters, NaN invalid; None if the job has no depth."""
    if job.depth is None:
        return None
    return to_meters(job.depth.array, config.depth_scale, config.max_depth_m or math.inf)


def mask_status(job: Job, network: NetworkName, latency_ms: float) -> dict[str, str]:
    """Keys and values of a mask's entry in ``~/status`` and in ``masks.jsonl``."""
    ages = {"age_rgb_ms": job.age_rgb_ms, "age_depth_ms": job.age_depth_ms}
    return {
        "mode": job.mode.value,
        "network": network,
        "reason_rgb": job.reason_rgb,
        "reason_depth": job.reason_depth,
        **{key: "" if age is None else f"{age:.1f}" for key, age in ages.items()},
        "latency_ms": f"{latency_ms:.2f}",
    }


def overlay_background(job: Job, config: CoreConfig) -> npt.NDArray[np.uint8]:
    """The image a mask is drawn on, H×W×3 at the mask's size: color, else colorized depth."""
    image = depth_image(job, config) if job.rgb is None else job.rgb.array
    height, width = job.size
    if image is None:
        return np.zeros((height, width, 3), np.uint8)
    if image.shape[:2] != (height, width):
        image = cv2.resize(image, (width, height), interpolation=cv2.INTER_NEAREST)
    return np.asarray(image, dtype=np.uint8)


def depth_image(job: Job, config: CoreConfig) -> npt.NDArray[np.uint8] | None:
    """The job's depth colorized, H×W×3; None if the job has no depth."""
    meters = depth_in_meters(job, config)
    return None if meters is None else colorize_depth(meters)
