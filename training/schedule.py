# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Optimizer groups, the learning rate as a function of the step, averaged weights."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from training.config import RunConfig

#: Modules whose ``weight`` decays. Biases, norms and single parameters do not: pulling a scale
#: or an offset toward 0 does not make a function simpler.
DECAYED = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose2d, nn.Linear)


def parameter_groups(module: nn.Module, weight_decay: float) -> list[dict[str, object]]:
    """Two AdamW groups: weights of convolutions and linear layers with decay, the rest without."""
    decayed = {
        id(m.weight) for m in module.modules() if isinstance(m, DECAYED) and m.weight.requires_grad
    }
    parameters = [p for p in module.parameters() if p.requires_grad]
    return [
        {"params": [p for p in parameters if id(p) in decayed], "weight_decay": weight_decay},
        {"params": [p for p in parameters if id(p) not in decayed], "weight_decay": 0.0},
    ]


def learning_rate(config: RunConfig, step: int, total: int, per_epoch: int) -> float:
    """The rate of optimizer step ``step`` (0-based) of ``total``.

    Linear from ``warmup_lr`` over ``warmup_epochs``, then poly or cosine of the *whole* course:
    lr·(1 − step/total)^power, as the authors of CMX count it.
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

    The decay of update t is min(decay, (1 + t)/(10 + t)), so that a short run is not an average
    of its random beginning.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.decay = decay
        self.updates = 0
        self.state = {k: v.detach().clone() for k, v in module.state_dict().items()}

    @torch.no_grad()
    def update(self, module: nn.Module) -> None:
        """Take in the module's present weights."""
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
        """Within the block the module has the averaged weights, afterward its own again."""
        own = {k: v.detach().clone() for k, v in module.state_dict().items()}
        module.load_state_dict(self.state)
        try:
            yield
        finally:
            module.load_state_dict(own)
