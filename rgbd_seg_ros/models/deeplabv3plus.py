# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""DeepLabV3+ (arXiv 1802.02611) on any encoder, and CroDiNo-KD's variant with a split."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn

from rgbd_seg_ros.models.encoders import build_encoder, encoder_entry
from rgbd_seg_ros.models.network import ConvBNReLU, Network, Output, init_convs, resize

if TYPE_CHECKING:
    from rgbd_seg_ros.models.spec import NetworkSpec

#: Channels to which the low-level skip is reduced.
LOW_LEVEL_WIDTH = 48


def aspp_rates(output_stride: int) -> tuple[int, ...]:
    """Dilations that reach 96, 192 and 288 input pixels: 6/12/18 at stride 16, 12/24/36 at 8."""
    return tuple(pixels // output_stride for pixels in (96, 192, 288))


class ASPP(nn.Module):
    """Atrous spatial pyramid pooling (arXiv 1706.05587).

    Parallel branches (a 1×1 convolution, three dilated 3×3 convolutions and global pooling) are
    merged by a 1×1 convolution. The pooled branch applies batch norm to 1×1 maps, so training
    needs a batch of at least two.
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

    If ``low_level_channels`` is None, there is no skip connection; the coarse map is only resized.
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
        """Coarse B×C×h×w and the stride-4 map → logits B×K×H×W of ``size``, prelogits at stride 4.

        Without a skip connection, only the size of ``low_level`` is used.
        """
        x = resize(self.aspp(x), low_level.shape[2:])
        if self.low_level is not None:
            x = torch.cat((x, self.low_level(low_level)), dim=1)
        prelogits = self.refine(x)
        return resize(self.classifier(prelogits), size), prelogits


class Encoding(NamedTuple):
    """Everything that a network computes before its decoder."""

    #: The encoder's four stage maps; the first is the decoder's low-level skip.
    features: tuple[Tensor, ...]
    #: The decoder's input: the last map, projected to half its channels if there is a split.
    bottleneck: Tensor


class DeepLabV3Plus(Network):
    """A single-modality network. Training methods may call encode, split and decode separately."""

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
        """B×C×h×w → invariant and specific halves, B×C/2×h×w each; ``torch.cat`` joins them again.

        Raises:
            ValueError: the network was built without a split.
        """
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
        """Bottleneck and low-level map → logits B×K×H×W of ``size`` and prelogits at stride 4.

        Training methods also pass bottlenecks in which one half has been mixed.
        """
        logits, prelogits = self.decoder(bottleneck, low_level, size)
        return logits, prelogits

    def forward(self, x: Tensor) -> Output:
        """Normalized B×3×H×W (depth: B×depth_channels×H×W)."""
        features, bottleneck = self.encode(x)
        logits, prelogits = self.decode(bottleneck, features[0], x.shape[2:])
        return Output(logits, features, prelogits)


def auxiliary_decoder(spec: NetworkSpec, skip: bool = True) -> Decoder:
    """CroDiNo-KD's auxiliary decoder, which decodes either half of a bottleneck in training.

    Both modalities and both halves share one decoder. With ``skip``, it also takes the low-level
    map of the network whose half it decodes.

    Raises:
        ValueError: ``spec`` has no split.
    """
    if not spec.split:
        raise ValueError("the auxiliary decoder needs a network with split=True (crodino_*)")
    channels = encoder_entry(spec.encoder).channels
    return Decoder(
        channels[-1] // 4,
        channels[0] if skip else None,
        spec.width,
        spec.num_classes,
        spec.output_stride,
    )
