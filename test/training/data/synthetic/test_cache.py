# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The cache of rendered rooms: equal to the renderer, extended, resumed, keyed by its source."""

from __future__ import annotations

import json
import os
import pickle
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from rigs.broken_files import BROKEN

from rgbd_seg_ros.depth import to_meters
from training.data.synthetic import cache
from training.data.synthetic.cache import CachedRooms
from training.data.synthetic.renderer import RoomViews
from training.options import UsageError

SIZE = (24, 32)


class Inline:
    """A pool without processes, because importing torch in new processes would take seconds."""

    rendered: ClassVar[list[tuple[int, int]]] = []

    def __init__(self, _: int) -> None: ...

    def __enter__(self) -> Inline:
        return self

    def __exit__(self, *_: object) -> None: ...

    def imap(self, function: Any, jobs: Any) -> Any:
        for job in jobs:
            self.rendered.append(job[3:5])
            yield function(job)


@pytest.fixture(autouse=True)
def _inline(monkeypatch: pytest.MonkeyPatch) -> None:
    Inline.rendered.clear()
    monkeypatch.setattr(
        cache.multiprocessing, "get_context", lambda _: type("C", (), {"Pool": Inline})
    )
    monkeypatch.setattr(cache, "CHUNK", 2)


def test_frames_equal_the_renderers_and_a_longer_run_extends_the_folder(tmp_path: Path) -> None:
    CachedRooms(str(tmp_path), SIZE, 3, "val", 3)
    rooms = CachedRooms(str(tmp_path), SIZE, 3, "val", 5)
    assert Inline.rendered == [(0, 2), (2, 3), (3, 5)]
    views = RoomViews(SIZE, seed=3, split="val")
    for index in (0, 2, 4):
        sample, frame = rooms[index], views[index]
        assert (sample.rgb == frame.rgb).all()
        assert (sample.labels == frame.labels).all()
        np.testing.assert_array_equal(sample.depth_m, to_meters(frame.depth_mm))
        np.testing.assert_array_equal(sample.intrinsics, frame.intrinsics.matrix())
        np.testing.assert_allclose(sample.gravity, frame.gravity, atol=1e-6)
    again = pickle.loads(pickle.dumps(rooms))
    assert (again[4].rgb == rooms[4].rgb).all()
    with pytest.raises(IndexError):
        rooms[5]


def render(folder: Path, count: int) -> CachedRooms:
    Inline.rendered.clear()
    return CachedRooms(str(folder), SIZE, 3, "val", count)


@pytest.mark.parametrize(
    "kind", [k for k in BROKEN if k != "a folder"] + ["a list", "a word", "less than none", "true"]
)
def test_a_cache_whose_count_is_damaged_is_rendered_again(kind: str, tmp_path: Path) -> None:
    path = render(tmp_path, 2).folder / cache.COUNT
    values: dict[str, Any] = {"a list": [2], "a word": "2", "less than none": -1, "true": True}
    if kind in BROKEN:
        BROKEN[kind](path)
    else:
        path.write_text(json.dumps({"frames": values[kind]}))
    rooms = render(tmp_path, 2)
    assert Inline.rendered == [(0, 2)]
    assert (rooms[1].rgb == RoomViews(SIZE, seed=3, split="val")[1].rgb).all()
    assert json.loads(path.read_text()) == {"frames": 2}


def test_a_cache_whose_images_were_cut_off_is_rendered_from_there(tmp_path: Path) -> None:
    file = render(tmp_path, 3).folder / "rgb.bin"
    frame_bytes = SIZE[0] * SIZE[1] * 3
    os.truncate(file, 2 * frame_bytes + 5)
    rooms = render(tmp_path, 3)
    assert Inline.rendered == [(2, 3)]
    assert (rooms[2].rgb == RoomViews(SIZE, seed=3, split="val")[2].rgb).all()
    file.unlink()
    render(tmp_path, 3)
    assert Inline.rendered == [(0, 2), (2, 3)]


def test_no_cache_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="set cache to a folder"):
        CachedRooms("", (32, 32), 0, "train", 1)
    assert not list(tmp_path.iterdir())


def test_a_shorter_run_renders_nothing(tmp_path: Path) -> None:
    CachedRooms(str(tmp_path), SIZE, 0, "train", 3)
    Inline.rendered.clear()
    assert len(CachedRooms(str(tmp_path), SIZE, 0, "train", 2)) == 2
    assert Inline.rendered == []


def test_an_interrupted_rendering_resumes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = cache._render_chunk

    def interrupted(job: Any) -> int:
        if job[3] >= 2:
            raise KeyboardInterrupt
        return original(job)

    monkeypatch.setattr(cache, "_render_chunk", interrupted)
    with pytest.raises(KeyboardInterrupt):
        CachedRooms(str(tmp_path), SIZE, 0, "train", 4)
    monkeypatch.setattr(cache, "_render_chunk", original)
    Inline.rendered.clear()
    rooms = CachedRooms(str(tmp_path), SIZE, 0, "train", 4)
    assert Inline.rendered == [(2, 4)]
    assert (rooms[3].rgb == RoomViews(SIZE, 0, "train")[3].rgb).all()


def test_splits_seeds_and_renderer_versions_have_separate_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = [(0, "train"), (1, "train"), (0, "val")]
    folders = {CachedRooms(str(tmp_path), SIZE, s, split, 1).folder for s, split in keys}
    assert len(folders) == 3
    monkeypatch.setattr(cache, "_source_hash", lambda: "another")
    assert CachedRooms(str(tmp_path), SIZE, 0, "train", 1).folder not in folders
