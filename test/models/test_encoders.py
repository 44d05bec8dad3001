# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The registry of encoders: entries match what they build, and one entry adds an encoder."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from rgbd_seg_ros.models import ENCODERS, NetworkSpec, build, registry
from rgbd_seg_ros.models.deeplabv3plus import DeepLabV3Plus, auxiliary_decoder
from rgbd_seg_ros.models.encoders import EncoderEntry, build_encoder
from rgbd_seg_ros.models.network import Encoder, resize
from training.options import UsageError
from training.pretrained import load_pretrained


@pytest.mark.parametrize("name", ENCODERS)
def test_an_entry_describes_the_encoder_that_it_builds(name: str) -> None:
    entry = ENCODERS[name]
    with torch.device("meta"):
        for stride in entry.strides:
            encoder = build_encoder(name, 3, stride)
            assert encoder.channels == entry.channels
            assert encoder.strides[-1] == stride
        assert build_encoder(name).strides[-1] == entry.strides[0]


class ToyEncoder(Encoder):
    """Four 1×1 convolutions on maps of strides 4, 8, 16 and 16."""

    def __init__(self, in_channels: int) -> None:
        super().__init__()
        self.channels, self.strides = TOY.channels, (4, 8, 16, 16)
        self.convs = nn.ModuleList(nn.Conv2d(in_channels, c, 1) for c in self.channels)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        height, width = x.shape[2:]
        return tuple(
            conv(resize(x, (-(-height // s), -(-width // s))))
            for conv, s in zip(self.convs, self.strides, strict=True)
        )


TOY = EncoderEntry(
    build=lambda in_channels, _stride: ToyEncoder(in_channels), family="toy", short="toy",
    channels=(4, 8, 12, 16), strides=(16,),
)  # fmt: skip


def toy_network(split: bool, modality: str = "rgb") -> DeepLabV3Plus:
    spec = NetworkSpec(
        architecture="deeplabv3plus", modality=modality, encoder="toy", num_classes=3, width=8,
        split=split,
    )  # fmt: skip
    assert NetworkSpec.from_json(spec.to_json()) == spec
    network = build(spec).eval()
    assert isinstance(network, DeepLabV3Plus)
    return network


@torch.no_grad()
def test_one_entry_adds_an_encoder(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="unknown encoder 'toy'"):
        toy_network(split=False)
    monkeypatch.setitem(ENCODERS, "toy", TOY)
    x = torch.randn(1, 3, 64, 80)
    assert toy_network(split=False)(x).logits.shape == (1, 3, 64, 80)
    depth = toy_network(split=False, modality="depth")
    assert depth(x[:, :1]).logits.shape == (1, 3, 64, 80)

    crodino = toy_network(split=True)
    features, bottleneck = crodino.encode(x)
    invariant, specific = crodino.split(bottleneck)
    assert invariant.shape == specific.shape == (1, 4, 4, 5)
    logits, _ = auxiliary_decoder(crodino.spec).eval()(invariant, features[0], (64, 80))
    assert logits.shape == (1, 3, 64, 80)

    assert {"deeplabv3plus_toy", "crodino_toy"} <= set(registry.named_networks())


def test_imagenet_weights_are_refused_if_the_entry_has_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(ENCODERS, "toy", TOY)
    network = toy_network(split=False)
    with pytest.raises(UsageError, match=r"no package contains ImageNet weights of toy$"):
        load_pretrained(network, "imagenet", None)  # type: ignore[arg-type]
