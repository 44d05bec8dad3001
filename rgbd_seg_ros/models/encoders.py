# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The encoders by name. To add an encoder, add one entry to ``ENCODERS``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rgbd_seg_ros.models.network import Encoder


@dataclass(frozen=True, kw_only=True)
class EncoderEntry:
    """How to build one encoder, and the properties that networks on it depend on."""

    #: ``(in_channels, output_stride)`` → the encoder with random weights. PyTorch is imported
    #: only when this is called. MiT repeats one-channel depth and has one stride, so it
    #: ignores both arguments.
    build: Callable[[int, int], Encoder]
    #: Kind of encoder. Some architectures need ``resnet`` or ``mit``; DeepLabV3+ takes any.
    family: str
    #: How network names abbreviate the encoder: ``r50`` in ``deeplabv3plus_r50``.
    short: str
    #: Channels of the four stage maps, fine to coarse.
    channels: tuple[int, ...]
    #: Allowed strides of the last stage map; the first is the default.
    strides: tuple[int, ...]
    #: Blocks per stage. Blocks and channels identify the encoder of published weights.
    blocks: tuple[int, ...] = ()
    #: Default width of the all-MLP head on this encoder.
    mlp_width: int = 512
    #: Where ImageNet weights come from: ``torchvision``, or a sentence that tells the user how
    #: to get them. Empty if there are none.
    imagenet: str = ""


def _resnet(name: str, blocks: tuple[int, ...], channels: tuple[int, ...]) -> EncoderEntry:
    """A ResNet, built from the layers of torchvision's network of the same name."""

    def build(in_channels: int, output_stride: int) -> Encoder:
        from rgbd_seg_ros.models.resnet import ResNetEncoder

        return ResNetEncoder(name, in_channels, output_stride)

    return EncoderEntry(
        build=build,
        family="resnet",
        short=name.replace("resnet", "r"),
        channels=channels,
        strides=(16, 8),
        blocks=blocks,
        imagenet="torchvision",
    )


def _mit(
    name: str,
    blocks: tuple[int, ...],
    channels: tuple[int, ...] = (64, 128, 320, 512),
    mlp_width: int = 512,
) -> EncoderEntry:
    """A Mix Transformer (MiT), the encoder of SegFormer."""

    def build(_in_channels: int, _output_stride: int) -> Encoder:
        from rgbd_seg_ros.models.mit import MiT

        return MiT(blocks, channels)

    return EncoderEntry(
        build=build,
        family="mit",
        short=name,
        channels=channels,
        strides=(32,),
        blocks=blocks,
        mlp_width=mlp_width,
        imagenet=f"NVIDIA releases it for research only: download {name}.pth "
        "(github.com/NVlabs/SegFormer, 'ImageNet-1K pretrained weights') and pass "
        f"--pretrained {name}.pth",
    )


ENCODERS: dict[str, EncoderEntry] = {
    "resnet18": _resnet("resnet18", (2, 2, 2, 2), (64, 128, 256, 512)),
    "resnet50": _resnet("resnet50", (3, 4, 6, 3), (256, 512, 1024, 2048)),
    "mit_b0": _mit("mit_b0", (2, 2, 2, 2), (32, 64, 160, 256), mlp_width=256),
    "mit_b1": _mit("mit_b1", (2, 2, 2, 2)),
    "mit_b2": _mit("mit_b2", (3, 4, 6, 3)),
    "mit_b3": _mit("mit_b3", (3, 4, 18, 3)),
    "mit_b4": _mit("mit_b4", (3, 8, 27, 3)),
    "mit_b5": _mit("mit_b5", (3, 6, 40, 3)),
}


def build_encoder(name: str, in_channels: int = 3, output_stride: int = 0) -> Encoder:
    """The named encoder with random weights.

    Args:
        name: a key of ``ENCODERS``.
        in_channels: 3 for RGB and HHA, 1 for the other depth encodings.
        output_stride: stride of the last stage map; 0 means the encoder's default.
    """
    entry = ENCODERS[name]
    return entry.build(in_channels, output_stride or entry.strides[0])
