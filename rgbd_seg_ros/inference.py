# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Inference: runs one job of the core on the engine; shared by the node and the replay."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import cv2
import numpy as np
import numpy.typing as npt

from rgbd_seg_ros.colorize import colorize_depth
from rgbd_seg_ros.depth import to_meters
from rgbd_seg_ros.fallback import CoreConfig, Job, Mode
from rgbd_seg_ros.frames import Frame, Intrinsics, NetworkName, Stream
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

#: Help of an option that chooses the backend.
BACKEND_HELP = "auto or the name of an inference backend (default %(default)s)"


class Engine(Protocol):
    """Computes masks. :class:`rgbd_seg_ros.engine.Segmenter` implements it."""

    @property
    def labels(self) -> LabelSet:
        """Classes of the masks."""

    @property
    def available(self) -> tuple[NetworkName, ...]:
        """The networks of the bundle."""

    @property
    def need_intrinsics(self) -> tuple[NetworkName, ...]:
        """Networks that need camera intrinsics because their input is HHA."""

    @property
    def sha256(self) -> Mapping[NetworkName, str]:
        """SHA-256 of each network's weights file."""

    @property
    def device(self) -> object:
        """Where the networks run, for log messages: ``str()`` gives ``cpu``, ``cuda:0``, …"""

    @property
    def description(self) -> str:
        """The backend of each network, and why, in one line."""

    @property
    def memory_mb(self) -> float | None:
        """Allocated GPU memory in MiB; None on a CPU."""

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
        """Unit vector (3) pointing down in the optical frame, from H×W meters (NaN invalid)."""


def load_engine(
    bundle: Path | str | None, device: str = "auto", backend: str = "auto", threads: int = 0
) -> Engine:
    """Load a bundle and warm up its networks, in the thread that will run them.

    Args:
        bundle: directory of the bundle; None or an empty string for the shipped one.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        backend: ``auto`` or a name of :data:`rgbd_seg_ros.engine.backends.BACKENDS`.
        threads: threads of the networks on a CPU; 0 for PyTorch's choice.

    Raises:
        ImportError: PyTorch or safetensors is not installed.
        ValueError: the bundle, the device or the backend is unusable.
    """
    try:
        import torch

        from rgbd_seg_ros.bundle import DEFAULT_BUNDLE, load_bundle
        from rgbd_seg_ros.engine import Segmenter
        from rgbd_seg_ros.engine.backends import resolve_backend, resolve_device
    except ImportError as error:
        raise ImportError(
            f"{error}: PyTorch and safetensors are required; install the PyTorch build for this "
            "machine from https://pytorch.org/get-started, then run `rgbd_seg doctor`"
        ) from error
    if threads:
        torch.set_num_threads(threads)
    resolve_backend(backend, resolve_device(device))  # a mistake is found before the slow part
    return Segmenter(load_bundle(bundle or DEFAULT_BUNDLE), device, backend)


def run_job(
    engine: Engine,
    job: Job,
    config: CoreConfig,
    gravity: Gravity | None = None,
    network: NetworkName | None = None,
) -> Segmentation:
    """Compute the mask of one job.

    Args:
        engine: runs the network.
        job: from :meth:`rgbd_seg_ros.fallback.Core.next_job`.
        config: scale and range of depth.
        gravity: finds the direction of gravity for a network whose input is HHA; None to let the
            engine estimate it from this image alone.
        network: the network to run instead of the job's.
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


class ArrivalTimes:
    """Arrival times of the newest frames, from which the latency of a mask is computed.

    Args:
        capacity: number of frames to remember.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._times_ns: OrderedDict[tuple[Stream, int], int] = OrderedDict()

    def add(self, stream: Stream, stamp_ns: int, arrival_ns: int) -> None:
        """Remember when the frame with this stamp arrived."""
        self._times_ns[stream, stamp_ns] = arrival_ns
        if len(self._times_ns) > self._capacity:
            self._times_ns.popitem(last=False)

    def of(self, job: Job, default_ns: Callable[[Frame], int]) -> dict[Stream, int]:
        """Arrival time of each frame of a job; ``default_ns`` for a frame no longer remembered."""
        return {
            stream: self._times_ns.get((stream, frame.stamp_ns), default_ns(frame))
            for stream, frame in job_frames(job).items()
        }


def job_frames(job: Job) -> dict[Stream, Frame]:
    """The frames of a job by stream."""
    frames: dict[Stream, Frame | None] = {
        "rgb": job.rgb,
        "depth_raw" if job.raw else "depth": job.depth,
    }
    return {stream: frame for stream, frame in frames.items() if frame is not None}


def depth_in_meters(job: Job, config: CoreConfig) -> npt.NDArray[np.float32] | None:
    """The job's depth as H×W float32 meters, invalid pixels NaN; None if it has no depth."""
    if job.depth is None:
        return None
    return to_meters(
        job.depth.array,
        config.depth_scale,
        config.max_depth_m or math.inf,
        config.float_depth_scale,
    )


def mask_status(job: Job, network: NetworkName, latency_ms: float) -> dict[str, str]:
    """Keys and values that describe a mask in ``~/status`` and in ``masks.jsonl``."""
    ages = {"age_rgb_ms": job.age_rgb_ms, "age_depth_ms": job.age_depth_ms}
    share = job.fused_share
    return {
        "mode": job.mode.value,
        "network": network,
        "reason_rgb": job.reason_rgb,
        "reason_depth": job.reason_depth,
        **{key: "" if age is None else f"{age:.1f}" for key, age in ages.items()},
        "latency_ms": f"{latency_ms:.2f}",
        "fused_share": "" if share is None else f"{share:.2f}",
    }


def overlay_background(job: Job, config: CoreConfig) -> npt.NDArray[np.uint8]:
    """The image under the overlay, H×W×3 at the mask's size: color, else colorized depth."""
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
