# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Pixels per class and split: counted exactly, shown, and refused where nothing can be learned."""

from __future__ import annotations

import re
from pathlib import Path

import cv2
import numpy as np
import pytest

from rgbd_seg_ros.labels import LabelSet
from training.data import class_report
from training.data.class_report import (
    check_classes,
    class_pixel_counts,
    class_table,
    split_counts,
)
from training.data.folder import open_folder
from training.data.sample import Subset

LABELS = LabelSet("test", ("floor", "wall", "thing"))


def test_counts_are_those_of_the_files(dataset: Path) -> None:
    samples = open_folder(str(dataset), "train", 0.2, False)
    stored = [
        cv2.imread(str(dataset / "labels" / f"{name}.png"), cv2.IMREAD_UNCHANGED)
        for name in samples.names
    ]
    expected = [sum(int((a == value).sum()) for a in stored) for value in (0, 1, 2, 255)]
    assert split_counts(samples).tolist() == expected
    assert class_pixel_counts(samples).tolist() == expected[:3]
    second = [int((stored[1] == value).sum()) for value in (0, 1, 2)]
    assert class_pixel_counts(Subset(samples, [1])).tolist() == second


def test_the_table_shows_shares_and_names_what_is_missing() -> None:
    counts = {"train": np.array([750, 250, 0, 1000]), "val": np.array([1, 99999, 0, 0])}
    lines = class_table(LABELS.classes, counts).splitlines()
    cells = [line.split("  ") for line in lines]
    assert [c.strip() for c in cells[2] if c.strip()] == ["floor", "75.00 %", "< 0.01 %"]
    assert lines[4].split() == ["thing", "none", "none"]
    assert [c.strip() for c in cells[5] if c.strip()] == ["(unlabeled, of all)", "50.00 %", "none"]


@pytest.mark.parametrize(
    ("train", "val", "message"),
    [
        ([0, 0, 0, 9], [1, 1, 1, 0], r"every pixel of the train labels is unlabeled \(255\)"),
        ([1, 1, 1, 0], [0, 0, 0, 9], r"every pixel of the val labels is unlabeled"),
        (
            [3, 0, 0, 1],
            [3, 0, 0, 1],
            "'floor', and 'wall', 'thing' have no pixel; 25.0 % are 255, which is read as unlab",
        ),
        ([0, 3, 0, 0], [3, 1, 1, 1], "'wall', and 'floor', 'thing' have no pixel: correct"),
    ],
)
def test_labels_that_teach_nothing_are_refused(
    train: list[int], val: list[int], message: str
) -> None:
    counts = {"train": np.array(train), "val": np.array(val)}
    problem, warnings = check_classes(LABELS, counts)
    assert re.search(message, problem), problem
    assert "`classes: {floor: 0, thing: 255}`" in problem
    assert "\n" not in problem
    assert warnings == []


def test_missing_classes_are_told() -> None:
    counts = {"train": np.array([5, 5, 0, 0]), "val": np.array([5, 0, 0, 0])}
    problem, (first, second) = check_classes(LABELS, counts)
    assert problem == ""
    assert first.startswith("1 of 3 classes have no pixel in the training labels")
    assert "thing" in first
    assert second.endswith(": wall"), "a class that training lacks is named once"
    assert check_classes(LABELS, {"train": np.array([1, 1, 1, 0])}) == ("", [])
    assert check_classes(LABELS, {"test": np.array([1, 0, 0, 0])}) == ("", [])


def test_a_single_class_is_enough_if_there_is_only_one() -> None:
    one = LabelSet("one", ("road",))
    assert check_classes(one, {"train": np.array([5, 2])}) == ("", [])


def test_labels_are_counted_once(dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    samples = open_folder(str(dataset), "train", 0.25, False)
    first = split_counts(samples)
    monkeypatch.setattr(class_report, "_stored", None)  # would be called for a second count
    np.testing.assert_array_equal(split_counts(samples), first)
