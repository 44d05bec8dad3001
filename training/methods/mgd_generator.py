# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""MGD's generator: reconstructs a teacher's feature map from a student's masked one."""

from __future__ import annotations

from torch import nn


class MgdGenerator(nn.Sequential):
    """3×3 convolution → ReLU → 3×3 convolution (Masked Generative Distillation, ECCV 2022).

    It is used in training only and maps B×C×h×w to the same shape. With the 2048 channels of
    ResNet-50 it has 75.5 M parameters, and each student has one.
    """

    def __init__(self, channels: int) -> None:
        super().__init__(
            nn.Conv2d(channels, channels, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, padding=1),
        )
