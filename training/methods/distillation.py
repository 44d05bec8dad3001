# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Base of CroDiNo-KD's rivals: an RGB and a depth student, each guided by one RGB-D teacher."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

from torch import Tensor

from rgbd_seg_ros.models.network import Output
from training.batch import Batch
from training.methods.base import Method, Task, check_network
from training.options import UsageError, opt


@dataclass(frozen=True)
class StudentsOptions:
    """Options of every method with two students and a teacher."""

    network: str = opt("deeplabv3plus_r50", "network used for both students")
    width: int = opt(0, "channels of the decoders; 0: the published width")
    output_stride: int = opt(0, "output stride of the encoder; 0: its default")
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
                "this method needs a teacher: train one with `python -m training.train supervised "
                "--network acnet_r50 --modality rgbd` and pass its run as --teacher"
            )


@dataclass(frozen=True)
class DistillationOptions(StudentsOptions):
    """Options of every method that compares predictions."""

    kl_pixels: Literal["all", "valid"] = opt(
        "all", "pixels of the KL divergence: all, or labeled ones only"
    )

    def pixels(self, labels: Tensor) -> Tensor | None:
        """The argument ``labels`` of :func:`training.methods.losses.kl_divergence`."""
        return labels if self.kl_pixels == "valid" else None


Options = TypeVar("Options", bound=StudentsOptions)


class Distillation(Method, Generic[Options]):
    """L = Σ_m L(student_m, teacher, y), with paired views.

    Subclasses define :meth:`guide`. The students are independent of each other. The teacher sees
    the same views as they do, and is frozen.

    Attributes:
        compares_maps: whether the students' last stage maps are compared with the teacher's, so
            that they must have the same channels and stride.
    """

    compares_maps = False

    def __init__(self, config: Options, task: Task) -> None:
        config.check_teacher()
        width, stride = config.width, config.output_stride
        students = {
            m: task.network(
                task.spec(config.network, m, width=width, output_stride=stride), config.pretrained
            )
            for m in ("rgb", "depth")
        }
        super().__init__(students, task.loss)
        self.config = config
        self.teacher = task.teacher(config.teacher, "rgbd")
        ours, theirs = students["rgb"], self.teacher.module
        of_both = [(net.channels[-1], net.strides[-1]) for net in (ours, theirs)]
        if self.compares_maps and of_both[0] != of_both[1]:
            raise UsageError(
                f"the teacher's last map has {of_both[1][0]} channels at stride {of_both[1][1]}, "
                f"but the students' has {of_both[0][0]} at {of_both[0][1]}: use one encoder and "
                "one output_stride for both"
            )

    def guide(
        self, modality: str, student: Output, teacher: Output, labels: Tensor
    ) -> dict[str, Tensor]:
        """Named, weighted losses of one student; the loop adds its name to theirs."""
        raise NotImplementedError

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        taught = self.teacher(*batch.inputs("rgbd"))
        losses = {}
        for m, student in self.students.items():
            output = student(*batch.inputs(m))
            guided = self.guide(m, output, taught, batch.labels[m])
            losses.update({f"{name}_{m}": value for name, value in guided.items()})
        return losses
