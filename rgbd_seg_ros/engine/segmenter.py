# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Segmenter: images to masks, with the network that fits the available inputs."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from rgbd_seg_ros.bundle import Bundle
from rgbd_seg_ros.engine.backends import (
    Backend,
    EngineError,
    PreparableBackend,
    memory_mb,
    resolve_backend,
    resolve_device,
)
from rgbd_seg_ros.engine.selection import open_first
from rgbd_seg_ros.engine.stages import RawInputs, to_tensor
from rgbd_seg_ros.frames import Intrinsics, NetworkName
from rgbd_seg_ros.hha import estimate_gravity
from rgbd_seg_ros.preprocess import Preprocess, resize_depth

LOG = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Segmentation:
    """One mask and how it was computed."""

    #: H×W uint8 class ids.
    labels: npt.NDArray[np.uint8]
    #: H×W uint8, softmax probability of the chosen class, 0..255 for 0..1.
    confidence: npt.NDArray[np.uint8]
    #: The network that computed it.
    network: NetworkName
    #: Milliseconds per stage (``preprocess``, ``network``, ``postprocess``) and ``total``.
    timings_ms: dict[str, float] = field(default_factory=dict)


class Segmenter:
    """Runs the networks of one bundle (up to three), all loaded and warmed up.

    The constructor loads every network onto the device and runs each twice, without and with
    gravity, so that switching networks later loads nothing. Call one Segmenter from one thread
    only.

    Args:
        bundle: the networks, see :func:`rgbd_seg_ros.bundle.load_bundle`.
        device: ``auto`` (CUDA if available), ``cpu``, ``cuda`` or ``cuda:N``.
        backend: a name in :data:`rgbd_seg_ros.engine.backends.BACKENDS`, ``openvino`` for its
            best precision, or ``auto``: the fastest one that is installed. One that fails while
            loading, or fails the numerical guard, is replaced by the next, with a warning.
        compare: False to skip the numerical guard, for benchmarks of networks that are not
            trained.

    Raises:
        EngineError: the device or backend is unknown, not available, or fails.
    """

    def __init__(
        self, bundle: Bundle, device: str = "auto", backend: str = "auto", *, compare: bool = True
    ) -> None:
        self._compare = compare
        self.labels = bundle.labels
        #: SHA-256 of each network's weights file; empty text for one that has no file.
        self.sha256 = {name: network.sha256 for name, network in bundle.networks.items()}
        self.device = resolve_device(device)
        self._networks: dict[NetworkName, tuple[Backend, Preprocess]] = {}
        self._preparable: dict[NetworkName, PreparableBackend] = {}
        self._chosen: dict[NetworkName, str] = {}
        names = resolve_backend(backend, self.device)
        try:
            self._load(bundle, names)
        # Of a driver, a library or the device's memory.
        except RuntimeError as error:
            if backend != "auto" or names == ["torch"]:
                raise
            reason = str(error).strip().partition("\n")[0]
            LOG.warning("the fast backend failed (%s): using backend torch instead", reason)
            self._load(bundle, ["torch"])
            self._chosen = dict.fromkeys(self._chosen, f"torch, because {reason}")
        LOG.info("backend: %s", self.description)

    @property
    def description(self) -> str:
        """The backend of each network, and why, in one line."""
        return "; ".join(f"{name}: {chosen}" for name, chosen in self._chosen.items())

    @property
    def available(self) -> tuple[NetworkName, ...]:
        """The bundle's networks."""
        return tuple(self._networks)

    @property
    def need_intrinsics(self) -> tuple[NetworkName, ...]:
        """The networks that need camera intrinsics to use depth (they read HHA)."""
        return tuple(
            name
            for name, (_, preprocess) in self._networks.items()
            if name != "rgb" and preprocess.depth.needs_intrinsics
        )

    @property
    def memory_mb(self) -> float | None:
        """GPU memory held by tensors, MiB; None on the CPU."""
        return memory_mb(self.device)

    def __call__(
        self,
        rgb: npt.NDArray[np.uint8] | None = None,
        depth: npt.NDArray[np.float32] | None = None,
        intrinsics: Intrinsics | None = None,
        gravity: npt.NDArray[np.float32] | None = None,
        *,
        size: tuple[int, int] | None = None,
        network: NetworkName | None = None,
    ) -> Segmentation:
        """Segment one frame or frame pair.

        Args:
            rgb: H×W×3 uint8 in RGB order.
            depth: H×W float32 meters, NaN invalid, aligned to ``rgb`` if both are given; the
                sizes may differ.
            intrinsics: the camera's; only the networks in :attr:`need_intrinsics` use them.
            gravity: unit vector (3) pointing down in the optical frame, for the same networks;
                if None, it is estimated from ``depth``.
            size: (height, width) of the mask; by default the size of ``rgb``, else of ``depth``.
            network: the network to use; by default the one that uses all given inputs. If
                ``rgbd`` is requested with only one input, the other one is replaced by a black
                image or by depth that is invalid everywhere.

        Raises:
            EngineError: no input, an input of the wrong type or shape, a network that the bundle
                does not have, or missing inputs or intrinsics of the network.
        """
        started = time.perf_counter()
        shown = depth if rgb is None else rgb
        if shown is None:
            raise EngineError("pass rgb, depth or both")
        _check_inputs(rgb, depth)
        name = network or _network_for(rgb, depth)
        if name not in self._networks:
            raise EngineError(
                f"the bundle has no network {name!r}, only {', '.join(self._networks)}"
            )
        if (name == "rgb" and rgb is None) or (name == "depth" and depth is None):
            raise EngineError(f"network {name!r} needs the input {name!r}, which is missing")
        backend, preprocess = self._networks[name]
        inputs = _inputs(name, preprocess, rgb, depth, intrinsics, gravity)
        size = size or (shown.shape[0], shown.shape[1])
        if rgb is not None and depth is not None:
            self._prepare(rgb, depth, intrinsics, gravity, size)
        mask = backend(inputs, size)
        total_ms = (time.perf_counter() - started) * 1e3
        timings_ms = {**mask.timings_ms, "total": total_ms}
        return Segmentation(mask.labels, mask.confidence, name, timings_ms)

    def estimate_gravity(
        self, depth: npt.NDArray[np.float32], intrinsics: Intrinsics
    ) -> npt.NDArray[np.float32]:
        """Unit vector (3) pointing down in the optical frame, from H×W meters (NaN invalid).

        Depth is first resized to the input of a network in :attr:`need_intrinsics`, as in
        training, which saves most of the work if the sensor's images are larger.
        """
        height, width = self._networks[self.need_intrinsics[0]][1].size
        with torch.inference_mode():
            meters = resize_depth(to_tensor(depth, self.device)[None, None], (height, width))
            matrix = to_tensor(intrinsics.resized(width, height).matrix(), self.device)[None]
            down: npt.NDArray[np.float32] = estimate_gravity(meters, matrix)[0].cpu().numpy()
        return down

    def _prepare(
        self,
        rgb: npt.NDArray[np.uint8],
        depth: npt.NDArray[np.float32],
        intrinsics: Intrinsics | None,
        gravity: npt.NDArray[np.float32] | None,
        size: tuple[int, int],
    ) -> None:
        """Prepare all networks for the sizes of a frame pair: a later switch waits for nothing."""
        for name, backend in self._preparable.items():
            if intrinsics is not None or name not in self.need_intrinsics:
                preprocess = self._networks[name][1]
                inputs = _inputs(name, preprocess, rgb, depth, intrinsics, gravity)
                backend.prepare(inputs, size)

    def _load(self, bundle: Bundle, backends: list[str]) -> None:
        """Load every network with the first backend that works, and run it twice."""
        self._networks.clear()
        self._chosen.clear()
        self._preparable.clear()
        for name, network in bundle.networks.items():
            loaded, self._chosen[name] = open_first(
                network, self.device, backends, compare=self._compare
            )
            self._networks[name] = loaded, network.record.preprocess
            if isinstance(loaded, PreparableBackend):
                self._preparable[name] = loaded
        for name, (_, preprocess) in self._networks.items():
            rgb = np.zeros((*preprocess.size, 3), dtype=np.uint8)
            depth = np.ones(preprocess.size, dtype=np.float32)
            for gravity in (None, np.array([0, 1, 0], dtype=np.float32)):
                self(rgb, depth, some_intrinsics(preprocess.size), gravity, network=name)


def _inputs(
    name: NetworkName,
    preprocess: Preprocess,
    rgb: npt.NDArray[np.uint8] | None,
    depth: npt.NDArray[np.float32] | None,
    intrinsics: Intrinsics | None,
    gravity: npt.NDArray[np.float32] | None,
) -> RawInputs:
    """The inputs that the network uses; an empty image replaces one that a fused network lacks."""
    if name == "rgb":
        return RawInputs(rgb)
    if name == "depth":
        rgb = None
    elif rgb is None:
        rgb = np.zeros((*preprocess.size, 3), dtype=np.uint8)
    if depth is None:
        depth = np.full(preprocess.size, np.nan, dtype=np.float32)
        intrinsics = some_intrinsics(preprocess.size)
    if not preprocess.depth.needs_intrinsics:
        return RawInputs(rgb, depth)
    if intrinsics is None:
        raise EngineError(
            f"network {name!r} reads depth as {preprocess.depth.kind}, which needs the camera's "
            "intrinsics: provide its camera_info, or --intrinsics for image files"
        )
    return RawInputs(rgb, depth, intrinsics, gravity)


def some_intrinsics(size: tuple[int, int]) -> Intrinsics:
    """Intrinsics with a horizontal field of view of 53°, for images where it does not matter."""
    height, width = size
    return Intrinsics(width, width, (width - 1) / 2, (height - 1) / 2, width, height)


def _network_for(rgb: Any, depth: Any) -> NetworkName:
    if rgb is not None and depth is not None:
        return "rgbd"
    return "depth" if rgb is None else "rgb"


def _check_inputs(rgb: Any, depth: Any) -> None:
    if rgb is not None and (
        rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.dtype != np.uint8 or 0 in rgb.shape
    ):
        raise EngineError(f"rgb must be H×W×3 uint8, got {rgb.shape} {rgb.dtype}")
    if depth is not None and (depth.ndim != 2 or depth.dtype != np.float32 or 0 in depth.shape):
        raise EngineError(
            f"depth must be H×W float32 meters, got {depth.shape} {depth.dtype}; "
            "see rgbd_seg_ros.depth.to_meters"
        )
