# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Pictures for people: RGB, depth, truth and each network's mask side by side."""

from __future__ import annotations

from collections.abc import Mapping

import cv2
import numpy as np
import numpy.typing as npt
import torch

from rgbd_seg_ros.colorize import colorize, colorize_depth
from rgbd_seg_ros.engine.inputs import decide
from rgbd_seg_ros.labels import LabelSet
from training.data.sample import Sample
from training.scoring import Predictor, stack

Picture = npt.NDArray[np.uint8]

#: Narrower tiles are enlarged until their titles fit.
MIN_WIDTH = 240


@torch.inference_mode()
def panel(
    sample: Sample, cases: Mapping[str, Predictor], labels: LabelSet, device: torch.device
) -> Picture:
    """One row: RGB, depth, truth and the mask of each case, small pictures enlarged."""
    tiles = {
        "rgb": sample.rgb,
        "depth": colorize_depth(sample.depth_m),
        "truth": colorize(sample.labels, labels),
    }
    pictures = stack([sample], device)
    for name, ask in cases.items():
        mask, _ = decide(ask(pictures), sample.labels.shape)
        tiles[f"mask: {name}"] = colorize(mask[0].cpu().numpy(), labels)
    return np.concatenate([_titled(tile, title) for title, tile in tiles.items()], axis=1)


def _titled(tile: Picture, title: str) -> Picture:
    times = -(-MIN_WIDTH // tile.shape[1])
    tile = tile.repeat(times, axis=0).repeat(times, axis=1)
    bar = np.full((18, tile.shape[1], 3), 255, dtype=np.uint8)
    cv2.putText(bar, title, (3, 13), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (0, 0, 0), 1, cv2.LINE_AA)
    column = np.concatenate([bar, tile], axis=0)
    return np.pad(column, ((0, 0), (0, 2), (0, 0)), constant_values=255)
