# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""KDv1 and KDv2: an RGB-D teacher's predictions guide an RGB and a depth student.

KDv1 follows the predictions alone (Hinton et al., arXiv 1503.02531), KDv2 the labels as well.
CroDiNo-KD's paper compares both, at temperature 1.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from rgbd_seg_ros.models.network import Output
from training.methods.distillation import Distillation, DistillationOptions
from training.methods.losses import kl_divergence


@dataclass(frozen=True)
class Config(DistillationOptions):
    """Options of ``kd_v1`` and ``kd_v2``."""


class KDv1(Distillation[Config]):
    """L = Σ_m KL(teacher ‖ student_m): the labels are not used."""

    truth_weight = 0.0

    def guide(
        self, modality: str, student: Output, teacher: Output, labels: Tensor
    ) -> dict[str, Tensor]:
        losses = {}
        if self.truth_weight:
            losses["ce"] = self.truth_weight * self.loss(student.logits, labels)
        kl = kl_divergence(teacher.logits, student.logits, self.config.pixels(labels))
        losses["kl"] = (1 - self.truth_weight) * kl
        return losses


class KDv2(KDv1):
    """L = Σ_m ½ CE(student_m, y) + ½ KL(teacher ‖ student_m)."""

    truth_weight = 0.5
