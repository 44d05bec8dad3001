# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Progress says how far it is and what is left, and does not flood a log."""

from __future__ import annotations

import io

import pytest

from rgbd_seg_ros.replay import progress
from rgbd_seg_ros.replay.progress import Progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def clock(monkeypatch):  # type: ignore[no-untyped-def]
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_a_log_gets_a_line_now_and_then(clock) -> None:  # type: ignore[no-untyped-def]
    stream = io.StringIO()
    bar = Progress("replay", 100.0, stream)
    for second in range(1, 31):
        clock[0] = float(second)
        bar.update(second, "3 masks")
    bar.finish("done")
    assert stream.getvalue().splitlines() == [
        "replay:  10%, 1 min 30 s left, 3 masks",
        "replay:  20%, 1 min 20 s left, 3 masks",
        "replay:  30%, 1 min 10 s left, 3 masks",
        "replay: done in 30 s",
    ]


def test_a_terminal_gets_one_line_that_is_rewritten(clock) -> None:  # type: ignore[no-untyped-def]
    stream = Terminal()
    bar = Progress("replay", 10.0, stream)
    for step in range(1, 11):
        clock[0] = step / 2
        bar.update(step)
    bar.finish("done")
    assert stream.getvalue().count("\n") == 1
    assert stream.getvalue().count("\r") == 11
    assert "replay:  90%, 0 s left" in stream.getvalue()


def test_nothing_to_do_is_done(clock) -> None:  # type: ignore[no-untyped-def]
    stream = io.StringIO()
    bar = Progress("replay", 0.0, stream)
    clock[0] = 20.0
    bar.update(0.0)
    assert "100%" in stream.getvalue()
