# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""`training.analyse` on untrained networks: CKA of every pair, histograms, panels."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import pytest
import torch

from rgbd_seg_ros.bundle import NetworkRecord, save_network
from rgbd_seg_ros.labels import LabelSet
from rgbd_seg_ros.models import build, network_spec
from rgbd_seg_ros.preprocess import Preprocess
from training.analyse import main
from training.options import UsageError


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A fused and a single network with three classes, as files."""
    folder = tmp_path_factory.mktemp("networks")
    labels = LabelSet("test", ("floor", "wall", "thing"))
    files = {}
    for name, modality in (("cmx_b0", "rgbd"), ("segformer_b0", "rgb")):
        torch.manual_seed(0)
        spec = network_spec(name, num_classes=3, modality=modality, width=8)
        files[modality] = folder / f"{name}.safetensors"
        record = NetworkRecord(spec, Preprocess((32, 32)), labels, {}, "Apache-2.0")
        save_network(files[modality], build(spec), record)
    return files


def arguments(networks: dict[str, Path], dataset: Path, out: Path) -> list[str]:
    return [f"student={networks['rgbd']}", f"teacher={networks['rgb']}", str(networks["rgb"]),
            "--data", "folder", "--root", str(dataset), "--cache", "", "--workers", "0",
            "--split", "train", "--frames", "4", "--panels", "2", "--out", str(out)]  # fmt: skip


def test_it_writes_figures_and_pictures(
    networks: dict[str, Path], dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "analysis"
    assert main([*arguments(networks, dataset, out), "--json"]) == 0
    printed = capsys.readouterr()
    document = json.loads(printed.out)
    assert document == json.loads((out / "analysis.json").read_text())
    assert document["frames"] == 4
    assert list(document["cka"]) == ["student / teacher", "student / rgb", "teacher / rgb"]
    assert document["cka"]["teacher / rgb"] == pytest.approx([1.0] * 4, abs=1e-3)
    assert all(0 <= v < 0.999 for v in document["cka"]["student / teacher"])
    for stages in document["histograms"].values():
        # 4 pictures, 8×8 pixels of 32 channels at stage 1, 1×1 of 256 at stage 4
        assert sum(stages[0]["counts"]) == 4 * 8 * 8 * 32
        assert sum(stages[3]["counts"]) == 4 * 256
    assert "student / teacher" in printed.err
    assert len(list(out.glob("panel_*.png"))) == 2
    assert cv2.imread(str(out / "histograms.png")) is not None
    with pytest.raises(UsageError, match="is not empty"):
        main(arguments(networks, dataset, out))
    with pytest.raises(UsageError, match=r"--frames must be 1 or more .* got 0 and 2"):
        main([*arguments(networks, dataset, tmp_path / "none"), "--frames", "0"])


def test_equal_names_are_refused(networks: dict[str, Path], dataset: Path, tmp_path: Path) -> None:
    twice = [f"a={networks['rgb']}", *arguments(networks, dataset, tmp_path / "out")]
    twice[1] = f"a={networks['rgbd']}"
    with pytest.raises(UsageError, match="two networks are called 'a'"):
        main(twice)
