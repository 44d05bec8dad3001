# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The most probable class of each pixel after upsampling, without upsampling all classes.

Bilinear interpolation mixes four probabilities of a class. Where the same class is the most
probable at all four, it is so in every mixture, and its probability is the mixture of the four
maxima. Only around the borders of the classes do all classes have to be interpolated.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional


def best_class(probabilities: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """The maximum over classes of probabilities that are upsampled bilinearly.

    Equals ``interpolate(probabilities, size, mode="bilinear").max(dim=1)`` but for rounding, with
    a fraction of its memory traffic. Shapes depend on the data, so that it suits neither CUDA
    graphs nor exports.

    Args:
        probabilities: B×K×h×w float32, K ≤ 256.
        size: (H, W) of the result.

    Returns:
        Probability (float32) and class id (uint8) of the most probable class, both B×H×W.
    """
    best, ids = probabilities.max(dim=1)
    if probabilities.shape[-2:] == size:
        return best, ids.to(torch.uint8)
    best = functional.interpolate(best[:, None], size, mode="bilinear", align_corners=False)[:, 0]
    labels = torch.empty(best.shape, dtype=torch.uint8)
    for sample in range(len(best)):
        _upsample(probabilities[sample], ids[sample], best[sample], labels[sample])
    return best, labels


def _upsample(probabilities: Tensor, ids: Tensor, best: Tensor, labels: Tensor) -> None:
    """Write ``labels`` (H×W), and ``best`` (H×W) where classes have to be compared.

    Many small operations with indices in one dimension, because PyTorch's indexing with several
    tensors takes most of the time otherwise.
    """
    (height, width), (rows, columns) = ids.shape, labels.shape
    top, bottom, fy = _neighbors(height, rows)
    left, right, fx = _neighbors(width, columns)
    # A class, plus 256 at positions from which another class is near. One gather serves both.
    coded = ids.to(torch.int16).add_(_differ(ids), alpha=256)
    coded = coded.index_select(0, top).index_select(1, left)
    labels.copy_(coded & 255)
    y, x = (coded >= 256).nonzero(as_tuple=True)
    # One row of K numbers for each position, so that an index fetches neighboring numbers.
    flat = probabilities.flatten(1).T.contiguous()
    above, below = (edge.index_select(0, y) * width for edge in (top, bottom))
    before, after = (edge.index_select(0, x) for edge in (left, right))
    wy, wx = fy.index_select(0, y)[:, None], fx.index_select(0, x)[:, None]
    upper = torch.lerp(
        flat.index_select(0, above + before), flat.index_select(0, above + after), wx
    )
    lower = torch.lerp(
        flat.index_select(0, below + before), flat.index_select(0, below + after), wx
    )
    value, chosen = torch.lerp(upper, lower, wy).max(dim=1)
    at = y * columns + x
    best.view(-1).index_copy_(0, at, value)
    labels.view(-1).index_copy_(0, at, chosen.to(torch.uint8))


def _differ(ids: Tensor) -> Tensor:
    """1 where the ids (h×w) here, to the right, below and diagonally below differ, else 0."""
    differ = torch.zeros(ids.shape, dtype=torch.int16)
    below, beside = ids[1:] != ids[:-1], ids[:, 1:] != ids[:, :-1]
    differ[:-1] |= below
    differ[:, :-1] |= beside
    differ[:-1, :-1] |= below[:, 1:] | beside[1:]
    return differ


@lru_cache(maxsize=16)
def _neighbors(old: int, new: int) -> tuple[Tensor, Tensor, Tensor]:
    """For each of ``new`` positions, the two of ``old`` around it, and the second's weight."""
    # As PyTorch computes it for align_corners=False, in float32.
    scale = torch.tensor(old / new, dtype=torch.float32)
    position = ((torch.arange(new, dtype=torch.float32) + 0.5) * scale - 0.5).clamp(min=0)
    first = position.int().clamp(max=old - 1)
    return first, (first + 1).clamp(max=old - 1), position - first
