# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""How a network is asked when it is scored: whole picture, multi-scale + flip, sliding window."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

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
    #: (height, width) of a sliding window; None: the whole picture at once.
    window: tuple[int, int] | None = None
    #: Step of the window as a share of its size.
    stride: float = 2 / 3


#: Raw pictures (B×3×H×W in 0..255, B×1×H×W metres) → logits or log-probabilities B×K×H×W.
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

    if protocol.scales == (1.0,) and not protocol.flip and protocol.window is None:
        return logits_of
    asked = logits_of if protocol.window is None else sliding(logits_of, protocol)

    def averaged(rgb: Tensor, depth: Tensor) -> Tensor:
        height, width = rgb.shape[-2:]
        views = []
        for scale in protocol.scales:
            size = (round(height * scale), round(width * scale))
            small, near = resize_rgb(rgb, size), resize_depth(depth, size)
            for mirror in (False, True)[: 1 + protocol.flip]:
                pair = (small.flip(-1), near.flip(-1)) if mirror else (small, near)
                p = asked(*pair).softmax(dim=1)
                p = p.flip(-1) if mirror else p
                views.append(
                    functional.interpolate(
                        p, (height, width), mode="bilinear", align_corners=False
                    )
                )
        return torch.stack(views).mean(dim=0).clamp(min=1e-12).log()

    return averaged


def sliding(ask: Predictor, protocol: Protocol) -> Predictor:
    """Probabilities of overlapping windows, averaged where they overlap; as log."""
    assert protocol.window is not None
    window, stride = protocol.window, protocol.stride

    def slid(rgb: Tensor, depth: Tensor) -> Tensor:
        size = (rgb.shape[-2], rgb.shape[-1])
        total: Tensor | None = None
        count = rgb.new_zeros(size)
        for top in offsets(size[0], window[0], stride):
            for left in offsets(size[1], window[1], stride):
                rows, columns = slice(top, top + window[0]), slice(left, left + window[1])
                p = ask(rgb[..., rows, columns], depth[..., rows, columns]).softmax(dim=1)
                if total is None:
                    total = p.new_zeros(p.shape[0], p.shape[1], *size)
                total[..., rows, columns] += p
                count[rows, columns] += 1
        assert total is not None
        return (total / count).clamp(min=1e-12).log()

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
    batches: Iterable[Mapping[str, Any]],
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
    for number, batch in enumerate(batches):
        if limit is not None and number >= limit:
            break
        rgb, depth = batch["rgb"].to(device), batch["depth"].to(device)
        for name, ask in cases.items():
            logits = ask(rgb, depth)
            for i, truth in enumerate(batch["labels"]):
                labels, _ = decide(logits[i : i + 1], truth.shape)
                matrices[name].update(truth, labels[0].cpu().numpy())
    for matrix in matrices.values():
        distributed.merge_confusion(matrix, device)
    return matrices
