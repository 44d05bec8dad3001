# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Two gloo processes match one with the same global batch: gathers, batch norm, whole steps."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from rgbd_seg_ros.bundle import NetworkRecord, save_network
from rgbd_seg_ros.labels import LabelSet
from rgbd_seg_ros.models import build
from rgbd_seg_ros.preprocess import Preprocess
from training import distributed
from training.batch import Batch
from training.loop import Run
from training.methods import method_class, options_of
from training.methods.base import Task
from training.methods.losses import SegmentationLoss
from training.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
CPU = torch.device("cpu")

#: Runs on every rank; `share` splits a global batch unevenly, like a last batch.
WORKER = """
import importlib.util, json, sys, torch
spec = importlib.util.spec_from_file_location("checks", sys.argv[1])
checks = importlib.util.module_from_spec(spec); spec.loader.exec_module(checks)
from training import distributed
from training.settings import from_dict
values = json.loads(sys.argv[2])
torch.set_num_threads(1)
with distributed.process_group("cpu") as device:
    result = {
        "contrast": checks.contrast(checks.share),
        "norm": checks.norm(checks.share),
        "taught": checks.taught(checks.share),
        "losses": checks.losses(checks.share),
        "steps": checks.steps(from_dict("supervised", values, "the test")),
        "rank": distributed.rank(),
    }
    torch.save(result, sys.argv[3] + str(distributed.rank()))
"""


def share(rows: Tensor) -> Tensor:
    """This rank's part of a global batch: 3 and 2 of 5."""
    return rows if distributed.world_size() == 1 else rows.tensor_split([3])[distributed.rank()]


def averaged(parameters: Any) -> list[Tensor]:
    """Gradients as DDP leaves them: the mean over the ranks."""
    grads = [p.grad.clone() for p in parameters]
    if distributed.world_size() > 1:
        for grad in grads:
            torch.distributed.all_reduce(grad)
            grad /= distributed.world_size()
    return grads


def contrast(cut: Callable[[Tensor], Tensor]) -> list[Tensor]:
    """CroDiNo-KD's contrastive loss, in which each anchor sees all rows of the global batch."""
    from training.methods.crodino_kd import contrastive

    torch.manual_seed(1)
    net, rgb, depth = nn.Linear(4, 3), torch.randn(5, 4), torch.randn(5, 4)
    total = contrastive(net(cut(rgb)), net(cut(depth)), tau=0.5)
    total.backward()
    mean = total.detach().clone()
    if distributed.world_size() > 1:
        torch.distributed.all_reduce(mean)
        mean /= distributed.world_size()
    return [mean, *averaged(net.parameters())]


def norm(cut: Callable[[Tensor], Tensor]) -> list[Tensor]:
    """Batch norm between two convolutions: running statistics and gradients."""
    torch.manual_seed(2)
    net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 2, 1))
    distributed.sync_batch_norm(net, CPU)
    images, weights = torch.randn(5, 3, 6, 7) * 3 + 5, torch.randn(5, 2, 6, 7)
    loss = (net(cut(images)) * cut(weights)).sum() / 5 * distributed.world_size()
    loss.backward()
    return [*averaged(net.parameters()), net[1].running_mean, net[1].running_var]


def taught(cut: Callable[[Tensor], Tensor]) -> list[Tensor]:
    """Losses and gradients of CroDiNo-KD and PrimKD on unevenly labeled samples."""
    labels = LabelSet("three", ("a", "b", "c"))
    task = Task(labels, Preprocess((32, 32)))
    torch.manual_seed(3)
    spec = task.spec("segformer_b0", "rgb", width=8)
    truth = torch.randint(0, 3, (5, 32, 32))
    truth[0, :20] = 255
    batch = Batch(cut(torch.randn(5, 3, 32, 32)), cut(torch.randn(5, 1, 32, 32)),
                  dict.fromkeys(("rgb", "depth", "rgbd"), cut(truth)))  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rgb.safetensors"
        save_network(path, build(spec), NetworkRecord(spec, task.preprocess, labels, {}, ""))
        guided = {"network": "cmx_b0", "width": 8, "teacher": str(path), "kl_pixels": "valid"}
        chosen = [
            ("crodino_kd", {"network": "crodino_mit_b0", "width": 8}),
            ("prim_kd", guided),
            ("prim_kd", {**guided, "select": "min", "scope": "batch"}),
        ]
        methods = [method_class(name)(options_of(name)(**keys), task) for name, keys in chosen]
    found = []
    for method in methods:
        losses = torch.stack(list(method.eval()(batch).values()))
        losses.sum().backward()
        means = losses.detach().clone()
        if distributed.world_size() > 1:
            torch.distributed.all_reduce(means)
            means /= distributed.world_size()
        found += [means, *averaged(method.parameters())]
    return found


def losses(cut: Callable[[Tensor], Tensor]) -> list[Tensor]:
    """Each kind of segmentation loss on unevenly labeled samples; the first rank has easy ones."""
    torch.manual_seed(4)
    net, images, truth = (
        nn.Conv2d(3, 4, 1),
        torch.randn(5, 3, 8, 9),
        torch.randint(0, 4, (5, 8, 9)),
    )
    images[:3] *= 0.1
    truth[0, :5] = 255
    found = []
    for options in (
        {"kind": "cross_entropy"},
        {"kind": "focal"},
        {"kind": "ohem", "ohem_threshold": 0.25},
        {"kind": "ohem", "ohem_threshold": 0.001, "ohem_min_kept": 0.3},
    ):
        loss = SegmentationLoss(**options, class_weights=(1.0, 0.5, 3.0, 2.0))
        net.zero_grad()
        value = loss(net(cut(images)), cut(truth))
        value.backward()
        mean = value.detach().clone()
        if distributed.world_size() > 1:
            torch.distributed.all_reduce(mean)
            mean /= distributed.world_size()
        found += [mean, *averaged(net.parameters())]
    return found


def steps(settings: Settings) -> dict[str, Any]:
    """Three steps of a real run, the last on a smaller batch, and a validation."""
    run = Run(settings, CPU)
    for module in run.method.modules():  # each rank would draw different numbers
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        if type(module).__name__ == "DropPath":
            module.rate = 0.0
    # AdamW turns rounding errors of gradients near 0 into full steps; SGD shows the gradient.
    run.optimizer = torch.optim.SGD(run.method.parameters(), lr=0.1)
    run.method.train()
    parts = iter(run.loader)
    sizes = []
    for step in range(run.plan.steps):
        raws = [next(parts) for _ in range(run.plan.accumulate)]
        sizes.append([len(raw["rgb"]) for raw in raws])
        run.optimizer_step(raws, run.plan.shares(0, step))
    with run.scoring() as cases:
        matrix = run.score(cases, run.val_loader)["rgb"]
    return {
        "weights": {k: v.clone() for k, v in run.method.state_dict().items()},
        "sizes": sizes,
        "counts": torch.from_numpy(matrix.counts),
        "class_weights": run.config.class_weights,
    }


@pytest.fixture(scope="module")
def values(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A run whose 13 training samples form batches of 5, 5 and 3."""
    folder = tmp_path_factory.mktemp("ranks")
    return {
        **{"network": "deeplabv3plus_mit_b0", "width": 8, "modality": "rgb", "data": "folder"},
        **{"root": str(dataset), "cache": str(folder), "out": str(folder / "run"), "batch": 5},
        **{"size": [32, 32], "epochs": 1, "workers": 0, "lr": 0.1, "schedule": "constant"},
        **{"warmup_epochs": 0, "tensorboard": False, "device": "cpu", "seed": 3},
        **{"class_weights": "inverse_log"},
    }


@pytest.fixture(scope="module")
def ranks(
    values: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> list[dict[str, Any]]:
    """Results of two processes under torchrun."""
    out = tmp_path_factory.mktemp("out")
    (out / "worker.py").write_text(WORKER)
    command = [
        *(sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"),
        *(str(out / "worker.py"), __file__, json.dumps(values), str(out / "rank")),
    ]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return [torch.load(out / f"rank{r}", weights_only=False) for r in (0, 1)]


@pytest.mark.parametrize("check", [contrast, norm, taught, losses])
def test_gathers_batch_norm_and_methods_have_the_global_gradient(
    ranks: list[dict[str, Any]], check: Callable[..., list[Tensor]]
) -> None:
    expected = check(lambda rows: rows)
    for rank in ranks:
        for ours, theirs in zip(rank[check.__name__], expected, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_two_processes_train_as_one(ranks: list[dict[str, Any]], values: dict[str, Any]) -> None:
    from training.settings import from_dict

    one = steps(from_dict("supervised", values, "the test"))
    assert one["sizes"] == [[5], [5], [3]]
    assert [r["steps"]["sizes"] for r in ranks] == [[[3], [3], [2]], [[2], [2], [1]]]
    assert len(set(one["class_weights"])) == 3
    for rank in ranks:
        assert rank["steps"]["class_weights"] == one["class_weights"]
        for name, expected in one["weights"].items():
            ours = rank["steps"]["weights"][name]
            torch.testing.assert_close(ours, expected, rtol=1e-3, atol=1e-4, msg=name)


def test_scores_cover_every_sample_once(
    ranks: list[dict[str, Any]], values: dict[str, Any]
) -> None:
    from training.settings import from_dict

    one = steps(from_dict("supervised", values, "the test"))
    for rank in ranks:
        assert rank["steps"]["counts"].sum() == one["counts"].sum()
        assert torch.equal(rank["steps"]["counts"], ranks[0]["steps"]["counts"])


def test_without_torchrun_nothing_is_distributed() -> None:
    rows = torch.randn(3, 2, requires_grad=True)
    assert distributed.gather_rows(rows) is rows
    assert distributed.first_row(3, CPU) == 0
    assert distributed.all_true([True, False], CPU) == [True, False]
    net = nn.Sequential(nn.BatchNorm2d(2))
    assert type(distributed.sync_batch_norm(net, CPU)[0]) is nn.BatchNorm2d  # type: ignore[index]
