# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""How a network is asked when it is scored: whole picture, multi-scale + flip, sliding window."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from rgbd_seg_ros.engine.inputs import decide
from rgbd_seg_ros.metrics import ConfusionMatrix
from rgbd_seg_ros.preprocess import (
    Preprocess,
    prepare_depth,
    prepare_rgb,
    resize_depth,
    resize_rgb,
)
from training import distributed
from training.data.sample import Sample
from training.options import UsageError, shown


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

    def __post_init__(self) -> None:
        if not self.scales or min(self.scales) <= 0:
            raise UsageError(f"multi-scale needs zooms above 0, got {shown(self.scales)}")
        if self.window and min(self.window) < 1:
            raise UsageError(f"window needs two sizes above 0, got {shown(self.window)}")
        if not 0 < self.stride <= 1:
            raise UsageError(f"stride must be above 0 and at most 1, got {self.stride}")

    @property
    def plain(self) -> bool:
        """Whether the network is asked once, so that its logits are the answer."""
        return self.scales == (1.0,) and not self.flip and self.window is None


@dataclass(frozen=True)
class Pictures:
    """Pictures of equal size as they come, before anything a network expects of them."""

    #: B×3×H×W in 0..255.
    rgb: Tensor
    #: B×1×H×W metres, NaN invalid.
    depth: Tensor
    #: B×3×3 in pixels, where the data have them.
    intrinsics: Tensor | None = None
    #: B×3 pointing down in the optical frame, where the data have it.
    gravity: Tensor | None = None


#: Pictures → logits, or log-probabilities, B×K×h×w.
Predictor = Callable[[Pictures], Tensor]


def predictor(
    network: nn.Module, modality: str, preprocess: Preprocess, protocol: Protocol | None = None
) -> Predictor:
    """A network asked by a protocol (default: :class:`Protocol`'s defaults)."""
    protocol = protocol or Protocol()

    def whole(*inputs: Tensor) -> Tensor:
        return network(*inputs).logits.float()  # type: ignore[no-any-return]

    def ask(pictures: Pictures) -> Tensor:
        inputs = prepare(pictures, modality, preprocess, protocol.native)
        height, width = inputs[0].shape[-2:]
        if protocol.plain:
            return whole(*inputs)
        views = []
        for scale in protocol.scales:
            scaled = zoom(inputs, modality, (round(height * scale), round(width * scale)))
            for mirrored in (False, True)[: 1 + protocol.flip]:
                turned = tuple(x.flip(-1) for x in scaled) if mirrored else scaled
                if protocol.window is None:
                    p = whole(*turned).softmax(dim=1)
                else:
                    p = slide(whole, turned, protocol.window, protocol.stride)
                views.append(resize_rgb(p.flip(-1) if mirrored else p, (height, width)))
        # Such that a softmax gives the mean probabilities back.
        return torch.stack(views).mean(dim=0).clamp(min=1e-12).log()

    return ask


def prepare(
    pictures: Pictures, modality: str, preprocess: Preprocess, native: bool
) -> tuple[Tensor, ...]:
    """What a network of that modality is called with, at its size or the pictures' own."""
    if native:
        own = (pictures.rgb.shape[-2], pictures.rgb.shape[-1])
        preprocess = replace(preprocess, size=own)
    inputs = []
    if modality in ("rgb", "rgbd"):
        inputs.append(prepare_rgb(pictures.rgb, preprocess))
    if modality in ("depth", "rgbd"):
        inputs.append(
            prepare_depth(pictures.depth, preprocess, pictures.intrinsics, pictures.gravity)
        )
    return tuple(inputs)


def zoom(inputs: tuple[Tensor, ...], modality: str, size: tuple[int, int]) -> tuple[Tensor, ...]:
    """Prepared inputs at another size: normalisation and resizing commute."""
    colour = modality != "depth"
    return tuple(
        resize_rgb(x, size) if colour and i == 0 else resize_depth(x, size)
        for i, x in enumerate(inputs)
    )


def slide(
    ask: Callable[..., Tensor], inputs: tuple[Tensor, ...], window: tuple[int, int], stride: float
) -> Tensor:
    """Probabilities B×K×H×W of overlapping windows, averaged where they overlap."""
    height, width = inputs[0].shape[-2:]
    total, count = inputs[0].new_zeros(()), inputs[0].new_zeros(height, width)
    for top in offsets(height, window[0], stride):
        for left in offsets(width, window[1], stride):
            rows, columns = slice(top, top + window[0]), slice(left, left + window[1])
            p = ask(*(x[..., rows, columns] for x in inputs)).softmax(dim=1)
            if total.ndim == 0:
                total = p.new_zeros(p.shape[0], p.shape[1], height, width)
            total[..., rows, columns] += p
            count[rows, columns] += 1
    return total / count


def offsets(length: int, window: int, stride: float) -> list[int]:
    """Where windows begin so that they cover ``length``, the last one flush with the end."""
    if window >= length:
        return [0]
    step = max(1, round(window * stride))
    return [*range(0, length - window, step), length - window]


@torch.inference_mode()
def score(
    cases: Mapping[str, Predictor],
    batches: Iterable[list[Sample]],
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
        for samples in of_one_kind(batch):
            pictures = stack(samples, device)
            truth = np.stack([sample.labels for sample in samples])
            for name, ask in cases.items():
                masks, _ = decide(ask(pictures), truth.shape[1:])
                matrices[name].update(truth, masks.cpu().numpy())
    for matrix in matrices.values():
        distributed.merge_confusion(matrix, device)
    return matrices


def of_one_kind(samples: list[Sample]) -> list[list[Sample]]:
    """Samples grouped by size and by what is known of the camera, so that they can be stacked."""
    groups: dict[Any, list[Sample]] = {}
    for sample in samples:
        kind = (sample.labels.shape, sample.intrinsics is None, sample.gravity is None)
        groups.setdefault(kind, []).append(sample)
    return list(groups.values())


def stack(samples: list[Sample], device: torch.device) -> Pictures:
    """Samples of one kind as tensors on the device."""

    def tensor(arrays: list[Any]) -> Tensor | None:
        known = all(array is not None for array in arrays)
        return torch.from_numpy(np.stack(arrays)).to(device) if known else None

    rgb, depth = tensor([s.rgb for s in samples]), tensor([s.depth_m for s in samples])
    if rgb is None or depth is None:
        raise ValueError("every sample has rgb and depth")
    return Pictures(
        rgb.permute(0, 3, 1, 2),
        depth[:, None],
        tensor([s.intrinsics for s in samples]),
        tensor([s.gravity for s in samples]),
    )
