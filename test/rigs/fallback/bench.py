# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Hand-made frames and a test bench for the core, for tests of one rule at a time."""

from __future__ import annotations

from typing import Any

import numpy as np
from rigs.fallback.scenario import DEPTH, MS, RGB

from rgbd_seg_ros.fallback import Core, CoreConfig, Job
from rgbd_seg_ros.frames import Defect, Frame, Stream

#: Start time of every test; any time above 0 would work.
T0 = 10**12


def rgb(
    stamp_ns: int,
    image: int | None = None,
    array: Any = None,
    frame_id: str = "camera",
    encoding: str = "rgb8",
    **other: Any,
) -> Frame:
    """A usable color frame; every stamp has a different image unless ``image`` is given."""
    if array is None:
        array = RGB[(stamp_ns // MS if image is None else image) % len(RGB)]
    return Frame(array, stamp_ns, frame_id, encoding, **other)


def depth(
    stamp_ns: int,
    image: int | None = None,
    array: Any = None,
    frame_id: str = "camera",
    encoding: str = "16UC1",
    **other: Any,
) -> Frame:
    """A usable depth frame."""
    if array is None:
        array = DEPTH[(stamp_ns // MS if image is None else image) % len(DEPTH)]
    return Frame(array, stamp_ns, frame_id, encoding, **other)


def black(stamp_ns: int) -> Frame:
    """An unusable color frame."""
    return rgb(stamp_ns, array=np.zeros((8, 8, 3), np.uint8))


def hole(stamp_ns: int) -> Frame:
    """An unusable depth frame."""
    return depth(stamp_ns, array=np.zeros((8, 8), np.uint16))


class Bench:
    """A core with an always-free engine and a clock (ms since T0) that ticks at every deadline."""

    def __init__(self, core: Core | None = None, **config: Any) -> None:
        self.core = core or Core(CoreConfig(**config))
        self.ms = 0.0
        #: (ms of the decision, job) in order.
        self.jobs: list[tuple[float, Job]] = []

    @property
    def now(self) -> int:
        return T0 + round(self.ms * MS)

    @property
    def networks(self) -> list[str]:
        """Networks of the jobs so far."""
        return [job.network for _, job in self.jobs]

    def take(self) -> None:
        """Take all pending jobs."""
        while job := self.core.next_job(self.now):
            self.jobs.append((self.ms, job))

    def to(self, ms: float) -> Bench:
        """Advance the time to ``ms``."""
        while (due := self.core.next_deadline(self.now)) is not None and due <= T0 + ms * MS:
            self.ms = (due - T0) / MS
            self.core.tick(due)
            self.take()
        self.ms = ms
        return self

    def offer(self, stream: Stream, item: Frame | Defect, at: float | None = None) -> Bench:
        """Offer a message, at ``at`` ms if given."""
        if at is not None:
            self.to(at)
        self.core.offer(stream, item, self.now)
        self.take()
        return self

    def rgb(self, stamp: float, lag: float = 0, **frame: Any) -> Bench:
        """Offer a color frame stamped ``stamp`` ms that arrives ``lag`` ms later."""
        return self.offer("rgb", rgb(T0 + round(stamp * MS), **frame), stamp + lag)

    def depth(self, stamp: float, lag: float = 0, **frame: Any) -> Bench:
        """Offer a depth frame."""
        return self.offer("depth", depth(T0 + round(stamp * MS), **frame), stamp + lag)

    def raw(self, stamp: float, lag: float = 0, **frame: Any) -> Bench:
        """Offer a frame of raw depth."""
        frame = {"frame_id": "raw", **frame}
        return self.offer("depth_raw", depth(T0 + round(stamp * MS), **frame), stamp + lag)

    def both(self, begin: float, end: float, period: float = 40, lag: float = 0) -> Bench:
        """Offer color and depth in [begin, end), depth ``lag`` ms after color."""
        events = [(t, self.rgb, t, 0.0) for t in np.arange(begin, end, period)]
        events += [(t + lag, self.depth, t, lag) for t in np.arange(begin, end, period)]
        for _, send, stamp, late in sorted(events, key=lambda e: e[0]):
            send(float(stamp), late)
        return self
