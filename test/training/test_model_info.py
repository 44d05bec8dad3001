# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""model_info: published parameter counts and multiply-adds, JSON keys, usage errors."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from rgbd_seg_ros.models import NETWORKS
from training import model_info
from training.methods.mgd import MgdGenerator

ROOT = Path(__file__).resolve().parents[2]
#: In millions with 40 classes; published, or computed from published numbers.
PARAMS_M = {
    "cmx_b2": 66.58,
    "cmx_b4": 139.87,
    "cmx_b5": 181.07,
    "segformer_b2": 25.79,
    "segformer_b4": 62.44,
    "deeplabv3plus_r50_pair": 79.53,
    "crodino_r50_pair": 68.52,
    "crodino_aux": 4.86,
    "crodino_aux_no_skip": 4.73,
    "acnet_r50": 97.92,
    "mgd_generators": 151.0,
}


@pytest.fixture(scope="module")
def networks() -> dict[str, dict[str, object]]:
    run = subprocess.run(
        [sys.executable, "-m", "training.model_info", "--json", *PARAMS_M],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    document = json.loads(run.stdout)
    assert list(document) == ["networks"]
    return document["networks"]


def test_json_schema(networks: dict[str, dict[str, object]]) -> None:
    assert list(networks) == list(PARAMS_M)
    for entry in networks.values():
        assert {k: type(v) for k, v in entry.items()} == {
            "params": int, "gmac": float, "gmac_with_attention": float, "size": list
        }  # fmt: skip
        assert entry["size"] == [480, 640]
        assert 0 < entry["gmac"] <= entry["gmac_with_attention"]


def test_published_parameters(networks: dict[str, dict[str, float]]) -> None:
    assert {name: round(entry["params"] / 1e6, 2) for name, entry in networks.items()} == PARAMS_M


def test_every_network_has_a_row() -> None:
    assert set(NETWORKS) | set(PARAMS_M) <= set(model_info.costs((480, 640), 40))


@pytest.mark.parametrize(
    ("name", "gmac", "with_attention"), [("cmx_b2", 66.9, 78.2), ("cmx_b4", 134.0, 157.9)]
)
def test_multiply_adds_of_cmx(
    networks: dict[str, dict[str, float]], name: str, gmac: float, with_attention: float
) -> None:
    assert round(networks[name]["gmac"], 1) == gmac
    assert round(networks[name]["gmac_with_attention"], 1) == with_attention


def test_convolutions_and_linear_layers_by_hand() -> None:
    net = nn.Sequential(nn.Conv2d(4, 6, 3, 2, 1, groups=2), nn.Flatten(2), nn.Linear(20, 7))
    cost = model_info.measure(net, torch.zeros(1, 4, 8, 10))
    assert cost.macs == 6 * 4 * 5 * (2 * 9) + 6 * 7 * 20
    assert cost.macs_with_attention == cost.macs
    assert cost.params == 6 * 2 * 9 + 6 + 20 * 7 + 7


def test_attention_by_hand() -> None:
    from rgbd_seg_ros.models.mit import Attention

    cost = model_info.measure(
        Attention(dim=8, heads=2, reduction=2), torch.zeros(1, 24, 8), (4, 6)
    )
    # 24 queries, 6 keys and 8 channels in all heads: q·kᵀ and weights·v.
    assert cost.macs_with_attention - cost.macs == 2 * 24 * 6 * 8


def test_the_generator_keeps_the_shape() -> None:
    generator = MgdGenerator(6)
    assert generator(torch.randn(2, 6, 4, 5)).shape == (2, 6, 4, 5)
    assert [type(m) for m in generator] == [nn.Conv2d, nn.ReLU, nn.Conv2d]


def test_the_table_states_its_convention(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        model_info, "costs", lambda size, classes: {"net": lambda: model_info.Cost(10**6, 1, 2)}
    )
    assert model_info.main(["--size", "96x128", "--classes", "16"]) == 0
    out = capsys.readouterr().out
    assert "96×128, 16 classes" in out
    assert model_info.CONVENTION in out
    assert out.splitlines()[-1].split() == ["net", "1.00", "0.0", "0.0"]


@pytest.mark.parametrize(
    "arguments",
    [["--size", "480"], ["--size", "31x640"], ["--size", "axb"], ["--classes", "0"], ["cmx_b9"]],
)
def test_bad_usage_is_refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        model_info.main(arguments)
    assert stop.value.code == 2
    assert repr(arguments[-1]) in capsys.readouterr().err


def test_help_needs_no_torch() -> None:
    code = (
        "import sys\nfrom training.model_info import main\n"
        "try: main(['--help'])\nexcept SystemExit: sys.exit('torch' in sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False, capture_output=True)
    assert run.returncode == 0
    assert b"convolutions" in run.stdout
