# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Masked Generative Distillation (ECCV 2022): students restore the teacher's map from a part.

It takes the last stage map only, as the authors' segmentation code does; their additional loss of
predictions is left out, since CroDiNo-KD's description of this rival has none.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from rgbd_seg_ros.models.network import Output
from training import distributed
from training.methods.base import Task
from training.methods.distillation import Distillation, StudentsOptions
from training.methods.losses import global_mean
from training.options import UsageError, check_positive, opt


@dataclass(frozen=True)
class Config(StudentsOptions):
    """Options of ``mgd``."""

    alpha: float = opt(2e-5, "weight of the squared error summed over channels and positions")
    drop: float = opt(0.75, "probability that a position of the student's map is masked")

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive(self, "alpha")
        if not 0 <= self.drop < 1:
            raise UsageError(f"drop must be at least 0 and below 1, got {self.drop}")


class MgdGenerator(nn.Sequential):
    """3×3 convolution → ReLU → 3×3 convolution, B×C×h×w to the same shape; training only.

    With the 2048 channels of ResNet-50 it has 75.5 M parameters, and each student has one.
    """

    def __init__(self, channels: int) -> None:
        super().__init__(
            nn.Conv2d(channels, channels, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, padding=1),
        )


class MGD(Distillation[Config]):
    """L = Σ_m CE + α·Σ (G_m(M ⊙ f_m) - f_teacher)² / B, with the last stage maps f.

    M masks positions of each sample, the same for all channels, and is drawn anew at each step.
    """

    compares_maps = True

    def __init__(self, config: Config, task: Task) -> None:
        super().__init__(config, task)
        channels, stride = self.teacher.module.channels[-1], self.teacher.module.strides[-1]
        self.generators = nn.ModuleDict({m: MgdGenerator(channels) for m in self.students})
        height, width = (-(-side // stride) for side in task.preprocess.size)
        if distributed.is_main():
            weight = config.alpha * channels * height * width
            print(
                f"mgd: alpha {config.alpha:g} weights the mean squared error of the "
                f"{channels}×{height}×{width} maps by {weight:.3g}; by 49 in the paper's setting",
                file=sys.stderr,
            )

    def guide(
        self, modality: str, student: Output, teacher: Output, labels: Tensor
    ) -> dict[str, Tensor]:
        kept = mask(student.features[-1], self.config.drop)
        restored = self.generators[modality](student.features[-1] * kept)
        error = (restored.float() - teacher.features[-1].float()).square().sum()
        return {
            "ce": self.loss(student.logits, labels),
            "restore": self.config.alpha * global_mean(error, len(restored)),
        }


def mask(maps: Tensor, drop: float) -> Tensor:
    """B×1×h×w for maps B×C×h×w: 0 with probability ``drop``, else 1."""
    return (torch.rand_like(maps[:, :1], dtype=torch.float32) >= drop).to(maps.dtype)
