# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""What every encoder and every network has in common."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .spec import NetworkSpec

#: Below this the coarsest maps of MiT are smaller than their own kernels.
MIN_SIZE_PX = 32


class Output(NamedTuple):
    """What a network returns."""

    #: B×K×H×W at the input's size.
    logits: Tensor
    #: Maps B×C×h×w of the encoder's four stages, fine to coarse, as ``Network.channels`` and
    #: ``Network.strides`` say. Of a fused network they are the fused maps.
    features: tuple[Tensor, ...]
    #: The map the classifier sees, B×width×⌈H/4⌉×⌈W/4⌉.
    prelogits: Tensor


class Encoder(nn.Module):
    """Turns B×C×H×W into stage maps, fine to coarse."""

    #: Channels of each stage map.
    channels: tuple[int, ...]
    #: Input pixels per map pixel of each stage; a map is ⌈H/stride⌉×⌈W/stride⌉.
    strides: tuple[int, ...]
    #: Prefixes of published weights that an encoder has no use for, such as a classifier.
    unused: tuple[str, ...] = ()

    def load_weights(self, state: Mapping[str, Tensor]) -> None:
        """Loads weights named as in this module; raises ValueError if they are of another."""
        used = {k: v for k, v in state.items() if not k.startswith(self.unused)}
        try:
            self.load_state_dict(used)
        except RuntimeError as error:
            lines = [line.strip() for line in str(error).splitlines()[1:]]
            raise ValueError(
                f"these are no weights of {type(self).__name__} with stages {self.channels}: "
                f"{' '.join(lines)[:400]}; convert them first with training.import_weights"
            ) from error


class Network(nn.Module):
    """A segmentation network: called with normalised B×C×H×W tensors, returns an Output."""

    #: Channels and strides of ``Output.features``.
    channels: tuple[int, ...]
    strides: tuple[int, ...]

    def __init__(self, spec: NetworkSpec) -> None:
        super().__init__()
        self.spec = spec

    def load_encoder(self, state: Mapping[str, Tensor]) -> None:
        """Loads ImageNet weights into each encoder, so into both branches of a fused network."""
        for module in self.modules():
            if isinstance(module, Encoder):
                module.load_weights(state)

    def _check(self, *inputs: Tensor) -> None:
        """Refuses inputs of other channels or sizes than the network was built for."""
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


class Branch:
    """Work beside the main work: on a stream of its own while a CUDA graph is captured.

    A small map keeps a small part of a GPU busy, so that two such branches take little longer than
    one. Anywhere else, in compiled code too, each call runs as if there were no branch.
    """

    def __init__(self, x: Tensor) -> None:
        self._stream: torch.cuda.Stream | None = None
        eager = not torch.compiler.is_compiling()
        if eager and x.is_cuda and torch.cuda.is_current_stream_capturing():
            self._stream = torch.cuda.Stream(x.device)
        #: What the branch reads must not be freed, and its memory used anew, before it has.
        self._read: list[tuple[Tensor, ...]] = []

    def __call__(self, function: Callable[..., Tensor], *inputs: Tensor) -> Tensor:
        """The result, which may be used after :meth:`join`; inputs are what the main work made."""
        if self._stream is None:
            return function(*inputs)
        self._read.append(inputs)
        self._stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._stream):
            return function(*inputs)

    def join(self) -> None:
        """Let the main work wait for the branch."""
        if self._stream is not None:
            torch.cuda.current_stream().wait_stream(self._stream)
        self._read.clear()


def resize(x: Tensor, size: Iterable[int]) -> Tensor:
    """Bilinear resize of B×C×H×W to (height, width), half-pixel centres."""
    return F.interpolate(x, size=tuple(size), mode="bilinear", align_corners=False)


def repeat_depth(x: Tensor) -> Tensor:
    """B×1×H×W repeated to the three channels of an RGB stem; three channels pass unchanged."""
    return x.expand(-1, 3, -1, -1) if x.shape[1] == 1 else x


class ConvBNReLU(nn.Sequential):
    """k×k convolution without bias, of unchanged size, batch norm, ReLU."""

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
    """Kaiming-normal convolutions (He et al. 2015) with zero biases, in all of ``module``."""
    for m in module.modules():
        if isinstance(m, nn.Conv2d):
            nn.init.kaiming_normal_(m.weight, mode="fan_in", nonlinearity="relu")
            if m.bias is not None:
                nn.init.zeros_(m.bias)
