# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Parameters of the fallback: default, range and meaning of each, declared once.

The node's ROS parameters and the table in docs/ros.md are generated from these fields, so a
parameter is added here and nowhere else.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

from rgbd_seg_ros.depth import PLAUSIBLE_M
from rgbd_seg_ros.image_size import LARGEST_LIMIT, MAX_IMAGE_PIXELS
from rgbd_seg_ros.names import shown


def _parameter(default: Any, doc: str, low: float = 0.0, high: float = math.inf) -> Any:
    return dataclasses.field(default=default, metadata={"doc": doc, "low": low, "high": high})


def _choice(default: str, doc: str, choices: tuple[str, ...]) -> Any:
    return dataclasses.field(default=default, metadata={"doc": doc, "choices": choices})


@dataclass(frozen=True, kw_only=True)
class CoreConfig:
    """Parameters of health, pairing and modes. A threshold of 0 turns its test off."""

    # Units of the depth stream.
    depth_scale: float = _parameter(0.001, "meters per tick of 16-bit depth", 1e-6, 1.0)
    float_depth_scale: float = _parameter(
        1.0, "meters per unit of 32FC1 depth; 0.001 if it is in millimeters", 1e-6, 1.0
    )
    max_depth_m: float = _parameter(0.0, "depth beyond this is invalid; 0: no limit")

    # Decoding.
    max_image_pixels: int = _parameter(
        MAX_IMAGE_PIXELS,
        "an image whose header promises more pixels than this is `malformed` and is not decoded",
        1,
        LARGEST_LIMIT,
    )
    decode_period_s: float = _parameter(
        0.25,
        "a compressed stream is decoded at least this often, for its health, even if no mask "
        "needs its frames",
        0.01,
        60,
    )

    decode_timeout_s: float = _parameter(
        0.5,
        "a compressed image whose decoding takes this long is `slow_decode`, and its partner is "
        "used alone",
        0.05,
        60,
    )

    # Is this frame usable? Stamps.
    max_age_s: float = _parameter(1.0, "a frame older than this is `stale`; 0: off")
    max_future_s: float = _parameter(
        0.1, "a frame stamped more than this ahead of the current time is `future`; 0: off"
    )
    check_repeated_stamp: bool = _parameter(
        True,
        "a frame whose stamp is not later than the previous one is `repeated_stamp`; a copy of "
        "the previous message, with the same stamp, says nothing against its stream",
    )
    # Is this frame usable? Pixels, on a strided sample.
    accept_change_after: int = _parameter(
        3,
        "after a change of size or encoding, frames are `malformed` until this many in a row "
        "agree; 0: a change is never accepted",
        0,
        100,
    )
    black_mean: float = _parameter(
        8.0,
        "color is `black` if its mean (0..255) is below this and its std below flat_std; 0: off",
        0,
        255,
    )
    saturated_mean: float = _parameter(
        247.0,
        "color is `saturated` if its mean (0..255) is above this and its std below flat_std; "
        "0: off",
        0,
        255,
    )
    flat_std: float = _parameter(
        4.0, "std (0..255) below which color can be `black` or `saturated`; 0: never", 0, 128
    )
    uniform_std: float = _parameter(
        0.5,
        "color is `uniform` if its std (0..255) is below this; camera noise on a blank wall "
        "has a std above 1; 0: off",
        0,
        128,
    )
    min_valid_fraction: float = _parameter(
        0.02, "depth is `no_depth` if less than this share of its pixels is valid; 0: off", 0, 1
    )
    min_depth_std_m: float = _parameter(
        1e-4, "depth is `constant_depth` if the std of its valid pixels is below this; 0: off"
    )
    min_median_depth_m: float = _parameter(
        PLAUSIBLE_M[0],
        "depth is `depth_units` if the median of its valid pixels is below this; 0: off",
    )
    max_median_depth_m: float = _parameter(
        PLAUSIBLE_M[1],
        "depth is `depth_units` if the median of its valid pixels is above this; 0: off",
    )

    # Is this stream alive?
    frozen_after: int = _parameter(
        10,
        "number of exact repeats in a row after which a stream is `frozen`; 0: off, for "
        "simulated cameras",
        0,
        1000,
    )
    silent_periods: float = _parameter(
        3.0, "a stream is `silent` after this many periods without a message; 0: off", 0, 1000
    )
    min_silence_s: float = _parameter(
        0.25, "shortest time without a message that makes a stream `silent`", 0.001, 60
    )
    first_silence_s: float = _parameter(
        1.0,
        "shortest time without a message that makes a stream `silent` before its period is "
        "known; longer if the intervals so far are longer",
        0.001,
        60,
    )
    second_message_s: float = _parameter(
        5.0,
        "time without a second message that makes a stream `silent`; the longest period that is "
        "learned without a loss",
        0.001,
        3600,
    )
    lost_after: int = _parameter(
        3, "a stream is lost after this many unusable frames in a row; 0: off", 0, 100
    )
    lost_of_last_10: int = _parameter(
        5, "a stream is lost after this many unusable frames among its last 10; 0: off", 0, 10
    )
    recover_after: int = _parameter(
        3, "number of usable frames in a row that a lost stream needs to be OK again", 1, 100
    )
    hold_s: float = _parameter(
        1.0,
        "time for which a lost stream must stay usable to be OK again; doubles with each loss",
        0,
        60,
    )
    max_hold_s: float = _parameter(8.0, "upper limit of hold_s as it doubles", 0, 600)
    quiet_s: float = _parameter(
        60.0, "hold_s starts over for a stream that has been OK for this long", 0, 3600
    )
    start_grace_s: float = _parameter(
        1.0, "longest duration of STARTING, from the first frame of any stream", 0, 60
    )

    # Which frames belong together?
    max_skew_ms: float = _parameter(
        0.0,
        "largest stamp difference within a frame pair; 0: half the period of the faster stream",
        0,
        1000,
    )
    max_wait_ms: float = _parameter(
        100.0, "upper limit of the learned wait for the partner's frame", 0, 10_000
    )
    unpaired: str = _choice(
        "skip",
        "what to do with frames of the faster stream between two frames of the slower one: "
        "`skip` them, or use each as a `single` frame",
        ("skip", "single"),
    )
    assume_aligned: bool = _parameter(
        False, "fuse even if frame_ids and camera_infos do not show that depth is aligned"
    )
    force_network: str = _choice("auto", "use only this network", ("auto", "rgbd", "rgb", "depth"))

    # Time.
    clock_step_s: float = _parameter(
        0.5, "a clock step larger than this, in either direction, clears all state", 0.01, 3600
    )
    late_tick_ms: float = _parameter(
        50.0, "a tick late by more than this grants silent streams one more period", 0, 10_000
    )

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            check_value(field, getattr(self, field.name))


def check_value(field: dataclasses.Field[Any], value: Any) -> None:
    """Raise ValueError unless ``value`` has the field's type and lies within its range."""
    kind = type(field.default)
    fits = isinstance(value, (int, float)) if kind is float else type(value) is kind
    if not fits or (kind is float and isinstance(value, bool)):
        raise ValueError(f"{field.name} must be {kind.__name__}, got {shown(value)}")
    choices = field.metadata.get("choices")
    if choices and value not in choices:
        raise ValueError(f"{field.name} must be one of {', '.join(choices)}, got {shown(value)}")
    if kind in (int, float) and not field.metadata["low"] <= value <= field.metadata["high"]:
        raise ValueError(
            f"{field.name} must be from {field.metadata['low']:g} to {field.metadata['high']:g}, "
            f"got {shown(value)}"
        )
