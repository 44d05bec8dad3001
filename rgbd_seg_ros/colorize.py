# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Visualization: class ids as colors, overlays on the camera image, depth, legends."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from rgbd_seg_ros.labels import LabelSet

Image = npt.NDArray[np.uint8]


def colorize(labels: npt.NDArray[Any], label_set: LabelSet) -> Image:
    """H×W class ids to H×W×3 RGB; unlabeled pixels (255) become black."""
    table = np.zeros((256, 3), dtype=np.uint8)
    table[: len(label_set)] = label_set.palette
    if labels.dtype == np.uint8 and labels.ndim == 2:
        # Half the time of np.take.
        return np.asarray(cv2.LUT(cv2.merge([labels] * 3), table[None]), dtype=np.uint8)
    return np.take(table, labels, axis=0)


def overlay(
    rgb: Image, labels: npt.NDArray[Any], label_set: LabelSet, opacity: float = 0.5
) -> Image:
    """Blend class colors into an H×W×3 RGB image; unlabeled pixels keep the image's color.

    Raises:
        ValueError: the sizes of image and mask differ.
    """
    if rgb.shape[:2] != labels.shape:
        raise ValueError(f"the image is {rgb.shape[:2]}, but the mask is {labels.shape}")
    mixed = cv2.addWeighted(rgb, 1 - opacity, colorize(labels, label_set), opacity, 0)
    unlabeled = labels >= len(label_set)
    mixed[unlabeled] = rgb[unlabeled]
    return np.asarray(mixed, dtype=np.uint8)


def colorize_depth(depth_m: npt.NDArray[np.floating[Any]], far_m: float = 6.0) -> Image:
    """H×W meters to H×W×3 RGB: near is warm, ``far_m`` and beyond is cold, invalid is black."""
    invalid = ~np.isfinite(depth_m)
    nearness = 1.0 - np.clip(np.nan_to_num(depth_m, nan=far_m) / far_m, 0.0, 1.0)
    bgr = cv2.applyColorMap((nearness * 255).astype(np.uint8), cv2.COLORMAP_TURBO)
    rgb: Image = np.ascontiguousarray(bgr[:, :, ::-1], dtype=np.uint8)
    rgb[invalid] = 0
    return rgb


def legend(label_set: LabelSet) -> Image:
    """A column of color swatches with class names, 22·K×180×3 RGB."""
    row_height = 22
    image = np.full((row_height * len(label_set), 180, 3), 255, dtype=np.uint8)
    for class_id, (name, color) in enumerate(
        zip(label_set.classes, label_set.palette, strict=True)
    ):
        top = class_id * row_height
        image[top + 2 : top + row_height - 2, 4 : 4 + row_height] = color
        origin = (row_height + 12, top + row_height - 7)
        cv2.putText(image, name, origin, cv2.FONT_HERSHEY_SIMPLEX, 0.45, (0, 0, 0), 1, cv2.LINE_AA)
    return image
