# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The method interface: frozen teachers, losses as global means, plain networks as results."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from rgbd_seg_ros.bundle import Bundle, NetworkRecord, load_bundle, load_network, save_network
from rgbd_seg_ros.engine import Segmenter
from rgbd_seg_ros.labels import LabelSet
from rgbd_seg_ros.models import build, network_spec
from rgbd_seg_ros.preprocess import Preprocess
from training import bundle, loop, train
from training.batch import Batch
from training.data.folder import open_folder
from training.loop import Run
from training.methods import method_class, options_of
from training.methods.base import Frozen, Method, Task
from training.methods.losses import cross_entropy
from training.options import UsageError
from training.schedule import parameter_groups
from training.settings import from_dict

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


def test_a_frozen_teacher_has_no_parameters_in_the_method_but_moves_with_it() -> None:
    method = Taught()
    before = {k: v.clone() for k, v in method.teacher.module.state_dict().items()}
    assert set(method.state_dict()) == {"students.rgb.weight", "students.rgb.bias"}
    assert len(list(method.parameters())) == 2
    groups = parameter_groups(method, 0.1)
    assert sum(len(group["params"]) for group in groups) == 2
    method.train()
    assert not method.teacher.module.training
    optimizer = torch.optim.SGD(method.parameters(), lr=1.0)
    sum(method(a_batch()).values()).backward()
    optimizer.step()
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


def test_the_error_for_an_unknown_network_suggests_the_nearest() -> None:
    with pytest.raises(UsageError, match="did you mean 'cmx_b0'"):
        options_of("supervised")(network="cmx_b00")
    with pytest.raises(UsageError, match="modality of cmx"):
        options_of("supervised")(modality="rgb")


NOWHERE = "nowhere/at/all"
EARLY = [
    ("supervised", {"network": "cmx_b9"}, "unknown network 'cmx_b9'"),
    ("supervised", {"network": "segformer_b0"}, "modality of segformer must be rgb or depth"),
    ("prim_kd", {"network": "segformer_b0"}, "modality of segformer must be"),
    ("crodino_kd", {"network": "segformer_b0"}, "needs a network with a split"),
    ("kd_v2", {"output_stride": 3}, "output_stride of resnet50 must be one of"),
    ("kd_v2", {"width": 9999}, "width must be 1 to 4096"),
    ("kd_v2", {}, "this method needs a teacher"),
    ("prim_kd", {}, "prim_kd needs a teacher"),
    ("prim_kd", {"teacher": NOWHERE}, f"the teacher {NOWHERE} does not exist"),
    ("supervised", {"pretrained": NOWHERE}, f"'{NOWHERE}' is neither a file nor"),
    ("kd_v2", {"pretrained": "imagenett", "teacher": "."}, "'imagenett' is neither a file nor"),
]


@pytest.mark.parametrize(("method", "keys", "message"), EARLY)
def test_a_mistake_is_found_before_data_is_opened_or_a_folder_created(
    method: str,
    keys: dict[str, Any],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def never(*_: object) -> None:
        raise AssertionError("data was opened")

    monkeypatch.setattr(loop, "open_split", never)
    out = tmp_path / "run"
    words = [f"--{key.replace('_', '-')}={value}" for key, value in keys.items()]
    with pytest.raises(UsageError) as error:
        train.main([method, "--out", str(out), *words])
    assert message in str(error.value)
    assert not out.exists()


@pytest.fixture(scope="module")
def make_run(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Run]:
    """One-epoch runs of methods with training-only parts; PrimKD's teacher is untrained."""
    base = tmp_path_factory.mktemp("runs")
    labels, preprocess = LabelSet("test", ("floor", "wall", "thing")), Preprocess((32, 32))
    spec = Task(labels, preprocess).spec("segformer_b0", "rgb", width=8)
    teacher = base / "rgb.safetensors"
    save_network(teacher, build(spec), NetworkRecord(spec, preprocess, labels, {}, ""))
    own = {"crodino_kd": {"network": "crodino_mit_b0"}, "prim_kd": {"teacher": str(teacher),
           "network": "cmx_b0"}}  # fmt: skip

    def make(method: str, folder: str, resume: bool = False) -> Run:
        keys = {
            **{**own[method], "width": 8, "data": "folder", "root": str(dataset), "cache": ""},
            **{"out": str(base / method / folder), "size": [32, 32], "epochs": 1, "batch": 4},
            **{"workers": 0, "tensorboard": False, "checkpoint_every": 1, "ema": 0.9},
        }
        return Run(from_dict(method, {**keys, "resume": resume}, "test"), torch.device("cpu"))

    return make


@pytest.fixture(scope="module")
def whole(make_run: Callable[..., Run]) -> dict[str, Run]:
    """Both methods' finished runs."""
    runs = {method: make_run(method, "whole") for method in ("crodino_kd", "prim_kd")}
    for run in runs.values():
        run.train()
    return runs


@pytest.mark.parametrize("method", ["crodino_kd", "prim_kd"])
def test_a_method_with_training_only_parts_resumes_bit_identically(
    method: str,
    make_run: Callable[..., Run],
    whole: dict[str, Run],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    broken = make_run(method, "broken")
    step = Run.optimizer_step

    def killed(self: Run, *args: Any) -> dict[str, Tensor]:
        if self.step == 2:
            raise SystemExit
        return step(self, *args)

    monkeypatch.setattr(Run, "optimizer_step", killed)
    with pytest.raises(SystemExit):
        broken.train()
    monkeypatch.undo()
    resumed = make_run(method, "broken", resume=True)
    resumed.train()
    assert resumed.step == whole[method].step > 2
    ours, theirs = resumed.method.state_dict(), whole[method].method.state_dict()
    assert any(not name.startswith("students.") for name in ours)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(value, theirs[name]) for name, value in ours.items())


SLOTS = [("prim_kd", "cmx_b0", "rgbd"), ("crodino_kd", "crodino_mit_b0", "rgb"),
         ("crodino_kd", "crodino_mit_b0", "depth")]  # fmt: skip


@pytest.mark.parametrize(("method", "network", "slot"), SLOTS)
def test_the_saved_file_is_the_plain_network(
    whole: dict[str, Run], method: str, network: str, slot: str
) -> None:
    kept = load_file(whole[method].folder / "best" / f"{slot}.safetensors")
    plain = build(network_spec(network, modality=slot, num_classes=3, width=8)).state_dict()
    assert {k: v.shape for k, v in kept.items()} == {k: v.shape for k, v in plain.items()}
    assert not any(part in k for k in kept for part in ("auxiliary", "aligner", "teacher"))


def test_the_runs_of_both_methods_work_in_one_bundle(
    whole: dict[str, Run], dataset: Path, tmp_path: Path
) -> None:
    runs = {slot: whole[method].folder for method, _, slot in SLOTS}
    flags = [word for slot, run in runs.items() for word in (f"--{slot}", str(run))]
    out = tmp_path / "bundle"
    assert bundle.main([*flags, "--out", str(out), "--dtype", "float32"]) == 0
    segmenter = Segmenter(load_bundle(out), "cpu", "torch")
    sample = open_folder(str(dataset), "test", 0.1, False)[0]
    inputs = {"rgbd": (sample.rgb, sample.depth_m), "rgb": (sample.rgb, None),
              "depth": (None, sample.depth_m)}  # fmt: skip
    masks = []
    for slot, given in inputs.items():
        answer = segmenter(*given)
        assert answer.network == slot
        alone = load_network(runs[slot] / "best" / f"{slot}.safetensors")
        expected = Segmenter(Bundle(alone.record.labels, {slot: alone}), "cpu", "torch")(*given)
        assert (answer.labels == expected.labels).all()
        assert (answer.confidence == expected.confidence).all()
        masks.append(answer.confidence.tobytes())
    assert len(set(masks)) == 3
