# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The second thread keeps the order, waits at the end, and passes errors on."""

from __future__ import annotations

import threading

import pytest

from rgbd_seg_ros.replay.ordered_worker import DEPTH, OrderedWorker


def test_work_is_done_in_order_by_one_other_thread() -> None:
    done: list[int] = []
    threads = set()

    def note(number: int) -> None:
        done.append(number)
        threads.add(threading.current_thread())

    with OrderedWorker() as worker:
        for number in range(100):
            worker.submit(note, number)
    assert done == list(range(100))
    assert len(threads) == 1
    assert threading.current_thread() not in threads
    assert not threads.pop().is_alive()


def test_submitting_waits_while_too_much_waits() -> None:
    started, go = threading.Event(), threading.Event()
    done: list[int] = []

    def first() -> None:
        started.set()
        go.wait(30)

    def fill(worker: OrderedWorker) -> None:
        for number in range(DEPTH + 5):
            worker.submit(done.append, number)

    with OrderedWorker() as worker:
        worker.submit(first)
        assert started.wait(30)
        filler = threading.Thread(target=fill, args=(worker,))
        filler.start()
        assert filler.is_alive()
        assert len(worker._waiting) <= DEPTH
        go.set()
        filler.join(30)
    assert done == list(range(DEPTH + 5))


def test_waiting_ends_when_all_is_done_or_has_failed() -> None:
    done: list[int] = []
    with OrderedWorker() as worker:
        worker.wait()
        for round_ in range(20):
            for number in range(DEPTH):
                worker.submit(done.append, number)
            worker.wait()
            assert done == list(range(DEPTH)) * (round_ + 1)

    def fail() -> None:
        raise ValueError("broken")

    def run() -> None:
        with OrderedWorker() as worker:
            worker.submit(fail)
            worker.wait()

    with pytest.raises(ValueError, match="broken"):
        run()


def test_an_error_ends_the_work_and_is_raised() -> None:
    done: list[int] = []
    started, go = threading.Event(), threading.Event()

    def fail() -> None:
        started.set()
        go.wait(30)
        raise OSError("the disk is full")

    def work() -> None:
        with OrderedWorker() as worker:
            worker.submit(fail)
            assert started.wait(30)
            worker.submit(done.append, 1)
            go.set()

    with pytest.raises(OSError, match="the disk is full"):
        work()
    assert done == []

    def fail_at_once() -> None:
        raise OSError("the disk is full")

    def endless() -> None:
        with OrderedWorker() as worker:
            worker.submit(fail_at_once)
            while True:  # until a submit raises the error
                worker.submit(done.append, 1)

    with pytest.raises(OSError, match="the disk is full"):
        endless()


def test_an_error_outside_abandons_what_waits() -> None:
    done: list[int] = []
    started = threading.Event()

    def first() -> None:
        started.set()
        with worker._condition:
            worker._condition.wait_for(lambda: worker._abandoned, 30)

    def interrupted() -> None:
        with worker:
            worker.submit(first)
            assert started.wait(30)
            worker.submit(done.append, 1)
            raise KeyboardInterrupt

    worker = OrderedWorker()
    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert done == []
    assert not worker._thread.is_alive()
