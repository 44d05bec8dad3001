# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Initial weights: each kind of file reaches the encoder, each mistake gives a one-line error."""

from __future__ import annotations

import json
import urllib.error
from pathlib import Path
from typing import Any

import pytest
import torch
from rigs.broken_files import BROKEN, assert_one_line

from rgbd_seg_ros.bundle import (
    Bundle,
    BundleError,
    NetworkRecord,
    save_bundle,
    save_network,
)
from rgbd_seg_ros.files import InputFileError
from rgbd_seg_ros.labels import LabelSet
from rgbd_seg_ros.models import NetworkSpec, build, network_spec
from rgbd_seg_ros.models.encoders import build_encoder
from rgbd_seg_ros.preprocess import Preprocess
from training import import_weights
from training.options import UsageError
from training.pretrained import load_pretrained

PREPROCESS = Preprocess((64, 64))


def network(encoder: str, modality: str = "rgb", classes: int = 4) -> Any:
    architecture = "cmx" if modality == "rgbd" else "deeplabv3plus"
    return build(
        NetworkSpec(
            architecture=architecture,
            modality=modality,
            encoder=encoder,
            num_classes=classes,
            width=8,
        )
    )


def mit_file(path: Path) -> dict[str, torch.Tensor]:
    """Write MiT-B0 with NVIDIA's names and an ImageNet classifier; returns the weights."""
    state = {}
    for name, tensor in build_encoder("mit_b0").state_dict().items():
        _, stage, part, rest = name.split(".", 3)
        part = {"blocks": "block"}.get(part, part)
        rest = rest.replace("dwconv.", "dwconv.dwconv.")
        state[f"{part}{int(stage) + 1}.{rest}"] = tensor
    state |= {"head.weight": torch.zeros(1000, 256), "head.bias": torch.zeros(1000)}
    torch.save(state, path)
    return state


def test_none_leaves_the_network_unchanged() -> None:
    net = network("mit_b0")
    before = {k: v.clone() for k, v in net.state_dict().items()}
    assert load_pretrained(net, "none", PREPROCESS) == "Apache-2.0"
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())


@pytest.mark.parametrize(
    "kind", [k for k in BROKEN if k != "a link to itself"] + ["{}", "no license", "other weights"]
)
def test_weights_with_a_broken_description_are_refused_in_one_line(
    kind: str, tmp_path: Path
) -> None:
    path = tmp_path / "encoder.safetensors"
    import_weights.save_encoder(path, "mit_b0", build_encoder("mit_b0").state_dict(), "MIT")
    load_pretrained(network("mit_b0"), str(path), PREPROCESS)
    beside = path.with_suffix(".json")
    document = json.loads(beside.read_text())
    if kind in BROKEN:
        BROKEN[kind](beside)
    else:
        changes = {"{}": {}, "no license": {**document, "license": 3},
                   "other weights": {**document, "sha256": "0"}}  # fmt: skip
        beside.write_text(json.dumps(changes[kind]))
    with pytest.raises((UsageError, InputFileError, BundleError)) as caught:
        load_pretrained(network("mit_b0"), str(path), PREPROCESS)
    assert_one_line(caught.value, tmp_path / "encoder")


@pytest.mark.parametrize("through_import", [False, True])
def test_a_mit_file_fills_every_encoder_and_sets_the_license(
    through_import: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "mit_b0.pth"
    state = mit_file(path)
    if through_import:
        out = tmp_path / "encoder.safetensors"
        import_weights.main(["--from", "segformer", str(path), "--out", str(out)])
        path = out
    net = network("mit_b0", "rgbd")
    license = load_pretrained(net, str(path), PREPROCESS)
    assert "NVIDIA" in license
    assert "no commercial use" in capsys.readouterr().err
    expected = state["block3.1.mlp.dwconv.dwconv.weight"]
    for branch in (net.rgb, net.depth):
        assert torch.equal(branch.stages[2].blocks[1].mlp.dwconv.weight, expected)


def test_a_torchvision_resnet_fills_rgb_and_depth_encoders(tmp_path: Path) -> None:
    torchvision = pytest.importorskip("torchvision")
    theirs = torchvision.models.resnet18(weights=None)
    torch.save(theirs.state_dict(), tmp_path / "resnet18.pth")
    for modality in ("rgb", "depth"):
        net = network("resnet18", modality)
        load_pretrained(net, str(tmp_path / "resnet18.pth"), PREPROCESS)
        stem = theirs.conv1.weight
        expected = stem if modality == "rgb" else stem.mean(dim=1, keepdim=True)
        torch.testing.assert_close(net.encoder.conv1.weight, expected)
        assert torch.equal(net.encoder.layer3[1].conv2.weight, theirs.layer3[1].conv2.weight)


@pytest.mark.parametrize("classes", [4, 7])
def test_a_trained_network_is_loaded_without_a_classifier_for_other_classes(
    classes: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trained = network("mit_b0", classes=classes)
    labels = LabelSet("x", tuple(f"c{i}" for i in range(classes)))
    record = NetworkRecord(trained.spec, Preprocess((64, 64), (0.4, 0.5, 0.6)), labels)
    path = save_network(tmp_path / "rgb.safetensors", trained, record)
    net = network("mit_b0")
    before = net.decoder.classifier.weight.clone()
    load_pretrained(net, str(path), PREPROCESS)
    assert torch.equal(net.decoder.refine[0].weight, trained.decoder.refine[0].weight)
    assert torch.equal(net.decoder.classifier.weight, before) == (classes == 7)
    assert "the network was trained with rgb_mean (0.4, 0.5, 0.6)" in capsys.readouterr().err
    with pytest.raises(UsageError, match="does not fit"):
        load_pretrained(network("mit_b1"), str(path), PREPROCESS)


@pytest.mark.parametrize(
    ("name", "modality", "encoders"),
    [
        ("crodino_mit_b0", "rgb", ("encoder",)),
        ("segformer_b0", "depth", ("encoder",)),
        ("cmx_b0", "rgbd", ("rgb", "depth")),
    ],
)
def test_from_another_architecture_only_the_encoder_is_loaded(
    name: str,
    modality: str,
    encoders: tuple[str, ...],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    trained = network("mit_b0")
    record = NetworkRecord(trained.spec, PREPROCESS, LabelSet("x", tuple("abcd")))
    path = save_network(tmp_path / "rgb.safetensors", trained, record)
    net = build(network_spec(name, modality=modality, num_classes=4, width=8))
    before = {k: v.clone() for k, v in net.state_dict().items()}
    load_pretrained(net, str(path), PREPROCESS)
    taken = {f"{e}.{k}": v for e in encoders for k, v in trained.encoder.state_dict().items()}
    for key, value in net.state_dict().items():
        assert torch.equal(value, taken.get(key, before[key])), key
    assert "only encoder weights" in capsys.readouterr().err


@pytest.mark.parametrize("fused", ["cmx_b0", "acnet_mit_b0"])
def test_a_run_of_two_networks_starts_both_encoders_of_a_fused_one(
    fused: str, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    trained = {}
    for modality, license in (("rgb", "A"), ("depth", "B")):
        net = build(
            network_spec("deeplabv3plus_mit_b0", modality=modality, num_classes=4, width=8)
        )
        trained[modality] = net
        record = NetworkRecord(net.spec, PREPROCESS, LabelSet("x", tuple("abcd")), license=license)
        save_network(run / "best" / f"{modality}.safetensors", net, record)
    net = build(network_spec(fused, modality="rgbd", num_classes=4, width=8))
    assert load_pretrained(net, str(run), PREPROCESS) == "A; B"
    for modality, source in trained.items():
        loaded = net.get_submodule(modality).state_dict()
        for key, value in source.encoder.state_dict().items():
            assert torch.equal(loaded[key], value), key
    other = build(network_spec("cmx_b1", modality="rgbd", num_classes=4, width=8))
    with pytest.raises(UsageError, match=r"contains weights of mit_b0, but .* needs mit_b1"):
        load_pretrained(other, str(run), PREPROCESS)


def test_from_a_bundle_or_run_the_network_of_the_same_modality_is_loaded(
    tiny_bundle: Bundle, tmp_path: Path
) -> None:
    def fresh(modality: str) -> Any:
        return build(tiny_bundle.networks[modality].record.spec)  # type: ignore[index]

    folder = save_bundle(tmp_path / "bundle", tiny_bundle, torch.float32)
    net = fresh("depth")
    load_pretrained(net, str(folder), PREPROCESS)
    expected = tiny_bundle.networks["depth"].module.state_dict()
    assert all(torch.equal(v, expected[k]) for k, v in net.state_dict().items())
    packed = tiny_bundle.networks["rgb"]
    save_network(tmp_path / "run" / "best" / "rgb.safetensors", packed.module, packed.record)
    load_pretrained(fresh("rgb"), str(tmp_path / "run"), PREPROCESS)
    with pytest.raises(UsageError, match="has no network 'depth': it has rgb"):
        load_pretrained(fresh("depth"), str(tmp_path / "run"), PREPROCESS)


def test_a_failed_download_says_which_file_to_put_where(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torchvision")
    monkeypatch.setattr(
        "urllib.request.urlopen",
        lambda *_, **__: (_ for _ in ()).throw(urllib.error.URLError("no route to host")),
    )
    monkeypatch.setenv("TORCH_HOME", "/nowhere/cache")
    monkeypatch.setattr("os.makedirs", lambda *_, **__: None)
    with pytest.raises(
        UsageError, match=r"get https://.*resnet50.*\.pth .* and copy it to /nowhere/cache"
    ):
        load_pretrained(network("resnet50"), "imagenet", PREPROCESS)


@pytest.mark.parametrize(
    ("encoder", "source", "message"),
    [
        ("mit_b0", "imagenet", "NVIDIA releases it for research only"),
        ("resnet18", "imagnet", "nor one of none, imagenet, IMAGENET1K_V1"),
    ],
)
def test_unknown_sources_are_refused(encoder: str, source: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        load_pretrained(network(encoder), source, PREPROCESS)


def test_weights_of_another_encoder_and_a_changed_file_are_refused(tmp_path: Path) -> None:
    mit_file(tmp_path / "mit.pth")
    with pytest.raises(UsageError, match="weights of mit_b0, but the network needs mit_b1"):
        load_pretrained(network("mit_b1"), str(tmp_path / "mit.pth"), PREPROCESS)
    out = tmp_path / "encoder.safetensors"
    import_weights.main(["--from", "segformer", str(tmp_path / "mit.pth"), "--out", str(out)])
    out.write_bytes(out.read_bytes()[:-1] + b"\x01")
    with pytest.raises(UsageError, match="not the file that its JSON describes"):
        load_pretrained(network("mit_b0"), str(out), PREPROCESS)
