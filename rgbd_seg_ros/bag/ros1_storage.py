# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Reads ROS 1 bags: by their index if it is sound, else record by record, also unfinished ones."""

from __future__ import annotations

import re
import struct
from collections import Counter
from collections.abc import Collection, Iterator

from rgbd_seg_ros.bag.mcap_storage import ros2_type
from rgbd_seg_ros.bag.storage import (
    Channel,
    Chunk,
    ChunkedStorage,
    Cursor,
    RawMessage,
    UnreadableBytesError,
)
from rgbd_seg_ros.bag.unpack import MAX_UNPACKED, unpack

# The format is specified at https://wiki.ros.org/Bags/Format/2.0.
MAGIC = b"#ROSBAG V2.0\n"
#: The start of all versions.
MAGIC_OF_ANY_VERSION = b"#ROSBAG V"
_MESSAGE, _BAG_HEADER, _CHUNK, _CHUNK_INFO, _CONNECTION = 2, 3, 5, 6, 7
_OPCODES = range(2, 8)
#: Longest header that is read; the longest field is a topic's definition, which is in the data.
_MAX_HEADER = 2**16
_WINDOW = 2**24
_CHUNK_FIELD = re.compile(rb"\x04\x00\x00\x00op=\x05")

_Header = dict[bytes, bytes]


class Ros1Storage(ChunkedStorage):
    """A ROS 1 bag (version 2.0), finished or not. The format has no checksums of its own."""

    def _open(self) -> None:
        start = self.read(0, min(len(MAGIC), self._size))
        if start != MAGIC:
            if start.startswith(MAGIC_OF_ANY_VERSION):
                version = (
                    start[len(MAGIC_OF_ANY_VERSION) :].split(b"\n")[0].decode("ascii", "replace")
                )
                raise UnreadableBytesError(f"its format is version {version}; 2.0 is read")
            raise UnreadableBytesError("it does not start as a ROS 1 bag does")
        header, _, _, first = self._record(len(MAGIC))
        if _number(header, b"op", "B") != _BAG_HEADER:
            raise UnreadableBytesError("its first record is not the header of a bag")
        if header.get(b"encryptor"):
            raise UnreadableBytesError("it is encrypted")
        index = _number(header, b"index_pos", "Q")
        indexed = False
        if index:
            try:
                self._read_index(header, index)
                indexed = True
            except UnreadableBytesError as error:
                self.channels, self._chunks = {}, []
                self.start_ns = self.end_ns = None
                if index < self._size:
                    self._note_damage(f"has a damaged index ({error})")
        if not indexed:
            self._scan(first, index)
        self._set_counts()

    def _read_index(self, header: _Header, position: int) -> None:
        for _ in range(_number(header, b"conn_count", "I")):
            record, start, size, after = self._whole(position, _CONNECTION)
            self._define(record, self.read(start, size))
            position = after
        for _ in range(_number(header, b"chunk_count", "I")):
            record, start, size, after = self._whole(position, _CHUNK_INFO)
            if _number(record, b"ver", "I") != 1:
                raise UnreadableBytesError("a chunk's index has an unknown version")
            offset = _number(record, b"chunk_pos", "Q")
            fields = Cursor(self.read(start, size))
            pairs = [fields.unpack("II") for _ in range(_number(record, b"count", "I"))]
            if not {channel for channel, _ in pairs} <= self.channels.keys():
                raise UnreadableBytesError("it names an unknown connection")
            self._whole(offset, _CHUNK)
            if pairs:
                start_ns = _time_ns(record, b"start_time")
                self._chunks.append(Chunk(start_ns, offset, dict(pairs)))  # type: ignore[arg-type]
                self._extend(start_ns, _time_ns(record, b"end_time"))
            position = after

    def _scan(self, position: int, index: int) -> None:
        """Find all chunks without an index.

        Args:
            position: where the first record starts.
            index: where the index should be; 0 if the bag was never finished.
        """
        incomplete = False
        while position < self._size:
            try:
                header, start, size, after = self._record(position)
                opcode = _number(header, b"op", "B")
                if opcode not in _OPCODES:
                    raise UnreadableBytesError(f"there is no record of type {opcode}")
                if start + size > self._size:
                    raise UnreadableBytesError("a record exceeds the file")
                self._scan_record(opcode, header, position, start, size)
                position = after
            except UnreadableBytesError:
                behind = self._next_chunk(position + 1)
                if behind is None:
                    incomplete = True
                    break
                self._note_damage(
                    f"is damaged at byte {position}; {behind - position} bytes are lost"
                )
                position = behind
        if incomplete or index > self._size:
            lost = self._size - position
            self._note_damage(f"was cut off; its last {lost} bytes are lost")
        elif not index:
            self.notes.append(
                f"{self.name} was not closed by its recorder and has no index; all of its "
                "complete messages are read"
            )

    def _scan_record(
        self, opcode: int, header: _Header, position: int, start: int, size: int
    ) -> None:
        if opcode == _CHUNK:
            try:
                self._scan_chunk(position, self._unpacked(header, start, size))
            except UnreadableBytesError as error:
                self._lose(position, None, error)
        elif opcode == _CONNECTION:
            self._define(header, self.read(start, size))
        elif opcode == _MESSAGE:
            # The last chunk of a bag that was not closed: its size is still zero, so its records
            # follow as if there were no chunk.
            channel = _number(header, b"conn", "I")
            self._add_loose(_time_ns(header, b"time"), channel, start, size)

    def _scan_chunk(self, position: int, data: bytes) -> None:
        counts: Counter[int] = Counter()
        start_ns, end_ns = 2**64, 0
        try:
            for header, record in _records(memoryview(data)):
                opcode = _number(header, b"op", "B")
                if opcode == _CONNECTION:
                    self._define(header, bytes(record))
                elif opcode == _MESSAGE:
                    counts[_number(header, b"conn", "I")] += 1
                    receive_ns = _time_ns(header, b"time")
                    start_ns, end_ns = min(start_ns, receive_ns), max(end_ns, receive_ns)
        finally:  # what lies before damaged bytes is read
            if counts:
                self._chunks.append(Chunk(start_ns, position, dict(counts)))
                self._extend(start_ns, end_ns)

    def _chunk_messages(self, chunk: Chunk, wanted: Collection[int]) -> list[RawMessage]:
        header, start, size, _ = self._whole(chunk.offset, _CHUNK)
        counts: Counter[int] = Counter()
        messages: list[RawMessage] = []
        early = False
        data = memoryview(self._unpacked(header, start, size))
        try:
            for fields, record in _records(data):
                opcode = _number(fields, b"op", "B")
                if opcode == _CONNECTION:
                    self._define(fields, bytes(record))
                elif opcode == _MESSAGE:
                    channel, receive_ns = _number(fields, b"conn", "I"), _time_ns(fields, b"time")
                    counts[channel] += 1
                    early |= receive_ns < chunk.start_ns
                    if channel in wanted:
                        messages.append((receive_ns, channel, bytes(record)))
        except UnreadableBytesError as error:
            self._lose(chunk.offset, max(0, chunk.total - sum(counts.values())), error)
            return messages
        if early or counts != Counter(chunk.counts):
            self._note_damage(f"has an index that does not fit its chunk at byte {chunk.offset}")
        return messages

    def _define(self, header: _Header, data: bytes) -> None:
        """Add a connection; complain if it contradicts an earlier one."""
        fields = _read_header(memoryview(data))
        topic = _text(header, b"topic")
        # As ROS 1 does: "//a/b/" is "/a/b".
        topic = ("/" if topic.startswith("/") else "") + "/".join(filter(None, topic.split("/")))
        channel = Channel(
            topic,
            ros2_type(_text(fields, b"type")),
            "ros1",
            fields.get(b"message_definition", b"").decode(errors="replace"),
            "ros1msg",
        )
        known = self.channels.setdefault(_number(header, b"conn", "I"), channel)
        if (known.topic, known.type) != (channel.topic, channel.type):
            self._note_damage(
                f"names two topics for one connection: {known.topic} ({known.type}) and "
                f"{channel.topic} ({channel.type})"
            )

    def _unpacked(self, header: _Header, start: int, size: int) -> bytes:
        """The records in a chunk, decompressed."""
        compression = _text(header, b"compression")
        unpacked_size = _number(header, b"size", "I")
        if not size and not unpacked_size:
            return b""  # the last chunk of a bag that was not closed
        return unpack(self.read(start, size), compression, unpacked_size)

    def _whole(self, position: int, expected: int) -> tuple[_Header, int, int, int]:
        """As :meth:`_record`, for a record that must be complete and of a certain type."""
        header, start, size, after = self._record(position)
        if _number(header, b"op", "B") != expected:
            raise UnreadableBytesError(f"there is no record of type {expected} at byte {position}")
        if after > self._size or size > MAX_UNPACKED:
            raise UnreadableBytesError("a record exceeds the file")
        return header, start, size, after

    def _record(self, position: int) -> tuple[_Header, int, int, int]:
        """Header, position and size of the data, and position of the next record."""
        (length,) = struct.unpack("<I", self.read(position, 4))
        if length > _MAX_HEADER:
            raise UnreadableBytesError(f"a header has {length} bytes")
        data = self.read(position + 4, length + 4)
        header = _read_header(memoryview(data)[:length])
        (size,) = struct.unpack_from("<I", data, length)
        start = position + 4 + length + 4
        return header, start, size, start + size

    def _next_chunk(self, start: int) -> int | None:
        """Position of the first complete chunk behind damaged records; None if there is none."""
        while start < self._size:
            window = self.read(start, min(_WINDOW, self._size - start))
            for match in _CHUNK_FIELD.finditer(window):
                # The header starts with this field, or with the compression before it.
                for before in (
                    4,
                    4 + 4 + len(b"compression=none"),
                    4 + 4 + len(b"compression=bz2"),
                ):
                    position = start + match.start() - before
                    try:
                        header, _, _, _ = self._whole(position, _CHUNK)
                        _text(header, b"compression"), _number(header, b"size", "I")
                    except UnreadableBytesError:
                        continue
                    return position
            if start + len(window) == self._size:
                return None
            start += len(window) - 64  # a header may lie across the boundary
        return None


def _records(data: memoryview) -> Iterator[tuple[_Header, memoryview]]:
    """The records in a chunk: header and data."""
    position = 0

    def part() -> memoryview:
        nonlocal position
        if position + 4 > len(data):
            raise UnreadableBytesError("its last record is incomplete")
        (size,) = struct.unpack_from("<I", data, position)
        start, position = position + 4, position + 4 + size
        if position > len(data):
            raise UnreadableBytesError("the length of a record exceeds it")
        return data[start:position]

    while position < len(data):
        header = _read_header(part())
        yield header, part()


def _read_header(data: memoryview) -> _Header:
    cursor = Cursor(data)
    header: _Header = {}
    while cursor.left:
        name, separator, value = cursor.take(cursor.number("I")).partition(b"=")
        if not separator:
            raise UnreadableBytesError("a header is damaged")
        header[name] = value
    return header


def _number(header: _Header, name: bytes, layout: str) -> int:
    value = header.get(name, b"")
    if len(value) != struct.calcsize(f"<{layout}"):
        raise UnreadableBytesError(f"a header has no {name.decode()}")
    return int(struct.unpack(f"<{layout}", value)[0])


def _time_ns(header: _Header, name: bytes) -> int:
    value = header.get(name, b"")
    if len(value) != 8:
        raise UnreadableBytesError(f"a header has no {name.decode()}")
    seconds, nanoseconds = struct.unpack("<II", value)
    return int(seconds * 10**9 + nanoseconds)


def _text(header: _Header, name: bytes) -> str:
    try:
        return header[name].decode()
    except (KeyError, UnicodeDecodeError) as error:
        raise UnreadableBytesError(f"a header has no {name.decode()}") from error
