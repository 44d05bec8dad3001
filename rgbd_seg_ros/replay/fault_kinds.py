# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Kinds of sensor faults: what each does to an image, its stamp or its arrival."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from rgbd_seg_ros.frames import NS_PER_MS, NS_PER_S, STREAMS, AnyFrame, Defect, Frame, Stream

#: Std of structured-light depth at 1 m, in meters; it grows with z² (Khoshelham and Elberink,
#: "Accuracy and Resolution of Kinect Depth Data", Sensors 12, 2012, section 4).
DEPTH_STD_AT_1_M = 1.425e-3
#: Electrons of a white pixel at gain 1, and std of its readout: a usual small camera sensor.
FULL_WELL, READ_NOISE = 10_000.0, 5.0
#: Mean length of a burst of lost frames, in frames.
MEAN_BURST = 5

Array = npt.NDArray[Any]


@dataclass(frozen=True, eq=False)
class ReceivedItem:
    """A frame or a defect on its way to the core."""

    item: AnyFrame | Defect
    #: Receive time, nanoseconds.
    receive_ns: int


@dataclass(eq=False)
class FaultContext:
    """What a fault may depend on besides the received item."""

    #: The last frame of this stream before the fault began; if there was none, the first one
    #: during the fault.
    held: Frame | None = None
    #: The entry's ``value``; 0 for a fault without a value.
    value: float = 0.0
    #: Seed of this entry and stream.
    seed: tuple[int, ...] = (0,)
    #: Receive time in nanoseconds from the start of the bag.
    t_ns: int = 0
    #: Meters per tick of integer depth.
    depth_scale: float = 0.001
    #: What the fault remembers of earlier frames of the stream.
    memory: dict[str, int] = field(default_factory=dict)

    @property
    def frame_random(self) -> np.random.Generator:
        """Random numbers for one frame, the same in every replay, offline and live."""
        return np.random.default_rng((*self.seed, max(self.t_ns, 0)))

    @property
    def entry_random(self) -> np.random.Generator:
        """Random numbers that are the same for all frames of an entry."""
        return np.random.default_rng(self.seed)


Apply = Callable[[ReceivedItem, FaultContext], "ReceivedItem | None"]


@dataclass(frozen=True)
class ValueRange:
    """Meaning and allowed values of a fault's ``value``; both limits are allowed."""

    meaning: str
    low: float
    high: float
    whole: bool = False
    #: The value that changes nothing, which is refused.
    neutral: float | None = None

    def allows(self, value: float) -> bool:
        """Whether a fault may have this value."""
        fits = self.low <= value <= self.high and (not self.whole or value == int(value))
        return fits and value != self.neutral

    def __str__(self) -> str:
        number = "a whole number" if self.whole else "a number"
        but = "" if self.neutral is None else f", but not {self.neutral:g}, which changes nothing"
        return f"{self.meaning}, {number} from {self.low:g} to {self.high:g}{but}"


@dataclass(frozen=True)
class FaultKind:
    """One kind of fault."""

    #: Returns the item after the fault; None if the item is dropped.
    apply: Apply
    #: Streams that an entry may name.
    streams: tuple[Stream, ...] = STREAMS
    #: Streams that the fault always affects; entries then omit the stream.
    fixed_streams: tuple[Stream, ...] = ()
    #: None if the fault has no value.
    value: ValueRange | None = None
    #: Whether it changes pixels, so that compressed frames must be decoded first.
    needs_pixels: bool = True
    #: Whether it leaves nothing of the scene to see, so that no mask should use the stream.
    blinds: bool = False


def _with_pixels(change: Callable[[Array, FaultContext], Array]) -> Apply:
    """A fault that changes the array of a frame: uint8 color, uint16 ticks or float32 meters."""

    def apply(received: ReceivedItem, context: FaultContext) -> ReceivedItem:
        if not isinstance(received.item, Frame):
            return received
        before = received.item.array
        array = np.ascontiguousarray(change(before, context), dtype=before.dtype)
        return replace(received, item=replace(received.item, array=array))

    return apply


# --- Pixels --------------------------------------------------------------------------------------


def freeze(received: ReceivedItem, context: FaultContext) -> ReceivedItem | None:
    """The driver repeats its last image with new stamps."""
    if not isinstance(received.item, Frame) or context.held is None:
        return received
    frozen = replace(received.item, array=context.held.array, encoding=context.held.encoding)
    return replace(received, item=frozen)


def zero(array: Array, context: FaultContext) -> Array:
    """Every pixel is 0: a black image, or depth without any measurement."""
    return np.zeros(array.shape, array.dtype)


def nan(array: Array, context: FaultContext) -> Array:
    """Every depth is invalid: NaN in meters, 0 in integer ticks."""
    return np.full(array.shape, _invalid(array), array.dtype)


def noise(array: Array, context: FaultContext) -> Array:
    """Depth noise whose std grows with z², or the shot and read noise of color at a high gain."""
    normal = context.frame_random.standard_normal(array.shape, dtype=np.float32)
    if array.ndim == 3:
        electrons = FULL_WELL / context.value
        mean = array.astype(np.float32) * (electrons / 255)
        noisy = (mean + normal * np.sqrt(mean + READ_NOISE**2)) * (255 / electrons)
        return np.asarray(np.clip(np.rint(noisy), 0, 255))
    scale = context.depth_scale if array.dtype.kind == "u" else 1.0
    depth_m = array.astype(np.float32) * scale
    noisy = (depth_m + normal * (context.value * DEPTH_STD_AT_1_M) * depth_m**2) / scale
    return np.where(_valid(array), _as_depth(noisy, array), array)


def blur(array: Array, context: FaultContext) -> Array:
    """The image is out of focus: a Gaussian blur."""
    return np.asarray(cv2.GaussianBlur(array, (0, 0), context.value))


def saturate(array: Array, context: FaultContext) -> Array:
    """The image is overexposed: brighter by a factor, and white where it exceeds 255."""
    return np.asarray(np.clip(np.rint(array * np.float32(context.value)), 0, 255))


def patch(array: Array, context: FaultContext) -> Array:
    """A rectangle of the image's shape is covered: black in color, without depth in depth."""
    height, width = (max(1, round(n * math.sqrt(context.value))) for n in array.shape[:2])
    free = array.shape[0] - height, array.shape[1] - width
    top, left = (int(context.entry_random.integers(n, endpoint=True)) for n in free)
    covered = array.copy()
    covered[top : top + height, left : left + width] = _invalid(array)
    return np.asarray(covered)


def units(array: Array, context: FaultContext) -> Array:
    """Depth in another unit: every value is multiplied."""
    scaled = array.astype(np.float64) * context.value
    return np.where(_valid(array), _as_depth(scaled, array), array)


def misalign(array: Array, context: FaultContext) -> Array:
    """Aligned depth lies to the right of color by some pixels; to the left if negative."""
    shift = max(-array.shape[1], min(int(context.value), array.shape[1]))
    moved = np.full(array.shape, _invalid(array), array.dtype)
    if shift >= 0:
        moved[:, shift:] = array[:, : array.shape[1] - shift]
    else:
        moved[:, :shift] = array[:, -shift:]
    return moved


def _invalid(array: Array) -> float:
    """The pixel without a measurement: NaN in meters, 0 in ticks and in color."""
    return math.nan if array.dtype.kind == "f" else 0


def _valid(array: Array) -> Array:
    """Where depth is valid."""
    if array.dtype.kind == "f":
        return np.asarray(np.isfinite(array) & (array > 0))
    return np.asarray((array > 0) & (array < 65535))


def _as_depth(values: Array, like: Array) -> Array:
    """Positive values of the type of a depth image; what does not fit is limited."""
    if like.dtype.kind == "f":
        return np.asarray(np.maximum(values, np.finfo(np.float32).tiny))
    return np.asarray(np.clip(np.rint(values), 1, 65534))


# --- Messages, stamps and arrival ----------------------------------------------------------------


def drop(received: ReceivedItem, context: FaultContext) -> ReceivedItem | None:
    """Nothing arrives."""
    return None


def truncate(received: ReceivedItem, context: FaultContext) -> ReceivedItem | None:
    """Messages whose data end halfway."""
    if isinstance(received.item, Defect):
        return received
    detail = "the fault truncate has cut off the data of the message"
    return replace(received, item=Defect("malformed", detail, received.item.stamp_ns))


def rate(received: ReceivedItem, context: FaultContext) -> ReceivedItem | None:
    """At most ``value`` frames per second arrive: the first one in each period."""
    period = int(context.t_ns * context.value // NS_PER_S)
    if context.memory.get("period") == period:
        return None
    context.memory["period"] = period
    return received


def bandwidth(received: ReceivedItem, context: FaultContext) -> ReceivedItem | None:
    """Frames are lost in bursts, on average ``value`` of all (Gilbert's two-state channel)."""
    lost, leave = context.memory.get("lost", 0), 1 / MEAN_BURST
    change = leave if lost else leave * context.value / (1 - context.value)
    lost ^= int(context.frame_random.random() < change)
    context.memory["lost"] = lost
    return None if lost else received


def delay(received: ReceivedItem, context: FaultContext) -> ReceivedItem | None:
    """Frames arrive later by ``value`` ms."""
    late_ns = round(context.value * NS_PER_MS)
    return replace(received, receive_ns=received.receive_ns + late_ns)


def jitter(received: ReceivedItem, context: FaultContext) -> ReceivedItem | None:
    """Frames arrive later by 0 to ``value`` ms, evenly distributed."""
    late_ns = round(context.frame_random.random() * context.value * NS_PER_MS)
    return replace(received, receive_ns=received.receive_ns + late_ns)


def skew(received: ReceivedItem, context: FaultContext) -> ReceivedItem | None:
    """The clock of one stream is ahead by ``value`` ms; behind if negative."""
    return _restamped(received, round(context.value * NS_PER_MS))


def jump(received: ReceivedItem, context: FaultContext) -> ReceivedItem | None:
    """The clock of the camera, with all its streams, jumps ahead by ``value`` seconds."""
    return _restamped(received, round(context.value * NS_PER_S))


def _restamped(received: ReceivedItem, offset_ns: int) -> ReceivedItem:
    # Stamps of ROS are not negative.
    if received.item.stamp_ns is None:
        return received
    stamp_ns = max(received.item.stamp_ns + offset_ns, 0)
    return replace(received, item=replace(received.item, stamp_ns=stamp_ns))


_DEPTH: tuple[Stream, ...] = ("depth", "depth_raw")
_MS = ValueRange("milliseconds", 0.1, 10_000)

#: Kinds of fault by name.
FAULTS: dict[str, FaultKind] = {
    "drop": FaultKind(drop, needs_pixels=False, blinds=True),
    "freeze": FaultKind(freeze, blinds=True),
    "zero": FaultKind(_with_pixels(zero), blinds=True),
    "nan": FaultKind(_with_pixels(nan), streams=_DEPTH, blinds=True),
    "black": FaultKind(_with_pixels(zero), streams=("rgb",), blinds=True),
    # The RealSense driver aligns depth to color, so both stop with color; raw depth continues.
    "color_driver": FaultKind(
        drop, fixed_streams=("rgb", "depth"), needs_pixels=False, blinds=True
    ),
    "noise": FaultKind(
        _with_pixels(noise), value=ValueRange("gain, or multiple of usual depth noise", 0.1, 1000)
    ),
    "blur": FaultKind(
        _with_pixels(blur), ("rgb",), value=ValueRange("std of the blur in pixels", 0.3, 100)
    ),
    "saturate": FaultKind(
        _with_pixels(saturate),
        ("rgb",),
        value=ValueRange("factor of the exposure", 1, 100, neutral=1),
    ),
    "patch": FaultKind(_with_pixels(patch), value=ValueRange("covered share", 0.001, 1)),
    "units": FaultKind(
        _with_pixels(units), _DEPTH, value=ValueRange("factor", 1e-4, 1e4, neutral=1)
    ),
    "misalign": FaultKind(
        _with_pixels(misalign), ("depth",), value=ValueRange("pixels", -10_000, 10_000, True, 0)
    ),
    "truncate": FaultKind(truncate, needs_pixels=False, blinds=True),
    "rate": FaultKind(rate, value=ValueRange("frames per second", 0.01, 1000), needs_pixels=False),
    "bandwidth": FaultKind(
        bandwidth, value=ValueRange("share of lost frames", 0.01, 0.8), needs_pixels=False
    ),
    "delay": FaultKind(delay, value=_MS, needs_pixels=False),
    "jitter": FaultKind(jitter, value=_MS, needs_pixels=False),
    "skew": FaultKind(
        skew, value=ValueRange("milliseconds", -100_000, 100_000, neutral=0), needs_pixels=False
    ),
    "jump": FaultKind(
        jump,
        fixed_streams=STREAMS,
        value=ValueRange("seconds", -1e6, 1e6, neutral=0),
        needs_pixels=False,
    ),
}
