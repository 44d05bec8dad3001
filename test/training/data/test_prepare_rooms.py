# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Rendered rooms as a prepared dataset: equal however they are interrupted, and bad input."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from rigs.furniture_catalog import entry, write_catalog

from training.command import run_command
from training.data.prepare import card, rooms, write
from training.data.prepare.index import open_prepared, read_index
from training.prepare import main

FLAGS = ("--renderer", "numpy", "--size", "24,32", "--processes", "1")


def render(out: Path, frames: int, *flags: str) -> int:
    argv = ["rooms", "--frames", str(frames), "--out", str(out), *FLAGS, *flags]
    return run_command(lambda: main(argv))


def _abort(job: list[int]) -> None:
    os.abort()


def images(out: Path) -> dict[str, tuple[bytes, int]]:
    """Name → content and time of each image."""
    return {
        str(p.relative_to(out)): (p.read_bytes(), p.stat().st_mtime_ns)
        for p in sorted(out.rglob("*.png"))
    }


def contents(out: Path) -> dict[str, bytes]:
    return {name: data for name, (data, _) in images(out).items()}


def test_rooms_are_a_prepared_dataset_with_a_card(tmp_path: Path) -> None:
    out = tmp_path / "set"
    assert render(out, 24) == 0
    found = card.check(out)
    assert found["problems"] == []
    assert found["frames"] == {"train": 22, "val": 1, "test": 1}
    assert found["frames_with_intrinsics"] == found["frames_with_gravity"] == 24
    sample = open_prepared(str(out), "val")[0]
    assert sample.labels.shape == (24, 32)
    assert sample.name == "000010"
    assert sample.gravity is not None


def test_more_rooms_can_be_held_out_and_other_splits_render_nothing_again(tmp_path: Path) -> None:
    out = tmp_path / "set"
    assert render(out, 40) == 0
    before = images(out)
    assert render(out, 40, "--held-out", "2,12") == 0
    assert images(out) == before
    splits = [r.split for r in read_index(out).records]
    assert splits == 2 * (6 * ["train"] + 2 * ["val"] + 12 * ["test"])


@pytest.mark.parametrize("held_out", ["0,1", "10,10", "1,-1"])
def test_some_rooms_of_each_split_remain(
    held_out: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert render(tmp_path / "set", 40, "--held-out", held_out) == 2
    assert "held_out must be two numbers of 1 or more" in capsys.readouterr().err


def test_more_frames_continue_and_move_no_frame(tmp_path: Path) -> None:
    part, whole = tmp_path / "part", tmp_path / "whole"
    assert render(part, 20) == 0
    before, splits = images(part), {r.name: r.split for r in read_index(part).records}
    assert render(part, 23) == 0
    after = images(part)
    assert {name: after[name] for name in before} == before
    assert len(after) == 3 * 23
    now = {r.name: r.split for r in read_index(part).records}
    assert {name: now[name] for name in splits} == splits
    assert render(whole, 23) == 0
    assert contents(whole) == contents(part)


def test_a_full_disk_is_one_line_and_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out, whole = tmp_path / "set", tmp_path / "whole"
    real, count = write.write_atomically, 0

    def full(path: Path, data: bytes | str) -> None:
        nonlocal count
        count += 1
        if count > 3 * 5:
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        real(path, data)

    monkeypatch.setattr(write, "write_atomically", full)
    assert render(out, 22) == 2
    (line,) = [t for t in capsys.readouterr().err.splitlines() if t.startswith("error: ")]
    assert "No space left on device" in line
    before = images(out)
    monkeypatch.undo()
    assert render(out, 22) == 0
    after = images(out)
    kept = [name for name in before if after[name] == before[name]]
    assert len(kept) >= 3 * 4
    assert render(whole, 22) == 0
    assert contents(out) == contents(whole)
    assert card.check(out)["problems"] == []


def test_another_seed_is_another_preparation(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "set"
    assert render(out, 20) == 0
    before = images(out)
    assert render(out, 20, "--seed", "1") == 2
    assert "holds a different preparation" in capsys.readouterr().err
    assert images(out) == before


def test_several_processes_render_the_same_frames(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    assert render(one, 20) == 0
    assert render(two, 20, "--processes", "2") == 0
    assert contents(one) == contents(two)


def test_a_rendering_process_that_dies_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(rooms, "_render", _abort)  # as Mitsuba does with a wrong LLVM
    assert render(tmp_path / "set", 20, "--processes", "2") == 2
    (line,) = [t for t in capsys.readouterr().err.splitlines() if t.startswith("error: ")]
    assert "run the command again to continue" in line


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--frames", "0"), "frames must be 1 or more, got 0"),
        (("--size", "4,4"), "size must be height,width of 16..2160 pixels, got (4, 4)"),
        (("--samples", "0"), "samples must be 1 or more"),
        (("--renderer", "magic"), "'magic' is not one of auto, mitsuba, numpy"),
        (("--furniture", "catalog"), "needs the renderer mitsuba"),
    ],
)
def test_bad_options_are_one_line(
    tmp_path: Path, flags: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert render(tmp_path / "set", 20, *flags) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "set").exists()


def test_a_catalog_that_is_missing_or_of_another_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(rooms, "choose_renderer", lambda name: "mitsuba")
    flags = ("--renderer", "auto", "--furniture", "catalog", "--source", str(tmp_path / "absent"))
    assert render(tmp_path / "set", 20, *flags) == 2
    error = capsys.readouterr().err
    assert "has no furniture catalog" in error
    assert error.count("\n") == 1
    folder = write_catalog(tmp_path / "catalog", entry(1, "Chair"), version="9")
    dataset = rooms.RenderedRooms(folder, rooms.RoomsOptions(), False)
    assert "version 9" in capsys.readouterr().err
    assert "Chair" in dataset.finished(tmp_path)["credits.txt"]
    assert dataset.files == [folder / "Test.sh3f"]


def test_the_fingerprint_covers_what_frames_show(monkeypatch: pytest.MonkeyPatch) -> None:
    def of(**values: object) -> dict[str, object]:
        options = rooms.RoomsOptions(**{"renderer": "numpy", **values})
        return rooms.RenderedRooms(Path(), options, False).fingerprint_options

    assert of() == of(frames=5, processes=3)
    for change in ({"seed": 1}, {"size": (48, 64)}, {"samples": 25}, {"views": 2}):
        assert of() != of(**change)
