# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Pictures for people: RGB, depth, truth and each network's mask side by side."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch

from rgbd_seg_ros.colorize import colorize, colorize_depth
from rgbd_seg_ros.engine.segmenter import decide
from rgbd_seg_ros.labels import LabelSet
from training.scoring import Predictor

Picture = npt.NDArray[np.uint8]


@torch.inference_mode()
def panel(
    item: Mapping[str, Any],
    cases: Mapping[str, Predictor],
    labels: LabelSet,
    device: torch.device,
) -> Picture:
    """One row for an item of :class:`training.data.loader.Whole`."""
    rgb, depth = item["rgb"][None].to(device), item["depth"][None].to(device)
    truth = item["labels"]
    tiles = {
        "rgb": item["rgb"].permute(1, 2, 0).numpy(),
        "depth": colorize_depth(item["depth"][0].numpy()),
        "truth": colorize(truth, labels),
    }
    for name, ask in cases.items():
        mask, _ = decide(ask(rgb, depth), truth.shape)
        tiles[f"mask {name}"] = colorize(mask[0].cpu().numpy(), labels)
    return np.concatenate([_titled(tile, title) for title, tile in tiles.items()], axis=1)


def _titled(tile: Picture, title: str) -> Picture:
    bar = np.full((18, tile.shape[1], 3), 255, dtype=np.uint8)
    cv2.putText(bar, title, (3, 13), cv2.FONT_HERSHEY_SIMPLEX, 0.4, (0, 0, 0), 1, cv2.LINE_AA)
    framed = cv2.copyMakeBorder(tile, 0, 2, 0, 2, cv2.BORDER_CONSTANT, value=(255, 255, 255))
    return np.concatenate([np.pad(bar, ((0, 0), (0, 2), (0, 0)), mode="edge"), framed], axis=0)
