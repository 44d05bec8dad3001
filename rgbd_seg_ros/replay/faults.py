# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Fault schedule: sensors that fail on purpose, by a YAML file that serves offline and live.

A schedule is a list of entries, times in seconds from the start of the bag::

    - {stream: depth, fault: drop, from: 2.0, to: 5.0}
    - {fault: color_driver, from: 8.0}            # without "to": until the end
"""

from __future__ import annotations

import difflib
import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from rgbd_seg_ros.frames import STREAMS, Defect, Frame, Stream

DEPTHS: tuple[Stream, ...] = ("depth", "depth_raw")
_KEYS = ("stream", "fault", "from", "to", "value")


class FaultError(ValueError):
    """A schedule that cannot be used; the message names the line and the remedy."""


@dataclass(frozen=True, eq=False)
class ReceivedItem:
    """One message on its way to the core."""

    item: Frame | Defect
    #: When it arrives, nanoseconds.
    receive_ns: int


@dataclass(frozen=True, eq=False)
class Moment:
    """What a fault may know besides the sample."""

    #: Seconds since the fault began.
    since_s: float
    #: The last frame of this stream before the fault began, else the first one within it.
    held: Frame | None
    #: The entry's ``value``.
    value: float | None


@dataclass(frozen=True)
class Kind:
    """One kind of fault."""

    #: The sample as it arrives after all; None when it never does.
    apply: Callable[[ReceivedItem, Moment], ReceivedItem | None]
    #: Streams an entry may name.
    streams: tuple[Stream, ...] = STREAMS
    #: Streams it hits when it is not for the entry to name one.
    hits: tuple[Stream, ...] = ()
    #: What ``value`` means; empty for a fault that takes none.
    value: str = ""


def drop(sample: ReceivedItem, moment: Moment) -> ReceivedItem | None:
    """Nothing arrives."""
    return None


def freeze(sample: ReceivedItem, moment: Moment) -> ReceivedItem | None:
    """The driver repeats its last picture under fresh stamps."""
    if isinstance(sample.item, Defect) or moment.held is None:
        return sample
    frozen = replace(sample.item, array=moment.held.array, encoding=moment.held.encoding)
    return replace(sample, item=frozen)


def zero(sample: ReceivedItem, moment: Moment) -> ReceivedItem | None:
    """Every pixel is 0: a black picture, or depth without a return."""
    return _filled(sample, 0)


def nan(sample: ReceivedItem, moment: Moment) -> ReceivedItem | None:
    """Every depth is invalid: NaN in meters, 0 in ticks, which know no NaN."""
    if isinstance(sample.item, Frame) and sample.item.array.dtype.kind == "f":
        return _filled(sample, math.nan)
    return _filled(sample, 0)


def _filled(sample: ReceivedItem, value: float) -> ReceivedItem:
    if isinstance(sample.item, Defect):
        return sample
    array = np.full_like(sample.item.array, value, order="C", subok=False)
    return replace(sample, item=replace(sample.item, array=array))


#: Every kind by name.
FAULTS: dict[str, Kind] = {
    "drop": Kind(drop),
    "freeze": Kind(freeze),
    "zero": Kind(zero),
    "nan": Kind(nan, streams=DEPTHS),
    "black": Kind(zero, streams=("rgb",)),
    # RealSense registers depth to color, so both stop when color does; raw depth goes on.
    "color_driver": Kind(drop, hits=("rgb", "depth")),
}


@dataclass(frozen=True)
class Fault:
    """One entry of a schedule."""

    fault: str
    #: None for a fault that hits streams of its own.
    stream: Stream | None = None
    from_s: float = 0.0
    to_s: float = math.inf
    value: float | None = None

    def __post_init__(self) -> None:
        if self.fault not in FAULTS:
            raise FaultError(_unknown("fault", self.fault, FAULTS))
        kind = FAULTS[self.fault]
        if kind.hits and self.stream is not None:
            raise FaultError(f"fault {self.fault} hits {', '.join(kind.hits)}; give no stream")
        if not kind.hits and self.stream is None:
            raise FaultError(f"fault {self.fault} needs a stream: {', '.join(kind.streams)}")
        if self.stream is not None and self.stream not in STREAMS:
            raise FaultError(_unknown("stream", self.stream, STREAMS))
        if self.stream is not None and self.stream not in kind.streams:
            raise FaultError(
                f"fault {self.fault} cannot hit stream {self.stream}, "
                f"only {', '.join(kind.streams)}"
            )
        if not 0 <= self.from_s < self.to_s:
            raise FaultError(f"need 0 ≤ from < to in seconds, got {self.from_s} and {self.to_s}")
        if (self.value is None) != (not kind.value):
            takes = f"needs value: {kind.value}" if kind.value else "takes no value"
            raise FaultError(f"fault {self.fault} {takes}, got {self.value}")

    @property
    def streams(self) -> tuple[Stream, ...]:
        """The streams it hits."""
        return FAULTS[self.fault].hits or ((self.stream,) if self.stream else ())

    def active(self, t_s: float) -> bool:
        """Whether it is on at a time from the start of the bag."""
        return self.from_s <= t_s < self.to_s

    def __str__(self) -> str:
        return f"{self.stream} {self.fault}" if self.stream else self.fault


@dataclass(frozen=True)
class Phase:
    """A stretch of time in which the same faults are on."""

    from_s: float
    to_s: float
    #: For example ``depth drop``; ``no fault`` without any.
    name: str
    #: Streams hit by a fault.
    streams: tuple[Stream, ...]


class FaultSchedule:
    """Applies the entries, in their order, to what arrives. One schedule serves one run."""

    def __init__(self, faults: Iterable[Fault] = ()) -> None:
        self.faults: Sequence[Fault] = tuple(faults)
        #: Samples that each entry has hit.
        self.hits: list[int] = [0] * len(self.faults)
        #: Per entry and stream, the frame before it began.
        self._held: dict[tuple[int, Stream], Frame] = {}

    def apply(self, stream: Stream, sample: ReceivedItem, start_ns: int) -> ReceivedItem | None:
        """What becomes of a sample; None when it never arrives.

        Args:
            stream: the stream it belongs to.
            sample: as recorded.
            start_ns: receive time of the bag's first message.
        """
        t_s = (sample.receive_ns - start_ns) / 1e9
        current: ReceivedItem | None = sample
        for index, fault in enumerate(self.faults):
            if stream not in fault.streams or current is None:
                continue
            key = (index, stream)
            if isinstance(current.item, Frame) and (
                t_s < fault.from_s or (fault.active(t_s) and key not in self._held)
            ):
                self._held[key] = current.item
            if fault.active(t_s):
                self.hits[index] += 1
                moment = Moment(t_s - fault.from_s, self._held.get(key), fault.value)
                current = FAULTS[fault.fault].apply(current, moment)
        return current

    def phases(self, duration_s: float) -> list[Phase]:
        """The bag cut where faults begin and end."""
        edges = {0.0, duration_s}
        edges |= {e for f in self.faults for e in (f.from_s, f.to_s) if e < duration_s}
        cuts = sorted(edges)
        phases = []
        for from_s, to_s in itertools.pairwise(cuts):
            active = [f for f in self.faults if f.active(from_s)]
            streams = tuple(s for s in STREAMS if any(s in f.streams for f in active))
            name = ", ".join(dict.fromkeys(str(f) for f in active)) or "no fault"
            phases.append(Phase(from_s, to_s, name, streams))
        return phases


def load_faults(path: Path | str) -> FaultSchedule:
    """Read and check a schedule.

    Raises:
        FaultError: with the file, the line and the remedy.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise FaultError(f"cannot read fault schedule {path}: {error}") from error
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        entries = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or "no YAML"
        raise FaultError(f"{path}{line}: {problem}") from error
    if not isinstance(node, yaml.SequenceNode):
        raise FaultError(f"{path}: expected a list of faults, each '- {{stream: …, fault: …}}'")
    faults = []
    for item, entry in zip(node.value, entries, strict=True):
        try:
            faults.append(_parse(entry))
        except FaultError as error:
            raise FaultError(f"{path}:{item.start_mark.line + 1}: {error}") from error
    return FaultSchedule(faults)


def _parse(entry: Any) -> Fault:
    if not isinstance(entry, dict):
        raise FaultError(f"expected {{stream: …, fault: …, from: …, to: …}}, got {entry!r}")
    for key in entry:
        if key not in _KEYS:
            raise FaultError(_unknown("key", key, _KEYS))
    if "fault" not in entry:
        raise FaultError(f"the key fault is missing; known faults: {', '.join(FAULTS)}")
    return Fault(
        fault=str(entry["fault"]),
        stream=entry.get("stream"),
        from_s=_number(entry, "from", 0.0),
        to_s=_number(entry, "to", math.inf),
        value=_number(entry, "value", 0.0) if entry.get("value") is not None else None,
    )


def _number(entry: dict[str, Any], key: str, default: float) -> float:
    value = entry.get(key, default)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or math.isnan(value):
        raise FaultError(f"{key} must be a number, got {value!r}")
    return float(value)


def _unknown(what: str, value: object, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(str(value), list(known), n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return f"unknown {what} {value!r}; {hint}known: {', '.join(known)}"
