# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""SegFormer (arXiv 2105.15203): an encoder and the all-MLP head, on RGB or on depth."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from rgbd_seg_ros.models.encoders import build_encoder
from rgbd_seg_ros.models.mit import to_map, to_tokens
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
        maps = [
            to_map(linear(to_tokens(f)), (f.shape[2], f.shape[3]))
            for linear, f in zip(self.linears, features, strict=True)
        ]
        coarse_first = [resize(m, size) for m in maps[:0:-1]] + [maps[0]]
        prelogits = self.norm(self.fuse(torch.cat(coarse_first, dim=1))).relu()
        return self.classifier(self.dropout(prelogits)), prelogits


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
