# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""`evaluate` and `bundle`: packing and scoring runs, sensor-drop table, files, errors."""

from __future__ import annotations

import csv
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import pytest
import torch

from rgbd_seg_ros.bundle import BundleError, load_bundle, load_network, save_network
from rgbd_seg_ros.labels import LabelSet
from training import bundle, evaluate
from training.loop import Run
from training.options import UsageError
from training.settings import from_dict, to_yaml
from training.train import prepare_folder

CLASSES = ["floor", "wall", "thing"]


@pytest.fixture(scope="module")
def runs(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Three finished one-epoch runs, one for each network of a bundle."""
    base = tmp_path_factory.mktemp("runs")
    networks = {"rgbd": "cmx_b0", "rgb": "deeplabv3plus_mit_b0", "depth": "deeplabv3plus_mit_b0"}
    folders = {}
    for modality, network in networks.items():
        settings = from_dict(
            "supervised",
            {
                **{"network": network, "width": 8, "modality": modality, "data": "folder"},
                **{"root": str(dataset), "cache": str(base), "out": str(base / modality)},
                **{"size": [32, 32], "epochs": 1, "batch": 4, "workers": 0, "device": "cpu"},
                **{"tensorboard": False, "lr": 1e-3},
            },
            "the test",
        )
        prepare_folder(settings)
        assert "epochs: 1" in to_yaml(settings)
        Run(settings, torch.device("cpu")).train()
        folders[modality] = base / modality
    return folders


@pytest.fixture
def packed(runs: dict[str, Path], tmp_path: Path) -> Path:
    flags = [word for slot, run in runs.items() for word in (f"--{slot}", str(run))]
    assert bundle.main([*flags, "--out", str(tmp_path / "bundle")]) == 0
    return tmp_path / "bundle"


def run_evaluate(capsys: pytest.CaptureFixture[str], *flags: str) -> tuple[dict[str, Any], str]:
    assert evaluate.main([*flags, "--json", "--workers", "0", "--device", "cpu"]) == 0
    captured = capsys.readouterr()
    return json.loads(captured.out), captured.err


def data_flags(dataset: Path) -> list[str]:
    return ["--data", "folder", "--root", str(dataset), "--cache", ""]


def test_a_bundle_keeps_the_records_of_its_runs(packed: Path, runs: dict[str, Path]) -> None:
    loaded = load_bundle(packed)
    assert set(loaded.networks) == {"rgbd", "rgb", "depth"}
    for slot, run in runs.items():
        record = load_network(run / "best" / f"{slot}.safetensors").record
        assert loaded.networks[slot].record == record  # type: ignore[index]
        assert set(record.training["scores"]) == {"val", "test"}


def test_scores_of_a_bundle_and_the_sensor_drop_table(
    packed: Path, dataset: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report, text = run_evaluate(capsys, str(packed), *data_flags(dataset))
    assert list(report["sensor_drop"]) == [
        *("both", "no_depth", "no_rgb", "no_depth_without_fallback", "no_rgb_without_fallback")
    ]
    assert list(report["iou"]) == CLASSES
    assert report["miou"] == report["sensor_drop"]["both"] == report["networks"]["rgbd"]["miou"]
    assert report["sensor_drop"]["no_depth"] == report["networks"]["rgb"]["miou"]
    assert report["sensor_drop"]["no_rgb"] == report["networks"]["depth"]["miou"]
    assert report["split"] == "test"
    assert report["frames"] == 2
    for words in (*CLASSES, "mIoU (absent classes = 0)", "depth lost, fused network on no depth"):
        assert words in text


def test_scores_without_fallback_are_those_of_the_engine(
    packed: Path, dataset: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The rows without fallback equal the fused network in the engine with an input missing."""
    from rgbd_seg_ros.engine import Segmenter
    from rgbd_seg_ros.metrics import ConfusionMatrix
    from training.data.folder import open_folder

    report, _ = run_evaluate(capsys, str(packed), *data_flags(dataset))
    segmenter = Segmenter(load_bundle(packed), "cpu", "torch")
    samples = open_folder(str(dataset), "test", 0.1, False)
    for row, drop in (
        ("no_depth_without_fallback", "depth"),
        ("no_rgb_without_fallback", "rgb"),
        ("both", ""),
    ):
        matrix = ConfusionMatrix(3)
        for index in range(len(samples)):
            sample = samples[index]
            rgb = None if drop == "rgb" else sample.rgb
            depth = None if drop == "depth" else sample.depth_m
            matrix.update(sample.labels, segmenter(rgb, depth, network="rgbd").labels)
        assert report["sensor_drop"][row] == pytest.approx(matrix.miou, abs=2e-3)


def test_a_run_is_scored_on_its_own_data_and_matches_its_results(
    runs: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    report, text = run_evaluate(capsys, str(runs["rgb"]))
    results = json.loads((runs["rgb"] / "results.json").read_text())
    assert report["miou"] == results["students"]["rgb"]["test"]["miou"]
    # One network: its own scores, and no mask where its input is lost.
    assert report["sensor_drop"] == {
        **{"both": report["miou"], "no_depth": report["miou"], "no_rgb": None},
        **{"no_depth_without_fallback": None, "no_rgb_without_fallback": None},
    }
    assert re.search(r"RGB lost, depth network takes over +no mask", text)
    assert "fused network on no depth" not in text
    fused, text = run_evaluate(capsys, str(runs["rgbd"]))
    assert [row for row, value in fused["sensor_drop"].items() if value is None] == [
        *("no_depth", "no_rgb")
    ]
    assert "fused network on no depth" in text
    twice, _ = run_evaluate(capsys, str(runs["rgb"]), str(runs["rgb"]))
    assert twice["sensor_drop"] is None
    several, _ = run_evaluate(capsys, *(str(run) for run in runs.values()))
    assert several["sensor_drop"]["no_depth"] == report["miou"]
    wide, _ = run_evaluate(capsys, str(runs["rgb"]), "--multi-scale", "1,1.5", "--flip")
    assert wide["protocol"]["scales"] == [1.0, 1.5]
    windows, _ = run_evaluate(capsys, str(runs["rgb"]), "--window", "32,40")
    assert windows["protocol"]["native"]


def test_a_run_on_full_size_images_is_evaluated_on_them(
    runs: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    native = shutil.copytree(runs["rgb"], tmp_path / "native")
    recipe = (native / "config.yaml").read_text()
    (native / "config.yaml").write_text(recipe.replace("native: false", "native: true"))
    report, _ = run_evaluate(capsys, str(native))
    assert report["protocol"]["native"]
    resized, _ = run_evaluate(capsys, str(runs["rgb"]))
    assert not resized["protocol"]["native"]


def test_files_of_a_report(
    packed: Path, dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("matplotlib")
    out = tmp_path / "report"
    flags = [str(packed), *data_flags(dataset), "--out", str(out), "--panels", "1"]
    report, _ = run_evaluate(capsys, *flags)
    assert json.loads((out / "scores.json").read_text()) == report
    rows = list(csv.reader((out / "confusion_rgbd.csv").open()))
    assert rows[0] == ["truth \\ predicted", *CLASSES, "none"]
    diagonal = [int(rows[i + 1][i + 1]) for i in range(3)]
    assert sum(diagonal) / sum(int(v) for row in rows[1:] for v in row[1:]) == pytest.approx(
        report["pixel_accuracy"], abs=1e-5
    )
    panel = cv2.imread(str(next(out.glob("panel_*.png"))))
    assert panel.shape[1] > 8 * 240  # rgb, depth, ground truth and five masks
    assert (out / "confusion_rgbd_depth_empty.png").stat().st_size > 5000
    with pytest.raises(UsageError, match="not empty"):
        run_evaluate(capsys, *flags)


def test_mistakes_are_rejected(
    runs: dict[str, Path], packed: Path, dataset: Path, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="neither a bundle nor a run"):
        evaluate.main([str(dataset)])
    with pytest.raises(BundleError, match="cannot read"):
        evaluate.main([str(tmp_path / "nothing.safetensors")])
    with pytest.raises(UsageError, match="unknown option '--multiscale'; did you mean"):
        evaluate.main([str(packed), "--multiscale", "1"])
    with pytest.raises(UsageError, match="the dataset has 'indoor16' \\(16\\)"):
        evaluate.main([str(packed), "--data", "synthetic", "--test-frames", "1",
                       "--size", "32,32", "--cache", str(tmp_path)])  # fmt: skip
    with pytest.raises(UsageError, match="nothing to pack"):
        bundle.main(["--out", str(tmp_path / "x")])
    with pytest.raises(UsageError, match=r"has no network 'depth': it has rgb"):
        bundle.main(["--depth", str(runs["rgb"]), "--out", str(tmp_path / "x")])
    file = runs["rgb"] / "best" / "rgb.safetensors"
    with pytest.raises(BundleError, match="contains weights for 'rgb'"):
        bundle.main(["--depth", str(file), "--out", str(tmp_path / "x")])
    with pytest.raises(UsageError, match="is not empty"):
        bundle.main(["--rgb", str(runs["rgb"]), "--out", str(packed)])


def test_networks_of_different_label_sets_are_rejected(
    runs: dict[str, Path], tmp_path: Path
) -> None:
    network = load_network(runs["rgb"] / "best" / "rgb.safetensors")
    other = replace(network.record, labels=LabelSet("other", ("a", "b", "c")))
    path = save_network(tmp_path / "rgb.safetensors", network.module, other)
    with pytest.raises(UsageError, match="different label sets: other, test"):
        evaluate.main([str(path), str(runs["depth"])])
    with pytest.raises(BundleError, match="all networks must share one"):
        bundle.main(
            ["--rgb", str(path), "--depth", str(runs["depth"]), "--out", str(tmp_path / "x")]
        )


def test_onnx_agrees_with_pytorch_and_a_difference_is_noticed(
    runs: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for package in ("onnx", "onnxruntime", "onnxscript"):
        pytest.importorskip(package)
    from training import export

    file = str(runs["depth"] / "best" / "depth.safetensors")
    assert export.main([file, "--to", "onnx", "--out", str(tmp_path), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["depth"]["ok"]
    assert report["depth"]["logit_difference"] < 1e-4
    with pytest.raises(UsageError, match="already contains depth"):
        export.main([file, "--to", "onnx", "--out", str(tmp_path)])
    with pytest.raises(UsageError, match="unknown target 'onx'; did you mean 'onnx'"):
        export.main([file, "--to", "onx"])
    a, b = torch.randn(1, 3, 8, 8).numpy(), torch.randn(1, 3, 8, 8).numpy()
    assert not export.parity_of([a], [b], 1)["ok"]
