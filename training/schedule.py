# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Optimizer schedule: parameter groups, learning rate per step, averaged weights."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from training.config import RunConfig

#: Modules whose ``weight`` decays. Biases, norms and single parameters do not, since pulling a
#: scale or an offset toward 0 does not make a function simpler.
DECAYED = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose2d, nn.Linear)


def parameter_groups(module: nn.Module, weight_decay: float) -> list[dict[str, object]]:
    """Two AdamW groups: convolution and linear weights with decay, all others without."""
    decayed = {
        id(m.weight) for m in module.modules() if isinstance(m, DECAYED) and m.weight.requires_grad
    }
    parameters = [p for p in module.parameters() if p.requires_grad]
    return [
        {"params": [p for p in parameters if id(p) in decayed], "weight_decay": weight_decay},
        {"params": [p for p in parameters if id(p) not in decayed], "weight_decay": 0.0},
    ]


def learning_rate(config: RunConfig, step: int, total: int, per_epoch: int) -> float:
    """The learning rate of an optimizer step.

    It rises linearly from ``warmup_lr`` over ``warmup_epochs``. Then it follows the poly or cosine
    schedule, which starts at step 0 rather than after the warm-up, as in the code of CMX; for
    example, lr·(1 − step/total)^power.

    Args:
        config: configuration of the run.
        step: 0-based index of the step.
        total: steps of the whole run.
        per_epoch: steps of an epoch.
    """
    warmup = min(round(config.warmup_epochs * per_epoch), total)
    if step < warmup:
        return config.warmup_lr + (config.lr - config.warmup_lr) * step / warmup
    done = step / total
    if config.schedule == "poly":
        return config.lr * float((1.0 - done) ** config.poly_power)
    if config.schedule == "cosine":
        return config.min_lr + (config.lr - config.min_lr) * 0.5 * (1 + math.cos(math.pi * done))
    return config.lr


class AveragedWeights:
    """Exponential moving average of every weight and running statistic of a module.

    The decay of update t is min(decay, (1 + t)/(10 + t)), so that the random initial weights do
    not dominate a short run.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.decay = decay
        self.updates = 0
        self.state = {k: v.detach().clone() for k, v in module.state_dict().items()}

    @torch.no_grad()
    def update(self, module: nn.Module) -> None:
        """Add the module's current weights to the average."""
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        self.updates += 1
        averaged: list[Tensor] = []
        present: list[Tensor] = []
        for name, value in module.state_dict().items():
            if value.is_floating_point():
                averaged.append(self.state[name])
                present.append(value)
            else:
                self.state[name].copy_(value)
        torch._foreach_lerp_(averaged, present, 1.0 - decay)

    @contextmanager
    def applied_to(self, module: nn.Module) -> Iterator[None]:
        """Give the module the averaged weights within the block, and its own weights afterward."""
        own = {k: v.detach().clone() for k, v in module.state_dict().items()}
        module.load_state_dict(self.state)
        try:
            yield
        finally:
            module.load_state_dict(own)
