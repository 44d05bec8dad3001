# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Published weights: all keys are converted, and RGB gives the logits the authors got from BGR."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from rgbd_seg_ros.bundle import load_network
from rgbd_seg_ros.models import NetworkSpec, build
from training import import_weights, published_weights
from training.options import UsageError

MEAN = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1)
STD = torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1)
CLASSES = 5

#: Our name → published name, taken from the published modules, not from the importer.
MIT = [
    (r"stages\.(\d)\.patch_embed\.(.+)", lambda m: f"patch_embed{int(m[1]) + 1}.{m[2]}"),
    (
        r"stages\.(\d)\.blocks\.(\d+)\.mlp\.dwconv\.(.+)",
        lambda m: f"block{int(m[1]) + 1}.{m[2]}.mlp.dwconv.dwconv.{m[3]}",
    ),
    (r"stages\.(\d)\.blocks\.(\d+)\.(.+)", lambda m: f"block{int(m[1]) + 1}.{m[2]}.{m[3]}"),
    (r"stages\.(\d)\.norm\.(.+)", lambda m: f"norm{int(m[1]) + 1}.{m[2]}"),
]
HEAD = [
    (r"head\.linears\.(\d)\.(.+)", lambda m: f"decode_head.linear_c{int(m[1]) + 1}.proj.{m[2]}"),
    (r"head\.fuse\.(.+)", lambda m: f"decode_head.linear_fuse.0.{m[1]}"),
    (r"head\.norm\.(.+)", lambda m: f"decode_head.linear_fuse.1.{m[1]}"),
    (r"head\.classifier\.(.+)", lambda m: f"decode_head.linear_pred.{m[1]}"),
]
PAIR = {"proj": "channel_proj", "kv": "cross_attn.kv", "end_proj": "end_proj", "norm": "norm"}
FUSION = [
    (
        r"rectify\.(\d)\.(channel|spatial)\.(.+)",
        lambda m: f"backbone.FRMs.{m[1]}.{m[2]}_weights.mlp.{m[3]}",
    ),
    (
        r"fuse\.(\d)\.cross\.(\w+)\.(\d)\.(.+)",
        lambda m: f"backbone.FFMs.{m[1]}.cross.{PAIR[m[2]]}{int(m[3]) + 1}.{m[4]}",
    ),
    (
        r"fuse\.(\d)\.embed\.(.+)",
        lambda m: f"backbone.FFMs.{m[1]}.channel_emb.channel_embed.{m[2]}",
    ),
    (r"fuse\.(\d)\.(residual|norm)\.(.+)", r"backbone.FFMs.\1.channel_emb.\2.\3"),
]


def _prefixed(rules: list, ours: str, theirs: str) -> list:
    return [(ours + pattern, lambda m, f=target: theirs + f(m)) for pattern, target in rules]


def published(network: nn.Module, rules: list) -> dict[str, Tensor]:
    """The network's weights with their published names."""
    state = {}
    for name, tensor in network.state_dict().items():
        for pattern, target in rules:
            match = re.fullmatch(pattern, name)
            if match:
                state[match.expand(target) if isinstance(target, str) else target(match)] = tensor
                break
        else:
            raise AssertionError(f"no published name for {name}")
    return state


CMX = [*_prefixed(MIT, r"rgb\.", "backbone."), *_prefixed(MIT, r"depth\.", "backbone.extra_"),
       *FUSION, *HEAD]  # fmt: skip
SEGFORMER = [*_prefixed(MIT, r"encoder\.", "backbone."), *HEAD]


def random_network(architecture: str, modality: str, encoder: str = "mit_b0") -> nn.Module:
    """A network with random weights and random batch-norm statistics."""
    torch.manual_seed(3)
    spec = NetworkSpec(
        architecture=architecture, modality=modality, encoder=encoder, num_classes=CLASSES,
        width=24, depth_channels=3 if modality == "rgbd" else 1,
    )  # fmt: skip
    network = build(spec).eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.2)
            module.running_var.uniform_(0.3, 2)
            nn.init.uniform_(module.weight, 0.5, 1.5)
    return network


def import_file(source: str, state: dict, folder: Path, *extra: str) -> Path:
    torch.save(state, folder / "published.pth")
    out = folder / "ours.safetensors"
    arguments = ["--from", source, str(folder / "published.pth"), "--out", str(out), *extra]
    assert import_weights.main(arguments) == 0
    return out


def images() -> tuple[Tensor, Tensor]:
    torch.manual_seed(4)
    return torch.randint(0, 256, (2, 3, 64, 96)), torch.randint(0, 256, (2, 3, 64, 96))


@pytest.mark.parametrize(("source", "prefix"), [("cmx", ""), ("primkd", "module.")])
def test_a_fused_network_gives_the_authors_logits(
    source: str, prefix: str, tmp_path: Path
) -> None:
    theirs = random_network("cmx", "rgbd")
    state = {prefix + name: tensor for name, tensor in published(theirs, CMX).items()}
    if source == "primkd":  # its aligners are not used after training
        state[f"{prefix}decode_head.align_loss1.weight"] = torch.zeros(32, 32, 1, 1)
        state[f"{prefix}decode_head.align_loss1.bias"] = torch.zeros(32)
    ours = load_network(import_file(source, {"model": state, "epoch": 3}, tmp_path))
    rgb, hha = images()
    with torch.no_grad():
        # The authors read BGR but normalize channel 0 (blue) by red's mean and std.
        expected = theirs(*((x.flip(1) / 255 - MEAN) / STD for x in (rgb, hha))).logits
        from rgbd_seg_ros.preprocess import normalize_rgb

        preprocess = ours.record.preprocess
        logits = ours.module(
            normalize_rgb(rgb, preprocess), preprocess.depth.normalize(hha.float())
        ).logits
        unpermuted = ours.module((rgb / 255 - MEAN) / STD, (hha / 255 - MEAN) / STD).logits
    torch.testing.assert_close(logits, expected, rtol=0, atol=1e-4)
    assert (unpermuted - expected).abs().max() > 1e-3, "mean and std matter"
    assert preprocess.rgb_mean == (0.406, 0.456, 0.485)
    assert preprocess.depth.kind == "hha"
    assert "NVIDIA" in ours.record.license


def test_primkds_teacher_is_an_rgb_segformer_trained_on_bgr(tmp_path: Path) -> None:
    theirs = random_network("segformer", "rgb")
    ours = load_network(import_file("primkd", published(theirs, SEGFORMER), tmp_path))
    rgb, _ = images()
    from rgbd_seg_ros.preprocess import normalize_rgb

    with torch.no_grad():
        expected = theirs((rgb.flip(1) / 255 - MEAN) / STD).logits
        logits = ours.module(normalize_rgb(rgb, ours.record.preprocess)).logits
    torch.testing.assert_close(logits, expected, rtol=0, atol=1e-4)


def test_mmsegs_segformer_reads_rgb_and_has_another_epsilon(tmp_path: Path) -> None:
    theirs = random_network("segformer", "rgb", "mit_b1")
    state = published(theirs, SEGFORMER)
    for name in [n for n in state if n.startswith("decode_head.linear_fuse.")]:
        tensor = state.pop(name)
        new = name.replace("fuse.0.", "fuse.conv.").replace("fuse.1.", "fuse.bn.")
        if not new.endswith("conv.bias"):
            state[new] = tensor
    state["decode_head.conv_seg.weight"] = torch.zeros(CLASSES, 24, 1, 1)
    state["decode_head.conv_seg.bias"] = torch.zeros(CLASSES)
    nn.init.zeros_(theirs.head.fuse.bias)
    theirs.head.norm.eps = 1e-5
    ours = load_network(import_file("segformer", {"state_dict": state}, tmp_path))
    rgb, _ = images()
    with torch.no_grad():
        normalized = (rgb / 255 - MEAN) / STD
        expected = theirs(normalized).logits
        logits = ours.module(normalized).logits
    torch.testing.assert_close(logits, expected, rtol=0, atol=1e-4)
    assert ours.record.spec.encoder == "mit_b1"
    assert ours.record.preprocess.rgb_mean == (0.485, 0.456, 0.406)


def test_class_names_come_from_a_file(tmp_path: Path) -> None:
    names = tmp_path / "classes.txt"
    names.write_text("wall\nfloor\nbed\nsofa\nlamp\n")
    state = published(random_network("segformer", "rgb"), SEGFORMER)
    ours = load_network(import_file("segformer", state, tmp_path, "--classes", str(names)))
    assert ours.record.labels.classes == ("wall", "floor", "bed", "sofa", "lamp")
    names.write_text("wall\n")
    with pytest.raises(
        UsageError, match=r"published.pth has 5 classes, but --classes .* names 1: use a text file"
    ):
        import_file("segformer", state, tmp_path, "--classes", str(names), "--overwrite")


def _drop(state: dict) -> None:
    del state["backbone.block2.1.attn.kv.bias"]


def _add(state: dict) -> None:
    state["backbone.surprise.weight"] = torch.zeros(1)


def _cut(state: dict) -> None:
    for name in [n for n in state if n.startswith("backbone.block3.1.")]:
        del state[name]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_drop, "kv.bias"),
        (_add, "unknown: 'backbone.surprise.weight'; check which publisher"),
        (_cut, r"none of mit_b0, .* has \(2, 2, 1, 2\) blocks per stage"),
    ],
)
def test_missing_and_unknown_keys_are_refused(
    spoil: Callable[[dict], None], message: str, tmp_path: Path
) -> None:
    state = published(random_network("segformer", "rgb"), SEGFORMER)
    spoil(state)
    with pytest.raises(UsageError, match=message):
        import_file("segformer", state, tmp_path)
    assert not (tmp_path / "ours.safetensors").exists()


def test_a_file_that_needs_unpickling_is_refused(tmp_path: Path) -> None:
    torch.save({"model": Path("x")}, tmp_path / "evil.pth")
    with pytest.raises(UsageError, match="not a plain weights file"):
        published_weights.read_state(tmp_path / "evil.pth")


def test_a_wrong_source_is_refused(tmp_path: Path) -> None:
    state = published(random_network("segformer", "rgb"), SEGFORMER)
    with pytest.raises(UsageError, match="no second branch"):
        import_file("cmx", state, tmp_path)
    with pytest.raises(UsageError, match="none of resnet18, resnet50 has"):
        import_file("torchvision", {"block1.weight": torch.zeros(1)}, tmp_path)


def test_an_existing_file_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "ours.safetensors").write_text("mine")
    with pytest.raises(UsageError, match="exists"):
        import_file("segformer", {"a": torch.zeros(1)}, tmp_path)
