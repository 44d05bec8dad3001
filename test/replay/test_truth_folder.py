# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Ground truth from a folder: names, nearest stamps, scores, and unusable folders."""

from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from rgbd_seg_ros.bag.reader import BagError
from rgbd_seg_ros.image_io import read_single_channel, write_image
from rgbd_seg_ros.replay.runner import ReplayError
from rgbd_seg_ros.replay.truth_folder import TruthError, TruthFolder

MS = 1_000_000


def write(path: Path, value: int = 0, dtype: type = np.uint8) -> None:
    cv2.imwrite(str(path), np.full((24, 32), value, dtype))


@pytest.mark.parametrize(
    ("stamp_ms", "found_ms"),
    [(100, 100), (120, 100), (121, None), (80, 100), (79, None), (185, 200), (0, None)],
)
def test_the_nearest_stamp_within_the_window(
    tmp_path: Path, stamp_ms: int, found_ms: int | None
) -> None:
    write(tmp_path / f"{100 * MS}.png")
    write(tmp_path / f"000001_{200 * MS}.PNG")
    (tmp_path / "notes.txt").write_text("not an image")
    frame = TruthFolder(tmp_path).nearest(stamp_ms * MS, 20 * MS)
    assert (None if frame is None else frame.stamp_ns) == (found_ms and found_ms * MS)


def test_the_masks_of_a_replay_are_truth_on_which_it_is_perfect(
    recording: Path,
    run_replay,  # type: ignore[no-untyped-def]
    tmp_path: Path,
) -> None:
    first = run_replay(recording, out=tmp_path / "a").summary
    masks = tmp_path / "truth"
    shutil.copytree(tmp_path / "a" / "masks", masks)
    removed = sorted(masks.iterdir())[3]
    removed.unlink()
    summary = run_replay(recording, truth=TruthFolder(masks), truth_window_ms=0).summary
    assert summary["miou"] == 1
    assert summary["unscored"] == 1
    assert summary["unscored_stamps_ns"] == [int(removed.stem.split("_")[1])]
    assert summary["warnings"] == []
    write(masks / "7.png")
    warnings = run_replay(recording, truth=TruthFolder(masks)).summary["warnings"]
    assert warnings == [
        f"1 of {first['masks']} images in {masks} belong to no mask; is it the ground truth of "
        "this recording?"
    ]


def test_truth_of_another_time_is_told(recording: Path, run_replay, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    write(tmp_path / "7.png")
    (warning,) = run_replay(recording, truth=TruthFolder(tmp_path)).summary["warnings"]
    assert warning.startswith(f"no mask has ground truth in {tmp_path} within 20 ms of its stamp")


def test_truth_of_another_label_set_is_refused(
    recording: Path, run_replay, tmp_path: Path
) -> None:  # type: ignore[no-untyped-def]
    run_replay(recording, out=tmp_path / "a")
    for file in (tmp_path / "a" / "masks").iterdir():
        write(file, 77)
    with pytest.raises(BagError, match=r"does not match the label set.* class id 77") as caught:
        run_replay(recording, truth=TruthFolder(tmp_path / "a" / "masks"))
    assert "\n" not in str(caught.value)


def test_unusable_folders_and_files_are_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(TruthError, match=r"has no image named STAMP\.png"):
        TruthFolder(tmp_path)
    with pytest.raises(TruthError, match="No such file or directory; name a folder"):
        TruthFolder(tmp_path / "missing")
    write(tmp_path / "7.png", 300, np.uint16)
    with pytest.raises(TruthError, match="uint16 values; class ids need 8 bits"):
        TruthFolder(tmp_path).nearest(7, 0)
    (tmp_path / "7.png").write_text("no image")
    with pytest.raises(TruthError, match=r"7\.png"):
        TruthFolder(tmp_path).nearest(7, 0)
    write(tmp_path / "a_7.png")
    with pytest.raises(TruthError, match="have the same stamp"):
        TruthFolder(tmp_path)


def test_unusable_options_are_refused(recording: Path, run_replay, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    write(tmp_path / "7.png")
    folder = TruthFolder(tmp_path)
    with pytest.raises(ReplayError, match="both name ground truth"):
        run_replay(recording, truth=folder, topics={"truth": "/truth/mask"})
    for window in (-1, 1001, float("nan")):
        with pytest.raises(ReplayError, match="--truth-window must be 0 to 1000 ms"):
            run_replay(recording, truth=folder, truth_window_ms=window)


def test_a_window_without_truth_is_told(recording: Path, run_replay) -> None:  # type: ignore[no-untyped-def]
    (warning,) = run_replay(recording, truth_window_ms=30).summary["warnings"]
    assert warning.startswith("--truth-window changes nothing")


def test_truth_of_another_size_is_resized_and_told_once(
    recording: Path,
    run_replay,  # type: ignore[no-untyped-def]
    tmp_path: Path,
) -> None:
    run_replay(recording, out=tmp_path / "a")
    folder = tmp_path / "a" / "masks"
    same = run_replay(recording, truth=TruthFolder(folder)).summary
    for file in folder.iterdir():
        write_image(file, np.repeat(np.repeat(read_single_channel(file), 2, 0), 2, 1))
    summary = run_replay(recording, truth=TruthFolder(folder)).summary
    assert summary["miou"] == same["miou"]
    assert summary["warnings"] == [
        "the ground truth has 64×48 pixels, the masks have 32×24; "
        "it is resized by nearest neighbor"
    ]
    for file in folder.iterdir():
        write_image(file, np.zeros((24, 24), np.uint8))
    with pytest.raises(
        BagError, match="has 24×24 pixels, the masks have 32×24, which is"
    ) as caught:
        run_replay(recording, truth=TruthFolder(folder))
    assert "\n" not in str(caught.value)
