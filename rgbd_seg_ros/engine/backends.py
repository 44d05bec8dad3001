# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Backends: each runs one network from arrays to a mask. A new one is an entry in ``BACKENDS``."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from rgbd_seg_ros.bundle import TrainedNetwork
from rgbd_seg_ros.frames import Intrinsics
from rgbd_seg_ros.names import unknown_name
from rgbd_seg_ros.preprocess import Preprocess, prepare_depth, prepare_rgb


class EngineError(ValueError):
    """A device, backend or input that cannot be used; the message names it and the remedy."""


class RawInputs(NamedTuple):
    """The checked inputs of one call, in main memory. None where the network has no such input."""

    #: H×W×3 uint8, RGB.
    rgb: npt.NDArray[np.uint8] | None = None
    #: H×W float32 meters, NaN invalid, aligned to ``rgb``; its size may differ.
    depth: npt.NDArray[np.float32] | None = None
    #: Of the camera that ``depth`` is aligned to, for any size of its image. Always given if the
    #: network's depth encoding needs them, else None; likewise ``gravity``, if it is known.
    intrinsics: Intrinsics | None = None
    #: Unit vector (3) pointing down in the optical frame; None: estimate it from ``depth``.
    gravity: npt.NDArray[np.float32] | None = None


class RawMask(NamedTuple):
    """The result of one call, in main memory."""

    #: H×W uint8 class ids.
    labels: npt.NDArray[np.uint8]
    #: H×W uint8, softmax probability of the chosen class, 0..255 for 0..1.
    confidence: npt.NDArray[np.uint8]
    #: Milliseconds in ``preprocess``, ``network`` and ``postprocess``.
    timings_ms: dict[str, float]


class Backend(Protocol):
    """One network on its device, ready to run.

    A call covers everything from the sensors' arrays to the mask: resize, normalize, encode
    depth, run the network, upsample, argmax. A backend may therefore run all of it as one
    captured graph and copy only the mask back. A runtime that only runs the network (ONNX, a
    compiled module) is wrapped in :class:`StagedBackend`, which does the rest in PyTorch.

    The :class:`~rgbd_seg_ros.engine.Segmenter` has checked the inputs, replaced a missing input
    of a fused network by an empty one, and calls each backend twice at construction to warm it
    up. All calls come from one thread.
    """

    def __call__(self, inputs: RawInputs, size: tuple[int, int]) -> RawMask:
        """The mask of one frame or frame pair, at ``size`` (height, width)."""


class StagedBackend:
    """Preprocessing and postprocessing in PyTorch around any runtime of the network itself.

    Args:
        preprocess: of the network.
        device: runs both; ``run`` gets its tensors there.
        run: normalized inputs (1×C×h×w float32 each, rgb before depth) → logits (1×K×h×w).
    """

    def __init__(
        self, preprocess: Preprocess, device: torch.device, run: Callable[..., Tensor]
    ) -> None:
        self._preprocess = preprocess
        self._device = device
        self._run = run

    def __call__(self, inputs: RawInputs, size: tuple[int, int]) -> RawMask:
        started = time.perf_counter()
        with torch.inference_mode():
            tensors = self._prepare(inputs)
            synchronize(self._device)
            prepared = time.perf_counter()
            logits = self._run(*tensors)
            synchronize(self._device)
            computed = time.perf_counter()
            labels, confidence = decide(logits, size)
            result = labels[0].cpu().numpy(), confidence[0].cpu().numpy()
        timings_ms = {
            "preprocess": (prepared - started) * 1e3,
            "network": (computed - prepared) * 1e3,
            "postprocess": (time.perf_counter() - computed) * 1e3,
        }
        return RawMask(*result, timings_ms)

    def _prepare(self, inputs: RawInputs) -> list[Tensor]:
        tensors = []
        if inputs.rgb is not None:
            pixels = to_tensor(inputs.rgb, self._device).permute(2, 0, 1)[None]
            tensors.append(prepare_rgb(pixels, self._preprocess))
        if inputs.depth is not None:
            meters, matrix, down = to_tensor(inputs.depth, self._device)[None, None], None, None
            if inputs.intrinsics is not None:
                height, width = inputs.depth.shape
                camera = inputs.intrinsics.resized(width, height)
                matrix = to_tensor(camera.matrix(), self._device)[None]
            if inputs.gravity is not None:
                down = to_tensor(inputs.gravity.astype(np.float32), self._device)[None]
            tensors.append(prepare_depth(meters, self._preprocess, matrix, down))
        return tensors


def torch_backend(network: TrainedNetwork, device: torch.device) -> Backend:
    """Eager PyTorch: float32 on the CPU, half precision by autocast on CUDA."""
    half = device.type == "cuda"
    module = network.module.to(device).eval()
    if half:
        module = module.to(memory_format=torch.channels_last)

    def run(*inputs: Tensor) -> Tensor:
        with torch.autocast(device.type, dtype=torch.float16, enabled=half):
            logits: Tensor = module(*inputs).logits
        return logits.float()

    return StagedBackend(network.record.preprocess, device, run)


#: Loads a network onto a device. It may ignore ``TrainedNetwork.module`` and open a built
#: artifact beside ``TrainedNetwork.file`` instead, such as a file made by ``training.export``.
BackendFactory = Callable[[TrainedNetwork, torch.device], Backend]

BACKENDS: dict[str, BackendFactory] = {"torch": torch_backend}


def resolve_backend(backend: str) -> BackendFactory:
    """A backend by name; ``auto`` is the fastest one that runs everywhere.

    Raises:
        EngineError: an unknown name.
    """
    name = "torch" if backend == "auto" else backend
    if name not in BACKENDS:
        raise EngineError(unknown_name("backend", backend, ("auto", *BACKENDS)))
    return BACKENDS[name]


def resolve_device(device: str) -> torch.device:
    """The device for ``auto`` (CUDA if available, else the CPU), ``cpu``, ``cuda`` or ``cuda:N``.

    Raises:
        EngineError: an unknown name, or a device that this machine does not have.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    kind, _, index = device.partition(":")
    if kind not in ("cpu", "cuda") or (index and not (kind == "cuda" and index.isdigit())):
        raise EngineError(unknown_name("device", device, ("auto", "cpu", "cuda", "cuda:N")))
    if kind == "cuda":
        if not torch.cuda.is_available():
            reason = (
                "this PyTorch was built without CUDA: install the CUDA build for your GPU"
                if not torch.backends.cuda.is_built()
                else "no NVIDIA GPU or driver was found: check nvidia-smi"
            )
            raise EngineError(f"device {device!r} is not available, {reason}, or use device: auto")
        count = torch.cuda.device_count()
        if index and int(index) >= count:
            raise EngineError(
                f"device {device!r} does not exist: the last of {count} GPU(s) is cuda:{count - 1}"
            )
    return torch.device(device)


def decide(logits: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Logits (B×K×h×w) to class ids and confidence, both B×H×W uint8 at ``size``.

    Probabilities are interpolated, not ids: between classes 2 and 4 there is no class 3.
    """
    probabilities = logits.softmax(dim=1)
    if probabilities.shape[-2:] != size:
        probabilities = functional.interpolate(
            probabilities, size, mode="bilinear", align_corners=False
        )
    confidence, labels = probabilities.max(dim=1)
    return labels.to(torch.uint8), (confidence * 255).round().to(torch.uint8)


def to_tensor(array: npt.NDArray[Any], device: torch.device) -> Tensor:
    """An array on the device. It is copied first if it is read-only or not contiguous.

    PyTorch needs writable, contiguous arrays, which those of messages often are not.
    """
    return torch.from_numpy(np.require(array, requirements=["C", "W"])).to(device)


def synchronize(device: torch.device) -> None:
    """Wait for the device, so that a clock read afterwards includes its work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def memory_mb(device: torch.device) -> float | None:
    """GPU memory held by tensors, MiB; None on the CPU."""
    if device.type != "cuda":
        return None
    stats: dict[str, Any] = torch.cuda.memory_stats(device)
    return float(stats["allocated_bytes.all.current"]) / 2**20
