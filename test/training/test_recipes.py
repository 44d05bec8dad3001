# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Every shipped recipe is parsed, built, and trained for one step on two small samples."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rgbd_seg_ros.bundle import NetworkRecord, save_network
from rgbd_seg_ros.labels import LabelSet
from rgbd_seg_ros.models import build
from training import loop
from training.comparison_plan import Member, read_plan
from training.config import preprocess_of
from training.data.sample import Sample
from training.loop import Run
from training.methods import options_of
from training.methods.base import Task
from training.options import field_types, read_yaml
from training.settings import Settings, from_dict, resolve

RECIPES = sorted((Path(__file__).resolve().parents[2] / "config" / "train").glob("*.yaml"))
#: Parts of network names → replacements that name the smallest encoder.
SMALL = {"resnet50": "resnet18", "r50": "r18"} | {f"_b{n}": "_b0" for n in range(1, 6)}

#: Methods with a teacher → a small teacher.
TEACHERS = {"prim_kd": "segformer_b0"} | dict.fromkeys(
    ("kd_v1", "kd_v2", "kd_net", "mgd", "proto_kd", "lad", "cad"), "acnet_r18"
)
#: Rows of the plan of CroDiNo-KD's Table 1; those of the other two datasets are the same.
PLANS = {
    name: read_plan(RECIPES[0].parents[1] / "compare" / f"{name}.yaml")
    for name in ("nyuv2", "potsdam", "midair")
}
MEMBERS = [m for row in PLANS["nyuv2"].rows.values() for m in row.members]


class Noise:
    """Four random images with a camera, in place of datasets that are not available."""

    label_set = LabelSet("noise", ("a", "b", "c"))

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> Sample:
        rng = np.random.default_rng(index)
        camera = np.array([[60, 0, 32], [0, 60, 24], [0, 0, 1]], np.float32)
        return Sample(
            rng.integers(0, 255, (48, 64, 3), dtype=np.uint8),
            rng.uniform(1, 4, (48, 64)).astype(np.float32),
            rng.integers(0, 3, (48, 64), dtype=np.uint8),
            f"noise {index}",
            camera,
            np.array([0, 1, 0], np.float32),
        )


def write_teacher(settings: Settings, path: Path) -> Path:
    """Write an untrained network in place of the recipe's teacher."""
    modality = getattr(settings.options, "teacher_modality", "rgbd")
    task = Task(Noise.label_set, preprocess_of(settings.run))
    spec = task.spec(TEACHERS[settings.method], modality)
    save_network(path, build(spec), NetworkRecord(spec, task.preprocess, task.labels, {}, ""))
    return path


def shrunk(settings: Settings, folder: Path) -> Settings:
    """The same settings with a size and networks that a test can train."""
    run = dataclasses.replace(
        settings.run, out=str(folder), size=(64, 64), batch=2, accumulate=1, workers=0, epochs=1,
        device="cpu", tensorboard=False, compile=False, warmup_epochs=0.0,
    )  # fmt: skip
    changes: dict[str, Any] = {}
    for key in field_types(type(settings.options)):
        value = getattr(settings.options, key)
        if isinstance(value, str):
            for big, small in SMALL.items():
                value = value.replace(big, small)
            changes[key] = "none" if key == "pretrained" else value
    if "width" in field_types(type(settings.options)):
        changes["width"] = 16
    if settings.method in TEACHERS:
        changes["teacher"] = str(write_teacher(settings, folder.with_suffix(".safetensors")))
    options = dataclasses.replace(settings.options, **changes)
    return dataclasses.replace(settings, run=run, options=options)


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_recipe(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = read_yaml(path)
    assert "method" in recipe, "a recipe names its method"
    settings = resolve(recipe["method"], ["--config", str(path)])
    assert isinstance(settings.options, options_of(recipe["method"]))
    train_one_step(settings, tmp_path, monkeypatch)


@pytest.mark.parametrize("member", MEMBERS, ids=lambda member: member.name)
def test_rows_of_the_papers_table(
    member: Member, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = from_dict(member.keys["method"], member.keys, member.name)
    train_one_step(settings, tmp_path, monkeypatch)


def test_the_three_datasets_have_the_same_rows() -> None:
    rows = [
        {name: (row.controls, row.teacher, len(row.members)) for name, row in plan.rows.items()}
        for plan in PLANS.values()
    ]
    assert rows[0] == rows[1] == rows[2]


def train_one_step(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "open_split", lambda *_: Noise())
    run = Run(shrunk(settings, tmp_path / "run"), torch.device("cpu"))
    run.method.train()
    raws = [next(iter(run.loader))]
    before = {k: v.clone() for k, v in run.method.state_dict().items()}
    losses = run.optimizer_step(raws, [1.0])
    assert losses
    assert all(torch.isfinite(value) for value in losses.values())
    after = run.method.state_dict()
    assert any(not torch.equal(before[k], after[k]) for k in before)
