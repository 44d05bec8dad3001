# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""ProtoKD (ICASSP 2023): predictions, and similarities to the prototypes of the classes.

The loss follows the authors' code, with three exceptions. Cross entropy is not weighted by the
classes' shares, as in the paper. A class counts for the samples that contain it, while the code
takes only classes that every sample contains, and fails if there is none. Unlabeled pixels belong
to no prototype.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from rgbd_seg_ros.models.network import Output
from training.methods.distillation import Distillation, DistillationOptions
from training.methods.losses import dice, global_mean, kl_divergence
from training.options import check_positive, opt

#: Added to the number of pixels of a prototype, as in the authors' code.
EPS = 1e-5


@dataclass(frozen=True)
class Config(DistillationOptions):
    """Options of ``proto_kd``; defaults are those of the authors' code."""

    kl_weight: float = opt(10.0, "weight of the KL divergence, a mean over pixels and classes")
    temperature: float = opt(10.0, "temperature of the predictions that are compared")
    prototype_weight: float = opt(0.1, "weight of the similarities to the prototypes")

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive(self, "kl_weight", "temperature", "prototype_weight")


class ProtoKD(Distillation[Config]):
    """L = Σ_m CE + Dice + 10·KL at temperature 10 + 0.1·L_proto.

    L_proto is the mean squared difference between the two networks' similarity maps, see
    :func:`similarities`, over samples, their classes and positions.
    """

    def guide(
        self, modality: str, student: Output, teacher: Output, labels: Tensor
    ) -> dict[str, Tensor]:
        config, classes = self.config, student.logits.shape[1]
        kl = kl_divergence(
            teacher.logits, student.logits, config.pixels(labels), config.temperature
        )
        return {
            "ce": self.loss(student.logits, labels),
            "dice": dice(student.logits, labels),
            "kl": config.kl_weight * kl / classes,
            "proto": config.prototype_weight
            * prototype_loss(student.prelogits, teacher.prelogits, labels, classes),
        }


def prototype_loss(student: Tensor, teacher: Tensor, labels: Tensor, classes: int) -> Tensor:
    """Mean squared difference of the similarity maps of two networks.

    Args:
        student: features before the classifier, B×C×h×w.
        teacher: B×C'×h×w.
        labels: B×H×W class ids, 255 unlabeled; resized to h×w by nearest neighbor.
        classes: number of classes.
    """
    size = student.shape[2:]
    nearest = functional.interpolate(labels[:, None].float(), size=size, mode="nearest")[:, 0]
    masks = torch.stack([nearest == c for c in range(classes)], dim=1).float()
    present = masks.flatten(2).any(dim=2)
    difference = similarities(student.float(), masks) - similarities(teacher.float(), masks)
    squared = difference.square().sum(dim=(2, 3))[present]
    return global_mean(squared.sum(), present.sum() * size[0] * size[1])


def similarities(features: Tensor, masks: Tensor) -> Tensor:
    """Cosine of each position with the prototype of each class, B×K×h×w.

    The prototype of a class is the mean of the sample's features at its pixels.

    Args:
        features: B×C×h×w.
        masks: B×K×h×w, 1 where a pixel has the class.
    """
    totals = torch.einsum("bchw,bkhw->bkc", features, masks)
    prototypes = totals / (masks.sum(dim=(2, 3))[..., None] + EPS)
    unit = functional.normalize(features, dim=1, eps=1e-6)
    return torch.einsum("bchw,bkc->bkhw", unit, functional.normalize(prototypes, dim=2, eps=1e-6))
