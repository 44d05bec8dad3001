# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The loop: exact resume after a kill, what stops a run, accumulation, the split of each score."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from rgbd_seg_ros.bundle import load_network
from rgbd_seg_ros.metrics import ConfusionMatrix
from training import checkpoint, loop
from training.config import Settings
from training.loop import Run, TrainingStopped
from training.options import UsageError

ROOT = Path(__file__).resolve().parents[2]
CPU = torch.device("cpu")
Make = Callable[..., Settings]
#: Keys of the tiny run that a command line repeats as they are.
FLAGS = {"network", "width", "modality", "data", "root", "cache", "out", "workers", "tensorboard"}


def train(settings: Settings) -> Run:
    run = Run(settings, CPU)
    run.train()
    return run


def assert_same_weights(a: dict[str, Tensor], b: dict[str, Tensor]) -> None:
    assert a.keys() == b.keys()
    for name in a:
        assert torch.equal(a[name], b[name]), name


# Kills itself while it writes the optimiser state of the checkpoint of step 7, in mid-epoch.
KILLED = """
import json, os, signal, sys, torch
from training import checkpoint
from training.config import from_dict
from training.loop import Run
torch.set_num_threads(int(sys.argv[2]))
write = checkpoint._write
def write_or_die(path, data):
    if "00000007" in str(path) and path.name == "optimiser.pt":
        path.write_bytes(data[: len(data) // 2])
        os.kill(os.getpid(), signal.SIGKILL)
    write(path, data)
checkpoint._write = write_or_die
values = json.loads(sys.argv[1])
Run(from_dict(values["method"], values, "the test"), torch.device("cpu")).train()
"""


def test_a_killed_run_resumes_to_the_same_bits(settings: Make, tmp_path: Path) -> None:
    # 13 training samples in batches of 3: the last step of an epoch has a single-sample rest
    # that is left out, steps 0..3 of the second epoch are 4..7.
    keys = {
        **{"batch": 3, "epochs": 2, "checkpoint_every": 1, "ema": 0.9, "deterministic": True},
        **{"workers": 2, "accumulate": 1, "clip_norm": 1.0, "amp": "bf16", "warmup_epochs": 0.5},
    }
    whole = train(settings(**keys, out=str(tmp_path / "whole")))

    broken = settings(**keys, out=str(tmp_path / "broken"))
    command = [sys.executable, "-c", KILLED, json.dumps(broken.to_dict())]
    killed = subprocess.run([*command, str(torch.get_num_threads())], cwd=ROOT, check=False)
    assert killed.returncode == -signal.SIGKILL
    left = sorted(p.name for p in (tmp_path / "broken" / "checkpoints").iterdir())
    assert left == [".writing_00000007", "step_00000005", "step_00000006"]

    resumed = Run(settings(**keys, out=str(tmp_path / "broken"), resume=True), CPU)
    resumed.train()
    assert resumed.step == whole.step == 8
    assert_same_weights(resumed.method.state_dict(), whole.method.state_dict())
    assert whole.average is not None
    assert resumed.average is not None
    assert_same_weights(resumed.average.state, whole.average.state)
    files = [tmp_path / name / "best" / "rgb.safetensors" for name in ("whole", "broken")]
    assert files[0].read_bytes() == files[1].read_bytes()


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("epoch", [0, 2])
def test_a_validation_that_a_kill_prevented_is_made_up_for(
    settings: Make, epoch: int, moment: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """``before`` the validation, or ``after`` it, its best student written but no checkpoint."""
    keys = {"epochs": 3, "checkpoint_every": 1, "ema": 0.9}
    whole = train(settings(**keys, out=str(tmp_path / "whole")))
    validate = Run._validate

    def killed(run: Run, now: int) -> None:
        if now == epoch and moment == "before":
            raise SystemExit
        validate(run, now)
        if now == epoch:
            raise SystemExit

    monkeypatch.setattr(Run, "_validate", killed)
    with pytest.raises(SystemExit):
        train(settings(**keys))
    monkeypatch.undo()
    resumed = train(settings(**keys, resume=True))
    assert (resumed.best, resumed.stale) == (whole.best, whole.stale)
    assert (resumed.step, resumed.validated) == (whole.step, whole.validated)
    assert_same_weights(resumed.method.state_dict(), whole.method.state_dict())
    files = [tmp_path / name / "best" / "rgb.safetensors" for name in ("whole", "run")]
    assert files[0].read_bytes() == files[1].read_bytes()
    results = [json.loads((tmp_path / n / "results.json").read_text()) for n in ("whole", "run")]
    for document in results:
        assert document.pop("train_s") > 0
        document.pop("peak_memory_mb")
    assert results[0] == results[1]


@pytest.mark.parametrize("step", [1, 2])
def test_interrupt_saves_and_says_how_to_resume(
    settings: Make, step: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    whole = train(settings(out=str(tmp_path / "whole")))
    run = Run(settings(), CPU)
    original = run._step

    def step_then_signal(*args: Any) -> Any:
        losses = original(*args)
        if run.step == step:
            signal.raise_signal(signal.SIGINT)
        return losses

    monkeypatch.setattr(run, "_step", step_then_signal)
    with pytest.raises(
        TrainingStopped, match=r"saved at step .* supervised --out .* --resume"
    ) as stopped:
        run.train()
    assert stopped.value.exit_code == 130
    resumed = train(settings(resume=True))
    assert_same_weights(resumed.method.state_dict(), whole.method.state_dict())


def test_learning_works_and_each_score_says_its_split(settings: Make, tmp_path: Path) -> None:
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
    from training import results

    opened: list[str] = []
    original = loop.open_split

    def spy(config: Any, split: Any) -> Any:
        opened.append(split)
        return original(config, split)

    monkeypatch.setattr(loop, "open_split", spy)
    monkeypatch.setattr(results, "open_split", spy)
    train(settings(epochs=3))
    assert opened == ["train", "val", "test"]


def test_accumulation_gives_the_same_step(settings: Make, tmp_path: Path) -> None:
    """Two parts of two against one of four, with batch norm and dropout out of the way."""
    weights = []
    for accumulate in (1, 2):
        run = Run(settings(accumulate=accumulate, flip=0, scales=[1], jitter=[0] * 4), CPU)
        for module in run.method.modules():  # they would see other statistics and draws
            if isinstance(module, torch.nn.BatchNorm2d | torch.nn.Dropout):
                module.train = lambda mode=True: None  # type: ignore[method-assign, assignment]
                module.training = False
            if type(module).__name__ == "DropPath":
                module.rate = 0.0
        # AdamW turns rounding of a gradient near 0 into a full step; SGD shows the gradient.
        run.optimiser = torch.optim.SGD(run.method.parameters(), lr=1.0)
        run.sampler.epoch = run.sampler.start = 0
        run.method.train()
        raws = [raw for raw, _ in zip(run.loader, range(accumulate), strict=False)]
        # Every pixel valid, so that the mean of two means is the mean.
        for raw in raws:
            raw["labels_rgb"].clamp_(max=2)
        run._step(raws, run.plan.shares(0, 0))
        weights.append(run.method.state_dict())
    for name, value in weights[0].items():
        torch.testing.assert_close(weights[1][name], value, rtol=1e-3, atol=1e-7, msg=name)


def test_a_loss_that_is_not_finite_stops_and_saves_the_batch(
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
        assert torch.equal(parameter, before[name]), "no step was taken"


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
    with pytest.raises(TrainingStopped, match=r"out of memory with batch 4 .*raise accumulate"):
        Run(settings(sanity_batches=0), CPU).train()


def test_other_errors_are_not_taken_for_lack_of_memory(
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
    assert run.step == 3 * run.plan.steps  # the first is the best, two are not better

    again = Run(settings(epochs=9, early_stop=2, resume=True), CPU)
    monkeypatch.setattr(again, "score", lambda *_, **__: {"rgb": same})
    again.train()
    assert again.step == run.step  # a resume does not forget that it had stopped
    assert again.best == run.best

    patient = Run(settings(epochs=9, early_stop=4, resume=True), CPU)
    monkeypatch.setattr(patient, "score", lambda *_, **__: {"rgb": same})
    patient.train()
    assert patient.step == 5 * run.plan.steps


def test_overfit_trains_and_validates_on_the_same_few(settings: Make) -> None:
    run = Run(settings(overfit=4), CPU)
    assert run.plan.samples == 4
    shown = {sample.name for batch in run.val_loader for sample in batch}
    assert shown == {run.loader.dataset.samples[i].name for i in range(4)}  # type: ignore[attr-defined]


def test_nothing_to_resume(settings: Make) -> None:
    with pytest.raises(UsageError, match="nothing to resume"):
        Run(settings(resume=True), CPU).train()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"classes": ["floor", "wall", "ceiling"]}, "label set"),
        ({"steps_per_epoch": 99}, "99 steps per epoch"),
        ({"method": "crodino_kd"}, "method 'crodino_kd', not 'supervised'"),
    ],
)
def test_resume_of_another_run_is_refused(
    settings: Make, change: dict[str, Any], message: str, tmp_path: Path
) -> None:
    run = train(settings(epochs=1))
    state, _ = checkpoint.load_latest(tmp_path / "run") or ({}, {})
    if "method" in change:
        state["settings"]["method"] = change["method"]
    else:
        state.update(change)
    with pytest.raises(UsageError, match=message):
        checkpoint.compare(state, run.settings, run.task.labels, run.plan.steps)


def test_resume_names_what_changed(settings: Make, tmp_path: Path) -> None:
    run = train(settings(epochs=1))
    state, _ = checkpoint.load_latest(tmp_path / "run") or ({}, {})
    changed = settings(epochs=1, lr=5e-4)
    lines = checkpoint.compare(state, changed, run.task.labels, run.plan.steps)
    assert lines == ["lr 0.0005 instead of 0.001"]


def test_resume_with_other_options(settings: Make, tmp_path: Path) -> None:
    """What can change does, from then on; what cannot is refused by name."""
    first = train(settings(epochs=1))
    with pytest.raises(UsageError, match="does not fit the networks, with width 16 instead of 8"):
        Run(settings(width=16, resume=True), CPU).train()
    changed = Run(
        settings(weight_decay=0.5, betas=[0.5, 0.6], ema=0.9, amp="fp16", resume=True), CPU
    )
    changed._resume()
    assert [g["weight_decay"] for g in changed.optimiser.param_groups] == [0.5, 0.0]
    assert {g["betas"] for g in changed.optimiser.param_groups} == {(0.5, 0.6)}
    moments = [o.state_dict()["state"][0]["exp_avg"] for o in (first.optimiser, changed.optimiser)]
    assert torch.equal(*moments)
    assert changed.average is not None
    assert_same_weights(changed.average.state, first.method.state_dict())
    changed.train()
    assert changed.step == 6


def test_a_refused_start_leaves_no_run_behind(settings: Make, tmp_path: Path) -> None:
    from training.train import main

    flags = [f"--{key}={value}" for key, value in settings().to_dict().items() if key in FLAGS]
    with pytest.raises(ValueError, match="unknown device 'tpu'"):
        main(["supervised", *flags, "--device", "tpu"])
    with pytest.raises(UsageError, match=r"has no checkpoint; leave out --resume"):
        main(["supervised", *flags, "--resume"])
    assert main(["supervised", *flags, "--size=32,32", "--epochs=1"]) == 0
    with pytest.raises(UsageError, match=r"holds a run; add --resume to continue it, --overwrite"):
        main(["supervised", *flags, "--size=32,32"])
    shutil.rmtree(tmp_path / "run" / "checkpoints")
    with pytest.raises(UsageError, match=r"holds a run; add --overwrite"):
        main(["supervised", *flags, "--size=32,32"])
    with pytest.raises(UsageError, match=r"has no checkpoint; start again with --overwrite"):
        main(["supervised", *flags, "--resume"])


@pytest.mark.parametrize("amp", ["bf16", "fp16"])
def test_mixed_precision_steps_and_keeps_weights_in_float32(settings: Make, amp: str) -> None:
    run = Run(settings(amp=amp), CPU)
    before = run.method.students["rgb"].decoder.classifier.weight.clone()  # type: ignore[union-attr]
    run.method.train()
    if amp == "fp16":  # the usual 65536 makes it skip the first steps
        run.scaler = torch.amp.GradScaler("cpu", init_scale=1.0)
    losses = run._step([next(iter(run.loader))], [1.0])
    assert losses["ce"].isfinite()
    after = run.method.students["rgb"].decoder.classifier.weight  # type: ignore[union-attr]
    assert after.dtype == torch.float32
    assert not torch.equal(before, after)
    assert bool(run.scaler.state_dict()) == (amp == "fp16")


def test_a_refused_resume_leaves_the_recipe_alone(settings: Make, tmp_path: Path) -> None:
    from training.train import prepare_folder

    prepare_folder(settings(epochs=1))
    train(settings(epochs=1))
    saved = (tmp_path / "run" / "config.yaml").read_text()
    other = settings(resume=True, batch=2)
    prepare_folder(other)
    with pytest.raises(UsageError, match="steps per epoch"):
        Run(other, CPU).train()
    assert (tmp_path / "run" / "config.yaml").read_text() == saved
    longer = settings(resume=True, epochs=2)
    prepare_folder(longer)
    assert train(longer).step == 6
    assert "epochs: 2" in (tmp_path / "run" / "config.yaml").read_text()


def test_tensorboard_gets_scalars_and_pictures(settings: Make, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    train(settings(epochs=1, tensorboard=True, log_every=1))
    events = EventAccumulator(str(tmp_path / "run" / "tensorboard"))
    events.Reload()
    tags = events.Tags()
    assert {"train/ce", "train/lr", "val/rgb"} <= set(tags["scalars"])
    assert tags["images"] == ["val/0"]  # one validation sample, one picture
    assert [e.step for e in events.Scalars("train/ce")] == [1, 2, 3]
