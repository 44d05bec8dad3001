# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""`export`: each kind of network in each runtime equals PyTorch, at any size and batch."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from rgbd_seg_ros.bundle import NetworkRecord, TrainedNetwork, save_network
from rgbd_seg_ros.depth import DepthEncoding, encode
from rgbd_seg_ros.labels import LabelSet
from rgbd_seg_ros.models import build
from rgbd_seg_ros.models.registry import network_spec
from rgbd_seg_ros.preprocess import Preprocess
from training import export
from training.export_module import ExportModule
from training.options import UsageError

CLASSES = ("floor", "wall", "thing")


def network_of(
    name: str, encoding: DepthEncoding | None = None, **changes: object
) -> TrainedNetwork:
    """A random network of a small width, whose normalization layers do something."""
    torch.manual_seed(0)
    encoding = encoding or DepthEncoding(mean=2.0, std=0.8)
    spec = network_spec(name, num_classes=3, width=16, depth_channels=encoding.channels, **changes)
    module = build(spec)
    with torch.no_grad():
        for _ in range(3):
            module(*(torch.randn(2, c, 64, 96) for c in spec.in_channels))
    preprocess = Preprocess((64, 96), depth=encoding)
    labels = LabelSet("three", CLASSES)
    return TrainedNetwork(
        module.eval(), NetworkRecord(spec, preprocess, labels, {"method": "none"})
    )


def save(network: TrainedNetwork, folder: Path) -> str:
    """A file of the network."""
    path = folder / f"{network.record.spec.modality}.safetensors"
    save_network(path, network.module, network.record)
    return str(path)


@pytest.mark.parametrize("raw", [False, True])
@pytest.mark.parametrize(
    "name", ["deeplabv3plus_r18", "crodino_lite0", "segformer_b0", "cmx_b0", "acnet_r18"]
)
def test_onnx_equals_pytorch_at_any_size_and_batch(name: str, raw: bool, tmp_path: Path) -> None:
    for package in export.TARGETS["onnx"].packages:
        pytest.importorskip(package)
    parity = export.export(network_of(name), export.TARGETS["onnx"], tmp_path / "n.onnx", raw)
    assert parity["ok"], parity
    assert parity["logit_difference"] <= 1e-4 * parity["logit_range"]


@pytest.mark.parametrize(
    ("target", "name"),
    [("openvino", "deeplabv3plus_lite0"), ("openvino", "cmx_b0"), ("aoti", "segformer_b0")],
)
def test_the_command_writes_and_compares_other_runtimes(
    target: str, name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for package in export.TARGETS[target].packages:
        pytest.importorskip(package)
    if target == "aoti" and not shutil.which("g++"):
        pytest.skip("needs g++")
    network = network_of(name)
    modality = network.record.spec.modality
    argv = [save(network, tmp_path), "--to", target, "--raw", "--json"]
    assert export.main(argv) == 0
    report = json.loads(capsys.readouterr().out)[modality]
    assert report["logit_difference"] <= 1e-4 * report["logit_range"]
    suffixes = {"openvino": [".bin", ".xml"], "aoti": [".pt2"]}[target]
    written = sorted((tmp_path / target).iterdir())
    assert [file.name for file in written] == [f"{modality}{suffix}" for suffix in suffixes]
    assert report["megabytes"] == pytest.approx(sum(f.stat().st_size for f in written) / 1e6)
    with pytest.raises(UsageError, match=f"already contains {modality}; add --overwrite"):
        export.main(argv)


def test_invalid_depth_is_exported_as_the_mean_for_each_encoding() -> None:
    for encoding in (DepthEncoding(mean=2.0, std=0.8), DepthEncoding("disparity", 0.5, 0.2)):
        module = ExportModule(network_of("deeplabv3plus_r18", encoding, modality="depth"), True)
        depth = torch.tensor([[[[float("nan"), 0.0, -1.0, 0.1, 2.0, 50.0]]]])
        expected = encode(depth.where(depth > 0, torch.tensor(float("nan"))), encoding)
        assert expected[0, 0, 0, :3].tolist() == [0, 0, 0]
        torch.testing.assert_close(module._encode(depth), expected, rtol=0, atol=0)


def test_raw_hha_is_refused(tmp_path: Path) -> None:
    for package in export.TARGETS["onnx"].packages:
        pytest.importorskip(package)
    network = network_of("deeplabv3plus_r18", DepthEncoding.for_hha(), modality="depth")
    with pytest.raises(UsageError, match="depth takes HHA"):
        export.main([save(network, tmp_path), "--to", "onnx", "--raw"])


def test_missing_packages_are_named_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UsageError) as error:
        export.main(["bundle", "--to", "openvino"])
    assert str(error.value) == (
        "openvino and onnx and onnxscript not installed: pip install openvino onnx onnxscript"
    )
