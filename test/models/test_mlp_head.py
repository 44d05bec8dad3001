# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The all-MLP head equals its published form, in values, statistics and gradients."""

from __future__ import annotations

from typing import cast

import pytest
import torch
from torch import Tensor

from rgbd_seg_ros.models.segformer import AllMLPHead

CHANNELS = (8, 16, 40, 64)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("size", [(32, 48), (19, 26)])
def test_it_equals_the_published_form(training: bool, size: tuple[int, int]) -> None:
    results = []
    for forward in (AllMLPHead.forward, AllMLPHead.published):
        torch.manual_seed(0)
        head = AllMLPHead(CHANNELS, 32, 7).train(training).double()
        for linear in head.linears:
            torch.nn.init.normal_(linear.bias)  # type: ignore[arg-type]
        torch.nn.init.normal_(cast(Tensor, head.fuse.bias))
        features = tuple(
            torch.randn(2, c, -(-size[0] // s), -(-size[1] // s), dtype=torch.float64)
            .requires_grad_()
            for c, s in zip(CHANNELS, (1, 2, 4, 8), strict=True)
        )  # fmt: skip
        torch.manual_seed(1)  # dropout
        logits, prelogits = forward(head, features)
        (logits.square().mean() + prelogits.mean()).backward()
        gradients = [cast(Tensor, x.grad) for x in (*features, *head.parameters())]
        results.append([logits, prelogits, *gradients, *head.buffers()])
    assert all(float(x.abs().max()) > 0 for x in results[0][2:-1] if x.ndim > 1)
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-11)
