# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Backends, each of which computes masks with one network. To add one, add it to ``BACKENDS``."""

from __future__ import annotations

import copy
import importlib.util
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from rgbd_seg_ros.bundle import TrainedNetwork
from rgbd_seg_ros.engine.cuda_graph import CudaGraphBackend
from rgbd_seg_ros.engine.folding import fold_batch_norms
from rgbd_seg_ros.engine.runtimes import (
    compiled_runner,
    example_inputs,
    has_bfloat16,
    onnxruntime_runner,
    openvino_runner,
)
from rgbd_seg_ros.engine.stages import (
    RawInputs,
    RawMask,
    decide,
    host_arrays,
    network_inputs,
    to_tensor,
)
from rgbd_seg_ros.names import unknown_name
from rgbd_seg_ros.preprocess import Preprocess


class EngineError(ValueError):
    """A device, backend or input that cannot be used; the message names it and the remedy."""


class Backend(Protocol):
    """One network on its device, ready to run.

    A call covers everything from the sensors' arrays to the mask: resize, normalize, encode
    depth, run the network, upsample, argmax. A backend may therefore run all of it as one
    captured graph and copy only the mask back. A runtime that only runs the network (ONNX, a
    compiled module) is wrapped in :class:`StagedBackend`, which does the rest in PyTorch.

    The :class:`~rgbd_seg_ros.engine.Segmenter` has checked the inputs, replaced a missing input
    of a fused network with an empty one, and calls each backend twice at construction to warm it
    up. All calls come from one thread.
    """

    def __call__(self, inputs: RawInputs, size: tuple[int, int]) -> RawMask:
        """The mask of one frame or frame pair, at ``size`` (height, width)."""


@runtime_checkable
class PreparableBackend(Backend, Protocol):
    """A backend whose first mask for images of a new size takes longer than the later ones."""

    def prepare(self, inputs: RawInputs, size: tuple[int, int]) -> None:
        """Do the one-time work for these sizes, unless it is done already.

        The Segmenter calls it for all networks with every frame pair, so that a later switch of
        networks waits for nothing.
        """


class StagedBackend:
    """Runs preprocessing and postprocessing in PyTorch, and the network itself in any runtime.

    Args:
        preprocess: size and normalization of the network's inputs.
        device: where both run; ``run`` receives its tensors there.
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
            arrays = host_arrays(inputs)
            sent = [None if array is None else to_tensor(array, self._device) for array in arrays]
            tensors = network_inputs(sent, self._preprocess)
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


def torch_backend(network: TrainedNetwork, device: torch.device) -> Backend:
    """Eager PyTorch with folded batch norms: float32 on the CPU, float16 by autocast on CUDA."""
    half = device.type == "cuda"
    # A copy, because the bundle's own stays as it is for other Segmenters.
    module = fold_batch_norms(network.module, example_inputs(network)).to(device)
    module.to(memory_format=torch.channels_last)

    def run(*inputs: Tensor) -> Tensor:
        with torch.autocast(device.type, dtype=torch.float16, enabled=half):
            logits: Tensor = module(*inputs).logits
        return logits

    return StagedBackend(network.record.preprocess, device, run)


def cuda_graph_backend(network: TrainedNetwork, device: torch.device) -> Backend:
    """Half precision in captured CUDA graphs."""
    return CudaGraphBackend(network, device)


def float32_backend(network: TrainedNetwork, device: torch.device) -> Backend:
    """Eager PyTorch in float32 on any device, the reference for all other backends."""
    module = network.module.eval()
    if device.type != "cpu":
        module = copy.deepcopy(module).to(device)
    return StagedBackend(network.record.preprocess, device, lambda *x: module(*x).logits)


def openvino_backend(network: TrainedNetwork, device: torch.device, precision: str) -> Backend:
    """OpenVINO on the CPU, with the precision ``bf16`` or ``f32``."""
    run = openvino_runner(network, precision)
    return StagedBackend(network.record.preprocess, device, run)


def onnxruntime_backend(network: TrainedNetwork, device: torch.device, provider: str) -> Backend:
    """ONNX Runtime with an execution provider."""
    run = onnxruntime_runner(network, device, provider)
    return StagedBackend(network.record.preprocess, device, run)


def compile_backend(network: TrainedNetwork, device: torch.device) -> Backend:
    """torch.compile."""
    return StagedBackend(network.record.preprocess, device, compiled_runner(network, device))


#: Loads a network onto a device. It may ignore ``TrainedNetwork.module`` and open a built
#: artifact beside ``TrainedNetwork.file`` instead, such as a file made by ``training.export``.
BackendFactory = Callable[[TrainedNetwork, torch.device], Backend]

BACKENDS: dict[str, BackendFactory] = {
    "float32": float32_backend,
    "torch": torch_backend,
    "cuda_graph": cuda_graph_backend,
    "compile": compile_backend,
    "openvino_bf16": partial(openvino_backend, precision="bf16"),
    "openvino_f32": partial(openvino_backend, precision="f32"),
    "onnxruntime": partial(onnxruntime_backend, provider="CPUExecutionProvider"),
    "onnxruntime_cuda": partial(onnxruntime_backend, provider="CUDAExecutionProvider"),
    "onnxruntime_tensorrt": partial(onnxruntime_backend, provider="TensorrtExecutionProvider"),
}


@dataclass(frozen=True)
class Requirement:
    """What a backend needs besides PyTorch."""

    #: Kinds of devices that it runs on.
    devices: tuple[str, ...]
    #: Python packages, which have the same names on PyPI.
    packages: tuple[str, ...] = ()


_ONNX = ("onnxruntime", "onnx", "onnxscript")
#: Backends whose masks may differ from those of float32, so that a network is used with them only
#: after its masks were compared, see :mod:`rgbd_seg_ros.engine.guard`.
REQUIREMENTS = {
    "torch": Requirement(("cpu", "cuda")),
    "cuda_graph": Requirement(("cuda",)),
    "compile": Requirement(("cpu", "cuda")),
    "openvino_bf16": Requirement(("cpu",), ("openvino",)),
    "openvino_f32": Requirement(("cpu",), ("openvino",)),
    "onnxruntime": Requirement(("cpu",), _ONNX),
    "onnxruntime_cuda": Requirement(("cuda",), _ONNX),
    "onnxruntime_tensorrt": Requirement(("cuda",), _ONNX),
}
#: What ``auto`` tries on each kind of device, in order.
AUTO = {
    "cpu": ["openvino_bf16", "openvino_f32", "onnxruntime", "torch"],
    "cuda": ["cuda_graph", "torch", "float32"],
}


def is_exact(name: str, device: torch.device) -> bool:
    """Whether a backend is eager PyTorch in float32, with which the others are compared."""
    return name not in REQUIREMENTS or (name == "torch" and device.type == "cpu")


def resolve_backend(backend: str, device: torch.device) -> list[str]:
    """The backends to try, in order. ``auto`` gives those that are installed, fastest first.

    ``openvino`` stands for bfloat16, if the processor has it, and then float32.

    Raises:
        EngineError: an unknown name, or a backend that cannot run on this device or machine.
    """
    known = ("auto", "openvino", *BACKENDS)
    if backend not in known:
        raise EngineError(unknown_name("backend", backend, known))
    if backend == "auto":
        return [name for name in AUTO[device.type] if why_not(name, device) is None]
    names = [backend]
    if backend == "openvino":
        names = ["openvino_bf16", "openvino_f32"]
        if why_not(names[0], device) and not why_not(names[1], device):
            del names[0]
    if reason := why_not(names[0], device):
        raise EngineError(f"backend {backend!r}: {reason}, or use backend: auto")
    return names


def why_not(name: str, device: torch.device) -> str | None:
    """Why a backend cannot run on this device or machine, with the remedy; None if it can."""
    needs = REQUIREMENTS.get(name)
    if needs is None:
        return None
    if device.type not in needs.devices:
        return f"it runs on {' or '.join(needs.devices)}, but the device is {device}: change it"
    if missing := missing_packages(needs.packages):
        return missing
    if name == "openvino_bf16":
        try:
            if not has_bfloat16():
                return "this processor does not compute in bfloat16: use openvino_f32"
        except (ImportError, RuntimeError) as error:
            return f"OpenVINO does not start ({error}): install it again"
    return None


def missing_packages(packages: Sequence[str]) -> str | None:
    """How to install the packages that are missing, or None if there are none."""
    missing = [name for name in packages if importlib.util.find_spec(name) is None]
    if not missing:
        return None
    return f"{' and '.join(missing)} not installed: pip install {' '.join(missing)}"


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
