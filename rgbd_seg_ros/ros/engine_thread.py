# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The thread that turns messages into masks: it updates the core and runs the engine."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from rclpy.clock import Clock

from rgbd_seg_ros.fallback import Core, Job
from rgbd_seg_ros.frames import Frame, Stream
from rgbd_seg_ros.gravity import Gravity
from rgbd_seg_ros.inference import ArrivalTimes, Engine, run_job
from rgbd_seg_ros.ros.convert import Converter
from rgbd_seg_ros.ros.outputs import Outputs

#: Number of frames whose arrival times are remembered.
REMEMBERED_FRAMES = 64


@dataclass(frozen=True)
class Pipeline:
    """The components, apart from the engine, that process a message while the node is active."""

    converter: Converter
    core: Core
    gravity: Gravity
    outputs: Outputs


class EngineThread:
    """Owns the engine. Takes messages from callbacks and publishes masks.

    Only this thread loads and runs the engine, so all PyTorch and CUDA calls come from
    one thread. It sleeps until a message arrives or the core's next deadline is due. While it is
    busy with a mask, the caller of :meth:`wake` updates the core in its place, so that a lost
    stream is noticed without waiting for the network.

    Args:
        clock: the node's clock; 0 until the first /clock message in simulated time.
        load: loads the engine; called in the thread.
    """

    def __init__(self, clock: Clock, load: Callable[[], Engine]) -> None:
        self._clock = clock
        self._load = load
        #: Held while the pipeline is used or replaced, but not while a network runs.
        self._lock = threading.Lock()
        self._pipeline: Pipeline | None = None
        self._wake = threading.Event()
        #: Stream, message, and its arrival on the node's clock and on the monotonic clock.
        self._inbox: deque[tuple[Stream, Any, int, int]] = deque()
        self._arrivals = ArrivalTimes(REMEMBERED_FRAMES)
        self._busy = False
        self._stopping = False
        self._loaded = threading.Event()
        self.engine: Engine | None = None
        self._load_error: Exception | None = None
        # A daemon, so that a slow network cannot keep the process from exiting.
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
        self._thread.start()

    # --- Called from other threads --------------------------------------------------------------

    def wait_loaded(self) -> Engine:
        """Block until the engine is loaded, and return it.

        Raises:
            InterruptedError: :meth:`stop` was called first.
            Exception: the error that loading raised.
        """
        self._loaded.wait()
        if self._load_error is not None:
            raise self._load_error
        if self.engine is None or self._stopping:
            raise InterruptedError("stopped while the networks were loading")
        return self.engine

    def start(self, pipeline: Pipeline) -> None:
        """Process messages from now on."""
        with self._lock:
            self._inbox.clear()
            self._arrivals = ArrivalTimes(REMEMBERED_FRAMES)
            self._pipeline = pipeline
        self._wake.set()

    def pause(self) -> None:
        """Stop processing messages; a mask that is being computed is discarded."""
        with self._lock:
            self._pipeline = None

    def stop(self, timeout_s: float) -> None:
        """End the thread; wait at most ``timeout_s`` for a mask that is being computed."""
        self.pause()
        self._stopping = True
        self._loaded.set()
        self._wake.set()
        self._thread.join(timeout_s)

    def enqueue(self, stream: Stream, message: Any, now_ns: int) -> None:
        """Enqueue a message that arrived at ``now_ns`` on the node's clock."""
        self._inbox.append((stream, message, now_ns, time.monotonic_ns()))
        self._wake.set()

    def wake(self) -> None:
        """Check for deadlines that have passed, without blocking; a timer calls it regularly."""
        if self._busy:
            self.update()
        else:
            self._wake.set()

    def update(self) -> None:
        """Process the messages that have arrived and the deadlines that have passed."""
        with self._lock:
            if self._pipeline is not None:
                self._update(self._pipeline)

    def with_core(self, action: Callable[[Core], None]) -> None:
        """Apply ``action`` to the core under the lock; does nothing while paused."""
        with self._lock:
            if self._pipeline is not None:
                action(self._pipeline.core)
        self._wake.set()

    # --- The thread -----------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            self.engine = self._load()
        # Drivers and broken installations raise all kinds of errors; wait_loaded() reraises them.
        except Exception as error:
            self._load_error = error
        self._loaded.set()
        while self.engine is not None and not self._stopping:
            self._wake.clear()
            with self._lock:
                pipeline = self._pipeline
                job, wait_s = (None, None) if pipeline is None else self._next_job(pipeline)
                self._busy = job is not None
                # Look this up first: while a slow network runs, so many messages may arrive that
                # the arrival times of this job are forgotten.
                arrival_ns = 0 if job is None else self._arrival_ns(job)
            if pipeline is None or job is None:
                self._wake.wait(wait_s)
                continue
            try:
                self._make_mask(self.engine, pipeline, job, arrival_ns)
            # A failure on one frame (out of memory, a driver fault) must not end the thread.
            except Exception as error:
                pipeline.outputs.report_error(error)
            finally:
                self._busy = False

    def _next_job(self, pipeline: Pipeline) -> tuple[Job | None, float | None]:
        """The next job or None, and the seconds until the core's next deadline."""
        self._update(pipeline)
        now_ns = self._clock.now().nanoseconds
        job = pipeline.core.next_job(now_ns)
        deadline_ns = pipeline.core.next_deadline(now_ns)
        # Exact only in real time. Simulated time may run at any speed, so there the timer that
        # calls wake() every few milliseconds notices the deadline.
        wait_s = None if deadline_ns is None else max(0.0, (deadline_ns - now_ns) / 1e9)
        return job, wait_s

    def _update(self, pipeline: Pipeline) -> None:
        """Offer every message to the core at its arrival time, then advance the core to now."""
        core = pipeline.core
        while self._inbox:
            stream, message, now_ns, arrival_ns = self._inbox.popleft()
            frame = pipeline.converter(stream, message)
            _tick_if_due(core, now_ns)
            if isinstance(frame, Frame):
                self._arrivals.add(stream, frame.stamp_ns, arrival_ns)
            core.offer(stream, frame, now_ns)
        _tick_if_due(core, self._clock.now().nanoseconds)
        pipeline.outputs.publish_changes(core)

    def _arrival_ns(self, job: Job) -> int:
        """When the last message of a job arrived, on the monotonic clock."""
        now_ns = time.monotonic_ns()
        return max(self._arrivals.of(job, lambda _: now_ns).values())

    def _make_mask(self, engine: Engine, pipeline: Pipeline, job: Job, arrival_ns: int) -> None:
        core = pipeline.core
        segmentation = run_job(engine, job, core.config, pipeline.gravity)
        with self._lock:
            if self._pipeline is pipeline:
                latency_ms = (time.monotonic_ns() - arrival_ns) / 1e6
                pipeline.outputs.publish_mask(job, segmentation, latency_ms, core.config)


def _tick_if_due(core: Core, now_ns: int) -> None:
    deadline_ns = core.next_deadline(now_ns)
    if deadline_ns is not None and deadline_ns <= now_ns:
        core.tick(now_ns)
