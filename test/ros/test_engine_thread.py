# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The engine's thread without a node: when it wakes, and what a new start forgets."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2: source /opt/ros/<distro>/setup.bash")

from rigs.engines import NetworkIdEngine
from rigs.fallback.bench import T0, depth, rgb
from rigs.fallback.scenario import MS

from rgbd_seg_ros.fallback import Core, CoreConfig, Mode
from rgbd_seg_ros.frames import CompressedFrame
from rgbd_seg_ros.ros import engine_thread
from rgbd_seg_ros.ros.engine_thread import EngineThread, Pipeline

pytestmark = pytest.mark.ros
WAIT_S = 30


class Outputs:
    """Records what the thread publishes."""

    def __init__(self) -> None:
        self.jobs: list[Any] = []
        self.modes: list[Mode] = []
        self.published = threading.Semaphore(0)

    def publish_changes(self, core: Core) -> None:
        self.modes += [change.to_mode for change in core.drain_mode_changes()]

    def publish_mask(self, job: Any, *_: Any) -> None:
        self.jobs.append(job)
        self.published.release()

    def wait(self) -> None:
        """Wait for one mask."""
        assert self.published.acquire(timeout=WAIT_S), "no mask"


class Fixture:
    """A thread with an engine that reports when it begins, and a clock that the test sets."""

    def __init__(self) -> None:
        self.now_ns = T0
        self.engine = NetworkIdEngine()
        self.began = threading.Semaphore(0)
        compute = self.engine.__class__.__call__

        class Reporting(NetworkIdEngine):
            def __call__(engine, *args: Any, **kwargs: Any) -> Any:
                self.began.release()
                return compute(engine, *args, **kwargs)

        self.engine = Reporting()
        self.errors: list[Exception] = []
        clock: Any = SimpleNamespace(now=lambda: SimpleNamespace(nanoseconds=self.now_ns))
        self.thread = EngineThread(clock, lambda: self.engine, self.errors.append)
        assert self.thread.wait_loaded() is self.engine

    def start(self, **config: Any) -> tuple[Core, Outputs]:
        """Start with a new core whose messages are the frames themselves."""
        core, outputs = Core(CoreConfig(**config)), Outputs()
        pipeline: Any = Pipeline(lambda _, message: message, core, None, outputs)  # type: ignore[arg-type]
        self.thread.start(pipeline)
        return core, outputs

    def send(self, at_ms: int = 0) -> None:
        """Send a pair of frames that are exposed and arrive at this time."""
        self.now_ns = T0 + at_ms * MS
        self.thread.enqueue("rgb", rgb(self.now_ns), self.now_ns)
        self.thread.enqueue("depth", depth(self.now_ns), self.now_ns)

    def block(self) -> None:
        """Let the engine begin a mask that ends when ``engine.may_finish`` is set."""
        self.engine.may_finish.clear()
        self.send()
        assert self.began.acquire(timeout=WAIT_S)


@pytest.fixture
def fixture() -> Iterator[Fixture]:
    made = Fixture()
    yield made
    made.engine.may_finish.set()
    made.thread.stop(WAIT_S)


def test_a_message_wakes_the_thread(fixture: Fixture, monkeypatch: pytest.MonkeyPatch) -> None:
    _, outputs = fixture.start()
    wake = fixture.thread._wake
    # Otherwise the thread would also wake at the deadline of its streams.
    monkeypatch.setattr(wake, "wait", lambda _: wake.__class__.wait(wake, 2 * WAIT_S))
    for at_ms in (0, 40, 80):
        fixture.send(at_ms)
        outputs.wait()
    assert [job.stamp_ns for job in outputs.jobs] == [T0 + at * MS for at in (0, 40, 80)]
    assert [job.network for job in outputs.jobs] == ["rgbd"] * 3


def test_a_lost_stream_is_noticed_while_the_engine_is_busy(fixture: Fixture) -> None:
    _, outputs = fixture.start()
    fixture.block()
    assert outputs.modes == [Mode.RGBD]
    fixture.now_ns = T0 + 5001 * MS  # a first message may be alone for five seconds
    fixture.thread.wake()
    assert outputs.modes == [Mode.RGBD, Mode.NO_INPUT]


def test_messages_and_masks_from_before_a_new_start_are_forgotten(fixture: Fixture) -> None:
    old_core, old = fixture.start()
    fixture.block()
    fixture.send(40)  # waits in the inbox
    core, outputs = fixture.start()
    fixture.engine.may_finish.set()
    fixture.send(80)
    outputs.wait()
    assert [job.stamp_ns for job in outputs.jobs] == [T0 + 80 * MS]
    assert core.counters.offered["rgb"] == 1
    assert old.jobs == []
    assert old_core.counters.offered["rgb"] == 1


def test_messages_while_paused_are_not_even_converted(fixture: Fixture) -> None:
    core, _ = fixture.start()
    fixture.thread.pause()
    fixture.send()
    assert not fixture.thread._inbox
    fixture.thread.update()
    assert core.counters.offered["rgb"] == 0


def test_a_persistent_error_is_tried_again_after_a_pause(
    fixture: Fixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    core, _ = fixture.start()
    waits: list[float | None] = []
    wake, tried = fixture.thread._wake, threading.Semaphore(0)

    def wait(timeout_s: float | None = None) -> bool:
        waits.append(timeout_s)
        tried.release()
        return wake.__class__.wait(wake, WAIT_S)  # until the test wakes it

    def fail(now_ns: int) -> Any:
        raise RuntimeError("planted")

    monkeypatch.setattr(wake, "wait", wait)
    monkeypatch.setattr(core, "next_job", fail)
    fixture.thread.wake()
    assert tried.acquire(timeout=WAIT_S)
    assert waits[-1] == engine_thread.ERROR_PAUSE_S
    assert [str(error) for error in fixture.errors] == ["planted"]


def test_errors_of_a_mask_that_is_discarded_are_not_reported(fixture: Fixture) -> None:
    fixture.start()
    fixture.engine.failures.append(RuntimeError("planted"))
    fixture.block()
    fixture.thread.pause()
    fixture.engine.may_finish.set()
    fixture.thread.stop(WAIT_S)
    assert fixture.errors == []


def test_color_and_depth_are_decoded_side_by_side(fixture: Fixture) -> None:
    _, outputs = fixture.start()
    both = threading.Barrier(2)

    def compressed(frame: Any) -> CompressedFrame:
        def decode() -> Any:
            both.wait(WAIT_S)  # passes only if both decode at the same time
            return frame

        return CompressedFrame(frame.size, frame.stamp_ns, frame.frame_id, decode)

    # One message wakes the thread only after both have arrived.
    with fixture.thread._lock:
        fixture.thread.enqueue("rgb", compressed(rgb(T0)), T0)
        fixture.thread.enqueue("depth", compressed(depth(T0)), T0)
    outputs.wait()
    assert outputs.jobs[0].network == "rgbd"
    assert fixture.errors == []


def test_no_mask_waits_for_a_decode_that_it_does_not_need(fixture: Fixture) -> None:
    core, outputs = fixture.start(force_network="rgb")
    began, finish = threading.Event(), threading.Event()

    def decode() -> Any:
        began.set()
        assert finish.wait(WAIT_S)
        return depth(T0)

    fixture.thread.enqueue("depth", CompressedFrame((8, 8), T0, "camera", decode), T0)
    assert began.wait(WAIT_S)
    # Neither the lock nor the engine is blocked meanwhile.
    for at_ms in (10, 50, 90):
        fixture.now_ns = T0 + at_ms * MS
        fixture.thread.enqueue("rgb", rgb(fixture.now_ns), fixture.now_ns)
        fixture.thread.update()
        outputs.wait()
    assert [job.stamp_ns for job in outputs.jobs] == [T0 + at * MS for at in (10, 50, 90)]
    assert core.counters.offered["rgb"] == 3
    finish.set()


def test_an_error_while_a_decoded_frame_is_taken_is_reported(
    fixture: Fixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    core, _ = fixture.start()
    reported = threading.Event()

    def fail(*_: Any) -> None:
        raise RuntimeError("planted")

    def report(error: Exception) -> None:
        fixture.errors.append(error)
        reported.set()

    monkeypatch.setattr(core, "decoded", fail)
    monkeypatch.setattr(fixture.thread, "_report_error", report)
    frame = CompressedFrame((8, 8), T0, "camera", lambda: rgb(T0))
    fixture.thread.enqueue("rgb", frame, T0)
    assert reported.wait(WAIT_S)
    assert [str(error) for error in fixture.errors] == ["planted"]


def test_loading_that_fails_raises_its_error_in_the_caller() -> None:
    def fail() -> Any:
        raise OSError("no such bundle")

    clock: Any = SimpleNamespace(now=lambda: SimpleNamespace(nanoseconds=T0))
    thread = EngineThread(clock, fail, lambda _: None)
    with pytest.raises(OSError, match="no such bundle"):
        thread.wait_loaded()


@pytest.fixture
def loading() -> Iterator[Callable[[], EngineThread]]:
    """A thread that loads until the test ends."""
    done = threading.Event()
    clock: Any = SimpleNamespace(now=lambda: SimpleNamespace(nanoseconds=T0))

    def load() -> Any:
        done.wait(WAIT_S)
        return NetworkIdEngine()

    yield lambda: EngineThread(clock, load, lambda _: None)
    done.set()


def test_stopping_while_loading_interrupts_the_caller(
    loading: Callable[[], EngineThread],
) -> None:
    thread = loading()
    thread.stop(0.0)
    with pytest.raises(InterruptedError, match="while the networks were loading"):
        thread.wait_loaded()
