# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Resume: exact after a kill at any moment, with changed options, after Ctrl-C."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from rgbd_seg_ros.labels import LabelSet
from training import checkpoint
from training.loop import Run, TrainingStopped
from training.options import UsageError
from training.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
CPU = torch.device("cpu")
Make = Callable[..., Settings]
#: Keys of the tiny run that are passed unchanged as flags.
FLAGS = {"network", "width", "modality", "data", "root", "cache", "out", "workers", "tensorboard"}


def train(settings: Settings) -> Run:
    run = Run(settings, CPU)
    run.train()
    return run


def assert_same_weights(a: dict[str, Tensor], b: dict[str, Tensor]) -> None:
    assert a.keys() == b.keys()
    for name in a:
        assert torch.equal(a[name], b[name]), name


# The process kills itself in mid-epoch, while writing the optimizer state of step 7's checkpoint.
KILLED = """
import json, os, signal, sys, torch
from training import checkpoint
from training.settings import from_dict
from training.loop import Run
torch.set_num_threads(int(sys.argv[2]))
write = checkpoint.write_atomically
def write_or_die(path, data, fsync):
    if "00000007" in str(path) and path.name == "optimizer.pt":
        path.write_bytes(data[: len(data) // 2])
        os.kill(os.getpid(), signal.SIGKILL)
    write(path, data, fsync=fsync)
checkpoint.write_atomically = write_or_die
values = json.loads(sys.argv[1])
Run(from_dict(values["method"], values, "the test"), torch.device("cpu")).train()
"""


def test_a_killed_run_resumes_bit_identically(settings: Make, tmp_path: Path) -> None:
    # 13 training samples in batches of 3: the last sample of an epoch would be a batch of one and
    # is omitted, so the second epoch has steps 4..7.
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
def test_a_validation_missed_because_of_a_kill_is_run_on_resume(
    settings: Make, epoch: int, moment: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The run is killed ``before`` the validation, or ``after`` it but before the checkpoint."""
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
def test_an_interrupt_saves_and_prints_how_to_resume(
    settings: Make, step: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    whole = train(settings(out=str(tmp_path / "whole")))
    run = Run(settings(), CPU)
    original = run.optimizer_step

    def step_then_signal(*args: Any) -> Any:
        losses = original(*args)
        if run.step == step:
            signal.raise_signal(signal.SIGINT)
        return losses

    monkeypatch.setattr(run, "optimizer_step", step_then_signal)
    with pytest.raises(
        TrainingStopped, match=r"saved at step .* supervised --out .* --resume"
    ) as stopped:
        run.train()
    assert stopped.value.exit_code == 130
    resumed = train(settings(resume=True))
    assert_same_weights(resumed.method.state_dict(), whole.method.state_dict())


def test_a_second_ctrl_c_prints_how_to_resume(
    settings: Make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: Any
) -> None:
    from training.train import main

    def impatient(run: Run, epoch: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Run, "_validate", impatient)
    flags = [f"--{key}={value}" for key, value in settings().to_dict().items() if key in FLAGS]
    with pytest.raises(KeyboardInterrupt):  # nothing is saved yet
        main(["supervised", *flags, "--size=32,32"])
    flags += ["--size=32,32", "--overwrite", "--checkpoint-every=1"]
    assert main(["supervised", *flags]) == 130
    assert "interrupted; resume with: python -m training.train" in capsys.readouterr().err


def test_nothing_to_resume(settings: Make) -> None:
    with pytest.raises(UsageError, match=r"cannot resume: .* has no checkpoint"):
        Run(settings(resume=True), CPU).train()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"classes": ["floor", "wall", "cup"]}, "set: class 2 was 'cup' of 3 and is now 'thing'"),
        ({"classes": ["floor", "wall"]}, "class 2 was None of 2 and is now 'thing' of 3"),
        ({"steps_per_epoch": 99}, "99 steps per epoch"),
        ({"method": "crodino_kd"}, "method 'crodino_kd', not 'supervised'"),
    ],
)
def test_resuming_another_run_is_rejected(
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


@pytest.mark.parametrize(
    ("key", "value"),
    [("settings", [1]), ("classes", None), ("steps_per_epoch", "9"), ("step", None),
     ("validated", 1.5), ("best", []), ("stale", {}), ("train_s", "long")],
)  # fmt: skip
def test_a_checkpoint_with_a_wrong_value_is_rejected_in_one_line(
    settings: Make, key: str, value: object
) -> None:
    chosen = settings(epochs=1)
    state = {"settings": chosen.to_dict(), "classes": ["a"], "steps_per_epoch": 2, "step": 4,
             "validated": 2, "best": {}, "stale": 0, "train_s": 1.5}  # fmt: skip
    labels = LabelSet("x", ("a",))
    assert checkpoint.compare(state, chosen, labels, 2) == []
    with pytest.raises(
        UsageError, match=f"no valid {key}, but .*: delete the checkpoint"
    ) as error:
        checkpoint.compare({**state, key: value}, chosen, labels, 2)
    assert "\n" not in str(error.value)


def test_resume_reports_changed_keys(settings: Make, tmp_path: Path) -> None:
    run = train(settings(epochs=1))
    state, _ = checkpoint.load_latest(tmp_path / "run") or ({}, {})
    changed = settings(epochs=1, lr=5e-4)
    lines = checkpoint.compare(state, changed, run.task.labels, run.plan.steps)
    assert lines == ["lr 0.0005 instead of 0.001"]


def test_resume_with_other_options(settings: Make, tmp_path: Path) -> None:
    """Options that may change take effect; others are rejected by name."""
    first = train(settings(epochs=1))
    with pytest.raises(UsageError, match=r"does not fit the networks \(width 16 instead of 8\)"):
        Run(settings(width=16, resume=True), CPU).train()
    changed = Run(
        settings(weight_decay=0.5, betas=[0.5, 0.6], ema=0.9, amp="fp16", resume=True), CPU
    )
    changed._resume()
    assert [g["weight_decay"] for g in changed.optimizer.param_groups] == [0.5, 0.0]
    assert {g["betas"] for g in changed.optimizer.param_groups} == {(0.5, 0.6)}
    moments = [o.state_dict()["state"][0]["exp_avg"] for o in (first.optimizer, changed.optimizer)]
    assert torch.equal(*moments)
    assert changed.average is not None
    assert_same_weights(changed.average.state, first.method.state_dict())
    changed.train()
    assert changed.step == 6


def test_a_rejected_start_leaves_no_run_behind(settings: Make, tmp_path: Path) -> None:
    from training.train import main

    flags = [f"--{key}={value}" for key, value in settings().to_dict().items() if key in FLAGS]
    with pytest.raises(ValueError, match="unknown device 'tpu'"):
        main(["supervised", *flags, "--device", "tpu"])
    with pytest.raises(UsageError, match=r"has no checkpoint; omit --resume"):
        main(["supervised", *flags, "--resume"])
    assert main(["supervised", *flags, "--size=32,32", "--epochs=1"]) == 0
    with pytest.raises(UsageError, match=r"a run; add --resume to continue it, --overwrite"):
        main(["supervised", *flags, "--size=32,32"])
    shutil.rmtree(tmp_path / "run" / "checkpoints")
    with pytest.raises(UsageError, match=r"contains a run; add --overwrite"):
        main(["supervised", *flags, "--size=32,32"])
    with pytest.raises(UsageError, match=r"has no checkpoint; start over with --overwrite"):
        main(["supervised", *flags, "--resume"])


def test_a_rejected_resume_does_not_change_the_recipe(settings: Make, tmp_path: Path) -> None:
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
