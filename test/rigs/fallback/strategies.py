# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Hypothesis strategies for scenarios: mostly ordinary cameras with occasional faults."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from rigs.fallback.scenario import FAULTS, Fault, Scenario, Sensor

from rgbd_seg_ros.frames import Stream

RATES_HZ = (30.0, 15.0, 5.0, 10.0, 20.0, 25.0, 45.0, 60.0, 90.0, 12.5)
#: Maximum number of messages in one scenario; more would only cost time.
MESSAGES = 150
#: Parameters to vary, and their values besides the defaults.
CONFIG: dict[str, tuple[Any, ...]] = {
    "max_skew_ms": (10.0, 4.0, 40.0),
    "max_wait_ms": (30.0, 0.0),
    "unpaired": ("single",),
    "assume_aligned": (True,),
    "hold_s": (0.3, 0.1, 0.0),
    "start_grace_s": (0.2,),
    "frozen_after": (4,),
}


def _one_of(*values: Any) -> st.SearchStrategy[Any]:
    return st.sampled_from(values)


@st.composite
def sensors(draw: st.DrawFn, rate_hz: float) -> Sensor:
    """One camera with its phase, jitter and lag."""
    return Sensor(
        rate_hz,
        jitter=draw(_one_of(0.0, 0.05, 0.3, 0.8)),
        phase=draw(_one_of(0.0, 0.05, 0.3, 0.5, 0.95)),
        lag_ms=draw(_one_of(5.0, 0.0, 20.0, 45.0, 70.0, 150.0)),
        lag_jitter_ms=draw(_one_of(0.0, 2.0, 10.0, 40.0)),
        lag_growth_ms=draw(_one_of(0.0, 0.0, 0.0, 15.0, 60.0)),
    )


@st.composite
def calm_scenarios(draw: st.DrawFn) -> Scenario:
    """Two healthy cameras of one rate, with any lags that the wait can bridge."""
    rate_hz = draw(_one_of(30.0, 20.0, 15.0))
    cameras: dict[Stream, Sensor] = {
        stream: Sensor(
            rate_hz,
            jitter=draw(_one_of(0.0, 0.1)),
            phase=draw(_one_of(0.0, 0.15)),
            lag_ms=draw(_one_of(0.0, 10.0, 40.0)),
            lag_jitter_ms=draw(_one_of(0.0, 5.0)),
            lag_growth_ms=draw(_one_of(0.0, 10.0)),
            lag_jump_ms=draw(_one_of(0.0, 0.0, 20.0)),
        )
        for stream in ("rgb", "depth")
    }
    return Scenario(draw(st.integers(0, 2**16)), 3.0, cameras, float_depth=draw(st.booleans()))


@st.composite
def scenarios(draw: st.DrawFn) -> Scenario:
    """Everything that can happen to a core."""
    if draw(_one_of(*[False] * 9, True)):
        return draw(calm_scenarios())
    rgb_hz = draw(_one_of(*RATES_HZ))
    depth_hz = rgb_hz if draw(st.booleans()) else draw(_one_of(*RATES_HZ))
    raw = draw(_one_of(False, False, True))
    total_hz = rgb_hz + depth_hz + (10 if raw else 0)
    duration_s = round(min(6.0, max(1.0, MESSAGES / total_hz)), 2)
    cameras: dict[Stream, Sensor] = {
        "rgb": draw(sensors(rgb_hz)),
        "depth": draw(sensors(depth_hz)),
    }
    if raw:
        cameras["depth_raw"] = draw(sensors(10.0))
    if draw(_one_of(False, False, False, False, False, False, True)):
        del cameras[draw(_one_of("rgb", "depth"))]

    def when() -> float:
        return draw(st.integers(1, 80)) / 100 * duration_s

    faults = []
    for _ in range(draw(_one_of(1, 2, 0, 3, 4))):
        kind = draw(_one_of(*FAULTS, "flap", "flap", "flap", "drop", "drop"))
        targets = draw(_one_of(("rgb",), ("depth",), ("rgb", "depth"), ("depth_raw",)))
        begin_s = 0.3 if kind == "flap" else when()
        length_s = 6.0 if kind == "flap" else draw(_one_of(0.1, 0.3, 0.6, 1.5, 9.0))
        faults += [Fault(stream, kind, begin_s, length_s) for stream in targets]
    rare = _one_of(False, False, True)
    steps: tuple[tuple[float, float], ...] = ()
    if draw(rare):
        count = draw(_one_of(1, 1, 2))
        size = _one_of(-100.0, -3.0, -0.6, -0.3, 0.3, 0.45, 3.0, 100.0)
        steps = tuple(sorted((when(), draw(size)) for _ in range(count)))
    pauses = ((when(), draw(_one_of(0.3, 2.0))),) if draw(rare) else ()
    stalls = ((when(), draw(_one_of(0.06, 0.2, 0.4, 1.2))),) if draw(rare) else ()
    actions: list[tuple[float, str]] = []
    if draw(rare):
        network = draw(_one_of("rgb", "depth", "rgbd"))
        actions = [(when(), f"force {network}"), (when(), "force auto")]
    if draw(rare):
        begin_s = when()
        actions += [(begin_s, "disable"), (begin_s + draw(_one_of(0.05, 0.5)), "enable")]
    if draw(_one_of(*[False] * 9, True)):
        actions.append((when(), "reset"))
    config: dict[str, Any] = {}
    for name, values in CONFIG.items():
        value = draw(_one_of(None, None, None, *values))
        if value is not None:
            config[name] = value
    networks = ("rgbd", "rgb", "depth")
    if draw(rare):
        networks = draw(_one_of(("rgbd",), ("rgb",), ("depth", "rgb"), ("rgbd", "depth")))
    return Scenario(
        seed=draw(st.integers(0, 2**16)),
        duration_s=duration_s,
        sensors=cameras,
        faults=tuple(faults),
        steps=steps,
        pauses=pauses,
        zero_s=draw(_one_of(0.0, 0.0, 0.0, 0.0, 0.3)),
        stalls=stalls,
        tick_late_ms=draw(_one_of(*[0.0] * 9, 30.0, 90.0)),
        engine_ms=draw(_one_of(0.0, 0.0, 20.0, 120.0, 1500.0)),
        actions=tuple(actions),
        config=config,
        networks=networks,
        need_intrinsics=draw(_one_of((), (), (), ("rgbd",), ("rgbd", "depth"))),
        aligned_by=draw(_one_of("frame_id", "frame_id", "frame_id", "intrinsics", "")),
        float_depth=draw(st.booleans()),
    )
