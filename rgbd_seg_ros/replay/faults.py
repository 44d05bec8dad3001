# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Fault schedules: simulated sensor faults, read from YAML, for offline and live replays.

A schedule is a list of entries; times are seconds from the start of the bag::

    - {stream: depth, fault: drop, from: 2.0, to: 5.0}
    - {stream: rgb, fault: noise, from: 6.0, to: 7.0, value: 20}
    - {fault: color_driver, from: 8.0}            # without "to": until the end
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from rgbd_seg_ros.files import InputFileError, parse_yaml, read_text_file
from rgbd_seg_ros.frames import STREAMS, AnyFrame, CompressedFrame, Defect, Frame, Stream
from rgbd_seg_ros.names import shown, unknown_name
from rgbd_seg_ros.replay.fault_kinds import FAULTS, FaultContext, FaultKind, ReceivedItem

_KEYS = ("stream", "fault", "from", "to", "value", "seed")
#: Largest seed of a fault.
MAX_SEED = 2**32 - 1
#: Old names that are still accepted, with a warning.
_RENAMED = {"colour_driver": "color_driver"}


#: A fault may affect the health of its stream for so long after its end, seconds.
AFTERMATH_S = 1.0


class FaultError(ValueError):
    """An unusable schedule; the message names the line and the remedy."""


@dataclass(frozen=True)
class Fault:
    """One entry of a schedule."""

    fault: str
    #: None for a fault with fixed streams.
    stream: Stream | None = None
    from_s: float = 0.0
    to_s: float = math.inf
    #: See the fault's :class:`~rgbd_seg_ros.replay.fault_kinds.ValueRange`; None if it has none.
    value: float | None = None
    #: Of the fault's random numbers.
    seed: int = 0

    def __post_init__(self) -> None:
        if self.fault not in FAULTS:
            raise FaultError(unknown_name("fault", self.fault, FAULTS))
        kind = FAULTS[self.fault]
        if kind.fixed_streams and self.stream is not None:
            raise FaultError(
                f"fault {self.fault} affects {' and '.join(kind.fixed_streams)}; omit the stream"
            )
        if not kind.fixed_streams and self.stream is None:
            raise FaultError(f"fault {self.fault} needs a stream: {', '.join(kind.streams)}")
        if self.stream is not None and self.stream not in STREAMS:
            raise FaultError(unknown_name("stream", self.stream, STREAMS))
        if self.stream is not None and self.stream not in kind.streams:
            raise FaultError(
                f"fault {self.fault} cannot affect stream {self.stream}, "
                f"only {', '.join(kind.streams)}"
            )
        if not 0 <= self.from_s < self.to_s:
            raise FaultError(
                f"from and to must satisfy 0 ≤ from < to (seconds), got {self.from_s} and "
                f"{self.to_s}"
            )
        if kind.value is None and self.value is not None:
            raise FaultError(f"fault {self.fault} takes no value, got {self.value:g}")
        if kind.value is not None and (self.value is None or not kind.value.allows(self.value)):
            got = "none" if self.value is None else f"{self.value:g}"
            raise FaultError(f"fault {self.fault} needs a value ({kind.value}), got {got}")
        if not 0 <= self.seed <= MAX_SEED:
            raise FaultError(f"seed must be 0 to {MAX_SEED}, got {shown(self.seed)}")

    @property
    def streams(self) -> tuple[Stream, ...]:
        """The affected streams."""
        return FAULTS[self.fault].fixed_streams or ((self.stream,) if self.stream else ())

    def active(self, t_s: float) -> bool:
        """Whether the fault is active at a time, in seconds from the start of the bag."""
        return self.from_s <= t_s < self.to_s

    def __str__(self) -> str:
        value = "" if self.value is None else f" {self.value:g}"
        return f"{self.stream} {self.fault}{value}" if self.stream else f"{self.fault}{value}"


@dataclass(frozen=True)
class Phase:
    """A time span during which the same faults are active."""

    from_s: float
    to_s: float
    #: For example ``depth drop``; ``no fault`` if none is active.
    name: str
    #: Affected streams.
    streams: tuple[Stream, ...]
    #: Affected streams of which no frame is worth using, see :attr:`FaultKind.blinds`.
    blind: tuple[Stream, ...] = ()


class FaultSchedule:
    """Applies faults, in the order listed, to received items. Use one schedule per replay.

    Faults that delay messages keep the order of each stream, as ROS does.

    Args:
        faults: the entries.
        warnings: one-line warnings about the schedule itself.
        length_s: of the recordings that it is made for, see :meth:`fitted`; None for any.
        name: preset, file or seed; None if it has none.
    """

    #: Meters per tick of integer depth.
    depth_scale = 0.001

    def __init__(
        self,
        faults: Iterable[Fault] = (),
        warnings: Iterable[str] = (),
        length_s: float | None = None,
        name: str | None = None,
    ) -> None:
        self.name = name
        self.faults: Sequence[Fault] = tuple(faults)
        self.warnings = tuple(warnings)
        self._length_s = length_s
        #: Number of items that each entry has covered, and of those that it has changed or
        #: dropped, by number of the entry and stream.
        self.covered: Counter[tuple[int, Stream]] = Counter()
        self.reached: Counter[tuple[int, Stream]] = Counter()
        #: The held frame of each entry and stream, see :class:`FaultContext`.
        self._held: dict[tuple[int, Stream], AnyFrame] = {}
        #: The memory of each entry and stream.
        self._memory: dict[tuple[int, Stream], dict[str, int]] = {}
        #: Latest receive time of each stream after all faults.
        self._last_ns: dict[Stream, int] = {}

    @property
    def hits(self) -> list[int]:
        """Number of items that each entry has changed or dropped."""
        return self._totals(self.reached)

    @property
    def covers(self) -> list[int]:
        """Number of items that arrived while each entry was active."""
        return self._totals(self.covered)

    def _totals(self, counts: Counter[tuple[int, Stream]]) -> list[int]:
        return [
            sum(counts[index, stream] for stream in fault.streams)
            for index, fault in enumerate(self.faults)
        ]

    def fitted(self, duration_s: float) -> FaultSchedule:
        """The schedule for a recording; a preset is compressed in time to fit into a short one.

        Args:
            duration_s: of the recording, seconds.
        """
        if self._length_s is None or not 0 < duration_s < self._length_s:
            return self
        factor = duration_s / self._length_s
        faults = [replace(f, from_s=f.from_s * factor, to_s=f.to_s * factor) for f in self.faults]
        text = (
            f"the faults of the preset are compressed to {factor:.0%} of their usual times, since "
            f"it is made for {self._length_s:g} s and the recording lasts {duration_s:.3g} s"
        )
        return FaultSchedule(faults, (*self.warnings, text), name=self.name)

    def apply(self, stream: Stream, received: ReceivedItem, start_ns: int) -> ReceivedItem | None:
        """Return the item after all active faults; None if it is dropped.

        Args:
            stream: stream of the item.
            received: the item as recorded.
            start_ns: receive time of the first message in the bag.
        """
        t_ns = received.receive_ns - start_ns
        t_s = t_ns / 1e9
        current: ReceivedItem | None = received
        for index, fault in enumerate(self.faults):
            if stream not in fault.streams or current is None:
                continue
            key = (index, stream)
            if not isinstance(current.item, Defect) and (
                t_s < fault.from_s or (fault.active(t_s) and key not in self._held)
            ):
                self._held[key] = current.item
            if fault.active(t_s):
                self.covered[key] += 1
                context = FaultContext(
                    value=fault.value or 0.0,
                    seed=(fault.seed, index, STREAMS.index(stream)),
                    t_ns=t_ns,
                    depth_scale=self.depth_scale,
                    memory=self._memory.setdefault(key, {}),
                )
                current = self._apply(FAULTS[fault.fault], context, key, current)
        if current is None or current.receive_ns >= self._last_ns.get(stream, 0):
            if current is not None:
                self._last_ns[stream] = current.receive_ns
            return current
        return replace(current, receive_ns=self._last_ns[stream])

    def _apply(
        self,
        kind: FaultKind,
        context: FaultContext,
        key: tuple[int, Stream],
        received: ReceivedItem,
    ) -> ReceivedItem | None:
        held = self._held.get(key)
        if kind.needs_pixels:
            if isinstance(received.item, CompressedFrame):
                received = replace(received, item=_decoded(received.item))
            if isinstance(held, CompressedFrame):
                # Of a frame that cannot be decoded, nothing can be held.
                held = frame if isinstance(frame := _decoded(held), Frame) else None
                if held is not None:
                    self._held[key] = held
        context.held = held if isinstance(held, Frame) else None
        after = kind.apply(received, context)
        self.reached[key] += _differs(received, after)
        return after

    def may_affect(self, stream: Stream, from_s: float, to_s: float | None = None) -> bool:
        """Whether a fault of the stream may have caused what is seen at a time, because it is
        active then or was so a moment ago.

        Args:
            stream: a stream.
            from_s: begin of the time, in seconds from the start of the bag.
            to_s: end of the time; None for an instant.
        """
        end_s = from_s if to_s is None else to_s
        return any(
            stream in fault.streams
            and fault.from_s <= end_s
            and from_s < fault.to_s + _aftermath_s(fault)
            for fault in self.faults
        )

    def phases(self, duration_s: float) -> list[Phase]:
        """Divide the recording at the times when faults begin and end."""
        edges = {0.0, duration_s}
        edges |= {e for f in self.faults for e in (f.from_s, f.to_s) if e < duration_s}
        cuts = sorted(edges)
        phases = []
        for from_s, to_s in itertools.pairwise(cuts):
            active = [f for f in self.faults if f.active(from_s)]
            streams = tuple(s for s in STREAMS if any(s in f.streams for f in active))
            name = ", ".join(dict.fromkeys(str(f) for f in active)) or "no fault"
            blinding = [f for f in active if FAULTS[f.fault].blinds]
            blind = tuple(s for s in STREAMS if any(s in f.streams for f in blinding))
            phases.append(Phase(from_s, to_s, name, streams, blind))
        return phases


def _aftermath_s(fault: Fault) -> float:
    late = fault.fault in ("delay", "jitter")
    return AFTERMATH_S + ((fault.value or 0.0) / 1e3 if late else 0.0)


def _differs(before: ReceivedItem, after: ReceivedItem | None) -> bool:
    """Whether a fault has dropped an item, or changed its time, stamp or content."""
    if after is before:
        return False
    if after is None or after.receive_ns != before.receive_ns:
        return True
    old, new = before.item, after.item
    if not (isinstance(old, Frame) and isinstance(new, Frame)):
        return type(old) is not type(new) or old.stamp_ns != new.stamp_ns
    floats = old.array.dtype.kind == "f" and new.array.dtype.kind == "f"
    same = np.array_equal(old.array, new.array, equal_nan=floats)
    return not same or (old.stamp_ns, old.encoding) != (new.stamp_ns, new.encoding)


def _decoded(frame: CompressedFrame) -> Frame | Defect:
    """The frame with its pixels; as in the core, it keeps its stamp."""
    return replace(frame.decode(), stamp_ns=frame.stamp_ns)


def load_faults(path: Path | str) -> FaultSchedule:
    """Read and check a schedule.

    Raises:
        FaultError: the schedule is unusable; the message names the file, line and remedy.
    """
    path = Path(path)
    try:
        text = read_text_file(path)
        entries = parse_yaml(text, str(path))
    except InputFileError as error:
        raise FaultError(str(error)) from error
    if not isinstance(entries, list):
        raise FaultError(
            f"{path}: expected a list of faults, each '- {{stream: …, fault: …}}', got "
            f"{shown(entries)}"
        )
    # Composed once more for the lines of the entries, now that the file is known to be sound.
    node: Any = yaml.compose(text, Loader=yaml.SafeLoader)
    faults = []
    for item, entry in zip(node.value, entries, strict=True):
        try:
            faults.append(_parse(entry))
        except FaultError as error:
            raise FaultError(f"{path}:{item.start_mark.line + 1}: {error}") from error
    if not faults:
        text = f"{path} has no fault, so the recording is replayed as it is"
        return FaultSchedule((), [text], name=str(path))
    names = {str(entry["fault"]) for entry in entries}
    return FaultSchedule(
        faults,
        [
            f"fault {old} is now called {new}; please rename it in {path}"
            for old, new in _RENAMED.items()
            if old in names
        ],
        name=str(path),
    )


def _parse(entry: Any) -> Fault:
    if not isinstance(entry, dict):
        raise FaultError(f"expected {{stream: …, fault: …, from: …, to: …}}, got {shown(entry)}")
    for key in entry:
        if key not in _KEYS:
            raise FaultError(unknown_name("key", key, _KEYS))
    if "fault" not in entry:
        raise FaultError(f"the key fault is missing; known faults: {', '.join(FAULTS)}")
    name = str(entry["fault"])
    return Fault(
        fault=_RENAMED.get(name, name),
        stream=entry.get("stream"),
        from_s=_number(entry, "from", 0.0),
        to_s=_number(entry, "to", math.inf),
        value=_number(entry, "value", 0.0) if entry.get("value") is not None else None,
        seed=_seed(entry),
    )


def _number(entry: dict[str, Any], key: str, default: float) -> float:
    value = entry.get(key, default)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or math.isnan(value):
        raise FaultError(f"{key} must be a number, got {shown(value)}")
    return float(value)


def _seed(entry: dict[str, Any]) -> int:
    value = entry.get("seed", 0)
    if isinstance(value, bool) or not isinstance(value, int):
        raise FaultError(f"seed must be a whole number, got {shown(value)}")
    return value
