# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""PrimKD: losses against float64 references, the frozen teacher, the saved student."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from rgbd_seg_ros.bundle import NetworkRecord, save_network
from rgbd_seg_ros.depth import DepthEncoding
from rgbd_seg_ros.labels import LabelSet
from rgbd_seg_ros.models import build as build_network
from rgbd_seg_ros.models import network_spec
from rgbd_seg_ros.preprocess import Preprocess
from training.batch import Batch
from training.methods import prim_kd
from training.methods.base import Task
from training.methods.losses import kl_divergence
from training.methods.prim_kd import Config, PrimKD, aligner, select_stage, stage_error
from training.options import UsageError

LABELS = LabelSet("three", ("a", "b", "c"))
TASK = Task(LABELS, Preprocess((64, 64)))


def write_teacher(folder: Path, network: str, modality: str, task: Task = TASK) -> Path:
    torch.manual_seed(5)
    spec = task.spec(network, modality)
    path = folder / f"{network}_{modality}.safetensors"
    record = NetworkRecord(spec, task.preprocess, task.labels, {}, "Apache-2.0")
    save_network(path, build_network(spec), record)
    return path


@pytest.fixture(scope="module")
def teachers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """An RGB and a depth SegFormer-B0 on disk."""
    folder = tmp_path_factory.mktemp("teachers")
    return {m: write_teacher(folder, "segformer_b0", m) for m in ("rgb", "depth")}


def build(teacher: Path | str, task: Task = TASK, **options: Any) -> PrimKD:
    torch.manual_seed(0)
    given = {"network": "cmx_b0", "width": 16, "teacher": str(teacher), **options}
    return PrimKD(Config(**given), task)


def a_batch(depth_channels: int = 1) -> Batch:
    torch.manual_seed(1)
    labels = torch.randint(0, 3, (2, 64, 64))
    labels[:, :5] = 255
    return Batch(torch.randn(2, 3, 64, 64), torch.randn(2, depth_channels, 64, 64),
                 dict.fromkeys(("rgb", "depth", "rgbd"), labels))  # fmt: skip


def literal_kl(p_logits: Tensor, q_logits: Tensor, valid: Tensor) -> float:
    """Reference KL, computed pixel by pixel and class by class in double precision."""
    p, q = p_logits.detach().double().softmax(1), q_logits.detach().double().softmax(1)
    total, count = 0.0, 0
    for b, y, x in valid.nonzero().tolist():
        for k in range(p.shape[1]):
            total += float(p[b, k, y, x]) * math.log(float(p[b, k, y, x]) / float(q[b, k, y, x]))
        count += 1
    return total / count


def test_kl_equals_the_literal_formula() -> None:
    torch.manual_seed(0)
    teacher, student = torch.randn(2, 3, 4, 5), torch.randn(2, 3, 4, 5)
    labels = torch.randint(0, 3, (2, 4, 5))
    labels[0, :2] = 255
    everywhere = torch.ones_like(labels, dtype=torch.bool)
    value = float(kl_divergence(teacher, student))
    assert value == pytest.approx(literal_kl(teacher, student, everywhere), rel=1e-5)
    value = float(kl_divergence(teacher, student, labels))
    assert value == pytest.approx(literal_kl(teacher, student, labels != 255), rel=1e-5)
    assert float(kl_divergence(teacher, teacher)) == pytest.approx(0.0, abs=1e-6)


def test_stage_error_equals_the_literal_formula() -> None:
    torch.manual_seed(0)
    ours, theirs = torch.randn(2, 3, 2, 2), torch.randn(2, 3, 2, 2)
    for value, a, b in zip(stage_error(ours, theirs), ours.double(), theirs.double(), strict=True):
        squares = [(float(u) - float(v)) ** 2
                   for u, v in zip(a.flatten(), b.flatten(), strict=True)]  # fmt: skip
        assert float(value) == pytest.approx(sum(squares) / 12, rel=1e-6)


#: Two samples, four stages. The means over the batch are 3, 4, 2.5 and 3.5.
ERRORS = torch.tensor([[1.0, 7.0, 2.0, 4.0], [5.0, 1.0, 3.0, 3.0]])


@pytest.mark.parametrize(
    ("select", "scope", "expected"),
    [
        ("max", "sample", [7.0, 5.0]),
        ("min", "sample", [1.0, 1.0]),
        ("max", "batch", [7.0, 1.0]),
        ("min", "batch", [2.0, 3.0]),
        ("average", "sample", [3.5, 3.0]),
    ],
)
def test_selection_by_hand(
    teachers: dict[str, Path],
    monkeypatch: pytest.MonkeyPatch,
    select: str,
    scope: str,
    expected: list[float],
) -> None:
    assert select_stage(ERRORS, select, scope).tolist() == expected
    # The method selects in the same way.
    stages = iter(ERRORS.T)
    monkeypatch.setattr(prim_kd, "stage_error", lambda *_: next(stages))
    method = build(teachers["rgb"], select=select, scope=scope, alpha=0.0, beta=0.5)
    assert float(method(a_batch())["feat"]) == pytest.approx(0.5 * sum(expected) / 2)


@pytest.mark.parametrize("stage", [1, 2, 3, 4])
def test_with_a_fixed_stage_only_that_stage_guides(teachers: dict[str, Path], stage: int) -> None:
    method = build(teachers["rgb"], select=f"stage{stage}", alpha=0.0, beta=1.0).eval()
    batch = a_batch()
    assert method.teacher is not None
    assert list(method.aligners) == [f"stage{stage}"]
    aligned = method.aligners[f"stage{stage}"](
        method.students["rgbd"](batch.rgb, batch.depth).features[stage - 1]
    )
    error = (aligned - method.teacher(batch.rgb).features[stage - 1]).square().mean()
    torch.testing.assert_close(method(batch)["feat"], error)


def test_only_the_selected_stage_of_each_sample_gets_a_gradient() -> None:
    errors = ERRORS.clone().requires_grad_()
    select_stage(errors, "max", "sample").sum().backward()
    assert errors.grad is not None
    assert errors.grad.tolist() == [[0, 1, 0, 0], [1, 0, 0, 0]]


def test_the_losses_equal_the_literal_formula(teachers: dict[str, Path]) -> None:
    method, batch = build(teachers["rgb"], alpha=0.7, beta=0.3), a_batch()
    method.eval()
    losses = method(batch)
    assert method.teacher is not None
    output, taught = method.students["rgbd"](batch.rgb, batch.depth), method.teacher(batch.rgb)
    everywhere = torch.ones_like(batch.labels["rgbd"], dtype=torch.bool)
    pred = 0.7 * literal_kl(taught.logits, output.logits, everywhere)
    assert float(losses["pred"]) == pytest.approx(pred, rel=1e-4)
    per_sample = []
    for b in range(2):
        stages = [
            float((align(fused[b : b + 1]) - theirs[b : b + 1]).double().square().mean())
            for align, fused, theirs in zip(
                method.aligners.values(), output.features, taught.features, strict=True
            )
        ]
        per_sample.append(max(stages))
    assert float(losses["feat"]) == pytest.approx(0.3 * sum(per_sample) / 2, rel=1e-4)
    ce = torch.nn.functional.cross_entropy(output.logits, batch.labels["rgbd"], ignore_index=255)
    torch.testing.assert_close(losses["ce"], ce)
    assert list(losses) == ["ce", "pred", "feat"]
    kinds = [[type(part).__name__ for part in align] for align in method.aligners.values()]
    assert kinds == [["Conv2d", "Conv2d", "ReLU", "Conv2d"]] * 4


def test_kl_direction_and_pixels(teachers: dict[str, Path]) -> None:
    batch = a_batch()
    method = build(teachers["rgb"], kl_direction="student_teacher", kl_pixels="valid", beta=0.0)
    losses = method.eval()(batch)
    assert method.teacher is not None
    ours = method.students["rgbd"](batch.rgb, batch.depth).logits
    theirs = method.teacher(batch.rgb).logits
    expected = literal_kl(ours, theirs, batch.labels["rgbd"] != 255)
    assert float(losses["pred"]) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ({"teacher_modality": "none"}, ["ce"]),
        ({"alpha": 0.0}, ["ce", "feat"]),
        ({"beta": 0.0}, ["ce", "pred"]),
    ],
    ids=["no teacher", "features only", "prediction only"],
)
def test_guidance_can_be_switched_off(
    teachers: dict[str, Path], options: dict[str, Any], names: list[str]
) -> None:
    full, ablated = build(teachers["rgb"]), build(teachers["rgb"], **options)
    assert list(ablated.eval()(a_batch())) == names
    state = full.students.state_dict()  # the student starts equal
    for name, value in ablated.students.state_dict().items():
        assert torch.equal(value, state[name])


@pytest.mark.parametrize("select", ["max", "min", "average", "stage1", "stage4"])
@pytest.mark.parametrize("modality", ["rgb", "depth"])
def test_training_changes_the_student_but_not_the_teacher(
    teachers: dict[str, Path], select: str, modality: str
) -> None:
    method = build(teachers[modality], teacher_modality=modality, select=select, aligner="single")
    assert method.teacher is not None
    assert all(type(align) is torch.nn.Conv2d for align in method.aligners.values())
    teacher = method.teacher.module
    before = {k: v.clone() for k, v in teacher.state_dict().items()}
    student = {k: v.clone() for k, v in method.students.state_dict().items()}
    method.train()
    assert not teacher.training
    optimizer = torch.optim.AdamW(method.parameters(), lr=1e-3)
    torch.stack(list(method(a_batch()).values())).sum().backward()
    assert all(p.grad is not None for p in method.parameters())  # as DDP requires
    optimizer.step()
    assert all(torch.equal(v, before[k]) for k, v in teacher.state_dict().items())
    assert any(not torch.equal(v, student[k]) for k, v in method.students.state_dict().items())


def test_feature_guidance_reaches_the_fused_maps_but_not_the_head(
    teachers: dict[str, Path],
) -> None:
    method = build(teachers["rgb"], select="average")
    method(a_batch())["feat"].backward()
    got = {n for n, p in method.students["rgbd"].named_parameters()
           if p.grad is not None and bool(p.grad.any())}  # fmt: skip
    assert {n.split(".")[0] for n in got} == {"rgb", "depth", "rectify", "fuse"}
    assert len(method.aligners) == 4
    assert all(p.grad is not None and bool(p.grad.any()) for p in method.aligners.parameters())


def test_the_saved_student_is_exactly_cmx(teachers: dict[str, Path]) -> None:
    method = build(teachers["rgb"])
    plain = build_network(network_spec("cmx_b0", num_classes=3, width=16))
    student = method.students["rgbd"]
    assert type(student) is type(plain)
    ours, theirs = student.state_dict(), plain.state_dict()
    assert {k: v.shape for k, v in ours.items()} == {k: v.shape for k, v in theirs.items()}
    assert [type(m) for m in student.modules()] == [type(m) for m in plain.modules()]
    assert not any("teacher" in k or "aligner" in k for k in ours)
    assert not any("teacher" in k for k in method.state_dict())


@pytest.mark.parametrize(("kind", "millions"), [("single", 0.386), ("multi", 7.32)])
def test_published_size_of_the_aligners(kind: str, millions: float) -> None:
    with torch.device("meta"):
        count = sum(p.numel() for c in (64, 128, 320, 512)
                    for p in aligner(c, c, kind).parameters())  # fmt: skip
    assert count / 1e6 == pytest.approx(millions, abs=0.005)


def test_teacher_and_student_sizes_are_independent(tmp_path: Path) -> None:
    teacher = write_teacher(tmp_path, "segformer_b1", "rgb")
    losses = build(teacher)(a_batch())
    assert losses["feat"].isfinite()


def test_student_and_depth_teacher_accept_hha(tmp_path: Path) -> None:
    task = Task(LABELS, Preprocess((64, 64), depth=DepthEncoding.for_hha("reference")))
    teacher = write_teacher(tmp_path, "segformer_b0", "depth", task)
    method = build(teacher, task, teacher_modality="depth")
    assert all(v.isfinite() for v in method(a_batch(3)).values())
    with pytest.raises(UsageError, match="was trained with depth"):
        build(teacher, TASK, teacher_modality="depth")


def test_bad_teachers_are_rejected(teachers: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="prim_kd needs a teacher"):
        build("")
    with pytest.raises(UsageError, match="contains a network for rgb, not depth"):
        build(teachers["rgb"], teacher_modality="depth")
    with pytest.raises(UsageError, match="neither a bundle nor a run"):
        build(tmp_path)
    others = Task(LabelSet("two", ("a", "b")), TASK.preprocess)
    with pytest.raises(UsageError, match="has 3 classes"):
        build(teachers["rgb"], others)
    with pytest.raises(UsageError, match="beta must be 0 or more, got -1"):
        build(teachers["rgb"], beta=-1.0)
    with pytest.raises(UsageError, match="use --teacher-modality none instead"):
        build(teachers["rgb"], alpha=0.0, beta=0.0)
    bright = Task(LABELS, Preprocess((64, 64), rgb_mean=(0.5, 0.5, 0.5)))
    with pytest.raises(UsageError, match="was trained with rgb_mean"):
        build(teachers["rgb"], bright)
    resnet = write_teacher(tmp_path, "deeplabv3plus_r18", "rgb")
    with pytest.raises(UsageError, match="stages have strides"):
        build(resnet)
    assert build(resnet, beta=0.0)(a_batch())["pred"].isfinite()
