# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""What runs a network's arithmetic: a dict of backends, each resident and warm once built."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from rgbd_seg_ros.bundle import Network
from rgbd_seg_ros.engine.inputs import Arrays, Pictures, Stopwatch, decide, encode, resize

#: Class ids and confidence, 2×H×W.
Mask = npt.NDArray[np.uint8]
#: Graphs that a network keeps: one for each combination of picture sizes that it has seen.
MOST_GRAPHS = 8


class EngineError(ValueError):
    """The engine cannot be set up as asked; the message names the value and the remedy."""


class Backend(Protocol):
    """One network, resident on its device."""

    #: Whether the first call with pictures of another size takes longer than the later ones.
    prepares_by_size: bool

    def __call__(self, arrays: Arrays, size: tuple[int, int], watch: Stopwatch) -> Mask:
        """A mask of ``size``; laps are ``preprocess``, ``network`` and ``postprocess``."""
        ...


class TorchBackend:
    """Eager PyTorch: float32 on the CPU, half precision by autocast on CUDA. The reference."""

    prepares_by_size = False

    def __init__(self, network: Network, device: torch.device, half: bool | None = None) -> None:
        self._device = device
        self._half = device.type == "cuda" if half is None else half
        self._preprocess = network.record.preprocess
        self._module = on_device(network.module, device)
        if self._half:
            self._module.to(memory_format=torch.channels_last)

    def __call__(self, arrays: Arrays, size: tuple[int, int], watch: Stopwatch) -> Mask:
        pictures = Pictures(*(None if a is None else self._tensor(a) for a in arrays))
        inputs = encode(resize(pictures, self._preprocess), self._preprocess)
        synchronise(self._device)
        watch.lap("preprocess")
        with torch.autocast(self._device.type, dtype=torch.float16, enabled=self._half):
            logits: Tensor = self._module(*inputs).logits
        synchronise(self._device)
        watch.lap("network")
        mask: Mask = torch.cat(decide(logits, size)).cpu().numpy()
        watch.lap("postprocess")
        return mask

    def _tensor(self, array: npt.NDArray[Any]) -> Tensor:
        # torch wants a writable, contiguous array; messages are often neither.
        return torch.from_numpy(np.require(array, requirements=["C", "W"])).to(self._device)


@dataclass(frozen=True)
class Graph:
    """Everything from pinned pictures to a pinned mask, launched at once by ``replay``."""

    replay: Callable[[], None]
    arrays: Arrays
    mask: Mask


class CudaGraphBackend:
    """Float16 weights and a captured CUDA graph, so that Python launches no kernel by itself.

    A graph is captured at the first call with pictures of a size. Its laps are the copy into
    pinned memory (``preprocess``), all work of the device, and the copy out.

    Args:
        network: stays as it is; the backend has a copy.
        device: a CUDA device.
        compiled: fuse the kernels by ``torch.compile`` first, which takes a C compiler and a
            minute or more for each network.
    """

    prepares_by_size = True

    def __init__(self, network: Network, device: torch.device, compiled: bool = False) -> None:
        if device.type != "cuda":
            raise EngineError("a CUDA graph needs device cuda; use backend: auto")
        self._device = device
        self._preprocess = network.record.preprocess
        self._module = on_device(network.module, device)
        self._module.to(torch.float16, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._logits = self._eager
        if compiled:
            # Several networks share their classes' code, and each is a case of its own.
            torch._dynamo.config.cache_size_limit = 64
            self._logits = torch.compile(self._eager, dynamic=False)
        self._graphs: dict[Any, Graph] = {}

    def __call__(self, arrays: Arrays, size: tuple[int, int], watch: Stopwatch) -> Mask:
        key = (*(None if a is None else a.shape for a in arrays), size)
        graph = self._graphs.get(key)
        if graph is None:
            if len(self._graphs) == MOST_GRAPHS:
                del self._graphs[next(iter(self._graphs))]
            graph = self._graphs[key] = self._capture(arrays, size)
        for target, source in zip(graph.arrays, arrays, strict=True):
            if target is not None:
                target[...] = source
        watch.lap("preprocess")
        graph.replay()
        torch.cuda.current_stream(self._device).synchronize()
        watch.lap("network")
        mask: Mask = graph.mask.copy()
        watch.lap("postprocess")
        return mask

    def _eager(self, resized: Pictures) -> Tensor:
        inputs = [
            x.to(torch.float16, memory_format=torch.channels_last)
            for x in encode(resized, self._preprocess)
        ]
        logits: Tensor = self._module(*inputs).logits
        return logits

    def _capture(self, arrays: Arrays, size: tuple[int, int]) -> Graph:
        pinned = [None if a is None else torch.from_numpy(a.copy()).pin_memory() for a in arrays]
        mask = torch.empty((2, *size), dtype=torch.uint8, pin_memory=True)

        def run() -> None:
            sent = (None if x is None else x.to(self._device, non_blocking=True) for x in pinned)
            resized = resize(Pictures(*sent), self._preprocess)
            # One memory layout whatever the camera's size, or it would be compiled anew.
            resized = Pictures(*(None if x is None else x.contiguous() for x in resized))
            logits = self._logits(resized)
            mask.copy_(torch.cat(decide(logits, size)), non_blocking=True)

        # cuDNN times its kernels in the first runs; the graph keeps the fastest.
        timed = torch.backends.cudnn.flags(enabled=True, benchmark=True)
        with torch.cuda.device(self._device), timed:
            side = torch.cuda.Stream()
            side.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(side):
                for _ in range(3):
                    run()
            torch.cuda.current_stream().wait_stream(side)
            graph = torch.cuda.CUDAGraph()
            # Nothing stays on the device between two replays, so that all graphs share their pool.
            with torch.cuda.graph(graph, pool=graph_pool(self._device)):
                run()
        shared = Arrays(*(None if x is None else x.numpy() for x in pinned))
        return Graph(graph.replay, shared, mask.numpy())


@functools.cache
def graph_pool(device: torch.device) -> Any:
    """The device's memory that the graphs of this process compute in."""
    return torch.cuda.graph_pool_handle()


def on_device(module: nn.Module, device: torch.device) -> nn.Module:
    """A module ready to run there. The bundle's own stays where it is."""
    module = module if device.type == "cpu" else copy.deepcopy(module)
    return module.to(device).eval()


BACKENDS: dict[str, Callable[[Network, torch.device], Backend]] = {
    "torch": TorchBackend,
    "cuda_graph": CudaGraphBackend,
    "cuda_compiled": functools.partial(CudaGraphBackend, compiled=True),
}


def resolve_device(device: str) -> torch.device:
    """``auto`` (CUDA when there is one, else the CPU), ``cpu``, ``cuda`` or ``cuda:N``."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    kind, _, index = device.partition(":")
    if kind not in ("cpu", "cuda") or (index and not (kind == "cuda" and index.isdigit())):
        raise EngineError(f"unknown device {device!r}; known: auto, cpu, cuda, cuda:N")
    if kind == "cuda":
        if not torch.cuda.is_available():
            reason = (
                "this PyTorch was built without CUDA: install the CUDA build for your GPU"
                if not torch.backends.cuda.is_built()
                else "no NVIDIA GPU or driver was found: check nvidia-smi"
            )
            raise EngineError(f"device {device!r} was asked for but {reason}, or use device: auto")
        if index and int(index) >= torch.cuda.device_count():
            raise EngineError(
                f"device {device!r} was asked for but there are {torch.cuda.device_count()} GPUs"
            )
    return torch.device(device)


def resolve_backend(
    backend: str, device: torch.device
) -> Callable[[Network, torch.device], Backend]:
    """A backend by name; ``auto`` is the fastest one that starts within seconds."""
    automatic = "cuda_graph" if device.type == "cuda" else "torch"
    name = automatic if backend == "auto" else backend
    if name not in BACKENDS:
        raise EngineError(f"unknown backend {backend!r}; known: auto, {', '.join(BACKENDS)}")
    return BACKENDS[name]


def synchronise(device: torch.device) -> None:
    """Wait for the device, so that a clock read next measures finished work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def memory_mb(device: torch.device) -> float | None:
    """GPU memory held by tensors, MiB; None on the CPU."""
    if device.type != "cuda":
        return None
    stats: dict[str, Any] = torch.cuda.memory_stats(device)
    return float(stats["allocated_bytes.all.current"]) / 2**20
