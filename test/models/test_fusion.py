# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Fusion in CMX and ACNet: each formula recomputed by hand."""

from __future__ import annotations

from contextlib import nullcontext

import pytest
import torch
from torch import nn

from rgbd_seg_ros.models import build, cmx, network_spec
from rgbd_seg_ros.models.acnet import ChannelAttention
from rgbd_seg_ros.models.cmx import CMX, CrossPath, FeatureFusion, FeatureRectify


def randomize(module: nn.Module) -> nn.Module:
    """Set weights so large that every term of a formula matters."""
    torch.manual_seed(0)
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.5)
    return module.eval()


@torch.no_grad()
def test_rectify() -> None:
    c = 4
    frm = randomize(FeatureRectify(c))
    x1, x2 = torch.randn(2, c, 3, 5), torch.randn(2, c, 3, 5)
    both = torch.cat((x1, x2), dim=1)
    flat = both.flatten(2)
    pooled = torch.cat((flat.mean(2), flat.max(2).values), dim=1)
    hidden = (pooled @ frm.channel[0].weight.T + frm.channel[0].bias).relu()
    w_c = (hidden @ frm.channel[2].weight.T + frm.channel[2].bias).sigmoid()
    w_c1, w_c2 = w_c[:, :c, None, None], w_c[:, c:, None, None]
    kernel1, kernel2 = frm.spatial[0], frm.spatial[2]
    hidden = torch.einsum("bchw,oc->bohw", both, kernel1.weight[:, :, 0, 0])
    hidden = (hidden + kernel1.bias[:, None, None]).relu()
    w_s = torch.einsum("bchw,oc->bohw", hidden, kernel2.weight[:, :, 0, 0])
    w_s = (w_s + kernel2.bias[:, None, None]).sigmoid()
    w_s1, w_s2 = w_s[:, :1], w_s[:, 1:]
    out1, out2 = frm(x1, x2)
    torch.testing.assert_close(out1, x1 + 0.5 * w_c2 * x2 + 0.5 * w_s2 * x2)
    torch.testing.assert_close(out2, x2 + 0.5 * w_c1 * x1 + 0.5 * w_s1 * x1)


@torch.no_grad()
def test_cross_path() -> None:
    heads, d = 2, 3
    c = heads * d
    path = randomize(CrossPath(c, heads))
    x = torch.randn(1, 7, c), torch.randn(1, 7, c)
    y, u = zip(*((p(t).relu()[..., :c], p(t).relu()[..., c:]) for p, t in zip(path.proj, x)))  # noqa: B905
    outs = []
    for i, other in ((0, 1), (1, 0)):
        parts = []
        for h in range(heads):
            s = slice(h * d, (h + 1) * d)
            k, v = path.kv[other](u[other]).chunk(2, dim=-1)
            context = (k[0, :, s].T @ v[0, :, s] * d**-0.5).exp()
            context = context / context.sum(dim=0, keepdim=True)  # over the key dimension
            parts.append(u[i][..., s] @ context)
        cat = torch.cat((y[i], *parts), dim=-1)
        outs.append(path.norm[i](x[i] + path.end_proj[i](cat)))
    for found, expected in zip(path(*x), outs, strict=True):
        torch.testing.assert_close(found, expected)


def test_fusion_biases() -> None:
    ffm = FeatureFusion(64, 1)
    assert all(linear.bias is None for linear in ffm.cross.kv)
    assert ffm.residual.bias is None
    assert all(m.bias is not None for m in ffm.embed if isinstance(m, nn.Conv2d))
    assert ffm.embed[1].groups == 64


@torch.no_grad()
def test_rectified_maps_go_to_the_next_stage_and_fused_maps_to_the_head() -> None:
    torch.manual_seed(0)
    net = build(network_spec("cmx_b0", num_classes=5, width=16)).eval()
    assert isinstance(net, CMX)
    rgb, depth = torch.randn(1, 3, 64, 64), torch.randn(1, 1, 64, 64)
    x1, x2 = rgb, depth.repeat(1, 3, 1, 1)
    fused = []
    for i in range(4):
        x1, x2 = net.rectify[i](net.rgb.stages[i](x1), net.depth.stages[i](x2))
        fused.append(net.fuse[i](x1, x2))
    out = net(rgb, depth)
    for found, expected in zip(out.features, fused, strict=True):
        torch.testing.assert_close(found, expected)
    maps = [linear(f.movedim(1, -1)).movedim(-1, 1) for linear, f in zip(net.head.linears, fused)]  # noqa: B905
    up = [nn.functional.interpolate(m, size=(16, 16), mode="bilinear") for m in maps]
    prelogits = net.head.norm(net.head.fuse(torch.cat(up[::-1], dim=1))).relu()
    torch.testing.assert_close(out.prelogits, prelogits)
    logits = nn.functional.interpolate(
        net.head.classifier(prelogits), scale_factor=4, mode="bilinear"
    )
    torch.testing.assert_close(out.logits, logits, atol=1e-5, rtol=1e-4)


class FakeStream:
    """A CUDA stream that records who waits for whom."""

    def __init__(self, name: str, waits: list[tuple[str, str]]) -> None:
        self.name = name
        self.waits = waits

    def wait_stream(self, other: FakeStream) -> None:
        self.waits.append((self.name, other.name))


@torch.no_grad()
def test_side_streams_wait_for_what_they_read_and_leave_the_result_unchanged(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    torch.manual_seed(0)
    net = build(network_spec("cmx_b0", num_classes=5, width=16)).eval()
    inputs = torch.randn(1, 3, 64, 64), torch.randn(1, 1, 64, 64)
    expected = net(*inputs)
    waits: list[tuple[str, str]] = []
    names = iter(("encoder", "fusion"))
    main = FakeStream("main", waits)
    monkeypatch.setattr(cmx, "is_capturing", lambda x: True)
    monkeypatch.setattr(torch.cuda, "Stream", lambda device: FakeStream(next(names), waits))
    monkeypatch.setattr(torch.cuda, "current_stream", lambda: main)
    monkeypatch.setattr(torch.cuda, "stream", lambda stream: nullcontext())
    out = net(*inputs)
    torch.testing.assert_close(out.logits, expected.logits, rtol=0, atol=0)
    stage = [("encoder", "main"), ("main", "encoder"), ("fusion", "main")]
    assert waits == [*stage * 4, ("main", "fusion")]


@pytest.mark.parametrize("name", ["cmx_b0", "segformer_b0"])
def test_only_the_norm_of_the_head_has_its_own_epsilon(name: str) -> None:
    with torch.device("meta"):
        net = build(network_spec(name))
    eps = {n: m.eps for n, m in net.named_modules() if isinstance(m, nn.BatchNorm2d)}
    assert eps.pop("head.norm") == 1e-3
    assert set(eps.values()) <= {1e-5}


@torch.no_grad()
def test_fused_contexts_stay_finite_in_half_precision() -> None:
    """kᵀv sums over all pixels. With 120×160 of them it must stay within float16's range."""
    path = CrossPath(64, 1)
    nn.init.eye_(path.kv[0].weight[:64])
    nn.init.eye_(path.kv[0].weight[64:])
    u = torch.full((1, 19200, 64), 4.5)  # kᵀv is 388,800 unscaled, 48,600 scaled
    context = path.half().context(0, u.half())
    assert torch.isfinite(context).all()


@torch.no_grad()
def test_channel_attention() -> None:
    attention = randomize(ChannelAttention(3))
    x = torch.randn(2, 3, 4, 5)
    weight = attention.conv.weight[:, :, 0, 0]
    gate = (x.mean(dim=(2, 3)) @ weight.T + attention.conv.bias).sigmoid()
    torch.testing.assert_close(attention(x), x * gate[:, :, None, None])


@torch.no_grad()
def test_acnet_merges_at_the_stem_and_after_every_layer() -> None:
    torch.manual_seed(0)
    net = build(network_spec("acnet_r18", num_classes=5, width=16)).eval()
    rgb, depth = torch.randn(1, 3, 64, 64), torch.randn(1, 1, 64, 64)
    r, d = net.rgb.stem(rgb), net.depth.stem(depth)
    pool = nn.MaxPool2d(3, 2, 1)
    m = pool(net.attend_rgb[0](r) + net.attend_depth[0](d))
    r, d = pool(r), pool(d)
    for k in range(1, 5):
        r = getattr(net.rgb, f"layer{k}")(r)
        d = getattr(net.depth, f"layer{k}")(d)
        m = getattr(net.merge, f"layer{k}")(m) + net.attend_rgb[k](r) + net.attend_depth[k](d)
        torch.testing.assert_close(net(rgb, depth).features[k - 1], m)
