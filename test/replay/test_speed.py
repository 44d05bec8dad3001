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
from rgbd_seg_ros.replay.speed import SAMPLES, SpeedMeter

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


def test_every_run_of_a_network_counts() -> None:
    engine = TimedEngine()
    meter = SpeedMeter(engine, CoreConfig(), Gravity(""))  # type: ignore[arg-type]
    for _ in range(6):
        meter.add(_result("rgbd", 45.0))
    for _ in range(3):
        meter.add(_result("rgb", 25.0, without_fallback=45.0))
    meter.add(_result("rgbd", 45.0, rgb=25.0, depth=15.0))
    found = meter.summary(seconds=1.0)
    # Ten runs of the fused network, four of the color one and one of the depth one.
    network_s = 10 * 0.03 + 4 * 0.02 + 1 * 1.0  # its single frame was the slow one
    assert found == {
        "seconds": 1.0,
        "masks_per_s": 10.0,
        "engine_share": pytest.approx(0.01 * (10 * 45 + 4 * 25 + 15) / 10),
        "network_seconds": pytest.approx(network_s),
        "network_share": pytest.approx(network_s),
    }
    assert {name: engine.calls.count(name) for name in TIMES_MS} == {
        "rgbd": SAMPLES, "rgb": 4, "depth": 1,
    }  # fmt: skip


def test_without_masks_or_after_an_interrupt_there_is_no_share() -> None:
    engine = TimedEngine()
    meter = SpeedMeter(engine, CoreConfig(), Gravity(""))  # type: ignore[arg-type]
    assert set(meter.summary(1.0).values()) == {None}
    meter.add(_result("rgbd", 45.0))
    found = meter.summary(0.5, alone=False)
    assert (found["masks_per_s"], found["network_share"]) == (2.0, None)
    assert engine.calls == []


def test_the_share_of_a_replay(recording: Path, run_replay) -> None:  # type: ignore[no-untyped-def]
    faults = FaultSchedule([Fault("drop", "depth", 1, 2)])
    summary = run_replay(recording, faults=faults, without_fallback=True).summary
    speed, networks = summary["speed"], summary["networks"]
    # The fake engine says that it takes 2.5 ms, alone and in the replay.
    runs = networks["rgbd"] + 2 * networks["rgb"]
    assert speed["network_seconds"] == pytest.approx(runs * 0.0025, abs=1e-3)
    share = speed["network_seconds"] / speed["seconds"]
    assert speed["network_share"] == pytest.approx(share, rel=0.05)
