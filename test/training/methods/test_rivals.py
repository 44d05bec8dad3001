# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""CroDiNo-KD's rivals: each loss against a literal float64 reference, teachers, gradients."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from rgbd_seg_ros.bundle import NetworkRecord, save_network
from rgbd_seg_ros.labels import LabelSet
from rgbd_seg_ros.models import build
from rgbd_seg_ros.preprocess import Preprocess
from training.batch import Batch
from training.methods import build_method, options_of
from training.methods.angular_kd import angular_distance
from training.methods.base import Task
from training.methods.losses import dice, kl_divergence
from training.methods.mgd import MGD, mask
from training.methods.proto_kd import prototype_loss
from training.options import UsageError

TASK = Task(LabelSet("three", ("a", "b", "c")), Preprocess((64, 64)))
#: Method → names of its losses for one student.
RIVALS = {
    "kd_v1": {"kl"},
    "kd_v2": {"ce", "kl"},
    "kd_net": {"ce", "dice", "kl", "maps"},
    "mgd": {"ce", "restore"},
    "proto_kd": {"ce", "dice", "kl", "proto"},
    "lad": {"ce", "kl", "angle"},
    "cad": {"ce", "kl", "angle"},
}
each_rival = pytest.mark.parametrize("name", RIVALS)


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("teacher") / "teacher.safetensors"
    spec = TASK.spec("acnet_r18", "rgbd", width=8)
    save_network(path, build(spec), NetworkRecord(spec, TASK.preprocess, TASK.labels, {}, ""))
    return path


@pytest.fixture(scope="module")
def make(teacher: Path) -> Callable[..., Any]:
    def make(name: str, **options: Any) -> Any:
        torch.manual_seed(1)
        given = {"network": "deeplabv3plus_r18", "width": 8, "teacher": str(teacher), **options}
        return build_method(name, options_of(name)(**given), TASK)

    return make


def a_batch() -> Batch:
    torch.manual_seed(2)
    labels = torch.randint(0, 2, (2, 64, 64))  # the third class does not occur
    labels[:, :, :5] = 255
    return Batch(
        torch.randn(2, 3, 64, 64), torch.randn(2, 1, 64, 64),
        dict.fromkeys(("rgb", "depth", "rgbd"), labels),
    )  # fmt: skip


@each_rival
def test_losses_gradients_and_the_teacher(name: str, make: Callable[..., Any]) -> None:
    method = make(name)
    before = {k: v.clone() for k, v in method.teacher.module.state_dict().items()}
    losses = method.train()(a_batch())
    assert set(losses) == {f"{loss}_{m}" for loss in RIVALS[name] for m in ("rgb", "depth")}
    assert all(value.ndim == 0 and value.isfinite() for value in losses.values())
    sum(losses.values()).backward()
    assert all(p.grad is not None for p in method.parameters())
    assert all(p.grad is None for p in method.teacher.module.parameters())
    for key, value in method.teacher.module.state_dict().items():
        assert torch.equal(value, before[key])
    assert not any("teacher" in key for key in method.state_dict())
    assert set(method.students) == {"rgb", "depth"}  # what is saved: no generator
    assert not any("generator" in key for key in method.students.state_dict())


@each_rival
def test_students_are_independent(name: str, make: Callable[..., Any]) -> None:
    method = make(name)
    losses = method(a_batch())
    sum(v for k, v in losses.items() if k.endswith("_rgb")).backward()
    assert all(p.grad is None for p in method.students["depth"].parameters())
    assert any(p.grad is not None for p in method.students["rgb"].parameters())


@pytest.mark.parametrize("name", ["kd_net", "mgd", "lad", "cad"])
@pytest.mark.parametrize("student", [{"output_stride": 8}, {"network": "deeplabv3plus_lite0"}])
def test_a_teacher_with_other_maps_is_refused(
    name: str, student: dict[str, Any], make: Callable[..., Any]
) -> None:
    with pytest.raises(UsageError, match=r"the teacher's last map has 512 channels at stride 16"):
        make(name, **student)


@pytest.mark.parametrize("name", ["kd_v1", "kd_v2", "proto_kd"])
def test_methods_that_compare_no_maps_take_any_encoder(
    name: str, make: Callable[..., Any]
) -> None:
    losses = make(name, network="deeplabv3plus_lite0", output_stride=8)(a_batch())
    assert all(value.isfinite() for value in losses.values())


@each_rival
def test_a_teacher_is_required(name: str) -> None:
    with pytest.raises(UsageError, match="this method needs a teacher: train one with"):
        build_method(name, options_of(name)(), TASK)


@pytest.mark.parametrize(
    ("name", "keys", "message"),
    [
        ("kd_net", {"imitation": 1.5}, "imitation must be from 0 to 1, got 1.5"),
        ("kd_net", {"temperature": 0.0}, "temperature must be above 0"),
        ("mgd", {"drop": 1.0}, "drop must be at least 0 and below 1"),
        ("mgd", {"alpha": 0.0}, "alpha must be above 0"),
        ("proto_kd", {"prototype_weight": -1.0}, "prototype_weight must be above 0"),
        ("lad", {"angle_weight": 0.0}, "angle_weight must be above 0"),
    ],
)
def test_values_out_of_range_are_refused(name: str, keys: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        options_of(name)(**keys)


# --- The formulas --------------------------------------------------------------------------------


def softmax(values: list[float], temperature: float = 1.0) -> list[float]:
    powers = [math.exp(v / temperature) for v in values]
    return [p / sum(powers) for p in powers]


def positions(shape: Any) -> Iterator[tuple[int, int, int]]:
    yield from np.ndindex(shape[0], *shape[2:])


def literal_kl(target: Tensor, logits: Tensor, temperature: float) -> float:
    total, count = 0.0, 0
    for b, y, x in positions(logits.shape):
        p = softmax(target[b, :, y, x].double().tolist(), temperature)
        q = softmax(logits[b, :, y, x].double().tolist(), temperature)
        total += sum(pk * (math.log(pk) - math.log(qk)) for pk, qk in zip(p, q, strict=True))
        count += 1
    return total / count


@pytest.mark.parametrize("temperature", [1.0, 5.0, 10.0])
def test_kl_at_a_temperature(temperature: float) -> None:
    torch.manual_seed(0)
    target, logits = torch.randn(2, 4, 3, 5) * 3, torch.randn(2, 4, 3, 5) * 3
    found = float(kl_divergence(target, logits, temperature=temperature))
    assert found == pytest.approx(literal_kl(target, logits, temperature), rel=1e-4)


def test_dice() -> None:
    torch.manual_seed(0)
    logits, labels = torch.randn(2, 3, 4, 5), torch.randint(0, 2, (2, 4, 5))
    labels[0, 0] = 255
    coefficients = []
    for k in range(3):
        product = squares = 0.0
        for b, y, x in positions(logits.shape):
            if int(labels[b, y, x]) != 255:
                p = softmax(logits[b, :, y, x].double().tolist())[k]
                t = float(labels[b, y, x] == k)
                product += p * t
                squares += p * p + t * t
        coefficients.append((2 * product + 1e-5) / (squares + 1e-5))
    assert float(dice(logits, labels)) == pytest.approx(1 - sum(coefficients) / 3, rel=1e-5)
    perfect = torch.nn.functional.one_hot(labels.clamp(max=2), 3).movedim(-1, 1) * 100.0
    assert float(dice(perfect, labels)) == pytest.approx(0.0, abs=1e-6)


def test_kd_net(make: Callable[..., Any]) -> None:
    """(1-λ)·(CE + Dice) + λ·(KL at T + KL of the maps)."""
    method = make("kd_net", imitation=0.6, temperature=3.0).eval()
    batch = a_batch()
    losses = method(batch)
    output, taught = method.students["rgb"](batch.rgb), method.teacher(batch.rgb, batch.depth)
    labels = batch.labels["rgb"]
    cross_entropy = torch.nn.functional.cross_entropy(output.logits, labels, ignore_index=255)
    torch.testing.assert_close(losses["ce_rgb"], 0.4 * cross_entropy)
    torch.testing.assert_close(losses["dice_rgb"], 0.4 * dice(output.logits, labels))
    maps = literal_kl(taught.features[-1], output.features[-1], 1.0)
    assert float(losses["maps_rgb"]) == pytest.approx(0.6 * maps, rel=1e-4)
    kl = float(kl_divergence(taught.logits, output.logits, temperature=3.0))
    assert float(losses["kl_rgb"]) == pytest.approx(0.6 * kl, rel=1e-5)


def test_mgd(make: Callable[..., Any], capsys: pytest.CaptureFixture[str]) -> None:
    method: MGD = make("mgd", alpha=0.01, drop=0.5).eval()
    assert "alpha 0.01 weights the mean squared error of the 512×4×4 maps by 81.9" in (
        capsys.readouterr().err
    )
    batch = a_batch()
    torch.manual_seed(5)
    losses = method(batch)
    student, taught = method.students["rgb"](batch.rgb), method.teacher(batch.rgb, batch.depth)
    torch.manual_seed(5)
    kept = mask(student.features[-1], 0.5)
    restored = method.generators["rgb"](student.features[-1] * kept).double()
    expected = 0.01 * (restored - taught.features[-1].double()).square().sum() / 2
    assert float(losses["restore_rgb"]) == pytest.approx(float(expected), rel=1e-5)


def test_the_mask_of_mgd_drops_its_share_of_positions_in_all_channels() -> None:
    torch.manual_seed(0)
    kept = mask(torch.empty(4, 7, 100, 100), 0.75)
    assert kept.shape == (4, 1, 100, 100)
    assert set(kept.unique().tolist()) == {0.0, 1.0}
    assert float(kept.mean()) == pytest.approx(0.25, abs=0.01)  # 40,000 draws: std 0.002
    assert not torch.equal(kept[0], kept[1])
    assert not torch.equal(kept, mask(torch.empty(4, 7, 100, 100), 0.75))


def literal_prototypes(student: Tensor, teacher: Tensor, labels: Tensor, classes: int) -> float:
    total, count = 0.0, 0
    for b in range(len(student)):
        for k in range(classes):
            pixels = [(y, x) for y, x in np.ndindex(*labels.shape[1:]) if labels[b, y, x] == k]
            if not pixels:
                continue
            maps = []
            for features in (student.double(), teacher.double()):
                prototype = sum(features[b, :, y, x] for y, x in pixels) / (len(pixels) + 1e-5)
                maps.append([
                    float(features[b, :, y, x] @ prototype
                          / features[b, :, y, x].norm() / prototype.norm())
                    for y, x in np.ndindex(*labels.shape[1:])
                ])  # fmt: skip
            total += sum((a - c) ** 2 for a, c in zip(*maps, strict=True))
            count += len(maps[0])
    return total / count


def test_prototypes() -> None:
    torch.manual_seed(0)
    student, teacher = torch.randn(2, 5, 3, 4), torch.randn(2, 6, 3, 4)  # widths may differ
    labels = torch.tensor([[[0, 0, 1, 255]] * 3, [[2, 2, 2, 2]] * 3])
    found = float(prototype_loss(student, teacher, labels, 4))
    assert found == pytest.approx(literal_prototypes(student, teacher, labels, 4), rel=1e-4)
    larger = labels.repeat_interleave(4, 1).repeat_interleave(4, 2)  # truth at full size
    assert float(prototype_loss(student, teacher, larger, 4)) == pytest.approx(found, rel=1e-6)


def test_prototypes_of_unlabeled_or_dead_maps_are_finite() -> None:
    student = torch.zeros(1, 5, 3, 4, requires_grad=True)
    labels = torch.zeros(1, 3, 4, dtype=torch.long)
    prototype_loss(student, torch.randn(1, 5, 3, 4), labels, 2).backward()
    assert student.grad is not None
    assert student.grad.isfinite().all()
    nothing = torch.full_like(labels, 255)
    assert float(prototype_loss(torch.randn(1, 5, 3, 4), torch.randn(1, 5, 3, 4), nothing, 2)) == 0


@pytest.mark.parametrize("per_channel", [False, True])
def test_angles(per_channel: bool) -> None:
    torch.manual_seed(0)
    student, teacher = torch.randn(2, 5, 3, 4), torch.randn(2, 5, 3, 4)
    vectors = [
        m.double().reshape(10, 12) if per_channel else m.double().reshape(2, 60)
        for m in (student, teacher)
    ]
    cosines = [float(u @ v / u.norm() / v.norm()) for u, v in zip(*vectors, strict=True)]
    expected = sum(2 * (1 - c) for c in cosines) / len(cosines)
    found = float(angular_distance(student, teacher, per_channel))
    assert found == pytest.approx(expected, rel=1e-5)
    scaled = float(angular_distance(student * 7, teacher * 0.1, per_channel))
    assert scaled == pytest.approx(found, rel=1e-5)


@pytest.mark.parametrize("per_channel", [False, True])
def test_dead_channels_have_finite_gradients(per_channel: bool) -> None:
    student = torch.randn(2, 5, 3, 4)
    student[:, 2] = 0
    student.requires_grad_(True)
    angular_distance(student, torch.randn(2, 5, 3, 4), per_channel).backward()
    assert student.grad is not None
    assert student.grad.isfinite().all()
