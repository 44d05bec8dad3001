# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""CUDA graph backend: all work from arrays to a mask, captured once per size and replayed."""

from __future__ import annotations

import copy
import functools
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from rgbd_seg_ros.bundle import TrainedNetwork
from rgbd_seg_ros.engine.stages import RawInputs, RawMask, decide, host_arrays, network_inputs
from rgbd_seg_ros.preprocess import Preprocess

#: Graphs that a network keeps, one for each combination of image sizes; the oldest is replaced.
MAX_GRAPHS = 8
#: Type of the weights and of the network's inputs.
DTYPE = torch.float16


@dataclass(frozen=True)
class MaskGraph:
    """A captured graph with its inputs and its result, which stay at the same addresses."""

    #: The arrays of :func:`~rgbd_seg_ros.engine.stages.host_arrays`.
    arrays: list[npt.NDArray[Any] | None]
    #: Class ids and confidence, 2×H×W.
    mask: npt.NDArray[np.uint8]
    #: Computes ``mask`` from ``arrays`` and waits until it is complete.
    replay: Callable[[], None]


class CudaGraphBackend:
    """Float16 weights and captured CUDA graphs: Python launches one graph, not 800 kernels.

    A mask's ``preprocess`` is the copy of the arrays into pinned memory, ``network`` is all the
    work of the device, and ``postprocess`` is the copy of the mask out of pinned memory.

    Args:
        network: stays as it is; the backend uses a copy of its module.
        device: a CUDA device.
    """

    def __init__(self, network: TrainedNetwork, device: torch.device) -> None:
        self._device = device
        self._preprocess = network.record.preprocess
        self._module = copy.deepcopy(network.module).to(device).eval()
        self._module.to(DTYPE, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._graphs: dict[Any, MaskGraph] = {}

    def prepare(self, inputs: RawInputs, size: tuple[int, int]) -> None:
        """Capture the graph for these sizes and run it once, unless it exists."""
        if graph_key(inputs, size) not in self._graphs:
            self(inputs, size)

    def __call__(self, inputs: RawInputs, size: tuple[int, int]) -> RawMask:
        """The mask of one frame or frame pair; the first with new sizes captures a graph."""
        started = time.perf_counter()
        key, arrays = graph_key(inputs, size), host_arrays(inputs)
        graph = self._graphs.get(key)
        if graph is None:
            if len(self._graphs) == MAX_GRAPHS:
                del self._graphs[next(iter(self._graphs))]
            graph = self._graphs[key] = self._capture(arrays, size)
        for target, source in zip(graph.arrays, arrays, strict=True):
            if target is not None:
                target[...] = source
        copied = time.perf_counter()
        graph.replay()
        computed = time.perf_counter()
        labels, confidence = graph.mask.copy()
        timings_ms = {
            "preprocess": (copied - started) * 1e3,
            "network": (computed - copied) * 1e3,
            "postprocess": (time.perf_counter() - computed) * 1e3,
        }
        return RawMask(labels, confidence, timings_ms)

    def _capture(self, arrays: list[npt.NDArray[Any] | None], size: tuple[int, int]) -> MaskGraph:
        with torch.inference_mode():
            staged = [None if array is None else pinned(array) for array in arrays]
            mask = pinned(np.zeros((2, *size), np.uint8))

            def run() -> None:
                sent = [
                    None if x is None else x.to(self._device, non_blocking=True) for x in staged
                ]
                computed = compute_mask(self._module, self._preprocess, sent, size)
                mask.copy_(computed, non_blocking=True)

            replay = capture(run, self._device)
        return MaskGraph([None if x is None else x.numpy() for x in staged], mask.numpy(), replay)


def graph_key(inputs: RawInputs, size: tuple[int, int]) -> Any:
    """What a graph is captured for: the sizes of its arrays, and which of them it has."""
    shapes = [None if x is None else x.shape for x in (inputs.rgb, inputs.depth)]
    return (*shapes, inputs.intrinsics is None, inputs.gravity is None, size)


def compute_mask(
    module: nn.Module,
    preprocess: Preprocess,
    arrays: Iterable[Tensor | None],
    size: tuple[int, int],
) -> Tensor:
    """Class ids and confidence, 2×H×W uint8, from host_arrays on the device of ``module``.

    No operation waits for the device or copies to it, so that all of it can be captured.
    """
    inputs = [
        x.to(DTYPE, memory_format=torch.channels_last) for x in network_inputs(arrays, preprocess)
    ]
    return torch.cat(decide(module(*inputs).logits, size, fixed_shapes=True))


def capture(run: Callable[[], None], device: torch.device) -> Callable[[], None]:
    """Capture a function as a CUDA graph; the result replays it and waits for its end.

    ``torch.backends.cudnn.benchmark`` stays off: it times cuDNN's kernels and keeps the fastest,
    which need not be the same ones in the next process, so masks would differ between runs.
    """
    with torch.cuda.device(device):
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(3):  # libraries allocate their workspaces in the first runs
                run()
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        # Nothing stays on the device between two replays, so all graphs can share their memory.
        with torch.cuda.graph(graph, pool=graph_pool(device)):
            run()

    def replay() -> None:
        graph.replay()
        torch.cuda.current_stream(device).synchronize()

    return replay


@functools.cache
def graph_pool(device: torch.device) -> Any:
    """The device's memory in which all graphs of this process compute."""
    return torch.cuda.graph_pool_handle()


def pinned(array: npt.NDArray[Any]) -> Tensor:
    """A copy in pinned memory, which the device reads and writes without a detour."""
    return torch.from_numpy(array.copy()).pin_memory()
