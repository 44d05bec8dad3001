# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Gradient meter: how strongly each loss pulls on each part of the students."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from training.runlog import RunLog

#: Beginnings of the names of the losses between logits and labels, with which others are compared.
SEGMENTATION = ("seg", "ce")


def gradient_norms(
    losses: Mapping[str, Tensor], students: Mapping[str, nn.Module]
) -> dict[str, dict[str, float]]:
    """L2 norm of each loss's gradient on each part of the students.

    The gradients that a later ``backward`` accumulates are not changed. With several ranks, the
    norms are those of this rank's share of the batch.

    Args:
        losses: weighted losses of one forward pass, whose graph is kept.
        students: networks by name. A part is a direct submodule, such as ``rgb/encoder``.

    Returns:
        Part → loss → norm. ``segmentation`` is the norm of the sum of the segmentation losses. A
        loss that does not depend on a part is omitted there.
    """
    parts = {
        f"{name}/{child}": [p for p in module.parameters() if p.requires_grad]
        for name, student in students.items()
        for child, module in student.named_children()
    }
    parts = {name: parameters for name, parameters in parts.items() if parameters}
    measured = dict(losses)
    segmentation = [value for name, value in losses.items() if name.startswith(SEGMENTATION)]
    if segmentation:
        measured["segmentation"] = torch.stack([value.float() for value in segmentation]).sum()
    norms: dict[str, dict[str, float]] = {part: {} for part in parts}
    everything = [parameter for parameters in parts.values() for parameter in parameters]
    for loss, value in measured.items():
        if not value.requires_grad:
            continue
        gradients = iter(
            torch.autograd.grad(value, everything, retain_graph=True, allow_unused=True)
        )
        for part, parameters in parts.items():
            found = [g for g in (next(gradients) for _ in parameters) if g is not None]
            if found:
                norms[part][loss] = float(torch.stack([g.float().norm() for g in found]).norm())
    return norms


def relative(norms: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """``part/loss`` → its norm over that of ``segmentation``, where that is above zero."""
    return {
        f"{part}/{loss}": norm / of_loss["segmentation"]
        for part, of_loss in norms.items()
        for loss, norm in of_loss.items()
        if loss != "segmentation" and of_loss.get("segmentation", 0) > 0
    }


def gradient_line(norms: Mapping[str, Mapping[str, float]]) -> str:
    """One line for the log: for each part, the losses relative to segmentation, largest first."""
    ratios = relative(norms)
    texts = []
    for part in norms:
        own = {k.rpartition("/")[2]: v for k, v in ratios.items() if k.startswith(f"{part}/")}
        ranked = sorted(own.items(), key=lambda item: -item[1])
        if ranked:
            texts.append(f"{part} " + " ".join(f"{name} {ratio:.2f}" for name, ratio in ranked))
    return "gradients relative to segmentation: " + "; ".join(texts)


def log_gradients(
    log: RunLog, step: int, losses: Mapping[str, Tensor], students: Mapping[str, nn.Module]
) -> None:
    """Measure and write one line, and an event ``gradients`` with ratios and norms."""
    norms = gradient_norms(losses, students)
    log.say(gradient_line(norms))
    log.event("gradients", step=step, scalars=relative(norms), norms=norms)
