# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""`training.analyze` on untrained networks: CKA of every pair, histograms, panels."""

from __future__ import annotations

import json
import re
from pathlib import Path

import cv2
import pytest
import torch

from rgbd_seg_ros.bundle import NetworkRecord, save_network
from rgbd_seg_ros.labels import LabelSet
from rgbd_seg_ros.models import build, network_spec
from rgbd_seg_ros.preprocess import Preprocess
from training.analyze import main
from training.options import UsageError


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A fused, a single and a split network with three classes, as files."""
    folder = tmp_path_factory.mktemp("networks")
    labels = LabelSet("test", ("floor", "wall", "thing"))
    files = {}
    kinds = (("cmx_b0", "rgbd"), ("segformer_b0", "rgb"), ("crodino_mit_b0", "depth"))
    for name, modality in kinds:
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
    stages = [f"stage {n}" for n in (1, 2, 3, 4)]
    same = dict.fromkeys(stages, 1.0)
    assert document["cka"]["teacher / rgb"] == pytest.approx(same, abs=1e-3)
    assert all(0 <= v < 0.999 for v in document["cka"]["student / teacher"].values())
    assert list(document["histograms"]) == stages
    # 4 pictures, 8×8 pixels of 32 channels at stage 1, 1×1 of 256 at stage 4
    for stage, values in (("stage 1", 4 * 8 * 8 * 32), ("stage 4", 4 * 256)):
        of = document["histograms"][stage]
        assert list(of) == ["student", "teacher", "rgb"]
        for histogram in of.values():
            assert histogram["edges"] == of["student"]["edges"]
            assert histogram["below"] + sum(histogram["counts"]) + histogram["above"] == values
    assert "student / teacher" in printed.err
    assert len(list(out.glob("panel_*.png"))) == 2
    assert cv2.imread(str(out / "histograms.png")) is not None
    with pytest.raises(UsageError, match="is not empty"):
        main(arguments(networks, dataset, out))
    with pytest.raises(UsageError, match=r"--frames must be 1 or more .* got 0 and 2"):
        main([*arguments(networks, dataset, tmp_path / "none"), "--frames", "0"])


def test_figures_do_not_depend_on_the_batch_and_halves_are_shown(
    networks: dict[str, Path], dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    documents = []
    for batch in ("1", "4"):
        flags = arguments(networks, dataset, tmp_path / batch)[3:]
        named = [f"a={networks['depth']}", f"b={networks['depth']}", f"c={networks['rgb']}"]
        assert main([*named, *flags, "--panels", "0", "--eval-batch", batch, "--json"]) == 0
        printed = capsys.readouterr()
        documents.append(json.loads(printed.out))
    halves = ["invariant half", "specific half"]
    for stage, of in documents[0]["histograms"].items():
        for name, histogram in of.items():
            other = documents[1]["histograms"][stage][name]
            assert histogram["edges"] == other["edges"]
        assert list(of) == (["a", "b"] if stage in halves else ["a", "b", "c"])
    cka = documents[0]["cka"]
    assert list(cka["a / b"]) == [*cka["a / c"], *halves]
    assert re.search(r"a / c( +\d\.\d{3}){4} +- +-", printed.err)


def test_equal_names_are_refused(networks: dict[str, Path], dataset: Path, tmp_path: Path) -> None:
    twice = [f"a={networks['rgb']}", *arguments(networks, dataset, tmp_path / "out")]
    twice[1] = f"a={networks['rgbd']}"
    with pytest.raises(UsageError, match="two networks are called 'a'"):
        main(twice)
