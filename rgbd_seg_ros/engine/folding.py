# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Batch norms folded into the convolutions before them, for inference."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

#: Largest accepted difference of the logits, relative to the largest of them.
TOLERANCE = 1e-4


def fold_batch_norms(module: nn.Module, inputs: Sequence[Tensor]) -> nn.Module:
    """A copy of a network in which each batch norm that follows a convolution is part of it.

    In evaluation mode a batch norm is a linear map per channel, so that the result is the same but
    for rounding. Only a batch norm whose input is the output of a convolution, and that output the
    input of no other module, is folded. Modules that run several times stay as they are.

    Args:
        module: a network that returns an :class:`~rgbd_seg_ros.models.Output`, on the CPU, in
            float32; it stays as it is.
        inputs: example inputs, with which the network is run twice.

    Raises:
        ValueError: the copy's logits differ, because a convolution's output is also used outside
            of modules.
    """
    folded = copy.deepcopy(module).eval()
    names = {part: name for name, part in folded.named_modules()}
    runs: Counter[nn.Module] = Counter()
    readers: Counter[int] = Counter()
    outputs: dict[int, nn.Module] = {}
    pairs: list[tuple[nn.Module, nn.Module, int]] = []
    kept: list[Any] = []  # a tensor that was freed could share its id with a later one

    def record(part: nn.Module, given: tuple[Any, ...], output: Any) -> None:
        runs[part] += 1
        kept.append((given, output))
        if not any(part.children()):
            readers.update(id(x) for x in given if isinstance(x, Tensor))
        if isinstance(part, nn.BatchNorm2d) and id(given[0]) in outputs:
            pairs.append((outputs[id(given[0])], part, id(given[0])))
        if isinstance(part, nn.Conv2d):
            outputs[id(output)] = part

    hooks = [part.register_forward_hook(record) for part in folded.modules()]
    with torch.no_grad():
        wanted = folded(*inputs).logits
    for hook in hooks:
        hook.remove()
    for convolution, norm, between in pairs:
        if runs[convolution] == runs[norm] == readers[between] == 1:
            _replace(folded, names[convolution], fuse_conv_bn_eval(convolution, norm))  # type: ignore[type-var, arg-type]
            _replace(folded, names[norm], nn.Identity())
    with torch.no_grad():
        error = float((folded(*inputs).logits - wanted).abs().max())
    if not error <= TOLERANCE * max(1.0, float(wanted.abs().max())):
        raise ValueError(f"with folded batch norms, the logits differ by {error:.3g}")
    return folded


def _replace(module: nn.Module, name: str, part: nn.Module) -> None:
    parent, _, leaf = name.rpartition(".")
    setattr(module.get_submodule(parent), leaf, part)
