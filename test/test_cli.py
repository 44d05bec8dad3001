# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The command line: help without importing torch, one-line errors, exit codes."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

from rgbd_seg_ros import cli

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize("arguments", [[], *([name] for name in cli.COMMANDS)])
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    code = (
        "import sys, rgbd_seg_ros.cli as cli\n"
        f"try: cli.main({[*arguments, '--help']!r})\n"
        "except SystemExit as end: assert end.code == 0\n"
        "heavy = {'torch', 'rosbags', 'matplotlib'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "usage: rgbd_seg" in done.stdout
    for name in [] if arguments else cli.COMMANDS:
        assert name in done.stdout


@pytest.mark.parametrize(
    "arguments", [[], ["reply"], ["replay"], ["replay", "x", "--stamps", "y"]]
)
def test_bad_usage_is_exit_code_2(arguments: list[str], capsys) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(SystemExit) as caught:
        cli.main(arguments)
    assert caught.value.code == 2
    assert "usage:" in capsys.readouterr().err


class _Mistake(ValueError):
    """Stands for BagError and other user errors."""


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (_Mistake("bad\n  value"), 2),
        (OSError(28, "No space left"), 2),
        (ModuleNotFoundError("No module named 'torch'"), 2),
        (KeyboardInterrupt(), 130),
    ],
)
def test_errors_become_one_line_and_a_code(error, code: int, monkeypatch, capsys) -> None:  # type: ignore[no-untyped-def]
    def fail(args: object) -> int:
        raise error

    monkeypatch.setattr("rgbd_seg_ros.doctor.run", fail)
    assert cli.main(["doctor"]) == code
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("rgbd_seg doctor: ")


def test_a_package_that_a_command_imports_may_be_missing(monkeypatch, capsys) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setitem(sys.modules, "rgbd_seg_ros.predict", None)
    for words in (["predict", "--help"], ["predict", "--folder", "x", "--out", "y"]):
        assert cli.main(words) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("rgbd_seg predict: ")
        assert line.endswith("; install it, and see `rgbd_seg doctor`")


def test_a_bug_keeps_its_traceback(monkeypatch) -> None:  # type: ignore[no-untyped-def]
    def fail(args: object) -> int:
        raise ValueError("a bug")

    monkeypatch.setattr("rgbd_seg_ros.doctor.run", fail)
    with pytest.raises(ValueError, match="a bug"):
        cli.main(["doctor"])


def test_every_command_has_its_functions() -> None:
    for module, text in cli.COMMANDS.values():
        found = importlib.import_module(module)
        assert callable(found.add_arguments)
        assert callable(found.run)
        assert text
