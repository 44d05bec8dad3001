# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""CroDiNo-KD (arXiv 2505.24361): an RGB and a depth student that learn from each other."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from rgbd_seg_ros.models.deeplabv3plus import auxiliary_decoder
from training import distributed
from training.batch import Batch
from training.methods.base import Method, Task, check_network
from training.methods.losses import global_mean
from training.options import UsageError, check_positive, opt

#: Stabilizes every cosine, norm and Euclidean distance.
EPS = 1e-6


@dataclass(frozen=True)
class Config:
    """Options of ``crodino_kd``; defaults are the paper's where it states them."""

    network: str = opt("crodino_r50", "network used for both students, a crodino_*")
    width: int = opt(0, "channels of the decoders; 0: the published width")
    output_stride: int = opt(0, "output stride of a ResNet encoder, 16 or 8; 0: 16")
    pretrained: str = opt("none", "initial weights: none, imagenet, a file, a run, a bundle")
    mixup: float = opt(0.35, "share λ of the other modality in mixed features; 0: no mixup")
    mixup_direction: Literal["own", "other"] = opt(
        "own", "mixed features; own: (1-λ) own + λ other, other: λ own + (1-λ) other"
    )
    orthogonality: bool = opt(True, "L_orth: make invariant and specific features orthogonal")
    contrastive: bool = opt(True, "L_con: align the invariant features of one scene")
    auxiliary: bool = opt(True, "L_aux: segment from each half alone")
    auxiliary_skip: bool = opt(True, "also feed low-level features to the auxiliary decoder")
    mixup_weight: float = opt(1.0, "weight of the losses of mixed features; published: 1")
    orthogonality_weight: float = opt(1.0, "weight of L_orth; published: 1")
    contrastive_weight: float = opt(1.0, "weight of L_con; published: 1")
    auxiliary_weight: float = opt(1.0, "weight of L_aux; published: 1")
    contrastive_into: Literal["all", "projection"] = opt(
        "all", "layers that L_con trains; projection: not the encoder"
    )
    tau: float = opt(0.07, "temperature of L_con")
    decoupled: bool = opt(True, "augment color and depth independently")

    def __post_init__(self) -> None:
        if not check_network(self.network, "rgb", self.width, self.output_stride).split:
            raise UsageError(f"crodino_kd needs a network with a split, got {self.network!r}: "
                             "choose a crodino_* network")  # fmt: skip
        if not 0 <= self.mixup <= 1:
            raise UsageError(f"mixup must be from 0 (none) to 1, got {self.mixup}")
        for part in ("mixup", "orthogonality", "contrastive", "auxiliary"):
            weight = getattr(self, f"{part}_weight")
            if not 0 < weight < math.inf:
                off = f"{part} {0 if part == 'mixup' else 'false'}"
                raise UsageError(
                    f"{part}_weight must be above 0, got {weight}; {off} omits that loss"
                )
        check_positive(self, "tau")


class CroDiNoKD(Method):
    """L = L_seg + L_aux + L_orth + L_con, unweighted (paper, §3). Other weights are a departure.

    Each student's encoder yields F = [inv ; spec], invariant and specific features. The mixed inv′
    contains a share of the other student's inv; the student's own decoder also segments it. The
    auxiliary decoder, shared by both students and both halves, is discarded after training.
    """

    def __init__(self, config: Config, task: Task) -> None:
        specs = {
            m: task.spec(config.network, m, width=config.width, output_stride=config.output_stride)
            for m in ("rgb", "depth")
        }
        students = {m: task.network(spec, config.pretrained) for m, spec in specs.items()}
        super().__init__(students, task.loss)
        self.config = config
        self.views = "decoupled" if config.decoupled else "shared"
        self.auxiliary = (
            auxiliary_decoder(specs["rgb"], config.auxiliary_skip) if config.auxiliary else None
        )

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        config, size = self.config, batch.rgb.shape[2:]
        low, last, inv, spec = {}, {}, {}, {}
        for m, student in self.students.items():
            features, bottleneck = student.encode(*batch.inputs(m))
            low[m], last[m] = features[0], features[-1]
            inv[m], spec[m] = student.split(bottleneck)

        losses = {}
        for m, student in self.students.items():
            halves = torch.cat((inv[m], spec[m]), dim=1)
            logits, _ = student.decode(halves, low[m], size)
            losses[f"seg_{m}"] = self.loss(logits, batch.labels[m])
        if config.mixup:
            share = config.mixup if config.mixup_direction == "own" else 1 - config.mixup
            for m, other in (("rgb", "depth"), ("depth", "rgb")):
                mixed = torch.cat((inv[m].lerp(inv[other], share), spec[m]), dim=1)
                logits, _ = self.students[m].decode(mixed, low[m], size)
                losses[f"mix_{m}"] = config.mixup_weight * self.loss(logits, batch.labels[m])
        if self.auxiliary is not None:
            for m in self.students:
                losses[f"aux_{m}"] = config.auxiliary_weight * sum(
                    self.loss(self.auxiliary(half, low[m], size)[0], batch.labels[m])
                    for half in (inv[m], spec[m])
                )
        if config.orthogonality:
            losses["orth"] = config.orthogonality_weight * sum(
                orthogonality(inv[m], spec[m]) for m in self.students
            )
        if config.contrastive:
            if config.contrastive_into == "projection":
                inv = {m: self._invariant_without_encoder(m, last[m]) for m in self.students}
            z = {m: embedding(inv[m]) for m in self.students}
            losses["con"] = config.contrastive_weight * contrastive(
                z["rgb"], z["depth"], config.tau
            )
        return losses

    def _invariant_without_encoder(self, modality: str, last: Tensor) -> Tensor:
        """Invariant features B×C/2×h×w of the last map, with gradients to the projection only."""
        student: Any = self.students[modality]
        with frozen_statistics(student.projection):
            invariant: Tensor = student.split(student.projection(last.detach()))[0]
        return invariant


@contextmanager
def frozen_statistics(module: nn.Module) -> Iterator[None]:
    """Keep batch norm's running statistics during a second pass over the same batch."""
    norms = [m for m in module.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    momenta = [m.momentum for m in norms]
    for norm in norms:
        norm.momentum = 0.0
    yield
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum


def orthogonality(inv: Tensor, spec: Tensor) -> Tensor:
    """Mean over B, h and w of cos(inv, spec), two maps B×C×h×w."""
    cosine = functional.cosine_similarity(inv.float(), spec.float(), dim=1, eps=EPS)
    return global_mean(cosine.sum(), cosine.numel())


def embedding(inv: Tensor) -> Tensor:
    """z: the L2-normalized spatial mean of B×C×h×w, B×C."""
    return functional.normalize(inv.float().mean(dim=(2, 3)), dim=1, eps=EPS)


def contrastive(z_rgb: Tensor, z_depth: Tensor, tau: float) -> Tensor:
    """InfoNCE with s(u, v) = -‖u-v‖₂/τ: the RGB-anchored mean plus the depth-anchored mean.

    The positive of an anchor is the other modality of the same scene. The denominator sums over
    the 2B-1 other vectors of the global batch, including the positive.

    Args:
        z_rgb: B×C unit vectors of this rank.
        z_depth: B×C, of the same scenes in the same order.
        tau: temperature.

    Raises:
        ValueError: the global batch has a single scene and therefore no negatives.
    """
    everyone = torch.cat((distributed.gather_rows(z_rgb), distributed.gather_rows(z_depth)))
    own, total = len(z_rgb), len(everyone) // 2
    if total < 2:
        raise ValueError("the contrastive loss needs a batch of at least 2 scenes, got 1")
    difference = torch.cat((z_rgb, z_depth))[:, None] - everyone[None]
    similarity = -(difference.square().sum(dim=2) + EPS).sqrt() / tau
    index = torch.arange(own, device=z_rgb.device) + distributed.first_row(own, z_rgb.device)
    itself, partner = torch.cat((index, index + total)), torch.cat((index + total, index))
    similarity = similarity.scatter(1, itself[:, None], float("-inf"))
    return global_mean(functional.cross_entropy(similarity, partner, reduction="sum"), own)
