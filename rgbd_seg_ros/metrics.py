# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Confusion matrix, per-class IoU and both conventions of mIoU."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from rgbd_seg_ros.labels import IGNORE_ID


class ConfusionMatrix:
    """Counts of (true class, predicted class) over all pixels whose truth is known.

    A prediction of ``ignore`` on a labeled pixel counts as wrong: it goes to an extra column,
    so it lowers the class's IoU and accuracy and belongs to no class itself.
    """

    def __init__(self, num_classes: int, ignore: int = IGNORE_ID) -> None:
        if not 1 <= num_classes <= 255:
            raise ValueError(f"num_classes must be 1 to 255, got {num_classes}")
        self.num_classes = num_classes
        self.ignore = ignore
        self._counts = np.zeros((num_classes, num_classes + 1), dtype=np.int64)

    def update(self, truth: npt.NDArray[Any], prediction: npt.NDArray[Any]) -> None:
        """Add integer class ids of equal shape; pixels where ``truth`` is ``ignore`` are left out.

        Raises:
            ValueError: shapes differ, or an id is neither below ``num_classes`` nor ``ignore``.
        """
        if truth.shape != prediction.shape:
            raise ValueError(
                f"truth is {truth.shape} but prediction is {prediction.shape}; resize the "
                "prediction with nearest neighbor first"
            )
        known = truth != self.ignore
        t = truth[known].astype(np.int64)
        p = prediction[known].astype(np.int64)
        for name, ids in (("truth", t), ("prediction", p)):
            bad = ids[((ids < 0) | (ids >= self.num_classes)) & (ids != self.ignore)]
            if bad.size:
                raise ValueError(
                    f"{name} holds class id {bad[0]}, allowed are 0..{self.num_classes - 1} "
                    f"and {self.ignore}"
                )
        p[p == self.ignore] = self.num_classes
        columns = self.num_classes + 1
        self._counts += np.bincount(t * columns + p, minlength=self.num_classes * columns).reshape(
            self._counts.shape
        )

    def merge(self, other: ConfusionMatrix) -> None:
        """Add another matrix's counts, for example another rank's."""
        if other._counts.shape != self._counts.shape:
            raise ValueError(f"cannot merge {other.num_classes} classes into {self.num_classes}")
        self._counts += other._counts

    @property
    def counts(self) -> npt.NDArray[np.int64]:
        """K×(K+1) pixel counts, rows truth, columns prediction, the last one "no class given"."""
        return self._counts

    @property
    def iou(self) -> npt.NDArray[np.float64]:
        """Intersection over union per class (K), NaN for a class in neither truth nor prediction.

        TP / (TP + FP + FN), PASCAL VOC.
        """
        inside = self._counts[:, : self.num_classes]
        hit = np.diag(inside).astype(np.float64)
        union = self._counts.sum(axis=1) + inside.sum(axis=0) - hit
        iou = np.full_like(hit, np.nan)
        np.divide(hit, union, out=iou, where=union > 0)
        return iou

    @property
    def miou(self) -> float:
        """Mean IoU over the classes present in the **truth**; NaN without any labeled pixel.

        A class that is only predicted lowers the others' IoU through their false negatives.
        """
        present = self._counts.sum(axis=1) > 0
        return float(self.iou[present].mean()) if present.any() else float("nan")

    @property
    def miou_all(self) -> float:
        """Mean IoU over all K classes, absent ones counted as 0 (the authors of CMX divide so)."""
        return float(np.nan_to_num(self.iou, nan=0.0).mean())

    @property
    def pixel_accuracy(self) -> float:
        """Share of labeled pixels predicted right; NaN without any."""
        total = self._counts.sum()
        return float(np.diag(self._counts).sum() / total) if total else float("nan")

    @property
    def mean_accuracy(self) -> float:
        """Mean recall over the classes present in the truth; NaN without any labeled pixel."""
        rows = self._counts.sum(axis=1)
        present = rows > 0
        recall = np.diag(self._counts)[present] / rows[present]
        return float(recall.mean()) if present.any() else float("nan")
