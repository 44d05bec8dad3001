# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The live skin of the core: messages and time in, masks out, one thread that owns the engine."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from rgbd_seg_ros.frames import Defect, Frame, Stream
from rgbd_seg_ros.replay.runner import Engine

if TYPE_CHECKING:
    from rgbd_seg_ros.engine import Segmentation
    from rgbd_seg_ros.fallback import Core, Job

#: Arrival times of so many frames are remembered, to know how long a mask took.
REMEMBERED = 64


class LiveEngine(Engine, Protocol):
    """:class:`rgbd_seg_ros.engine.Segmenter`, or a stand-in for it."""

    @property
    def device(self) -> object: ...
    @property
    def memory_mb(self) -> float | None: ...


@dataclass(frozen=True)
class Skin:
    """What the node lends to :class:`Live`; called from the engine's thread or the watchdog."""

    #: ROS time, nanoseconds; 0 before the first /clock of a simulation.
    now_ns: Callable[[], int]
    #: A message as it came to a Frame, or to the Defect that says why not.
    convert: Callable[[Stream, Any], Frame | Defect]
    #: One job on the engine.
    segment: Callable[[LiveEngine, Job], Segmentation]
    #: A finished mask and its milliseconds since the last of its messages arrived.
    on_mask: Callable[[Job, Segmentation, float], None]
    #: After every change of the core, under its lock: publish the mode if it changed.
    on_change: Callable[[Core], None]
    #: An exception of the engine.
    on_error: Callable[[Exception], None]


class Live:
    """Runs one core. ``store`` is for callbacks, ``nudge`` for the watchdog; both return at once.

    The thread is born with the engine and dies with it, so everything of torch and CUDA happens
    in one thread. It waits for messages, or exactly until the core's next deadline. While it is
    busy with a mask, the watchdog does the deciding in its place: health never waits for a
    network.
    """

    def __init__(self, skin: Skin, build: Callable[[], LiveEngine]) -> None:
        self._skin = skin
        self._build = build
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._inbox: deque[tuple[Stream, Any, int, float]] = deque()
        self._arrived_s: OrderedDict[tuple[Stream, int], float] = OrderedDict()
        self._core: Core | None = None
        self._busy = False
        #: When the last message of the job on the engine arrived.
        self._job_arrived_s = 0.0
        self._stopping = False
        self._built = threading.Event()
        self.engine: LiveEngine | None = None
        self.error: Exception | None = None
        # A daemon: a mask that takes longer than the shutdown must not hold the process.
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
        self._thread.start()

    def wait_built(self) -> LiveEngine:
        """The engine, when it is there.

        Raises:
            InterruptedError: :meth:`stop` came first.
            Exception: whatever kept the engine from being built.
        """
        self._built.wait()
        if self.error is not None:
            raise self.error
        if self.engine is None or self._stopping:
            raise InterruptedError("stopped while the networks were loading")
        return self.engine

    def start(self, core: Core) -> None:
        """Take messages from now on."""
        with self._lock:
            self._inbox.clear()
            self._arrived_s.clear()
            self._core = core
        self._wake.set()

    def pause(self) -> None:
        """Take no more messages; a mask in the making is dropped."""
        with self._lock:
            self._core = None

    def stop(self, timeout_s: float) -> bool:
        """End the thread; False when it is still in the middle of a mask after ``timeout_s``."""
        self.pause()
        self._stopping = True
        self._built.set()
        self._wake.set()
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def store(self, stream: Stream, message: Any) -> None:
        """A message just came."""
        self._inbox.append((stream, message, self._skin.now_ns(), time.monotonic()))
        self._wake.set()

    def nudge(self) -> None:
        """Let time pass: the engine's thread decides, or the caller while that one is busy."""
        if self._busy:
            self.advance()
        else:
            self._wake.set()

    def with_core(self, action: Callable[[Core], None]) -> None:
        """Do something to the running core, between two decisions."""
        with self._lock:
            if self._core is not None:
                action(self._core)
        self._wake.set()

    def advance(self) -> None:
        """Give the core every message that came, each at its own time, and then the time."""
        with self._lock:
            if self._core is not None:
                self._advance(self._core)

    def _advance(self, core: Core) -> None:
        while self._inbox:
            stream, message, now_ns, arrived_s = self._inbox.popleft()
            frame = self._skin.convert(stream, message)
            self._tick_if_due(core, now_ns)
            if isinstance(frame, Frame):
                self._arrived_s[stream, frame.stamp_ns] = arrived_s
                if len(self._arrived_s) > REMEMBERED:
                    self._arrived_s.popitem(last=False)
            core.offer(stream, frame, now_ns)
        self._tick_if_due(core, self._skin.now_ns())
        self._skin.on_change(core)

    @staticmethod
    def _tick_if_due(core: Core, now_ns: int) -> None:
        deadline_ns = core.next_deadline(now_ns)
        if deadline_ns is not None and deadline_ns <= now_ns:
            core.tick(now_ns)

    def _run(self) -> None:
        try:
            self.engine = self._build()
        # Whatever a driver or a broken installation raises must reach the one who waits.
        except Exception as error:
            self.error = error
        self._built.set()
        while self.engine is not None and not self._stopping:
            self._wake.clear()
            job, core, wait_s = self._next()
            if job is None:
                self._wake.wait(wait_s)
                continue
            try:
                self._make(self.engine, core, job)
            # One failed mask (out of memory, a driver fault) must not end the stream of masks.
            except Exception as error:
                self._skin.on_error(error)
            finally:
                self._busy = False

    def _next(self) -> tuple[Job | None, Core | None, float | None]:
        with self._lock:
            core = self._core
            if core is None:
                return None, None, None
            self._advance(core)
            now_ns = self._skin.now_ns()
            job = core.next_job(now_ns)
            self._busy = job is not None
            if job is not None:
                # Now: while a slow mask is made, so many messages come that these are forgotten.
                self._job_arrived_s = self._arrival_s(job)
            deadline_ns = core.next_deadline(now_ns)
            # Exact on a real clock. A simulated one may run at any speed: there the watchdog,
            # which comes every few milliseconds, sees the deadline first.
            wait_s = None if deadline_ns is None else max(0.0, (deadline_ns - now_ns) / 1e9)
            return job, core, wait_s

    def _arrival_s(self, job: Job) -> float:
        depth: Stream = "depth_raw" if job.raw else "depth"
        streams: tuple[tuple[Stream, Frame | None], ...] = (("rgb", job.rgb), (depth, job.depth))
        now_s = time.monotonic()
        return max(
            self._arrived_s.get((stream, frame.stamp_ns), now_s)
            for stream, frame in streams
            if frame is not None
        )

    def _make(self, engine: LiveEngine, core: Core | None, job: Job) -> None:
        result = self._skin.segment(engine, job)
        with self._lock:
            if self._core is core:
                latency_ms = (time.monotonic() - self._job_arrived_s) * 1e3
                self._skin.on_mask(job, result, latency_ms)
