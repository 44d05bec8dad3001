# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The speed of a replay is compared with that of its networks alone."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from rgbd_seg_ros.fallback import CoreConfig
from rgbd_seg_ros.frames import Frame
from rgbd_seg_ros.gravity import Gravity
from rgbd_seg_ros.replay.faults import Fault, FaultSchedule
from rgbd_seg_ros.replay.measures import MEASURES
from rgbd_seg_ros.replay.speed import SpeedMeter

#: Time of each network alone, milliseconds.
TIMES_MS = {"rgbd": 30.0, "rgb": 20.0, "depth": 10.0}


class TimedEngine:
    """A fake engine with a fixed time of each network."""

    need_intrinsics: tuple[str, ...] = ()

    def __init__(self) -> None:
        self.calls: list[str] = []

    def __call__(self, *images: Any, size: object, network: str) -> Any:
        self.calls.append(network)
        # One slow mask does not change the median.
        slow = 100 if self.calls.count(network) == 1 else 1
        return SimpleNamespace(timings_ms={"total": TIMES_MS[network] * slow})


def _result(network: str, ms: float, **others: float) -> Any:
    def mask(name: str, time_ms: float) -> Any:
        return SimpleNamespace(network=name, timings_ms={"total": time_ms})

    without = others.pop("without_fallback", None)
    compared = {name: mask(name, time_ms) for name, time_ms in others.items()}
    fallback = None if without is None else mask("rgbd", without)
    masks = [mask(network, ms), *compared.values(), *([fallback] if fallback else [])]
    frame = Frame(np.zeros((2, 2, 3), np.uint8), 1, "cam", "rgb8")
    return SimpleNamespace(
        job=SimpleNamespace(network=network, rgb=frame, depth=None, intrinsics=None, size=(2, 2)),
        segmentation=masks[0],
        others=compared,
        without_fallback=fallback,
        engine_ms=sum(m.timings_ms["total"] for m in masks),
    )


class Clock:
    """A clock that each run of the engine moves on."""

    def __init__(self, engine: TimedEngine) -> None:
        self.engine, self.replay_s = engine, 0.0

    def __call__(self) -> float:
        return self.replay_s + len(self.engine.calls) * 0.1


def _meter(**options: Any) -> tuple[TimedEngine, Clock, SpeedMeter]:
    engine = TimedEngine()
    clock = Clock(engine)
    meter = SpeedMeter(engine, CoreConfig(), Gravity(""), clock=clock, **options)  # type: ignore[arg-type]
    return engine, clock, meter


def test_every_run_of_a_network_counts() -> None:
    engine, clock, meter = _meter()
    for _ in range(6):
        clock.replay_s += 10.0
        meter.add(_result("rgbd", 45.0))
    for _ in range(3):
        clock.replay_s += 10.0
        meter.add(_result("rgb", 25.0, without_fallback=45.0))
    meter.add(_result("rgbd", 45.0, rgb=25.0, depth=15.0))
    found = meter.summary(seconds=2.0)
    # Ten runs of the fused network, four of the color one and one of the depth one.
    network_s = 10 * 0.03 + 4 * 0.02 + 1 * 1.0  # its single frame was the slow one
    assert found == {
        "seconds": 2.0,
        "masks_per_s": 5.0,
        "engine_share": pytest.approx(0.01 * (10 * 45 + 4 * 25 + 15) / 20),
        "network_seconds": pytest.approx(network_s),
        "network_share": pytest.approx(network_s / 2),
    }
    assert engine.calls.count("depth") == 1


def test_networks_run_alone_all_the_time_but_not_for_long() -> None:
    quiet: list[float] = []
    engine, clock, meter = _meter(quiet=lambda: quiet.append(clock.replay_s))
    for _ in range(100):
        clock.replay_s += 0.2
        meter.add(_result("rgbd", 45.0))
    # 0.1 s each, at most 5 % of the 19.8 s after the first mask.
    assert 9 <= len(engine.calls) <= 11
    assert meter.alone_s == pytest.approx(0.1 * len(engine.calls))
    # The other threads have rested before each run, and the runs are spread over the replay.
    assert len(quiet) == len(engine.calls)
    gaps = np.diff([*quiet, 20.0])
    assert gaps.max() < 2.5
    # A network that comes late runs alone as well.
    meter.add(_result("depth", 10.0))
    assert engine.calls[-1] == "depth"


def test_a_load_that_changes_gives_no_share() -> None:
    _, clock, meter = _meter()
    for _ in range(3):
        clock.replay_s += 10
        meter.add(_result("rgbd", 45.0))
    for seconds, known in ((0.0899, False), (0.09, True)):
        speed = meter.summary(seconds)
        assert speed["network_seconds"] == pytest.approx(0.09)
        assert (speed["network_share"] is not None) is known
        note = MEASURES["network_share"].note({"speed": speed})
        assert ("the load of this machine changed" in note) is not known


def test_running_alone_leaves_gravity_as_it_is() -> None:
    gravity = Gravity("")
    engine = TimedEngine()
    engine.need_intrinsics = ("rgbd",)
    engine.estimate_gravity = lambda *images: np.array([0.0, 1.0, 0.0])  # type: ignore[attr-defined]
    result = _result("rgbd", 45.0)
    result.job.depth = Frame(np.ones((2, 2), np.uint16), 5, "cam", "16UC1")
    result.job.intrinsics = object()
    before = dict(vars(gravity))
    SpeedMeter(engine, CoreConfig(), gravity).add(result)  # type: ignore[arg-type]
    assert engine.calls == ["rgbd"]
    assert vars(gravity) == before


def test_without_masks_there_is_no_share() -> None:
    engine, _, meter = _meter()
    assert set(meter.summary(1.0).values()) == {None}
    assert engine.calls == []
    assert MEASURES["network_share"].note({"speed": meter.summary(1.0)}) == "no mask was computed"


def test_the_share_of_a_replay(recording: Path, run_replay) -> None:  # type: ignore[no-untyped-def]
    faults = FaultSchedule([Fault("drop", "depth", 1, 2)])
    summary = run_replay(recording, faults=faults, without_fallback=True).summary
    speed, networks = summary["speed"], summary["networks"]
    # The fake engine says that it takes 2.5 ms, alone and in the replay.
    runs = networks["rgbd"] + 2 * networks["rgb"]
    assert speed["network_seconds"] == pytest.approx(runs * 0.0025, abs=1e-3)
    share = speed["network_seconds"] / speed["seconds"]
    # How long the replay takes depends on the machine, on which the fake engine takes less.
    expected = None if speed["network_share"] is None else pytest.approx(share, rel=0.05)
    assert speed["network_share"] == expected
    assert speed["network_share"] is not None or share > 0.95
