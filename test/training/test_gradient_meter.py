# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The gradient meter: norms by hand, nothing changed in the run, one line and one event."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from training.gradient_meter import gradient_line, gradient_norms, log_gradients, relative
from training.runlog import RunLog


class Toy(nn.Module):
    """y = decoder · encoder · x with scalars."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.decoder = nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False)
        nn.init.constant_(self.encoder.weight, 3.0)
        nn.init.constant_(self.decoder.weight, 5.0)


@pytest.fixture
def toy() -> Toy:
    return Toy()


def losses_of(toy: Toy) -> dict[str, Tensor]:
    features = toy.encoder(torch.ones(1, 1))
    return {
        "seg_rgb": toy.decoder(features).sum(),  # d/d encoder 5, d/d decoder 3
        "con": 2 * features.sum(),  # d/d encoder 2
        "constant": torch.zeros(()),
    }


def test_norms_equal_those_by_hand_and_leave_the_gradients_alone(toy: Toy) -> None:
    losses = losses_of(toy)
    norms = gradient_norms(losses, {"rgb": toy})
    assert norms == {
        "rgb/encoder": {"seg_rgb": 5.0, "con": 2.0, "segmentation": 5.0},
        "rgb/decoder": {"seg_rgb": 3.0, "segmentation": 3.0},
    }
    assert relative(norms) == {
        "rgb/encoder/seg_rgb": 1.0,
        "rgb/encoder/con": pytest.approx(0.4),
        "rgb/decoder/seg_rgb": 1.0,
    }
    assert gradient_line(norms) == (
        "gradients relative to segmentation: rgb/encoder seg_rgb 1.00 con 0.40; "
        "rgb/decoder seg_rgb 1.00"
    )
    assert toy.encoder.weight.grad is None
    sum(losses.values()).backward()  # the graph is still there
    assert float(toy.encoder.weight.grad) == 7.0


def test_several_segmentation_losses_are_added_before_the_norm(toy: Toy) -> None:
    losses = losses_of(toy)
    norms = gradient_norms({**losses, "seg_depth": -losses["seg_rgb"]}, {"rgb": toy})
    assert norms["rgb/encoder"]["segmentation"] == 0.0
    assert relative(norms) == {}  # nothing to compare with


def test_frozen_parts_are_omitted(toy: Toy) -> None:
    toy.decoder.requires_grad_(False)
    assert list(gradient_norms(losses_of(toy), {"rgb": toy})) == ["rgb/encoder"]


def test_the_log_has_ratios_and_norms(toy: Toy, tmp_path: Path) -> None:
    log = RunLog(tmp_path, True, False)
    log_gradients(log, 40, losses_of(toy), {"rgb": toy})
    log.close()
    event = json.loads((tmp_path / "log.jsonl").read_text())
    assert (event["event"], event["step"]) == ("gradients", 40)
    assert event["scalars"]["rgb/encoder/con"] == pytest.approx(0.4)
    assert event["norms"]["rgb/decoder"] == {"seg_rgb": 3.0, "segmentation": 3.0}
