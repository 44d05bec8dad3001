# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Split lists in the encodings, line ends and forms that editors and tools write."""

from __future__ import annotations

from pathlib import Path

import pytest

from training.data.split_lists import find_lists, read_list, unused_lists
from training.options import UsageError

NAMES = ["a", "b", "c d", "1305031102.175304", "Küche", "#1"]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_every_encoding_and_line_end(tmp_path: Path, encoding: str, end: str) -> None:
    path = tmp_path / "train.txt"
    text = end.join(["b", "", "  a ", "# a comment", "c d", "Küche", ""])
    path.write_bytes(text.encode(encoding))
    assert read_list(path, NAMES) == ["b", "a", "c d", "Küche"]


def test_other_8_bit_encodings_and_decomposed_letters(tmp_path: Path) -> None:
    path = tmp_path / "train.txt"
    path.write_bytes("Küche\n".encode("cp1252"))
    decomposed = "Ku\u0308che"
    assert read_list(path, [decomposed]) == [decomposed]


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("a.png", "a"),
        ("RGB/a.jpg Label/a.png", "a"),
        ("RGB/a.jpg\tDepth/a.png\tLabel/a.PNG", "a"),
        ("rgb\\a.png,labels\\a.png", "a"),
        ("/data/set/rgb/c d.jpg /data/set/labels/c d.png", "c d"),
        ("c d.json", "c d"),
        ("1305031102.175304", "1305031102.175304"),
        ("rgb/1305031102.175304.png", "1305031102.175304"),
        ("a a", "a"),
        ("#1", "#1"),
    ],
)
def test_a_line_names_one_sample_in_any_form(tmp_path: Path, line: str, name: str) -> None:
    path = tmp_path / "train.txt"
    path.write_text(f"{line}\n")
    assert read_list(path, NAMES) == [name]


def test_names_with_a_folder_are_found_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / "train.txt"
    path.write_text("room1/0.png\nroom2/0\n")
    assert read_list(path, ["room1/0", "room2/0"]) == ["room1/0", "room2/0"]


def test_a_repeated_name_counts_once(tmp_path: Path) -> None:
    path = tmp_path / "train.txt"
    path.write_text("a\nb\na.png\n")
    assert read_list(path, NAMES) == ["a", "b"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a\n\nKuche\n", r"train.txt, line 3: no sample 'Kuche' among 6 samples; did you mean 'K"),
        ("a.png b.png\n", "line 1: names two samples, 'a' and 'b'"),
        ("a 1\n", "line 1: no sample 'a 1'"),
    ],
)
def test_a_mistake_names_its_file_and_line(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "train.txt"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UsageError, match=message) as error:
        read_list(path, NAMES)
    assert "\n" not in str(error.value)


def test_a_file_that_is_not_text_is_named(tmp_path: Path) -> None:
    path = tmp_path / "train.txt"
    path.write_bytes(b"\xff\xfe\x00\xd8\x00")
    with pytest.raises(UsageError, match=r"train.txt is not a text file \(5 bytes\)"):
        read_list(path, NAMES)


def test_lists_are_found_in_the_folder_and_in_that_of_voc(tmp_path: Path) -> None:
    voc = tmp_path / "ImageSets" / "segmentation"
    voc.mkdir(parents=True)
    (voc / "Validation.txt").write_text("a")
    (voc / "trainval.txt").write_text("a")
    (voc / "default.txt").write_text("a")
    (tmp_path / "train.TXT").write_text("b")
    for name in ("notes.txt", "splits/train.txt", "train_list.txt", "val.csv", "test.lst"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("b")
    assert find_lists(tmp_path) == {
        "train": tmp_path / "train.TXT",
        "val": voc / "Validation.txt",
    }
    unused = ("splits/train.txt", "test.lst", "train_list.txt", "val.csv")
    assert unused_lists(tmp_path) == [voc / "default.txt", *(tmp_path / name for name in unused)]
    (voc / "train.txt").write_text("a")
    with pytest.raises(UsageError, match="both list the train split; keep one"):
        find_lists(tmp_path)
