# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""EfficientNet-Lite0, a small encoder for embedded processors.

EfficientNet-B0 (arXiv 1905.11946) without squeeze-and-excitation and with ReLU6, as published with
TensorFlow, whose padding it keeps.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from rgbd_seg_ros.models.network import Encoder, dilate, init_convs

STEM_WIDTH = 32
#: Groups of blocks: repeats, kernel size, stride of the first block, expansion, channels.
GROUPS = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
#: Groups of each stage, without the end; a stage ends before the next stride.
STAGES = ((0, 2), (2, 3), (3, 5), (5, 7))


class SameConv2d(nn.Conv2d):
    """A convolution without bias, padded like TensorFlow's ``same``.

    At stride 2, an even size is padded by one pixel more at the end than at the start.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        stride: int = 1,
        groups: int = 1,
    ) -> None:
        super().__init__(in_channels, out_channels, kernel_size, stride, groups=groups, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """B×C×h×w → B×C'×⌈h/stride⌉×⌈w/stride⌉."""
        end = self.dilation[0] * (self.kernel_size[0] - 1) // 2
        if self.stride[0] == 1:
            return F.conv2d(x, self.weight, self.bias, 1, end, self.dilation, self.groups)
        left, top = (end - 1 + size % 2 for size in (x.shape[3], x.shape[2]))
        x = F.pad(x, (left, end, top, end))
        return F.conv2d(x, self.weight, self.bias, self.stride, 0, self.dilation, self.groups)


def _conv_norm(
    in_channels: int, out_channels: int, kernel_size: int, stride: int = 1, groups: int = 1
) -> list[nn.Module]:
    return [
        SameConv2d(in_channels, out_channels, kernel_size, stride, groups),
        nn.BatchNorm2d(out_channels, eps=1e-3, momentum=0.01),
    ]


class InvertedResidual(nn.Sequential):
    """1×1 expansion, k×k depth-wise convolution, and 1×1 projection without activation."""

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int, stride: int, expansion: int
    ) -> None:
        hidden = in_channels * expansion
        expand = [*_conv_norm(in_channels, hidden, 1), nn.ReLU6()] if expansion > 1 else []
        super().__init__(
            *expand,
            *_conv_norm(hidden, hidden, kernel_size, stride, groups=hidden),
            nn.ReLU6(),
            *_conv_norm(hidden, out_channels, 1),
        )
        self._has_skip = stride == 1 and in_channels == out_channels

    def forward(self, x: Tensor) -> Tensor:
        """B×C×h×w → B×C'×⌈h/stride⌉×⌈w/stride⌉."""
        y: Tensor = super().forward(x)  # type: ignore[no-untyped-call]
        return x + y if self._has_skip else y


class EfficientNetLite0(Encoder):
    """The encoder, without the 1280 channels of the classifier.

    Args:
        in_channels: 3 for RGB and HHA, 1 for the other depth encodings.
        output_stride: 32, 16 or 8, by dilation.
    """

    stem_weight = "stages.0.0.weight"

    def __init__(self, in_channels: int, output_stride: int) -> None:
        super().__init__()
        self.channels = tuple(GROUPS[end - 1][-1] for _, end in STAGES)
        self.strides = tuple(min(stride, output_stride) for stride in (4, 8, 16, 32))
        modules = [*_conv_norm(in_channels, STEM_WIDTH, 3, 2), nn.ReLU6()]
        width = STEM_WIDTH
        stages = []
        for start, end in STAGES:
            for repeats, kernel_size, stride, expansion, channels in GROUPS[start:end]:
                for step in (stride, *[1] * (repeats - 1)):
                    modules.append(InvertedResidual(width, channels, kernel_size, step, expansion))
                    width = channels
            stages.append(nn.Sequential(*modules))
            modules = []
        self.stages = nn.ModuleList(stages)
        if output_stride <= 16:
            dilate(self.stages[3], 16 // output_stride, 32 // output_stride)
        if output_stride == 8:
            dilate(self.stages[2], 1, 2)
        init_convs(self)
