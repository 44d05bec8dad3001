# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""ResNet encoders: torchvision's layers with dilation and a stem for depth."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from rgbd_seg_ros.models.network import Encoder, dilate


def _torchvision_resnet(name: str) -> Any:
    """An untrained torchvision ResNet of stride 32 with its classifier.

    Raises:
        ModuleNotFoundError: torchvision cannot be imported.
    """
    try:
        from torchvision.models import resnet
    except ImportError as error:
        raise ModuleNotFoundError(
            f"{name} needs torchvision, which cannot be imported ({error}): "
            "pip install torchvision (the release for your torch), or use a MiT encoder"
        ) from error
    return getattr(resnet, name)(weights=None)


#: Channels of the stem's map, before max pooling.
STEM_CHANNELS = 64


class ResNetLayers(Encoder):
    """layer1 … layer4 of a ResNet, without its stem."""

    unused: tuple[str, ...] = ("fc.", "conv1.", "bn1.")

    def __init__(self, name: str, output_stride: int) -> None:
        super().__init__()
        net = _torchvision_resnet(name)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        self.layer1: nn.Module = net.layer1
        self.layer2: nn.Module = net.layer2
        self.layer3: nn.Module = net.layer3
        self.layer4: nn.Module = net.layer4
        self.channels = tuple(net.fc.in_features // divisor for divisor in (8, 4, 2, 1))
        self.strides = (4, 8, min(16, output_stride), min(32, output_stride))
        if output_stride == 8:
            dilate(self.layer3, 1, 2)
            dilate(self.layer4, 2, 4)
        elif output_stride == 16:
            dilate(self.layer4, 1, 2)

    @property
    def stages(self) -> Any:
        """The four layers in order, of which the first takes the stem's map and pools it."""
        return self._pool, self.layer2, self.layer3, self.layer4

    def _pool(self, x: Tensor) -> Tensor:
        """The stem's B×64×H/2×W/2 → the first stage map."""
        first: Tensor = self.layer1(self.maxpool(x))
        return first


class ResNetEncoder(ResNetLayers):
    """A whole ResNet. Its parameters have torchvision's names."""

    unused = ("fc.",)
    stem_weight = "conv1.weight"

    def __init__(self, name: str, in_channels: int, output_stride: int) -> None:
        super().__init__(name, output_stride)
        self.conv1 = nn.Conv2d(in_channels, STEM_CHANNELS, 7, 2, 3, bias=False)
        nn.init.kaiming_normal_(self.conv1.weight, mode="fan_out", nonlinearity="relu")
        self.bn1 = nn.BatchNorm2d(STEM_CHANNELS)

    def stem(self, x: Tensor) -> Tensor:
        """B×C×H×W → B×64×H/2×W/2, before max pooling."""
        return torch.relu(self.bn1(self.conv1(x)))

    @property
    def stages(self) -> Any:
        """The stem with the first layer, and the other three layers."""
        _, first, *others = self.parts()
        return (lambda x: first(self.stem(x))), *others

    def parts(self) -> tuple[Callable[[Tensor], Tensor], ...]:
        """The stem, and the four layers."""
        return self.stem, *super().stages
