# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Linear CKA against its definition, and what it does not see; histograms that count all."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from training.similarity import Histogram, LinearCKA, value_ranges


def of(x: Tensor, y: Tensor, parts: int = 1) -> float:
    cka = LinearCKA()
    for a, b in zip(x.tensor_split(parts), y.tensor_split(parts), strict=True):
        cka.update(a, b)
    return cka.value


def literal(x: Tensor, y: Tensor) -> float:
    """HSIC of the two centerd Gram matrices over the pixels, normalized."""
    grams = []
    for v in (x, y):
        rows = v.permute(0, 2, 3, 1).flatten(0, 2).double()
        gram = rows @ rows.T
        centering = torch.eye(len(rows), dtype=torch.float64) - 1 / len(rows)
        grams.append(centering @ gram @ centering)
    k, m = grams
    return float((k * m).sum() / ((k * k).sum() * (m * m).sum()).sqrt())


def test_it_equals_the_definition_however_the_pictures_come() -> None:
    torch.manual_seed(0)
    x = torch.randn(6, 5, 3, 4) + 2
    y = torch.cat((x[:, :2] * 3, torch.randn(6, 1, 3, 4)), dim=1)
    assert of(x, y) == pytest.approx(literal(x, y), rel=1e-6)
    assert of(x, y, parts=4) == pytest.approx(literal(x, y), rel=1e-6)


def test_rotation_scale_and_offset_are_not_seen() -> None:
    torch.manual_seed(0)
    x = torch.randn(4, 6, 5, 5)
    rotation, _ = torch.linalg.qr(torch.randn(6, 6))
    turned = torch.einsum("bchw,cd->bdhw", x, rotation) * 7 + 3
    assert of(x, turned) == pytest.approx(1.0, abs=1e-5)
    assert of(x, torch.randn(4, 6, 5, 5)) < 0.2


def test_the_finer_map_is_resized() -> None:
    torch.manual_seed(0)
    coarse = torch.randn(3, 4, 4, 4)
    fine = coarse.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    assert of(coarse, fine) == pytest.approx(1.0, abs=1e-5)


def test_without_variation_there_is_no_value() -> None:
    assert math.isnan(LinearCKA().value)
    assert math.isnan(of(torch.ones(2, 3, 2, 2), torch.rand(2, 3, 2, 2)))


def test_values_out_of_range_are_counted_but_not_drawn() -> None:
    histogram = Histogram(0.0, 1.0, bins=10)
    histogram.update(torch.arange(0.05, 1.0, 0.1))
    histogram.update(torch.tensor([-50.0, -2.0, 0.0, 1.0, 99.0]))
    assert histogram.counts.tolist() == [2, 1, 1, 1, 1, 1, 1, 1, 1, 2]
    assert (histogram.below, histogram.above) == (2, 1)
    assert np.sum(histogram.density * np.diff(histogram.edges)) == pytest.approx(12 / 15)


def test_the_range_is_the_widest_of_all_networks_and_frames() -> None:
    seen = [{"stage": torch.linspace(*ends, 1001)} for ends in ((0, 1), (-3, 0), (0, 2))]
    ranges = value_ranges([*seen, {"half": torch.zeros(4)}])
    assert ranges["stage"] == pytest.approx((-2.997, 1.998))
    assert ranges["half"] == (0, 0)


def test_a_constant_map_has_a_histogram() -> None:
    histogram = Histogram(0.0, 0.0, bins=4)
    histogram.update(torch.zeros(8))
    assert histogram.counts.sum() == 8
