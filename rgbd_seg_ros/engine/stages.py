# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Stages of a mask, shared by the backends: arrays to a network's inputs, logits to a mask."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from rgbd_seg_ros.engine.upsampling import best_class
from rgbd_seg_ros.frames import Intrinsics
from rgbd_seg_ros.preprocess import Preprocess, prepare_depth, prepare_rgb


class RawInputs(NamedTuple):
    """The checked inputs of one call, in main memory; None for inputs that the network lacks."""

    #: H×W×3 uint8, RGB.
    rgb: npt.NDArray[np.uint8] | None = None
    #: H×W float32 meters, NaN invalid, aligned to ``rgb``; its size may differ.
    depth: npt.NDArray[np.float32] | None = None
    #: Intrinsics of the camera that ``depth`` is aligned to, for any image size. Given if the
    #: network's depth encoding needs them, else None. The same holds for a known ``gravity``.
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


def host_arrays(inputs: RawInputs) -> list[npt.NDArray[Any] | None]:
    """Color, depth, the camera matrix (3×3) for the size of ``depth``, and gravity (float32)."""
    matrix = gravity = None
    if inputs.intrinsics is not None and inputs.depth is not None:
        height, width = inputs.depth.shape
        matrix = inputs.intrinsics.resized(width, height).matrix()
    if inputs.gravity is not None:
        gravity = inputs.gravity.astype(np.float32)
    return [inputs.rgb, inputs.depth, matrix, gravity]


def network_inputs(arrays: Iterable[Tensor | None], preprocess: Preprocess) -> list[Tensor]:
    """The network's inputs, 1×C×h×w float32 each, from :func:`host_arrays` on any device."""
    rgb, depth, matrix, gravity = (x if x is None else x[None] for x in arrays)
    inputs = []
    if rgb is not None:
        inputs.append(prepare_rgb(rgb.permute(0, 3, 1, 2), preprocess))
    if depth is not None:
        inputs.append(prepare_depth(depth[:, None], preprocess, matrix, gravity))
    return inputs


def decide(
    logits: Tensor, size: tuple[int, int], *, fixed_shapes: bool = False
) -> tuple[Tensor, Tensor]:
    """Logits (B×K×h×w) to class ids and confidence, both B×H×W uint8 at ``size``.

    Probabilities are interpolated, not ids: the mean of ids 2 and 4 is not class 3.
    ``fixed_shapes`` excludes operations whose shapes depend on the data, as in a CUDA graph.
    """
    probabilities = logits.softmax(dim=1, dtype=torch.float32)
    if logits.device.type == "cpu" and not fixed_shapes:
        confidence, labels = best_class(probabilities, size)
    else:
        if probabilities.shape[-2:] != size:
            probabilities = functional.interpolate(
                probabilities, size, mode="bilinear", align_corners=False
            )
        confidence, labels = probabilities.max(dim=1)
    return labels.to(torch.uint8), confidence.mul_(255).round_().to(torch.uint8)


def to_tensor(array: npt.NDArray[Any], device: torch.device) -> Tensor:
    """An array on the device. It is copied first if it is read-only or not contiguous.

    PyTorch needs writable, contiguous arrays; the arrays of messages are often neither.
    """
    return torch.from_numpy(np.require(array, requirements=["C", "W"])).to(device)
