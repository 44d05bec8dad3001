# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Base classes of encoders and networks, and the layers that several of them use."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import torch.nn.functional as F
from torch import Tensor, nn

if TYPE_CHECKING:
    from rgbd_seg_ros.models.spec import NetworkSpec

#: Smallest height and width of an input; below this, MiT's coarsest maps are smaller than its
#: kernels.
MIN_SIZE_PX = 32


class Output(NamedTuple):
    """The result of a network's forward pass."""

    #: B×K×H×W at the input's size.
    logits: Tensor
    #: The four stage maps B×C×h×w, fine to coarse, with ``Network.channels`` and
    #: ``Network.strides``. A fused network returns its fused maps.
    features: tuple[Tensor, ...]
    #: The classifier's input, B×width×⌈H/4⌉×⌈W/4⌉.
    prelogits: Tensor


class Encoder(nn.Module):
    """Turns B×C×H×W into four stage maps, fine to coarse."""

    #: Channels of each stage map.
    channels: tuple[int, ...]
    #: Input pixels per pixel of each stage map, whose size is ⌈H/stride⌉×⌈W/stride⌉.
    strides: tuple[int, ...]
    #: The stages in order: each takes the map of the one before it, the first B×C×H×W.
    stages: Any
    #: Name of the first convolution's weight, if it is built with as many channels as the input.
    stem_weight: str = ""
    #: Prefixes of published weights that the encoder does not use, such as a classifier's.
    unused: tuple[str, ...] = ()

    def parts(self) -> tuple[Callable[[Tensor], Tensor], ...]:
        """What ACNet merges after: the stages, preceded by the stem if it is a part of its own."""
        return tuple(self.stages)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """B×C×H×W → four stage maps."""
        maps = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return tuple(maps)

    def load_weights(self, state: Mapping[str, Tensor]) -> None:
        """Load a state dict with this module's names.

        A first convolution of one channel gets the mean of the weight's RGB kernels.

        Raises:
            ValueError: the weights belong to another encoder.
        """
        used = {k: v for k, v in state.items() if not k.startswith(self.unused)}
        stem = used.get(self.stem_weight)
        if stem is not None and stem.shape[1] == 3 and self._stem_channels() == 1:
            used[self.stem_weight] = stem.mean(dim=1, keepdim=True)
        try:
            self.load_state_dict(used)
        except RuntimeError as error:
            lines = [line.strip() for line in str(error).splitlines()[1:]]
            raise ValueError(
                f"these are not weights of {type(self).__name__} with stages {self.channels}: "
                f"{' '.join(lines)[:400]}; convert them first with training.import_weights"
            ) from error

    def _stem_channels(self) -> int:
        return int(self.get_parameter(self.stem_weight).shape[1])


class Network(nn.Module):
    """A segmentation network, from normalized B×C×H×W tensors to an ``Output``."""

    #: Channels and strides of ``Output.features``.
    channels: tuple[int, ...]
    strides: tuple[int, ...]

    def __init__(self, spec: NetworkSpec) -> None:
        super().__init__()
        self.spec = spec

    def load_encoder(self, state: Mapping[str, Tensor]) -> None:
        """Load ImageNet weights into each encoder; a fused network has two or three.

        Raises:
            ValueError: the weights belong to another encoder.
        """
        for module in self.modules():
            if isinstance(module, Encoder):
                module.load_weights(state)

    def _check(self, *inputs: Tensor) -> None:
        """Raise ValueError for inputs whose channels or sizes do not fit the network."""
        for x, channels in zip(inputs, self.spec.in_channels, strict=True):
            shape = tuple(x.shape)
            if len(shape) != 4 or shape[1] != channels or min(shape[2:]) < MIN_SIZE_PX:
                raise ValueError(
                    f"{self.spec.architecture} ({self.spec.modality}) takes B×{channels}×H×W with "
                    f"H and W of at least {MIN_SIZE_PX}, got {'×'.join(map(str, shape))}"
                )
            if shape[2:] != tuple(inputs[0].shape[2:]) or shape[0] != inputs[0].shape[0]:
                raise ValueError(
                    "rgb and depth must agree in batch and size, got "
                    + " and ".join("×".join(map(str, i.shape)) for i in inputs)
                )


def resize(x: Tensor, size: Iterable[int]) -> Tensor:
    """Bilinear resize of B×C×H×W to (height, width), half-pixel centers."""
    return F.interpolate(x, size=tuple(size), mode="bilinear", align_corners=False)


def repeat_depth(x: Tensor) -> Tensor:
    """Repeat B×1×H×W to the three channels of an RGB stem; three channels stay as they are."""
    return x.expand(-1, 3, -1, -1) if x.shape[1] == 1 else x


class ConvBNReLU(nn.Sequential):
    """A k×k convolution that keeps the size and has no bias, batch norm, ReLU."""

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int, dilation: int = 1
    ) -> None:
        super().__init__(
            nn.Conv2d(
                in_channels,
                out_channels,
                kernel_size,
                padding=dilation * (kernel_size // 2),
                dilation=dilation,
                bias=False,
            ),
            nn.BatchNorm2d(out_channels),
            nn.ReLU(),
        )


def init_convs(module: nn.Module) -> None:
    """Initialize all convolutions in ``module``: Kaiming normal (He et al. 2015), zero bias."""
    for m in module.modules():
        if isinstance(m, nn.Conv2d):
            nn.init.kaiming_normal_(m.weight, mode="fan_in", nonlinearity="relu")
            if m.bias is not None:
                nn.init.zeros_(m.bias)


def dilate(stage: nn.Module, before: int, after: int) -> None:
    """Replace a stage's stride by dilation of its convolutions.

    As in torchvision, the formerly strided convolution keeps the dilation of the previous stage
    (``before``) and the following ones have ``after``. torchvision itself rejects ResNet-18's
    basic blocks.
    """
    dilation = before
    for module in stage.modules():
        if not isinstance(module, nn.Conv2d):
            continue
        module.stride = (1, 1)
        if module.kernel_size != (1, 1):
            module.dilation = (dilation, dilation)
            reach = dilation * (module.kernel_size[0] // 2)
            module.padding = (reach, reach)
            dilation = after
