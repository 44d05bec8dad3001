# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The command line: help without importing torch, one-line errors, exit codes."""

from __future__ import annotations

import argparse
import importlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from rgbd_seg_ros import cli
from rgbd_seg_ros.command_line import noted_interrupt, one_line, unknown_option

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


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["reply"], "unknown command 'reply'; did you mean 'replay'?"),
        (["replay", "--engin-latency", "3"], "did you mean '--engine-latency'?"),
        (["replay", "x", "--jsom"], "did you mean '--json'?"),
        (["predict", "--otu=y"], "unknown option '--otu'; did you mean '--out'?"),
        (["predict", "-json"], "unknown option '-json'; did you mean '--json'?"),
        (["--hepl"], "did you mean '--help'?"),
        (["doctor", "--qqqqqq"], "unknown option '--qqqqqq' (all: rgbd_seg doctor --help)"),
    ],
)
def test_an_unknown_word_is_answered_with_the_nearest(words, message: str, capsys) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(SystemExit) as caught:
        cli.main(words)
    assert caught.value.code == 2
    assert message in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize(
    "words",
    [
        ["--number", "-1.5"],
        ["--number", "-.5"],
        ["--num", "3"],
        ["--number=-1"],
        ["-q"],
        ["-q5"],
        ["--", "--unknown"],
        ["-"],
    ],
)
def test_what_argparse_accepts_is_no_unknown_option(words: list[str]) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--number", type=float)
    parser.add_argument("-q", "--quiet", nargs="?")
    parser.add_argument("rest", nargs="*")
    parser.parse_args(words)
    assert unknown_option(parser, words) is None


@pytest.mark.parametrize(("allowed", "found"), [(True, False), (False, True)])
def test_an_abbreviation_is_unknown_if_the_parser_forbids_it(allowed: bool, found: bool) -> None:
    parser = argparse.ArgumentParser(prog="p", allow_abbrev=allowed)
    parser.add_argument("--number")
    message = unknown_option(parser, ["--num=3"])
    expected = "unknown option '--num'; did you mean '--number'? (all: p --help)"
    assert message == (expected if found else None)


def test_an_endless_message_is_cut() -> None:
    assert one_line("a\n  b") == "a b"
    assert len(one_line("x" * 10**6)) == 1000


SIGINT_ITSELF = "import signal\nsignal.raise_signal(signal.SIGINT)\n"
SWALLOWS_IT = f"""
try:
    {SIGINT_ITSELF.replace(chr(10), chr(10) + "    ")}
except BaseException as error:
    raise ImportError("numpy.core.multiarray failed to import") from error
"""


@pytest.mark.parametrize("code", [SIGINT_ITSELF, SWALLOWS_IT], ids=["raised", "swallowed"])
@pytest.mark.parametrize(
    ("module", "command"),
    [
        ("cv2", ["rgbd_seg_ros.cli", "predict", "--help"]),
        ("yaml", ["rgbd_seg_ros.cli", "replay", "x", "--set", "max_wait_ms=1"]),
    ],
)
def test_ctrl_c_while_modules_are_imported(
    module: str, command: list[str], code: str, tmp_path: Path
) -> None:
    (tmp_path / f"{module}.py").write_text(code)
    done = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 130, done.stderr
    assert done.stderr.splitlines() == ["interrupted"]


def test_ctrl_c_while_a_training_verb_is_imported(tmp_path: Path) -> None:
    (tmp_path / "argparse.py").write_text(SIGINT_ITSELF)
    done = subprocess.run(
        [sys.executable, "-m", "training.train", "supervised"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (130, "interrupted\n")


def test_an_error_that_ctrl_c_has_become_is_ctrl_c() -> None:
    handler = signal.getsignal(signal.SIGINT)

    def press_in_c_code() -> None:
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt as error:
            raise SystemError("returned a result with an exception set") from error

    with pytest.raises(KeyboardInterrupt), noted_interrupt():
        press_in_c_code()
    assert signal.getsignal(signal.SIGINT) is handler
    with pytest.raises(SystemError), noted_interrupt():
        raise SystemError("without Ctrl-C")


def test_every_command_has_its_functions() -> None:
    for module, text in cli.COMMANDS.values():
        found = importlib.import_module(module)
        assert callable(found.add_arguments)
        assert callable(found.run)
        assert text
