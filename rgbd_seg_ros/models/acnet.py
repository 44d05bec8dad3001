# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""ACNet (arXiv 1905.10089) with a DeepLabV3+ decoder: the multimodal teacher."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor, nn

from rgbd_seg_ros.models.deeplabv3plus import Decoder
from rgbd_seg_ros.models.network import Network, Output, init_convs
from rgbd_seg_ros.models.resnet import ResNetEncoder, ResNetLayers

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
    """Three ResNets: RGB, depth, and a merge branch whose input is attention over the other two.

    m₀ = a(rgb₀) + a(d₀) at the stem, then m_k = layer_k(m_{k-1}) + a(rgb_k) + a(d_k). The merge
    branch has no stem. ``features`` are m₁ … m₄.
    """

    def __init__(self, spec: NetworkSpec) -> None:
        super().__init__(spec)
        self.rgb = ResNetEncoder(spec.encoder, 3, spec.output_stride)
        self.depth = ResNetEncoder(spec.encoder, spec.depth_channels, spec.output_stride)
        self.merge = ResNetLayers(spec.encoder, spec.output_stride)
        self.channels, self.strides = self.merge.channels, self.merge.strides
        widths = (64, *self.channels)
        self.attend_rgb = nn.ModuleList(ChannelAttention(c) for c in widths)
        self.attend_depth = nn.ModuleList(ChannelAttention(c) for c in widths)
        self.decoder = Decoder(
            self.channels[-1], self.channels[0], spec.width, spec.num_classes, spec.output_stride
        )

    def forward(self, rgb: Tensor, depth: Tensor) -> Output:
        """Normalized B×3×H×W and B×depth_channels×H×W."""
        self._check(rgb, depth)
        r, d = self.rgb.stem(rgb), self.depth.stem(depth)
        pool = self.rgb.maxpool
        m = pool(self.attend_rgb[0](r) + self.attend_depth[0](d))
        r, d = pool(r), pool(d)
        merged = []
        for k, layers in enumerate(
            zip(self.rgb.layers, self.depth.layers, self.merge.layers, strict=True), start=1
        ):
            r, d, m = (layer(x) for layer, x in zip(layers, (r, d, m), strict=True))
            m = m + self.attend_rgb[k](r) + self.attend_depth[k](d)
            merged.append(m)
        features = tuple(merged)
        logits, prelogits = self.decoder(features[-1], features[0], rgb.shape[2:])
        return Output(logits, features, prelogits)
