# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""DeepLabV3+: dilation rates, the parts that methods call separately, CroDiNo-KD's halves."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from rgbd_seg_ros.models import build, network_spec
from rgbd_seg_ros.models.deeplabv3plus import DeepLabV3Plus, aspp_rates, auxiliary_decoder


def network(name: str, **changes: object) -> DeepLabV3Plus:
    torch.manual_seed(0)
    built = build(network_spec(name, num_classes=5, width=16, **changes))
    assert isinstance(built, DeepLabV3Plus)
    return built.eval()


@pytest.mark.parametrize(
    ("stride", "rates"), [(16, (6, 12, 18)), (8, (12, 24, 36)), (32, (3, 6, 9))]
)
def test_rates_reach_equally_far_at_every_stride(stride: int, rates: tuple[int, ...]) -> None:
    assert aspp_rates(stride) == rates
    encoder = "mit_b0" if stride == 32 else "resnet18"
    net = network("deeplabv3plus_r18", encoder=encoder, output_stride=stride)
    threes = [m for m in net.decoder.aspp.modules() if isinstance(m, nn.Conv2d)]
    assert tuple(m.dilation[0] for m in threes if m.kernel_size == (3, 3)) == rates


@torch.no_grad()
@pytest.mark.parametrize("name", ["deeplabv3plus_r18", "crodino_r18", "crodino_mit_b0"])
def test_encode_and_decode_equal_forward(name: str) -> None:
    net = network(name)
    x = torch.randn(2, 3, 64, 80)
    out = net(x)
    encoding = net.encode(x)
    logits, prelogits = net.decode(encoding.bottleneck, encoding.features[0], (64, 80))
    assert torch.equal(logits, out.logits)
    assert torch.equal(prelogits, out.prelogits)
    assert all(map(torch.equal, encoding.features, out.features))
    assert encoding.bottleneck.shape[1] == net.bottleneck_channels


@torch.no_grad()
def test_the_halves_are_invariant_then_specific_and_join_to_the_bottleneck() -> None:
    net = network("crodino_r18")
    bottleneck = net.encode(torch.randn(2, 3, 64, 80)).bottleneck
    invariant, specific = net.split(bottleneck)
    assert invariant.shape == specific.shape == (2, 128, 4, 5)
    assert torch.equal(invariant, bottleneck[:, :128])
    assert torch.equal(torch.cat((invariant, specific), dim=1), bottleneck)
    assert (bottleneck >= 0).all()  # after the ReLU of the projection


@torch.no_grad()
def test_a_mixed_representation_is_decoded_by_the_networks_own_decoder() -> None:
    rgb, depth = network("crodino_r18"), network("crodino_r18", modality="depth")
    own = rgb.encode(torch.randn(2, 3, 64, 80))
    other = depth.encode(torch.randn(2, 1, 64, 80))
    (invariant, specific), (guest, _) = rgb.split(own.bottleneck), depth.split(other.bottleneck)

    def decoded(weight: float) -> torch.Tensor:
        mixed = (1 - weight) * invariant + weight * guest
        return rgb.decode(torch.cat((mixed, specific), dim=1), own.features[0], (64, 80))[0]

    torch.testing.assert_close(
        decoded(0.0), rgb.decode(own.bottleneck, own.features[0], (64, 80))[0]
    )
    assert not torch.allclose(decoded(0.35), decoded(0.0), atol=1e-3)


def test_a_network_without_split_has_no_halves() -> None:
    net = network("deeplabv3plus_r18")
    with pytest.raises(ValueError, match="build it with split=True"):
        net.split(torch.zeros(1, 512, 2, 2))
    with pytest.raises(ValueError, match="split=True"):
        auxiliary_decoder(network_spec("deeplabv3plus_r18"))


@torch.no_grad()
@pytest.mark.parametrize("skip", [True, False])
def test_auxiliary_decoder_takes_either_half(skip: bool) -> None:
    net = network("crodino_r18")
    aux = auxiliary_decoder(net.spec, skip=skip).eval()
    features, bottleneck = net.encode(torch.randn(2, 3, 64, 80))
    for half in net.split(bottleneck):
        logits, _ = aux(half, features[0], (64, 80))
        assert logits.shape == (2, 5, 64, 80)
        changed, _ = aux(half, features[0] + 1, (64, 80))
        assert torch.equal(changed, logits) is not skip  # without skip only the map's size is used


@torch.no_grad()
def test_logits_are_the_classifier_of_prelogits() -> None:
    net = network("deeplabv3plus_mit_b0")
    out = net(torch.randn(1, 3, 64, 64))
    logits = nn.functional.interpolate(
        net.decoder.classifier(out.prelogits), size=(64, 64), mode="bilinear"
    )
    torch.testing.assert_close(out.logits, logits)


@pytest.mark.parametrize("part", ["decoder", "projection"])
def test_convolutions_are_initialized_by_fan_in(part: str) -> None:
    net = network("crodino_r18")
    for module in getattr(net, part).modules():
        if isinstance(module, nn.Conv2d) and module.weight.numel() > 1000:
            expected = (2 / module.weight[0].numel()) ** 0.5
            assert module.weight.std().item() == pytest.approx(expected, rel=0.1)
