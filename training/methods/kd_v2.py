# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""KDv2: an RGB-D teacher's predictions guide an RGB and a depth student; a CroDiNo-KD baseline."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from training.batch import Batch
from training.methods.base import Method, Task, check_network
from training.methods.losses import kl_divergence
from training.options import UsageError, opt


@dataclass(frozen=True)
class Config:
    """Options of ``kd_v2``."""

    network: str = opt("deeplabv3plus_r50", "network used for both students")
    width: int = opt(0, "channels of the decoders; 0: the published width")
    output_stride: int = opt(0, "output stride of a ResNet encoder, 16 or 8; 0: 16")
    pretrained: str = opt("none", "initial weights: none, imagenet, a file, a run, a bundle")
    teacher: str = opt("", "network file, run or bundle of an acnet_r50 trained by `supervised`")

    def __post_init__(self) -> None:
        check_network(self.network, "rgb", self.width, self.output_stride)

    def check_teacher(self) -> None:
        """Check that a teacher is named.

        Raises:
            UsageError: it is not.
        """
        if not self.teacher:
            raise UsageError(
                "kd_v2 needs a teacher: train one with `python -m training.train supervised "
                "--network acnet_r50 --modality rgbd` and pass its run as --teacher"
            )


class KDv2(Method):
    """L = Σ_m ½ CE(student_m, y) + ½ KL(teacher ‖ student_m), temperature 1."""

    def __init__(self, config: Config, task: Task) -> None:
        config.check_teacher()
        width, stride = config.width, config.output_stride
        students = {
            m: task.network(
                task.spec(config.network, m, width=width, output_stride=stride), config.pretrained
            )
            for m in ("rgb", "depth")
        }
        super().__init__(students, task.loss)
        self.teacher = task.teacher(config.teacher, "rgbd")

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        taught = self.teacher(*batch.inputs("rgbd")).logits
        losses = {}
        for m, student in self.students.items():
            logits = student(*batch.inputs(m)).logits
            losses[f"ce_{m}"] = 0.5 * self.loss(logits, batch.labels[m])
            losses[f"kl_{m}"] = 0.5 * kl_divergence(taught, logits)
        return losses
