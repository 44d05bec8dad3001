# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Every parameter of the fallback: default, range and meaning, declared once.

The node declares its ROS parameters from these fields and the documentation's table is generated
from them, so a parameter is added here and nowhere else.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any


def _parameter(default: Any, doc: str, low: float = 0.0, high: float = math.inf) -> Any:
    return dataclasses.field(default=default, metadata={"doc": doc, "low": low, "high": high})


def _choice(default: str, doc: str, choices: tuple[str, ...]) -> Any:
    return dataclasses.field(default=default, metadata={"doc": doc, "choices": choices})


@dataclass(frozen=True, kw_only=True)
class CoreConfig:
    """Parameters of health, pairing and modes. A threshold of 0 switches its test off."""

    # Units of the depth stream.
    depth_scale: float = _parameter(0.001, "meters per tick of 16-bit depth", 1e-6, 1.0)
    max_depth_m: float = _parameter(0.0, "depth beyond this is invalid; 0: no limit")

    # Is this frame usable? Stamps.
    max_age_s: float = _parameter(1.0, "a frame stamped longer ago is `stale`; 0: off")
    max_future_s: float = _parameter(
        0.1, "a frame stamped further ahead of now is `future`; 0: off"
    )
    check_repeated_stamp: bool = _parameter(
        True, "a frame stamped not later than the last one is `repeated_stamp`"
    )
    # Is this frame usable? Pixels, on a strided sample.
    accept_change_after: int = _parameter(
        3,
        "a changed size or encoding is `malformed` until this many frames agree; 0: never",
        0,
        100,
    )
    black_mean: float = _parameter(
        8.0,
        "color darker than this mean (0..255) and as flat as flat_std is `black`; 0: off",
        0,
        255,
    )
    saturated_mean: float = _parameter(
        247.0,
        "color brighter than this mean (0..255) and as flat as flat_std is `saturated`; 0: off",
        0,
        255,
    )
    flat_std: float = _parameter(
        4.0, "deviation (0..255) below which `black` and `saturated` are judged", 0, 128
    )
    uniform_std: float = _parameter(
        0.5,
        "color with a deviation (0..255) below this is `uniform`; a camera's own noise on a "
        "blank wall is above 1; 0: off",
        0,
        128,
    )
    min_valid_fraction: float = _parameter(
        0.02, "depth with a smaller share of valid pixels is `no_depth`; 0: off", 0, 1
    )
    min_depth_std_m: float = _parameter(
        1e-4, "valid depth with a deviation below this is `constant_depth`; 0: off"
    )
    min_median_depth_m: float = _parameter(
        0.05, "a median of valid depth below this is `depth_units`; 0: off"
    )
    max_median_depth_m: float = _parameter(
        50.0, "a median of valid depth above this is `depth_units`; 0: off"
    )

    # Is this stream alive?
    frozen_after: int = _parameter(
        10,
        "repeats of a picture in a row that make a stream `frozen`; 0: off (simulated cameras)",
        0,
        1000,
    )
    silent_periods: float = _parameter(
        3.0, "periods without a message that make a stream `silent`; 0: off", 0, 1000
    )
    min_silence_s: float = _parameter(0.25, "the shortest silence that counts", 0.001, 60)
    first_silence_s: float = _parameter(
        1.0, "the silence that counts while the period is not known", 0.001, 60
    )
    lost_after: int = _parameter(
        3, "unusable frames in a row that make a stream lost; 0: off", 0, 100
    )
    lost_of_last_10: int = _parameter(
        5, "unusable frames among the last 10 that make a stream lost; 0: off", 0, 10
    )
    recover_after: int = _parameter(
        3, "usable frames in a row that a lost stream needs to come back", 1, 100
    )
    hold_s: float = _parameter(
        1.0, "how long a lost stream must be usable to come back; doubles while it flaps", 0, 60
    )
    max_hold_s: float = _parameter(8.0, "the longest such hold", 0, 600)
    quiet_s: float = _parameter(
        60.0, "a stream that stays OK this long has stopped flapping", 0, 3600
    )
    start_grace_s: float = _parameter(
        1.0, "how long STARTING may last after the first frame of either stream", 0, 60
    )

    # Which frames belong together?
    max_skew_ms: float = _parameter(
        0.0, "largest stamp difference within one instant; 0: half the faster period", 0, 1000
    )
    max_wait_ms: float = _parameter(
        100.0, "cap of the learned wait for the partner's frame", 0, 10_000
    )
    unpaired: str = _choice(
        "skip",
        "what a frame of the faster stream gets between the slower one's",
        ("skip", "single"),
    )
    assume_aligned: bool = _parameter(
        False, "fuse although frame_ids and camera_infos do not show that depth is registered"
    )
    force_network: str = _choice(
        "auto", "use this network alone", ("auto", "rgbd", "rgb", "depth")
    )

    # Time.
    clock_step_s: float = _parameter(
        0.5, "a larger step of the clock, either way, clears all state", 0.01, 3600
    )
    late_tick_ms: float = _parameter(
        50.0, "a tick later than this grants silent streams one more period", 0, 10_000
    )

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            check_value(field, getattr(self, field.name))


def check_value(field: dataclasses.Field[Any], value: Any) -> None:
    """Raise ValueError unless ``value`` is of the field's type and inside its range."""
    kind = type(field.default)
    fits = isinstance(value, (int, float)) if kind is float else type(value) is kind
    if not fits or (kind is float and isinstance(value, bool)):
        raise ValueError(f"{field.name} must be {kind.__name__}, got {value!r}")
    choices = field.metadata.get("choices")
    if choices and value not in choices:
        raise ValueError(f"{field.name} must be one of {', '.join(choices)}, got {value!r}")
    if kind in (int, float) and not field.metadata["low"] <= value <= field.metadata["high"]:
        raise ValueError(
            f"{field.name} must be from {field.metadata['low']:g} to {field.metadata['high']:g}, "
            f"got {value!r}"
        )
