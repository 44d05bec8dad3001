# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Progress bars show how much is done and how much time is left, and do not flood a log file."""

from __future__ import annotations

import io
import sys

import pytest

from rgbd_seg_ros import progress
from rgbd_seg_ros.progress import progress_bar, say


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_log_file_gets_few_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    log = io.StringIO()
    monkeypatch.setattr(sys, "stderr", log)
    with progress_bar("replay", 1000) as bar:
        for _ in range(500):
            bar.update()
        say("a warning")
        bar.update(500)
    lines = log.getvalue().splitlines()
    assert "\r" not in log.getvalue()
    assert len(lines) == 3
    assert lines[0].startswith("replay:   0%")
    assert lines[1] == "a warning"
    assert "1000/1000 [00:00<00:00" in lines[2]


def test_a_terminal_gets_one_line_that_is_rewritten(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setattr(progress, "ON_TERMINAL_S", 0)
    with progress_bar("replay", 10) as bar:
        for _ in range(10):
            bar.update()
    assert terminal.getvalue().count("\n") == 1
    assert terminal.getvalue().count("\r") > 5
    assert "replay:  90%" in terminal.getvalue()
    say("done")
    assert terminal.getvalue().endswith("\r\x1b[Kdone\n")


def test_no_work_is_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    log = io.StringIO()
    monkeypatch.setattr(sys, "stderr", log)
    with progress_bar("replay", 0):
        pass
    assert "replay" in log.getvalue()
