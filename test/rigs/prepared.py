# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Helpers for prepared datasets: read all frames back, damage files, expect one-line errors."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from training.command import run_command
from training.data.prepare.index import Record, open_prepared
from training.data.sample import SPLITS, Sample
from training.prepare import main


def prepare(dataset: str, root: Path, out: Path, *flags: str) -> int:
    """Run ``training.prepare`` and return its exit code."""
    argv = [dataset, "--source", str(root), "--out", str(out), *flags]
    return run_command(lambda: main(argv))


def frames_of(out: Path) -> Iterator[tuple[Record, Sample]]:
    """Every frame of a prepared dataset as training reads it."""
    for split in SPLITS:
        samples = open_prepared(str(out), split)
        yield from zip(samples.records, samples, strict=True)


def truncate(path: Path) -> None:
    """Cut a file in half, as an interrupted download does."""
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def assert_refused(
    prepare: Callable[[Path, Path], int],
    folder: Path,
    defect: tuple[Callable[[Path], object], str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Check that a defect in the official files in ``folder/in`` gives one line and exit code 2.

    Args:
        prepare: prepares its first argument into its second.
        folder: holds the official files in ``in``.
        defect: changes the official files; the message that follows.
        capsys: captures the message.
    """
    change, message = defect
    change(folder / "in")
    assert_one_error(prepare(folder / "in", folder / "out"), message, capsys)


def assert_one_error(code: int, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Check that the command printed one line that starts with ``error`` and returned 2."""
    assert code == 2
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error")]
    assert len(errors) == 1
    assert message in errors[0]
