# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The segmentation loss: each kind against a pixel-by-pixel reference, and its edge cases."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from training.methods.losses import SegmentationLoss, cross_entropy, hard_pixels
from training.options import UsageError

KINDS: list[dict[str, Any]] = [
    {"kind": "cross_entropy"},
    {"kind": "focal"},
    {"kind": "focal", "focal_gamma": 0.5},
    {"kind": "ohem"},
    {"kind": "ohem", "ohem_threshold": 0.005, "ohem_min_kept": 0.3},
]
WEIGHTS = [(), (0.5, 3.0, 0.0, 1.25)]


def pixels(classes: int = 4, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Random logits 2×K×5×6 in float64 and labels, some of which are 255."""
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(2, classes, 5, 6, generator=generator, dtype=torch.float64)
    labels = torch.randint(0, classes, (2, 5, 6), generator=generator)
    labels[0, :2] = 255
    labels[1, 3, ::2] = 255
    return logits, labels


def reference(
    logits: Tensor,
    labels: Tensor,
    kind: str,
    focal_gamma: float = 2.0,
    ohem_threshold: float = 0.7,
    ohem_min_kept: float = 1 / 16,
    class_weights: tuple[float, ...] = (),
) -> float:
    """The definition, one pixel after the other."""
    found = []
    for index in (labels != 255).nonzero().tolist():
        image, row, column = index
        true = int(labels[image, row, column])
        scores = [math.exp(value) for value in logits[image, :, row, column].tolist()]
        p = scores[true] / sum(scores)
        factor = (1 - p) ** focal_gamma if kind == "focal" else 1.0
        found.append((p, factor * -math.log(p), class_weights[true] if class_weights else 1.0))
    if kind == "ohem":
        hard = [pixel for pixel in found if pixel[0] < ohem_threshold]
        wanted = math.ceil(ohem_min_kept * len(found))
        found = hard if len(hard) >= wanted else sorted(found)[:wanted]
    return sum(loss * w for _, loss, w in found) / sum(w for _, _, w in found)


@pytest.mark.parametrize("weights", WEIGHTS, ids=["unweighted", "weighted"])
@pytest.mark.parametrize("options", KINDS, ids=str)
def test_value_and_gradient_match_the_definition(
    options: dict[str, Any], weights: tuple[float, ...]
) -> None:
    logits, labels = pixels()
    loss = SegmentationLoss(**options, class_weights=weights)
    expected = reference(logits, labels, **options, class_weights=weights)
    assert loss(logits, labels).item() == pytest.approx(expected, rel=1e-6)
    logits.requires_grad_()
    assert torch.autograd.gradcheck(lambda x: loss(x, labels), (logits,), atol=1e-6)
    single = loss(logits.detach().float(), labels)
    assert single.dtype == torch.float32
    assert single.item() == pytest.approx(expected, rel=1e-5)


def test_both_rules_of_ohem_are_in_use() -> None:
    logits, labels = pixels()
    losses = functional.cross_entropy(logits, labels, ignore_index=255, reduction="none")
    valid = labels != 255
    by_threshold = hard_pixels(losses, valid, 0.7, 1 / 16)
    assert torch.equal(by_threshold, valid & (losses > -math.log(0.7)))
    assert by_threshold.sum() < valid.sum()
    by_count = hard_pixels(losses, valid, 0.005, 0.3)
    assert int(by_count.sum()) == math.ceil(0.3 * int(valid.sum()))
    assert losses[by_count].min() > losses[valid & ~by_count].max()
    assert losses[valid & (losses > -math.log(0.005))].numel() < by_count.sum()


def test_equally_hard_pixels_are_selected_together() -> None:
    losses = torch.tensor([0.3, 0.1, 0.2, 0.2, 0.2, 0.0])
    valid = torch.tensor([True] * 5 + [False])
    kept = hard_pixels(losses, valid, 0.5, 0.4)  # two of five, and the second is one of three
    assert kept.tolist() == [True, False, True, True, True, False]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_the_default_is_pytorchs_cross_entropy_bit_by_bit(dtype: torch.dtype) -> None:
    torch.manual_seed(1)
    logits = torch.randn(2, 7, 33, 41).to(dtype)
    labels = torch.randint(0, 7, (2, 33, 41))
    labels[:, :5] = 255
    ours, theirs = (logits.clone().requires_grad_() for _ in range(2))
    loss = SegmentationLoss()(ours, labels)
    expected = functional.cross_entropy(theirs.float(), labels, ignore_index=255)
    assert torch.equal(loss, expected)
    loss.backward()
    expected.backward()
    assert ours.grad is not None
    assert theirs.grad is not None
    torch.testing.assert_close(ours.grad, theirs.grad)
    assert torch.equal(loss, cross_entropy(logits, labels))


def test_class_weights_are_pytorchs() -> None:
    logits, labels = pixels()
    weights = (0.5, 3.0, 0.0, 1.25)
    expected = functional.cross_entropy(
        logits, labels, torch.tensor(weights, dtype=torch.float64), ignore_index=255
    )
    torch.testing.assert_close(
        SegmentationLoss(class_weights=weights)(logits, labels), expected, rtol=1e-6, atol=0
    )


@pytest.mark.parametrize("weights", WEIGHTS, ids=["unweighted", "weighted"])
@pytest.mark.parametrize("kind", ["cross_entropy", "focal", "ohem"])
def test_a_batch_without_labels_gives_0_with_a_gradient(
    kind: str, weights: tuple[float, ...]
) -> None:
    logits, labels = pixels()
    logits.requires_grad_()
    loss = SegmentationLoss(kind, class_weights=weights)(logits, torch.full_like(labels, 255))
    assert loss.item() == 0.0
    loss.backward()
    assert logits.grad is not None
    assert (logits.grad == 0).all()


@pytest.mark.parametrize("kind", ["cross_entropy", "focal", "ohem"])
def test_nan_is_not_hidden(kind: str) -> None:
    logits, labels = pixels()
    logits[1, :, 0, 0] = float("nan")
    labels[1, 0, 0] = 2
    assert SegmentationLoss(kind)(logits, labels).isnan()
    everywhere = torch.full_like(logits, float("nan"))
    assert SegmentationLoss(kind)(everywhere, labels).isnan()


@pytest.mark.parametrize("options", KINDS, ids=str)
def test_certain_pixels_have_a_finite_gradient(options: dict[str, Any]) -> None:
    labels = torch.zeros(1, 2, 2, dtype=torch.long)
    logits = torch.zeros(1, 3, 2, 2)
    logits[:, 0] = 200.0  # p is exactly 1
    logits.requires_grad_()
    loss = SegmentationLoss(**options)(logits, labels)
    loss.backward()
    assert loss.item() == 0.0
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


@pytest.mark.parametrize("kind", ["cross_entropy", "focal", "ohem"])
def test_mixed_precision_computes_the_loss_in_float32(kind: str) -> None:
    logits, labels = pixels()
    half = logits.to(torch.bfloat16)
    loss = SegmentationLoss(kind, class_weights=(1.0, 2.0, 3.0, 4.0))
    with torch.autocast("cpu", torch.bfloat16):
        found = loss(half, labels)
    assert found.dtype == torch.float32
    expected = reference(half.double(), labels, kind, class_weights=(1.0, 2.0, 3.0, 4.0))
    assert found.item() == pytest.approx(expected, rel=1e-5)


def test_the_loss_adds_nothing_to_the_state_and_moves_with_its_method() -> None:
    method = nn.ModuleDict({"loss": SegmentationLoss("focal", class_weights=(1.0, 2.0))})
    assert not method.state_dict()
    assert not list(method.parameters())
    method.to("meta")
    weights = method["loss"].weights
    assert isinstance(weights, Tensor)
    assert weights.device.type == "meta"


def test_an_unknown_kind_names_the_known_ones() -> None:
    with pytest.raises(UsageError, match="unknown loss 'focus'; did you mean 'focal'"):
        SegmentationLoss("focus")
