# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Label files in the forms that tools write: ids, palettes, colors, transparency, other values."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from rgbd_seg_ros.image_io import ImageFileError
from training.data.description import read_description
from training.data.label_files import LabelCoding, consecutive_ids, read_labels
from training.options import UsageError

#: 2×4 class ids, 255 unlabeled.
IDS = np.array([[0, 0, 1, 1], [2, 2, 255, 0]], np.uint8)
PLAIN = LabelCoding(("floor", "wall", "box"), consecutive_ids(0, 3))
COLORS = {0: (10, 20, 30), 1: (128, 0, 0), 2: (0, 128, 255), 255: (0, 0, 0)}
TABLE = "floor: [10, 20, 30], wall: [128, 0, 0], box: [0, 128, 255]"


def coding(tmp_path: Path, text: str) -> LabelCoding:
    """The coding that a dataset.yaml of this text gives."""
    (tmp_path / "dataset.yaml").write_text(text)
    return read_description(tmp_path).coding


def painted(ids: np.ndarray, colors: dict[int, tuple[int, int, int]] = COLORS) -> np.ndarray:
    """H×W×3 RGB image of class ids."""
    image = np.zeros((*ids.shape, 3), np.uint8)
    for class_id, color in colors.items():
        image[ids == class_id] = color
    return image


def paletted(ids: np.ndarray) -> Image.Image:
    image = Image.fromarray(ids).convert("L")
    indexed = Image.new("P", image.size)
    indexed.frombytes(image.tobytes())
    # All colors are gray or equal, as in the palettes of some tools: only the index counts.
    indexed.putpalette([value for i in range(256) for value in (i // 2, i // 2, i // 2)])
    return indexed


@pytest.mark.parametrize("suffix", [".png", ".tif", ".bmp"])
def test_gray_images_hold_ids(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    assert cv2.imwrite(str(path), IDS)
    np.testing.assert_array_equal(read_labels(path, PLAIN), IDS)


def test_16_bit_images_and_three_equal_channels_hold_ids(tmp_path: Path) -> None:
    for name, image in (("16", IDS.astype(np.uint16)), ("3", np.dstack([IDS] * 3))):
        path = tmp_path / f"{name}.png"
        assert cv2.imwrite(str(path), image)
        np.testing.assert_array_equal(read_labels(path, PLAIN), IDS)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_a_palette_image_holds_its_indices(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    paletted(IDS).save(path)
    np.testing.assert_array_equal(read_labels(path, PLAIN), IDS)


@pytest.mark.parametrize("bits", [1, 2, 4])
@pytest.mark.parametrize("mode", ["gray", "palette"])
def test_images_of_few_bits_hold_ids(tmp_path: Path, bits: int, mode: str) -> None:
    ids = np.array([[0, 1, 1, 0], [1, 0, min(2, 2**bits - 1), 0]], np.uint8)
    path = tmp_path / "a.png"
    if mode == "palette":
        paletted(ids).save(path, bits=bits)
    else:
        write_gray(path, ids, bits)
    assert path.read_bytes()[24:26] == bytes([bits, 0 if mode == "gray" else 3])
    np.testing.assert_array_equal(read_labels(path, PLAIN), ids)


def write_gray(path: Path, ids: np.ndarray, bits: int) -> None:
    """Write a gray PNG with few bits; no library here does so for 2 and 4."""
    import struct
    import zlib

    def chunk(kind: bytes, data: bytes) -> bytes:
        check = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", check)

    height, width = ids.shape
    planes = (ids[..., None] >> np.arange(bits - 1, -1, -1)) & 1
    rows = np.packbits(planes.reshape(height, width * bits).astype(bool), axis=1)
    data = b"".join(b"\0" + row.tobytes() for row in rows)
    header = struct.pack(">IIBBBBB", width, height, bits, 0, 0, 0, 0)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(data))
        + chunk(b"IEND", b"")
    )


def test_a_palette_with_a_transparent_entry_keeps_its_index(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    paletted(IDS).save(path, transparency=0)
    np.testing.assert_array_equal(read_labels(path, PLAIN), IDS)


def test_first_id_makes_smaller_values_unlabeled(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    cv2.imwrite(str(path), np.array([[0, 1, 2, 255]], np.uint8))
    found = read_labels(path, coding(tmp_path, "classes: [wall, box]\nfirst_id: 1\n"))
    assert found.tolist() == [[255, 0, 1, 255]]


def test_each_class_may_have_its_own_value_even_255(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    cv2.imwrite(str(path), np.array([[0, 255, 255, 7]], np.uint8))
    text = "classes: {background: 0, object: 255}\n"
    with pytest.raises(UsageError, match="contains label 7, allowed are 0, 255;"):
        read_labels(path, coding(tmp_path, text))
    found = read_labels(path, coding(tmp_path, text + "unlabeled: [7]\n"))
    assert found.tolist() == [[0, 1, 1, 255]]


def test_values_above_255_are_possible(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    cv2.imwrite(str(path), np.array([[1000, 40000, 255, 1000]], np.uint16))
    found = read_labels(path, coding(tmp_path, "classes: {a: 40000, b: 1000}\n"))
    assert found.tolist() == [[1, 0, 255, 1]]


@pytest.mark.parametrize("form", ["rgb", "palette", "alpha"])
@pytest.mark.parametrize(
    "text", [f"classes: {{{TABLE}}}\n", f"classes: [floor, wall, box]\ncolors: {{{TABLE}}}\n"]
)
def test_colors_become_ids(tmp_path: Path, form: str, text: str) -> None:
    path = tmp_path / "a.png"
    image = Image.fromarray(painted(IDS))
    if form == "palette":
        image = image.quantize(8)
    elif form == "alpha":
        image = Image.fromarray(np.dstack([painted(IDS), np.where(IDS == 1, 0, 255)]).astype("u1"))
    image.save(path)
    np.testing.assert_array_equal(read_labels(path, coding(tmp_path, text)), IDS)


def test_transparent_pixels_of_another_color_are_unlabeled(tmp_path: Path) -> None:
    image = np.dstack([painted(IDS), np.full(IDS.shape, 255, np.uint8)])
    image[1, 0] = (9, 9, 9, 0)
    path = tmp_path / "a.png"
    Image.fromarray(image).save(path)
    expected = IDS.copy()
    expected[1, 0] = 255
    table = coding(tmp_path, f"classes: {{{TABLE}}}\n")
    np.testing.assert_array_equal(read_labels(path, table), expected)


@pytest.mark.parametrize(
    ("file", "content"),
    [
        (
            "labelmap.txt",
            "# label:color_rgb:parts:actions\n"
            "floor:10,20,30::\nwall:128,0,0:hand,foot:open\nbox:0,128,255::\n",
        ),
        ("colors.csv", "name,r,g,b\nfloor, 10,20,30\nwall,128,0,0\nbox,0,128,255\nvoid,1,1,1\n"),
        ("colors.yaml", "floor: [10, 20, 30]\nwall: [128, 0, 0]\nbox: [0, 128, 255]\n"),
    ],
)
def test_color_tables_of_tools(tmp_path: Path, file: str, content: str) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(painted(IDS)).save(path)
    (tmp_path / file).write_text(content)
    colors = "" if file == "labelmap.txt" else f"colors: {file}\n"
    table = coding(tmp_path, f"classes: [floor, wall, box]\n{colors}")
    np.testing.assert_array_equal(read_labels(path, table), IDS)
    description = read_description(tmp_path)
    assert description.label_set.palette == (COLORS[0], COLORS[1], COLORS[2])


def test_the_colors_of_voc_with_their_void_border(tmp_path: Path) -> None:
    voc = {0: (0, 0, 0), 1: (128, 0, 0), 2: (0, 128, 0), 255: (224, 224, 192)}
    path = tmp_path / "a.png"
    Image.fromarray(painted(IDS, voc)).save(path)
    table = coding(tmp_path, "classes: [background, aeroplane, bicycle]\ncolors: voc\n")
    np.testing.assert_array_equal(read_labels(path, table), IDS)


def test_a_name_of_the_table_that_is_no_class_is_unlabeled(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(painted(IDS)).save(path)
    table = coding(tmp_path, f"classes: [floor, box]\ncolors: {{{TABLE}}}\n")
    expected = np.array([[0, 0, 255, 255], [1, 1, 255, 0]], np.uint8)
    np.testing.assert_array_equal(read_labels(path, table), expected)


def test_more_colors_may_be_unlabeled(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    image = painted(IDS)
    image[1, 2] = (255, 0, 255)
    Image.fromarray(image).save(path)
    text = f"classes: {{{TABLE}}}\n"
    message = r"1 pixels of unknown color, the first \(255, 0, 255\) at row 1, column 2"
    with pytest.raises(UsageError, match=message):
        read_labels(path, coding(tmp_path, text))
    table = coding(tmp_path, f"{text}unlabeled: [[255, 0, 255]]\n")
    np.testing.assert_array_equal(read_labels(path, table), IDS)


def test_images_that_cannot_hold_labels_are_refused(tmp_path: Path) -> None:
    jpeg = tmp_path / "a.png"  # the content decides, not the suffix
    jpeg.write_bytes(cv2.imencode(".jpg", IDS)[1].tobytes())
    with pytest.raises(UsageError, match="JPEG changes pixel values"):
        read_labels(jpeg, PLAIN)
    floats = tmp_path / "a.tiff"
    cv2.imwrite(str(floats), IDS.astype(np.float32))
    with pytest.raises(UsageError, match="has float32 values; labels are whole numbers"):
        read_labels(floats, PLAIN)
    cut = tmp_path / "cut.png"
    paletted(IDS).save(cut)
    cut.write_bytes(cut.read_bytes()[:-20])
    with pytest.raises(ImageFileError, match="truncated"):
        read_labels(cut, PLAIN)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("classes: {a: 0, b: [1, 2, 3]}", "both label values and colors"),
        ("classes: {a: 0, b: 0}", "two classes have the same label value"),
        ("classes: {a: 70000}", r"a has label value 70000, allowed are 0..65535"),
        ("classes: {a: 0, b: 1}\nfirst_id: 1", "omit first_id"),
        ("classes: {a: [1, 2]}", r"a: \[1, 2\] is not a color; write \[red, green, blue\]"),
        ("classes: {a: [1, 2, 300]}", "is outside 0..255"),
        ("classes: {a: [1, 2, 3], b: [1, 2, 3]}", "'b' has the color .* of another name"),
        ("classes: 7", "classes must be a list of names, got 7"),
        ("classes: [a]\ncolors: nothing.csv", "neither `voc` nor a file beside it"),
        ("classes: [a, b]\ncolors: {a: [1, 2, 3]}", "no color for class 'b'; its names are a"),
        ("classes: [a]\nunlabeled: 0", "0 is both unlabeled and a class"),
        ("classes: [a]\nunlabeled: [1.5]", "unlabeled has 1.5; allowed are"),
        ("classes: [a]\nfirst_id: -1", "first_id must be 0 or more, got -1"),
        ("classes: [a]\nfirst_id: x", "first_id: 'x' is not a whole number"),
        ("classes: [a]\ndepth_scale: 0", "depth_scale must be above 0 meters, got 0"),
        ("classes: [a]\nintrinsics: {fx: 1, fy: 1, cx: 1}", "must have fx, fy, cx, cy"),
        ("classes: [a]\nintrinsics: {fx: 0, fy: 1, cx: 1, cy: 1}", "above 0"),
        ("classes: [a, a]", "duplicate classes"),
        ("classes: []", "has 0 classes"),
        ("depth_scale: 1", "has no classes; it lists the classes"),
        ("palette: x", "unknown key 'palette'"),
    ],
)
def test_mistakes_in_the_description_are_one_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message) as error:
        coding(tmp_path, f"{text}\n")
    assert "dataset.yaml" in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("floor\n", "line 1: 'floor' is not `label:color_rgb:parts:actions`"),
        ("floor:1,2,x::\n", "line 1: '1,2,x' is not a color"),
        ("floor:1,2,3::\nfloor:1,2,4::\n", "line 2: 'floor' has two colors"),
        ("# nothing\n", "contains no color"),
    ],
)
def test_mistakes_in_a_color_table_name_the_line(
    tmp_path: Path, content: str, message: str
) -> None:
    (tmp_path / "labelmap.txt").write_text(content)
    with pytest.raises(UsageError, match=message):
        read_description(tmp_path)
