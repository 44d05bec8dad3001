# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Source of a replay: the messages of a bag as frames, with stamps chosen and faults applied."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal

from rgbd_seg_ros.bag.reader import BagError, BagMessage, BagReader
from rgbd_seg_ros.bag.topics import Topics
from rgbd_seg_ros.frames import STREAMS, AnyFrame, CompressedFrame, Defect, Intrinsics, Stream
from rgbd_seg_ros.gravity import TransformTree
from rgbd_seg_ros.image_size import MAX_IMAGE_PIXELS
from rgbd_seg_ros.images import to_intrinsics, to_mask
from rgbd_seg_ros.replay.fault_kinds import ReceivedItem
from rgbd_seg_ros.replay.faults import FaultSchedule
from rgbd_seg_ros.replay.stamps import HEADER_STAMPS, Restamper, StampChoice
from rgbd_seg_ros.video import StreamDecoder

TF, TF_STATIC = "/tf", "/tf_static"


@dataclass(frozen=True, eq=False)
class Arrival:
    """One item as it reaches the core, or a ground-truth mask as it reaches the scorer."""

    kind: Stream | Literal["truth"]
    item: AnyFrame | Defect
    receive_ns: int


@dataclass(frozen=True, eq=False)
class TransformArrival:
    """A tf message as it reaches whoever needs the direction of gravity."""

    message: Any
    receive_ns: int


class BagSource:
    """The messages of a replay in the order of arrival.

    Args:
        reader: an open bag.
        topics: the topics to read.
        faults: the faults to apply; not shared with other sources.
        stamps: see :func:`rgbd_seg_ros.replay.stamps.choose_stamps`.
        transforms: receives the bag's static transforms; None to skip all transforms.
        max_pixels: of the largest image that is decoded; the parameter ``max_image_pixels``.
        decode: decode compressed images when they are read, instead of when they are needed. The
            pixels are the same, but may be decoded while the engine is busy.
    """

    def __init__(
        self,
        reader: BagReader,
        topics: Topics,
        faults: FaultSchedule,
        stamps: StampChoice = HEADER_STAMPS,
        transforms: TransformTree | None = None,
        max_pixels: int = MAX_IMAGE_PIXELS,
        decode: bool = False,
    ) -> None:
        self._reader = reader
        self._decode = decode
        self._decoders = {s: StreamDecoder(s, max_pixels=max_pixels) for s in STREAMS}
        self._transforms = transforms
        self._topics = topics
        self._faults = faults
        self._restamper = Restamper(stamps, topics)
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
                if item.message is not None:
                    transforms.add(item.message, static=True)

    def __iter__(self) -> Iterator[Arrival | TransformArrival]:
        # Items that a fault has delayed.
        delayed: list[tuple[int, int, Arrival | TransformArrival]] = []
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

    def _arrival(self, message: BagMessage) -> Arrival | TransformArrival | None:
        topics = self._topics
        if message.topic == TF:
            if message.message is None:
                return None
            return TransformArrival(message.message, message.receive_ns)
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
            item: AnyFrame | Defect = Defect(
                "malformed", "its bytes are not a message of its type"
            )
        else:
            item = self._decoders[stream].inspect(message.message, self._intrinsics.get(stream))
        item = self._stamped(stream, item, message.receive_ns)
        received = self._faults.apply(
            stream, ReceivedItem(item, message.receive_ns), self._reader.start_ns
        )
        if received is None:
            self.dropped[stream] += 1
            return None
        return Arrival(stream, self._decoded(received.item), received.receive_ns)

    def _decoded(self, item: AnyFrame | Defect) -> AnyFrame | Defect:
        if not self._decode or not isinstance(item, CompressedFrame):
            return item
        result = item.decode()
        return replace(item, decode=lambda: result)

    def _truth(self, message: BagMessage) -> Arrival:
        if message.message is None:
            raise BagError(
                f"ground-truth topic {message.topic} is not usable: the bytes of a message are "
                "not of its type; replay with --truth-topic none"
            )
        item = to_mask(message.message)
        if isinstance(item, Defect):
            raise BagError(f"ground-truth topic {message.topic} is not usable: {item.detail}")
        return Arrival(
            "truth", self._stamped("truth", item, message.receive_ns), message.receive_ns
        )

    def _stamped(
        self, kind: Stream | Literal["truth"], item: AnyFrame | Defect, receive_ns: int
    ) -> AnyFrame | Defect:
        stamp = self._restamper.stamp(kind, item.stamp_ns, receive_ns)
        if stamp == item.stamp_ns or stamp is None:
            return item
        if isinstance(item, CompressedFrame):
            decode = item.decode
            return replace(item, stamp_ns=stamp, decode=lambda: replace(decode(), stamp_ns=stamp))
        return replace(item, stamp_ns=stamp)
