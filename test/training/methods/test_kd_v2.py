# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""KDv2: half cross entropy, half KL to the teacher, for both students."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from rgbd_seg_ros.bundle import NetworkRecord, save_network
from rgbd_seg_ros.labels import LabelSet
from rgbd_seg_ros.models import build
from rgbd_seg_ros.preprocess import Preprocess
from training.batch import Batch
from training.methods.base import Task
from training.methods.kd_v2 import Config, KDv2
from training.methods.losses import cross_entropy, kl_divergence
from training.options import UsageError

TASK = Task(LabelSet("three", ("a", "b", "c")), Preprocess((64, 64)))


def test_losses_and_students(tmp_path: Path) -> None:
    torch.manual_seed(0)
    spec = TASK.spec("acnet_r18", "rgbd", width=8)
    path = tmp_path / "teacher.safetensors"
    save_network(path, build(spec), NetworkRecord(spec, TASK.preprocess, TASK.labels, {}, ""))
    config = Config(network="deeplabv3plus_mit_b0", width=8, teacher=str(path))
    method = KDv2(config, TASK).eval()
    labels = torch.randint(0, 3, (2, 64, 64))
    batch = Batch(torch.randn(2, 3, 64, 64), torch.randn(2, 1, 64, 64),
                  dict.fromkeys(("rgb", "depth", "rgbd"), labels))  # fmt: skip
    losses = method(batch)
    assert list(losses) == ["ce_rgb", "kl_rgb", "ce_depth", "kl_depth"]
    taught = method.teacher(batch.rgb, batch.depth).logits
    for m, image in (("rgb", batch.rgb), ("depth", batch.depth)):
        logits = method.students[m](image).logits
        torch.testing.assert_close(losses[f"ce_{m}"], cross_entropy(logits, labels) / 2)
        torch.testing.assert_close(losses[f"kl_{m}"], kl_divergence(taught, logits) / 2)
    torch.stack(list(losses.values())).sum().backward()
    assert all(p.grad is not None for p in method.parameters())
    assert all(p.grad is None for p in method.teacher.module.parameters())
    assert not any("teacher" in name for name in method.state_dict())


def test_without_a_teacher_the_error_says_how_to_train_one() -> None:
    with pytest.raises(UsageError, match="this method needs a teacher: train one with"):
        KDv2(Config(), TASK)
