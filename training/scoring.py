# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""How a network is asked when it is scored: whole picture, multi-scale + flip, sliding window."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from rgbd_seg_ros.engine.segmenter import decide
from rgbd_seg_ros.metrics import ConfusionMatrix
from rgbd_seg_ros.preprocess import (
    Preprocess,
    normalise_depth,
    normalise_rgb,
    resize_depth,
    resize_rgb,
)
from training import distributed


@dataclass(frozen=True)
class Protocol:
    """How a network is asked. The default is what the robot does: once, the whole picture."""

    #: Zooms whose probabilities are averaged.
    scales: tuple[float, ...] = (1.0,)
    #: Ask the mirrored picture too.
    flip: bool = False
    #: Do not resize pictures to the network's size first.
    native: bool = False
    #: (height, width) of a sliding window; None: the whole picture at once.
    window: tuple[int, int] | None = None
    #: Step of the window as a share of its size.
    stride: float = 2 / 3

    @property
    def plain(self) -> bool:
        """Whether the network is asked once, so that its logits are the answer."""
        return self.scales == (1.0,) and not self.flip and self.window is None


#: Raw pictures (B×3×H×W in 0..255, B×1×H×W metres) → logits or log-probabilities B×K×h×w.
Predictor = Callable[[Tensor, Tensor], Tensor]


def predictor(
    network: nn.Module, modality: str, preprocess: Preprocess, protocol: Protocol | None = None
) -> Predictor:
    """A network asked by a protocol (default: :class:`Protocol`'s defaults)."""
    protocol = protocol or Protocol()

    def logits_of(rgb: Tensor, depth: Tensor) -> Tensor:
        inputs = []
        if modality in ("rgb", "rgbd"):
            inputs.append(normalise_rgb(rgb, preprocess))
        if modality in ("depth", "rgbd"):
            inputs.append(normalise_depth(depth, preprocess))
        return network(*inputs).logits.float()  # type: ignore[no-any-return]

    window = protocol.window
    asked = logits_of if window is None else sliding(logits_of, window, protocol.stride)

    def ask(rgb: Tensor, depth: Tensor) -> Tensor:
        height, width = rgb.shape[-2:] if protocol.native else preprocess.size
        if protocol.plain:
            return asked(resize_rgb(rgb, (height, width)), resize_depth(depth, (height, width)))
        views = []
        for scale in protocol.scales:
            size = (round(height * scale), round(width * scale))
            pair = resize_rgb(rgb, size), resize_depth(depth, size)
            for mirrored in (False, True)[: 1 + protocol.flip]:
                if mirrored:
                    p = asked(pair[0].flip(-1), pair[1].flip(-1)).softmax(dim=1).flip(-1)
                else:
                    p = asked(*pair).softmax(dim=1)
                views.append(resize_rgb(p, (height, width)))
        return _log(torch.stack(views).mean(dim=0))

    return ask


def _log(probabilities: Tensor) -> Tensor:
    """Such that a softmax gives the probabilities back."""
    return probabilities.clamp(min=1e-12).log()


def sliding(ask: Predictor, window: tuple[int, int], stride: float) -> Predictor:
    """Probabilities of overlapping windows, averaged where they overlap; as log."""

    def slid(rgb: Tensor, depth: Tensor) -> Tensor:
        size = (rgb.shape[-2], rgb.shape[-1])
        total, count = rgb.new_zeros(()), rgb.new_zeros(size)
        for top in offsets(size[0], window[0], stride):
            for left in offsets(size[1], window[1], stride):
                rows, columns = slice(top, top + window[0]), slice(left, left + window[1])
                p = ask(rgb[..., rows, columns], depth[..., rows, columns]).softmax(dim=1)
                if total.ndim == 0:
                    total = p.new_zeros(p.shape[0], p.shape[1], *size)
                total[..., rows, columns] += p
                count[rows, columns] += 1
        return _log(total / count)

    return slid


def offsets(length: int, window: int, stride: float) -> list[int]:
    """Where windows begin so that they cover ``length``, the last one flush with the end."""
    if window >= length:
        return [0]
    step = max(1, round(window * stride))
    return [*range(0, length - window, step), length - window]


@torch.inference_mode()
def score(
    cases: Mapping[str, Predictor],
    batches: Iterable[list[Mapping[str, Any]]],
    num_classes: int,
    device: torch.device,
    limit: int | None = None,
) -> dict[str, ConfusionMatrix]:
    """One confusion matrix per case, over all ranks; truth at its own size, as ``decide`` says.

    Args:
        batches: of :func:`training.data.loader.scoring_loader`.
        limit: stop after so many batches of each rank.
    """
    matrices = {name: ConfusionMatrix(num_classes) for name in cases}
    for batch in itertools.islice(batches, limit):
        for items in of_one_size(batch):
            rgb = torch.stack([item["rgb"] for item in items]).to(device)
            depth = torch.stack([item["depth"] for item in items]).to(device)
            for name, ask in cases.items():
                masks, _ = decide(ask(rgb, depth), items[0]["labels"].shape)
                truth = np.stack([item["labels"] for item in items])
                matrices[name].update(truth, masks.cpu().numpy())
    for matrix in matrices.values():
        distributed.merge_confusion(matrix, device)
    return matrices


def of_one_size(items: list[Mapping[str, Any]]) -> list[list[Mapping[str, Any]]]:
    """Items grouped by the size of their pictures."""
    groups: dict[Any, list[Mapping[str, Any]]] = {}
    for item in items:
        groups.setdefault((item["rgb"].shape, item["labels"].shape), []).append(item)
    return list(groups.values())
