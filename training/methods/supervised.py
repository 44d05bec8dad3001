# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Supervised training of one network with cross entropy: the baseline, and every teacher."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from training.batch import Batch
from training.methods.base import Method, Task, check_network
from training.options import opt


@dataclass(frozen=True)
class Config:
    """Options of ``supervised``."""

    network: str = opt("cmx_b0", "a network listed by `python -m training.model_info`")
    modality: Literal["rgb", "depth", "rgbd"] = opt("rgbd", "input of the network")
    width: int = opt(0, "channels of the decoder; 0: the published width")
    output_stride: int = opt(0, "output stride of a ResNet encoder, 16 or 8; 0: 16")
    pretrained: str = opt("none", "initial weights: none, imagenet, a file, a run, a bundle")

    def __post_init__(self) -> None:
        check_network(self.network, self.modality, self.width, self.output_stride)


class Supervised(Method):
    """L = loss(network(x), y); ``loss`` is cross entropy unless the recipe says otherwise."""

    def __init__(self, config: Config, task: Task) -> None:
        spec = task.spec(
            config.network,
            config.modality,
            width=config.width,
            output_stride=config.output_stride,
        )
        super().__init__({config.modality: task.network(spec, config.pretrained)}, task.loss)
        self.modality = config.modality

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        logits = self.students[self.modality](*batch.inputs(self.modality)).logits
        return {"ce": self.loss(logits, batch.labels[self.modality])}
