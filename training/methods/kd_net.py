# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""KD-Net (MICCAI 2020): generalized distillation of predictions and of bottlenecks.

The paper's task is binary and per voxel, and its code is not public. Softmax cross entropy and the
mean Dice of the classes replace its losses; λ = 0.75 and T = 5 are the likelier reading of its
tables, and the softmax over channels is ours.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from rgbd_seg_ros.models.network import Output
from training.methods.distillation import Distillation, DistillationOptions
from training.methods.losses import dice, kl_divergence
from training.options import UsageError, check_positive, opt


@dataclass(frozen=True)
class Config(DistillationOptions):
    """Options of ``kd_net``."""

    imitation: float = opt(0.75, "share λ of the losses that imitate the teacher, 0 to 1")
    temperature: float = opt(5.0, "temperature of the predictions that are compared")

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.imitation <= 1:
            raise UsageError(f"imitation must be from 0 to 1, got {self.imitation}")
        check_positive(self, "temperature")


class KDNet(Distillation[Config]):
    """L = Σ_m (1-λ)·(CE + Dice) + λ·(KL at temperature T + KL of the last stage maps).

    The KL of the last maps takes the softmax over channels at each position, and the mean over
    positions.
    """

    compares_maps = True

    def guide(
        self, modality: str, student: Output, teacher: Output, labels: Tensor
    ) -> dict[str, Tensor]:
        config, truth = self.config, 1 - self.config.imitation
        return {
            "ce": truth * self.loss(student.logits, labels),
            "dice": truth * dice(student.logits, labels),
            "kl": config.imitation
            * kl_divergence(
                teacher.logits, student.logits, config.pixels(labels), config.temperature
            ),
            "maps": config.imitation * kl_divergence(teacher.features[-1], student.features[-1]),
        }
