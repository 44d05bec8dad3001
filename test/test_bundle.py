# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Bundles: a round trip, and every defect is rejected with its reason."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from rgbd_seg_ros.bundle import (
    Bundle,
    BundleError,
    load_bundle,
    load_network,
    save_bundle,
    save_network,
)
from rgbd_seg_ros.depth import DepthEncoding
from rgbd_seg_ros.labels import LabelSet
from rgbd_seg_ros.models import build


@pytest.fixture
def saved(tiny_bundle: Bundle, tmp_path: Path) -> Path:
    """A bundle with only the depth network, the smallest one, saved in float32."""
    bundle = Bundle(tiny_bundle.labels, {"depth": tiny_bundle.networks["depth"]})
    return save_bundle(tmp_path / "bundle", bundle, torch.float32)


def _edit_json(directory: Path, edit: Callable[[dict], object]) -> None:
    path = directory / "bundle.json"
    document = json.loads(path.read_text())
    edit(document)
    path.write_text(json.dumps(document))


def _edit_weights(directory: Path, edit: Callable[[dict], object]) -> None:
    """Change the tensors and update the hash, so that only the change is wrong."""
    path = directory / "depth.safetensors"
    tensors = load_file(path)
    edit(tensors)
    save_file(tensors, path)
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    _edit_json(directory, lambda d: d["networks"]["depth"].update(sha256=sha256))


def test_round_trip_keeps_weights_and_record(tiny_bundle: Bundle, saved: Path) -> None:
    loaded, original = load_bundle(saved).networks["depth"], tiny_bundle.networks["depth"]
    assert loaded.record == original.record
    assert not loaded.module.training
    for name, tensor in original.module.state_dict().items():
        torch.testing.assert_close(
            loaded.module.state_dict()[name], tensor, rtol=0, atol=0, msg=name
        )
    assert sorted(p.name for p in saved.iterdir()) == ["bundle.json", "depth.safetensors"]


def test_a_bundle_with_the_old_spelling_of_license_is_read(saved: Path) -> None:
    def respell(document: dict) -> None:
        entry = document["networks"]["depth"]
        entry["licence"] = entry.pop("license")

    before = load_bundle(saved).networks["depth"].record
    _edit_json(saved, respell)
    assert load_bundle(saved).networks["depth"].record == before


def test_a_record_with_hha_survives_the_round_trip(tiny_bundle: Bundle, tmp_path: Path) -> None:
    network = tiny_bundle.networks["depth"]
    preprocess = dataclasses.replace(
        network.record.preprocess, depth=DepthEncoding.for_hha(holes="zero")
    )
    spec = dataclasses.replace(network.record.spec, depth_channels=3)
    record = dataclasses.replace(network.record, preprocess=preprocess, spec=spec)
    path = save_network(tmp_path / "n.safetensors", build(spec), record)
    assert load_network(path).record == record
    with pytest.raises(BundleError, match=r"takes 1 depth channel.* 'hha' has 3"):
        dataclasses.replace(network.record, preprocess=preprocess)


def test_half_precision_applies_to_matrices_but_not_to_statistics(
    tiny_bundle: Bundle, tmp_path: Path
) -> None:
    network = tiny_bundle.networks["depth"]
    path = save_network(tmp_path / "n.safetensors", network.module, network.record, torch.float16)
    for name, tensor in load_file(path).items():
        if tensor.is_floating_point():
            assert tensor.dtype == (torch.float16 if tensor.ndim >= 2 else torch.float32), name
    loaded = load_network(path)
    assert {p.dtype for p in loaded.module.parameters()} == {torch.float32}
    assert load_network(path.with_suffix(".json")).sha256 == loaded.sha256


DEFECTS = {
    "no directory": (lambda d: (d / "bundle.json").unlink(), "cannot read .*bundle.json"),
    "no json": (lambda d: (d / "bundle.json").write_text("{"), "is not JSON"),
    "other format": (lambda d: _edit_json(d, lambda j: j.update(format="x")), "not of format"),
    "other version": (lambda d: _edit_json(d, lambda j: j.update(version=9)), "has version 9"),
    "no weights": (lambda d: (d / "depth.safetensors").unlink(), "cannot read weights"),
    "wrong hash": (
        lambda d: (d / "depth.safetensors").write_bytes(b"x" * 100),
        "has SHA-256 .* but its JSON says",
    ),
    "truncated": (
        lambda d: _rehash(d, (d / "depth.safetensors").read_bytes()[:-40]),
        "not a safetensors file",
    ),
    "missing key": (
        lambda d: _edit_weights(d, lambda t: t.pop(sorted(t)[0])),
        "1 keys missing",
    ),
    "unknown key": (
        lambda d: _edit_weights(d, lambda t: t.update(extra=torch.zeros(1))),
        r"1 unknown \(extra\)",
    ),
    "wrong shape": (
        lambda d: _edit_weights(d, lambda t: t.update({sorted(t)[0]: torch.zeros(3, 3, 3)})),
        r"is \(3, 3, 3\), but its spec needs",
    ),
    "NaN weights": (
        lambda d: _edit_weights(d, lambda t: t[sorted(t)[0]].view(-1)[:1].fill_(float("nan"))),
        "NaN or infinite weights",
    ),
    "other label set": (
        lambda d: _edit_json(d, lambda j: j["labels"].update(classes=["a"], palette=[[1, 2, 3]])),
        "16 classes but label set 'indoor16' has 1",
    ),
    "no label set": (lambda d: _edit_json(d, lambda j: j.pop("labels")), "bad 'labels'"),
    "misspelled spec": (
        lambda d: _edit_json(d, lambda j: j["networks"]["depth"]["spec"].update(encoder="mit_b9")),
        "did you mean",
    ),
    "misspelled key": (
        lambda d: _edit_json(d, lambda j: j["networks"]["depth"].update(sha265="")),
        r"unknown keys \['sha265'\]",
    ),
    "no spec": (
        lambda d: _edit_json(d, lambda j: j["networks"]["depth"].pop("spec")),
        r"missing keys \['spec'\]",
    ),
    "bad preprocess": (
        lambda d: _edit_json(
            d, lambda j: j["networks"]["depth"]["preprocess"]["depth"].update(std=0)
        ),
        "std must be above 0",
    ),
    "no range": (
        lambda d: _edit_json(
            d, lambda j: j["networks"]["depth"]["preprocess"]["depth"].update(clip_m=[])
        ),
        "needs 0 < near < far",
    ),
    "no object": (
        lambda d: _edit_json(d, lambda j: j["networks"]["depth"]["preprocess"].update(depth=3)),
        "'int' object is not a mapping",
    ),
    "wrong place": (
        lambda d: _edit_json(d, lambda j: j.update(networks={"rgb": j["networks"]["depth"]})),
        "network 'rgb' contains weights for 'depth'",
    ),
    "outside file": (
        lambda d: _edit_json(d, lambda j: j["networks"]["depth"].update(file="../x.safetensors")),
        "must be a file name in the same directory",
    ),
    "no networks": (lambda d: _edit_json(d, lambda j: j.update(networks={})), "at least one"),
}


def _rehash(directory: Path, data: bytes) -> None:
    (directory / "depth.safetensors").write_bytes(data)
    sha256 = hashlib.sha256(data).hexdigest()
    _edit_json(directory, lambda d: d["networks"]["depth"].update(sha256=sha256))


@pytest.mark.parametrize("defect", DEFECTS)
def test_every_defect_is_refused_with_a_one_line_message(saved: Path, defect: str) -> None:
    spoil, message = DEFECTS[defect]
    spoil(saved)
    with pytest.raises(BundleError, match=message) as caught:
        load_bundle(saved)
    assert "\n" not in str(caught.value)


def test_networks_of_two_label_sets_are_refused(tiny_bundle: Bundle) -> None:
    network = tiny_bundle.networks["depth"]
    other = LabelSet("other", tuple(f"class{i}" for i in range(16)))
    record = dataclasses.replace(network.record, labels=other)
    with pytest.raises(BundleError, match="must share one"):
        Bundle(
            tiny_bundle.labels,
            {**tiny_bundle.networks, "depth": dataclasses.replace(network, record=record)},
        )


def test_infinite_weights_are_not_saved(tiny_bundle: Bundle, tmp_path: Path) -> None:
    network = load_network(
        save_network(
            tmp_path / "a.safetensors",
            tiny_bundle.networks["depth"].module,
            tiny_bundle.networks["depth"].record,
        )
    )
    next(network.module.parameters()).data.fill_(1e6)  # finite, but not in float16
    with pytest.raises(BundleError, match=r"infinite in torch.float16; nothing was saved"):
        save_network(tmp_path / "b.safetensors", network.module, network.record, torch.float16)
    assert not list(tmp_path.glob("*b.*"))
