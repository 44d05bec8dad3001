# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Scenarios: what sensors, clock, engine and user do in a few seconds of simulated time.

:func:`messages` and :class:`Clock` turn a compact :class:`Scenario` into events. Every message is
labeled with its defects. "True" time runs evenly from 0; the clock that the core sees
may step, stop or read 0.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from rgbd_seg_ros.frames import NS_PER_MS as MS
from rgbd_seg_ros.frames import NS_PER_S as S
from rgbd_seg_ros.frames import Defect, Frame, Intrinsics, Stream

#: The core's clock at true time 0.
EPOCH_NS = 1_000 * S
POOL = 64
_rng = np.random.default_rng(2026)

#: Usable images, each different from the others.
RGB = list(_rng.integers(0, 256, (POOL, 8, 8, 3), dtype=np.uint8))
DEPTH = list(_rng.integers(500, 5000, (POOL, 8, 8), dtype=np.uint16))
DEPTH_M = [(d / np.float32(1000)).astype(np.float32) for d in DEPTH]
#: Unusable images by the reason that health must give.
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
#: Arrays that no converter should produce: malformed for either stream.
ODD: list[np.ndarray[Any, Any]] = [
    np.zeros((0, 8, 3), np.uint8), np.zeros((0, 0), np.uint16), np.zeros(5, np.uint8),
    np.array(3), np.zeros((8, 8, 4), np.uint8), np.zeros((8, 8, 3), np.float32),
    np.zeros((8, 8), np.int64), np.zeros((8, 8), ">u2"), np.zeros((2, 3, 4, 5), np.uint8),
]  # fmt: skip
INTRINSICS = Intrinsics(10, 10, 3.5, 3.5, 8, 8)

#: Kinds of :class:`Fault`.
FAULTS = (
    "drop", "freeze", "bad_image", "malformed", "odd", "stale", "future", "duplicate", "resize",
    "encoding", "flap", "some_dropped", "some_bad", "slower", "burst", "frame_id",
)  # fmt: skip


@dataclass(frozen=True)
class Sensor:
    """A healthy stream."""

    rate_hz: float
    #: Jitter of the stamps, as a share of the period, uniform.
    jitter: float = 0.0
    #: Offset of the stamps, as a share of the period.
    phase: float = 0.0
    #: Arrival minus stamp, its jitter (uniform), and its growth per second.
    lag_ms: float = 5.0
    lag_jitter_ms: float = 0.0
    lag_growth_ms: float = 0.0
    #: Added to the lag in the second half of the scenario.
    lag_jump_ms: float = 0.0


@dataclass(frozen=True)
class Fault:
    """A fault of one stream."""

    stream: Stream
    #: One of :data:`FAULTS`.
    kind: str
    begin_s: float
    length_s: float


@dataclass(frozen=True)
class Scenario:
    """Everything that happens to one core. All times are true times."""

    seed: int
    duration_s: float
    sensors: dict[Stream, Sensor]
    faults: tuple[Fault, ...] = ()
    #: (time, step): steps of the clock, seconds.
    steps: tuple[tuple[float, float], ...] = ()
    #: (time, length): the clock and the sensors stop.
    pauses: tuple[tuple[float, float], ...] = ()
    #: The clock reads 0 until this time.
    zero_s: float = 0.0
    #: (time, length): the process is stalled, and messages queue up.
    stalls: tuple[tuple[float, float], ...] = ()
    #: Delay of every tick.
    tick_late_ms: float = 0.0
    engine_ms: float = 0.0
    #: (time, "disable" | "enable" | "force rgb" | … | "reset").
    actions: tuple[tuple[float, str], ...] = ()
    #: Parameters of the core that differ from the defaults.
    config: dict[str, Any] = field(default_factory=dict)
    networks: tuple[str, ...] = ("rgbd", "rgb", "depth")
    need_intrinsics: tuple[str, ...] = ()
    #: Evidence that depth is aligned: "frame_id", "intrinsics", or "" for none.
    aligned_by: str = "frame_id"
    float_depth: bool = False


@dataclass(frozen=True, eq=False)
class Message:
    """A message with the information that the oracle needs about it."""

    stream: Stream
    item: Frame | Defect
    #: The frame test that the image itself fails; empty if none.
    label: str
    #: Number of the image; equal numbers in a row are a frozen camera.
    image: int


class Clock:
    """The clock that the core sees, as a function of true time, both in ns."""

    def __init__(self, scenario: Scenario) -> None:
        self._steps = [(round(t * S), round(step * S)) for t, step in scenario.steps]
        self.pauses = [(round(t * S), round((t + length) * S)) for t, length in scenario.pauses]
        self._zero_ns = round(scenario.zero_s * S)
        #: True times at which the clock does not run evenly.
        self.breaks = sorted(
            [t for t, _ in self._steps]
            + [t for pause in self.pauses for t in pause]
            + ([self._zero_ns] if self._zero_ns else [])
        )

    def now(self, true_ns: int) -> int:
        """The reading of the clock."""
        if true_ns < self._zero_ns:
            return 0
        now_ns = EPOCH_NS + true_ns + sum(step for t, step in self._steps if t <= true_ns)
        return now_ns - sum(
            min(true_ns, end) - begin for begin, end in self.pauses if begin < true_ns
        )

    def runs(self, true_ns: int) -> bool:
        """Whether the clock runs."""
        return true_ns >= self._zero_ns and not self.stands(true_ns)

    def stands(self, true_ns: int) -> bool:
        """Whether the clock is stopped by a pause."""
        return any(begin <= true_ns < end for begin, end in self.pauses)


def messages(scenario: Scenario, clock: Clock) -> list[tuple[int, Message]]:
    """(true time of arrival, message) in order of arrival."""
    rng = np.random.default_rng(scenario.seed)
    found: list[tuple[int, Message]] = []
    for stream in scenario.sensors:
        found += _Camera(scenario, clock, stream, rng).messages()
    return sorted(found, key=lambda entry: entry[0])


class _Camera:
    """One stream of a scenario, with its faults."""

    def __init__(
        self, scenario: Scenario, clock: Clock, stream: Stream, rng: np.random.Generator
    ) -> None:
        self._scenario, self._clock, self._stream, self._rng = scenario, clock, stream, rng
        self._faults = [f for f in scenario.faults if f.stream == stream]
        bad = BAD_RGB if stream == "rgb" else BAD_DEPTH
        self._bad_label = str(rng.choice(list(bad)))
        self._bad = bad[self._bad_label]
        self._odd = ODD[rng.integers(len(ODD))]

    def messages(self) -> list[tuple[int, Message]]:
        """(true time of arrival, message)."""
        scenario, sensor = self._scenario, self._scenario.sensors[self._stream]
        period_s = 1 / sensor.rate_hz
        begin_s = sensor.phase * period_s
        flapping_since_s = next((f.begin_s for f in self._faults if f.kind == "flap"), 0.0)
        found: list[tuple[int, Message]] = []
        arrived_ns = 0
        for index in range(int((scenario.duration_s - begin_s) * sensor.rate_hz) + 1):
            jitter, lag_jitter, chance = self._rng.random(3)
            t_s = begin_s + (index + (jitter - 0.5) * sensor.jitter) * period_s
            true_ns = max(round(t_s * S), 0)
            kinds = {f.kind for f in self._faults if f.begin_s <= t_s < f.begin_s + f.length_s}
            if (
                self._clock.stands(true_ns)
                or "drop" in kinds
                or ("some_dropped" in kinds and chance < 0.3)
                or ("slower" in kinds and index % 3)
                or ("flap" in kinds and (t_s - flapping_since_s) % 1.0 < 0.3)
            ):
                continue
            lag_ms = sensor.lag_jump_ms if t_s > scenario.duration_s / 2 else 0.0
            lag_ms += (
                sensor.lag_ms + sensor.lag_jitter_ms * lag_jitter + sensor.lag_growth_ms * t_s
            )
            arrival_ns = true_ns + round(lag_ms * MS)
            if "burst" in kinds:
                arrival_ns = (arrival_ns // (150 * MS) + 1) * 150 * MS
            arrived_ns = max(arrived_ns, arrival_ns)  # messages of one stream stay in order
            message = self._message(true_ns, index, kinds, chance)
            found += [(arrived_ns, message)] * (2 if "duplicate" in kinds else 1)
        return found

    def _message(self, true_ns: int, index: int, kinds: set[str], chance: float) -> Message:
        scenario, color = self._scenario, self._stream == "rgb"
        stamp_ns = self._clock.now(true_ns)
        if "stale" in kinds:
            stamp_ns -= 5 * S
        if "future" in kinds:
            stamp_ns += 3 * S
        if "malformed" in kinds:
            defect = Defect("malformed", "truncated", stamp_ns if index % 2 else None)
            return Message(self._stream, defect, "malformed", -1)
        image, label = 0 if "freeze" in kinds else index % POOL, ""
        array = (RGB if color else DEPTH_M if scenario.float_depth else DEPTH)[image]
        encoding = "rgb8" if color else "32FC1" if scenario.float_depth else "16UC1"
        if "bad_image" in kinds or ("some_bad" in kinds and chance < 0.25):
            array, label = self._bad, self._bad_label
            if scenario.float_depth and not color:
                array = (array / np.float32(1000)).astype(np.float32)
        if "odd" in kinds:
            array, label = self._odd, "malformed"
        if "resize" in kinds and label != "malformed":
            array = array[:6]
        if "encoding" in kinds and label != "malformed":
            encoding = "bgr8" if color else "mono16"
        frame_id = "camera"
        if "frame_id" in kinds or (not color and scenario.aligned_by != "frame_id"):
            frame_id = f"{self._stream}_optical"
        calibrated = scenario.aligned_by == "intrinsics" or bool(
            scenario.need_intrinsics and scenario.seed % 2
        )
        frame = Frame(array, stamp_ns, frame_id, encoding, INTRINSICS if calibrated else None)
        return Message(self._stream, frame, label, image)
