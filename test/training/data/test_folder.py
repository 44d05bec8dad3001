# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Folders of images: splits, units, and a message for every defect."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from rgbd_seg_ros.fallback.config import CoreConfig
from rgbd_seg_ros.fallback.pixel_tests import depth_defect
from rgbd_seg_ros.judged_images import judge_depth
from rgbd_seg_ros.labels import LABEL_SETS, LabelSet
from training.config import RunConfig
from training.data.datasets import open_split
from training.data.folder import open_folder
from training.data.prepare.index import open_prepared
from training.options import UsageError
from training.prepare import main as prepare


@pytest.fixture
def own(dataset: Path, tmp_path: Path) -> Path:
    """A copy of the dataset that a test may change."""
    return Path(shutil.copytree(dataset, tmp_path / "own"))


def test_splits_are_disjoint_complete_and_stable(own: Path) -> None:
    names = {s: open_folder(str(own), s, 0.2, False).names for s in ("train", "val", "test")}
    assert {s: len(n) for s, n in names.items()} == {"train": 10, "val": 3, "test": 3}
    assert len({n for part in names.values() for n in part}) == 16
    for folder in ("rgb", "depth", "labels"):  # one more sample moves few others
        shutil.copy(own / folder / "frame_000.png", own / folder / "zebra.png")
    again = open_folder(str(own), "test", 0.2, False).names
    assert len(set(again) - set(names["test"])) <= 1


def test_listed_splits_are_used_as_they_are(own: Path) -> None:
    (own / "train.txt").write_text("frame_003\nframe_001\nframe_005\nframe_007\n")
    (own / "test.txt").write_text("frame_002\n")
    assert open_folder(str(own), "test", 0.2, False).names == ["frame_002"]
    train = open_folder(str(own), "train", 0.2, False).names
    val = open_folder(str(own), "val", 0.2, False).names
    assert sorted([*train, *val]) == ["frame_001", "frame_003", "frame_005", "frame_007"]
    assert len(val) == 1, "validation is held out of the listed training set"


def test_the_description_sets_units_ids_and_intrinsics(own: Path) -> None:
    (own / "dataset.yaml").write_text(
        "classes: [wall, thing]\nfirst_id: 1\ndepth_scale: 0.0002\n"
        "intrinsics: {fx: 60, fy: 61, cx: 31.5, cy: 23.5}\n"
    )
    sample = open_folder(str(own), "train", 0.1, False)[0]
    stored = cv2.imread(str(own / "labels" / f"{sample.name}.png"), cv2.IMREAD_UNCHANGED)
    assert (sample.labels[stored == 0] == 255).all(), "0 is unlabeled"
    assert (sample.labels[stored == 2] == 1).all()
    ticks = cv2.imread(str(own / "depth" / f"{sample.name}.png"), cv2.IMREAD_UNCHANGED)
    np.testing.assert_allclose(sample.depth_m[ticks > 0], ticks[ticks > 0] * 0.0002, rtol=1e-6)
    assert np.isnan(sample.depth_m[ticks == 0]).all()
    assert sample.intrinsics is not None
    assert sample.intrinsics[1, 1] == 61
    things = sample.rgb[stored == 2].mean(axis=0)
    assert things[2] > things[0] + 100, "things are blue: RGB order"


def open_all(root: Path, cache: str = "") -> None:
    for split in ("train", "val", "test"):
        open_folder(str(root), split, 0.1, False, cache)


def _label_7(own: Path) -> None:
    path = own / "labels" / "frame_004.png"
    image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    image[5, 5] = 7
    cv2.imwrite(str(path), image)


def _color_labels(own: Path) -> None:
    colors = np.zeros((48, 64, 3), np.uint8)
    colors[:, 32:] = (0, 0, 128)  # BGR
    cv2.imwrite(str(own / "labels" / "frame_004.png"), colors)


def _other_size(own: Path) -> None:
    cv2.imwrite(str(own / "labels" / "frame_004.png"), np.zeros((24, 32), np.uint8))


def test_the_classes_may_be_those_of_a_named_label_set(
    own: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = LabelSet("mine", ("floor", "wall", "cup"), ((9, 9, 9), (8, 8, 8), (7, 7, 7)))
    monkeypatch.setitem(LABEL_SETS, "mine", mine)
    (own / "dataset.yaml").write_text("classes: mine\n")
    assert open_folder(str(own), "train", 0.1, False).label_set == mine


def _no_depth(own: Path) -> None:
    (own / "depth" / "frame_004.png").unlink()


def _no_classes(own: Path) -> None:
    (own / "dataset.yaml").write_text("clases: [a]\n")


def _unknown_label_set(own: Path) -> None:
    (own / "dataset.yaml").write_text("classes: nyu44\n")


def _no_description(own: Path) -> None:
    (own / "dataset.yaml").unlink()


def _twice(own: Path) -> None:
    (own / "train.txt").write_text("frame_001\n")
    (own / "test.txt").write_text("frame_001\n")


def _unknown_name(own: Path) -> None:
    (own / "val.txt").write_text("frame_0001\n")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_label_7, r"frame_004.png contains label 7, allowed are 0\.\.2 and 255"),
        (
            _color_labels,
            r"frame_004.png has 3 channels.*colors such as \(0, 0, 0\), \(128, 0, 0\)",
        ),
        (_other_size, r"'frame_004': sizes differ \(rgb 64×48, depth 64×48, labels 32×24\)"),
        (_no_classes, "unknown key 'clases'; did you mean 'classes'"),
        (_unknown_label_set, "dataset.yaml: unknown label set 'nyu44'; did you mean 'nyu40'"),
        (_no_description, "dataset.yaml is missing; it lists the classes"),
        (_twice, r"'frame_001' is in both .*own/train.txt and .*own/test.txt; keep one"),
        (_unknown_name, r"val.txt, line 1: no sample 'frame_0001' .*did you mean 'frame_001'"),
    ],
)
def test_defects_are_one_line(own: Path, change: Callable[[Path], None], message: str) -> None:
    change(own)
    with pytest.raises(UsageError, match=message) as error:
        open_all(own)
    assert "\n" not in str(error.value)


def test_a_corrupt_image_is_skipped_and_named_or_refused(
    own: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    victim = open_folder(str(own), "train", 0.1, False).names[2]
    path = own / "rgb" / f"{victim}.png"
    path.write_bytes(path.read_bytes()[:40])
    samples = open_folder(str(own), "train", 0.1, False)
    assert victim not in samples.names
    assert len(samples) == 12
    err = capsys.readouterr().err
    assert f"{victim}.png" in err
    assert "1 of 13 samples skipped" in err
    with pytest.raises(UsageError, match=f"1 unreadable samples in .*{victim}"):
        open_folder(str(own), "train", 0.1, strict=True)


def test_checked_files_are_not_read_again(
    own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from training.data import folder

    reads: list[Path] = []
    original = folder.read_labels
    monkeypatch.setattr(
        folder, "read_labels", lambda path, *rest: (reads.append(path), original(path, *rest))[1]
    )
    cache = str(tmp_path / "cache")
    open_folder(str(own), "train", 0.1, False, cache)
    assert len(reads) == 13
    open_folder(str(own), "train", 0.1, False, cache)
    assert len(reads) == 13
    _label_7(own)  # a changed file is read again, and its defect found
    with pytest.raises(UsageError, match="label 7"):
        open_all(own, cache)


def test_an_empty_split_and_a_missing_root_are_refused(own: Path) -> None:
    (own / "val.txt").write_text("")
    with pytest.raises(UsageError, match="split 'val' of dataset 'folder' has no samples"):
        open_split(RunConfig(data="folder", root=str(own)), "val")
    with pytest.raises(UsageError, match="needs its folder: --root"):
        open_split(RunConfig(data="folder"), "train")
    with pytest.raises(UsageError, match="unknown dataset 'folders'; did you mean 'folder'"):
        open_split(RunConfig(data="folders"), "train")
    with pytest.raises(UsageError, match=r"'nyuv2' must be prepared first: .*--data prepared"):
        open_split(RunConfig(data="nyuv2"), "train")


def test_an_incomplete_frame_is_told_and_left_out_or_refused(
    own: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _no_depth(own)
    names = [
        n for s in ("train", "val", "test") for n in open_folder(str(own), s, 0.1, False).names
    ]
    assert len(names) == 15
    assert "frame_004" not in names
    assert capsys.readouterr().err.count("labels/frame_004.png") == 1
    with pytest.raises(UsageError, match="1 frames are incomplete; 'frame_004' has no depth"):
        open_folder(str(own), "train", 0.1, strict=True)
    (own / "train.txt").write_text("frame_003\nframe_004\n")
    with pytest.raises(UsageError, match=r"train.txt, line 2: .*'frame_004'.*it has no depth"):
        open_folder(str(own), "train", 0.1, False)


@pytest.mark.parametrize("factor", [0, 1000])
def test_depth_that_is_not_in_meters_or_missing_is_refused(own: Path, factor: int) -> None:
    for path in (own / "depth").glob("*.png"):
        meters = cv2.imread(str(path), cv2.IMREAD_UNCHANGED) * np.float32(0.001)
        cv2.imwrite(str(path.with_suffix(".tiff")), meters * factor)
        path.unlink()
    message = "no valid depth in 12 sampled frames" if not factor else (
        r"median depth of 12 sampled frames is 39\d\d m with 1 m per unit, outside 0.05 to 50 m: "
        r"wrong unit\? try depth_scale: 0.001 or 0.0002 in dataset.yaml"
    )  # fmt: skip
    with pytest.raises(UsageError, match=message):
        open_folder(str(own), "train", 0.1, False)
    if factor:
        with (own / "dataset.yaml").open("a") as file:
            file.write("depth_scale: 0.001\n")
        sample = open_folder(str(own), "train", 0.1, False)[0]
        assert 1 < np.nanmedian(sample.depth_m) < 4


def depth_of(own: Path, name: str) -> npt.NDArray[np.float32]:
    """The depth of a frame of whichever split has it."""
    for split in ("train", "val", "test"):
        samples = open_folder(str(own), split, 0.1, False)
        if name in samples.names:
            return samples[samples.names.index(name)].depth_m
    raise AssertionError(f"no split has {name}")


def test_depth_of_two_kinds_is_read_in_the_unit_of_each_kind(own: Path) -> None:
    before = depth_of(own, "frame_004")
    path = own / "depth" / "frame_004.png"
    meters = cv2.imread(str(path), cv2.IMREAD_UNCHANGED) * np.float32(0.001)
    cv2.imwrite(str(path.with_suffix(".tiff")), meters)
    path.unlink()
    np.testing.assert_allclose(depth_of(own, "frame_004"), before, rtol=1e-6)


def scale_depth(own: Path, median_m: float) -> None:
    """Replace the depth images by floats in meters with this median, the same in all frames."""
    for path in (own / "depth").glob("*.png"):
        ramp = np.linspace(0.9, 1.1, 48 * 64, dtype=np.float32).reshape(48, 64) * median_m
        cv2.imwrite(str(path.with_suffix(".tiff")), ramp.astype(np.float32))
        path.unlink()


@pytest.mark.parametrize(
    ("median_m", "usable"), [(0.04, False), (0.06, True), (49.0, True), (51.0, False)]
)
def test_depth_is_plausible_in_the_range_of_the_node(
    own: Path, tmp_path: Path, median_m: float, usable: bool
) -> None:
    """The node, `predict`, training and preparation draw the line at the same depth."""
    scale_depth(own, median_m)
    sample = next((own / "depth").iterdir())
    assert judge_depth(sample, CoreConfig()).usable == usable
    assert (depth_defect(cv2.imread(str(sample), -1), CoreConfig()) is None) == usable
    convert = ["folder", "--source", str(own), "--out", str(tmp_path / "out"), "--dry-run"]
    if usable:
        open_all(own)
        assert prepare(convert) == 0
        return
    for attempt in (lambda: open_all(own), lambda: prepare(convert)):
        with pytest.raises(UsageError, match=r"outside 0\.05 to 50 m: wrong unit\?"):
            attempt()


def test_smaller_depth_is_enlarged_as_in_the_node(own: Path) -> None:
    small = np.repeat(np.arange(1000, 1032, dtype=np.uint16)[None], 24, axis=0)
    cv2.imwrite(str(own / "depth" / "frame_004.png"), small)  # 32×24 for color of 64×48
    depth_m = depth_of(own, "frame_004")
    assert depth_m.shape == (48, 64)
    np.testing.assert_allclose(depth_m[7, :4], [1.0, 1.0, 1.001, 1.001], rtol=1e-6)


def test_depth_of_eight_bits_is_read_only_with_a_stated_scale(own: Path) -> None:
    for path in (own / "depth").glob("*.png"):
        ticks = cv2.imread(str(path), cv2.IMREAD_UNCHANGED) // 100
        cv2.imwrite(str(path), np.dstack([ticks.astype(np.uint8)] * 3))
    with pytest.raises(UsageError, match=r"none of the 13 .* uint8, whose unit is not known.*"):
        open_folder(str(own), "train", 0.1, False)
    with (own / "dataset.yaml").open("a") as file:
        file.write("depth_scale: 0.1\n")
    stored = cv2.imread(str(own / "depth" / "frame_004.png"))[..., 0]
    depth_m = depth_of(own, "frame_004")
    np.testing.assert_allclose(depth_m[stored > 0], stored[stored > 0] * 0.1, rtol=1e-6)


def test_images_that_the_node_would_not_use_are_named(
    own: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also by a run that finds the results of an earlier one, and by the prepared dataset."""
    cv2.imwrite(str(own / "depth" / "frame_003.png"), np.zeros((48, 64), np.uint16))
    for name in ("frame_004", "frame_005"):
        cv2.imwrite(str(own / "rgb" / f"{name}.png"), np.zeros((48, 64, 3), np.uint8))
    lines = (
        "1 of 11 depth images are used here, but the node would not use them (no_depth): "
        "frame_003; correct them, or remove their frames",
        "2 of 11 color images are used here, but the node would not use them (black): "
        "frame_004, frame_005; correct them, or remove their frames",
    )
    (own / "val.txt").write_text("frame_001\n")
    (own / "test.txt").write_text("frame_000\n")
    (own / "train.txt").write_text("".join(f"frame_{i:03d}\n" for i in range(2, 13)))
    for _ in range(2):
        notes = open_folder(str(own), "train", 0.1, False, str(tmp_path / "cache")).notes
        assert {f"train: {line}" for line in lines} <= set(notes)
    out = tmp_path / "out"
    assert prepare(["folder", "--source", str(own), "--out", str(out)]) == 0
    assert "warning: 1 of 13 depth images are used here" in capsys.readouterr().err
    assert {f"train: {line}" for line in lines} == set(open_prepared(str(out), "train").notes)


def test_a_split_whose_images_cannot_be_read_is_refused_with_the_first_reason(own: Path) -> None:
    for path in (own / "labels").glob("*.png"):
        path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(
        UsageError,
        match=r"none of the 13 train samples can be read; the first is 'frame_\d+': .*labels/"
        r"frame_\d+.png is truncated or not an image \(40 bytes\): copy, unpack or download",
    ):
        open_folder(str(own), "train", 0.1, False)


def test_folders_named_after_splits_are_the_splits(own: Path, tmp_path: Path) -> None:
    """In both forms: ``rgb/val/7.png`` and ``val/rgb/7.png``; a list decides before them."""
    for layout in ("rgb/{}", "{}/rgb"):
        root = tmp_path / layout.replace("/", "_")
        for i in range(16):
            split = "Validation" if i % 4 == 3 else "train"
            for folder in ("rgb", "depth", "labels"):
                target = root / layout.format(split).replace("rgb", folder)
                target.mkdir(parents=True, exist_ok=True)
                shutil.copy(own / folder / f"frame_{i:03d}.png", target)
        shutil.copy(own / "dataset.yaml", root)
        expected = {f"Validation_frame_{i:03d}" for i in (3, 7, 11, 15)}
        assert set(open_folder(str(root), "val", 0.1, False).names) == expected
        train = open_folder(str(root), "train", 0.1, False).names
        assert {name.partition("_")[0] for name in train} == {"train"}
        assert len(train) == 11, "one of the twelve is held out for testing"
        out = tmp_path / f"out_{root.name}"
        assert prepare(["folder", "--source", str(root), "--out", str(out)]) == 0
        assert set(open_prepared(str(out), "val")._folder.names) == expected
        (root / "val.txt").write_text("train_frame_000\n")
        assert open_folder(str(root), "val", 0.1, False).names == ["train_frame_000"]


def test_a_folder_of_which_only_a_part_is_named_after_splits_is_held_out(own: Path) -> None:
    for folder in ("rgb", "depth", "labels"):
        (own / folder / "val").mkdir()
        (own / folder / "other").mkdir()
        for path in sorted((own / folder).glob("*.png")):
            path.rename(own / folder / ("val" if path.stem < "frame_008" else "other") / path.name)
    samples = open_folder(str(own), "val", 0.1, False)
    assert len(samples.names) == 1, "held out"
    assert samples.notes == (
        "the folders named after splits (val) do not decide the splits, because other frames are "
        "in none of them or there is none for train; name the frames in train.txt, val.txt and "
        "test.txt",
    )


@pytest.mark.parametrize("name", ["dataset.yml", "data.yaml"])
def test_a_description_of_another_name_is_named(own: Path, name: str) -> None:
    (own / "dataset.yaml").rename(own / name)
    with pytest.raises(
        UsageError, match=rf"dataset.yaml is missing \(there is {name}\); it lists"
    ):
        open_folder(str(own), "train", 0.1, False)


@pytest.mark.parametrize("value", [255, 0])
def test_a_dry_run_finds_labels_from_which_nothing_can_be_learned(
    own: Path, tmp_path: Path, value: int
) -> None:
    for path in (own / "labels").glob("*.png"):
        cv2.imwrite(str(path), np.full((48, 64), value, np.uint8))
    convert = ["folder", "--source", str(own), "--out", str(tmp_path / "out"), "--dry-run"]
    message = "every pixel of the train labels" if value else "all labeled pixels of the training"
    with pytest.raises(UsageError, match=f"folder cannot be learned: {message}"):
        prepare(convert)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("folder", "image", "message"),
    [
        ("labels", np.full((48, 64), 77, np.uint8), "77"),
        ("labels", np.zeros((24, 32), np.uint8), "sizes differ"),
        ("depth", np.full((48, 100), 1500, np.uint16), "align depth to color"),
    ],
    ids=["class id", "label size", "depth size"],
)
def test_a_dry_run_checks_every_frame(
    own: Path, tmp_path: Path, folder: str, image: np.ndarray, message: str
) -> None:
    """Also those between the frames that are sampled for the estimate."""
    for path in sorted((own / folder).glob("*.png"))[1:2]:
        cv2.imwrite(str(path), image)
    for dry in ([], ["--dry-run"]):
        with pytest.raises(UsageError, match=message):
            prepare(["folder", "--source", str(own), "--out", str(tmp_path / "out"), *dry])


def test_a_preparation_that_cannot_be_learned_fails(own: Path, tmp_path: Path) -> None:
    for path in (own / "labels").glob("*.png"):
        cv2.imwrite(str(path), np.full((48, 64), 255, np.uint8))
    out = tmp_path / "out"
    message = (
        r"out is complete but cannot be learned: every pixel of the train labels is unlabeled"
    )
    for _ in range(2):  # also if there is nothing left to write
        with pytest.raises(UsageError, match=message):
            prepare(["folder", "--source", str(own), "--out", str(out)])
    assert len(open_prepared(str(out), "train")) == 13


def test_the_unit_and_the_median_of_depth_are_told(
    own: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scale_depth(own, 2.0)
    open_folder(str(own), "train", 0.1, False)
    line = "depth is read with 1 m per unit, its median is 1.99 m"
    assert f"own, train split: {line}" in capsys.readouterr().err
    assert (
        prepare(["folder", "--source", str(own), "--out", str(tmp_path / "o"), "--dry-run"]) == 0
    )
    assert f"folder: {line}" in capsys.readouterr().err
