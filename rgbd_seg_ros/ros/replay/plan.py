# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Plan of a live replay: topics, receive times and the messages that each fault affects."""

from __future__ import annotations

import json
from collections import defaultdict, deque
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rgbd_seg_ros.bag.image_topics import IMAGE
from rgbd_seg_ros.bag.reader import BagError, BagReader
from rgbd_seg_ros.bag.topics import Topics, choose_topics
from rgbd_seg_ros.fallback import CoreConfig
from rgbd_seg_ros.files import InputFileError, read_json, write_atomically
from rgbd_seg_ros.frames import STREAMS, Stream
from rgbd_seg_ros.images import stamp_ns
from rgbd_seg_ros.names import shown
from rgbd_seg_ros.replay.fault_presets import find_faults
from rgbd_seg_ros.replay.faults import Fault, FaultError, FaultSchedule
from rgbd_seg_ros.replay.stamps import choose_stamps

#: Remedy for a bag that cannot be replayed live.
OFFLINE = "use `rgbd_seg replay`"
#: Prefix of the player's topics, which the fault republisher removes.
PREFIX = "/recorded"
#: A larger plan is not read, in bytes; a message takes about 45.
MAX_PLAN_BYTES = 512 * 2**20
#: Remedy for a defective plan.
AGAIN = "start the live replay again, which writes it"


@dataclass(frozen=True)
class LiveReplayPlan:
    """The properties of a bag that are determined before it is played."""

    bag: str
    #: Path of the fault schedule; empty if there is none.
    faults: str
    #: Receive times of the bag's first and last message, nanoseconds.
    start_ns: int
    end_ns: int
    #: Map from stream to topic.
    streams: dict[Stream, str]
    #: Map from relative topic of the node to topic in the bag, including camera_infos.
    inputs: dict[str, str]
    #: Per stream and in order, (header stamp, receive time) of every message, nanoseconds.
    arrivals: dict[Stream, list[tuple[int, int]]]
    #: For each fault of the schedule, the number of messages that it affects.
    hits: list[int]
    #: One line for each thing in the bag that is not used, or not as it says.
    warnings: list[str] = field(default_factory=list)
    prefix: str = PREFIX

    def schedule(self) -> FaultSchedule:
        """A new fault schedule for one replay of the bag."""
        return find_faults(self.faults).fitted((self.end_ns - self.start_ns) / 1e9)

    def save(self, path: Path) -> None:
        """Write the plan as JSON."""
        write_atomically(path, json.dumps(asdict(self)) + "\n")

    @classmethod
    def load(cls, path: Path) -> LiveReplayPlan:
        """Read a plan that :meth:`save` wrote.

        Raises:
            InputFileError: the file cannot be read, or is not such a plan.
        """
        document = read_json(path, MAX_PLAN_BYTES)
        if not isinstance(document, dict) or document.keys() != VALUES.keys():
            raise InputFileError(
                f"{path} is not the plan of a live replay, which has the keys "
                f"{', '.join(VALUES)}; got {shown(document)}: {AGAIN}"
            )
        for key, (fits, what) in VALUES.items():
            if not fits(document[key]):
                raise InputFileError(
                    f"{path}: {key} must be {what}, got {shown(document[key])}: {AGAIN}"
                )
        arrivals = {s: [(a, b) for a, b in pairs] for s, pairs in document["arrivals"].items()}
        return cls(**{**document, "arrivals": arrivals})


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_count(value: Any) -> bool:
    return type(value) is int and value >= 0


def _is_by_stream(value: Any, fits: Callable[[Any], bool]) -> bool:
    return isinstance(value, dict) and all(s in STREAMS and fits(v) for s, v in value.items())


def _is_topics(value: Any) -> bool:
    return isinstance(value, dict) and all(map(_is_text, value.values()))


def _is_arrivals(value: Any) -> bool:
    return isinstance(value, list) and all(
        isinstance(pair, list) and len(pair) == 2 and all(type(v) is int for v in pair)
        for pair in value
    )


#: Value of a plan → its check, and what is allowed.
VALUES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "bag": (_is_text, "text"),
    "faults": (_is_text, "text"),
    "start_ns": (_is_count, "nanoseconds"),
    "end_ns": (_is_count, "nanoseconds"),
    "streams": (lambda v: _is_by_stream(v, _is_text), "a topic per stream"),
    "inputs": (_is_topics, "a topic per input"),
    "arrivals": (
        lambda v: _is_by_stream(v, _is_arrivals),
        "a list of (stamp, receive time) per stream",
    ),
    "hits": (lambda v: isinstance(v, list) and all(map(_is_count, v)), "a list of counts"),
    "warnings": (lambda v: isinstance(v, list) and all(map(_is_text, v)), "a list of texts"),
    "prefix": (_is_text, "text"),
}


class ReceiveTimes:
    """Looks up the recorded receive time of each message while the bag is played.

    Messages are played slightly later than recorded. If faults used the playback time, a message
    near the start or end of a fault might be affected in one replay but not in the other.
    """

    def __init__(self, plan: LiveReplayPlan) -> None:
        self._times: dict[tuple[Stream, int], deque[int]] = defaultdict(deque)
        for stream, pairs in plan.arrivals.items():
            for stamp, receive_ns in pairs:
                self._times[stream, stamp].append(receive_ns)

    def take(self, stream: Stream, stamp: int) -> int | None:
        """Receive time of the next message with this stamp; None if the bag has no more."""
        times = self._times.get((stream, stamp))
        return times.popleft() if times else None


def make_plan(bag: Path, faults: str = "") -> LiveReplayPlan:
    """Read a bag and a fault schedule.

    Args:
        bag: a ROS 2 bag.
        faults: path of a schedule or name of a preset; empty for none.

    Raises:
        BagError: the bag cannot be replayed live.
        FaultError: the schedule is invalid or affects no message of the bag.
    """
    schedule = find_faults(faults)
    with BagReader(bag) as reader:
        if reader.ros1:
            raise BagError(
                f"{bag} contains ROS 1 messages, which `ros2 bag play` cannot play: {OFFLINE}"
            )
        topics = choose_topics(reader, {})
        types = {topic.name: topic.type for topic in reader.topics}
        for topic in topics.streams:
            if types[topic] != IMAGE:
                raise BagError(
                    f"{topic} has type {types[topic]}, but a live replay needs {IMAGE}: {OFFLINE}"
                )
        config = CoreConfig()
        limits = config.max_age_s, config.max_future_s, config.max_wait_ms
        stamps = choose_stamps(reader, topics, "auto", *limits)
        if stamps.rules:
            why = "; ".join(stamps.warnings)
            raise BagError(f"{why}; a live replay needs header stamps: {OFFLINE}")
        arrivals: dict[Stream, list[tuple[int, int]]] = {s: [] for s in topics.streams.values()}
        for item in reader.messages(topics.streams):
            if item.message is not None:
                pair = stamp_ns(item.message.header), item.receive_ns
                arrivals[topics.streams[item.topic]].append(pair)
        start_ns, end_ns = reader.start_ns, reader.end_ns
        schedule = schedule.fitted((end_ns - start_ns) / 1e9)
        warnings = [
            *(*schedule.warnings, *reader.notes, *topics.notes),
            *(*stamps.warnings, *reader.warnings),
        ]
        # `ros2 bag play` skips nothing: it may stop at the damage or not open the bag at all.
        if reader.damage:
            raise BagError(
                f"{bag} is damaged, so `ros2 bag play` may fail: {reader.damage}; {OFFLINE}"
            )
    scheduled = schedule.faults
    hits = [count_hits(fault, arrivals, start_ns) for fault in scheduled]
    if scheduled and not any(hits):
        raise FaultError(
            f"{faults}: no fault affects a message of {bag}, which lasts "
            f"{(end_ns - start_ns) / 1e9:.1f} s and has the streams {', '.join(arrivals)}; the "
            f"first fault is {scheduled[0]} from {scheduled[0].from_s:g} s"
        )
    streams = {stream: topic for topic, stream in topics.streams.items()}
    return LiveReplayPlan(
        str(bag), faults, start_ns, end_ns, streams, node_inputs(topics), arrivals, hits, warnings
    )


def count_hits(fault: Fault, arrivals: dict[Stream, list[tuple[int, int]]], start_ns: int) -> int:
    """The number of messages that a fault affects."""
    times = [t for stream in fault.streams for _, t in arrivals.get(stream, ())]
    return sum(fault.active((t - start_ns) / 1e9) for t in times)


def node_inputs(topics: Topics) -> dict[str, str]:
    """Map from relative topic of the node to topic in the bag."""
    found = {f"{stream}/image_raw": topic for topic, stream in topics.streams.items()}
    return found | {f"{s}/camera_info": t for t, group in topics.infos.items() for s in group}
