# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""CMX (arXiv 2203.04838): two encoders that rectify each other and are fused per stage."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from rgbd_seg_ros.models.encoders import build_encoder
from rgbd_seg_ros.models.mit import init_mit, to_map, to_tokens
from rgbd_seg_ros.models.network import Network, Output, resize
from rgbd_seg_ros.models.segformer import AllMLPHead

if TYPE_CHECKING:
    from rgbd_seg_ros.models.spec import NetworkSpec


class FeatureRectify(nn.Module):
    """FRM: corrects each modality's map with the other's, per channel and per pixel."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.channel = nn.Sequential(
            nn.Linear(4 * dim, 4 * dim), nn.ReLU(), nn.Linear(4 * dim, 2 * dim), nn.Sigmoid()
        )
        self.spatial = nn.Sequential(
            nn.Conv2d(2 * dim, dim, 1), nn.ReLU(), nn.Conv2d(dim, 2, 1), nn.Sigmoid()
        )

    def forward(self, x1: Tensor, x2: Tensor) -> tuple[Tensor, Tensor]:
        """Two B×C×h×w → both rectified."""
        both = torch.cat((x1, x2), dim=1)
        pooled = torch.cat((both.mean(dim=(2, 3)), both.amax(dim=(2, 3))), dim=1)
        channel_1, channel_2 = self.channel(pooled)[:, :, None, None].chunk(2, dim=1)
        spatial_1, spatial_2 = self.spatial(both).chunk(2, dim=1)
        return (
            x1 + 0.5 * (channel_2 + spatial_2) * x2,
            x2 + 0.5 * (channel_1 + spatial_1) * x1,
        )


class CrossPath(nn.Module):
    """First half of the FFM: each token sequence attends to the other's context."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.scale = (dim // heads) ** -0.5
        self.proj = nn.ModuleList(nn.Linear(dim, 2 * dim) for _ in range(2))
        self.kv = nn.ModuleList(nn.Linear(dim, 2 * dim, bias=False) for _ in range(2))
        self.end_proj = nn.ModuleList(nn.Linear(2 * dim, dim) for _ in range(2))
        self.norm = nn.ModuleList(nn.LayerNorm(dim, eps=1e-5) for _ in range(2))

    def _split_heads(self, x: Tensor) -> Tensor:
        """B×N×C → B×heads×N×d."""
        b, n, c = x.shape
        return x.reshape(b, n, self.heads, c // self.heads).transpose(1, 2)

    def context(self, branch: int, u: Tensor) -> Tensor:
        """B×N×C → softmax of kᵀv·scale over the key dimension, B×heads×d×d."""
        k, v = map(self._split_heads, self.kv[branch](u).chunk(2, dim=-1))
        # Scale before the product: a sum over 19,200 tokens comes close to float16's maximum.
        product: Tensor = (k * self.scale).transpose(-2, -1) @ v
        return product.softmax(dim=-2)

    def forward(self, x1: Tensor, x2: Tensor) -> tuple[Tensor, Tensor]:
        """Two B×N×C → two B×N×C."""
        y1, u1 = self.proj[0](x1).relu().chunk(2, dim=-1)
        y2, u2 = self.proj[1](x2).relu().chunk(2, dim=-1)
        context1, context2 = self.context(0, u1), self.context(1, u2)
        v1 = (self._split_heads(u1) @ context2).transpose(1, 2).flatten(2)
        v2 = (self._split_heads(u2) @ context1).transpose(1, 2).flatten(2)
        out1 = self.norm[0](x1 + self.end_proj[0](torch.cat((y1, v1), dim=-1)))
        out2 = self.norm[1](x2 + self.end_proj[1](torch.cat((y2, v2), dim=-1)))
        return out1, out2


class FeatureFusion(nn.Module):
    """FFM: the cross path, then a residual convolution block that merges 2C channels into C."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.cross = CrossPath(dim, heads)
        self.residual = nn.Conv2d(2 * dim, dim, 1, bias=False)
        self.embed = nn.Sequential(
            nn.Conv2d(2 * dim, dim, 1),
            nn.Conv2d(dim, dim, 3, padding=1, groups=dim),
            nn.ReLU(),
            nn.Conv2d(dim, dim, 1),
            nn.BatchNorm2d(dim),
        )
        self.norm = nn.BatchNorm2d(dim)

    def forward(self, x1: Tensor, x2: Tensor) -> Tensor:
        """Two B×C×h×w → one B×C×h×w."""
        size = (x1.shape[2], x1.shape[3])
        both = torch.cat(self.cross(to_tokens(x1), to_tokens(x2)), dim=-1)
        merged = to_map(both, size)
        fused: Tensor = self.norm(self.residual(merged) + self.embed(merged))
        return fused


class SideStream:
    """Runs functions beside the current CUDA stream while a CUDA graph is captured.

    At stride 16, one encoder's kernels occupy about a quarter of an H100, so that two encoders
    side by side take little longer than one. Outside of a capture, each call simply runs.
    """

    def __init__(self, x: Tensor) -> None:
        self._stream = torch.cuda.Stream(x.device) if is_capturing(x) else None
        #: Keeps inputs until :meth:`join`: once freed, the current stream could reuse their memory
        #: while this stream still reads them.
        self._inputs: list[tuple[Tensor, ...]] = []

    def __call__(self, function: Callable[..., Tensor], *inputs: Tensor) -> Tensor:
        """Run ``function``; its result may be used after :meth:`join` only."""
        if self._stream is None:
            return function(*inputs)
        self._inputs.append(inputs)
        self._stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._stream):
            return function(*inputs)

    def join(self) -> None:
        """Let the current stream wait for this one."""
        if self._stream is not None:
            torch.cuda.current_stream().wait_stream(self._stream)
        self._inputs.clear()


def is_capturing(x: Tensor) -> bool:
    """Whether a CUDA graph is being captured; never in compiled or exported code."""
    if torch.compiler.is_compiling() or not x.is_cuda:
        return False
    return torch.cuda.is_current_stream_capturing()


def heads(stages: tuple[int, ...], channels: int) -> int:
    """Heads of the FFM of a stage with ``channels``: 1, 2, 5 and 8 for MiT, as published.

    They are as wide as the first stage or, if that does not divide the channels, somewhat wider.
    """
    return max(n for n in range(1, channels // stages[0] + 1) if channels % n == 0)


class CMX(Network):
    """A fused network; PrimKD's student. ``features`` are the FFMs' fused maps."""

    def __init__(self, spec: NetworkSpec) -> None:
        super().__init__(spec)
        self.rgb = build_encoder(spec.encoder, 3, spec.output_stride)
        self.depth = build_encoder(spec.encoder, spec.depth_channels, spec.output_stride)
        self.channels, self.strides = self.rgb.channels, self.rgb.strides
        self.rectify = nn.ModuleList(FeatureRectify(c) for c in self.channels)
        self.fuse = nn.ModuleList(FeatureFusion(c, heads(self.channels, c)) for c in self.channels)
        init_mit(self.rectify)
        init_mit(self.fuse)
        self.head = AllMLPHead(self.channels, spec.width, spec.num_classes)

    def forward(self, rgb: Tensor, depth: Tensor) -> Output:
        """Normalized B×3×H×W and B×depth_channels×H×W."""
        self._check(rgb, depth)
        x1, x2 = rgb, depth
        depth_encoder, fusion = SideStream(rgb), SideStream(rgb)
        fused = []
        for stage1, stage2, rectify, fuse in zip(
            self.rgb.stages, self.depth.stages, self.rectify, self.fuse, strict=True
        ):
            x2 = depth_encoder(stage2, x2)
            x1 = stage1(x1)
            depth_encoder.join()
            x1, x2 = rectify(x1, x2)
            fused.append(fusion(fuse, x1, x2))
        fusion.join()
        features = tuple(fused)
        logits, prelogits = self.head(features)
        return Output(resize(logits, rgb.shape[2:]), features, prelogits)
