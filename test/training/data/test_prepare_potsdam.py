# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""ISPRS Potsdam: official names, color-coded labels, the narrow nDSM, crops, defective copies."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from rigs import prepared

from rgbd_seg_ros.labels import POTSDAM6
from training.data.prepare import potsdam
from training.data.prepare.index import read_index

SIDE, CROP = 96, 48
HERE = ("2_10", "3_13", "6_7", "7_13")


def content(scene: str) -> dict[str, np.ndarray]:
    """RGBIR channels, gray nDSM and class ids (255 unlabeled) of a scene."""
    rng = np.random.default_rng(sum(map(ord, scene)))
    labels = rng.integers(0, 6, (SIDE, SIDE)).astype(np.uint8)
    labels[:3] = 255
    height = cv2.resize(rng.integers(0, 200, (6, 6), np.uint8), (SIDE, SIDE))
    return {
        "rgbi": rng.integers(0, 256, (SIDE, SIDE, 4), np.uint8),
        "height": height,
        "labels": labels,
    }


def paint(labels: np.ndarray) -> np.ndarray:
    """Class ids → BGR of the official palette, black where unlabeled."""
    table = np.zeros((256, 3), np.uint8)
    table[:6] = POTSDAM6.palette
    return np.ascontiguousarray(table[labels][..., ::-1])


def write_official(root: Path) -> None:
    for folder in (potsdam.RGB, potsdam.IRRG, potsdam.NDSM, potsdam.LABELS):
        (root / folder).mkdir(parents=True)
    for scene in HERE:
        found = content(scene)
        r, g, b, ir = np.moveaxis(found["rgbi"], -1, 0)
        name = f"top_potsdam_{scene}"
        cv2.imwrite(str(root / potsdam.RGB / f"{name}_RGB.tif"), np.dstack([b, g, r]))
        cv2.imwrite(str(root / potsdam.IRRG / f"{name}_IRRG.tif"), np.dstack([g, r, ir]))
        cv2.imwrite(str(root / potsdam.LABELS / f"{name}_label.tif"), paint(found["labels"]))
        row, column = map(int, scene.split("_"))
        height = found["height"][:, : SIDE - 1] if scene == "3_13" else found["height"]
        stem = f"dsm_potsdam_{row:02d}_{column:02d}_normalized_"
        path = str(root / potsdam.NDSM / f"{stem}lastools.jpg")
        cv2.imwrite(path, height, [cv2.IMWRITE_JPEG_QUALITY, 100])
        cv2.imwrite(path.replace("lastools", "ownapproach"), 255 - height)


def prepare(root: Path, out: Path, *flags: str) -> int:
    return prepared.prepare("potsdam", root, out, f"--crop={CROP}", *(flags or ("--partial",)))


def test_published_numbers() -> None:
    assert len(potsdam.SCENES) == len(set(potsdam.SCENES)) == 38
    assert len(set(potsdam.TEST_SCENES)) == 14
    assert (potsdam.SCENE_PIXELS // 500) ** 2 * 38 == 5472


@pytest.mark.parametrize("bands", ["irgb", "irrg", "rgb"])
def test_crops_lie_where_their_names_say(tmp_path: Path, bands: str) -> None:
    write_official(tmp_path / "in")
    assert prepare(tmp_path / "in", tmp_path / "out", "--partial", "--bands", bands) == 0
    channels = {"irgb": (3, 1, 2), "irrg": (3, 0, 1), "rgb": (0, 1, 2)}[bands]
    seen = 0
    for record, sample in prepared.frames_of(tmp_path / "out"):
        scene = "_".join(record.name.split("_")[:2])
        row, column = map(int, record.name.split("_")[2:])
        window = np.s_[row * CROP : (row + 1) * CROP, column * CROP : (column + 1) * CROP]
        truth = content(scene)
        np.testing.assert_array_equal(sample.rgb, truth["rgbi"][..., channels][window])
        np.testing.assert_array_equal(sample.labels, truth["labels"][window])
        height = truth["height"][window].astype(float) * 0.1 + 1
        inner = np.s_[:, : CROP - 1]  # 3_13 lacks its last column
        assert np.abs(sample.depth_m[inner] - height[inner]).mean() < 0.15  # JPEG
        assert np.isfinite(sample.depth_m).all()
        assert record.group == scene
        assert (record.split == "test") == (scene in potsdam.TEST_SCENES)
        seen += 1
    assert seen == len(HERE) * 4


def test_labels_may_lie_beside_the_folders(tmp_path: Path) -> None:
    write_official(tmp_path / "in")
    assert prepare(tmp_path / "in", tmp_path / "out") == 0
    for path in (tmp_path / "in" / potsdam.LABELS).iterdir():
        path.rename(tmp_path / "in" / path.name)
    (tmp_path / "in" / potsdam.LABELS).rmdir()
    assert prepare(tmp_path / "in", tmp_path / "loose") == 0
    assert read_index(tmp_path / "loose").records == read_index(tmp_path / "out").records


def test_a_float_ndsm_is_in_meters(tmp_path: Path) -> None:
    write_official(tmp_path / "in")
    height = np.full((SIDE, SIDE), 3.5, np.float32)
    height[0, 0] = np.nan
    folder = tmp_path / "in" / potsdam.NDSM
    (folder / "dsm_potsdam_02_10_normalized_lastools.jpg").unlink()
    cv2.imwrite(str(folder / "dsm_potsdam_02_10_normalized_lastools.tif"), height)
    assert prepare(tmp_path / "in", tmp_path / "out") == 0
    ticks = cv2.imread(str(tmp_path / "out/depth/2_10_00_00.png"), cv2.IMREAD_UNCHANGED)
    assert ticks[0, 0] == 0
    assert (np.delete(ticks.ravel(), 0) == 450).all()  # 3.5 m above ground + 1 m, in cm
    assert "nDSM" in read_index(tmp_path / "out").quantity


def test_slightly_different_label_colors_are_accepted(tmp_path: Path) -> None:
    write_official(tmp_path / "in")
    path = tmp_path / "in" / potsdam.LABELS / "top_potsdam_2_10_label.tif"
    image = cv2.imread(str(path))
    image[image == 255] = 252
    cv2.imwrite(str(path), image)
    assert prepare(tmp_path / "in", tmp_path / "out") == 0
    ids = cv2.imread(str(tmp_path / "out/labels/2_10_01_01.png"), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(ids, content("2_10")["labels"][CROP:, CROP:])


def _paint_purple(root: Path) -> None:
    path = root / potsdam.LABELS / "top_potsdam_6_7_label.tif"
    image = cv2.imread(str(path))
    image[5, 7] = (255, 0, 255)
    cv2.imwrite(str(path), image)


def _paint_gray(root: Path) -> None:
    path = root / potsdam.LABELS / "top_potsdam_6_7_label.tif"
    image = cv2.imread(str(path))
    image[5, 7] = 128
    cv2.imwrite(str(path), image)


def _narrow(root: Path) -> None:
    path = root / potsdam.NDSM / "dsm_potsdam_02_10_normalized_lastools.jpg"
    cv2.imwrite(str(path), np.zeros((SIDE, SIDE - 2), np.uint8))


NDSM = "dsm_potsdam_02_10_normalized_lastools.jpg"
DEFECTS = {
    "no folder": (lambda r: (r / potsdam.NDSM).rename(r / "x"), "lacks 1_DSM_normalisation"),
    "no height": (
        lambda r: [p.unlink() for p in (r / potsdam.NDSM).glob("dsm_potsdam_02_10*")],
        "02_10_normalized_lastools.jpg is missing; official page",
    ),
    "no color": (
        lambda r: (r / potsdam.IRRG / "top_potsdam_2_10_IRRG.tif").unlink(),
        "top_potsdam_2_10_IRRG.tif is missing",
    ),
    "truncated": (
        lambda r: prepared.truncate(r / potsdam.NDSM / NDSM),
        "truncated or not an image",
    ),
    "truncated label": (
        lambda r: prepared.truncate(r / potsdam.LABELS / "top_potsdam_2_10_label.tif"),
        "truncated or not an image",
    ),
    "seventh class": (_paint_purple, "1 pixels of unknown color, the first (255, 0, 255) at row"),
    "gray": (_paint_gray, "pixels of unknown color, the first (128, 128, 128)"),
    "too narrow": (_narrow, "is 94×96, but its labels are 96×96"),
}


@pytest.mark.parametrize("name", DEFECTS)
def test_defects_are_one_line_and_code_2(name: str, tmp_path: Path, capsys) -> None:  # type: ignore[no-untyped-def]
    write_official(tmp_path / "in")
    prepared.assert_refused(prepare, tmp_path, DEFECTS[name], capsys)


def test_height_in_a_wrong_unit_is_noticed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_official(tmp_path / "in")
    assert prepare(tmp_path / "in", tmp_path / "out", "--partial", "--depth-unit", "5") == 2
    assert "wrong unit? try --depth-unit" in capsys.readouterr().err


def test_fewer_scenes_than_published_are_refused_without_partial(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_official(tmp_path / "in")
    assert prepare(tmp_path / "in", tmp_path / "out", "--bands", "rgb") == 2
    assert "34 of 38 label images are missing" in capsys.readouterr().err
