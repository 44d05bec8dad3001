# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""CroDiNo-KD: losses against float64 references, gradients of each term, saved students."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from rgbd_seg_ros.labels import LabelSet
from rgbd_seg_ros.models import build as build_network
from rgbd_seg_ros.preprocess import Preprocess
from training.batch import Batch
from training.methods.base import Task
from training.methods.crodino_kd import Config, CroDiNoKD, contrastive, embedding, orthogonality
from training.options import UsageError
from training.schedule import parameter_groups

TASK = Task(LabelSet("three", ("a", "b", "c")), Preprocess((64, 64)))
TAU = 0.07


def build(**options: Any) -> CroDiNoKD:
    torch.manual_seed(0)
    given = {"network": "crodino_mit_b0", "width": 8, **options}
    return CroDiNoKD(Config(**given), TASK)


def a_batch(size: int = 2) -> Batch:
    torch.manual_seed(1)
    labels = torch.randint(0, 3, (2, size, 64, 64))
    labels[:, :, :5] = 255
    views = {"rgb": labels[0], "depth": labels[1]}
    return Batch(torch.randn(size, 3, 64, 64), torch.randn(size, 1, 64, 64), views)


def unit_rows(count: int, seed: int) -> Tensor:
    rows = torch.rand(count, 7, generator=torch.Generator().manual_seed(seed))
    return nn.functional.normalize(rows, dim=1)


def literal_contrast(z_rgb: Tensor, z_depth: Tensor) -> float:
    """Reference loss, computed anchor by anchor and term by term in double precision."""
    everyone = [*z_rgb.double(), *z_depth.double()]
    count = len(z_rgb)

    def s(u: Tensor, v: Tensor) -> float:
        return -math.sqrt(sum(float(d) ** 2 for d in u - v) + 1e-6) / TAU

    total = 0.0
    for i in range(count):
        for anchor, positive in ((i, count + i), (count + i, i)):
            others = [j for j in range(2 * count) if j != anchor]
            assert len(others) == 2 * count - 1
            denominator = sum(math.exp(s(everyone[anchor], everyone[j])) for j in others)
            total -= (
                math.log(math.exp(s(everyone[anchor], everyone[positive])) / denominator) / count
            )
    return total


@pytest.mark.parametrize("count", [2, 5])
def test_contrastive_equals_the_literal_formula(count: int) -> None:
    z_rgb, z_depth = unit_rows(count, 0), unit_rows(count, 1)
    value = float(contrastive(z_rgb, z_depth, TAU))
    assert value == pytest.approx(literal_contrast(z_rgb, z_depth), rel=1e-5)


@pytest.mark.parametrize("count", [2, 3, 8])
def test_identical_vectors_leave_the_log_of_the_denominator(count: int) -> None:
    same = unit_rows(1, 0).expand(count, -1)
    value = float(contrastive(same, same, TAU))
    assert value == pytest.approx(2 * math.log(2 * count - 1), rel=1e-6)


def test_contrastive_loss_has_a_finite_gradient_where_vectors_coincide() -> None:
    z = unit_rows(1, 0).expand(3, -1).clone().requires_grad_()
    contrastive(z, z.detach(), TAU).backward()
    assert z.grad is not None
    assert z.grad.isfinite().all()


def test_orthogonality_has_a_finite_gradient_where_a_half_is_zero() -> None:
    inv, spec = torch.zeros(2, 4, 3, 5, requires_grad=True), torch.rand(2, 4, 3, 5)
    orthogonality(inv, spec).backward()
    assert inv.grad is not None
    assert inv.grad.isfinite().all()
    dead = torch.zeros(2, 4, 3, 5, requires_grad=True)
    contrastive(embedding(dead), embedding(spec), TAU).backward()
    assert dead.grad is not None
    assert dead.grad.isfinite().all()


def test_one_scene_has_no_negatives() -> None:
    with pytest.raises(ValueError, match="at least 2 scenes, got 1"):
        contrastive(unit_rows(1, 0), unit_rows(1, 1), TAU)
    assert CroDiNoKD.min_batch == 2


def test_contrastive_loss_falls_when_positives_are_closer() -> None:
    z_rgb, z_depth = unit_rows(4, 0), unit_rows(4, 1)
    nearer = nn.functional.normalize(z_depth.lerp(z_rgb, 0.5), dim=1)
    assert contrastive(z_rgb, nearer, TAU) < contrastive(z_rgb, z_depth, TAU)


def test_embedding_is_the_unit_spatial_mean() -> None:
    torch.manual_seed(0)
    inv = torch.rand(2, 4, 3, 5)
    for z, one in zip(embedding(inv), inv.double(), strict=True):
        mean = torch.stack([one[:, y, x] for y in range(3) for x in range(5)]).mean(0)
        torch.testing.assert_close(z.double(), mean / mean.square().sum().sqrt(), rtol=1e-5,
                                   atol=1e-6)  # fmt: skip


def test_orthogonality_equals_the_literal_formula() -> None:
    torch.manual_seed(0)
    inv, spec = torch.rand(2, 4, 3, 5), torch.rand(2, 4, 3, 5)
    cosines = []
    for b in range(2):
        for y in range(3):
            for x in range(5):
                u, v = inv[b, :, y, x].double(), spec[b, :, y, x].double()
                cosines.append(float(u @ v) / math.sqrt(float(u @ u) * float(v @ v)))
    assert float(orthogonality(inv, spec)) == pytest.approx(sum(cosines) / 30, rel=1e-6)


def test_orthogonality_is_zero_for_disjoint_supports() -> None:
    torch.manual_seed(0)
    inv, spec = torch.rand(2, 4, 3, 5), torch.rand(2, 4, 3, 5)
    inv[:, :2] = 0
    spec[:, 2:] = 0
    assert float(orthogonality(inv, spec)) == 0.0
    assert float(orthogonality(inv, inv)) == pytest.approx(1.0)


def test_every_term_equals_the_literal_formula() -> None:
    method, batch = build(auxiliary_skip=False, tau=0.1), a_batch(3)
    method.eval()  # so that every call of a decoder is the same
    losses = method(batch)
    rgb, depth = method.students["rgb"], method.students["depth"]
    (f_rgb, h_rgb), (f_depth, h_depth) = rgb.encode(batch.rgb), depth.encode(batch.depth)
    channels = h_rgb.shape[1] // 2
    inv = {"rgb": h_rgb[:, :channels], "depth": h_depth[:, :channels]}
    spec = {"rgb": h_rgb[:, channels:], "depth": h_depth[:, channels:]}
    low = {"rgb": f_rgb[0], "depth": f_depth[0]}

    def ce(logits: Tensor, m: str) -> Tensor:
        return nn.functional.cross_entropy(logits, batch.labels[m], ignore_index=255)

    for m, other in (("rgb", "depth"), ("depth", "rgb")):
        student = method.students[m]
        plain = student.decode(torch.cat((inv[m], spec[m]), 1), low[m], (64, 64))[0]
        mixture = 0.65 * inv[m] + 0.35 * inv[other]
        mixed = student.decode(torch.cat((mixture, spec[m]), 1), low[m], (64, 64))[0]
        aux = [method.auxiliary(half, low[m], (64, 64))[0] for half in (inv[m], spec[m])]
        torch.testing.assert_close(losses[f"seg_{m}"], ce(plain, m))
        torch.testing.assert_close(losses[f"mix_{m}"], ce(mixed, m))
        torch.testing.assert_close(losses[f"aux_{m}"], ce(aux[0], m) + ce(aux[1], m))
    apart = sum(nn.functional.cosine_similarity(inv[m], spec[m], dim=1).mean() for m in inv)
    torch.testing.assert_close(losses["orth"], apart)
    z = {m: nn.functional.normalize(half.mean(dim=(2, 3)), dim=1) for m, half in inv.items()}
    torch.testing.assert_close(losses["con"], contrastive(z["rgb"], z["depth"], 0.1))
    assert set(losses) == {*(f"{t}_{m}" for t in ("seg", "mix", "aux") for m in ("rgb", "depth")),
                           "orth", "con"}  # fmt: skip


def test_mixup_toward_the_other_swaps_the_shares() -> None:
    batch = a_batch()
    own = build(mixup=0.25).eval()(batch)
    other = build(mixup=0.75, mixup_direction="other").eval()(batch)
    for m in ("rgb", "depth"):
        torch.testing.assert_close(own[f"mix_{m}"], other[f"mix_{m}"])
        assert not torch.allclose(own[f"mix_{m}"], own[f"seg_{m}"])


@pytest.mark.parametrize(
    ("options", "gone"),
    [
        ({"mixup": 0.0}, {"mix_rgb", "mix_depth"}),
        ({"auxiliary": False}, {"aux_rgb", "aux_depth"}),
        ({"orthogonality": False}, {"orth"}),
        ({"contrastive": False}, {"con"}),
    ],
    ids=["mixup", "auxiliary", "orthogonality", "contrastive"],
)
def test_every_term_can_be_switched_off(options: dict[str, Any], gone: set[str]) -> None:
    batch = a_batch()
    full, ablated = build().eval()(batch), build(**options).eval()(batch)
    assert set(full) - set(ablated) == gone
    for name in ("seg_rgb", "seg_depth"):  # the students start equal
        torch.testing.assert_close(ablated[name], full[name])


def test_decoupling_reaches_the_data_pipeline() -> None:
    assert build().views == "decoupled"
    assert build(decoupled=False).views == "shared"


def reached(method: CroDiNoKD, loss: Tensor) -> set[str]:
    """Parts of the method that receive a gradient from a loss, such as students.rgb.encoder."""
    method.zero_grad()
    loss.backward(retain_graph=True)
    return {
        ".".join(name.split(".")[: 1 if name.startswith("auxiliary") else 3])
        for name, p in method.named_parameters()
        if p.grad is not None and bool(p.grad.any())
    }


def test_gradients_of_each_term_reach_only_the_parts_it_trains() -> None:
    method = build()
    losses = method(a_batch(3))
    encoders = {f"students.{m}.{part}" for m in ("rgb", "depth")
                for part in ("encoder", "projection")}  # fmt: skip
    of = {m: {f"students.{m}.{part}" for part in ("encoder", "projection")}
          for m in ("rgb", "depth")}  # fmt: skip
    for m in ("rgb", "depth"):
        assert reached(method, losses[f"seg_{m}"]) == of[m] | {f"students.{m}.decoder"}
        # Mixed features come from both encoders; the student's own decoder makes the mask.
        assert reached(method, losses[f"mix_{m}"]) == encoders | {f"students.{m}.decoder"}
        assert reached(method, losses[f"aux_{m}"]) == of[m] | {"auxiliary"}
    assert reached(method, losses["orth"]) == encoders
    assert reached(method, losses["con"]) == encoders
    everything = reached(method, torch.stack(list(losses.values())).sum())
    assert everything == encoders | {"students.rgb.decoder", "students.depth.decoder", "auxiliary"}


def test_only_the_students_are_saved() -> None:
    method = build()
    for student in method.students.values():
        plain = build_network(student.spec)
        assert student.spec.split
        assert student.state_dict().keys() == plain.state_dict().keys()
        assert [type(m) for m in student.modules()] == [type(m) for m in plain.modules()]
    trained = {p for group in parameter_groups(method, 0.1) for p in group["params"]}
    assert trained == set(method.parameters())


@pytest.mark.parametrize(("skip", "millions"), [(True, 4.86), (False, 4.73)])
def test_published_sizes(skip: bool, millions: float) -> None:
    options = Config(auxiliary_skip=skip)
    task = Task(LabelSet("forty", tuple(map(str, range(40)))), Preprocess((64, 64)))
    with torch.device("meta"):
        method = CroDiNoKD(options, task)
    assert method.auxiliary is not None
    sizes = [sum(p.numel() for p in part.parameters()) / 1e6
             for part in (method.students, method.auxiliary)]  # fmt: skip
    assert sizes[0] == pytest.approx(68.52, abs=0.005)
    assert sizes[1] == pytest.approx(millions, abs=0.005)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"network": "deeplabv3plus_mit_b0"}, "needs a network with a split, got 'deeplab"),
        ({"mixup": 1.5}, "mixup must be from 0"),
        ({"tau": 0.0}, "tau must be above 0"),
    ],
)
def test_bad_options_are_rejected(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        build(**options)


@pytest.mark.parametrize(
    ("part", "names"),
    [
        ("mixup", {"mix_rgb", "mix_depth"}),
        ("orthogonality", {"orth"}),
        ("contrastive", {"con"}),
        ("auxiliary", {"aux_rgb", "aux_depth"}),
    ],
)
def test_a_weight_scales_its_losses_only(part: str, names: set[str]) -> None:
    plain = build()(a_batch())
    weighted = build(**{f"{part}_weight": 0.25})(a_batch())
    for name, value in plain.items():
        factor = 0.25 if name in names else 1.0
        torch.testing.assert_close(weighted[name], factor * value, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("weight", [0.0, -1.0, math.nan, math.inf])
def test_a_weight_must_be_positive(weight: float) -> None:
    with pytest.raises(UsageError, match=r"contrastive_weight must be above 0.*contrastive false"):
        Config(contrastive_weight=weight)


def test_the_contrast_can_train_the_projection_only() -> None:
    gradients = {}
    for into in ("all", "projection"):
        method = build(contrastive_into=into)
        losses = method(a_batch())
        losses["con"].backward()
        gradients[into] = {n: p.grad for n, p in method.students.named_parameters()}
        if into == "all":
            value, statistics = losses["con"], dict(method.students.named_buffers())
        else:
            torch.testing.assert_close(losses["con"], value, rtol=1e-5, atol=1e-6)
            for name, buffer in method.students.named_buffers():
                if not name.endswith("num_batches_tracked"):
                    torch.testing.assert_close(buffer, statistics[name])
    for name, gradient in gradients["all"].items():
        stopped = gradients["projection"][name]
        if ".projection." in name:  # unchanged
            torch.testing.assert_close(stopped, gradient, rtol=1e-4, atol=1e-7)
        elif ".encoder." in name:
            assert float(gradient.abs().sum()) > 0, name
            assert stopped is None, name
