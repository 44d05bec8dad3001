# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Segmenter: pictures in, a mask out, by the network that fits the sensors at hand."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from rgbd_seg_ros.bundle import Bundle
from rgbd_seg_ros.engine.backends import (
    Backend,
    EngineError,
    memory_mb,
    resolve_backend,
    resolve_device,
)
from rgbd_seg_ros.engine.inputs import Arrays, Stopwatch
from rgbd_seg_ros.frames import Intrinsics, NetworkName
from rgbd_seg_ros.hha import estimate_gravity
from rgbd_seg_ros.preprocess import Preprocess, resize_depth


@dataclass(frozen=True, eq=False)
class Segmentation:
    """One mask."""

    #: H×W uint8 class ids.
    labels: npt.NDArray[np.uint8]
    #: H×W uint8, softmax probability of the chosen class, 0..255 for 0..1.
    confidence: npt.NDArray[np.uint8]
    #: The network that made it.
    network: NetworkName
    #: Milliseconds per stage (``preprocess``, ``network``, ``postprocess``) and ``total``.
    timings_ms: dict[str, float] = field(default_factory=dict)


class Segmenter:
    """Up to three resident, warm networks of one bundle.

    Construction loads every network onto the device and runs each twice, so that a later switch
    loads nothing. Use one Segmenter from one thread.

    Args:
        bundle: the networks, see :func:`rgbd_seg_ros.bundle.load_bundle`.
        device: ``auto`` (CUDA when there is one), ``cpu``, ``cuda`` or ``cuda:N``.
        backend: ``auto`` or a name of :data:`rgbd_seg_ros.engine.backends.BACKENDS`.

    Raises:
        EngineError: a device or backend that is unknown or not there.
    """

    def __init__(self, bundle: Bundle, device: str = "auto", backend: str = "auto") -> None:
        self.labels = bundle.labels
        self.device = resolve_device(device)
        make = resolve_backend(backend, self.device)
        self._networks: dict[NetworkName, tuple[Backend, Preprocess]] = {
            name: (make(network, self.device), network.record.preprocess)
            for name, network in bundle.networks.items()
        }
        #: Whether the first mask of pictures of another size takes longer than the later ones.
        self.prepares_by_size = any(b.prepares_by_size for b, _ in self._networks.values())
        self._seen: set[Any] = set()
        self._warm_up()

    @property
    def available(self) -> tuple[NetworkName, ...]:
        """The networks this bundle has."""
        return tuple(self._networks)

    @property
    def need_intrinsics(self) -> tuple[NetworkName, ...]:
        """Those that cannot use depth without the camera's intrinsics (HHA)."""
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
        """Segment one instant.

        Args:
            rgb: H×W×3 uint8 in RGB order.
            depth: H×W float32 metres, NaN invalid, registered to ``rgb`` when both are given;
                its size may differ from ``rgb``'s.
            intrinsics: of the pictures, for the networks of :attr:`need_intrinsics`.
            gravity: unit vector (3) pointing down in the optical frame, likewise; estimated from
                ``depth`` when None.
            size: (height, width) of the mask; that of ``rgb``, else of ``depth``, by default.
            network: the network to use; by default the one that uses all inputs given. Asked for
                ``rgbd`` with one input missing, that input is empty: a black picture, or depth
                that is invalid everywhere.

        Raises:
            EngineError: no input, inputs of a wrong type or shape, a network that the bundle lacks
                or whose input or intrinsics are missing.
        """
        watch = Stopwatch()
        _check_inputs(rgb, depth)
        name = network or _network_for(rgb, depth)
        if name not in self._networks:
            raise EngineError(
                f"the bundle has no network {name!r}, only {', '.join(self._networks)}"
            )
        if (name == "rgb" and rgb is None) or (name == "depth" and depth is None):
            raise EngineError(f"network {name!r} needs the input {name!r}, which was not given")
        shown = rgb if rgb is not None else depth
        if shown is None:
            raise EngineError("give rgb, depth or both")
        backend, preprocess = self._networks[name]

        size = size or (shown.shape[0], shown.shape[1])
        if self.prepares_by_size and rgb is not None and depth is not None:
            self._prepare(rgb, depth, intrinsics, gravity, size)
        arrays = self._arrays(name, preprocess, rgb, depth, intrinsics, gravity)
        with torch.inference_mode():
            labels, confidence = backend(arrays, size, watch)
        return Segmentation(labels, confidence, name, watch.spans_ms)

    def _prepare(
        self,
        rgb: npt.NDArray[np.uint8],
        depth: npt.NDArray[np.float32],
        intrinsics: Intrinsics | None,
        gravity: npt.NDArray[np.float32] | None,
        size: tuple[int, int],
    ) -> None:
        """Run every network once on pictures of a new size: a later switch waits for nothing."""
        seen = (rgb.shape, depth.shape, intrinsics is None, gravity is None, size)
        if seen in self._seen:
            return
        self._seen.add(seen)
        for name, (backend, preprocess) in self._networks.items():
            if intrinsics is not None or name not in self.need_intrinsics:
                arrays = self._arrays(name, preprocess, rgb, depth, intrinsics, gravity)
                with torch.inference_mode():
                    backend(arrays, size, Stopwatch())

    def _arrays(
        self,
        name: NetworkName,
        preprocess: Preprocess,
        rgb: npt.NDArray[np.uint8] | None,
        depth: npt.NDArray[np.float32] | None,
        intrinsics: Intrinsics | None,
        gravity: npt.NDArray[np.float32] | None,
    ) -> Arrays:
        pixels = metres = matrix = down = None
        if name in ("rgbd", "rgb"):
            pixels = np.zeros((*preprocess.size, 3), np.uint8) if rgb is None else rgb
        if name in ("rgbd", "depth"):
            if depth is None:
                depth = np.full(preprocess.size, np.nan, dtype=np.float32)
                intrinsics = some_intrinsics(preprocess.size)  # nothing is seen through this lens
            metres = depth
            if preprocess.depth.needs_intrinsics:
                if intrinsics is None:
                    raise EngineError(
                        f"network {name!r} reads depth as {preprocess.depth.kind}, which needs "
                        "the camera's intrinsics, and got none: give its camera_info, or for "
                        "picture files --intrinsics"
                    )
                matrix = intrinsics.resized(preprocess.size[1], preprocess.size[0]).matrix()
                down = None if gravity is None else gravity.astype(np.float32)
        return Arrays(pixels, metres, matrix, down)

    def estimate_gravity(
        self, depth: npt.NDArray[np.float32], intrinsics: Intrinsics
    ) -> npt.NDArray[np.float32]:
        """Unit vector (3) pointing down in the optical frame, from H×W metres (NaN invalid).

        It is found in the picture that a network of :attr:`need_intrinsics` reads, as in training:
        a fraction of the work where the sensor's picture is larger.
        """
        height, width = self._networks[self.need_intrinsics[0]][1].size
        with torch.inference_mode():
            metres = torch.from_numpy(np.array(depth))[None, None].to(self.device)
            matrix = torch.from_numpy(intrinsics.resized(width, height).matrix())[None]
            found = estimate_gravity(resize_depth(metres, (height, width)), matrix.to(self.device))
            down: npt.NDArray[np.float32] = found[0].cpu().numpy()
        return down

    def _warm_up(self) -> None:
        for name, (_, preprocess) in self._networks.items():
            rgb = np.zeros((*preprocess.size, 3), dtype=np.uint8)
            depth = np.ones(preprocess.size, dtype=np.float32)
            for gravity in (None, np.array([0, 1, 0], dtype=np.float32)):
                self(rgb, depth, some_intrinsics(preprocess.size), gravity, network=name)


def some_intrinsics(size: tuple[int, int]) -> Intrinsics:
    """A lens with a view of 53° across, for pictures in which its angle does not matter."""
    height, width = size
    return Intrinsics(width, width, (width - 1) / 2, (height - 1) / 2, width, height)


def _network_for(rgb: Any, depth: Any) -> NetworkName:
    if rgb is not None and depth is not None:
        return "rgbd"
    return "depth" if rgb is None else "rgb"


def _check_inputs(rgb: Any, depth: Any) -> None:
    if rgb is None and depth is None:
        raise EngineError("give rgb, depth or both")
    if rgb is not None and (
        rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.dtype != np.uint8 or 0 in rgb.shape
    ):
        raise EngineError(f"rgb must be H×W×3 uint8, got {rgb.shape} {rgb.dtype}")
    if depth is not None and (depth.ndim != 2 or depth.dtype != np.float32 or 0 in depth.shape):
        raise EngineError(
            f"depth must be H×W float32 metres, got {depth.shape} {depth.dtype}; "
            "see rgbd_seg_ros.depth.to_metres"
        )
