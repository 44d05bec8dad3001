# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""`training.analyze`: CKA against its definition, histograms, and a run on untrained networks."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

from rgbd_seg_ros.bundle import NetworkRecord, save_network
from rgbd_seg_ros.labels import LabelSet
from rgbd_seg_ros.models import build, network_spec
from rgbd_seg_ros.preprocess import Preprocess
from training.analyze import Histogram, LinearCKA, main, value_ranges
from training.options import UsageError


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Files of a fused, a single-modality and a split network with three classes."""
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


def test_results_histograms_and_panels_are_written(
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
    # 4 images, 8×8 pixels of 32 channels at stage 1, 1×1 of 256 at stage 4
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


def test_results_do_not_depend_on_the_batch_size_and_include_halves(
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


def test_equal_names_are_rejected(
    networks: dict[str, Path], dataset: Path, tmp_path: Path
) -> None:
    twice = [f"a={networks['rgb']}", *arguments(networks, dataset, tmp_path / "out")]
    twice[1] = f"a={networks['rgbd']}"
    with pytest.raises(UsageError, match="two networks are called 'a'"):
        main(twice)


def cka(x: Tensor, y: Tensor, parts: int = 1) -> float:
    measure = LinearCKA()
    for a, b in zip(x.tensor_split(parts), y.tensor_split(parts), strict=True):
        measure.update(a, b)
    return measure.value


def literal(x: Tensor, y: Tensor) -> float:
    """HSIC of the two centered Gram matrices over the pixels, normalized."""
    grams = []
    for v in (x, y):
        rows = v.permute(0, 2, 3, 1).flatten(0, 2).double()
        gram = rows @ rows.T
        centering = torch.eye(len(rows), dtype=torch.float64) - 1 / len(rows)
        grams.append(centering @ gram @ centering)
    k, m = grams
    return float((k * m).sum() / ((k * k).sum() * (m * m).sum()).sqrt())


def test_cka_equals_its_definition_for_any_batches() -> None:
    torch.manual_seed(0)
    x = torch.randn(6, 5, 3, 4) + 2
    y = torch.cat((x[:, :2] * 3, torch.randn(6, 1, 3, 4)), dim=1)
    assert cka(x, y) == pytest.approx(literal(x, y), rel=1e-6)
    assert cka(x, y, parts=4) == pytest.approx(literal(x, y), rel=1e-6)


def test_cka_ignores_rotation_scale_and_offset() -> None:
    torch.manual_seed(0)
    x = torch.randn(4, 6, 5, 5)
    rotation, _ = torch.linalg.qr(torch.randn(6, 6))
    turned = torch.einsum("bchw,cd->bdhw", x, rotation) * 7 + 3
    assert cka(x, turned) == pytest.approx(1.0, abs=1e-5)
    assert cka(x, torch.randn(4, 6, 5, 5)) < 0.2


def test_cka_resizes_the_finer_map() -> None:
    torch.manual_seed(0)
    coarse = torch.randn(3, 4, 4, 4)
    fine = coarse.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    assert cka(coarse, fine) == pytest.approx(1.0, abs=1e-5)


def test_cka_of_a_constant_map_is_nan() -> None:
    assert math.isnan(LinearCKA().value)
    assert math.isnan(cka(torch.ones(2, 3, 2, 2), torch.rand(2, 3, 2, 2)))


def test_values_out_of_range_are_counted_but_not_drawn() -> None:
    histogram = Histogram(0.0, 1.0, bins=10)
    histogram.update(torch.arange(0.05, 1.0, 0.1))
    histogram.update(torch.tensor([-50.0, -2.0, 0.0, 1.0, 99.0]))
    assert histogram.counts.tolist() == [2, 1, 1, 1, 1, 1, 1, 1, 1, 2]
    assert (histogram.below, histogram.above) == (2, 1)
    assert np.sum(histogram.density * np.diff(histogram.edges)) == pytest.approx(12 / 15)


def test_the_range_covers_all_networks_and_frames() -> None:
    seen = [{"stage": torch.linspace(*ends, 1001)} for ends in ((0, 1), (-3, 0), (0, 2))]
    ranges = value_ranges([*seen, {"half": torch.zeros(4)}])
    assert ranges["stage"] == pytest.approx((-2.997, 1.998))
    assert ranges["half"] == (0, 0)


def test_a_constant_map_has_a_histogram() -> None:
    histogram = Histogram(0.0, 0.0, bins=4)
    histogram.update(torch.zeros(8))
    assert histogram.counts.sum() == 8
