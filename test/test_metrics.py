# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Confusion matrix and both conventions of mIoU, compared with values computed by hand."""

from __future__ import annotations

import numpy as np
import pytest

from rgbd_seg_ros.metrics import ConfusionMatrix

TRUTH = np.array([[0, 0, 0, 1], [1, 1, 255, 255]], dtype=np.uint8)
GUESS = np.array([[0, 0, 1, 1], [1, 255, 2, 0]], dtype=np.uint8)


def _matrix(num_classes: int = 4) -> ConfusionMatrix:
    matrix = ConfusionMatrix(num_classes)
    matrix.update(TRUTH, GUESS)
    return matrix


def test_iou_and_both_means_by_hand() -> None:
    matrix = _matrix()
    # Class 0: 2 hits, union 3. Class 1: 2 hits, union 3 true + 1 false positive. 2, 3: absent.
    np.testing.assert_allclose(matrix.iou, [2 / 3, 2 / 4, np.nan, np.nan])
    assert matrix.miou == pytest.approx((2 / 3 + 1 / 2) / 2)
    assert matrix.miou_all == pytest.approx((2 / 3 + 1 / 2) / 4)
    assert matrix.pixel_accuracy == pytest.approx(4 / 6)
    assert matrix.mean_accuracy == pytest.approx(2 / 3)


def test_a_pixel_without_a_prediction_is_an_error_but_not_a_false_positive() -> None:
    assert _matrix().counts[1].tolist() == [0, 2, 0, 0, 1]


def test_a_class_that_is_only_predicted_counts_for_iou_but_not_for_miou() -> None:
    matrix = ConfusionMatrix(3)
    matrix.update(np.array([0, 0]), np.array([0, 2]))
    np.testing.assert_allclose(matrix.iou, [0.5, np.nan, 0.0])
    assert matrix.miou == 0.5
    assert matrix.miou_all == pytest.approx(0.5 / 3)


def test_merging_equals_one_matrix_for_all() -> None:
    merged = _matrix()
    merged.merge(_matrix())
    np.testing.assert_array_equal(merged.counts, 2 * _matrix().counts)
    with pytest.raises(ValueError, match="cannot merge"):
        merged.merge(ConfusionMatrix(5))


@pytest.mark.parametrize("ignore", [255, 7, 3])
def test_bytes_and_integers_are_counted_alike(ignore: int) -> None:
    random = np.random.default_rng(3)
    ids = np.array([0, 1, 2, 3, 4, 5, ignore], np.uint8)
    truth, guess = random.choice(ids, (2, 40, 50))
    fast, slow = ConfusionMatrix(6, ignore), ConfusionMatrix(6, ignore)
    fast.update(truth, guess, "a")
    slow.update(truth.astype(np.int64), guess.astype(np.int64), "a")
    np.testing.assert_array_equal(fast.counts, slow.counts)
    np.testing.assert_array_equal(fast.images["a"], slow.images["a"])
    assert (fast._counts_of_bytes(truth, guess) is not None) is (ignore > 5)  # the fast way
    expected = sum((truth[y, x] == 4 and guess[y, x] == 5) for y in range(40) for x in range(50))
    assert fast.counts[4, 5] == expected > 0


def test_without_labels_metrics_are_nan_and_nothing_warns() -> None:
    matrix = ConfusionMatrix(2)
    matrix.update(np.full(3, 255), np.zeros(3, int))
    assert np.isnan([matrix.miou, matrix.pixel_accuracy, matrix.mean_accuracy]).all()
    assert matrix.miou_all == 0.0


@pytest.mark.parametrize(
    ("truth", "guess", "message"),
    [
        ([0, 2], [0, 1], "truth contains class id 2"),
        ([0, 1], [0, 2], "prediction contains class id 2"),
        ([0, 1], [0, 7], "prediction contains class id 7"),
        ([0, 1], [0, -1], "prediction contains class id -1"),
        ([0, 1], [0], "resize the prediction"),
    ],
)
def test_bad_ids_and_shapes_are_refused(truth: list, guess: list, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ConfusionMatrix(2).update(np.array(truth), np.array(guess))
