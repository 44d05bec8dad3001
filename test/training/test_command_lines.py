# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Command lines of the training scripts: an unknown option is answered with the nearest one."""

from __future__ import annotations

import argparse
import importlib
import sys

import pytest

from training.command import run_command
from training.options import UsageError, parse_command

#: Command → words before the misspelled option, the option, and what was meant.
MISSPELLED = {
    "analyze": ([], "--overwrit", "--overwrite"),
    "bundle": ([], "--dtpye", "--dtype"),
    "compare": (["plan.yaml"], "--dry_rum", "--dry-run"),
    "demo": ([], "--sizes", "--size"),
    "evaluate": (["run"], "--multiscale", "--multi-scale"),
    "export": (["run"], "--overwritee", "--overwrite"),
    "import_weights": (["file"], "--form", "--from"),
    "model_info": ([], "--clases", "--classes"),
    "prepare": (["nyuv2"], "--sorce", "--source"),
    "train": (["supervised"], "--epoch", "--epochs"),
}


@pytest.mark.parametrize("name", MISSPELLED)
def test_an_unknown_option_is_answered_with_the_nearest(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words, option, meant = MISSPELLED[name]
    module = importlib.import_module(f"training.{name}")
    monkeypatch.setattr(sys, "argv", [name, *words, f"{option}=3"])
    assert run_command(module.main) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: unknown option ")
    assert f"; did you mean {meant!r}?" in line


def test_a_word_that_no_argument_takes_is_named() -> None:
    parser = argparse.ArgumentParser(prog="p")
    parser.add_argument("--size")
    assert parse_command(parser, ["--size", "3"]).size == "3"
    with pytest.raises(
        UsageError, match=r"unexpected argument '5'; options start with -- \(all: p"
    ):
        parse_command(parser, ["--size", "3", "5"])
