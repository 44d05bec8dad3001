# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The sheet that compares bundles: its rows, and the options that it passes on."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from benchmarks import overlays
from rgbd_seg_ros.bundle import Bundle, save_bundle
from rgbd_seg_ros.colorize import legend


def test_each_frame_has_a_row_for_each_bundle(
    tiny_bundle: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle, images = save_bundle(tmp_path / "bundle", tiny_bundle, torch.float32), tmp_path / "i"
    rng = np.random.default_rng(0)
    for kind in ("rgb", "depth"):
        (images / kind).mkdir(parents=True)
    for name in ("a", "b", "c"):
        color = rng.integers(0, 255, (60, 80, 3), np.uint8)
        cv2.imwrite(str(images / "rgb" / f"{name}.png"), color)
        ticks = rng.integers(10_000, 20_000, (60, 80)).astype(np.uint16)
        cv2.imwrite(str(images / "depth" / f"{name}.png"), ticks)
    files = [str(bundle), str(bundle), "--folder", str(images), "--out", str(tmp_path / "s.png")]
    overlays.main([*files, "--every", "2", "--width", "40", "--depth-scale", "0.0002"])
    sheet = cv2.imread(str(tmp_path / "s.png"))
    classes = legend(tiny_bundle.labels)
    height, width = 30 + overlays.GAP_PX, 40 + overlays.GAP_PX
    rows = 2 * 2  # of the frames a and c
    assert sheet.shape == (max(rows * height, len(classes)), 5 * width + classes.shape[1], 3)
    first, second, third = (sheet[i * height : (i + 1) * height, : 5 * width] for i in range(3))
    np.testing.assert_array_equal(first, second)
    assert (first != third).any()
    assert "depth is read with 0.0002 m per unit" in capsys.readouterr().err
