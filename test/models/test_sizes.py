# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Exact parameter counts of every named network; those that are published match."""

from __future__ import annotations

import pytest
import torch

from rgbd_seg_ros.models import NETWORKS, build, network_spec
from rgbd_seg_ros.models.deeplabv3plus import auxiliary_decoder

PARAMS = {
    "cmx_b0": 11_201_008,
    "cmx_b1": 44_491_696,
    "cmx_b2": 66_581_424,
    "cmx_b3": 106_333_104,
    "cmx_b4": 139_874_224,
    "cmx_b5": 181_074_864,
    "cmx_lite0": 11_371_840,
    "cmx_r18": 38_915_440,
    "cmx_r50": 289_717_040,
    "segformer_b0": 3_724_680,
    "segformer_b1": 14_748_392,
    "segformer_b2": 25_793_256,
    "segformer_b3": 45_669_096,
    "segformer_b4": 62_439_656,
    "segformer_b5": 83_039_976,
    "segformer_lite0": 3_360_040,
    "segformer_r18": 12_740_712,
    "segformer_r50": 26_546_792,
    "deeplabv3plus_lite0": 6_377_736,
    "deeplabv3plus_r18": 16_022_728,
    "deeplabv3plus_r50": 39_766_728,
    "deeplabv3plus_mit_b0": 6_263_528,
    "deeplabv3plus_mit_b1": 17_997_640,
    "deeplabv3plus_mit_b2": 29_042_504,
    "deeplabv3plus_mit_b3": 48_918_344,
    "deeplabv3plus_mit_b4": 65_688_904,
    "deeplabv3plus_mit_b5": 86_289_224,
    "crodino_lite0": 5_241_416,
    "crodino_r18": 14_253_768,
    "crodino_r50": 34_263_752,
    "crodino_mit_b0": 5_346_280,
    "crodino_mit_b1": 16_228_680,
    "crodino_mit_b2": 27_273_544,
    "crodino_mit_b3": 47_149_384,
    "crodino_mit_b4": 63_919_944,
    "crodino_mit_b5": 84_520_264,
    "acnet_lite0": 12_514_296,
    "acnet_mit_b0": 12_931_752,
    "acnet_mit_b1": 44_433_096,
    "acnet_mit_b2": 77_252_808,
    "acnet_mit_b3": 136_880_328,
    "acnet_mit_b4": 187_192_008,
    "acnet_mit_b5": 248_992_968,
    "acnet_r18": 39_066_504,
    "acnet_r50": 97_924_104,
}


def count(module: torch.nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize("name", NETWORKS)
def test_parameters(name: str) -> None:
    with torch.device("meta"):
        assert count(build(NETWORKS[name])) == PARAMS[name]


@pytest.mark.parametrize(
    ("name", "pair"), [("deeplabv3plus_r50", 79_527_184), ("crodino_r50", 68_521_232)]
)
def test_pair_of_an_rgb_and_a_one_channel_depth_network(name: str, pair: int) -> None:
    with torch.device("meta"):
        networks = [build(network_spec(name, modality=m)) for m in ("rgb", "depth")]
    assert sum(map(count, networks)) == pair


@pytest.mark.parametrize(("skip", "params"), [(True, 4_855_432), (False, 4_732_456)])
def test_auxiliary_decoder(skip: bool, params: int) -> None:
    with torch.device("meta"):
        assert count(auxiliary_decoder(network_spec("crodino_r50"), skip)) == params


def test_the_shipped_networks_are_small() -> None:
    spec = network_spec("deeplabv3plus_mit_b0", num_classes=16, width=128)
    with torch.device("meta"):
        assert count(build(spec)) == 4_559_824
        assert count(build(network_spec("cmx_b0", num_classes=16))) == 11_194_840
