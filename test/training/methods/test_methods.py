# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The method interface: a frozen teacher stays out, losses are global means of valid pixels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from rgbd_seg_ros.bundle import NetworkRecord, save_network
from rgbd_seg_ros.labels import LabelSet
from rgbd_seg_ros.models import build
from rgbd_seg_ros.preprocess import Preprocess
from training.config import RunConfig, from_dict, method_class, options_of
from training.loop import Run
from training.methods.base import Batch, Frozen, Method, Task
from training.methods.losses import cross_entropy
from training.options import UsageError
from training.schedule import parameter_groups

TASK = Task(LabelSet("three", ("a", "b", "c")), Preprocess((64, 64)))


def a_batch() -> Batch:
    torch.manual_seed(0)
    labels = torch.randint(0, 3, (2, 64, 64))
    labels[:, :5] = 255
    views = dict.fromkeys(("rgb", "depth", "rgbd"), labels)
    return Batch(torch.randn(2, 3, 64, 64), torch.randn(2, 1, 64, 64), views)


class Taught(Method):
    """The smallest method with a teacher."""

    def __init__(self) -> None:
        super().__init__({"rgb": nn.Conv2d(3, 3, 1)})
        self.teacher = Frozen(nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)))

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        difference = self.students["rgb"](batch.rgb) - self.teacher(batch.rgb)
        return {"l2": difference.square().mean()}


def test_a_frozen_teacher_is_nobodys_parameter_but_moves_along() -> None:
    method = Taught()
    before = {k: v.clone() for k, v in method.teacher.module.state_dict().items()}
    assert set(method.state_dict()) == {"students.rgb.weight", "students.rgb.bias"}
    assert len(list(method.parameters())) == 2
    groups = parameter_groups(method, 0.1)
    assert sum(len(group["params"]) for group in groups) == 2
    method.train()
    assert not method.teacher.module.training
    optimiser = torch.optim.SGD(method.parameters(), lr=1.0)
    sum(method(a_batch()).values()).backward()
    optimiser.step()
    for name, value in method.teacher.module.state_dict().items():
        assert torch.equal(value, before[name])
    method.to(torch.float64)
    assert next(method.teacher.module.parameters()).dtype == torch.float64
    method.to("meta")
    assert next(method.teacher.module.parameters()).device.type == "meta"


def test_supervised_gives_a_finite_loss_with_gradient() -> None:
    torch.manual_seed(0)
    config = options_of("supervised")(network="deeplabv3plus_mit_b0", modality="depth", width=8)
    built = method_class("supervised")(config, TASK)
    losses = built(a_batch())
    assert list(losses) == ["ce"]
    assert losses["ce"].ndim == 0
    assert losses["ce"].isfinite()
    sum(losses.values()).backward()
    assert all(p.grad is not None for p in built.students.parameters())
    assert set(built.students) == {"depth"}
    assert built.students["depth"].spec.num_classes == 3


def test_cross_entropy_is_the_mean_over_valid_pixels() -> None:
    torch.manual_seed(1)
    logits = torch.randn(2, 3, 4, 5, requires_grad=True)
    labels = torch.randint(0, 3, (2, 4, 5))
    labels[0, :2] = 255
    expected = nn.functional.cross_entropy(logits, labels, ignore_index=255)
    torch.testing.assert_close(cross_entropy(logits, labels), expected)
    nothing = cross_entropy(logits, torch.full_like(labels, 255))
    assert nothing.item() == 0.0
    nothing.backward()
    assert logits.grad is not None
    assert (logits.grad == 0).all()


def test_inputs_by_modality() -> None:
    batch = a_batch()
    assert [t.shape[1] for t in batch.inputs("rgbd")] == [3, 1]
    assert batch.inputs("depth")[0] is batch.depth
    assert len(batch) == 2


def test_an_unknown_network_is_named_with_the_nearest() -> None:
    config = options_of("supervised")(network="cmx_b00")
    with pytest.raises(ValueError, match="did you mean 'cmx_b0'"):
        method_class("supervised")(config, TASK)
    with pytest.raises(ValueError, match="modality of cmx"):
        method_class("supervised")(options_of("supervised")(modality="rgb"), TASK)


def test_a_wrong_network_name_reaches_the_user_as_usage_error(dataset: object) -> None:
    settings = from_dict(
        "supervised",
        {"network": "cmx_b9", "data": "folder", "root": str(dataset), "cache": "", "workers": 0,
         "out": "unused"},
        "the test",
    )  # fmt: skip
    with pytest.raises(UsageError, match="unknown network 'cmx_b9'"):
        Run(settings, torch.device("cpu"))
    assert isinstance(settings.run, RunConfig)


@pytest.mark.parametrize("method", ["crodino_kd", "prim_kd"])
def test_resumed_with_its_training_only_parts_a_method_ends_with_the_same_bits(
    method: str, dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    labels, preprocess = LabelSet("test", ("floor", "wall", "thing")), Preprocess((32, 32))
    spec = Task(labels, preprocess).spec("segformer_b0", "rgb", width=8)
    teacher = tmp_path / "rgb.safetensors"
    save_network(teacher, build(spec), NetworkRecord(spec, preprocess, labels, {}, ""))
    own = {"crodino_kd": {"network": "crodino_mit_b0"}, "prim_kd": {"teacher": str(teacher),
           "network": "cmx_b0"}}[method]  # fmt: skip

    def run(folder: str, resume: bool = False) -> Run:
        keys = {
            **{**own, "width": 8, "data": "folder", "root": str(dataset), "cache": ""},
            **{"out": str(tmp_path / folder), "size": [32, 32], "epochs": 1, "batch": 4},
            **{"workers": 0, "tensorboard": False, "checkpoint_every": 1, "ema": 0.9},
        }
        return Run(from_dict(method, {**keys, "resume": resume}, "test"), torch.device("cpu"))

    whole, broken = run("whole"), run("broken")
    whole.train()
    step = Run._step

    def killed(self: Run, *args: Any) -> dict[str, Tensor]:
        if self.step == 2:
            raise SystemExit
        return step(self, *args)

    monkeypatch.setattr(Run, "_step", killed)
    with pytest.raises(SystemExit):
        broken.train()
    monkeypatch.undo()
    resumed = run("broken", resume=True)
    resumed.train()
    assert resumed.step == whole.step > 2
    ours, theirs = resumed.method.state_dict(), whole.method.state_dict()
    assert any(not name.startswith("students.") for name in ours)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(value, theirs[name]) for name, value in ours.items())
