# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""ResNet encoders: torchvision's names and dilation, and the stem for depth."""

from __future__ import annotations

import pytest
import torch

from rgbd_seg_ros.models import build, network_spec

resnet = pytest.importorskip("torchvision.models.resnet", reason="needs torchvision")

from rgbd_seg_ros.models.resnet import ResNetEncoder, ResNetLayers  # noqa: E402


@pytest.mark.parametrize("stride", [16, 8])
def test_dilation_equals_torchvisions(stride: int) -> None:
    torch.manual_seed(0)
    reference = resnet.resnet50(
        weights=None, replace_stride_with_dilation=[False, stride == 8, True]
    ).eval()
    encoder = ResNetEncoder("resnet50", 3, stride).eval()
    encoder.load_weights(reference.state_dict())
    x = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        y = reference.maxpool(reference.relu(reference.bn1(reference.conv1(x))))
        expected = []
        for layer in (reference.layer1, reference.layer2, reference.layer3, reference.layer4):
            y = layer(y)
            expected.append(y)
        for found, wanted in zip(encoder(x), expected, strict=True):
            torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize(("stride", "strides"), [(16, (4, 8, 16, 16)), (8, (4, 8, 8, 8))])
def test_resnet18_dilates_too(stride: int, strides: tuple[int, ...]) -> None:
    """torchvision itself rejects dilation in basic blocks."""
    encoder = ResNetEncoder("resnet18", 3, stride)
    assert encoder.strides == strides
    convs = [m for m in encoder.layer4.modules() if isinstance(m, torch.nn.Conv2d)]
    threes = [m.dilation[0] for m in convs if m.kernel_size == (3, 3)]
    rate = 16 * 2 // stride
    assert threes == [rate // 2, rate, rate, rate]
    assert all(m.stride == (1, 1) for m in convs)


def test_parameters_have_torchvisions_names() -> None:
    with torch.device("meta"):
        theirs = {k for k in resnet.resnet18(weights=None).state_dict() if not k.startswith("fc.")}
        assert set(ResNetEncoder("resnet18", 3, 16).state_dict()) == theirs


def test_a_one_channel_stem_is_the_mean_of_the_rgb_kernels() -> None:
    torch.manual_seed(0)
    state = resnet.resnet18(weights=None).state_dict()
    encoder = ResNetEncoder("resnet18", 1, 16)
    encoder.load_weights(state)
    assert encoder.conv1.weight.shape == (64, 1, 7, 7)
    torch.testing.assert_close(encoder.conv1.weight[:, 0], state["conv1.weight"].mean(dim=1))
    assert state["conv1.weight"].shape[1] == 3  # the caller's weights are unchanged


def test_every_branch_of_a_network_gets_the_weights() -> None:
    torch.manual_seed(0)
    state = resnet.resnet18(weights=None).state_dict()
    network = build(network_spec("acnet_r18", num_classes=3, width=16))
    network.load_encoder(state)
    for branch in (network.rgb, network.depth, network.merge):
        assert torch.equal(branch.layer3[1].conv2.weight, state["layer3.1.conv2.weight"])
    assert torch.equal(network.rgb.conv1.weight, state["conv1.weight"])


def test_the_merge_branch_has_no_stem_of_its_own() -> None:
    with torch.device("meta"):
        network = build(network_spec("acnet_r50"))
    assert type(network.merge) is ResNetLayers
    assert {k.split(".")[0] for k in network.merge.state_dict()} == {
        f"layer{i}" for i in range(1, 5)
    }


def test_weights_of_another_resnet_are_refused() -> None:
    with torch.device("meta"):
        state = resnet.resnet50(weights=None).state_dict()
    with pytest.raises(ValueError, match="not weights of ResNetEncoder"):
        ResNetEncoder("resnet18", 3, 16).load_weights(state)
