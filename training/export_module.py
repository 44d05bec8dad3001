# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""A network in the form in which it is exported, and inputs to compare runtimes with."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from rgbd_seg_ros.bundle import TrainedNetwork
from rgbd_seg_ros.depth import encode
from rgbd_seg_ros.preprocess import Preprocess, normalize_rgb


class ExportModule(nn.Module):
    """A network as it is exported: only its logits, and its normalization if ``raw``.

    With ``raw``, the inputs are RGB (B×3×H×W uint8, 0..255) and depth (B×1×H×W float32 meters, of
    which NaN and values ≤ 0 are invalid). Without, they are what the network takes.
    """

    def __init__(self, network: TrainedNetwork, raw: bool) -> None:
        super().__init__()
        self.network = network.module.eval()
        self.preprocess: Preprocess = network.record.preprocess
        self.inputs = {"rgb": ("rgb",), "depth": ("depth",), "rgbd": ("rgb", "depth")}[
            network.record.spec.modality
        ]
        self.channels = network.record.spec.in_channels
        self.raw = raw

    def forward(self, *inputs: Tensor) -> Tensor:
        """Logits, B×K×H×W."""
        if self.raw:
            prepare = {"rgb": self._normalize, "depth": self._encode}
            inputs = tuple(prepare[n](x) for n, x in zip(self.inputs, inputs, strict=True))
        logits: Tensor = self.network(*inputs).logits
        return logits

    def _normalize(self, rgb: Tensor) -> Tensor:
        return normalize_rgb(rgb, self.preprocess)

    def _encode(self, depth_m: Tensor) -> Tensor:
        # Runtimes differ in how they clamp NaN, so it is replaced before and after. Written
        # as depth_m > 0, OpenVINO's logits of CMX were wrong where depth is NaN.
        valid = torch.lt(torch.zeros_like(depth_m), depth_m)
        filled = torch.where(valid, depth_m, torch.ones_like(depth_m))
        encoded = encode(filled, self.preprocess.depth)
        return torch.where(valid, encoded, torch.zeros_like(encoded))

    def example(self, seed: int, batch: int, height: int, width: int) -> tuple[Tensor, ...]:
        """Test inputs: smooth noise, since most pixels of white noise are ties between classes."""
        generator = torch.Generator().manual_seed(seed)
        examples = []
        for name, channels in zip(self.inputs, self.channels, strict=True):
            channels = 1 if self.raw and name == "depth" else channels
            coarse = torch.randn(batch, channels, 5, 6, generator=generator)
            x = functional.interpolate(coarse, (height, width), mode="bicubic")
            if self.raw and name == "rgb":
                x = (x * 60 + 128).clamp(0, 255).to(torch.uint8)
            elif self.raw:
                x = (x + 2.5).masked_fill(x < -1.5, float("nan"))
            examples.append(x)
        return tuple(examples)
