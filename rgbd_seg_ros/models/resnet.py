# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""ResNet encoders: torchvision's layers with dilation and a stem for depth."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from rgbd_seg_ros.models.network import Encoder


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


def dilate(layer: nn.Module, before: int, after: int) -> None:
    """Replace a layer's stride by dilation of its 3×3 convolutions.

    As in torchvision, the formerly strided convolution keeps the dilation of the previous layer
    (``before``) and the following ones have ``after``. torchvision itself rejects ResNet-18's
    basic blocks.
    """
    dilation = before
    for module in layer.modules():
        if not isinstance(module, nn.Conv2d):
            continue
        module.stride = (1, 1)
        if module.kernel_size == (3, 3):
            module.dilation = module.padding = (dilation, dilation)
            dilation = after


class ResNetLayers(Encoder):
    """layer1 … layer4 of a ResNet, without its stem."""

    unused: tuple[str, ...] = ("fc.", "conv1.", "bn1.")

    def __init__(self, name: str, output_stride: int) -> None:
        super().__init__()
        net = _torchvision_resnet(name)
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
    def layers(self) -> tuple[nn.Module, ...]:
        """The four layers, in order."""
        return self.layer1, self.layer2, self.layer3, self.layer4

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """The stem's B×64×H/4×W/4 → four stage maps."""
        maps = []
        for layer in self.layers:
            x = layer(x)
            maps.append(x)
        return tuple(maps)


class ResNetEncoder(ResNetLayers):
    """A whole ResNet. Its parameters have torchvision's names."""

    unused = ("fc.",)

    def __init__(self, name: str, in_channels: int, output_stride: int) -> None:
        super().__init__(name, output_stride)
        self.conv1 = nn.Conv2d(in_channels, 64, 7, 2, 3, bias=False)
        nn.init.kaiming_normal_(self.conv1.weight, mode="fan_out", nonlinearity="relu")
        self.bn1 = nn.BatchNorm2d(64)
        self.maxpool = nn.MaxPool2d(3, 2, 1)

    def stem(self, x: Tensor) -> Tensor:
        """B×C×H×W → B×64×H/2×W/2, before max pooling."""
        return torch.relu(self.bn1(self.conv1(x)))

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """B×C×H×W → four stage maps."""
        return super().forward(self.maxpool(self.stem(x)))

    def load_weights(self, state: Mapping[str, Tensor]) -> None:
        """As :meth:`Encoder.load_weights`; a one-channel stem gets the mean of the RGB kernels."""
        weight = state.get("conv1.weight")
        if weight is not None and weight.shape[1] == 3 and self.conv1.in_channels == 1:
            state = {**state, "conv1.weight": weight.mean(dim=1, keepdim=True)}
        super().load_weights(state)
