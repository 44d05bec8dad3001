# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Bundles: a round trip, and every defect is rejected with its reason."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Callable
from functools import cache
from pathlib import Path
from random import Random

import pytest
import torch
from rigs.bundles import random_bundle
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
    """A bundle with only the depth network, saved in float32."""
    bundle = Bundle(tiny_bundle.labels, {"depth": tiny_bundle.networks["depth"]})
    return save_bundle(tmp_path / "bundle", bundle, torch.float32)


@pytest.fixture
def quick(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A saved bundle with one SegFormer, which is built only once for each specification."""
    bundle = random_bundle("segformer")
    monkeypatch.setattr("rgbd_seg_ros.bundle.build", cache(build))
    return save_bundle(tmp_path / "b", Bundle(bundle.labels, {"depth": bundle.networks["depth"]}))


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
    "no weights": (
        lambda d: (d / "depth.safetensors").unlink(),
        "cannot read .*depth.safetensors",
    ),
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
        "'depth' is missing or not an object: 3",
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


# --- Hostile files -----------------------------------------------------------------------------


def _name(directory: Path, name: object) -> None:
    """Change the name of the weights file in the JSON."""
    _edit_json(directory, lambda d: d["networks"]["depth"].update(file=name))


def _replace_weights(directory: Path, make: Callable[[Path], object]) -> None:
    path = directory / "depth.safetensors"
    path.rename(directory.parent / "moved.safetensors")
    make(path)


def _text(directory: Path, old: str, new: str) -> None:
    path = directory / "bundle.json"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


HOSTILE = {
    "weights are a FIFO": (lambda d: _replace_weights(d, os.mkfifo), r"named pipe \(FIFO\)"),
    "weights are a folder": (lambda d: _replace_weights(d, Path.mkdir), "a folder"),
    "weights are a device": (
        lambda d: _replace_weights(d, lambda p: p.symlink_to("/dev/zero")),
        "is outside",
    ),
    "weights link out of the folder": (
        lambda d: _replace_weights(d, lambda p: p.symlink_to(d.parent / "moved.safetensors")),
        "moved.safetensors.* is outside .*copy the file there",
    ),
    "weights link to themselves": (
        lambda d: _replace_weights(d, lambda p: p.symlink_to(p)),
        "cannot read",
    ),
    "weights are endless": (
        lambda d: os.truncate(d / "depth.safetensors", 2**40),
        "has 1099511627776 bytes; at most",
    ),
    "NUL in the name": (lambda d: _name(d, "a\0b"), "printable text"),
    "unpaired surrogate": (lambda d: _name(d, "\ud800"), "surrogates not allowed"),
    "endless name": (lambda d: _name(d, "x" * 100_000), "File name too long"),
    "the folder itself": (lambda d: _name(d, ".."), r"'\.\.' is outside"),
    "no name": (lambda d: _name(d, ""), "printable text"),
    "a number as name": (lambda d: _name(d, 7), "must be a file name"),
    "a list as hash": (
        lambda d: _edit_json(d, lambda j: j["networks"]["depth"].update(sha256=[1])),
        "but its JSON says",
    ),
    "JSON is a FIFO": (
        lambda d: ((d / "bundle.json").unlink(), os.mkfifo(d / "bundle.json")),
        "named pipe",
    ),
    "JSON is huge": (lambda d: os.truncate(d / "bundle.json", 2**33), "at most 4194304 are read"),
    "JSON is deep": (
        lambda d: (d / "bundle.json").write_text('{"format":' + "[" * 200_000),
        "nested too deeply",
    ),
    "JSON is not UTF-8": (
        lambda d: (d / "bundle.json").write_bytes(b'{"format": "\xff"}'),
        "not JSON.*utf-8",
    ),
    "JSON is empty": (lambda d: (d / "bundle.json").write_text(""), "is not JSON"),
    "JSON is a list": (lambda d: (d / "bundle.json").write_text("[]"), "not of format"),
    "key twice": (
        lambda d: _text(d, '"version": 1', '"version": 1, "version": 1'),
        "'version' appears twice",
    ),
    "NaN": (lambda d: _text(d, '"version": 1', '"version": NaN'), "NaN is not a JSON number"),
    "1e999": (lambda d: _text(d, '"version": 1', '"version": 1e999'), "too large"),
    "endless number": (
        lambda d: _text(d, '"version": 1', f'"version": {"9" * 10_000}'),
        "has 10000 digits",
    ),
    "an endless network name": (
        lambda d: _edit_json(d, lambda j: j.update(networks={"x" * 100_000: {}})),
        "unknown network",
    ),
    "a huge network": (
        lambda d: _edit_json(d, lambda j: j["networks"]["depth"]["spec"].update(width=4096)),
        "but its spec needs",
    ),
    "a huge input": (
        lambda d: _edit_json(
            d, lambda j: j["networks"]["depth"]["preprocess"].update(size=[10**9, 10**9])
        ),
        "at most 8192",
    ),
    "true as a number": (
        lambda d: _edit_json(
            d, lambda j: j["networks"]["depth"]["preprocess"].update(size=[True, 64])
        ),
        "size must be 2 whole numbers",
    ),
    "a class with a line break": (
        lambda d: _edit_json(d, lambda j: j["labels"]["classes"].__setitem__(0, "a\nb")),
        "printable characters",
    ),
    "a list as training facts": (
        lambda d: _edit_json(d, lambda j: j["networks"]["depth"].update(training=[1])),
        "'training' must be an object",
    ),
    "a huge header": (
        lambda d: _rehash(d, (2**62).to_bytes(8, "little") + b"{}"),
        "not a safetensors file",
    ),
    "integers as weights": (
        lambda d: _edit_weights(
            d, lambda t: t.update({k: v.to(torch.int64) for k, v in t.items()})
        ),
        "has type torch.int64, but its spec needs torch.float32",
    ),
}


@pytest.mark.parametrize("defect", HOSTILE)
def test_a_hostile_bundle_is_refused_with_a_short_message(saved: Path, defect: str) -> None:
    spoil, message = HOSTILE[defect]
    spoil(saved)
    with pytest.raises(BundleError, match=message) as caught:
        load_bundle(saved)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize("path", ["", "a\0b", "\ud800", "x" * 5000, "/dev/null", "/dev"])
def test_a_path_that_is_no_bundle_is_refused(path: str) -> None:
    for load in (load_bundle, load_network):
        with pytest.raises(BundleError):
            load(path)


def test_a_byte_order_mark_and_a_link_within_the_folder_are_accepted(
    tiny_bundle: Bundle, saved: Path
) -> None:
    _replace_weights(saved, lambda p: p.symlink_to("weights.safetensors"))
    (saved.parent / "moved.safetensors").rename(saved / "weights.safetensors")
    path = saved / "bundle.json"
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert load_bundle(saved).networks["depth"].record == tiny_bundle.networks["depth"].record


def test_a_network_beside_the_json_of_another_is_refused(
    tiny_bundle: Bundle, tmp_path: Path
) -> None:
    network = tiny_bundle.networks["depth"]
    path = save_network(tmp_path / "a.safetensors", network.module, network.record)
    path.with_suffix(".json").rename(tmp_path / "b.json")
    (tmp_path / "b.safetensors").write_bytes(path.read_bytes())
    with pytest.raises(BundleError, match=r"b\.json describes .*a\.safetensors, not"):
        load_network(tmp_path / "b.safetensors")


def test_training_facts_without_a_value_are_stored_as_null(
    tiny_bundle: Bundle, tmp_path: Path
) -> None:
    network = tiny_bundle.networks["depth"]
    facts = {"scores": {"miou": float("nan")}, "rates": [1.0, float("inf")], "seed": 1}
    record = dataclasses.replace(network.record, training=facts)
    path = save_network(tmp_path / "n.safetensors", network.module, record)
    expected = {"scores": {"miou": None}, "rates": [1.0, None], "seed": 1}
    assert load_network(path).record.training == expected


# --- Mutations ---------------------------------------------------------------------------------

STRANGE: tuple[object, ...] = (
    None, True, False, 0, -1, 1, 2**31, 2**63, -(2**63), 10**30, 0.5, -1.5, 1e308, "", "x", "../x",
    "\0", "rgb", "depth", "é" * 300, "x" * 5000, [], [[]], [1, 2, 3], ["x"], [None], {}, {"x": 1},
    {"kind": "hha"},
)  # fmt: skip


def _places(value: object, path: tuple[object, ...] = ()) -> list[tuple[object, ...]]:
    """The path of every value inside a document."""
    if isinstance(value, dict):
        items = list(value.items())
    else:
        items = list(enumerate(value)) if isinstance(value, list) else []
    found = [(*path, key) for key, _ in items]
    for key, inner in items:
        found += _places(inner, (*path, key))
    return found


def _mutate(document: dict, random: Random) -> None:
    """Replace, delete, rename or add one value anywhere in the document."""
    *path, key = random.choice(_places(document))
    parent = document
    for step in path:
        parent = parent[step]
    action = random.choice(("replace", "replace", "replace", "delete", "rename", "nest"))
    if action == "delete":
        del parent[key]
    elif action == "rename" and isinstance(parent, dict):
        parent[random.choice(("x", "", "format", "file", "spec"))] = parent.pop(key)
    elif action == "nest":
        parent[key] = random.choice(([parent[key]], {"x": parent[key]}))
    else:
        parent[key] = random.choice(STRANGE)


def _loads_or_is_refused(directory: Path) -> bool:
    """Whether the bundle loads; an error must be a short BundleError."""
    try:
        bundle = load_bundle(directory)
    except BundleError as error:
        text = str(error)
        assert "\n" not in text
        assert len(text) < 2000
        return False
    assert set(bundle.networks) == {"depth"}
    return True


def test_a_mutated_json_loads_or_is_refused(quick: Path) -> None:
    original = (quick / "bundle.json").read_text()
    random = Random(0)
    loaded = 0
    for _ in range(300):
        document = json.loads(original)
        for _ in range(random.choice((1, 1, 1, 2, 5))):
            _mutate(document, random)
        (quick / "bundle.json").write_text(json.dumps(document))
        loaded += _loads_or_is_refused(quick)
    assert 0 < loaded < 150  # a changed color or training fact is still a good bundle


def test_mutated_bytes_load_or_are_refused(quick: Path) -> None:
    path, random = quick / "bundle.json", Random(1)
    original = path.read_bytes()
    for _ in range(200):
        data = bytearray(original)
        for _ in range(random.choice((1, 2, 8))):
            place = random.randrange(len(data))
            if random.random() < 0.5:
                data[place] = random.randrange(256)
            else:
                del data[place : place + random.randrange(1, 40)]
        path.write_bytes(bytes(data))
        _loads_or_is_refused(quick)


def test_mutated_weights_load_or_are_refused(quick: Path) -> None:
    original, random = (quick / "depth.safetensors").read_bytes(), Random(2)
    header = 8 + int.from_bytes(original[:8], "little")
    for _ in range(60):
        data = bytearray(original)
        for _ in range(random.choice((1, 2, 8))):
            data[random.randrange(header)] = random.randrange(256)
        _rehash(quick, bytes(data))
        _loads_or_is_refused(quick)
