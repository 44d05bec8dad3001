# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Losses shared by several methods; each is a mean over the global batch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from rgbd_seg_ros.labels import IGNORE_ID
from training import distributed
from training.options import lookup

if TYPE_CHECKING:
    from training.config import RunConfig

#: Kind of segmentation loss → what it computes, see :class:`SegmentationLoss`.
SEGMENTATION_LOSSES = {
    "cross_entropy": "every labeled pixel counts the same",
    "focal": "pixels that are already classified well count less",
    "ohem": "only the hardest pixels count",
}
#: 1 - p in the focal loss is at least this, because its power has no finite slope at 0.
FOCAL_FLOOR = 1e-8


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
    logits, labels = _for_cross_entropy(logits, labels)
    total = functional.cross_entropy(logits, labels, ignore_index=IGNORE_ID, reduction="sum")
    return global_mean(total, (labels != IGNORE_ID).sum())


def _for_cross_entropy(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """The same values in at least float32, in a layout whose CUDA kernel is deterministic."""
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    if torch.are_deterministic_algorithms_enabled() and logits.is_cuda:
        # CUDA's 2-D kernel is not deterministic, but its 1-D kernel is.
        logits, labels = logits.permute(0, 2, 3, 1).flatten(0, 2), labels.flatten()
    return logits, labels


class SegmentationLoss(nn.Module):
    """The loss between logits and labels, which every method uses for every head.

    With l = -log p, where p is the predicted probability of a pixel's class, the pixel's loss is

    - ``cross_entropy``: l;
    - ``focal``: (1 - p)^gamma · l (Lin et al., ICCV 2017, in its softmax form);
    - ``ohem``: l, but only for the hardest pixels of the batch, see :func:`hard_pixels`.

    The result is the mean over the labeled (for ``ohem``: the selected) pixels of the global
    batch, and 0 if there are none. Class weights w make it the weighted mean Σ w·loss / Σ w, as in
    PyTorch's cross entropy; they do not influence which pixels are hard. It is computed in
    float32 under mixed precision, too.

    Args:
        kind: a key of ``SEGMENTATION_LOSSES``.
        focal_gamma: 0 or more; 0 is cross entropy.
        ohem_threshold: probability in 0..1 (exclusive) below which a pixel is hard.
        ohem_min_kept: fraction of the labeled pixels to keep at least, 0..1.
        class_weights: one weight per class, 0 or more; empty: all classes have the same.

    Raises:
        UsageError: an unknown kind.
    """

    weights: Tensor | None

    def __init__(
        self,
        kind: str = "cross_entropy",
        focal_gamma: float = 2.0,
        ohem_threshold: float = 0.7,
        ohem_min_kept: float = 1 / 16,
        class_weights: Sequence[float] = (),
    ) -> None:
        super().__init__()
        lookup("loss", kind, SEGMENTATION_LOSSES)
        self.kind, self.focal_gamma = kind, focal_gamma
        self.ohem_threshold, self.ohem_min_kept = ohem_threshold, ohem_min_kept
        # A buffer, so that it moves with the method; the run's recipe keeps the values.
        weights = torch.tensor(tuple(class_weights)) if len(class_weights) else None
        self.register_buffer("weights", weights, persistent=False)

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Logits B×K×H×W and class ids B×H×W (255 ignored) → a scalar."""
        if self.kind == "cross_entropy" and self.weights is None:
            return cross_entropy(logits, labels)
        logits, labels = _for_cross_entropy(logits, labels)
        losses = functional.cross_entropy(logits, labels, ignore_index=IGNORE_ID, reduction="none")
        chosen = labels != IGNORE_ID
        if self.kind == "ohem":
            chosen = hard_pixels(losses.detach(), chosen, self.ohem_threshold, self.ohem_min_kept)
        elif self.kind == "focal":
            wrong = -torch.expm1(-losses)  # 1 - p, exact for small losses, too
            losses = wrong.clamp(min=FOCAL_FLOOR).pow(self.focal_gamma) * losses
        share = chosen.to(losses.dtype)
        if self.weights is not None:
            share = share * self.weights.to(losses.dtype)[torch.where(chosen, labels, 0)]
        return global_mean((losses * share).sum(), share.sum())


def segmentation_loss(config: RunConfig) -> SegmentationLoss:
    """The loss of a run; the class weights in ``config`` must be ``none`` or numbers."""
    weights = () if config.class_weights == "none" else config.class_weights
    return SegmentationLoss(
        config.loss, config.focal_gamma, config.ohem_threshold, config.ohem_min_kept, weights
    )


def hard_pixels(losses: Tensor, valid: Tensor, threshold: float, min_kept: float) -> Tensor:
    """Online hard example mining (Shrivastava et al., CVPR 2016) per pixel.

    A pixel is hard if the predicted probability of its class is below ``threshold``. If fewer than
    ``min_kept`` of the labeled pixels are, the hardest ones up to this fraction are selected, and
    those that are exactly as hard as the last of them. This is the rule of BiSeNet's code, which
    keeps at least 1/16. All counts are over the global batch, so the ranks select together.

    Args:
        losses: -log p of each pixel, any shape, without gradient.
        valid: whether the pixel is labeled; the same shape.
        threshold: probability in 0..1.
        min_kept: fraction of the valid pixels of all ranks.

    Returns:
        Whether each pixel is selected. Pixels whose loss is NaN are, so that NaN is not hidden.
    """
    hard = valid & ~(losses <= -math.log(threshold))
    found, labeled = distributed.total(torch.stack((hard.sum(), valid.sum()))).tolist()
    wanted = math.ceil(min_kept * labeled)
    if found >= wanted:
        return hard
    own = losses[valid]
    hardest = distributed.gather_rows(own.topk(min(wanted, len(own))).values)
    return valid & ~(losses < hardest.topk(wanted).values[-1])


def kl_divergence(
    target: Tensor, logits: Tensor, labels: Tensor | None = None, temperature: float = 1.0
) -> Tensor:
    """Pixel-wise KL(target ‖ logits): summed over classes, averaged over pixels.

    Args:
        target: B×K×H×W logits of the target distribution.
        logits: B×K×H×W.
        labels: B×H×W class ids; pixels with 255 are excluded. None: all pixels are used.
        temperature: divides both; the loss is not multiplied by its square.
    """
    p = (target.float() / temperature).log_softmax(dim=1)
    q = (logits.float() / temperature).log_softmax(dim=1)
    per_pixel = (p.exp() * (p - q)).sum(dim=1)
    if labels is None:
        return global_mean(per_pixel.sum(), per_pixel.numel())
    valid = labels != IGNORE_ID
    return global_mean(per_pixel[valid].sum(), valid.sum())


def dice(logits: Tensor, labels: Tensor, smooth: float = 1e-5) -> Tensor:
    """1 minus the Dice coefficient of each class over the global batch, averaged over all classes.

    With probabilities p and one-hot labels y of the labeled pixels, the coefficient is
    (2·Σ p·y + smooth) / (Σ p² + Σ y² + smooth), as in the V-Net paper (arXiv 1606.04797).

    Args:
        logits: B×K×H×W.
        labels: B×H×W class ids, 255 ignored.
        smooth: makes a class that does not occur finite.
    """
    valid = (labels != IGNORE_ID)[:, None]
    p = logits.float().softmax(dim=1) * valid
    truth = functional.one_hot(labels.where(valid[:, 0], 0), p.shape[1]).movedim(-1, 1) * valid
    sums = torch.stack([(p * truth).sum((0, 2, 3)), (p * p + truth).sum((0, 2, 3))])
    product, squares = distributed.gather_rows(sums[None]).sum(dim=0)
    return (1 - (2 * product + smooth) / (squares + smooth)).mean()
