# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""PrimKD (ACM MM 2024): a frozen RGB teacher guides an RGB-D fusion student."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from training import distributed
from training.batch import Batch
from training.methods.base import Method, Task, check_network
from training.methods.losses import global_mean, kl_divergence
from training.options import UsageError, opt


@dataclass(frozen=True)
class Config:
    """Options of ``prim_kd``; defaults are the paper's."""

    network: str = opt("cmx_b2", "network of the student, a cmx_*")
    width: int = opt(0, "channels of the student's head; 0: the published width")
    pretrained: str = opt("none", "initial weights: none, a MiT file, a run, a bundle")
    teacher: str = opt("", "network file, run or bundle of a segformer_* trained by `supervised`")
    teacher_modality: Literal["rgb", "depth", "none"] = opt(
        "rgb", "input of the teacher; none: train the student alone, as a control"
    )
    alpha: float = opt(1.0, "weight of L_pred, guidance by the teacher's prediction; 0: none")
    beta: float = opt(0.05, "weight of L_feat, guidance by the teacher's features; 0: none")
    select: Literal["max", "min", "average", "stage1", "stage2", "stage3", "stage4"] = opt(
        "max",
        "stage whose features guide: largest error, smallest error, mean of all, or a fixed stage",
    )
    scope: Literal["sample", "batch"] = opt(
        "sample", "select per sample (paper) or once per batch (the authors' code)"
    )
    aligner: Literal["multi", "single"] = opt(
        "multi", "maps student to teacher width: 1×1, 3×3, ReLU, 3×3 (paper), or a single 1×1"
    )
    kl_direction: Literal["teacher_student", "student_teacher"] = opt(
        "teacher_student", "KL(teacher ‖ student), or the reverse (used by the authors' code)"
    )
    kl_pixels: Literal["all", "valid"] = opt("all", "pixels of L_pred: all, or labeled ones only")

    def __post_init__(self) -> None:
        check_network(self.network, "rgbd", self.width)
        for key in ("alpha", "beta"):
            if getattr(self, key) < 0:
                raise UsageError(f"{key} must be 0 or more, got {getattr(self, key)}")
        if self.teacher_modality != "none" and not self.alpha + self.beta:
            raise UsageError("alpha and beta are both 0: use --teacher-modality none instead")

    def check_teacher(self) -> None:
        """Check that a teacher is named if one is used.

        Raises:
            UsageError: it is not.
        """
        if self.teacher_modality != "none" and not self.teacher:
            raise UsageError(
                "prim_kd needs a teacher: train one with `python -m training.train supervised "
                f"--network segformer_b2 --modality {self.teacher_modality}` and pass its run "
                "as --teacher, or use --teacher-modality none"
            )


class PrimKD(Method):
    """L = CE + α·L_pred + β·L_feat. Teacher and aligners are discarded after training."""

    def __init__(self, config: Config, task: Task) -> None:
        config.check_teacher()
        spec = task.spec(config.network, "rgbd", width=config.width)
        student = task.network(spec, config.pretrained)
        super().__init__({"rgbd": student}, task.loss)
        self.config = config
        self.teacher = None
        self.aligners = nn.ModuleDict()
        if config.teacher_modality == "none":
            return
        self.teacher = task.teacher(config.teacher, config.teacher_modality)
        if config.beta:
            theirs = self.teacher.module
            if theirs.strides != student.strides:
                raise UsageError(
                    f"the teacher's stages have strides {theirs.strides}, but the student's are "
                    f"{student.strides}: choose a segformer_* as the teacher, or beta 0"
                )
            for stage in stages(config.select):
                widths = student.channels[stage], theirs.channels[stage]
                self.aligners[f"stage{stage + 1}"] = aligner(*widths, config.aligner)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        config, labels = self.config, batch.labels["rgbd"]
        output = self.students["rgbd"](*batch.inputs("rgbd"))
        losses = {"ce": self.loss(output.logits, labels)}
        if self.teacher is None:
            return losses
        taught = self.teacher(*batch.inputs(config.teacher_modality))
        if config.alpha:
            toward, of = taught.logits, output.logits
            if config.kl_direction == "student_teacher":
                toward, of = of, toward
            chosen = labels if config.kl_pixels == "valid" else None
            losses["pred"] = config.alpha * kl_divergence(toward, of, chosen)
        if config.beta:
            maps = zip(stages(config.select), self.aligners.values(), strict=True)
            errors = torch.stack(
                [stage_error(align(output.features[s]), taught.features[s]) for s, align in maps],
                dim=1,
            )
            guided = select_stage(errors, config.select, config.scope)
            losses["feat"] = config.beta * global_mean(guided.sum(), len(guided))
        return losses


def stages(select: str) -> tuple[int, ...]:
    """Indices of the candidate stages of a selection."""
    return (int(select[-1]) - 1,) if select.startswith("stage") else (0, 1, 2, 3)


def aligner(student: int, teacher: int, kind: str) -> nn.Module:
    """Maps B×student×h×w to the teacher's width, B×teacher×h×w; used in training only."""
    if kind == "single":
        return nn.Conv2d(student, teacher, 1)
    return nn.Sequential(
        nn.Conv2d(student, teacher, 1),
        nn.Conv2d(teacher, teacher, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(teacher, teacher, 3, padding=1),
    )


def stage_error(aligned: Tensor, target: Tensor) -> Tensor:
    """Mean squared error per sample: two maps B×C×h×w → B."""
    return (aligned.float() - target.float()).square().mean(dim=(1, 2, 3))


def select_stage(errors: Tensor, select: str, scope: str) -> Tensor:
    """The error of the guiding stage of each sample, B, from the errors of all stages, B×S.

    With ``scope`` ``batch``, one stage guides every sample: the one whose error over the global
    batch is largest (``max``) or smallest (``min``).
    """
    if select not in ("max", "min"):  # a fixed stage, or the mean over all stages
        return errors.mean(dim=1)
    ranked = errors.detach()
    if scope == "batch":
        ranked = distributed.mean_count(ranked.sum(dim=0), ranked.device).expand_as(ranked)
    stage = ranked.argmax(dim=1) if select == "max" else ranked.argmin(dim=1)
    return errors.gather(1, stage[:, None]).squeeze(1)
