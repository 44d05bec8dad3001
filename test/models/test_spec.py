# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""NetworkSpec and the named networks: round trips, defaults, errors that name the remedy."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from rgbd_seg_ros.models import NETWORKS, NetworkSpec, build, complete, network_spec

GIVEN = {"architecture": "cmx", "modality": "rgbd", "encoder": "mit_b2", "num_classes": 40}


@pytest.mark.parametrize("name", NETWORKS)
def test_json_round_trip(name: str) -> None:
    text = json.dumps(NETWORKS[name].to_json())
    assert NetworkSpec.from_json(json.loads(text)) == NETWORKS[name]


def test_json_contains_the_defaults_that_were_filled_in() -> None:
    data = complete(NetworkSpec(**GIVEN)).to_json()  # type: ignore[arg-type]
    assert data["width"] == 512
    assert data["output_stride"] == 32
    assert complete(NetworkSpec.from_json(GIVEN)).to_json() == data
    assert complete(NetworkSpec.from_json(data)).to_json() == data


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"num_clases": 3},
            "unknown field of the network spec 'num_clases'; did you mean 'num_cla",
        ),
        ({"architecture": "cmxx"}, "unknown architecture 'cmxx'; did you mean 'cmx'.*segformer"),
        ({"modality": "rgb"}, r"modality of cmx must be rgbd, got 'rgb': choose"),
        ({"encoder": "resnet5"}, r"unknown encoder 'resnet5'; did you mean 'resnet50'"),
        (
            {"encoder": "mit_b0", "output_stride": 8},
            r"output_stride of mit_b0 must be one of \(32",
        ),
        ({"num_classes": 0}, "num_classes must be 1 to 255, got 0"),
        ({"num_classes": 256}, "num_classes must be 1 to 255, got 256"),
        ({"num_classes": "40"}, "num_classes must be int, got '40'"),
        ({"num_classes": True}, "num_classes must be int, got True"),
        ({"split": 1}, "split must be bool, got 1"),
        ({"split": True}, "split is defined for deeplabv3plus only, got cmx"),
        ({"depth_channels": 2}, r"depth_channels must be 1 or 3 \(HHA\), got 2"),
        ({"output_stride": 16}, r"output_stride of mit_b2 must be one of \(32,\), got 16"),
        ({"width": -1}, "width must be 1 to 4096 channels, got -1"),
    ],
)
def test_a_bad_field_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build(NetworkSpec.from_json({**GIVEN, **change}))


@pytest.mark.parametrize("key", GIVEN)
def test_a_missing_field_is_refused(key: str) -> None:
    with pytest.raises(ValueError, match=f"lacks {key}"):
        NetworkSpec.from_json({k: v for k, v in GIVEN.items() if k != key})


def test_json_that_is_not_an_object_is_refused() -> None:
    with pytest.raises(ValueError, match="must be a JSON object"):
        NetworkSpec.from_json(["cmx"])  # type: ignore[arg-type]


def test_an_unknown_network_lists_the_known_and_the_nearest() -> None:
    with pytest.raises(ValueError, match=r"'cmx-b2'; did you mean 'cmx_b2'\?.*acnet_r50"):
        network_spec("cmx-b2")
    with pytest.raises(ValueError, match=r"'clases'.*did you mean 'num_classes'"):
        network_spec("cmx_b2", clases=3)


def test_a_change_recomputes_only_the_defaults_that_depend_on_it() -> None:
    assert network_spec("cmx_b2", num_classes=16).width == 512
    assert network_spec("cmx_b2", width=0).width == 512
    assert network_spec("cmx_b2", encoder="mit_b0").width == 256
    assert network_spec("deeplabv3plus_mit_b0", encoder="resnet18").output_stride == 16
    assert network_spec("crodino_r50", modality="depth", depth_channels=3).in_channels == (3,)
    assert network_spec("cmx_b2").in_channels == (3, 1)


def test_specs_are_available_without_importing_torch() -> None:
    code = (
        "import sys, rgbd_seg_ros.models as m; m.network_spec('cmx_b2'); "
        "sys.exit('torch' in sys.modules)"
    )
    root = Path(__file__).resolve().parents[2]
    assert subprocess.run([sys.executable, "-c", code], cwd=root, check=False).returncode == 0
