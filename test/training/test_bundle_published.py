# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""`training.bundle --published`: one command from a published file to a bundle that segments."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from rigs.broken_files import BROKEN, assert_one_line
from torch import Tensor

from rgbd_seg_ros import cli
from rgbd_seg_ros.bundle import Bundle, load_bundle, load_network, save_bundle
from rgbd_seg_ros.engine import Segmenter
from rgbd_seg_ros.files import InputFileError
from rgbd_seg_ros.labels import LABEL_SETS, LabelSet
from training import bundle, import_weights
from training.options import UsageError
from training.published_weights import convert_encoder, read_state

ROOT = Path(__file__).resolve().parents[2]
HEIGHT, WIDTH = 48, 64


def mit(prefix: str, branch: str = "") -> dict[str, Tensor]:
    """A MiT-B0 with the keys and shapes of the published code."""
    state = {}
    widths, ratios = (32, 64, 160, 256), (8, 4, 2, 1)
    before = 3
    for stage, (c, ratio) in enumerate(zip(widths, ratios, strict=True), start=1):
        embed = f"{prefix}{branch}patch_embed{stage}."
        kernel = 7 if stage == 1 else 3
        state[f"{embed}proj.weight"] = torch.randn(c, before, kernel, kernel) * 0.05
        state[f"{embed}proj.bias"] = torch.zeros(c)
        norms = [f"{embed}norm", f"{prefix}{branch}norm{stage}"]
        for number in (0, 1):
            block = f"{prefix}{branch}block{stage}.{number}."
            norms += [f"{block}norm1", f"{block}norm2"]
            shapes = {"attn.q": (c, c), "attn.kv": (2 * c, c), "attn.proj": (c, c),
                      "mlp.fc1": (4 * c, c), "mlp.fc2": (c, 4 * c)}  # fmt: skip
            if ratio > 1:
                state[f"{block}attn.sr.weight"] = torch.randn(c, c, ratio, ratio) * 0.01
                state[f"{block}attn.sr.bias"] = torch.zeros(c)
                norms.append(f"{block}attn.norm")
            for name, shape in shapes.items():
                state[f"{block}{name}.weight"] = torch.randn(*shape) * 0.05
                state[f"{block}{name}.bias"] = torch.zeros(shape[0])
            state[f"{block}mlp.dwconv.dwconv.weight"] = torch.randn(4 * c, 1, 3, 3) * 0.1
            state[f"{block}mlp.dwconv.dwconv.bias"] = torch.zeros(4 * c)
        for name in norms:
            state[f"{name}.weight"], state[f"{name}.bias"] = torch.ones(c), torch.zeros(c)
        before = c
    return state


def head(classes: int, width: int = 16) -> dict[str, Tensor]:
    """The all-MLP head with the keys of CMX."""
    state = {}
    for number, c in enumerate((32, 64, 160, 256), start=1):
        state[f"decode_head.linear_c{number}.proj.weight"] = torch.randn(width, c) * 0.1
        state[f"decode_head.linear_c{number}.proj.bias"] = torch.zeros(width)
    state["decode_head.linear_fuse.0.weight"] = torch.randn(width, 4 * width, 1, 1)
    state["decode_head.linear_fuse.0.bias"] = torch.zeros(width)
    norm = {"weight": torch.ones(width), "bias": torch.zeros(width),
            "running_mean": torch.zeros(width), "running_var": torch.ones(width),
            "num_batches_tracked": torch.tensor(1)}  # fmt: skip
    state |= {f"decode_head.linear_fuse.1.{key}": value for key, value in norm.items()}
    state["decode_head.linear_pred.weight"] = torch.randn(classes, width, 1, 1)
    state["decode_head.linear_pred.bias"] = torch.zeros(classes)
    return state


def fusion() -> dict[str, Tensor]:
    """CMX's rectification (FRM) and fusion (FFM) modules on MiT-B0."""
    state = {}

    def layer(name: str, *shape: int, bias: bool = True) -> None:
        state[f"{name}.weight"] = torch.randn(*shape) * 0.05
        if bias:
            state[f"{name}.bias"] = torch.zeros(shape[0])

    def norm(name: str, c: int, running: bool = False) -> None:
        state[f"{name}.weight"], state[f"{name}.bias"] = torch.ones(c), torch.zeros(c)
        if running:
            state[f"{name}.running_mean"], state[f"{name}.running_var"] = (
                torch.zeros(c), torch.ones(c),
            )  # fmt: skip
            state[f"{name}.num_batches_tracked"] = torch.tensor(1)

    for i, c in enumerate((32, 64, 160, 256)):
        rectify, fuse = f"backbone.FRMs.{i}.", f"backbone.FFMs.{i}."
        layer(f"{rectify}channel_weights.mlp.0", 4 * c, 4 * c)
        layer(f"{rectify}channel_weights.mlp.2", 2 * c, 4 * c)
        layer(f"{rectify}spatial_weights.mlp.0", c, 2 * c, 1, 1)
        layer(f"{rectify}spatial_weights.mlp.2", 2, c, 1, 1)
        for n in (1, 2):
            layer(f"{fuse}cross.channel_proj{n}", 2 * c, c)
            layer(f"{fuse}cross.cross_attn.kv{n}", 2 * c, c, bias=False)
            layer(f"{fuse}cross.end_proj{n}", c, 2 * c)
            norm(f"{fuse}cross.norm{n}", c)
        embed = f"{fuse}channel_emb."
        layer(f"{embed}residual", c, 2 * c, 1, 1, bias=False)
        layer(f"{embed}channel_embed.0", c, 2 * c, 1, 1)
        layer(f"{embed}channel_embed.1", c, 1, 3, 3)
        layer(f"{embed}channel_embed.3", c, c, 1, 1)
        norm(f"{embed}channel_embed.4", c, running=True)
        norm(f"{embed}norm", c, running=True)
    return state


def cmx(classes: int) -> dict[str, Tensor]:
    torch.manual_seed(0)
    return mit("backbone.") | mit("backbone.", "extra_") | fusion() | head(classes)


def segformer(classes: int) -> dict[str, Tensor]:
    torch.manual_seed(1)
    return mit("backbone.") | head(classes)


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    """A CMX and a SegFormer with NYU's 40 classes, and an encoder."""
    paths = {name: tmp_path / f"{name}.pth" for name in ("cmx", "segformer", "encoder")}
    torch.save({"model": cmx(40), "epoch": 500}, paths["cmx"])
    torch.save({"state_dict": segformer(40)}, paths["segformer"])
    torch.save(mit(""), paths["encoder"])
    return paths


def pack(out: Path, *words: object) -> Bundle:
    assert bundle.main([*map(str, words), "--out", str(out)]) == 0
    return load_bundle(out)


def write_frame(folder: Path) -> list[str]:
    """Write one frame pair; returns the options that name it."""
    rng = np.random.default_rng(0)
    cv2.imwrite(str(folder / "c.png"), rng.integers(20, 230, (HEIGHT, WIDTH, 3), dtype=np.uint8))
    ramp = np.linspace(1000, 4000, HEIGHT)[:, None] + rng.integers(0, 50, (HEIGHT, WIDTH))
    cv2.imwrite(str(folder / "d.png"), ramp.astype(np.uint16))
    return ["--rgb", str(folder / "c.png"), "--depth", str(folder / "d.png")]


def test_a_cmx_file_becomes_a_bundle_that_predicts(
    files: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "bundle"
    packed = pack(out, "--published", "cmx", files["cmx"], "--classes", "nyu40", "--size", "64,96")
    text = capsys.readouterr().err
    assert "cmx on mit_b0, 40 classes" in text
    assert "its depth input is HHA, which is computed from the camera's intrinsics" in text
    assert "MIT License" in text
    assert "research and evaluation only" in text
    assert "no rgb, depth network" in text
    assert packed.labels == LABEL_SETS["nyu40"]
    (record,) = (network.record for network in packed.networks.values())
    assert record.spec.modality == "rgbd"
    assert record.preprocess.size == (64, 96)
    assert record.preprocess.rgb_mean == (0.406, 0.456, 0.485)
    assert record.preprocess.depth.kind == "hha"
    assert "NVIDIA" in record.license
    assert "MIT License" in record.license
    assert record.training["source_file"] == "cmx.pth"

    masks = tmp_path / "masks"
    words = [*write_frame(tmp_path), "--bundle", str(out), "--out", str(masks), "--device", "cpu"]
    assert cli.main(["predict", *words, "--intrinsics", "60", "60", "32", "24"]) == 0
    summary = json.loads((masks / "summary.json").read_text())
    assert [mask["network"] for mask in summary["masks"]] == ["rgbd"]


#: Names of the authors' SegFormer → names of the library ``transformers``.
TRANSFORMERS = {
    r"backbone\.patch_embed(\d)\.proj": "segformer.encoder.patch_embeddings.{}.proj",
    r"backbone\.patch_embed(\d)\.norm": "segformer.encoder.patch_embeddings.{}.layer_norm",
    r"backbone\.norm(\d)": "segformer.encoder.layer_norm.{}",
    r"backbone\.block(\d)\.(\d)\.norm(\d)": "segformer.encoder.block.{}.{}.layer_norm_{}",
    r"backbone\.block(\d)\.(\d)\.attn\.q": "segformer.encoder.block.{}.{}.attention.self.query",
    r"backbone\.block(\d)\.(\d)\.attn\.sr": "segformer.encoder.block.{}.{}.attention.self.sr",
    r"backbone\.block(\d)\.(\d)\.attn\.norm":
        "segformer.encoder.block.{}.{}.attention.self.layer_norm",
    r"backbone\.block(\d)\.(\d)\.attn\.proj":
        "segformer.encoder.block.{}.{}.attention.output.dense",
    r"backbone\.block(\d)\.(\d)\.mlp\.fc(\d)": "segformer.encoder.block.{}.{}.mlp.dense{}",
    r"backbone\.block(\d)\.(\d)\.mlp\.dwconv\.dwconv":
        "segformer.encoder.block.{}.{}.mlp.dwconv.dwconv",
    r"decode_head\.linear_c(\d)\.proj": "decode_head.linear_c.{}.proj",
    r"decode_head\.linear_fuse\.conv": "decode_head.linear_fuse",
    r"decode_head\.linear_fuse\.bn": "decode_head.batch_norm",
    r"decode_head\.linear_pred": "decode_head.classifier",
}  # fmt: skip


def to_transformers(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The authors' SegFormer as ``transformers`` saves it (its version 4.46 was compared)."""
    renamed = {}
    for key, value in state.items():
        layer, _, tail = key.rpartition(".")
        if layer.endswith("attn.kv"):
            _, stage, block, *_ = layer.split(".")
            place = f"segformer.encoder.block.{int(stage[5:]) - 1}.{block}.attention.self"
            for name, part in zip(("key", "value"), value.chunk(2), strict=True):
                renamed[f"{place}.{name}.{tail}"] = part.clone()
            continue
        (found,) = [
            (m, new) for old, new in TRANSFORMERS.items() if (m := re.fullmatch(old, layer))
        ]
        match, name = found
        first, *others = match.groups() or ("1",)
        renamed[f"{name.format(int(first) - 1, *others)}.{tail}"] = value
    return renamed


def test_a_segformer_of_hugging_face_is_the_network_of_its_authors(tmp_path: Path) -> None:
    parts = {"0": "conv", "1": "bn"}
    state = {
        re.sub(r"linear_fuse\.(\d)", lambda m: f"linear_fuse.{parts[m[1]]}", key): value
        for key, value in segformer(40).items()
        if key != "decode_head.linear_fuse.0.bias"
    }
    files = {"authors": tmp_path / "authors.pth", "hub": tmp_path / "pytorch_model.bin"}
    torch.save({"state_dict": state}, files["authors"])
    torch.save(to_transformers(state), files["hub"])
    names = torch.load(files["hub"], weights_only=True).keys()
    assert "segformer.encoder.block.3.1.attention.self.value.weight" in names
    packed = {
        name: pack(tmp_path / name, "--published", "segformer", file, "--classes", "nyu40")
        for name, file in files.items()
    }
    own, theirs = (packed[n].networks["rgb"].module.state_dict() for n in ("authors", "hub"))
    assert own.keys() == theirs.keys()
    assert all(torch.equal(value, theirs[key]) for key, value in own.items())


def test_an_encoder_of_hugging_face_is_read_too(tmp_path: Path) -> None:
    state = {f"backbone.{key}": value for key, value in mit("").items()}
    hub = to_transformers(state) | {"classifier.weight": torch.zeros(10, 256)}
    torch.save(hub, tmp_path / "pytorch_model.bin")
    name, weights, _ = convert_encoder("segformer", read_state(tmp_path / "pytorch_model.bin"))
    authors = {key.removeprefix("backbone."): value for key, value in state.items()}
    expected = convert_encoder("segformer", authors)[1]
    assert name == "mit_b0"
    assert weights.keys() == expected.keys()
    assert all(torch.equal(value, weights[key]) for key, value in expected.items())


def test_mmsegmentations_own_segformer_is_named(tmp_path: Path) -> None:
    file = tmp_path / "a.pth"
    names = ("backbone.layers.0.0.projection.weight", "decode_head.convs.0.conv.weight")
    torch.save(dict.fromkeys(names, torch.zeros(1)), file)
    with pytest.raises(UsageError, match=r"MMSegmentation's own SegFormer has another head"):
        bundle.main(["--published", "segformer", str(file), "--out", str(tmp_path / "b")])


def test_the_bundle_computes_what_the_imported_network_does(
    files: dict[str, Path], tmp_path: Path
) -> None:
    flags = ["--classes", "nyu40", "--size", "64,96"]
    out = tmp_path / "one.safetensors"
    words = ["--from", "cmx", str(files["cmx"]), "--out", str(out), *flags]
    assert import_weights.main(words) == 0
    alone = load_network(out)
    packed = pack(tmp_path / "b", "--published", "cmx", files["cmx"], *flags, "--dtype", "float32")
    theirs = packed.networks["rgbd"].module.state_dict()
    assert all(torch.equal(v, theirs[k]) for k, v in alone.module.state_dict().items())
    assert packed.networks["rgbd"].record == alone.record


def test_a_segformer_file_becomes_an_rgb_bundle(files: dict[str, Path], tmp_path: Path) -> None:
    packed = pack(
        tmp_path / "b", "--published", "segformer", files["segformer"], "--size", "64x96"
    )
    assert list(packed.networks) == ["rgb"]
    assert packed.labels.classes[:2] == ("class_0", "class_1")
    assert packed.networks["rgb"].record.preprocess.rgb_mean == (0.485, 0.456, 0.406)
    image = np.random.default_rng(1).integers(0, 255, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    answer = Segmenter(packed, "cpu", "torch")(image, None)
    assert answer.network == "rgb"
    assert answer.labels.shape == (HEIGHT, WIDTH)
    assert len(np.unique(answer.labels)) > 1


def test_several_files_and_a_trained_network_fill_one_bundle(
    files: dict[str, Path], tmp_path: Path
) -> None:
    words = ["--published", "primkd", files["cmx"], "--published", "primkd", files["segformer"]]
    both = pack(tmp_path / "both", *words, "--size", "64,96")
    assert list(both.networks) == ["rgbd", "rgb"]
    assert all("states no license" in n.record.license for n in both.networks.values())
    named = pack(tmp_path / "rgb", *words[3:], "--classes", "nyu40", "--size", "64,96")
    save_bundle(tmp_path / "trained", named)
    mixed = pack(
        tmp_path / "mixed", "--rgb", tmp_path / "trained", *words[:3], "--classes", "nyu40"
    )
    assert set(mixed.networks) == {"rgb", "rgbd"}
    with pytest.raises(UsageError, match="is a network for rgb, and the bundle already has one"):
        pack(tmp_path / "no", "--rgb", tmp_path / "trained", *words[3:], "--classes", "nyu40")


def test_a_file_names_the_classes(files: dict[str, Path], tmp_path: Path) -> None:
    names = tmp_path / "mine.txt"
    names.write_text("\ufeff" + "\r\n".join(f"thing {i}" for i in range(40)) + "\r\n\r\n")
    packed = pack(
        tmp_path / "b", "--published", "segformer", files["segformer"], "--classes", names
    )
    assert packed.labels == LabelSet("mine", tuple(f"thing {i}" for i in range(40)))
    names.write_text("same\n" * 40)
    with pytest.raises(UsageError, match="duplicate classes"):
        pack(tmp_path / "c", "--published", "segformer", files["segformer"], "--classes", names)


@pytest.mark.parametrize("kind", [k for k in BROKEN if k != "a link to itself"])
def test_a_broken_file_of_class_names_is_refused_in_one_line(
    kind: str, files: dict[str, Path], tmp_path: Path
) -> None:
    names = tmp_path / "mine.txt"
    BROKEN[kind](names)
    with pytest.raises((UsageError, InputFileError)) as caught:
        pack(tmp_path / "b", "--published", "segformer", files["segformer"], "--classes", names)
    assert_one_line(caught.value, names)


CMX, SEGFORMER = ("--published", "cmx", "{cmx}"), ("--published", "segformer", "{segformer}")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "nothing to pack: pass at least one of --rgbd, --rgb, --depth and --published"),
        (("--published", "cmxx", "{cmx}"), "unknown publisher 'cmxx'; did you mean 'cmx'"),
        (("--published", "cmx", "nowhere.pth"), "nowhere.pth: there is no such file"),
        ((*CMX, "--classes", "nyu13"), "has 40 classes, but --classes nyu13 names 13: use nyu40"),
        ((*CMX, "--classes", "nyu4O"), "unknown label set 'nyu4O'; did you mean 'nyu40'"),
        ((*CMX, "--size", "64"), "size: expected 2 values"),
        ((*CMX, "--size", "8,8"), "input size must be (height, width) of at least 32"),
        ((*CMX, "--depth-encoding", "raw"), "unknown depth encoding 'raw'"),
        ((*SEGFORMER, "--depth-encoding", "hha"), "has no depth input: omit --depth-encoding"),
        (("--published", "cmx", "{segformer}"), "so it is not from cmx; name segformer"),
        (
            ("--published", "segformer", "{encoder}"),
            "if it is an encoder, train with --pretrained",
        ),
        (("--rgb", "x", "--classes", "nyu40"), "--classes only applies to --published networks"),
    ],
)
def test_mistakes_are_named_before_anything_is_written(
    words: tuple[str, ...], message: str, files: dict[str, Path], tmp_path: Path
) -> None:
    given = [word.format(**files) for word in words]
    with pytest.raises(ValueError) as error:  # noqa: PT011
        pack(tmp_path / "b", *given)
    assert message in str(error.value)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "b").exists()


def _lose(state: dict[str, Any]) -> None:
    for name in ("backbone.FFMs.0.cross.norm1.weight", "backbone.norm2.bias"):
        del state[name]


def _gain(state: dict[str, Any]) -> None:
    for number in range(5):
        state[f"backbone.new{number}.weight"] = torch.zeros(1)


def _deform(state: dict[str, Any]) -> None:
    state["backbone.FFMs.0.channel_emb.residual.weight"] = torch.zeros(32, 63, 1, 1)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_lose, "lacks 2 of the network's weights: fuse.0.cross.norm.0.weight, rgb.stages.1.norm"),
        (_gain, "keys are unknown: 'backbone.new0.weight', 'backbone.new1.weight', "
                "'backbone.new2.weight', …"),
        (_deform, "fuse.0.residual.weight is (32, 63, 1, 1), but the network needs (32, 64, 1"),
    ],
)  # fmt: skip
def test_wrong_weights_are_named(spoil: Any, message: str, tmp_path: Path) -> None:
    state = cmx(40)
    spoil(state)
    torch.save(state, tmp_path / "cmx.pth")
    with pytest.raises(UsageError) as error:
        pack(tmp_path / "b", "--published", "cmx", tmp_path / "cmx.pth")
    assert message in str(error.value)
    assert not (tmp_path / "b").exists()


def test_options_of_a_whole_network_are_refused_for_an_encoder(
    files: dict[str, Path], tmp_path: Path
) -> None:
    words = ["--from", "segformer", str(files["encoder"]), "--out", str(tmp_path / "e")]
    with pytest.raises(UsageError, match=r"--classes needs a whole network, but .* is an encoder"):
        import_weights.main([*words, "--classes", "nyu40"])
    with pytest.raises(UsageError, match="unknown publisher of a whole network 'torchvision'"):
        import_weights.main(
            ["--from", "torchvision", str(files["cmx"]), "--out", str(tmp_path / "e")]
        )


def test_a_mistake_is_one_line_and_exit_code_2(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "training.bundle", "--published", "cmx", "no.pth",
               "--out", str(tmp_path / "b")]  # fmt: skip
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == "error: --published cmx no.pth: there is no such file\n"
