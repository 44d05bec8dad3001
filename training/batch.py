# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""A batch of training images, as the loader makes it and the methods take it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

Views = Literal["shared", "decoupled"]


@dataclass(frozen=True)
class Batch:
    """Normalized images on the device."""

    #: B×3×H×W; padding is 0.
    rgb: Tensor
    #: B×C×H×W; invalid depth and padding are 0.
    depth: Tensor
    #: ``rgb`` and ``depth`` → B×H×W int64 class ids of that view, 255 unlabeled. With shared
    #: views, both are the same tensor, which is also under ``rgbd``.
    labels: Mapping[str, Tensor]

    def inputs(self, modality: str) -> tuple[Tensor, ...]:
        """The inputs of a network of that modality."""
        return {"rgb": (self.rgb,), "depth": (self.depth,), "rgbd": (self.rgb, self.depth)}[
            modality
        ]

    def __len__(self) -> int:
        return self.rgb.shape[0]
