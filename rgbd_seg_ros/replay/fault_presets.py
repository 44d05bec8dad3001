# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Fault schedules without a file: named presets of usual troubles, and random ones by seed."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from rgbd_seg_ros.names import did_you_mean
from rgbd_seg_ros.replay.fault_kinds import FAULTS, FaultKind
from rgbd_seg_ros.replay.faults import Fault, FaultError, FaultSchedule, load_faults

#: Schedules by name. Every one begins after 2 s without faults; in a short recording, earlier.
PRESETS: dict[str, tuple[Fault, ...]] = {
    # A loose cable: two short interruptions and a long one.
    "depth-cable": (
        Fault("drop", "depth", 2.0, 2.3),
        Fault("drop", "depth", 3.5, 4.5),
        Fault("drop", "depth", 7.0, 11.0),
    ),
    # The sun dazzles the color camera and outshines the depth camera's pattern.
    "sunlight": (
        Fault("saturate", "rgb", 2.0, 8.0, 3.0),
        Fault("patch", "depth", 2.0, 8.0, 0.5),
        Fault("noise", "depth", 2.0, 8.0, 4.0),
    ),
    "lens-cap": (Fault("black", "rgb", 2.0, 7.0),),
    # Depth is gone for 0.5 s in every 1.5 s.
    "flapping": tuple(Fault("drop", "depth", 2 + 1.5 * i, 2.5 + 1.5 * i) for i in range(8)),
    # The driver repeats its last color image before it stops.
    "driver-hang": (Fault("freeze", "rgb", 2.0, 4.0), Fault("color_driver", None, 4.0, 9.0)),
    # A USB port that is too slow for both streams.
    "slow-usb": (
        Fault("bandwidth", "rgb", 2.0, 10.0, 0.2),
        Fault("jitter", "rgb", 2.0, 10.0, 60.0),
        Fault("bandwidth", "depth", 2.0, 10.0, 0.4),
        Fault("jitter", "depth", 2.0, 10.0, 120.0),
    ),
    # High gain and long exposure.
    "night": (Fault("blur", "rgb", 2.0, value=1.5), Fault("noise", "rgb", 2.0, value=200.0)),
    # A blow blurs a few images; from then on, depth is no longer aligned to color.
    "bumped-camera": (
        Fault("blur", "rgb", 2.0, 2.4, 5.0),
        Fault("misalign", "depth", 2.0, value=12),
    ),
}

#: Values of random faults: evenly distributed between moderate and severe.
_RANDOM_VALUES: dict[str, tuple[float, float]] = {
    "noise": (5, 100),
    "blur": (1, 8),
    "saturate": (2, 10),
    "patch": (0.1, 0.9),
    "units": (100, 1000),
    "misalign": (4, 40),
    "rate": (1, 10),
    "bandwidth": (0.1, 0.7),
    "delay": (20, 500),
    "jitter": (20, 300),
    "skew": (-500, 500),
    "jump": (-10, 10),
}


#: Time without faults after the last one, so that a recovery can be seen, seconds.
_AFTER_S = 2.0


def preset_length_s(name: str) -> float:
    """Length of the recordings that a preset is made for, seconds."""
    edges = [t for fault in PRESETS[name] for t in (fault.from_s, fault.to_s)]
    return max(t for t in edges if math.isfinite(t)) + _AFTER_S


def random_faults(seed: int, duration_s: float) -> tuple[Fault, ...]:
    """A random schedule: each fault lasts 0.5 to 4 s, after 1 to 5 s without faults.

    Args:
        seed: 0 or more; the same seed and duration give the same schedule.
        duration_s: of the recording, in seconds.
    """
    random = np.random.default_rng(seed)
    faults: list[Fault] = []
    t_s = 0.0
    while True:
        from_s = t_s + random.uniform(1, 5)
        t_s = from_s + random.uniform(0.5, 4)
        name = str(random.choice(list(FAULTS)))
        kind = FAULTS[name]
        # Not raw depth, which most recordings do not have.
        streams = [s for s in kind.streams if s != "depth_raw"]
        stream = streams[int(random.integers(len(streams)))]
        value = _random_value(kind, random.uniform(*_RANDOM_VALUES.get(name, (0, 0))))
        if from_s >= duration_s:
            return tuple(faults)
        faults.append(
            Fault(
                name,
                None if kind.fixed_streams else stream,
                round(from_s, 2),
                round(t_s, 2),
                value,
                seed,
            )
        )


def _random_value(kind: FaultKind, value: float) -> float | None:
    """A value as it is written in a schedule; never the one that changes nothing."""
    if kind.value is None:
        return None
    step = 1 if kind.value.whole else 0.01
    value = round(value, 0 if kind.value.whole else 2)
    return value + step if value == kind.value.neutral else value


def find_faults(name: str) -> FaultSchedule:
    """The schedule with the name of a preset, or in a YAML file; empty if there is no name.

    Raises:
        FaultError: there is neither such a preset nor such a file, or the file is unusable.
    """
    if not name:
        return FaultSchedule()
    if name in PRESETS:
        return FaultSchedule(PRESETS[name], length_s=preset_length_s(name), name=name)
    if not Path(name).suffix and not Path(name).exists():
        hint = did_you_mean(name, PRESETS)
        raise FaultError(
            f"{name} is neither a preset of faults nor a file{hint} "
            f"(presets: {', '.join(PRESETS)})"
        )
    return load_faults(name)
