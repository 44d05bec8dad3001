# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Source of a replay: the messages of a bag as frames, with stamps chosen and faults applied."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

from rgbd_seg_ros.bag.reader import BagError, BagMessage, BagReader
from rgbd_seg_ros.bag.topics import Topics
from rgbd_seg_ros.frames import STREAMS, Defect, Frame, Intrinsics, Stream
from rgbd_seg_ros.gravity import TransformTree
from rgbd_seg_ros.images import stamp_ns, to_frame, to_intrinsics, to_mask
from rgbd_seg_ros.replay.faults import FaultSchedule, ReceivedItem

Stamps = Literal["auto", "header", "receive"]
#: Number of messages whose header stamps are compared with their receive times.
STAMP_SAMPLE = 30
TF, TF_STATIC = "/tf", "/tf_static"


@dataclass(frozen=True, eq=False)
class Arrival:
    """One item as it reaches the core, or a ground-truth mask as it reaches the scorer."""

    kind: Stream | Literal["truth"]
    item: Frame | Defect
    receive_ns: int


class BagSource:
    """The messages of a replay in the order of arrival.

    Args:
        reader: an open bag.
        topics: the topics to read.
        faults: the faults to apply; not shared with other sources.
        stamps: ``header`` or ``receive``, see :func:`choose_stamps`.
        transforms: receives the bag's transforms as they arrive; None to skip them.
    """

    def __init__(
        self,
        reader: BagReader,
        topics: Topics,
        faults: FaultSchedule,
        stamps: Literal["header", "receive"],
        transforms: TransformTree | None = None,
    ) -> None:
        self._reader = reader
        self._transforms = transforms
        self._topics = topics
        self._faults = faults
        self._by_receive_time = stamps == "receive"
        #: Recorded messages per stream, and how many of them a fault dropped.
        self.recorded: dict[Stream, int] = dict.fromkeys(STREAMS, 0)
        self.dropped: dict[Stream, int] = dict.fromkeys(STREAMS, 0)
        self._intrinsics: dict[Stream, Intrinsics | None] = {}
        for topic, streams in topics.infos.items():
            # Some drivers send a camera_info after its image, so the first one also applies to
            # earlier images.
            message = reader.first(topic)
            if message is not None:
                self._intrinsics |= dict.fromkeys(streams, to_intrinsics(message))
        if transforms is not None:
            # Static transforms are latched, so they are valid from the start of the recording.
            for item in reader.messages([TF_STATIC]):
                self._add_transforms(item)

    def __iter__(self) -> Iterator[Arrival]:
        delayed: list[tuple[int, int, Arrival]] = []  # items that a fault has delayed
        order = itertools.count()
        for message in self._reader.messages(self._read_topics):
            while delayed and delayed[0][0] <= message.receive_ns:
                yield heapq.heappop(delayed)[2]
            arrival = self._arrival(message)
            if arrival is None:
                continue
            if arrival.receive_ns > message.receive_ns:
                heapq.heappush(delayed, (arrival.receive_ns, next(order), arrival))
            else:
                yield arrival
        while delayed:
            yield heapq.heappop(delayed)[2]

    @property
    def _read_topics(self) -> list[str]:
        return [*self._topics.all, *([TF] if self._transforms is not None else [])]

    def _add_transforms(self, message: BagMessage) -> None:
        if self._transforms is not None and message.message is not None:
            self._transforms.add(message.message)

    def _arrival(self, message: BagMessage) -> Arrival | None:
        topics = self._topics
        if message.topic == TF:
            self._add_transforms(message)
            return None
        if message.topic == topics.truth:
            return self._truth(message)
        if message.topic in topics.infos:
            if message.message is not None:
                streams = topics.infos[message.topic]
                self._intrinsics |= dict.fromkeys(streams, to_intrinsics(message.message))
            return None
        stream = topics.streams[message.topic]
        self.recorded[stream] += 1
        if message.message is None:
            item: Frame | Defect = Defect("malformed", "its bytes are not a message of its type")
        else:
            item = to_frame(message.message, stream, self._intrinsics.get(stream))
        item = self._stamped(item, message.receive_ns)
        received = self._faults.apply(
            stream, ReceivedItem(item, message.receive_ns), self._reader.start_ns
        )
        if received is None:
            self.dropped[stream] += 1
            return None
        return Arrival(stream, received.item, received.receive_ns)

    def _truth(self, message: BagMessage) -> Arrival:
        item = to_mask(message.message)
        if isinstance(item, Defect):
            raise BagError(f"ground-truth topic {message.topic} is not usable: {item.detail}")
        return Arrival("truth", self._stamped(item, message.receive_ns), message.receive_ns)

    def _stamped(self, item: Frame | Defect, receive_ns: int) -> Frame | Defect:
        return replace(item, stamp_ns=receive_ns) if self._by_receive_time else item


def choose_stamps(
    reader: BagReader, topics: Topics, wanted: Stamps, max_age_s: float
) -> tuple[Literal["header", "receive"], str | None]:
    """Choose the stamps of the frames; also returns a warning if ``auto`` rejects the headers'.

    ``auto`` chooses header stamps unless each of the first messages disagrees with its receive
    time by more than ``max_age_s``, since all frames would then be stale. Recordings of the
    RealSense SDK are an example.
    """
    if wanted != "auto":
        return wanted, None
    differences_s = [
        abs(item.receive_ns - stamp_ns(item.message.header)) / 1e9
        for item in itertools.islice(reader.messages(topics.streams), STAMP_SAMPLE)
        if item.message is not None
    ]
    if not max_age_s or not differences_s or min(differences_s) <= max_age_s:
        return "header", None
    return "receive", (
        f"header stamps and receive times differ by at least {min(differences_s):.1f} s, so "
        "frames are stamped with their receive time; to keep the header stamps, use "
        "--stamps header"
    )
