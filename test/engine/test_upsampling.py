# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The most probable class after upsampling, compared with upsampling all classes."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from rgbd_seg_ros.engine import upsampling
from rgbd_seg_ros.engine.upsampling import best_class


def blobs(batch: int, classes: int, size: tuple[int, int], coarse: int) -> Tensor:
    """Random probabilities with regions of about ``coarse`` pixels, as networks give them."""
    generator = torch.Generator().manual_seed(classes)
    small = [max(1, side // coarse) for side in size]
    logits = 4 * torch.randn(batch, classes, *small, generator=generator)
    return functional.interpolate(logits, size, mode="bilinear").softmax(dim=1)


@pytest.mark.parametrize("coarse", [1, 4, 16])
@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize(
    ("old", "new"),
    [
        ((12, 16), (48, 64)),  # an integer factor
        ((12, 16), (12, 16)),  # none
        ((15, 20), (41, 67)),  # other factors in both directions
        ((30, 40), (17, 80)),  # smaller in one direction
        ((30, 40), (7, 9)),
        ((1, 5), (4, 9)),
        ((5, 1), (9, 1)),
        ((3, 3), (300, 2)),
    ],
)
def test_it_equals_the_maximum_of_all_upsampled_classes(
    old: tuple[int, int], new: tuple[int, int], batch: int, coarse: int
) -> None:
    probabilities = blobs(batch, 7, old, coarse)
    wanted, classes = functional.interpolate(
        probabilities, new, mode="bilinear", align_corners=False
    ).max(dim=1)
    best, ids = best_class(probabilities, new)
    assert best.shape == ids.shape == (batch, *new)
    torch.testing.assert_close(best, wanted, atol=1e-6, rtol=0)
    # Where rounding decides between two classes, either is right.
    differ = ids != classes
    assert differ.float().mean() < 1e-3
    full = functional.interpolate(probabilities, new, mode="bilinear", align_corners=False)
    chosen = full.gather(1, ids[:, None].long())[:, 0]
    torch.testing.assert_close(chosen, wanted, atol=1e-6, rtol=0)


def test_one_class_and_equal_probabilities() -> None:
    best, ids = best_class(torch.ones(1, 1, 4, 4), (8, 8))
    assert best.unique().tolist() == [1]
    assert ids.unique().tolist() == [0]
    best, ids = best_class(torch.full((1, 4, 3, 3), 0.25), (6, 6))
    assert best.unique().tolist() == [0.25]
    assert ids.unique().tolist() == [0]


def test_only_pixels_around_borders_are_interpolated_in_all_classes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Two halves, so that the border is one column of positions wide.
    halves = torch.tensor([[0.9, 0.1], [0.1, 0.9]]).repeat_interleave(8, 1)
    probabilities = halves[None, :, None, :].expand(1, 2, 16, 16).contiguous()
    interpolated: list[int] = []
    lerp = torch.lerp

    def count(start: Tensor, end: Tensor, weight: Tensor) -> Tensor:
        interpolated.append(start.shape[0])
        return lerp(start, end, weight)

    monkeypatch.setattr(upsampling.torch, "lerp", count)
    best_class(probabilities, (64, 64))
    assert interpolated == [64 * 4] * 3
