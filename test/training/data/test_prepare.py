# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Preparing a folder: writing, resuming, rejecting, splitting, reading, and the data card."""

from __future__ import annotations

import dataclasses
import json
import os
import pickle
import shutil
import subprocess
import sys
from collections import namedtuple
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml
from rigs import prepared
from rigs.broken_files import BROKEN, assert_one_line

from training.command import run_command
from training.config import RunConfig
from training.data.checks import SAMPLED
from training.data.class_report import split_counts
from training.data.datasets import open_split
from training.data.folder import open_folder
from training.data.prepare import RAW_DATASETS, raw_dataset_class, write
from training.data.prepare.base import load_mat, open_hdf5
from training.data.prepare.folder import group_names
from training.data.prepare.index import (
    assign_splits,
    open_prepared,
    read_index,
    read_journal,
    to_record,
)
from training.options import UsageError
from training.prepare import main

ROOT = Path(__file__).resolve().parents[3]
H, W, N = 24, 32, 40
CLASSES = ["floor", "wall", "thing"]


def content(i: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Color (BGR), depth in millimeters, class ids of frame ``i``."""
    rng = np.random.default_rng(i)
    depth = rng.integers(1000, 4000, (H, W)).astype(np.uint16)
    depth[:6] = 0  # a quarter
    labels = rng.integers(0, 3, (H, W)).astype(np.uint8)
    labels[:, :8] = 255  # a quarter
    return rng.integers(0, 256, (H, W, 3), np.uint8), depth, labels


def name_of(i: int) -> str:
    return f"room{i // 10}_{i % 10:03d}"


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A folder of images: four rooms with ten frames each."""
    root = tmp_path / "own"
    for folder in ("rgb", "depth", "labels"):
        (root / folder).mkdir(parents=True)
    for i in range(N):
        for folder, image in zip(("rgb", "depth", "labels"), content(i), strict=True):
            assert cv2.imwrite(str(root / folder / f"{name_of(i)}.png"), image)
    camera = {"fx": 30.0, "fy": 30.5, "cx": 15.5, "cy": 11.5}
    (root / "dataset.yaml").write_text(yaml.safe_dump({"classes": CLASSES, "intrinsics": camera}))
    return root


@pytest.fixture
def out(own: Path) -> Path:
    """The prepared folder, with rooms as groups."""
    folder = own.parent / "out"
    assert prepare(own, folder) == 0
    return folder


def prepare(root: Path, out: Path, *flags: str) -> int:
    return prepared.prepare("folder", root, out, "--group", "^room.", *flags)


def snapshot(folder: Path) -> dict[str, tuple[bytes, int]]:
    """Content and modification time of every file."""
    files = (p for p in sorted(folder.rglob("*")) if p.is_file())
    return {str(p.relative_to(folder)): (p.read_bytes(), p.stat().st_mtime_ns) for p in files}


# --- Writing -------------------------------------------------------------------------------------


def test_the_layout_holds_the_same_frames_as_the_folder(out: Path) -> None:
    index = read_index(out)
    assert index.label_set.classes == tuple(CLASSES)
    assert [r.name for r in index.records] == sorted(name_of(i) for i in range(N))
    for record, sample in prepared.frames_of(out):
        room, frame = record.name[4:].split("_")
        bgr, depth, labels = content(10 * int(room) + int(frame))
        np.testing.assert_array_equal(sample.rgb[..., ::-1], bgr)
        np.testing.assert_array_equal(np.nan_to_num(sample.depth_m * 1000).round(), depth)
        np.testing.assert_array_equal(sample.labels, labels)
        np.testing.assert_allclose(sample.intrinsics, [[30, 0, 15.5], [0, 30.5, 11.5], [0, 0, 1]])


def test_a_second_run_changes_no_byte_and_writes_no_image(own: Path, out: Path) -> None:
    before = snapshot(out)
    assert prepare(own, out) == 0
    after = snapshot(out)
    assert {k: v[0] for k, v in after.items()} == {k: v[0] for k, v in before.items()}
    images = [k for k in before if k.endswith(".png")]
    assert all(before[k] == after[k] for k in images)


def test_an_interrupted_run_resumes(
    own: Path, out: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    reference = {k: v[0] for k, v in snapshot(out).items()}
    shutil.rmtree(out)
    cls = raw_dataset_class("folder")
    real, calls = cls.read, []

    def interrupted(self, entry):
        calls.append(entry.name)
        if len(calls) == SAMPLED + cls.chunk + 5:
            raise KeyboardInterrupt
        return real(self, entry)

    monkeypatch.setattr(cls, "read", interrupted)
    assert prepare(own, out) == 130
    monkeypatch.undo()
    journal = out / write.JOURNAL
    done = len(journal.read_text().splitlines()) - 1
    assert done == cls.chunk
    with journal.open("a") as file:  # a line that the interruption cut off
        file.write('{"name": "room0_0')
    first = out / "rgb" / f"{name_of(0)}.png"
    kept = first.stat().st_mtime_ns
    assert prepare(own, out) == 0
    assert f"{N - done} of {N} frames to write" in capsys.readouterr().err
    assert first.stat().st_mtime_ns == kept
    assert {k: v[0] for k, v in snapshot(out).items()} == reference


def test_a_lost_image_is_written_again(own: Path, out: Path) -> None:
    reference = snapshot(out)
    (out / "depth/room1_003.png").unlink()
    (out / "labels/room2_004.png").write_bytes(b"short")
    assert prepare(own, out) == 0
    assert {k: v[0] for k, v in snapshot(out).items()} == {k: v[0] for k, v in reference.items()}


def test_an_edited_image_is_prepared_again(
    own: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = snapshot(out)
    cv2.imwrite(str(own / "labels" / FIRST), np.full((H, W), 2, np.uint8))
    later = (out / "labels" / FIRST).stat().st_mtime_ns + 1_000_000_000
    os.utime(own / "labels" / FIRST, ns=(later, later))
    assert prepare(own, out) == 0
    assert "1 of 40 frames to write" in capsys.readouterr().err
    assert (cv2.imread(str(out / "labels" / FIRST), cv2.IMREAD_UNCHANGED) == 2).all()
    after = snapshot(out)
    changed = {k for k in before if k.endswith(".png") and after[k][0] != before[k][0]}
    assert changed == {f"labels/{FIRST}"}
    assert main(["check", str(out)]) == 0


def test_a_description_that_changed_at_equal_length_is_noticed(
    own: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = (own / "dataset.yaml").read_text()
    (own / "dataset.yaml").write_text(text.replace("fx: 30.0", "fx: 31.0"))
    assert prepare(own, out) == 2
    assert "holds a different preparation" in capsys.readouterr().err


def test_a_different_preparation_is_not_overwritten_unasked(
    own: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = snapshot(out)
    assert prepare(own, out, "--depth-unit", "0.002") == 2
    assert "holds a different preparation" in capsys.readouterr().err
    assert snapshot(out) == before
    assert prepare(own, out, "--depth-unit", "0.002", "--overwrite") == 0
    assert read_index(out).depth_scale == 0.002


def test_other_files_in_out_are_left_alone(own: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = own.parent / "thesis"
    folder.mkdir()
    (folder / "thesis.tex").write_text("mine")
    assert prepare(own, folder) == 2
    assert "choose an empty --out" in capsys.readouterr().err
    assert [p.name for p in folder.iterdir()] == ["thesis.tex"]


def test_an_output_that_cannot_be_written_is_named_before_anything_is_read(
    own: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (own.parent / "file").write_text("")
    prepared.assert_one_error(
        prepare(own, own.parent / "file" / "out"), "cannot write --out", capsys
    )


def test_a_lack_of_disk_space_is_noticed_before_writing(
    own: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(9, 8, 1000))
    assert prepare(own, own.parent / "out") == 2
    text = capsys.readouterr().err
    assert "needs about" in text
    assert "free some space or choose another --out" in text
    assert not (own.parent / "out").exists()


def test_the_estimated_size_is_close_to_the_written_size(own: Path, out: Path) -> None:
    cls = raw_dataset_class("folder")
    dataset = cls(own, cls.options_class(group="^room."), False)
    entries = dataset.entries()
    written = sum(sum(r.bytes.values()) for r in read_index(out).records)
    blocks = 3 * 2048 * N
    assert write.estimate(dataset, entries, entries) == pytest.approx(written + blocks, rel=0.1)


def test_a_dry_run_writes_nothing(own: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert prepare(own, own.parent / "out", "--dry-run") == 0
    assert "40 of 40 frames to write" in capsys.readouterr().err
    assert not (own.parent / "out").exists()


@pytest.mark.parametrize(
    ("module", "name", "opens"), [("h5py", "h5py", open_hdf5), ("scipy.io", "scipy", load_mat)]
)
def test_a_missing_extra_is_named_with_its_command(
    module: str, name: str, opens, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(UsageError, match=f"needs {name}: pip install {name}"):
        opens(tmp_path / "file.mat")


# --- Mistakes in the folder ----------------------------------------------------------------------


def _rewrite(path: Path, change) -> None:
    cv2.imwrite(str(path), change(cv2.imread(str(path), cv2.IMREAD_UNCHANGED)))


FIRST, LATER = f"{name_of(0)}.png", f"{name_of(17)}.png"
DEFECTS = {
    "no class list": (
        lambda r: (r / "dataset.yaml").unlink(),
        "dataset.yaml is missing; it lists the classes",
    ),
    "no depth": (lambda r: shutil.rmtree(r / "depth"), "own has no depth images"),
    "fourth class": (
        lambda r: _rewrite(r / "labels" / FIRST, lambda a: np.full_like(a, 3)),
        "contains label 3, allowed are 0..2",
    ),
    "other size": (
        lambda r: _rewrite(r / "depth" / FIRST, lambda a: a[:-1]),
        "depth is not aligned to color: it is 32×23 but color is 32×24; align depth to color",
    ),
    "truncated": (
        lambda r: (r / "rgb" / LATER).write_bytes((r / "rgb" / LATER).read_bytes()[:500]),
        "truncated or not an image",
    ),
}


@pytest.mark.parametrize("name", DEFECTS)
def test_defects_are_one_line_and_code_2(
    own: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    change, message = DEFECTS[name]
    change(own)
    prepared.assert_one_error(prepare(own, own.parent / "out"), message, capsys)


@pytest.mark.parametrize(("unit", "hint"), [("1", "0.001"), ("0.00001", "0.001")])
def test_a_wrong_unit_is_noticed(
    own: Path, unit: str, hint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert prepare(own, own.parent / "out", "--depth-unit", unit) == 2
    assert f"wrong unit? try --depth-unit {hint}" in capsys.readouterr().err


@pytest.mark.parametrize("unit", [1.0, 0.001])
def test_float_depth_becomes_ticks(own: Path, unit: float) -> None:
    for path in (own / "depth").glob("*.png"):
        depth = cv2.imread(str(path), cv2.IMREAD_UNCHANGED).astype(np.float32) * 0.001 / unit
        depth[depth == 0] = np.nan
        cv2.imwrite(str(path.with_suffix(".tiff")), depth)
        path.unlink()
    flags = () if unit == 1 else ("--depth-unit", str(unit))
    assert prepare(own, own.parent / "out", *flags) == 0
    ticks = cv2.imread(str(own.parent / "out/depth" / FIRST), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(ticks, content(0)[1])


def test_depth_too_far_for_16_bits_is_not_clipped(
    own: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in (own / "depth").glob("*.png"):
        depth = np.full((H, W), 20, np.float32)
        depth[0, 0] = 80
        cv2.imwrite(str(path.with_suffix(".tiff")), depth)
        path.unlink()
    assert prepare(own, own.parent / "out") == 2
    assert "80.0 m does not fit 16 bits of 0.001 m" in capsys.readouterr().err
    assert prepare(own, own.parent / "out", "--tick", "0.01") == 0


# --- Splits --------------------------------------------------------------------------------------


def test_whole_rooms_are_held_out(out: Path) -> None:
    rooms: dict[str, set[str]] = {}
    for record in read_index(out).records:
        rooms.setdefault(record.split, set()).add(record.group)
    assert sorted(map(len, rooms.values())) == [1, 1, 2]
    assert len(set().union(*rooms.values())) == 4


def test_lists_in_the_folder_decide_the_splits(own: Path) -> None:
    for split, room in (("train", 0), ("val", 1), ("test", 2)):
        names = "".join(f"{name_of(10 * room + i)}\n" for i in range(10))
        (own / f"{split}.txt").write_text(names)
    assert prepare(own, own.parent / "out") == 0
    index = read_index(own.parent / "out")
    assert {(r.group, r.split) for r in index.records} == {
        ("room0", "train"), ("room1", "val"), ("room2", "test")
    }  # fmt: skip


def test_more_frames_of_known_groups_move_no_group() -> None:
    groups = [f"scene{i // 4}" for i in range(200)]
    names = [str(i) for i in range(200)]
    first = dict(zip(groups, assign_splits(names, groups, [None] * 200, 0.1), strict=True))
    again = groups * 2
    second = assign_splits(names * 2, again, [None] * 400, 0.1)
    assert dict(zip(again, second, strict=True)) == first
    assert sum(s == "val" for s in first.values()) == round(45 * 0.1)


def test_published_splits_are_kept(tmp_path: Path) -> None:
    splits = ["test", "train", "train", "val"]
    assert assign_splits(list("abcd"), list("wxyz"), splits, 0.5) == splits
    with pytest.raises(UsageError, match="cannot hold out a val split"):
        assign_splits(list("ab"), list("xx"), ["test", "train"], 0.5)


def test_names_without_scenes_are_grouped_in_blocks() -> None:
    groups = group_names([f"img_{i:04d}" for i in range(200)], "")
    assert groups[:10] == ["img_/0"] * 10
    assert len(set(groups)) == 20
    assert group_names(["a_1", "a_2", "b_1"], "^.") == ["a", "a", "b"]
    with pytest.raises(UsageError, match="matches nothing in 'c1'"):
        group_names(["a1", "c1"], "^a")


def test_another_val_fraction_rewrites_the_lists_only(own: Path, out: Path) -> None:
    before = snapshot(out)
    assert prepare(own, out, "--val-fraction", "0.5") == 0
    after = snapshot(out)
    assert all(before[k] == after[k] for k in before if k.endswith(".png"))
    assert read_index(out).val_fraction == 0.5


# --- Reading -------------------------------------------------------------------------------------


def test_training_opens_the_dataset_by_name(out: Path) -> None:
    config = dataclasses.replace(RunConfig(), data="prepared", root=str(out))
    samples = open_split(config, "train")
    assert len(samples) == 20
    assert samples.label_set == read_index(out).label_set
    copy = pickle.loads(pickle.dumps(samples))  # loader processes receive a copy
    np.testing.assert_array_equal(copy[3].rgb, samples[3].rgb)


def test_some_frames_of_a_split_are_taken_from_all_of_it(out: Path) -> None:
    def names(**changes: int) -> list[str]:
        config = RunConfig(data="prepared", root=str(out), **changes)
        samples = open_split(config, "train")
        return [samples[i].name for i in range(len(samples))]

    every, some, fewer = names(), names(train_frames=12), names(train_frames=6)
    assert (len(every), len(some), len(fewer)) == (20, 12, 6)
    assert set(fewer) < set(some) < set(every)
    assert set(some[-3:]) & set(every[-6:])
    assert names(train_frames=20) == names(val_frames=1) == every
    assert names(train_frames=6, overfit=2) == fewer[:2]
    config = RunConfig(data="prepared", root=str(out), train_frames=6)
    assert split_counts(open_split(config, "train")).sum() > 0
    with pytest.raises(UsageError, match="train_frames is 21, but the split has 20 frames"):
        names(train_frames=21)


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_the_folder_reader_reads_the_same_frames(out: Path, split: str) -> None:
    ours = open_prepared(str(out), split)
    theirs = open_folder(str(out), split, 0.1, strict=True)
    assert [r.name for r in ours.records] == theirs.names
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(a.depth_m, b.depth_m)
        np.testing.assert_array_equal(a.labels, b.labels)


def test_a_missing_file_is_noticed_before_training(out: Path) -> None:
    record = next(r for r in read_index(out).records if r.split == "train")
    (out / "rgb" / f"{record.name}.png").unlink()
    with pytest.raises(UsageError, match=f"1 of 20 files are missing or changed.*{record.name}"):
        open_prepared(str(out), "train")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.update(format=9), "has format 9, expected 1"),
        (lambda d: d.pop("frames"), "defective"),
        (lambda d: d["label_set"].update(classes=[]), "defective"),
        (lambda d: d["frames"][0].pop("size"), "size must be height and width, got None"),
        (lambda d: d["frames"][0].update(size=[0, 32]), r"height and width, got \[0, 32\]"),
        (lambda d: d["frames"][0].update(split="tset"), "split must be one of train, val, test"),
        (lambda d: d["frames"][0].update(split=["val"]), "split must be one of"),
        (lambda d: d["frames"][0]["bytes"].pop("rgb"), "bytes must be the sizes of rgb"),
        (lambda d: d["frames"][0].update(sha256=3), "sha256 must be the hashes of"),
        (lambda d: d["frames"][0].update(intrinsics=[1, 2]), "intrinsics must be null or fx"),
        (lambda d: d["frames"][0].update(gravity="down"), "gravity must be null or a vector"),
        (lambda d: d["frames"][0].update(pixels={"x": 1}), "pixels must be null or a count"),
        (lambda d: d.update(frames=[3]), "a frame must be an object, got 3"),
        (lambda d: d.update(frames={}), "frames must be list"),
        (lambda d: d.update(depth={"scale_m": -1, "quantity": ""}), "depth must have scale_m"),
        (lambda d: d.update(fingerprint=None), "fingerprint must be str, got None"),
        (lambda d: d.update(val_fraction="x"), "val_fraction must be float"),
    ],
)
def test_a_defective_index_is_refused(out: Path, change, message: str) -> None:
    document = json.loads((out / "index.json").read_text())
    change(document)
    (out / "index.json").write_text(json.dumps(document))
    with pytest.raises(UsageError, match=message):
        read_index(out)


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_index_is_refused_in_one_line(out: Path, kind: str) -> None:
    BROKEN[kind](out / "index.json")
    with pytest.raises(UsageError) as caught:
        read_index(out)
    assert_one_line(caught.value, out)


@pytest.mark.parametrize("kind", [k for k in BROKEN if not k.startswith("a ")] + ["a frame"])
@pytest.mark.parametrize("line", [0, 1])
def test_frames_of_a_damaged_line_of_the_journal_are_written_again(
    out: Path, own: Path, kind: str, line: int, tmp_path: Path
) -> None:
    index = read_index(out)
    frames = [json.dumps(dataclasses.asdict(record)) for record in index.records]
    lines = [json.dumps({"fingerprint": index.fingerprint}), *frames]
    if kind in BROKEN:
        BROKEN[kind](tmp_path / "broken")
        damaged = (tmp_path / "broken").read_bytes()
    else:
        damaged = b'{"name": "../x", "fingerprint": 3}'
    texts = [text.encode() for text in lines]
    texts[line] = damaged
    (out / write.JOURNAL).write_bytes(b"\n".join(texts))
    begun, records = read_journal(out / write.JOURNAL)
    if line:
        assert begun == index.fingerprint
        assert records == list(index.records[1:])
    else:
        assert (begun, records) == (None, [])


def test_a_missing_index_and_a_missing_root_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not a prepared dataset"):
        open_prepared(str(tmp_path), "train")
    with pytest.raises(UsageError, match="--root DIR"):
        open_prepared("", "train")


def test_records_survive_json(out: Path) -> None:
    for record in read_index(out).records:
        assert to_record(json.loads(json.dumps(dataclasses.asdict(record)))) == record


# --- The card ------------------------------------------------------------------------------------


def test_the_card_counts_correctly(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(lambda: main(["check", str(out), "--json"])) == 0
    card = json.loads(capsys.readouterr().out)
    assert card["frames"] == {"train": 20, "val": 10, "test": 10}
    assert card["problems"] == []
    assert card["unlabeled_share"] == 0.25
    assert card["invalid_depth_share"] == 0.25
    assert card["sizes"] == {"32×24": 40}
    depth = np.concatenate([d[d > 0] for _, d, _ in map(content, range(N))]) / 1000
    for key, value in card["depth_m"].items():
        assert value == pytest.approx(np.percentile(depth, int(key[1:])), abs=0.002)
    rooms = {r.group for r in read_index(out).records if r.split == "train"}
    train = [content(i) for i in range(N) if f"room{i // 10}" in rooms]
    depth = np.concatenate([d[d > 0] for _, d, _ in train]) / 1000
    moments = card["depth_train"]
    assert moments["zscore_mean"] == pytest.approx(depth.mean(), abs=1e-3)
    assert moments["zscore_std"] == pytest.approx(depth.std(), abs=1e-3)
    assert moments["disparity_mean"] == pytest.approx((1 / depth).mean(), abs=1e-3)
    labels = np.concatenate([m[m < 255] for _, _, m in train])
    for i, name in enumerate(CLASSES):
        assert card["class_share"][name]["train"] == pytest.approx((labels == i).mean(), abs=1e-5)


def test_the_card_as_text_and_its_twelve_frames(
    out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", str(out), "--image", str(out.parent / "frames.png")]) == 0
    text = capsys.readouterr().out
    for part in ("40 frames, 3 classes", "train", "p50", "25.0 % invalid", "zscore_mean", "wall"):
        assert part in text
    image = cv2.imread(str(out.parent / "frames.png"))
    # Six rows of two strips; a strip has three 150×200 panels and a border of 2 pixels.
    assert image.shape == (6 * 154, 2 * 604, 3)
    assert all(image[r * 154 : r * 154 + 154].std() > 10 for r in range(6))


def test_an_image_that_cannot_be_written_is_reported(
    out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = ["check", str(out), "--image", str(out / "nowhere" / "frames.png")]
    assert run_command(lambda: main(argv)) == 2
    assert "nowhere/frames.png" in capsys.readouterr().err


@pytest.mark.parametrize("defect", ["changed", "missing", "extra", "renamed", "class"])
def test_problems_are_listed_and_give_code_1(
    out: Path, defect: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = out / "labels" / FIRST
    data = path.read_bytes()
    if defect == "changed":
        path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    elif defect == "missing":
        path.unlink()
    elif defect == "extra":
        shutil.copy(path, path.with_name("stray.png"))
    elif defect == "renamed":  # the number of files stays the same
        path.rename(path.with_name("stray.png"))
    else:  # the index has fewer classes than the labels
        document = json.loads((out / "index.json").read_text())
        document["label_set"] = {"name": "x", "classes": ["floor", "wall"],
                                 "palette": [[1, 2, 3], [4, 5, 6]]}  # fmt: skip
        (out / "index.json").write_text(json.dumps(document))
    assert run_command(lambda: main(["check", str(out), "--json"])) == 1
    problems = json.loads(capsys.readouterr().out)["problems"]
    expected = {"changed": "sha256", "missing": "No such file", "extra": "not in the index",
                "renamed": "not in the index", "class": "class id 2, x has 2 classes"}  # fmt: skip
    assert expected[defect] in "".join(problems)


# --- The command ---------------------------------------------------------------------------------


@pytest.mark.parametrize("argv", [["--help"], *([n, "--help"] for n in (*RAW_DATASETS, "check"))])
def test_help_needs_no_torch(argv: list[str]) -> None:
    code = (
        "import sys\nfrom training.prepare import main\n"
        f"try:\n    main({argv!r})\nexcept SystemExit as stop:\n    assert not stop.code\n"
        "sys.exit('torch' in sys.modules)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, check=False, capture_output=True, text=True
    )
    assert result.returncode == 0
    assert "usage:" in result.stdout


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["nyu2"], "unknown dataset 'nyu2'; did you mean 'nyuv2'?"),
        (["midair", "--sorce", "x"], "unknown option '--sorce'; did you mean '--source'?"),
        (["potsdam", "--source", "x"], "--out is missing; see ISPRS"),
        (["sunrgbd", "--out", "x"], "--source is missing; see SUN RGB-D"),
        (["nyuv2", "--source", "nowhere", "--out", "x"], "nowhere is not a folder"),
        (["midair", "--source", "nowhere", "--out", "x"], "nowhere is not a folder"),
        (["potsdam", "--source", "nowhere", "--out", "x"], "nowhere is not a folder"),
        (["nyuv2", "--classes", "41"], "'41' is not one of 40, 13"),
        (["folder", "--group", "("], "is not a regular expression"),
        (["folder", "--val-fraction", "1"], "must be between 0 and 1"),
        (["check", "nowhere"], "not a prepared dataset"),
    ],
)
def test_mistakes_are_one_line_and_code_2(
    argv: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(lambda: main(argv)) == 2
    error = capsys.readouterr().err.splitlines()
    assert len(error) == 1
    assert message in error[0]


@pytest.mark.parametrize("name", ["../0001", "a/b", "/etc/passwd", "a\0b", "", 7])
def test_a_frame_name_that_leads_out_of_the_folder_is_refused(name: object) -> None:
    values = {"name": name, "size": None, "intrinsics": None, "gravity": None}
    with pytest.raises(ValueError, match="which is not a plain file name"):
        to_record(values)
