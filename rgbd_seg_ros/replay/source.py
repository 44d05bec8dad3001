# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""What the core is offered: a bag's messages as frames, with stamps chosen and faults applied."""

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
#: So many messages show whether headers and receive times agree.
STAMP_SAMPLE = 30
#: Where transforms are, in every bag.
TRANSFORMS = ("/tf", "/tf_static")


@dataclass(frozen=True, eq=False)
class Arrival:
    """One message as it reaches the core, or a true mask as it reaches the scorer."""

    kind: Stream | Literal["truth"]
    item: Frame | Defect
    receive_ns: int


class BagSource:
    """The messages of a replay in the order of their arrival.

    Args:
        reader: an open bag.
        topics: what to read of it.
        faults: what to break; it serves this source alone.
        stamps: ``header`` or ``receive``, see :func:`choose_stamps`.
        transforms: is given the bag's transforms as they come by; None to leave them unread.
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
        #: Messages recorded per stream, and those of them that a fault kept from arriving.
        self.recorded: dict[Stream, int] = dict.fromkeys(STREAMS, 0)
        self.dropped: dict[Stream, int] = dict.fromkeys(STREAMS, 0)
        self._intrinsics: dict[Stream, Intrinsics | None] = {}
        for topic, streams in topics.infos.items():
            # Some drivers send a camera_info after its picture: the first one serves all before.
            message = reader.first(topic)
            if message is not None:
                self._intrinsics |= dict.fromkeys(streams, to_intrinsics(message))
        if transforms is not None:
            # Latched before the recording began, so they hold from its start on.
            for item in reader.messages(TRANSFORMS[1:]):
                self._take_transforms(item)

    def __iter__(self) -> Iterator[Arrival]:
        held: list[tuple[int, int, Arrival]] = []  # what a fault delays
        order = itertools.count()
        for message in self._reader.messages(self._read):
            while held and held[0][0] <= message.receive_ns:
                yield heapq.heappop(held)[2]
            arrival = self._arrival(message)
            if arrival is None:
                continue
            if arrival.receive_ns > message.receive_ns:
                heapq.heappush(held, (arrival.receive_ns, next(order), arrival))
            else:
                yield arrival
        while held:
            yield heapq.heappop(held)[2]

    @property
    def _read(self) -> list[str]:
        return [*self._topics.all, *(TRANSFORMS[:1] if self._transforms is not None else ())]

    def _take_transforms(self, message: BagMessage) -> None:
        if self._transforms is not None and message.message is not None:
            self._transforms.add(message.message)

    def _arrival(self, message: BagMessage) -> Arrival | None:
        topics = self._topics
        if message.topic in TRANSFORMS:
            self._take_transforms(message)
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
            item: Frame | Defect = Defect("malformed", "its bytes are no message of its type")
        else:
            item = to_frame(message.message, stream, self._intrinsics.get(stream))
        item = self._stamped(item, message.receive_ns)
        sample = self._faults.apply(
            stream, ReceivedItem(item, message.receive_ns), self._reader.start_ns
        )
        if sample is None:
            self.dropped[stream] += 1
            return None
        return Arrival(stream, sample.item, sample.receive_ns)

    def _truth(self, message: BagMessage) -> Arrival:
        item = to_mask(message.message)
        if isinstance(item, Defect):
            raise BagError(f"truth topic {message.topic} cannot be used: {item.detail}")
        return Arrival("truth", self._stamped(item, message.receive_ns), message.receive_ns)

    def _stamped(self, item: Frame | Defect, receive_ns: int) -> Frame | Defect:
        return replace(item, stamp_ns=receive_ns) if self._by_receive_time else item


def choose_stamps(
    reader: BagReader, topics: Topics, wanted: Stamps, max_age_s: float
) -> tuple[Literal["header", "receive"], str | None]:
    """Which time stamps the frames carry, and a warning when the headers' cannot be used.

    ``auto`` takes the headers' unless every one of the first messages disagrees with its receive
    time by more than ``max_age_s``, as recordings of the RealSense SDK do: their frames would all
    be stale.
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
        f"headers and receive times lie {min(differences_s):.1f} s or more apart, so frames are "
        "stamped with their receive time; --stamps header keeps the headers'"
    )
