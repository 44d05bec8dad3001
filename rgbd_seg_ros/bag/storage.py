# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Storage: the base of every file format of a recording, which delivers messages by time."""

from __future__ import annotations

import heapq
import itertools
import os
import struct
from abc import ABC, abstractmethod
from array import array
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np


class BagError(ValueError):
    """An unusable bag, topic or output; the message names the value seen and the remedy."""


class UnreadableBytesError(Exception):
    """Bytes that are not what their place in the file requires; the message says why."""


def one_line(reason: object, most: int = 200) -> str:
    """A message of another library on one line, shortened to ``most`` characters."""
    return " ".join(str(reason).split())[:most]


@dataclass(frozen=True)
class Channel:
    """One topic of one file."""

    topic: str
    #: Type in ROS 2 notation, such as ``sensor_msgs/msg/Image``; for foreign encodings as written.
    type: str
    #: ``cdr`` for ROS 2, ``ros1`` for ROS 1; anything else cannot be decoded.
    encoding: str
    #: Definition of the type that is embedded in the file, in the format ``ros2msg``, ``ros2idl``
    #: or ``ros1msg``; empty if there is none.
    definition: str = ""
    definition_format: str = ""
    #: Number of messages.
    count: int = 0


@dataclass(frozen=True)
class Chunk:
    """A block of messages that is read, checked and decompressed as a whole."""

    #: Receive time of its first message, nanoseconds.
    start_ns: int
    #: Position of its record in the file, bytes.
    offset: int
    #: Number of messages by channel.
    counts: dict[int, int]

    @property
    def total(self) -> int:
        """Number of messages."""
        return sum(self.counts.values())


#: Receive time in nanoseconds, channel and serialized message.
RawMessage = tuple[int, int, bytes]


class Storage(ABC):
    """One file of a recording; open until :meth:`close`.

    Args:
        path: the file.
        name: the name by which the user knows it, if ``path`` is an unpacked copy.

    Raises:
        UnreadableBytesError: nothing in the file is readable.
        OSError: the file cannot be opened.
    """

    def __init__(self, path: Path, name: str | None = None) -> None:
        self.path = path
        self.name = name or path.name
        self.channels: dict[int, Channel] = {}
        #: Receive times of the first and the last message; None without messages.
        self.start_ns: int | None = None
        self.end_ns: int | None = None
        #: What was worked around without a loss.
        self.notes: list[str] = []
        #: What is lost or suspicious, without repetitions.
        self._damage: dict[str, None] = {}
        #: Unreadable places (a chunk's position or a row) and how many messages each contained.
        self._lost: dict[int, int | None] = {}
        self._lost_reason = ""

    @property
    def damage(self) -> list[str]:
        """What could not be read, or may be wrong; grows while messages are read."""
        texts = list(self._damage)
        if self._lost:
            known = [count for count in self._lost.values() if count is not None]
            number = f"{sum(known)} messages" if len(known) == len(self._lost) else "messages"
            if number == "1 messages":
                number = "1 message"
            unit = self._lost_unit if len(self._lost) == 1 else f"{self._lost_unit}s"
            lost = "is damaged" if len(self._lost) == 1 else "are damaged"
            texts.append(
                f"{self.name}: {len(self._lost)} {unit} {lost} ({self._lost_reason}); {number} of "
                "this recording cannot be read"
            )
        return texts

    #: What :attr:`_lost` counts.
    _lost_unit = "chunk"

    @abstractmethod
    def messages(self, channels: Collection[int]) -> Iterator[RawMessage]:
        """The messages of some channels by receive time; damage never raises."""

    @abstractmethod
    def close(self) -> None:
        """Close the file."""

    def _note_damage(self, text: str) -> None:
        self._damage[f"{self.name} {one_line(text)}"] = None

    def _lose(self, place: int, count: int | None, reason: object) -> None:
        self._lost.setdefault(place, count)
        self._lost_reason = self._lost_reason or one_line(reason)


class ChunkedStorage(Storage):
    """A file of records, most of which are chunks of messages: mcap and ROS 1 bags."""

    def __init__(self, path: Path, name: str | None = None) -> None:
        super().__init__(path, name)
        self._file = path.open("rb")
        self._size = os.fstat(self._file.fileno()).st_size
        self._chunks: list[Chunk] = []
        # Messages outside chunks: receive times, channels, positions and sizes.
        self._loose = (array("Q"), array("L"), array("Q"), array("Q"))
        try:
            self._open()
        except BaseException:
            self.close()
            raise

    @abstractmethod
    def _open(self) -> None:
        """Fill the channels, chunks, loose messages and bounds from the file."""

    @abstractmethod
    def _chunk_messages(self, chunk: Chunk, wanted: Collection[int]) -> list[RawMessage]:
        """The messages of some channels in a chunk; raises ``UnreadableBytesError``."""

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def messages(self, channels: Collection[int]) -> Iterator[RawMessage]:
        """The messages of some channels by receive time; chunks are read when they are due."""
        wanted = frozenset(channels)
        order = itertools.count()
        pending: list[tuple[int, int, int, bytes]] = []
        for start_ns, place in self._sources(wanted):
            while pending and pending[0][0] < start_ns:
                receive_ns, _, channel, data = heapq.heappop(pending)
                yield receive_ns, channel, data
            for receive_ns, channel, data in self._load(place, wanted):
                heapq.heappush(pending, (receive_ns, next(order), channel, data))
        while pending:
            receive_ns, _, channel, data = heapq.heappop(pending)
            yield receive_ns, channel, data

    def _sources(self, wanted: frozenset[int]) -> Iterator[tuple[int, Chunk | int]]:
        """Chunks, and indices of loose messages, by the time from which they are needed."""
        chunks = [c for c in self._chunks if wanted & c.counts.keys()]
        by_chunk = ((c.start_ns, c) for c in sorted(chunks, key=lambda c: c.start_ns))
        times, ids, _, _ = (np.array(column) for column in self._loose)
        indices = np.flatnonzero(np.isin(ids, list(wanted)))
        indices = indices[np.argsort(times[indices], kind="stable")]
        by_message = ((int(times[i]), int(i)) for i in indices)
        return heapq.merge(by_chunk, by_message, key=lambda source: source[0])

    def _load(self, place: Chunk | int, wanted: frozenset[int]) -> list[RawMessage]:
        try:
            if isinstance(place, Chunk):
                return self._chunk_messages(place, wanted)
            times, ids, offsets, sizes = self._loose
            data = self.read(offsets[place], sizes[place])
            return [(times[place], ids[place], data)]
        except UnreadableBytesError as error:
            if isinstance(place, Chunk):
                self._lose(place.offset, place.total, error)
            else:
                self._lose(self._loose[2][place], 1, error)
            return []

    def _add_loose(self, receive_ns: int, channel: int, offset: int, size: int) -> None:
        for column, value in zip(self._loose, (receive_ns, channel, offset, size), strict=True):
            column.append(value)
        self._extend(receive_ns, receive_ns)

    def _extend(self, start_ns: int, end_ns: int) -> None:
        """Extend the bounds of the recording to these receive times."""
        self.start_ns = start_ns if self.start_ns is None else min(self.start_ns, start_ns)
        self.end_ns = end_ns if self.end_ns is None else max(self.end_ns, end_ns)

    def _set_counts(self) -> None:
        """Count the messages of each channel in the chunks and outside."""
        counts = Counter(self._loose[1])
        for chunk in self._chunks:
            counts.update(chunk.counts)
        self.channels = {i: replace(c, count=counts[i]) for i, c in self.channels.items()}

    def read(self, offset: int, size: int) -> bytes:
        """Bytes of the file; raises ``UnreadableBytesError`` where the file has fewer."""
        if offset < 0 or size < 0 or offset + size > self._size:
            raise UnreadableBytesError(f"a record of {size} bytes exceeds the file")
        try:
            self._file.seek(offset)
            data = self._file.read(size)
        except OSError as error:  # a bad sector, a lost network drive
            raise UnreadableBytesError(error.strerror or str(error)) from error
        if len(data) != size:
            raise UnreadableBytesError("the file became shorter while it was read")
        return data


class Cursor:
    """Reads little-endian fields of a record in order; raises ``UnreadableBytesError`` at its end.

    Args:
        data: the record.
        position: where to start.
    """

    def __init__(self, data: bytes | memoryview, position: int = 0) -> None:
        self.data = memoryview(data)
        self.position = position

    @property
    def left(self) -> int:
        """Bytes that are not read yet."""
        return len(self.data) - self.position

    def take(self, size: int) -> bytes:
        """The next ``size`` bytes."""
        if size > self.left:
            raise UnreadableBytesError("a length exceeds its record")
        start, self.position = self.position, self.position + size
        return bytes(self.data[start : self.position])

    def unpack(self, layout: str) -> tuple[int, ...]:
        """The next numbers, in the notation of :mod:`struct`."""
        layout = f"<{layout}"
        return struct.unpack(layout, self.take(struct.calcsize(layout)))

    def number(self, layout: str) -> int:
        """The next number."""
        return self.unpack(layout)[0]

    def text(self) -> str:
        """The next string after its length."""
        try:
            return self.take(self.number("I")).decode()
        except UnicodeDecodeError as error:
            raise UnreadableBytesError("a text is not UTF-8") from error
