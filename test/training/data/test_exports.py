# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Exports of annotation tools, read as they come: VOC, CVAT, and polygons of labelme."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image
from rigs import prepared
from rigs.broken_files import BROKEN, assert_one_line

from rgbd_seg_ros.image_io import ImageFileError
from training.data.folder import open_folder
from training.data.polygons import read_polygons
from training.data.prepare.index import read_index
from training.options import UsageError

H, W, N = 24, 32, 12
NAMES = [f"pic {i}" for i in range(N)]
COLORS = np.array([[0, 0, 0], [128, 0, 0], [0, 128, 0]], np.uint8)


def ids_of(i: int) -> np.ndarray:
    """Class ids of frame ``i``: background, and a box at a place of its own."""
    ids = np.zeros((H, W), np.uint8)
    ids[4:12, i : i + 10] = 1 + i % 2
    return ids


def write_images(root: Path, rgb: str, depth: str = "depth") -> None:
    for i, name in enumerate(NAMES):
        color = np.random.default_rng(i).integers(0, 256, (H, W, 3), np.uint8)
        meters = np.random.default_rng(i).integers(1000, 3000, (H, W)).astype(np.uint16)
        for folder, image, suffix in ((rgb, color, ".jpg"), (depth, meters, ".png")):
            (root / folder).mkdir(parents=True, exist_ok=True)
            assert cv2.imwrite(str(root / folder / f"{name}{suffix}"), image)


def write_lists(root: Path, **lists: list[str]) -> None:
    folder = root / "ImageSets" / "Segmentation"
    folder.mkdir(parents=True, exist_ok=True)
    for name, names in lists.items():
        (folder / f"{name}.txt").write_text("".join(f"{n}\n" for n in names))


def voc(root: Path) -> Path:
    """A VOC folder as labelme2voc writes it: palette PNGs, and a list of the classes."""
    write_images(root, "JPEGImages")
    (root / "SegmentationClass").mkdir()
    (root / "SegmentationClassVisualization").mkdir()
    for i, name in enumerate(NAMES):
        image = Image.fromarray(ids_of(i)).convert("P")
        image.frombytes(ids_of(i).tobytes())
        image.putpalette(COLORS.ravel().tolist())
        image.save(root / "SegmentationClass" / f"{name}.png")
    (root / "class_names.txt").write_text("_background_\ncup\nbook\n")
    return root


def cvat(root: Path) -> Path:
    """CVAT's export `Segmentation mask`: colors, labelmap.txt, and a list of all images."""
    write_images(root, "JPEGImages")
    (root / "SegmentationClass").mkdir()
    (root / "SegmentationObject").mkdir()
    for i, name in enumerate(NAMES):
        Image.fromarray(COLORS[ids_of(i)]).save(root / "SegmentationClass" / f"{name}.png")
    lines = "background:0,0,0::\ncup:128,0,0::\nbook:0,128,0::\n"
    (root / "labelmap.txt").write_text("# label:color_rgb:parts:actions\n" + lines)
    write_lists(root, default=NAMES)
    return root


def shape(label: str, points: list[list[float]], kind: str = "polygon", **more: Any) -> Any:
    return {"label": label, "points": points, "shape_type": kind, "group_id": None, **more}


def document(*shapes: Any, size: tuple[int, int] | None = (H, W)) -> str:
    height, width = size or (None, None)
    return json.dumps(
        {"version": "5.4.1", "flags": {}, "shapes": shapes, "imagePath": "x.jpg",
         "imageData": None, "imageHeight": height, "imageWidth": width}
    )  # fmt: skip


def labelme(root: Path, folder: str = "images") -> Path:
    """labelme's own files: one JSON with polygons beside each color image."""
    write_images(root, "images")
    (root / folder).mkdir(exist_ok=True)
    for i, name in enumerate(NAMES):
        corners = [[i, 4], [i + 9, 4], [i + 9, 11], [i, 11]]
        text = document(shape(("cup", "book")[i % 2], corners))
        (root / folder / f"{name}.json").write_text(text)
    (root / "labels.txt").write_text("__ignore__\n_background_\ncup\nbook\n")
    return root


EXPORTS: dict[str, Callable[[Path], Path]] = {
    "voc": voc,
    "cvat": cvat,
    "labelme": labelme,
    "labelme in a folder": lambda root: labelme(root, "Annotations"),
}


@pytest.mark.parametrize("name", EXPORTS)
def test_an_export_is_trained_on_and_prepared_as_it_comes(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = EXPORTS[name](tmp_path / "in")
    splits = [open_folder(str(root), s, 0.2, False) for s in ("train", "val", "test")]
    assert sum(map(len, splits)) == N
    assert splits[0].label_set.classes[1:] == ("cup", "book")
    assert splits[0].label_set.classes[0] in ("_background_", "background")
    for samples in splits:
        for i, sample in enumerate(samples[k] for k in range(len(samples))):
            number = NAMES.index(samples.names[i])
            np.testing.assert_array_equal(sample.labels, ids_of(number))
    assert prepared.prepare("folder", root, tmp_path / "out") == 0
    for record, sample in prepared.frames_of(tmp_path / "out"):
        np.testing.assert_array_equal(sample.labels, ids_of(NAMES.index(record.name)))
    notes = capsys.readouterr().err
    assert ("default.txt is not used" in notes) == (name == "cvat")
    assert "not read" not in notes


def test_the_lists_of_an_export_are_the_splits(tmp_path: Path) -> None:
    root = voc(tmp_path / "in")
    write_lists(root, train=NAMES[:6], val=NAMES[6:9], trainval=NAMES[:9], test=NAMES[9:])
    assert open_folder(str(root), "train", 0.2, False).names == NAMES[:6]
    assert open_folder(str(root), "val", 0.2, False).names == NAMES[6:9]
    assert prepared.prepare("folder", root, tmp_path / "out") == 0
    splits = {r.name: r.split for r in read_index(tmp_path / "out").records}
    assert splits == dict(zip(NAMES, ["train"] * 6 + ["val"] * 3 + ["test"] * 3, strict=True))


def test_images_without_polygons_are_told_and_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = labelme(tmp_path / "in")
    (root / "images" / "pic 3.json").unlink()
    splits = [open_folder(str(root), s, 0.2, False) for s in ("train", "val", "test")]
    assert sum(map(len, splits)) == N - 1
    assert "1 of 12 frames have no polygons, such as pic 3" in capsys.readouterr().err


def test_polygons_without_a_class_list_name_the_labels(tmp_path: Path) -> None:
    root = labelme(tmp_path / "in")
    (root / "labels.txt").unlink()
    with pytest.raises(UsageError, match=r"it lists the classes: `classes: \[book, cup\]`"):
        open_folder(str(root), "train", 0.2, False)
    (root / "dataset.yaml").write_text("classes: [book, cup]\n")
    sample = open_folder(str(root), "train", 0.2, False)[0]
    assert (sample.labels == 255).any(), "without a background class, the rest is unlabeled"
    assert not (sample.labels == 2).any()


# --- Shapes --------------------------------------------------------------------------------------

VALUES = {"__ignore__": 255, "cup": 1, "book": 2}


def drawn(tmp_path: Path, *shapes: Any, size: tuple[int, int] | None = (H, W)) -> np.ndarray:
    path = tmp_path / "a.json"
    path.write_text(document(*shapes, size=size))
    return read_polygons(path, VALUES, 0, (H, W))


def test_later_shapes_cover_earlier_ones(tmp_path: Path) -> None:
    square = [[2, 2], [9, 2], [9, 9], [2, 9]]
    inner = [[4, 4], [6, 4], [6, 6], [4, 6]]
    found = drawn(tmp_path, shape("cup", square), shape("__ignore__", inner))
    expected = np.zeros((H, W), np.uint8)
    expected[2:10, 2:10] = 1
    expected[4:7, 4:7] = 255
    np.testing.assert_array_equal(found, expected)
    again = drawn(tmp_path, shape("__ignore__", inner), shape("cup", square))
    assert not (again == 255).any()


def test_every_kind_of_shape(tmp_path: Path) -> None:
    mask = np.array([[1, 0], [1, 1]], bool)
    file = io.BytesIO()
    Image.fromarray(mask).save(file, "PNG")
    data = base64.b64encode(file.getvalue()).decode()
    found = drawn(
        tmp_path,
        shape("cup", [[9, 3], [5, 1]], "rectangle"),
        shape("book", [[20, 10], [23, 10]], "circle"),
        shape("cup", [[3, 20], [4, 21]], "mask", mask=data),
    )
    assert (found[1:4, 5:10] == 1).all()
    rows, columns = np.nonzero(found == 2)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (7, 13, 17, 23)
    assert len(rows) == pytest.approx(np.pi * 3.5**2, rel=0.15)
    np.testing.assert_array_equal(found[20:22, 3:5] == 1, mask)
    assert (found == 1).sum() == 15 + 3
    line = drawn(tmp_path, shape("cup", [[0, 12], [31, 12]], "linestrip"))
    assert (line[:, 16] == 1).sum() == pytest.approx(10, abs=1)
    point = drawn(tmp_path, shape("cup", [[15, 12]], "point"))
    assert (point == 1).sum() == pytest.approx(np.pi * 5.5**2, rel=0.1)


def test_the_size_of_the_color_image_is_used_if_the_file_has_none(tmp_path: Path) -> None:
    assert drawn(tmp_path, size=None).shape == (H, W)
    assert drawn(tmp_path, size=(5, 7)).shape == (5, 7)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (document(shape("cupp", [[0, 0]] * 3)), "shape 1: label 'cupp' is not a class; did you m"),
        (document(shape("cup", [[0, 0]] * 2)), "cannot be drawn: a polygon has at least 3 points"),
        (document(shape("cup", [[0, 0]], "circle")), "a circle has 2 points, not 1"),
        (document(shape("cup", [[0, 0]], "blob")), "shape_type 'blob' is not one of polygon, rec"),
        (document(shape("cup", [[0, "x"]] * 3)), "cannot be drawn"),
        (document(shape("cup", [[0, 0], [1, 1]], "mask", mask="!")), "cannot be drawn"),
        (document(size=(70000, 5)), "the size 5×70000 is not that of an image"),
        ("{}", "is not a file of labelme"),
    ],
)
def test_mistakes_name_the_file_and_the_shape(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(UsageError, match=message) as error:
        read_polygons(path, VALUES, 0, None)
    assert "a.json" in str(error.value)
    path.write_text(text[:-1])
    with pytest.raises(ImageFileError, match="truncated or not JSON"):
        read_polygons(path, VALUES, 0, None)


@pytest.mark.parametrize("kind", [*BROKEN, "a label that is a list"])
def test_a_broken_file_of_polygons_is_refused_in_one_line(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "a.json"
    if kind in BROKEN:
        BROKEN[kind](path)
    else:
        path.write_text(
            json.dumps({"imageHeight": 4, "imageWidth": 4, "shapes": [{"label": [1]}]})
        )
    with pytest.raises((UsageError, ImageFileError)) as caught:
        read_polygons(path, VALUES, 0, None)
    assert_one_line(caught.value, path)


def test_polygons_without_any_size_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(document(size=None))
    with pytest.raises(UsageError, match="has no imageHeight and imageWidth"):
        read_polygons(path, VALUES, 0, None)
