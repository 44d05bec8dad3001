# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""DeepLabV3+ (arXiv 1802.02611) on any encoder, and CroDiNo-KD's variant with a split."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from .network import ConvBNReLU, Encoder, Network, Output, init_convs, resize
from .spec import RESNETS, NetworkSpec

#: Channels that the low-level skip is reduced to.
LOW_LEVEL_WIDTH = 48


def aspp_rates(output_stride: int) -> tuple[int, ...]:
    """Dilations that reach 96, 192 and 288 input pixels: 6/12/18 at stride 16, 12/24/36 at 8."""
    return tuple(pixels // output_stride for pixels in (96, 192, 288))


class ASPP(nn.Module):
    """1×1, three dilated 3×3 and global pooling side by side, merged by a 1×1 convolution.

    The pooled branch normalizes 1×1 maps, so training needs a batch of at least two.
    """

    def __init__(self, in_channels: int, width: int, rates: Iterable[int]) -> None:
        super().__init__()
        self.branches = nn.ModuleList([ConvBNReLU(in_channels, width, 1)])
        self.branches.extend(ConvBNReLU(in_channels, width, 3, rate) for rate in rates)
        self.pool = ConvBNReLU(in_channels, width, 1)
        self.project = ConvBNReLU((len(self.branches) + 1) * width, width, 1)
        self.dropout = nn.Dropout(0.1)

    def forward(self, x: Tensor) -> Tensor:
        """B×C×h×w → B×width×h×w."""
        pooled = self.pool(x.mean(dim=(2, 3), keepdim=True))
        maps = [branch(x) for branch in self.branches]
        maps.append(pooled.expand_as(maps[0]))
        merged: Tensor = self.dropout(self.project(torch.cat(maps, dim=1)))
        return merged


class Decoder(nn.Module):
    """ASPP, low-level skip, 3×3 convolution, classifier.

    Without ``low_level_channels`` there is no skip; the coarse map is then only resized.
    """

    def __init__(
        self,
        in_channels: int,
        low_level_channels: int | None,
        width: int,
        num_classes: int,
        output_stride: int,
    ) -> None:
        super().__init__()
        self.aspp = ASPP(in_channels, width, aspp_rates(output_stride))
        self.low_level = (
            ConvBNReLU(low_level_channels, LOW_LEVEL_WIDTH, 1) if low_level_channels else None
        )
        self.refine = ConvBNReLU(width + LOW_LEVEL_WIDTH * (self.low_level is not None), width, 3)
        self.classifier = nn.Conv2d(width, num_classes, 1)
        init_convs(self)

    def forward(self, x: Tensor, low_level: Tensor, size: Iterable[int]) -> tuple[Tensor, Tensor]:
        """Coarse B×C×h×w and the stride-4 map → logits B×K×size, prelogits at stride 4."""
        x = resize(self.aspp(x), low_level.shape[2:])
        if self.low_level is not None:
            x = torch.cat((x, self.low_level(low_level)), dim=1)
        prelogits = self.refine(x)
        return resize(self.classifier(prelogits), size), prelogits


class Encoding(NamedTuple):
    """A network's view of one picture, before its decoder."""

    #: The encoder's four stage maps; the first is the decoder's low-level skip.
    features: tuple[Tensor, ...]
    #: What the decoder gets: the last map, projected to half its channels if there is a split.
    bottleneck: Tensor


class DeepLabV3Plus(Network):
    """A single-modality network. Methods may call encode, split and decode one by one."""

    def __init__(self, spec: NetworkSpec) -> None:
        super().__init__(spec)
        self.encoder = build_encoder(spec.encoder, spec.in_channels[0], spec.output_stride)
        self.channels, self.strides = self.encoder.channels, self.encoder.strides
        last = self.channels[-1]
        self.projection = ConvBNReLU(last, last // 2, 1) if spec.split else None
        #: Channels of ``Encoding.bottleneck``.
        self.bottleneck_channels = last // 2 if spec.split else last
        self.decoder = Decoder(
            self.bottleneck_channels,
            self.channels[0],
            spec.width,
            spec.num_classes,
            spec.output_stride,
        )
        if self.projection is not None:
            init_convs(self.projection)

    def encode(self, x: Tensor) -> Encoding:
        """Normalized B×C×H×W → stage maps and bottleneck."""
        self._check(x)
        features = self.encoder(x)
        last = features[-1]
        return Encoding(features, last if self.projection is None else self.projection(last))

    def split(self, bottleneck: Tensor) -> tuple[Tensor, Tensor]:
        """B×C×h×w → invariant and specific halves, B×C/2×h×w each; ``torch.cat`` undoes it."""
        if self.projection is None:
            raise ValueError(
                "this network has no invariant and specific halves: build it with split=True "
                "(the crodino_* networks)"
            )
        invariant, specific = bottleneck.chunk(2, dim=1)
        return invariant, specific

    def decode(
        self, bottleneck: Tensor, low_level: Tensor, size: Iterable[int]
    ) -> tuple[Tensor, Tensor]:
        """Logits B×K×size and prelogits of any bottleneck, such as one with a mixed half."""
        logits, prelogits = self.decoder(bottleneck, low_level, size)
        return logits, prelogits

    def forward(self, x: Tensor) -> Output:
        """Normalized B×3×H×W (depth: B×depth_channels×H×W)."""
        features, bottleneck = self.encode(x)
        logits, prelogits = self.decode(bottleneck, features[0], x.shape[2:])
        return Output(logits, features, prelogits)


def build_encoder(name: str, in_channels: int, output_stride: int) -> Encoder:
    """The named encoder. MiT has a fixed stride and repeats one-channel depth itself."""
    if name in RESNETS:
        from .resnet import ResNetEncoder

        return ResNetEncoder(name, in_channels, output_stride)
    from .mit import MiT

    return MiT(name)


def auxiliary_decoder(spec: NetworkSpec, skip: bool = True) -> Decoder:
    """CroDiNo-KD's auxiliary decoder, for either half of the bottleneck of ``spec``'s network.

    One is shared by both modalities and both halves, in training only. With ``skip`` it takes
    the low-level map of the network whose half it decodes.
    """
    if not spec.split:
        raise ValueError("the auxiliary decoder needs a network with split=True (crodino_*)")
    with torch.device("meta"):  # only to ask for its channels
        channels = build_encoder(spec.encoder, 3, spec.output_stride).channels
    return Decoder(
        channels[-1] // 4,
        channels[0] if skip else None,
        spec.width,
        spec.num_classes,
        spec.output_stride,
    )
