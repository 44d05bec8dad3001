# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""MiT: attention by hand, stochastic depth, initialization; torchvision is not needed."""

from __future__ import annotations

import itertools
import sys

import pytest
import torch
from torch import nn

from rgbd_seg_ros.models.encoders import build_encoder
from rgbd_seg_ros.models.mit import Attention, Block, DropPath, MixFFN, to_map, to_tokens


@pytest.mark.parametrize("reduction", [1, 2])
def test_attention_is_softmax_of_scaled_products(reduction: int) -> None:
    torch.manual_seed(0)
    attention = Attention(dim=8, heads=2, reduction=reduction)
    size = (4, 6)
    x = torch.randn(1, 24, 8)
    source = x
    if reduction > 1:
        pooled = attention.sr(x.transpose(1, 2).reshape(1, 8, *size))
        source = attention.norm(pooled.flatten(2).transpose(1, 2))
    q, (k, v) = attention.q(x), attention.kv(source).chunk(2, dim=-1)
    heads = []
    for h in (slice(0, 4), slice(4, 8)):
        weights = (q[..., h] @ k[..., h].transpose(1, 2) / 4**0.5).softmax(dim=-1)
        heads.append(weights @ v[..., h])
    expected = attention.proj(torch.cat(heads, dim=-1))
    torch.testing.assert_close(attention(x, size), expected)


def test_mix_ffn_is_linear_depthwise_gelu_linear() -> None:
    torch.manual_seed(0)
    ffn, x = MixFFN(4), torch.randn(2, 15, 4)
    hidden = ffn.dwconv(ffn.fc1(x).reshape(2, 3, 5, 16).movedim(-1, 1))
    expected = ffn.fc2(nn.functional.gelu(hidden).movedim(1, -1).reshape(2, 15, 16))
    assert ffn.dwconv.groups == 16
    torch.testing.assert_close(ffn(x, (3, 5)), expected)


def test_tokens_and_maps_share_memory() -> None:
    tokens = torch.randn(2, 12, 5)
    as_map = to_map(tokens, (3, 4))
    assert as_map.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(as_map[1, :, 2, 3], tokens[1, 11])
    assert to_tokens(as_map).data_ptr() == tokens.data_ptr()
    assert torch.equal(to_tokens(as_map), tokens)


@pytest.mark.parametrize("name", ["mit_b0", "mit_b2"])
def test_stochastic_depth_grows_linearly_to_a_tenth(name: str) -> None:
    with torch.device("meta"):
        rates = [m.drop_path.rate for m in build_encoder(name).modules() if isinstance(m, Block)]
    assert rates[0] == 0.0
    assert rates[-1] == pytest.approx(0.1)
    steps = [b - a for a, b in itertools.pairwise(rates)]
    assert steps == pytest.approx([0.1 / (len(rates) - 1)] * len(steps))


def test_drop_path_keeps_the_mean_and_is_off_in_eval() -> None:
    torch.manual_seed(0)
    drop, x = DropPath(0.25), torch.ones(4000, 3, 2)
    out = drop(x)
    kept = out[:, 0, 0] > 0
    assert kept.float().mean().item() == pytest.approx(0.75, abs=0.03)
    torch.testing.assert_close(out[kept], x[kept] / 0.75)  # whole samples, rescaled
    assert (out[~kept] == 0).all()
    assert torch.equal(drop.eval()(x), x)


def test_norms_have_the_published_epsilons() -> None:
    with torch.device("meta"):
        encoder = build_encoder("mit_b0")
    eps = {n: m.eps for n, m in encoder.named_modules() if isinstance(m, nn.LayerNorm)}
    for name, value in eps.items():
        coarse = name.endswith(("patch_embed.norm", "attn.norm"))
        assert value == (1e-5 if coarse else 1e-6), name


def test_initialization_is_the_published_one() -> None:
    from rgbd_seg_ros.models import build, network_spec

    torch.manual_seed(0)
    network = build(network_spec("cmx_b0"))
    for name, module in network.named_modules():
        if not isinstance(module, (nn.Linear, nn.Conv2d)) or module.weight.numel() < 1000:
            continue
        expected = 0.02
        if isinstance(module, nn.Conv2d):
            area = module.kernel_size[0] * module.kernel_size[1]
            fan_out = area * module.out_channels / module.groups
            # The head's convolutions are initialized by fan-in (He et al.).
            fan = area * module.in_channels if name.startswith("head.") else fan_out
            expected = (2 / fan) ** 0.5
        elif name.startswith("head."):
            expected = (3 * module.in_features) ** -0.5  # PyTorch's default
        assert module.weight.std().item() == pytest.approx(expected, rel=0.1), name
        if module.bias is not None and not name.startswith("head.linears"):
            assert not module.bias.any(), name


def test_weights_of_another_encoder_are_refused() -> None:
    with torch.device("meta"):
        big = build_encoder("mit_b1").state_dict()
    encoder = build_encoder("mit_b0")
    with pytest.raises(ValueError, match=r"not weights of MiT with stages \(32, .*import_weights"):
        encoder.load_weights(big)
    own = dict(encoder.state_dict())
    encoder.load_weights({**own, "head.weight": torch.zeros(1000, 256)})  # a classifier is ignored
    own.pop("stages.0.norm.weight")
    with pytest.raises(ValueError, match=r"stages\.0\.norm\.weight"):
        encoder.load_weights(own)


def test_torchvision_is_not_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    from rgbd_seg_ros.models import build, network_spec

    monkeypatch.setitem(sys.modules, "torchvision", None)
    monkeypatch.setitem(sys.modules, "torchvision.models", None)
    with torch.device("meta"):
        build(network_spec("cmx_b0"))
        build(network_spec("deeplabv3plus_mit_b0"))
        with pytest.raises(ModuleNotFoundError, match="pip install torchvision"):
            build(network_spec("deeplabv3plus_r18"))
