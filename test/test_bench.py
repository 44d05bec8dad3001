# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""`rgbd_seg bench`: its JSON and table, percentiles, the floor, and refused options."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from rgbd_seg_ros import bench
from rgbd_seg_ros.cli import main
from rgbd_seg_ros.models.segformer import AllMLPHead


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Known peaks instead of a measurement, and a cache of its own."""
    peaks = {"gflops_f32": 100.0, "gflops_bf16": 200.0, "gb_per_s": 10.0}
    monkeypatch.setattr(bench, "measured_peaks", lambda _: peaks)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


def measured(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    assert main(["bench", "--device", "cpu", "--masks", "2", "--json", *words]) == 0
    document: dict[str, Any] = json.loads(capsys.readouterr().out)
    return document


def test_each_network_of_a_bundle_has_a_run(capsys: pytest.CaptureFixture[str]) -> None:
    document = measured(capsys, "--backend", "torch", "--size", "64x96")
    rows = [(run["network"], run["backend"]) for run in document["runs"]]
    assert rows == [  # only the fused network has a head with a published form
        ("rgbd", "published"), ("rgbd", "float32"), ("rgbd", "torch"),
        ("rgb", "float32"), ("rgb", "torch"), ("depth", "float32"), ("depth", "torch"),
    ]  # fmt: skip
    for run in document["runs"]:
        assert (run["precision"], run["device"]) == ("f32", "cpu")
        assert run["same_as_float32"] > 0.999
        assert (run["size"], run["input_size"]) == ([64, 96], [240, 320])
        end = run["end_to_end_ms"]
        assert 0 < end["p50"] <= end["p95"] <= end["p99"]
        assert sum(run["stages_ms"].values()) <= 1.1 * end["p99"]
        assert run["backend"] == "published" or run["first_after_switch_ms"] > 0
        assert set(run["stages_ms"]) == {"preprocess", "network", "postprocess"}
    assert document["warnings"] == []
    text = bench.table(document)
    assert "1.00 x" in text
    assert "100 GFLOP/s in float32, 200 in bfloat16, 10.0 GB/s" in text


def test_a_named_network_needs_no_bundle(capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--network", "segformer_b0", "--size", "64x96", "--backend", "torch"]
    runs = measured(capsys, *options)["runs"]
    assert [run["backend"] for run in runs] == ["published", "float32", "torch"]
    for run in runs:
        assert (run["network"], run["input_size"]) == ("segformer_b0", [64, 96])
        assert run["first_after_switch_ms"] is None
        assert 0 < run["floor_ms"]["bf16"] < run["floor_ms"]["f32"]


def test_the_published_head_is_really_used(monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = bench._random_bundle("segformer_b0", (64, 96))
    used: list[int] = []
    published = AllMLPHead.published

    def spy(head: AllMLPHead, features: Any) -> Any:
        used.append(len(features))
        return published(head, features)

    monkeypatch.setattr(AllMLPHead, "published", spy)
    module = bench._published_form(bundle).networks["rgb"].module
    x = torch.zeros(1, 3, 64, 96)
    with torch.no_grad():
        torch.testing.assert_close(module(x).logits, bundle.networks["rgb"].module(x).logits)
    assert used == [4]


def test_percentiles_of_known_times() -> None:
    times = [
        {"preprocess": 1.0, "network": float(ms), "postprocess": 2.0, "end": ms + 3.0}
        for ms in range(1, 102)
    ]
    row = bench.summarize(times, [7.0, 9.0, 100.0])
    assert row["end_to_end_ms"] == {"p50": 54.0, "p95": 99.0, "p99": 103.0}
    assert row["stages_ms"] == {"preprocess": 1.0, "network": 51.0, "postprocess": 2.0}
    assert row["first_after_switch_ms"] == 9.0
    assert row["fps"] == 18.519


def test_the_floor_counts_operations_and_weights() -> None:
    bundle = bench._random_bundle("segformer_b0", (64, 96))
    network = bundle.networks["rgb"]
    convolution = torch.nn.Conv2d(3, 8, 1, bias=False)  # 2·3·8·64·96 operations, 24 weights
    network = type(network)(convolution, network.record)
    peaks = {"gflops_f32": 1e-3, "gflops_bf16": 2e-3, "gb_per_s": 1e-6}
    floor = bench.floor_ms(network, peaks)
    assert floor == {"f32": 294.912, "bf16": 147.456, "weights_f32": 96.0}


def test_a_backend_that_fails_is_told_and_the_others_are_measured(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("no kernel")

    from rgbd_seg_ros.engine.backends import BACKENDS

    monkeypatch.setitem(BACKENDS, "toy", fail)
    words = ["--device", "cpu", "--masks", "2", "--json", "--backend", "toy", "--size", "64x96"]
    assert main(["bench", *words]) == 1
    document = json.loads(capsys.readouterr().out)
    assert document["warnings"] == ["backend toy of the bundle is not measured: no kernel"]
    assert {run["backend"] for run in document["runs"]} == {"published", "float32"}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--size", "640"], "--size must be HEIGHTxWIDTH of 32 to 8192 each"),
        (["--size", "31x640"], "got '31x640'"),
        (["--masks", "1"], "--masks must be at least 2, got 1"),
        (["--threads", "-1"], "--threads must be 1 to"),
        (["--backend", "tensorflow"], "unknown backend 'tensorflow'"),
        (["--network", "cmx_b22"], "did you mean 'cmx_b2'"),
    ],
)
def test_wrong_options_are_refused_in_one_line(
    capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    assert main(["bench", "--device", "cpu", *words]) == 2
    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1
