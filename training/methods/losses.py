# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Losses shared by several methods; each is a mean over the global batch."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from rgbd_seg_ros.labels import IGNORE_ID
from training import distributed


def global_mean(total: Tensor, count: Tensor | int) -> Tensor:
    """``total / count``, scaled so that DDP's averaged gradient is that of the global mean.

    Ranks may hold different numbers of samples or valid pixels (last batch, unlabeled pixels), and
    a mean of means would weight pixels unequally. Each rank therefore divides by the mean count.

    Args:
        total: scalar sum over this rank's elements.
        count: number of these elements.
    """
    return total / distributed.mean_count(count, total.device).clamp(min=1e-12)


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Pixel-wise cross entropy, averaged over the labeled pixels; 0 if there are none.

    Args:
        logits: B×K×H×W.
        labels: B×H×W class ids, 255 ignored.
    """
    logits = logits.float()
    if torch.are_deterministic_algorithms_enabled() and logits.is_cuda:
        # CUDA's 2-D kernel is not deterministic, but its 1-D kernel is.
        logits, labels = logits.permute(0, 2, 3, 1).flatten(0, 2), labels.flatten()
    total = functional.cross_entropy(logits, labels, ignore_index=IGNORE_ID, reduction="sum")
    return global_mean(total, (labels != IGNORE_ID).sum())


def kl_divergence(target: Tensor, logits: Tensor, labels: Tensor | None = None) -> Tensor:
    """Pixel-wise KL(target ‖ logits) at temperature 1: summed over classes, averaged over pixels.

    Args:
        target: B×K×H×W logits of the target distribution.
        logits: B×K×H×W.
        labels: B×H×W class ids; pixels with 255 are excluded. None: all pixels are used.
    """
    p, q = target.float().log_softmax(dim=1), logits.float().log_softmax(dim=1)
    per_pixel = (p.exp() * (p - q)).sum(dim=1)
    if labels is None:
        return global_mean(per_pixel.sum(), per_pixel.numel())
    valid = labels != IGNORE_ID
    return global_mean(per_pixel[valid].sum(), valid.sum())
