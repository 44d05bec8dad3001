# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Batch norms folded into convolutions: which, and with what result."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from rgbd_seg_ros.engine.folding import TOLERANCE, fold_batch_norms
from rgbd_seg_ros.models import build, network_spec
from rgbd_seg_ros.models.network import Output


def norms(module: nn.Module) -> int:
    return sum(isinstance(part, nn.BatchNorm2d) for part in module.modules())


def randomize_norms(module: nn.Module) -> None:
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            for tensor in (part.weight, part.running_var):
                nn.init.uniform_(tensor, 0.5, 1.5)  # type: ignore[arg-type]
            for tensor in (part.bias, part.running_mean):
                nn.init.normal_(tensor, 0, 0.3)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "left"),
    [
        ("deeplabv3plus_r18", 0),
        ("deeplabv3plus_lite0", 0),
        ("crodino_r18", 0),
        ("acnet_r18", 0),
        ("segformer_b0", 1),  # the only one: the head adds maps before its norm
        ("cmx_b0", None),
    ],
)
def test_the_logits_stay_the_same(name: str, left: int | None) -> None:
    torch.manual_seed(0)
    spec = network_spec(name, num_classes=5)
    module = build(spec).eval()
    randomize_norms(module)
    inputs = [torch.randn(1, c, 64, 96) for c in spec.in_channels]
    folded = fold_batch_norms(module, inputs)
    others = [torch.randn(2, c, 96, 64) for c in spec.in_channels]
    with torch.no_grad():
        wanted, found = module(*others).logits, folded(*others).logits
    scale = max(1.0, float(wanted.abs().max()))
    torch.testing.assert_close(found, wanted, rtol=0, atol=TOLERANCE * scale)
    if left is None:  # as in the head of CMX
        assert 0 < norms(folded) < norms(module)
    else:
        assert norms(folded) == left


class Toy(nn.Module):
    """A convolution, a batch norm, and a way to connect them."""

    def __init__(self, connect: Callable[[Toy, Tensor], Tensor]) -> None:
        super().__init__()
        self.connect = connect
        self.first = nn.Conv2d(3, 3, 1)
        self.norm = nn.BatchNorm2d(3)
        self.second = nn.Conv2d(3, 3, 1)
        randomize_norms(self)

    def forward(self, x: Tensor) -> Output:
        logits = self.connect(self, x)
        return Output(logits, (logits,), logits)


def read_twice(toy: Toy, x: Tensor) -> Tensor:
    y = toy.first(x)
    return toy.norm(y) + toy.second(y)


def run_twice(toy: Toy, x: Tensor) -> Tensor:
    return toy.norm(toy.first(toy.norm(toy.first(x))))


def other_between(toy: Toy, x: Tensor) -> Tensor:
    return toy.norm(toy.first(x).relu())


@pytest.mark.parametrize("connect", [read_twice, run_twice, other_between])
def test_what_does_not_follow_alone_is_not_folded(
    connect: Callable[[Toy, Tensor], Tensor],
) -> None:
    toy, x = Toy(connect).eval(), torch.randn(1, 3, 4, 4)
    folded = fold_batch_norms(toy, [x])
    assert norms(folded) == 1
    torch.testing.assert_close(folded(x).logits, toy(x).logits)


def test_an_output_that_is_also_read_outside_of_modules_is_refused() -> None:
    def residual(toy: Toy, x: Tensor) -> Tensor:
        y = toy.first(x)
        return y + toy.norm(y)

    with pytest.raises(ValueError, match="with folded batch norms, the logits differ by"):
        fold_batch_norms(Toy(residual).eval(), [torch.randn(1, 3, 4, 4)])


def test_the_module_itself_stays_as_it_is() -> None:
    toy = Toy(lambda t, x: t.norm(t.first(x))).eval()
    before = {name: value.clone() for name, value in toy.state_dict().items()}
    folded = fold_batch_norms(toy, [torch.randn(1, 3, 4, 4)])
    assert norms(folded) == 0
    assert norms(toy) == 1
    for name, value in toy.state_dict().items():
        assert torch.equal(value, before[name]), name
