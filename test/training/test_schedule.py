# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Learning rates and averaged weights computed by hand; which weights decay."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from training.config import RunConfig
from training.schedule import AveragedWeights, learning_rate, parameter_groups


@pytest.mark.parametrize(
    ("step", "expected"),
    [(0, 1e-6), (5, (1e-6 + 1e-4) / 2), (10, 1e-4 * 0.9**0.9), (50, 1e-4 * 0.5**0.9), (99, None)],
)
def test_poly_after_linear_warm_up(step: int, expected: float | None) -> None:
    config = RunConfig(lr=1e-4, warmup_lr=1e-6, warmup_epochs=2, poly_power=0.9)
    rate = learning_rate(config, step, total=100, per_epoch=5)
    if expected is None:
        assert 0 < rate < 2e-6
    else:
        assert rate == pytest.approx(expected)


def test_cosine_goes_from_lr_to_min_lr() -> None:
    config = RunConfig(lr=1e-3, min_lr=1e-5, warmup_epochs=0, schedule="cosine")
    rates = [learning_rate(config, s, 100, 10) for s in (0, 50, 100)]
    assert rates == pytest.approx([1e-3, (1e-3 + 1e-5) / 2, 1e-5])


def test_constant() -> None:
    config = RunConfig(lr=1e-3, warmup_epochs=0, schedule="constant")
    assert {learning_rate(config, s, 9, 3) for s in range(9)} == {1e-3}


def test_a_warm_up_longer_than_the_run_never_divides_by_zero() -> None:
    config = RunConfig(lr=1.0, warmup_lr=0.0, warmup_epochs=50)
    assert learning_rate(config, 2, total=4, per_epoch=2) == 0.5


def test_only_weights_of_convolutions_and_linear_layers_decay() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(1, 2, 3)
            self.norm = nn.BatchNorm2d(2)
            self.linear = nn.Linear(2, 2)
            self.layer_norm = nn.LayerNorm(2)
            self.scale = nn.Parameter(torch.ones(2, 2))
            self.frozen = nn.Linear(2, 2).requires_grad_(False)

    net = Net()
    decayed, rest = parameter_groups(net, 0.01)
    assert decayed["weight_decay"] == 0.01
    assert rest["weight_decay"] == 0.0
    assert {id(p) for p in decayed["params"]} == {id(net.conv.weight), id(net.linear.weight)}
    trainable = [p for p in net.parameters() if p.requires_grad]
    assert len(decayed["params"]) + len(rest["params"]) == len(trainable)


def test_averaged_weights_by_hand_and_restored() -> None:
    net = nn.Sequential(nn.Linear(1, 1, bias=False), nn.BatchNorm1d(1))
    with torch.no_grad():
        net[0].weight.fill_(1.0)
    average = AveragedWeights(net, 0.5)
    for value in (2.0, 4.0):
        with torch.no_grad():
            net[0].weight.fill_(value)
        average.update(net)
    # Decays min(0.5, 1/10) and min(0.5, 2/11).
    first = 0.1 * 1.0 + 0.9 * 2.0
    expected = 2 / 11 * first + 9 / 11 * 4.0
    assert average.state["0.weight"].item() == pytest.approx(expected)
    with average.applied_to(net):
        assert net[0].weight.item() == pytest.approx(expected)
    assert net[0].weight.item() == 4.0
