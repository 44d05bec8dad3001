# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The loop: learning, reasons to stop, accumulation, splits of the scores."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rgbd_seg_ros.bundle import load_network
from rgbd_seg_ros.metrics import ConfusionMatrix
from training import loop
from training.loop import Run, TrainingStopped
from training.options import UsageError
from training.settings import Settings

CPU = torch.device("cpu")
Make = Callable[..., Settings]


def train(settings: Settings) -> Run:
    run = Run(settings, CPU)
    run.train()
    return run


def test_a_run_learns_and_each_score_names_its_split(settings: Make, tmp_path: Path) -> None:
    run = Run(settings(epochs=12, log_every=3), CPU)
    results = run.train()
    events = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").open()]
    losses = [e["scalars"]["ce"] for e in events if e["event"] == "train"]
    assert losses[-1] < 0.7 * losses[0]
    assert set(results["students"]["rgb"]) == {"val", "test"}
    record = load_network(tmp_path / "run" / "best" / "rgb.safetensors").record
    assert record.training["scores"] == results["students"]["rgb"]
    assert record.training["epoch"] == results["best_epoch"]
    assert record.labels.classes == ("floor", "wall", "thing")
    assert json.loads((tmp_path / "run" / "results.json").read_text()) == results


def test_the_test_split_is_opened_once_and_last(
    settings: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    original = loop.open_split

    def spy(config: Any, split: Any) -> Any:
        opened.append(split)
        return original(config, split)

    monkeypatch.setattr(loop, "open_split", spy)
    train(settings(epochs=3))
    assert opened == ["train", "val", "test"]


def test_accumulation_gives_the_same_step(settings: Make, tmp_path: Path) -> None:
    """Two parts of two samples equal one of four, without batch norm and dropout."""
    weights = []
    for accumulate in (1, 2):
        run = Run(settings(accumulate=accumulate, flip=0, scales=[1], jitter=[0] * 4), CPU)
        for module in run.method.modules():  # their statistics and random numbers would differ
            if isinstance(module, torch.nn.BatchNorm2d | torch.nn.Dropout):
                module.train = lambda mode=True: None  # type: ignore[method-assign, assignment]
                module.training = False
            if type(module).__name__ == "DropPath":
                module.rate = 0.0
        # AdamW turns rounding errors of gradients near 0 into full steps; SGD shows the gradient.
        run.optimizer = torch.optim.SGD(run.method.parameters(), lr=1.0)
        run.sampler.epoch = run.sampler.start = 0
        run.method.train()
        raws = [raw for raw, _ in zip(run.loader, range(accumulate), strict=False)]
        # Every pixel is valid, so the mean of the parts' means equals the overall mean.
        for raw in raws:
            raw["labels_rgb"].clamp_(max=2)
        run.optimizer_step(raws, run.plan.shares(0, 0))
        weights.append(run.method.state_dict())
    for name, value in weights[0].items():
        torch.testing.assert_close(weights[1][name], value, rtol=1e-3, atol=1e-7, msg=name)


def test_a_nonfinite_loss_stops_the_run_and_saves_the_batch(
    settings: Make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    run = Run(settings(), CPU)
    before = {k: v.clone() for k, v in run.method.state_dict().items()}
    original = loop.to_batch

    def poisoned(*args: Any) -> Any:
        batch = original(*args)
        batch.rgb[0, 0, 0, 0] = float("nan")
        return batch

    monkeypatch.setattr(loop, "to_batch", poisoned)
    with pytest.raises(TrainingStopped, match=r"not finite at step 0.*lower lr"):
        run.train()
    saved = torch.load(tmp_path / "run" / "not_finite_step0_rank0.pt", weights_only=True)
    assert saved["parts"][0]["rgb"].shape == (4, 3, 32, 32)
    for name, parameter in run.method.named_parameters():
        assert torch.equal(parameter, before[name]), "a step was taken"


@pytest.mark.parametrize(
    "error",
    [
        torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
        RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory"),
        MemoryError(),
    ],
)
def test_running_out_of_memory_says_what_to_lower(
    settings: Make, error: BaseException, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise error

    monkeypatch.setattr(loop, "to_batch", fail)
    with pytest.raises(UsageError, match=r"out of memory with batch 4 .*raise accumulate"):
        Run(settings(sanity_batches=0), CPU).train()
    monkeypatch.undo()
    monkeypatch.setattr(loop, "score", fail)
    with pytest.raises(UsageError, match=r"while scoring: lower eval_batch \(now 16"):
        Run(settings(overwrite=True), CPU).train()


def test_other_errors_are_not_reported_as_out_of_memory(
    settings: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError("shapes do not match")

    monkeypatch.setattr(loop, "to_batch", fail)
    with pytest.raises(RuntimeError, match="shapes do not match"):
        Run(settings(), CPU).train()


def test_early_stop(settings: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run(settings(epochs=9, early_stop=2), CPU)
    same = ConfusionMatrix(3)
    same.update(np.array([0, 1, 2]), np.array([0, 1, 1]))
    monkeypatch.setattr(run, "score", lambda *_, **__: {"rgb": same})
    run.train()
    assert run.step == 3 * run.plan.steps  # the first validation is best, the next two are worse

    again = Run(settings(epochs=9, early_stop=2, resume=True), CPU)
    monkeypatch.setattr(again, "score", lambda *_, **__: {"rgb": same})
    again.train()
    assert again.step == run.step  # a resumed run remains stopped
    assert again.best == run.best

    patient = Run(settings(epochs=9, early_stop=4, resume=True), CPU)
    monkeypatch.setattr(patient, "score", lambda *_, **__: {"rgb": same})
    patient.train()
    assert patient.step == 5 * run.plan.steps


def test_overfit_trains_and_validates_on_the_same_samples(settings: Make) -> None:
    run = Run(settings(overfit=4), CPU)
    assert run.plan.samples == 4
    shown = {sample.name for batch in run.val_loader for sample in batch}
    assert shown == {run.loader.dataset.samples[i].name for i in range(4)}  # type: ignore[attr-defined]


@pytest.mark.parametrize("amp", ["bf16", "fp16"])
def test_mixed_precision_steps_and_keeps_weights_in_float32(settings: Make, amp: str) -> None:
    run = Run(settings(amp=amp), CPU)
    before = run.method.students["rgb"].decoder.classifier.weight.clone()  # type: ignore[union-attr]
    run.method.train()
    if amp == "fp16":  # with the usual 65536, it skips the first steps
        run.scaler = torch.amp.GradScaler("cpu", init_scale=1.0)
    losses = run.optimizer_step([next(iter(run.loader))], [1.0])
    assert losses["ce"].isfinite()
    after = run.method.students["rgb"].decoder.classifier.weight  # type: ignore[union-attr]
    assert after.dtype == torch.float32
    assert not torch.equal(before, after)
    assert bool(run.scaler.state_dict()) == (amp == "fp16")


def test_tensorboard_gets_scalars_and_images(settings: Make, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    train(settings(epochs=1, tensorboard=True, log_every=1))
    events = EventAccumulator(str(tmp_path / "run" / "tensorboard"))
    events.Reload()
    tags = events.Tags()
    assert {"train/ce", "train/lr", "val/rgb"} <= set(tags["scalars"])
    assert tags["images"] == ["val/0"]  # one validation sample, one image
    assert [e.step for e in events.Scalars("train/ce")] == [1, 2, 3]


def test_what_the_folder_contains_and_training_does_not_use_is_in_the_results(
    settings: Callable[..., Settings], dataset: Path, tmp_path: Path
) -> None:
    root = tmp_path / "copy"
    shutil.copytree(dataset, root)
    (root / "rgb" / "notes.docx").write_text("not an image")
    run = Run(settings(root=str(root), epochs=1), CPU)
    found = [line for line in run.train()["warnings"] if "notes.docx" in line]
    assert found == ["not read: rgb/notes.docx (the suffix .docx is not supported)"]
