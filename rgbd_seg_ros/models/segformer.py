# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""SegFormer (arXiv 2105.15203): MiT and the all-MLP head, on RGB or on depth."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .mit import MiT, to_map, to_tokens
from .network import Network, Output, init_convs, resize
from .spec import NetworkSpec


class AllMLPHead(nn.Module):
    """Each stage to E channels by a linear layer and to stride 4, then one 1×1 convolution."""

    def __init__(self, channels: tuple[int, ...], width: int, num_classes: int) -> None:
        super().__init__()
        self.linears = nn.ModuleList(nn.Linear(c, width) for c in channels)
        # The bias before the norm is redundant, but published checkpoints have it.
        self.fuse = nn.Conv2d(len(channels) * width, width, 1)
        self.norm = nn.BatchNorm2d(width, eps=1e-3, momentum=0.1)
        self.dropout = nn.Dropout2d(0.1)
        self.classifier = nn.Conv2d(width, num_classes, 1)
        init_convs(self)

    def forward(self, features: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        """Stage maps → logits B×K×h×w and prelogits B×E×h×w, both of the first map's size."""
        size = features[0].shape[2:]
        maps = [
            to_map(linear(to_tokens(f)), (f.shape[2], f.shape[3]))
            for linear, f in zip(self.linears, features, strict=True)
        ]
        coarse_first = [resize(m, size) for m in maps[:0:-1]] + [maps[0]]
        prelogits = self.norm(self.fuse(torch.cat(coarse_first, dim=1))).relu()
        return self.classifier(self.dropout(prelogits)), prelogits


class SegFormer(Network):
    """PrimKD's teacher, and a single-modality network."""

    def __init__(self, spec: NetworkSpec) -> None:
        super().__init__(spec)
        self.encoder = MiT(spec.encoder)
        self.channels, self.strides = self.encoder.channels, self.encoder.strides
        self.head = AllMLPHead(self.channels, spec.width, spec.num_classes)

    def forward(self, x: Tensor) -> Output:
        """Normalized B×3×H×W (depth: B×depth_channels×H×W)."""
        self._check(x)
        features = self.encoder(x)
        logits, prelogits = self.head(features)
        return Output(resize(logits, x.shape[2:]), features, prelogits)
