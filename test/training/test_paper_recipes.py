# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The papers' recipes: every value states its source, and the full-size networks exist."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest
import torch

from rgbd_seg_ros.labels import MIDAIR13, NYU40, POTSDAM6, SUNRGBD37
from training.config import preprocess_of
from training.methods import method_class
from training.methods.base import Task
from training.options import read_yaml
from training.settings import resolve

FOLDER = Path(__file__).resolve().parents[2] / "config" / "train"
LABELS = {"nyuv2": NYU40, "sunrgbd": SUNRGBD37, "potsdam": POTSDAM6, "midair": MIDAIR13}
RECIPES = [p for p in sorted(FOLDER.glob("*.yaml")) if p.stem.split("_")[0] in LABELS]
SUPERVISED = [p for p in RECIPES if read_yaml(p)["method"] == "supervised"]


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_value_has_its_source_beside_it(path: Path) -> None:
    lines = [line for line in path.read_text().splitlines() if line and line[0] != "#"]
    assert len(lines) == len(read_yaml(path))
    assert [line for line in lines if not re.match(r"\w+: \S.* # \w", line)] == []


@pytest.mark.parametrize("path", SUPERVISED, ids=lambda path: path.stem)
def test_the_network_exists_at_its_full_size(path: Path) -> None:
    settings = resolve("supervised", ["--config", str(path)])
    options = dataclasses.replace(settings.options, pretrained="none")
    task = Task(LABELS[path.stem.split("_")[0]], preprocess_of(settings.run))
    with torch.device("meta"):  # full size without using memory
        students = method_class("supervised")(options, task).students
    spec = students[options.modality].spec
    assert (spec.num_classes, spec.depth_channels) == (
        len(task.labels), task.preprocess.depth.channels
    )  # fmt: skip
    # Published sizes, not small ones: a ResNet-50 or SegFormer-B2 with its head has over 25 M.
    assert sum(p.numel() for p in students.parameters()) > 25e6
