# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The thread that turns messages into masks: it updates the core and runs the engine."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from rclpy.clock import Clock

from rgbd_seg_ros.fallback import Core, Job
from rgbd_seg_ros.frames import STREAMS, AnyFrame, CompressedFrame, Defect, Frame, Stream
from rgbd_seg_ros.gravity import Gravity
from rgbd_seg_ros.images import to_defect
from rgbd_seg_ros.inference import ArrivalTimes, Engine, run_job
from rgbd_seg_ros.ros.convert import Converter
from rgbd_seg_ros.ros.outputs import Outputs

#: Number of frames whose arrival times are remembered.
REMEMBERED_FRAMES = 64
#: At most this many messages wait for the core; then their sender updates the core itself.
MAX_INBOX = 64
#: Pause after an error, so that a persistent one neither fills the log nor the processor.
ERROR_PAUSE_S = 0.1


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
    one thread. It sleeps until a message arrives, a frame is decoded or the core's next deadline
    is due. Each stream's frames are decoded in a thread of their own, so that a mask waits only
    for its own frames. While this thread computes a mask, the caller of :meth:`wake` updates the
    core in its place, so that a lost stream is noticed without waiting. No error of one message,
    frame or mask ends it.

    Args:
        clock: the node's clock; 0 until the first /clock message in simulated time.
        load: loads the engine; called in the thread.
        report_error: takes every error that has cost a message or a mask.
    """

    def __init__(
        self,
        clock: Clock,
        load: Callable[[], Engine],
        report_error: Callable[[Exception], None],
    ) -> None:
        self._clock = clock
        self._load = load
        self._report_error = report_error
        #: Held while the core is used or the pipeline is replaced, but not while a message is
        #: converted, a frame decoded or a network run.
        self._lock = threading.Lock()
        self._pipeline: Pipeline | None = None
        self._wake = threading.Event()
        #: Stream, frame, and its arrival on the node's clock and on the monotonic clock.
        self._inbox: deque[tuple[Stream, AnyFrame | Defect, int, int]] = deque()
        self._arrivals = ArrivalTimes(REMEMBERED_FRAMES)
        self._busy = False
        self._stopping = False
        self._loaded = threading.Event()
        self.engine: Engine | None = None
        self._load_error: Exception | None = None
        #: One for each stream, so that none waits for the images of another.
        self._decoders = {s: ThreadPoolExecutor(1, f"decode_{s}") for s in STREAMS}
        # A daemon, so that a slow network cannot keep the process from exiting.
        self._thread = threading.Thread(target=self._load_and_run, name="engine", daemon=True)
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
        for decoder in self._decoders.values():
            decoder.shutdown(wait=False, cancel_futures=True)

    def enqueue(self, stream: Stream, message: Any, now_ns: int) -> None:
        """Convert and enqueue a message that arrived at ``now_ns`` on the node's clock."""
        arrival_ns, pipeline = time.monotonic_ns(), self._pipeline
        if pipeline is None:
            return
        self._inbox.append((stream, pipeline.converter(stream, message), now_ns, arrival_ns))
        if len(self._inbox) >= MAX_INBOX:
            self.update()
        self._wake.set()

    def wake(self) -> None:
        """Check for deadlines that have passed, without blocking; a timer calls it regularly."""
        if self._loaded.is_set() and not (self._thread.is_alive() or self._stopping):
            # Nothing is known to end the thread, but without it there would be no masks.
            self._report(RuntimeError("the engine's thread ended and was started again"))
            self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
            self._thread.start()
        if self._busy:
            self.update()
        else:
            self._wake.set()

    def update(self) -> None:
        """Process the messages that have arrived and the deadlines that have passed."""
        try:
            with self._locked_pipeline() as pipeline:
                if pipeline is not None:
                    self._update(pipeline)
        # The caller is the executor, which an exception would end.
        except Exception as error:
            self._report(error)

    def with_core(self, action: Callable[[Core], None]) -> None:
        """Apply ``action`` to the core under the lock; does nothing while paused."""
        with self._lock:
            if self._pipeline is not None:
                action(self._pipeline.core)
        self._wake.set()

    # --- The thread -----------------------------------------------------------------------------

    def _load_and_run(self) -> None:
        try:
            self.engine = self._load()
        # Drivers and broken installations raise all kinds of errors; wait_loaded() reraises them.
        except Exception as error:
            self._load_error = error
        self._loaded.set()
        self._run()

    def _run(self) -> None:
        while self.engine is not None and not self._stopping:
            self._wake.clear()
            try:
                wait_s = self._work(self.engine)
            # A failure on one frame (out of memory, a driver fault) must not end the thread.
            except Exception as error:
                self._report(error)
                wait_s = ERROR_PAUSE_S
            finally:
                self._busy = False
            if wait_s != 0:
                self._wake.wait(wait_s)

    def _work(self, engine: Engine) -> float | None:
        """Begin to decode frames and compute one mask; returns the seconds until more is to do.

        0 if there may be more at once, None if only a message can change anything.
        """
        with self._locked_pipeline() as pipeline:
            if pipeline is None:
                return None
            self._update(pipeline)
            core, now_ns = pipeline.core, self._clock.now().nanoseconds
            for frame in core.next_decodes(now_ns):
                self._decoders[core.stream_of(frame)].submit(self._decode, pipeline, frame)
            job = core.next_job(now_ns)
            deadline_ns = core.next_deadline(now_ns)
            self._busy = job is not None
            # Look this up first: while a slow network runs, so many messages may arrive that
            # the arrival times of this job are forgotten.
            arrival_ns = 0 if job is None else self._arrival_ns(job)
        if job is not None:
            self._make_mask(engine, pipeline, job, arrival_ns)
            return 0
        # Exact only in real time. Simulated time may run at any speed, so there the timer that
        # calls wake() every few milliseconds notices the deadline.
        return None if deadline_ns is None else max(1e-6, (deadline_ns - now_ns) / 1e9)

    def _decode(self, pipeline: Pipeline, frame: CompressedFrame) -> None:
        """Decode a frame outside the lock, in the thread of its stream."""
        result = self._decode_one(frame)
        try:
            with self._locked_pipeline() as current:
                if current is pipeline:
                    pipeline.core.decoded(frame, result, self._clock.now().nanoseconds)
        # The executor would keep it in a future that nobody reads.
        except Exception as error:
            self._report(error)
        self._wake.set()

    def _decode_one(self, frame: CompressedFrame) -> Frame | Defect:
        try:
            return frame.decode()
        # The job of a frame that was never returned to the core would wait for ever.
        except Exception as error:
            self._report(error)
            return to_defect(error, frame.stamp_ns)

    @contextmanager
    def _locked_pipeline(self) -> Iterator[Pipeline | None]:
        """Hold the lock. After an error in the core, reset it, since its state is unknown."""
        with self._lock:
            pipeline = self._pipeline
            try:
                yield pipeline
            except Exception:
                if pipeline is not None:
                    pipeline.core.reset(self._clock.now().nanoseconds)
                raise

    def _report(self, error: Exception) -> None:
        if self._pipeline is not None:  # errors of a mask that is discarded do not matter
            self._report_error(error)

    def _update(self, pipeline: Pipeline) -> None:
        """Offer every message to the core at its arrival time, then advance the core to now."""
        core = pipeline.core
        while self._inbox:
            stream, item, now_ns, arrival_ns = self._inbox.popleft()
            _tick_if_due(core, now_ns)
            if not isinstance(item, Defect):
                self._arrivals.add(stream, item.stamp_ns, arrival_ns)
            core.offer(stream, item, now_ns)
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
            now_ns = self._clock.now().nanoseconds
            if self._pipeline is pipeline and core.accept_mask(job, now_ns):
                latency_ms = (time.monotonic_ns() - arrival_ns) / 1e6
                pipeline.outputs.publish_mask(job, segmentation, latency_ms, core.config)


def _tick_if_due(core: Core, now_ns: int) -> None:
    deadline_ns = core.next_deadline(now_ns)
    if deadline_ns is not None and deadline_ns <= now_ns:
        core.tick(now_ns)
