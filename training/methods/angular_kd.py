# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""LAD and CAD: distillation of the angle between the last maps of student and teacher.

LAD compares the angle of whole maps, CAD that of each channel. Their code is not public; the
weights of the terms are ours.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional

from rgbd_seg_ros.models.network import Output
from training.methods.distillation import Distillation, DistillationOptions
from training.methods.losses import global_mean, kl_divergence
from training.options import check_positive, opt


@dataclass(frozen=True)
class Config(DistillationOptions):
    """Options of ``lad`` and ``cad``."""

    kl_weight: float = opt(1.0, "weight of the KL divergence of the predictions")
    angle_weight: float = opt(1.0, "weight of the angle between the maps")

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive(self, "kl_weight", "angle_weight")


class LAD(Distillation[Config]):
    """L = Σ_m CE + KL(teacher ‖ student_m) + ‖f_m/‖f_m‖ - f_t/‖f_t‖‖², with the last stage maps f.

    The squared distance is 2·(1 - cos), whatever the size of the maps.
    """

    compares_maps = True
    per_channel = False

    def guide(
        self, modality: str, student: Output, teacher: Output, labels: Tensor
    ) -> dict[str, Tensor]:
        config = self.config
        kl = kl_divergence(teacher.logits, student.logits, config.pixels(labels))
        distance = angular_distance(student.features[-1], teacher.features[-1], self.per_channel)
        return {
            "ce": self.loss(student.logits, labels),
            "kl": config.kl_weight * kl,
            "angle": config.angle_weight * distance,
        }


class CAD(LAD):
    """As LAD, with the squared distance of each channel, averaged over the channels."""

    per_channel = True


def angular_distance(student: Tensor, teacher: Tensor, per_channel: bool) -> Tensor:
    """Squared distance of normalized maps B×C×h×w, averaged over samples (and channels).

    A map or channel of zeros stays zero.
    """
    first = 2 if per_channel else 1
    unit = [
        functional.normalize(m.float().flatten(first), dim=-1, eps=1e-6)
        for m in (student, teacher)
    ]
    squared = (unit[0] - unit[1]).square().sum(dim=-1)
    return global_mean(squared.sum(), squared.numel())
