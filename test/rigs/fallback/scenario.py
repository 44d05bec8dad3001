# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Schedules: what sensors, clock, engine and user do in a few seconds of simulated time.

A :class:`Plan` is a compact description; :func:`messages` and :class:`Clock` make events of it,
with a label on every message that says what is wrong with it. "True" time runs evenly from 0;
the clock that the core is told may step, stand still or read 0.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from rgbd_seg_ros.frames import Defect, Frame, Intrinsics, Stream

MS, S = 10**6, 10**9
#: The core's clock at true time 0.
EPOCH_NS = 1_000 * S
POOL = 64
_rng = np.random.default_rng(2026)

#: Pictures by stream and kind; those of a list differ from each other.
RGB = list(_rng.integers(0, 256, (POOL, 8, 8, 3), dtype=np.uint8))
DEPTH = list(_rng.integers(500, 5000, (POOL, 8, 8), dtype=np.uint16))
DEPTH_M = [(d / np.float32(1000)).astype(np.float32) for d in DEPTH]
BAD_RGB: dict[str, np.ndarray[Any, Any]] = {
    "black": np.zeros((8, 8, 3), np.uint8),
    "saturated": np.full((8, 8, 3), 255, np.uint8),
    "uniform": np.full((8, 8, 3), 90, np.uint8),
}
BAD_DEPTH: dict[str, np.ndarray[Any, Any]] = {
    "no_depth": np.zeros((8, 8), np.uint16),
    "constant_depth": np.full((8, 8), 1234, np.uint16),
    "depth_units": (DEPTH[0] // 200).astype(np.uint16),
}
#: Arrays that no converter should make: malformed, for either stream.
ODD: list[np.ndarray[Any, Any]] = [
    np.zeros((0, 8, 3), np.uint8), np.zeros((0, 0), np.uint16), np.zeros(5, np.uint8),
    np.array(3), np.zeros((8, 8, 4), np.uint8), np.zeros((8, 8, 3), np.float32),
    np.zeros((8, 8), np.int64), np.zeros((8, 8), ">u2"), np.zeros((2, 3, 4, 5), np.uint8),
]  # fmt: skip
INTRINSICS = Intrinsics(10, 10, 3.5, 3.5, 8, 8)

#: What may happen to a stream for a while.
FAULTS = (
    "drop", "freeze", "picture", "malformed", "odd", "stale", "future", "duplicate", "resize",
    "encoding", "flap", "some_dropped", "some_bad", "slower", "burst", "frame_id",
)  # fmt: skip


@dataclass(frozen=True)
class Sensor:
    """One stream when all is well."""

    rate_hz: float
    #: Deviation of stamps, share of the period, uniform.
    jitter: float = 0.0
    #: Share of the period by which its stamps are shifted.
    phase: float = 0.0
    #: PendingFrame minus stamp, its jitter (uniform), and its growth per second.
    lag_ms: float = 5.0
    lag_jitter_ms: float = 0.0
    lag_growth_ms: float = 0.0
    #: Added to the lag from the middle of the schedule on.
    lag_jump_ms: float = 0.0


@dataclass(frozen=True)
class Fault:
    """Something wrong with one stream from ``begin_s`` on."""

    stream: Stream
    kind: str
    begin_s: float
    length_s: float


@dataclass(frozen=True)
class Plan:
    """A whole schedule."""

    seed: int
    duration_s: float
    sensors: dict[Stream, Sensor]
    faults: tuple[Fault, ...] = ()
    #: (true time, step): steps of the clock, seconds.
    steps: tuple[tuple[float, float], ...] = ()
    #: (true time, length): the clock stands, and sensors with it.
    pauses: tuple[tuple[float, float], ...] = ()
    #: The clock reads 0 until then.
    zero_s: float = 0.0
    #: (true time, length): the process sleeps; messages queue up.
    stalls: tuple[tuple[float, float], ...] = ()
    #: Every tick comes so much too late.
    tick_late_ms: float = 0.0
    engine_ms: float = 0.0
    #: (true time, "disable" | "enable" | "force rgb" | … | "reset").
    actions: tuple[tuple[float, str], ...] = ()
    #: Of the core's config.
    config: dict[str, Any] = field(default_factory=dict)
    networks: tuple[str, ...] = ("rgbd", "rgb", "depth")
    need_intrinsics: tuple[str, ...] = ()
    #: How depth shows that it is registered: "frame_id", "intrinsics", or "" for not at all.
    registered: str = "frame_id"
    float_depth: bool = False


@dataclass(frozen=True, eq=False)
class Message:
    """A message, and the truth about it."""

    stream: Stream
    item: Frame | Defect
    #: What is wrong with the picture itself; empty if nothing.
    label: str
    #: Which picture it is: equal numbers in a row are a frozen camera.
    picture: int


class Clock:
    """The clock that the core is told, as a function of true time, both in ns."""

    def __init__(self, plan: Plan) -> None:
        self._steps = [(round(t * S), round(step * S)) for t, step in plan.steps]
        self.pauses = [(round(t * S), round((t + length) * S)) for t, length in plan.pauses]
        self._zero_ns = round(plan.zero_s * S)
        #: True times at which the clock does not run evenly.
        self.breaks = sorted(
            [t for t, _ in self._steps]
            + [t for pause in self.pauses for t in pause]
            + ([self._zero_ns] if self._zero_ns else [])
        )

    def now(self, true_ns: int) -> int:
        """What the clock reads."""
        if true_ns < self._zero_ns:
            return 0
        now_ns = EPOCH_NS + true_ns + sum(step for t, step in self._steps if t <= true_ns)
        return now_ns - sum(
            min(true_ns, end) - begin for begin, end in self.pauses if begin < true_ns
        )

    def runs(self, true_ns: int) -> bool:
        """Does it move at this time?"""
        paused = any(begin <= true_ns < end for begin, end in self.pauses)
        return true_ns >= self._zero_ns and not paused


def messages(plan: Plan, clock: Clock) -> list[tuple[int, Message]]:
    """(true time of arrival, message) in order of arrival."""
    rng = np.random.default_rng(plan.seed)
    found: list[tuple[int, int, Message]] = []
    for stream, sensor in plan.sensors.items():
        faults = [f for f in plan.faults if f.stream == stream]
        _stream(found, plan, clock, stream, sensor, faults, rng)
    found.sort(key=lambda entry: entry[:2])
    return [(arrival, message) for arrival, _, message in found]


def _stream(
    found: list[tuple[int, int, Message]],
    plan: Plan,
    clock: Clock,
    stream: Stream,
    sensor: Sensor,
    faults: list[Fault],
    rng: np.random.Generator,
) -> None:
    period_s = 1 / sensor.rate_hz
    bad = BAD_RGB if stream == "rgb" else BAD_DEPTH
    bad_kind = str(rng.choice(list(bad)))
    odd = ODD[rng.integers(len(ODD))]
    arrived_ns = 0
    begin_s = sensor.phase * period_s
    for index in range(int((plan.duration_s - begin_s) * sensor.rate_hz) + 1):
        jitter, lag_jitter, chance = rng.random(3)
        t_s = begin_s + (index + (jitter - 0.5) * sensor.jitter) * period_s
        true_ns = max(round(t_s * S), 0)
        kinds = {f.kind for f in faults if f.begin_s <= t_s < f.begin_s + f.length_s}
        if any(begin <= true_ns < end for begin, end in clock.pauses):
            continue
        if "drop" in kinds or ("some_dropped" in kinds and chance < 0.3):
            continue
        if "slower" in kinds and index % 3:
            continue
        first_s = next((f.begin_s for f in faults if f.kind == "flap"), 0.0)
        if "flap" in kinds and (t_s - first_s) % 1.0 < 0.3:
            continue
        message = _message(plan, clock, stream, true_ns, index, kinds, chance, bad, bad_kind, odd)
        lag_ms = sensor.lag_jump_ms if t_s > plan.duration_s / 2 else 0.0
        lag_ms += sensor.lag_ms + sensor.lag_jitter_ms * lag_jitter + sensor.lag_growth_ms * t_s
        arrival_ns = true_ns + round(lag_ms * MS)
        if "burst" in kinds:
            arrival_ns = (arrival_ns // (150 * MS) + 1) * 150 * MS
        # A transport keeps the order of one stream.
        arrived_ns = max(arrived_ns, arrival_ns)
        copies = 2 if "duplicate" in kinds else 1
        found.extend((arrived_ns, len(found) + i, message) for i in range(copies))


def _message(
    plan: Plan,
    clock: Clock,
    stream: Stream,
    true_ns: int,
    index: int,
    kinds: set[str],
    chance: float,
    bad: dict[str, np.ndarray[Any, Any]],
    bad_kind: str,
    odd: np.ndarray[Any, Any],
) -> Message:
    stamp_ns = clock.now(true_ns)
    if "stale" in kinds:
        stamp_ns -= 5 * S
    if "future" in kinds:
        stamp_ns += 3 * S
    if "malformed" in kinds:
        defect = Defect("malformed", "truncated", stamp_ns if index % 2 else None)
        return Message(stream, defect, "malformed", -1)
    picture = 0 if "freeze" in kinds else index % POOL
    label = ""
    pool = RGB if stream == "rgb" else DEPTH_M if plan.float_depth else DEPTH
    array = pool[picture]
    encoding = "rgb8" if stream == "rgb" else "32FC1" if plan.float_depth else "16UC1"
    if "picture" in kinds or ("some_bad" in kinds and chance < 0.25):
        array, label = bad[bad_kind], bad_kind
        if plan.float_depth and stream != "rgb":
            array = (array / np.float32(1000)).astype(np.float32)
    if "odd" in kinds:
        array, label = odd, "malformed"
    if "resize" in kinds and label != "malformed":
        array = array[:6]
    if "encoding" in kinds and label != "malformed":
        encoding = "bgr8" if stream == "rgb" else "mono16"
    frame_id = "camera"
    if "frame_id" in kinds or (stream != "rgb" and plan.registered != "frame_id"):
        frame_id = f"{stream}_optical"
    infos = plan.registered == "intrinsics" or bool(plan.need_intrinsics and plan.seed % 2)
    frame = Frame(array, stamp_ns, frame_id, encoding, INTRINSICS if infos else None)
    return Message(stream, frame, label, picture)
