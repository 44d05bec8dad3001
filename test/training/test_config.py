# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Options: recipes and flags, types and ranges, suggestions for typos, `--help` without torch."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path
from typing import Any, Literal

import pytest

from training.config import SAVED_RECIPE, RunConfig
from training.methods import METHODS, options_of
from training.options import UsageError, convert, field_types
from training.settings import resolve, to_yaml
from training.train import main, prepare_folder

ROOT = Path(__file__).resolve().parents[2]
VERBS = (
    *("train", "evaluate", "compare", "analyze", "bundle", "import_weights", "export", "prepare"),
    *("model_info", "demo"),
)


def recipe(folder: Path, text: str) -> str:
    path = folder / "recipe.yaml"
    path.write_text(text)
    return str(path)


def test_the_command_line_overrides_the_recipe(tmp_path: Path) -> None:
    path = recipe(tmp_path, "lr: 1e-4\nbatch: 2\nnetwork: cmx_b1\n")
    settings = resolve("supervised", ["--config", path, "--batch", "6", "--weight-decay=0.1"])
    assert (settings.run.lr, settings.run.batch, settings.run.weight_decay) == (1e-4, 6, 0.1)
    assert settings.options.network == "cmx_b1"
    assert settings.run.out == "runs/recipe"
    assert resolve("supervised", ["--weight_decay", "0.2"]).run.weight_decay == 0.2


def test_the_saved_recipe_repeats_the_run(tmp_path: Path) -> None:
    first = resolve("supervised", ["--size", "96x128", "--scales", "1", "--jitter", "0,0,0,0"])
    again = resolve("supervised", ["--config", recipe(tmp_path, to_yaml(first))])
    assert again == first
    assert "resume" not in to_yaml(first)


def test_resume_uses_the_saved_recipe(tmp_path: Path) -> None:
    out = str(tmp_path / "run")
    settings = resolve("supervised", ["--out", out, "--epochs", "7", "--network", "cmx_b1"])
    prepare_folder(settings)
    (tmp_path / "run" / SAVED_RECIPE).write_text(to_yaml(settings))
    again = resolve("supervised", ["--out", out, "--resume"])
    assert again == dataclasses.replace(
        settings, run=dataclasses.replace(settings.run, resume=True)
    )


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--learnin-rate", "1"], "unknown option '--learnin-rate'"),
        (["--epoch", "3"], "did you mean '--epochs'"),
        (["--colour", "1"], "unknown option '--colour' (all"),
        (["--networc", "x"], "did you mean '--network'"),
        (["5"], "unexpected argument '5'; options start with --"),
        (["--epochs", "many"], "epochs: 'many' is not a whole number"),
        (["--epochs", "0"], "epochs must be 1 or more, got 0"),
        (["--size", "100"], "size: expected 2 values"),
        (["--size", "16,16"], "size must be at least 32,32, got 16,16"),
        (["--amp", "fp32"], "amp: 'fp32' is not one of off, bf16, fp16"),
        (["--schedule", "polly"], "did you mean 'poly'"),
        (["--ema", "1"], "ema must be"),
        (["--flip", "1.5"], "flip must be from 0 to 1"),
        (["--resume", "--overwrite"], "resume must be used without overwrite"),
    ],
)
def test_mistakes_on_the_command_line(flags: list[str], message: str) -> None:
    with pytest.raises(UsageError) as error:
        resolve("supervised", flags)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("epoch: 3\n", "unknown key 'epoch'; did you mean 'epochs'"),
        ("method: crodino_kd\n", "recipe for method 'crodino_kd', not 'supervised'"),
        ("- 3\n", "must contain `key: value` lines, got list"),
        ("a: [1\n", "is not valid YAML"),
        ("lr: true\n", "lr: True is not a finite number"),
        ("lr: .inf\n", "lr: inf is not a finite number"),
        ("jitter: [0.1, 0.1, .nan, 0]\n", "jitter: nan is not a finite number"),
        ("epochs: .inf\n", "epochs: inf is not a whole number"),
        ("epochs: 2.5\n", "epochs: 2.5 is not a whole number"),
        ("network: [a]\n", "network: ['a'] is not text"),
    ],
)
def test_mistakes_in_a_recipe(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as error:
        resolve("supervised", ["--config", recipe(tmp_path, text)])
    assert message in str(error.value)


def test_a_missing_recipe() -> None:
    with pytest.raises(UsageError, match=r"cannot read nowhere\.yaml: No such file"):
        resolve("supervised", ["--config", "nowhere.yaml"])


@pytest.mark.parametrize(
    ("value", "kind", "expected"),
    [
        ("480x640", tuple[int, int], (480, 640)),
        ([480, 640], tuple[int, int], (480, 640)),
        (0.5, tuple[float, ...], (0.5,)),
        ("0.5, 1", tuple[float, ...], (0.5, 1.0)),
        ("no", bool, False),
        (False, Literal["off", "bf16"], "off"),  # YAML reads a bare `off` as False
        ("1e-5", float, 1e-5),
    ],
)
def test_values(value: Any, kind: Any, expected: Any) -> None:
    assert convert(value, kind, "key") == expected


@pytest.mark.parametrize("method", METHODS)
def test_no_key_of_a_method_is_also_a_key_of_the_run(method: str) -> None:
    assert not set(field_types(options_of(method))) & set(field_types(RunConfig))


@pytest.mark.parametrize("method", METHODS)
def test_help_of_a_method_lists_every_option(
    method: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main([method, "--help"])
    assert ended.value.code == 0
    text = capsys.readouterr().out
    for name in (*field_types(options_of(method)), *field_types(RunConfig)):
        assert f"--{name.replace('_', '-')}" in text


@pytest.mark.parametrize("verb", VERBS)
def test_help_needs_no_torch(verb: str) -> None:
    code = (
        f"import sys\nfrom training.{verb} import main\ntry: main(['--help'])\n"
        "except SystemExit: pass\nsys.exit('torch' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "usage: " in done.stdout


def test_a_folder_that_holds_a_run_is_not_overwritten_by_accident(tmp_path: Path) -> None:
    settings = resolve("supervised", ["--out", str(tmp_path / "run")])
    prepare_folder(settings)
    prepare_folder(settings)  # nothing has started yet
    checkpoint = tmp_path / "run" / "checkpoints" / "step_00000001"
    checkpoint.mkdir(parents=True)
    with pytest.raises(UsageError, match="already contains a run; add --resume"):
        prepare_folder(settings)
    overwrite = resolve("supervised", ["--out", str(tmp_path / "run"), "--overwrite"])
    with pytest.raises(UsageError, match="is not the folder of a run"):
        prepare_folder(overwrite)
    (tmp_path / "run" / SAVED_RECIPE).write_text(to_yaml(settings))
    prepare_folder(overwrite)
    assert not checkpoint.exists()


def test_unknown_method() -> None:
    with pytest.raises(
        UsageError, match=r"unknown method 'supervized'; did you mean 'supervised'"
    ):
        main(["supervized"])


def test_errors_are_one_line_and_exit_code_2() -> None:
    command = [sys.executable, "-m", "training.train", "supervised", "--epochs", "x"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == "error: epochs: 'x' is not a whole number\n"
