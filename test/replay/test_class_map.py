# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Class maps translate ground truth, and refuse what they cannot translate."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from rigs.broken_files import BROKEN, assert_one_line

from rgbd_seg_ros.labels import LabelSet
from rgbd_seg_ros.replay.class_map import ClassMap
from rgbd_seg_ros.replay.replay_options import ReplayOptions
from rgbd_seg_ros.replay.session import replay_bag
from rgbd_seg_ros.replay.truth_folder import TruthError

LABELS = LabelSet("two", ("floor", "wall"))


def test_ids_are_translated(tmp_path: Path) -> None:
    path = tmp_path / "map.yaml"
    path.write_text("0: wall\n3: floor\n9: wall\n7: unlabeled\n")
    truth = np.array([[0, 3, 9, 7, 255]], np.uint8)
    assert ClassMap(path, LABELS)(truth).tolist() == [[1, 0, 1, 255, 255]]
    with pytest.raises(TruthError, match=r"contains class id 1, which .* does not list"):
        ClassMap(path, LABELS)(truth + 1)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0: wal", "id 0: unknown class 'wal'; did you mean 'wall'"),
        ("0: 1", "id 0: unknown class 1"),
        ("256: wall", "an id must be 0 to 255, got 256"),
        ("floor: wall", "an id must be 0 to 255, got 'floor'"),
        ("- wall", "expected '0: CLASS'"),
        ("", "expected '0: CLASS'"),
    ],
)
def test_unusable_maps_are_refused_in_one_line(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "map.yaml"
    path.write_text(text)
    with pytest.raises(TruthError, match=message) as caught:
        ClassMap(path, LABELS)
    assert_one_line(caught.value, path)


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_map_is_refused_in_one_line(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "map.yaml"
    BROKEN[kind](path)
    with pytest.raises(TruthError) as caught:
        ClassMap(path, LABELS)
    assert_one_line(caught.value, path)


@pytest.mark.parametrize(
    ("text", "message", "engines"),
    [
        ("0: [", "is not valid YAML", 0),
        ("floor: zero", "an id must be 0 to 255, got 'floor'", 0),
        ("0: zreo", "id 0: unknown class 'zreo'; did you mean 'zero'", 1),
        ("0: zero", "contains class id 1, which", 1),
    ],
)
def test_a_mistake_is_found_before_the_replay_begins(  # type: ignore[no-untyped-def]
    recording: Path, engine, tmp_path: Path, capsys, text: str, message: str, engines: int
) -> None:
    path, loaded = tmp_path / "map.yaml", []
    path.write_text(text)
    options = ReplayOptions(
        recording, {"truth": "/truth/mask"}, class_map=path, out=tmp_path / "out"
    )
    with pytest.raises(TruthError, match=message) as caught:
        replay_bag(options, lambda: loaded.append(1) or engine)
    assert "\n" not in str(caught.value)
    assert len(loaded) == engines
    assert engine.calls == []
    assert not (tmp_path / "out").exists()
    assert capsys.readouterr().err == ""  # not even a progress bar


def test_a_replay_is_scored_with_translated_truth(
    recording: Path,
    run_replay,  # type: ignore[no-untyped-def]
    tmp_path: Path,
) -> None:
    path = tmp_path / "map.yaml"
    path.write_text("0: zero\n1: zero\n")  # the fused network says zero everywhere
    summary = run_replay(recording, topics={"truth": "/truth/mask"}, class_map=path).summary
    assert summary["miou_by_network"]["rgbd"] == 1
    (warning,) = run_replay(recording, class_map=path).summary["warnings"]
    assert warning.startswith("--class-map changes nothing")
