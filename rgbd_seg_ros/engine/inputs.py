# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""From pictures to a network's inputs, and from its logits to a mask, on whichever device."""

from __future__ import annotations

import time
from typing import Any, NamedTuple

import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from rgbd_seg_ros.preprocess import (
    Preprocess,
    prepare_depth,
    prepare_rgb,
    resize_depth,
    resize_rgb,
)


class Arrays(NamedTuple):
    """What one network sees, on the host; None where it takes no such input."""

    #: H×W×3 uint8.
    rgb: npt.NDArray[Any] | None = None
    #: H×W float32 metres, NaN invalid.
    depth: npt.NDArray[Any] | None = None
    #: 3×3 float32 of depth in the network's size, for an encoding that needs it.
    intrinsics: npt.NDArray[Any] | None = None
    #: 3 float32, pointing down in the optical frame, likewise; estimated from depth when None.
    gravity: npt.NDArray[Any] | None = None


class Pictures(NamedTuple):
    """The same as tensors on the network's device."""

    rgb: Tensor | None = None
    depth: Tensor | None = None
    intrinsics: Tensor | None = None
    gravity: Tensor | None = None


def resize(pictures: Pictures, preprocess: Preprocess) -> Pictures:
    """As batches of one (1×3×h×w, 1×1×h×w, 1×3×3, 1×3) in the network's size."""
    rgb, depth, intrinsics, gravity = pictures
    return Pictures(
        None if rgb is None else resize_rgb(rgb.permute(2, 0, 1)[None], preprocess.size),
        None if depth is None else resize_depth(depth[None, None], preprocess.size),
        None if intrinsics is None else intrinsics[None],
        None if gravity is None else gravity[None],
    )


def encode(resized: Pictures, preprocess: Preprocess) -> list[Tensor]:
    """Normalised and encoded, in the order in which a network takes them."""
    inputs = []
    rgb, depth, intrinsics, gravity = resized
    if rgb is not None:
        inputs.append(prepare_rgb(rgb, preprocess))
    if depth is not None:
        inputs.append(prepare_depth(depth, preprocess, intrinsics, gravity))
    return inputs


def decide(logits: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Logits (B×K×h×w) to class ids and confidence, both B×H×W uint8 of ``size``.

    Probabilities, not ids, are interpolated, so a mask never holds a class that lies between two.
    """
    probabilities = logits.softmax(dim=1, dtype=torch.float32)
    if probabilities.shape[-2:] != size:
        probabilities = functional.interpolate(
            probabilities, size, mode="bilinear", align_corners=False
        )
    confidence, labels = probabilities.max(dim=1)
    return labels.to(torch.uint8), (confidence * 255).round().to(torch.uint8)


class Stopwatch:
    """Milliseconds of each stage of one mask."""

    def __init__(self) -> None:
        self._began = self._last = time.perf_counter()
        self.spans_ms: dict[str, float] = {}

    def lap(self, stage: str) -> None:
        """The stage that ends now; its device must be done with it."""
        now = time.perf_counter()
        self.spans_ms[stage] = (now - self._last) * 1e3
        self.spans_ms["total"] = (now - self._began) * 1e3
        self._last = now
