# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Reading of untrusted files: names stay in their folder, defects are refused in one line."""

from __future__ import annotations

import math
import os
from pathlib import Path

import pytest
import yaml

from rgbd_seg_ros.files import (
    InputFileError,
    OutputError,
    check_output_folder,
    check_writable,
    describe_os_error,
    parse_json,
    parse_yaml,
    read_json,
    read_json_lines,
    read_yaml,
    regular_file_inside,
)
from rgbd_seg_ros.names import did_you_mean, shown, unknown_name

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a file, a subfolder, links, a FIFO, and a file beside it."""
    (tmp_path / "outside").write_text("secret")
    inside = tmp_path / "inside"
    (inside / "sub").mkdir(parents=True)
    (inside / "sub" / "file").write_text("x")
    (inside / "with space é").touch()
    (inside / "link").symlink_to("sub/file")
    (inside / "out").symlink_to(tmp_path / "outside")
    (inside / "loop").symlink_to("loop")
    (inside / "up").symlink_to("..")
    os.mkfifo(inside / "fifo")
    return inside


@pytest.mark.parametrize("name", ["sub/file", "link", "with space é", "sub/../sub/file"])
def test_a_regular_file_inside_is_found(folder: Path, name: str) -> None:
    assert regular_file_inside(folder, name) == folder / name


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("../outside", "is outside"),
        ("out", "a link to .*outside"),
        ("up/outside", "is outside"),
        ("/etc/hostname", "is outside"),
        ("fifo", r"named pipe \(FIFO\)"),
        ("sub", "a folder"),
        (".", "a folder"),
        ("loop", "cannot read"),
        ("missing", "No such file"),
        ("x" * 10_000, "File name too long"),
        ("a\0b", "printable text"),
        ("a\nb", "printable text"),
        ("", "printable text"),
        (None, "printable text"),
        (3, "printable text"),
        (["x"] * 10_000, "printable text"),
    ],
)
def test_everything_else_is_refused_in_one_line(folder: Path, name: object, words: str) -> None:
    with pytest.raises(InputFileError, match=words) as refused:
        regular_file_inside(folder, name)
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 600


def test_an_absolute_path_is_refused_even_if_it_leads_inside(folder: Path) -> None:
    with pytest.raises(InputFileError, match="is outside"):
        regular_file_inside(folder, str(folder / "sub" / "file"))


def test_a_folder_that_is_a_link_contains_its_files(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "alias").symlink_to(folder)
    assert regular_file_inside(tmp_path / "alias", "sub/file").read_text() == "x"


def test_a_file_that_is_not_regular_or_too_large_is_not_read(folder: Path) -> None:
    for name, words in (("fifo", "named pipe"), ("sub", "directory"), ("none", "No such file")):
        with pytest.raises(InputFileError, match=words):
            read_json(folder / name)
    os.truncate(folder / "sub" / "file", 2**40)
    for read in (read_json, read_yaml):
        with pytest.raises(InputFileError, match="has 1099511627776 bytes; at most 4194304"):
            read(folder / "sub" / "file")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"", "Expecting value"),
        (b'{"a": 1, "a": 2}', "'a' appears twice"),
        (b"[NaN]", "NaN is not a JSON number"),
        (b"-Infinity", "-Infinity is not a JSON number"),
        (b"1e400", "too large"),
        (b"1" * 5000, "has 5000 digits"),
        (b"[" * 100_000, "nested too deeply"),
        (b'"\\ud800"', "surrogates"),
        (b"\xff", "utf-8"),
        ('{"a": 1}'.encode("utf-16"), "utf-8"),
    ],
)
def test_json_that_other_programs_read_differently_is_refused(text: bytes, words: str) -> None:
    with pytest.raises(InputFileError, match=f"f.json is not JSON.*{words}") as refused:
        parse_json(text, "f.json")
    assert "\n" not in str(refused.value)


def test_nan_is_read_only_on_request(folder: Path) -> None:
    path = folder / "scores.jsonl"
    path.write_text('{"miou": NaN}\n\n{"miou": -Infinity}\n')
    first, second = read_json_lines(path, allow_nan=True)
    assert math.isnan(first["miou"])
    assert second == {"miou": -math.inf}
    with pytest.raises(InputFileError, match=r"scores.jsonl:1 is not JSON .*NaN"):
        read_json_lines(path)


def test_an_error_in_json_lines_names_the_line(folder: Path) -> None:
    path = folder / "lines.jsonl"
    path.write_text('{"a": 1}\n{"a": ')
    with pytest.raises(InputFileError, match=r"lines.jsonl:2 is not JSON"):
        read_json_lines(path)


def test_json_with_a_byte_order_mark_is_read() -> None:
    assert parse_json(b'\xef\xbb\xbf{"a": [1, 2.5, null, "\xc3\xa9"]}', "f") == {
        "a": [1, 2.5, None, "é"]
    }


def laughs(entry: str) -> str:
    """A document of 12 lines, each of which stands for nine copies of the line above."""
    lines = ["a: &a {x: 1}"]
    for above, name in zip("abcdefghijk", "bcdefghijkl", strict=True):
        copies = ", ".join([f"*{above}"] * 9)
        lines.append(f"{name}: &{name} {entry % copies}")
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (laughs("[%s]"), "too large when its aliases"),
        (laughs("{<<: [%s]}"), "too large when its aliases"),
        ("[" * 100_000, "nested too deeply"),
        ("- " * 5000, "nested too deeply"),
        ("&a [*a]", "contains itself"),
        ("a: 1\nb: 2\na: 3", "line 3: the key 'a' appears twice"),
        ("a: 0x" + "f" * 10_000, "has 10002 digits"),
        ("a: !!float " + "1:" * 100_000 + "1", "digits"),
        ("a: 2024-13-45", "month"),
        ("a: !!int x", "not YAML"),
        ("a: !!bool maybe", "not YAML"),
        ("a: !!timestamp x", "not YAML"),
        ("a: !!python/object/apply:os.system [ls]", "could not determine a constructor"),
        ("? [a]\n: b", "unhashable"),
        ("a: [1", "f.yaml:1 is not valid YAML"),
        ("a: \0", "not YAML"),
    ],
)
def test_hostile_yaml_is_refused_in_one_line(text: str, words: str) -> None:
    with pytest.raises(InputFileError, match=words) as refused:
        parse_yaml(text, "f.yaml")
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 400


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-1", 0.1), ("2E3", 2000.0), ("-.5e+2", -50.0), ("1.5e3", 1500.0),
        ("1e5-x", "1e5-x"), ("x1e5", "x1e5"), ("'1e3'", "1e3"), ('"1e3"', "1e3"), ("5e", "5e"),
        ("1e9999", "1e9999"),
    ],
)  # fmt: skip
def test_numbers_with_an_exponent_are_numbers(text: str, value: object) -> None:
    found = parse_yaml(f"- {text}", "x")
    assert found == [value]
    assert type(found[0]) is type(value)


def test_yaml_that_is_not_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "f.yaml").write_bytes(b"a: \xff")
    with pytest.raises(InputFileError, match="not a text file in UTF-8"):
        read_yaml(tmp_path / "f.yaml")


@pytest.mark.parametrize(
    "path", sorted((ROOT / "config").rglob("*.yaml")), ids=lambda path: path.stem
)
def test_every_shipped_yaml_file_is_read_as_pyyaml_reads_it(path: Path) -> None:
    assert read_yaml(path) == yaml.safe_load(path.read_text())


def test_values_in_messages_are_short() -> None:
    assert shown("realsense") == "'realsense'"
    assert shown(["a", 1]) == "['a', 1]"
    deep: list = []
    for _ in range(10_000):
        deep = [deep]
    for value in ("x" * 10**6, [["y" * 10**6] * 100] * 100, deep, 10**5000, b"z" * 10**6):
        assert len(shown(value)) <= 200
    assert did_you_mean("realsens", ["oak", "realsense"]) == "; did you mean 'realsense'?"
    assert did_you_mean("REALSENSE", ["oak", "realsense"]) == "; did you mean 'realsense'?"
    assert did_you_mean("--OUT", ["--out"]) == "; did you mean '--out'?"
    assert did_you_mean("x" * 10**6, ["x"]) == ""
    assert unknown_name("camera", ["x"] * 10**6, ["oak"]).endswith("(known: oak)")


# --- Outputs -----------------------------------------------------------------------------------


def test_an_output_that_cannot_be_written_names_the_option_and_the_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match=r"--out .*file/sub.* is a file; a part of the path"):
        check_output_folder(tmp_path / "file" / "sub", overwrite=False)
    check_writable(tmp_path / "new" / "deep", "--record")
    assert not (tmp_path / "new").exists()
    # As root, every folder may be written.
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(OutputError, match=r"cannot write --record .*new.*; choose another path"):
        check_writable(tmp_path / "new", "--record")


def test_errors_of_the_operating_system_have_a_path_and_a_remedy() -> None:
    assert describe_os_error(PermissionError(13, "Permission denied", "/x/out")) == (
        "/x/out: Permission denied; choose another path, or change its owner or permissions"
    )
    assert describe_os_error(OSError(28, "No space left on device")) == (
        "No space left on device; free disk space, or choose another disk"
    )
    assert describe_os_error(OSError("the download failed")) == "the download failed"
