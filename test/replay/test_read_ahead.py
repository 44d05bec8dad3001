# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Reading ahead changes neither the items nor the masks, and keeps little in memory."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from rgbd_seg_ros.replay import replay_parts, session
from rgbd_seg_ros.replay.fault_presets import find_faults
from rgbd_seg_ros.replay.read_ahead import read_ahead


def test_items_come_in_order_from_another_thread() -> None:
    threads = set()

    def items() -> Iterator[int]:
        for number in range(100):
            threads.add(threading.current_thread())
            yield number

    assert list(read_ahead(items(), 3)) == list(range(100))
    assert len(threads) == 1
    assert threading.current_thread() not in threads
    assert not any(thread.is_alive() for thread in threads)


def test_no_more_than_the_depth_is_fetched_ahead() -> None:
    fetched = 0
    full = threading.Event()

    def items() -> Iterator[int]:
        nonlocal fetched
        for number in range(100):
            fetched += 1
            if fetched == 5:  # 1 taken, 3 that wait, and 1 in the thread's hand
                full.set()
            yield number

    with closing(read_ahead(items(), 3)) as ahead:
        assert next(ahead) == 0
        assert full.wait(30)
        assert fetched == 5
    assert fetched == 5


def test_an_error_comes_after_the_items_before_it() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise OSError("the disk is gone")

    ahead = read_ahead(items())
    assert next(ahead) == 1
    with pytest.raises(OSError, match="the disk is gone"):
        next(ahead)


def test_a_replay_computes_the_same_masks_without_reading_ahead(
    recording: Path,
    run_replay,  # type: ignore[no-untyped-def]
    monkeypatch,  # type: ignore[no-untyped-def]
) -> None:
    def summary(**options):  # type: ignore[no-untyped-def]
        found = run_replay(recording, faults=find_faults("slow-usb"), **options).summary
        return {k: v for k, v in found.items() if k not in ("speed", "run")}

    with_thread = summary()
    monkeypatch.setattr(session, "read_ahead", lambda items: (item for item in items))
    monkeypatch.setattr(replay_parts, "read_ahead", lambda items: (item for item in items))
    assert summary() == with_thread


def test_no_thread_is_left_after_an_interrupt(recording: Path, run_replay) -> None:  # type: ignore[no-untyped-def]
    before = threading.active_count()
    calls = iter(range(100))
    summary = run_replay(recording, interrupted=lambda: next(calls) > 10).summary
    assert summary["interrupted"]
    assert threading.active_count() == before
    assert summary["masks"] < 10
