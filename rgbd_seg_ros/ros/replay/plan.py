# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Plan of a live replay: what the bag gives to whom and when, and whether its faults ever fire."""

from __future__ import annotations

import json
from collections import defaultdict, deque
from dataclasses import asdict, dataclass
from pathlib import Path

from rgbd_seg_ros.bag.reader import BagError, BagReader
from rgbd_seg_ros.bag.topics import IMAGE, Topics, choose_topics
from rgbd_seg_ros.fallback import CoreConfig
from rgbd_seg_ros.frames import Stream
from rgbd_seg_ros.images import stamp_ns
from rgbd_seg_ros.replay.faults import Fault, FaultError, load_faults
from rgbd_seg_ros.replay.source import choose_stamps

#: What to do with a bag that cannot be played live.
OFFLINE = "use `rgbd_seg replay`"
#: The player's topics get this prefix; the fault republisher takes it off.
PREFIX = "/recorded"


@dataclass(frozen=True)
class LiveReplayPlan:
    """One bag, looked through before it is played."""

    bag: str
    #: Path of the fault schedule; empty for none.
    faults: str
    #: Receive times of the bag's first and last message, nanoseconds.
    start_ns: int
    end_ns: int
    #: Stream to its topic.
    streams: dict[Stream, str]
    #: The node's relative topics to those of the bag, camera_infos too.
    inputs: dict[str, str]
    #: Per stream, every message in order: (stamp of its header, receive time), nanoseconds.
    arrivals: dict[Stream, list[tuple[int, int]]]
    #: Per entry of the schedule, how many messages it hits.
    hits: list[int]
    prefix: str = PREFIX

    def save(self, path: Path) -> None:
        """Write it as JSON."""
        path.write_text(json.dumps(asdict(self)) + "\n")

    @classmethod
    def load(cls, path: Path) -> LiveReplayPlan:
        """Read what :meth:`save` wrote."""
        fields = json.loads(path.read_text())
        arrivals = {s: [(a, b) for a, b in pairs] for s, pairs in fields["arrivals"].items()}
        return cls(**{**fields, "arrivals": arrivals})


class ReceiveTimes:
    """Receive times of the bag's messages, to be asked message by message as they are played.

    The player's clock shows a message a little late. Faults go by the recorded time, or those
    near the edge of a fault would be hit in one replay and not in the other.
    """

    def __init__(self, plan: LiveReplayPlan) -> None:
        self._times: dict[tuple[Stream, int], deque[int]] = defaultdict(deque)
        for stream, pairs in plan.arrivals.items():
            for stamp, receive_ns in pairs:
                self._times[stream, stamp].append(receive_ns)

    def take(self, stream: Stream, stamp: int) -> int | None:
        """That of the next message with this stamp; None when the bag holds none."""
        times = self._times.get((stream, stamp))
        return times.popleft() if times else None


def make_plan(bag: Path, faults: str = "") -> LiveReplayPlan:
    """Look through a bag and a fault schedule.

    Args:
        bag: a ROS 2 bag.
        faults: path of a schedule; empty for none.

    Raises:
        BagError: a bag that cannot be played live.
        FaultError: a schedule that cannot be used, or that no message of the bag is hit by.
    """
    schedule = load_faults(faults).faults if faults else ()
    with BagReader(bag) as reader:
        if reader.path.suffix == ".bag":
            raise BagError(f"{bag} is a ROS 1 bag, which `ros2 bag play` cannot play: {OFFLINE}")
        topics = choose_topics(reader, {})
        types = {topic.name: topic.type for topic in reader.topics}
        for topic in topics.streams:
            if types[topic] != IMAGE:
                raise BagError(f"{topic} is {types[topic]}, faults need {IMAGE}: {OFFLINE}")
        stamps, why = choose_stamps(reader, topics, "auto", CoreConfig().max_age_s)
        if stamps != "header":
            raise BagError(f"{why}; a live node cannot: {OFFLINE}")
        arrivals: dict[Stream, list[tuple[int, int]]] = {s: [] for s in topics.streams.values()}
        for item in reader.messages(topics.streams):
            if item.message is not None:
                pair = stamp_ns(item.message.header), item.receive_ns
                arrivals[topics.streams[item.topic]].append(pair)
        start_ns, end_ns = reader.start_ns, reader.end_ns
    hits = [hit(fault, arrivals, start_ns) for fault in schedule]
    if schedule and not any(hits):
        raise FaultError(
            f"{faults}: no fault ever fires in {bag}, which lasts "
            f"{(end_ns - start_ns) / 1e9:.1f} s and has {', '.join(arrivals)}; the first is "
            f"{schedule[0]} from {schedule[0].from_s:g} s"
        )
    streams = {stream: topic for topic, stream in topics.streams.items()}
    return LiveReplayPlan(
        str(bag), faults, start_ns, end_ns, streams, inputs(topics), arrivals, hits
    )


def hit(fault: Fault, arrivals: dict[Stream, list[tuple[int, int]]], start_ns: int) -> int:
    """How many messages of a bag an entry of a schedule hits."""
    times = [t for stream in fault.streams for _, t in arrivals.get(stream, ())]
    return sum(fault.active((t - start_ns) / 1e9) for t in times)


def inputs(topics: Topics) -> dict[str, str]:
    """The node's relative topics to those of a bag."""
    found = {f"{stream}/image_raw": topic for topic, stream in topics.streams.items()}
    return found | {f"{s}/camera_info": t for t, group in topics.infos.items() for s in group}
