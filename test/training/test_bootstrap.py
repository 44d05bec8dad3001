# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Bootstrap intervals: by hand, their coverage, pairing, and the file of counts per image."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from rgbd_seg_ros.metrics import ConfusionMatrix, class_counts, iou_of, miou_of
from training.bootstrap import (
    counts_file,
    load_image_counts,
    paired_difference,
    save_image_counts,
)
from training.options import UsageError


def counts(hits: np.ndarray, pixels: int = 100) -> np.ndarray:
    """N×1×3 counts of one class whose IoU is hits / pixels."""
    full = np.full_like(hits, pixels)
    return np.stack([full, hits, hits], axis=-1)[:, None, :]


def test_iou_of_counts_equals_that_of_the_matrix() -> None:
    random = np.random.default_rng(0)
    matrix = ConfusionMatrix(5)
    for number in range(4):
        truth = random.choice([0, 1, 3, 255], (9, 7))
        matrix.update(truth, random.integers(0, 4, (9, 7)), f"image {number}")
    matrix.update(np.zeros((3, 3), int), np.full((3, 3), 255), "image 0")  # again: added
    total = sum(matrix.images.values())
    np.testing.assert_array_equal(total, class_counts(matrix.counts))
    np.testing.assert_allclose(iou_of(total), matrix.iou)
    by_hand = [matrix.iou[c] for c in (0, 1, 3)]  # class 2 is only predicted, class 4 is absent
    assert matrix.miou == pytest.approx(np.mean(by_hand))
    assert np.isnan(miou_of(np.zeros((5, 3))))


def test_the_difference_is_that_of_added_counts_averaged_over_seeds() -> None:
    ours = [counts(np.array([80, 20])), counts(np.array([60, 60]))]
    theirs = [counts(np.array([40, 40])), counts(np.array([50, 50]))]
    found = paired_difference(ours, theirs)
    assert found.difference == pytest.approx(((0.5 - 0.4) + (0.6 - 0.5)) / 2)
    assert (found.seeds, found.images) == (2, 2)
    assert found.ci95[0] < found.difference < found.ci95[1]


def test_equal_rows_have_no_difference_and_no_interval() -> None:
    same = [counts(np.array([80, 20, 55]))]
    assert paired_difference(same, same).ci95 == (0.0, 0.0)


def test_pairing_removes_what_both_rows_share() -> None:
    easy = np.random.default_rng(0).integers(20, 80, 60)
    found = paired_difference([counts(easy + 5)], [counts(easy)])
    assert found.ci95 == (pytest.approx(0.05), pytest.approx(0.05))  # for every choice of images


def test_intervals_cover_the_truth_in_95_of_100_cases() -> None:
    covered = 0
    for case in range(200):
        random = np.random.default_rng(case)
        shared = random.normal(50, 10, 80)
        seeds = random.normal(0, 0.5, (6, 1))
        a = np.clip(shared + 2 + seeds + random.normal(0, 5, (6, 80)), 0, 100).round()
        b = np.clip(shared + random.normal(0, 5, (6, 80)), 0, 100).round()
        low, high = paired_difference(
            [counts(x.astype(int)) for x in a], [counts(x.astype(int)) for x in b], samples=400
        ).ci95
        covered += low <= 0.02 <= high
    assert 178 <= covered <= 199  # 95 % of 200, less what six seeds underestimate


def test_rows_of_other_images_cannot_be_paired() -> None:
    with pytest.raises(ValueError, match="cannot pair"):
        paired_difference([counts(np.array([1, 2]))], [counts(np.array([1, 2, 3]))])


def test_counts_return_from_their_file_in_the_order_of_names(tmp_path: Path) -> None:
    matrices = {}
    for student in ("rgb", "depth"):
        matrix = matrices[student] = ConfusionMatrix(2)
        for name in ("b", "a"):
            matrix.update(np.array([[0, 1]]), np.array([[0, int(name == "a")]]), name)
    save_image_counts(tmp_path, "val", matrices)
    loaded = load_image_counts(tmp_path, "val")
    assert loaded["names"].tolist() == ["a", "b"]
    assert loaded["depth"].tolist() == [[[1, 1, 1], [1, 1, 1]], [[1, 2, 1], [1, 0, 0]]]
    counts_file(tmp_path, "val").write_bytes(b"PK damaged")
    with pytest.raises(UsageError, match=r"images_val\.npz cannot be read"):
        load_image_counts(tmp_path, "val")
    with pytest.raises(UsageError, match=r"images_test\.npz cannot be read"):
        load_image_counts(tmp_path, "test")
