# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Mix Transformer (MiT), the hierarchical encoder of SegFormer (arXiv 2105.15203)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from rgbd_seg_ros.models.network import Encoder, repeat_depth

STRIDES = (4, 8, 16, 32)
HEADS = (1, 2, 5, 8)
#: Factor by which each stage downsamples the map that its keys and values come from.
REDUCTIONS = (8, 4, 2, 1)
MLP_RATIO = 4
#: Stochastic depth of the last block. It grows linearly from 0 in the first block.
DROP_PATH = 0.1


def to_map(tokens: Tensor, size: tuple[int, int]) -> Tensor:
    """View B×(h·w)×C as B×C×h×w, which is channels-last in memory."""
    b, _, c = tokens.shape
    return tokens.reshape(b, size[0], size[1], c).permute(0, 3, 1, 2)


def to_tokens(x: Tensor) -> Tensor:
    """B×C×h×w as B×(h·w)×C, a view if ``x`` is channels-last in memory."""
    return x.flatten(2).transpose(1, 2)


def init_mit(module: nn.Module) -> None:
    """SegFormer's initialization; biases are zero.

    Linear layers: normal with std 0.02, truncated at ±2. Convolutions: normal by fan-out.
    """
    for m in module.modules():
        if isinstance(m, nn.Linear):
            nn.init.trunc_normal_(m.weight, std=0.02)
            if m.bias is not None:
                nn.init.zeros_(m.bias)
        elif isinstance(m, nn.Conv2d):
            fan_out = m.kernel_size[0] * m.kernel_size[1] * m.out_channels // m.groups
            nn.init.normal_(m.weight, std=(2.0 / fan_out) ** 0.5)
            if m.bias is not None:
                nn.init.zeros_(m.bias)


class DropPath(nn.Module):
    """Stochastic depth (arXiv 1603.09382): in training, random samples skip the branch."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.rate == 0.0:
            return x
        keep = 1.0 - self.rate
        mask = x.new_empty(x.shape[0], *[1] * (x.ndim - 1)).bernoulli_(keep)
        return x * mask / keep


class PatchEmbed(nn.Module):
    """Overlapping patch embedding: a k×k convolution of stride s, then layer norm."""

    def __init__(self, in_channels: int, dim: int, kernel_size: int, stride: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(in_channels, dim, kernel_size, stride, kernel_size // 2)
        self.norm = nn.LayerNorm(dim, eps=1e-5)

    def forward(self, x: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """B×C×H×W → tokens B×(h·w)×dim and (h, w). One-channel depth is repeated to three."""
        x = self.proj(repeat_depth(x))
        return self.norm(to_tokens(x)), (x.shape[2], x.shape[3])


class Attention(nn.Module):
    """Multi-head attention whose keys and values come from a coarser map."""

    def __init__(self, dim: int, heads: int, reduction: int) -> None:
        super().__init__()
        self.heads = heads
        self.reduction = reduction
        self.q = nn.Linear(dim, dim)
        self.kv = nn.Linear(dim, 2 * dim)
        self.proj = nn.Linear(dim, dim)
        if reduction > 1:
            self.sr = nn.Conv2d(dim, dim, reduction, reduction)
            self.norm = nn.LayerNorm(dim, eps=1e-5)

    def forward(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        """B×(h·w)×dim → the same shape."""
        b, n, c = x.shape
        d = c // self.heads
        q = self.q(x).reshape(b, n, self.heads, d).transpose(1, 2)
        if self.reduction > 1:
            x = self.norm(to_tokens(self.sr(to_map(x, size))))
        k, v = self.kv(x).reshape(b, -1, 2, self.heads, d).permute(2, 0, 3, 1, 4).unbind(0)
        out = F.scaled_dot_product_attention(q, k, v)
        projected: Tensor = self.proj(out.transpose(1, 2).reshape(b, n, c))
        return projected


class MixFFN(nn.Module):
    """Linear → 3×3 depth-wise convolution (it encodes position) → GELU → linear."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        hidden = dim * MLP_RATIO
        self.fc1 = nn.Linear(dim, hidden)
        self.dwconv = nn.Conv2d(hidden, hidden, 3, padding=1, groups=hidden)
        self.fc2 = nn.Linear(hidden, dim)

    def forward(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        x = to_tokens(self.dwconv(to_map(self.fc1(x), size)))
        x = self.fc2(F.gelu(x))
        return x


class Block(nn.Module):
    """Pre-norm transformer block."""

    def __init__(self, dim: int, heads: int, reduction: int, drop_path: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=1e-6)
        self.attn = Attention(dim, heads, reduction)
        self.norm2 = nn.LayerNorm(dim, eps=1e-6)
        self.mlp = MixFFN(dim)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        x = x + self.drop_path(self.attn(self.norm1(x), size))
        x = x + self.drop_path(self.mlp(self.norm2(x), size))
        return x


class Stage(nn.Module):
    """One stage of the pyramid: patch embedding, blocks, layer norm."""

    def __init__(
        self, embed: PatchEmbed, dim: int, heads: int, reduction: int, drop_paths: list[float]
    ) -> None:
        super().__init__()
        self.patch_embed = embed
        self.blocks = nn.ModuleList(Block(dim, heads, reduction, rate) for rate in drop_paths)
        self.norm = nn.LayerNorm(dim, eps=1e-6)

    def forward(self, x: Tensor) -> Tensor:
        """B×C×H×W → B×dim×h×w."""
        tokens, size = self.patch_embed(x)
        for block in self.blocks:
            tokens = block(tokens, size)
        return to_map(self.norm(tokens), size)


class MiT(Encoder):
    """The encoder. Its stem has three channels, to which one-channel depth is repeated.

    Args:
        blocks: transformer blocks per stage.
        channels: of the stage maps.
    """

    unused = ("head.",)

    def __init__(self, blocks: tuple[int, ...], channels: tuple[int, ...]) -> None:
        super().__init__()
        self.channels, self.strides = channels, STRIDES
        last = sum(blocks) - 1
        rates = [DROP_PATH * i / last for i in range(last + 1)]
        stages = []
        in_channels = 3
        for i, (dim, count) in enumerate(zip(channels, blocks, strict=True)):
            embed = PatchEmbed(in_channels, dim, 3, 2) if i else PatchEmbed(in_channels, dim, 7, 4)
            first = sum(blocks[:i])
            stages.append(Stage(embed, dim, HEADS[i], REDUCTIONS[i], rates[first : first + count]))
            in_channels = dim
        self.stages = nn.ModuleList(stages)
        init_mit(self)
