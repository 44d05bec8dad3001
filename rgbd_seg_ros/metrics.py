# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Segmentation metrics: confusion matrix, per-class IoU, and both conventions of mIoU."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from rgbd_seg_ros.labels import IGNORE_ID


class ConfusionMatrix:
    """Counts of (true class, predicted class) over all labeled pixels.

    A prediction of ``ignore`` on a labeled pixel is an error. It is counted in an extra column:
    it lowers IoU and accuracy of the true class but is not a false positive of any class.
    """

    def __init__(self, num_classes: int, ignore: int = IGNORE_ID) -> None:
        if not 1 <= num_classes <= 255:
            raise ValueError(f"num_classes must be 1 to 255, got {num_classes}")
        self.num_classes = num_classes
        self.ignore = ignore
        self._counts = np.zeros((num_classes, num_classes + 1), dtype=np.int64)
        #: Image → :func:`class_counts` of that image alone, for images added with a name.
        self.images: dict[str, npt.NDArray[np.int64]] = {}

    def update(
        self, truth: npt.NDArray[Any], prediction: npt.NDArray[Any], image: str | None = None
    ) -> None:
        """Add a ground truth and a prediction, integer arrays of class ids of equal shape.

        Pixels where ``truth`` is ``ignore`` are not counted.

        Args:
            truth: class ids, or ``ignore``.
            prediction: class ids, or ``ignore``.
            image: name under which the counts of this call are also kept on their own.

        Raises:
            ValueError: the shapes differ, or an id is neither below ``num_classes`` nor
                ``ignore``.
        """
        if truth.shape != prediction.shape:
            raise ValueError(
                f"truth is {truth.shape}, but prediction is {prediction.shape}; resize the "
                "prediction by nearest neighbor first"
            )
        counts = self._counts_of_bytes(truth, prediction)
        if counts is None:
            counts = self._counts_of_integers(truth, prediction)
        self._counts += counts
        if image is not None:
            self.images[image] = self.images.get(image, 0) + class_counts(counts)

    def _counts_of_bytes(
        self, truth: npt.NDArray[Any], prediction: npt.NDArray[Any]
    ) -> npt.NDArray[np.int64] | None:
        """The counts of two arrays of uint8; None for other types, and for ids out of range."""
        bytes_only = truth.dtype == prediction.dtype == np.uint8
        if not bytes_only or not self.num_classes <= self.ignore <= 255:
            return None
        pairs = truth.astype(np.uint16)
        pairs <<= 8
        pairs |= prediction
        table = np.bincount(pairs.ravel(), minlength=65536).reshape(256, 256)
        table[self.ignore] = 0  # pixels without a true class
        classes = [*range(self.num_classes), self.ignore]
        counts = table[: self.num_classes, classes]
        return counts if counts.sum() == table.sum() else None

    def _counts_of_integers(
        self, truth: npt.NDArray[Any], prediction: npt.NDArray[Any]
    ) -> npt.NDArray[np.int64]:
        known = truth != self.ignore
        t = truth[known].astype(np.int64)
        p = prediction[known].astype(np.int64)
        for name, ids in (("truth", t), ("prediction", p)):
            bad = ids[((ids < 0) | (ids >= self.num_classes)) & (ids != self.ignore)]
            if bad.size:
                raise ValueError(
                    f"{name} contains class id {bad[0]}; allowed are 0..{self.num_classes - 1} "
                    f"and {self.ignore}"
                )
        p[p == self.ignore] = self.num_classes
        columns = self.num_classes + 1
        counts = np.bincount(t * columns + p, minlength=self.num_classes * columns)
        return counts.reshape(self._counts.shape)

    def merge(self, other: ConfusionMatrix) -> None:
        """Add the counts of another matrix, for example from another rank.

        Raises:
            ValueError: the numbers of classes differ.
        """
        if other._counts.shape != self._counts.shape:
            raise ValueError(f"cannot merge {other.num_classes} classes into {self.num_classes}")
        self._counts += other._counts
        self.images.update(other.images)

    @property
    def counts(self) -> npt.NDArray[np.int64]:
        """K×(K+1) pixel counts: row = true class, column = predicted class, last column = none."""
        return self._counts

    @property
    def iou(self) -> npt.NDArray[np.float64]:
        """Intersection over union per class (K): TP / (TP + FP + FN), as in PASCAL VOC.

        NaN for a class that occurs neither in the ground truth nor in the prediction.
        """
        return iou_of(class_counts(self._counts))

    @property
    def miou(self) -> float:
        """Mean IoU over the classes present in the ground truth; NaN without labeled pixels.

        A class that is only predicted still lowers it: its pixels are false negatives of others.
        """
        return float(miou_of(class_counts(self._counts)))

    @property
    def miou_all(self) -> float:
        """Mean IoU over all K classes, where absent ones count as 0; CMX leaves them out."""
        return float(np.nan_to_num(self.iou, nan=0.0).mean())

    @property
    def pixel_accuracy(self) -> float:
        """Fraction of labeled pixels with the correct class; NaN without labeled pixels."""
        total = self._counts.sum()
        return float(np.diag(self._counts).sum() / total) if total else float("nan")

    @property
    def mean_accuracy(self) -> float:
        """Mean recall over the classes present in the ground truth; NaN without labeled pixels."""
        rows = self._counts.sum(axis=1)
        present = rows > 0
        recall = np.diag(self._counts)[present] / rows[present]
        return float(recall.mean()) if present.any() else float("nan")


def class_counts(confusion: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """K×3 pixel counts per class, in the ground truth, in the prediction, and in both.

    They are what IoU depends on, and may be added over images.

    Args:
        confusion: K×(K+1), see :attr:`ConfusionMatrix.counts`.
    """
    inside = confusion[:, : len(confusion)]
    return np.stack([confusion.sum(axis=1), inside.sum(axis=0), np.diag(inside)], axis=1)


def iou_of(counts: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """IoU per class, …×K, of :func:`class_counts`, …×K×3; NaN where a class does not occur."""
    hit = counts[..., 2].astype(np.float64)
    union = counts[..., 0] + counts[..., 1] - hit
    iou = np.full_like(hit, np.nan)
    np.divide(hit, union, out=iou, where=union > 0)
    return iou


def miou_of(counts: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """mIoU over the classes in the ground truth, …, of :func:`class_counts`, …×K×3."""
    present = counts[..., 0] > 0
    total = np.where(present, np.nan_to_num(iou_of(counts)), 0.0).sum(axis=-1)
    number = present.sum(axis=-1)
    miou = np.full(np.shape(total), np.nan)
    np.divide(total, number, out=miou, where=number > 0)
    return miou
