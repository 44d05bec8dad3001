# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""SegFormer (arXiv 2105.15203): an encoder and the all-MLP head, on RGB or on depth."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rgbd_seg_ros.models.encoders import build_encoder
from rgbd_seg_ros.models.network import Network, Output, init_convs, resize

if TYPE_CHECKING:
    from rgbd_seg_ros.models.spec import NetworkSpec


class AllMLPHead(nn.Module):
    """Brings each stage map to ``width`` channels and stride 4, then fuses and classifies them."""

    def __init__(self, channels: tuple[int, ...], width: int, num_classes: int) -> None:
        super().__init__()
        self.linears = nn.ModuleList(nn.Linear(c, width) for c in channels)
        # The bias before the norm is redundant, but published checkpoints contain it.
        self.fuse = nn.Conv2d(len(channels) * width, width, 1)
        self.norm = nn.BatchNorm2d(width, eps=1e-3, momentum=0.1)
        self.dropout = nn.Dropout2d(0.1)
        self.classifier = nn.Conv2d(width, num_classes, 1)
        init_convs(self)

    def forward(self, features: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        """Stage maps → logits B×K×h×w and prelogits B×width×h×w, at the first map's size."""
        size = features[0].shape[2:]
        mixed, *coarser = (F.conv2d(f, w) for f, w in zip(features, self._weights(), strict=True))
        for m in coarser:
            mixed = mixed + resize(m, size)
        prelogits = self.norm(mixed + self._bias()).relu()
        return self.classifier(self.dropout(prelogits)), prelogits

    def published(self, features: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        """:meth:`forward` as the papers publish it: the reference for tests and benchmarks."""
        size = features[0].shape[2:]
        maps = [
            resize(cast(nn.Linear, linear)(f.movedim(1, -1)).movedim(-1, 1), size)
            for linear, f in zip(self.linears, features, strict=True)
        ]
        prelogits = self.norm(self.fuse(torch.cat(maps[::-1], dim=1))).relu()
        return self.classifier(self.dropout(prelogits)), prelogits

    def published_macs(self, features: tuple[Tensor, ...]) -> int:
        """Multiply-adds of the published form except for the classifier, as papers count them."""
        width = self.fuse.out_channels
        linears = sum(f.numel() * width for f in features)
        return linears + features[0][:, 0].numel() * self.fuse.in_channels * width

    def _weights(self) -> list[Tensor]:
        """For each stage, its linear layer and its part of ``fuse`` as one 1×1 convolution.

        The head is published as linear layers, bilinear resizing to the first map's size and a 1×1
        convolution of the concatenation. These commute, so each stage is mixed at its own
        resolution, which needs a fraction of the operations and no concatenation.
        """
        parts = self._fuse_weight().chunk(len(self.linears), dim=1)
        # The published concatenation starts with the coarsest map.
        pairs = zip(reversed(parts), self.linears, strict=True)
        return [(part @ cast(Tensor, linear.weight))[:, :, None, None] for part, linear in pairs]

    def _bias(self) -> Tensor:
        biases = torch.cat([cast(Tensor, linear.bias) for linear in reversed(self.linears)])
        bias = cast(Tensor, self.fuse.bias) + self._fuse_weight() @ biases
        return bias[:, None, None]

    def _fuse_weight(self) -> Tensor:
        return self.fuse.weight.flatten(1)


class SegFormer(Network):
    """A single-modality network, such as PrimKD's teacher."""

    def __init__(self, spec: NetworkSpec) -> None:
        super().__init__(spec)
        self.encoder = build_encoder(spec.encoder, spec.in_channels[0], spec.output_stride)
        self.channels, self.strides = self.encoder.channels, self.encoder.strides
        self.head = AllMLPHead(self.channels, spec.width, spec.num_classes)

    def forward(self, x: Tensor) -> Output:
        """Normalized B×3×H×W (depth: B×depth_channels×H×W)."""
        self._check(x)
        features = self.encoder(x)
        logits, prelogits = self.head(features)
        return Output(resize(logits, x.shape[2:]), features, prelogits)
