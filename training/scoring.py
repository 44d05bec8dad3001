# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Inference protocols for evaluation (multi-scale, flip, sliding window), scores, panels."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from rgbd_seg_ros.colorize import colorize, colorize_depth
from rgbd_seg_ros.engine.stages import decide
from rgbd_seg_ros.labels import LabelSet
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
from training.options import UsageError, as_text

#: Minimum width of a panel's tile in pixels; narrower ones are enlarged so that titles fit.
MIN_TILE_WIDTH = 240


@dataclass(frozen=True)
class Protocol:
    """How a network is applied to an image; by default in one full pass, as on the robot."""

    #: Scale factors whose probabilities are averaged.
    scales: tuple[float, ...] = (1.0,)
    #: Average with the mirrored image.
    flip: bool = False
    #: Keep images at their own size instead of resizing them to the network's.
    native: bool = False
    #: (height, width) of a sliding window; None: the whole image at once.
    window: tuple[int, int] | None = None
    #: Step of the window as a share of its size.
    stride: float = 2 / 3

    def __post_init__(self) -> None:
        if not self.scales or min(self.scales) <= 0:
            raise UsageError(f"multi-scale needs scales above 0, got {as_text(self.scales)}")
        if self.window and min(self.window) < 1:
            raise UsageError(f"window needs two sizes above 0, got {as_text(self.window)}")
        if not 0 < self.stride <= 1:
            raise UsageError(f"stride must be above 0 and at most 1, got {self.stride}")

    @property
    def single_pass(self) -> bool:
        """Whether the network runs once per image, so that its logits are the result."""
        return self.scales == (1.0,) and not self.flip and self.window is None


@dataclass(frozen=True)
class Images:
    """Images of equal size, before any resizing or normalization."""

    #: B×3×H×W in 0..255.
    rgb: Tensor
    #: B×1×H×W meters, NaN invalid.
    depth: Tensor
    #: B×3×3 camera matrices in pixels, None if unknown.
    intrinsics: Tensor | None = None
    #: B×3 unit vectors pointing down in the optical frame, None if unknown.
    gravity: Tensor | None = None


#: Images → logits or log-probabilities, B×K×h×w.
Predictor = Callable[[Images], Tensor]


def make_predictor(
    network: nn.Module, modality: str, preprocess: Preprocess, protocol: Protocol | None = None
) -> Predictor:
    """A predictor that applies a network by a protocol; None for the default :class:`Protocol`."""
    protocol = protocol or Protocol()

    def logits(*inputs: Tensor) -> Tensor:
        return network(*inputs).logits.float()  # type: ignore[no-any-return]

    def predict(images: Images) -> Tensor:
        inputs = prepare(images, modality, preprocess, protocol.native)
        height, width = inputs[0].shape[-2:]
        if protocol.single_pass:
            return logits(*inputs)
        views = []
        for scale in protocol.scales:
            scaled = rescale(inputs, modality, (round(height * scale), round(width * scale)))
            for mirrored in (False, True)[: 1 + protocol.flip]:
                view = tuple(x.flip(-1) for x in scaled) if mirrored else scaled
                if protocol.window is None:
                    p = logits(*view).softmax(dim=1)
                else:
                    p = slide(logits, view, protocol.window, protocol.stride)
                views.append(resize_rgb(p.flip(-1) if mirrored else p, (height, width)))
        # Return the logarithm, so that a softmax gives the mean probabilities.
        return torch.stack(views).mean(dim=0).clamp(min=1e-12).log()

    return predict


def prepare(
    images: Images, modality: str, preprocess: Preprocess, native: bool
) -> tuple[Tensor, ...]:
    """Inputs of a network of that modality, at its own size or, if ``native``, the images'."""
    if native:
        own = (images.rgb.shape[-2], images.rgb.shape[-1])
        preprocess = replace(preprocess, size=own)
    inputs = []
    if modality in ("rgb", "rgbd"):
        inputs.append(prepare_rgb(images.rgb, preprocess))
    if modality in ("depth", "rgbd"):
        inputs.append(prepare_depth(images.depth, preprocess, images.intrinsics, images.gravity))
    return tuple(inputs)


def rescale(
    inputs: tuple[Tensor, ...], modality: str, size: tuple[int, int]
) -> tuple[Tensor, ...]:
    """Network inputs at another size; normalization and resizing commute."""
    color = modality != "depth"
    return tuple(
        resize_rgb(x, size) if color and i == 0 else resize_depth(x, size)
        for i, x in enumerate(inputs)
    )


def slide(
    logits: Callable[..., Tensor],
    inputs: tuple[Tensor, ...],
    window: tuple[int, int],
    stride: float,
) -> Tensor:
    """Probabilities B×K×H×W from overlapping windows, averaged where they overlap."""
    height, width = inputs[0].shape[-2:]
    total, count = inputs[0].new_zeros(()), inputs[0].new_zeros(height, width)
    for top in offsets(height, window[0], stride):
        for left in offsets(width, window[1], stride):
            rows, columns = slice(top, top + window[0]), slice(left, left + window[1])
            p = logits(*(x[..., rows, columns] for x in inputs)).softmax(dim=1)
            if total.ndim == 0:
                total = p.new_zeros(p.shape[0], p.shape[1], height, width)
            total[..., rows, columns] += p
            count[rows, columns] += 1
    return total / count


def offsets(length: int, window: int, stride: float) -> list[int]:
    """First pixels of windows that cover ``length``; the last window ends at ``length``."""
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
    """One confusion matrix per case, over all ranks, at the size of the ground truth.

    It also has the counts of each image, under the sample's name.

    Args:
        cases: predictors by name.
        batches: from :func:`training.data.loader.scoring_loader`.
        num_classes: number of classes.
        device: where the networks are.
        limit: maximum number of batches per rank; None for all.
    """
    matrices = {name: ConfusionMatrix(num_classes) for name in cases}
    for batch in itertools.islice(batches, limit):
        for samples in stackable(batch):
            images = stack(samples, device)
            for name, predict in cases.items():
                masks, _ = decide(predict(images), samples[0].labels.shape)
                for sample, mask in zip(samples, masks.cpu().numpy(), strict=True):
                    matrices[name].update(sample.labels, mask, sample.name)
    for matrix in matrices.values():
        distributed.merge_confusion(matrix, device)
    return matrices


def stackable(samples: list[Sample]) -> list[list[Sample]]:
    """Group samples by image size and available camera data, so that each group can be stacked."""
    groups: dict[Any, list[Sample]] = {}
    for sample in samples:
        kind = (sample.labels.shape, sample.intrinsics is None, sample.gravity is None)
        groups.setdefault(kind, []).append(sample)
    return list(groups.values())


def stack(samples: list[Sample], device: torch.device) -> Images:
    """Samples of one group of :func:`stackable` as tensors on the device."""

    def tensor(arrays: list[Any]) -> Tensor | None:
        known = all(array is not None for array in arrays)
        return torch.from_numpy(np.stack(arrays)).to(device) if known else None

    rgb, depth = tensor([s.rgb for s in samples]), tensor([s.depth_m for s in samples])
    if rgb is None or depth is None:
        raise ValueError("a sample has no rgb or no depth")
    return Images(
        rgb.permute(0, 3, 1, 2),
        depth[:, None],
        tensor([s.intrinsics for s in samples]),
        tensor([s.gravity for s in samples]),
    )


@torch.inference_mode()
def panel(
    sample: Sample, cases: Mapping[str, Predictor], labels: LabelSet, device: torch.device
) -> npt.NDArray[np.uint8]:
    """RGB, depth, ground truth and the mask of each case side by side, an H×W×3 image."""
    tiles = {
        "rgb": sample.rgb,
        "depth": colorize_depth(sample.depth_m),
        "ground truth": colorize(sample.labels, labels),
    }
    images = stack([sample], device)
    for name, predict in cases.items():
        mask, _ = decide(predict(images), sample.labels.shape)
        tiles[f"mask: {name}"] = colorize(mask[0].cpu().numpy(), labels)
    return np.concatenate([_titled(tile, title) for title, tile in tiles.items()], axis=1)


def _titled(tile: npt.NDArray[np.uint8], title: str) -> npt.NDArray[np.uint8]:
    times = -(-MIN_TILE_WIDTH // tile.shape[1])
    tile = tile.repeat(times, axis=0).repeat(times, axis=1)
    bar = np.full((18, tile.shape[1], 3), 255, dtype=np.uint8)
    cv2.putText(bar, title, (3, 13), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (0, 0, 0), 1, cv2.LINE_AA)
    column = np.concatenate([bar, tile], axis=0)
    return np.pad(column, ((0, 0), (0, 2), (0, 0)), constant_values=255)
