# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""ACNet (arXiv 1905.10089) with a DeepLabV3+ decoder: the multimodal teacher."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor, nn

from rgbd_seg_ros.models.deeplabv3plus import Decoder
from rgbd_seg_ros.models.encoders import build_encoder
from rgbd_seg_ros.models.network import Encoder, Network, Output, init_convs
from rgbd_seg_ros.models.resnet import STEM_CHANNELS, ResNetEncoder, ResNetLayers

if TYPE_CHECKING:
    from rgbd_seg_ros.models.spec import NetworkSpec


class ChannelAttention(nn.Module):
    """Global average pool → 1×1 convolution → sigmoid → scale."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 1)
        init_convs(self)

    def forward(self, x: Tensor) -> Tensor:
        """B×C×h×w → the same shape."""
        weight: Tensor = self.conv(x.mean(dim=(2, 3), keepdim=True)).sigmoid()
        return x * weight


class ACNet(Network):
    """Three encoders: RGB, depth, and a merge branch whose input is attention over the other two.

    m₀ = a(rgb₀) + a(d₀) at the stem, then m_k = layer_k(m_{k-1}) + a(rgb_k) + a(d_k). The merge
    branch has no stem. ``features`` are m₁ … m₄. In an encoder without a separate stem, the first
    stage takes its place, and m₀ is the first feature. The paper's encoder is ResNet-50.
    """

    def __init__(self, spec: NetworkSpec) -> None:
        super().__init__(spec)
        self.rgb = build_encoder(spec.encoder, 3, spec.output_stride)
        self.depth = build_encoder(spec.encoder, spec.depth_channels, spec.output_stride)
        self.merge = self._merge_branch()
        self.channels, self.strides = self.rgb.channels, self.rgb.strides
        widths = (STEM_CHANNELS, *self.channels)[-len(self.rgb.parts()) :]
        self.attend_rgb = nn.ModuleList(ChannelAttention(c) for c in widths)
        self.attend_depth = nn.ModuleList(ChannelAttention(c) for c in widths)
        self.decoder = Decoder(
            self.channels[-1], self.channels[0], spec.width, spec.num_classes, spec.output_stride
        )

    def forward(self, rgb: Tensor, depth: Tensor) -> Output:
        """Normalized B×3×H×W and B×depth_channels×H×W."""
        self._check(rgb, depth)
        parts = [*zip(self.rgb.parts(), self.depth.parts(), strict=True)]
        merge = self.merge.stages[-len(parts) + 1 :]
        r, d = rgb, depth
        merged: list[Tensor] = []
        for k, (rgb_part, depth_part) in enumerate(parts):
            r, d = rgb_part(r), depth_part(d)
            attended = self.attend_rgb[k](r) + self.attend_depth[k](d)
            merged.append(merge[k - 1](merged[-1]) + attended if k else attended)
        features = tuple(merged[-4:])
        logits, prelogits = self.decoder(features[-1], features[0], rgb.shape[2:])
        return Output(logits, features, prelogits)

    def _merge_branch(self) -> Encoder:
        """An encoder without its first part."""
        if isinstance(self.rgb, ResNetEncoder):
            return ResNetLayers(self.spec.encoder, self.spec.output_stride)
        merge = build_encoder(self.spec.encoder, 3, self.spec.output_stride)
        merge.stages[0] = nn.Identity()
        merge.unused = (*merge.unused, "stages.0.")
        return merge
