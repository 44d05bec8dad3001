# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Fixtures: a small dataset on disk, and settings of a run that takes seconds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from training.settings import Settings, from_dict

CLASSES = ("floor", "wall", "thing")
HEIGHT, WIDTH = 48, 64


def write_triple(root: Path, name: str, seed: int) -> None:
    """Write a scene of wall, floor and box whose classes follow from color or depth alone."""
    rng = np.random.default_rng(seed)
    horizon = int(rng.integers(16, 32))
    labels = np.zeros((HEIGHT, WIDTH), np.uint8)
    labels[:horizon] = 1
    top, left = int(rng.integers(8, 28)), int(rng.integers(0, 40))
    labels[top : top + 16, left : left + 20] = 2
    palette = np.array([[120, 90, 60], [200, 200, 210], [30, 60, 200]])
    rgb = palette[labels] + rng.integers(-20, 20, (HEIGHT, WIDTH, 3))
    depth_m = np.array([2.0, 4.0, 1.2])[labels] + rng.normal(0, 0.02, labels.shape)
    depth = (depth_m * 1000).astype(np.uint16)
    depth[rng.random(labels.shape) < 0.02] = 0
    labels[:2] = 255
    for folder, image in (
        ("rgb", rgb.clip(0, 255).astype(np.uint8)[..., ::-1]),
        ("depth", depth),
        ("labels", labels),
    ):
        (root / folder).mkdir(parents=True, exist_ok=True)
        assert cv2.imwrite(str(root / folder / f"{name}.png"), image)


def make_dataset(root: Path, count: int) -> Path:
    """Write ``count`` triples and their dataset.yaml."""
    for number in range(count):
        write_triple(root, f"frame_{number:03d}", number)
    (root / "dataset.yaml").write_text(f"name: test\nclasses: [{', '.join(CLASSES)}]\n")
    return root


@pytest.fixture(scope="session")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixteen triples, shared by all tests, which must not change them."""
    return make_dataset(tmp_path_factory.mktemp("data") / "set", 16)


@pytest.fixture
def settings(dataset: Path, tmp_path: Path) -> Callable[..., Settings]:
    """Settings of a tiny supervised run, changed by keyword arguments."""

    def make(**changes: Any) -> Settings:
        values: dict[str, Any] = {
            "network": "deeplabv3plus_mit_b0",
            "width": 8,
            "modality": "rgb",
            "data": "folder",
            "root": str(dataset),
            "cache": str(tmp_path / "cache"),
            "out": str(tmp_path / "run"),
            "size": [32, 32],
            "epochs": 2,
            "batch": 4,
            "workers": 0,
            "lr": 1e-3,
            "tensorboard": False,
            "device": "cpu",
        }
        return from_dict("supervised", {**values, **changes}, "the test")

    return make


@pytest.fixture(autouse=True)
def _global_state() -> Any:
    """Restore determinism and random state, which a run sets for its whole process."""
    state = torch.get_rng_state()
    yield
    torch.use_deterministic_algorithms(False)
    torch.set_rng_state(state)
