# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Reads mcap files: by their summary if it is sound, else record by record as far as possible."""

from __future__ import annotations

import re
import struct
import zlib
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field

from rgbd_seg_ros.bag.storage import (
    Channel,
    Chunk,
    ChunkedStorage,
    Cursor,
    RawMessage,
    UnreadableBytesError,
)
from rgbd_seg_ros.bag.unpack import MAX_UNPACKED, unpack

# The format is specified at https://mcap.dev/spec.
MAGIC = b"\x89MCAP0\r\n"
_HEADER, _FOOTER, _SCHEMA, _CHANNEL, _MESSAGE, _CHUNK = 0x01, 0x02, 0x03, 0x04, 0x05, 0x06
_CHUNK_INDEX, _STATISTICS, _DATA_END = 0x08, 0x0B, 0x0F
#: The last opcode of the specification; those from 0x80 on are for private records.
_LAST_OPCODE, _FIRST_PRIVATE = 0x0F, 0x80
_RECORD = struct.Struct("<BQ")
#: Channel, sequence number and receive time of a message.
_MESSAGE_HEAD = struct.Struct("<HIQ")
#: Size of a chunk's fields before its compression, and of a message's fields before its data.
_CHUNK_FIELDS, _MESSAGE_FIELDS = 28, 22
#: Size of the footer record with the magic behind it.
_END_SIZE = _RECORD.size + 20 + len(MAGIC)
#: Bytes that are searched at a time for a chunk behind damaged records.
_WINDOW = 2**24
_CHUNK_START = re.compile(
    rb"(?=\x06.{5}\x00{3}.{28}(?:\x04\x00{3}zstd|\x03\x00{3}lz4|\x00{4}))", re.DOTALL
)


@dataclass
class _Summary:
    """What the summary section says about the data section."""

    schemas: dict[int, tuple[str, str, bytes]] = field(default_factory=dict)
    channels: dict[int, Channel] = field(default_factory=dict)
    chunks: list[Chunk] = field(default_factory=list)
    #: Number of messages by channel and the bounds of the receive times; None if not recorded.
    counts: dict[int, int] | None = None
    start_ns: int = 0
    end_ns: int = 0
    chunk_count: int = 0
    #: Whether a checksum confirms all of this.
    checked: bool = False


class McapStorage(ChunkedStorage):
    """An mcap file with messages of ROS 2, ROS 1 or anything else, with or without chunks.

    Checksums of chunks are checked when a chunk is read. The checksum of the data section is
    checked only where chunks have none.
    """

    def _open(self) -> None:
        if self._size < len(MAGIC) or self.read(0, len(MAGIC)) != MAGIC:
            raise UnreadableBytesError("it does not start as an mcap file does")
        self._schemas: dict[int, tuple[str, str, bytes]] = {}
        self._checked_data_end: int | None = None
        complete = self.read(self._size - len(MAGIC), len(MAGIC)) == MAGIC
        complete = complete and self._size >= len(MAGIC) + _END_SIZE
        summary: _Summary | None = None
        data_end = self._size
        if complete:
            data_end = self._size - _END_SIZE
            try:
                start, summary = self._summary()
                data_end = start or data_end
            except UnreadableBytesError as error:
                self._note_damage(f"has a damaged summary ({error})")
        if summary and self._is_sound(summary):
            self.channels, self._chunks = summary.channels, summary.chunks
            if summary.counts and sum(summary.counts.values()):
                self._extend(summary.start_ns, summary.end_ns)
        else:
            self._scan(data_end, complete)
            if summary and summary.counts is not None:
                self._compare(summary.counts)
        self._set_counts()
        self._check_data_section(data_end)

    def _summary(self) -> tuple[int, _Summary]:
        """Position of the summary, 0 if there is none, and the summary."""
        end = self._size - _END_SIZE
        footer = Cursor(self.read(end, _END_SIZE))
        if footer.unpack("BQ") != (_FOOTER, 20):
            raise UnreadableBytesError("its footer is not a footer record")
        start, _, checksum = footer.unpack("QQI")
        if not start:
            return 0, _Summary()
        if not len(MAGIC) < start <= end or end - start > MAX_UNPACKED:
            raise UnreadableBytesError(f"it is said to start at byte {start} of {self._size}")
        data = self.read(start, end - start)
        if checksum:
            fields = self.read(end, _RECORD.size + 16)
            if zlib.crc32(fields, zlib.crc32(data)) != checksum:
                raise UnreadableBytesError("its checksum does not match")
        summary = _Summary(checked=bool(checksum))
        for opcode, record in _records(memoryview(data)):
            cursor = Cursor(record)
            if opcode == _SCHEMA:
                _read_schema(cursor, summary.schemas)
            elif opcode == _CHANNEL:
                _read_channel(cursor, summary.schemas, summary.channels)
            elif opcode == _CHUNK_INDEX:
                summary.chunks.append(_read_chunk_index(cursor))
            elif opcode == _STATISTICS:
                _read_statistics(cursor, summary)
        return start, summary

    def _is_sound(self, summary: _Summary) -> bool:
        """Whether the summary suffices to read all messages."""
        counts: Counter[int] = Counter()
        for chunk in summary.chunks:
            counts.update(chunk.counts)
        if summary.counts is None or summary.chunk_count != len(summary.chunks):
            return False
        # Messages outside chunks are counted but not indexed.
        if +counts != +Counter(summary.counts) or not (+counts).keys() <= summary.channels.keys():
            return False
        if summary.checked:
            return True
        for chunk in summary.chunks:
            try:
                opcode, _ = _RECORD.unpack(self.read(chunk.offset, _RECORD.size))
            except UnreadableBytesError:
                opcode = 0
            if opcode != _CHUNK:
                self._note_damage(f"has a damaged summary (no chunk at byte {chunk.offset})")
                return False
        return True

    def _compare(self, counts: dict[int, int]) -> None:
        """Compare what was found without the summary with what the summary lists."""
        self._set_counts()
        found = sum(channel.count for channel in self.channels.values())
        if found < sum(counts.values()) and not self._lost:
            self._note_damage(
                f"contains only {found} of the {sum(counts.values())} messages in its summary"
            )

    def _scan(self, end: int, complete: bool) -> None:
        """Find all chunks, and messages outside of them, without the summary."""
        position = len(MAGIC)
        while position < end:
            try:
                opcode, length = _RECORD.unpack(self.read(position, _RECORD.size))
                if not opcode or _LAST_OPCODE < opcode < _FIRST_PRIVATE:
                    raise UnreadableBytesError(f"there is no record of type {opcode}")
                if position + _RECORD.size + length > self._size:
                    raise UnreadableBytesError("a record exceeds the file")
                if opcode == _DATA_END:
                    break
                self._scan_record(opcode, position + _RECORD.size, length, position)
                position += _RECORD.size + length
            except UnreadableBytesError:
                behind = self._next_chunk(position + 1, end)
                if behind is None:
                    lost = end - position
                    if complete:
                        self._note_damage(
                            f"is damaged from byte {position} on; its last {lost} bytes are lost"
                        )
                    else:
                        self._note_damage(f"was cut off; its last {lost} bytes are lost")
                    return
                self._note_damage(
                    f"is damaged at byte {position}; {behind - position} bytes are lost"
                )
                position = behind
        if complete:
            return
        if position < end:  # at the end of the data section
            self.notes.append(f"{self.name} was cut off in its summary; all messages are read")
        else:
            self._note_damage(f"was cut off at byte {end}; what followed is lost")

    def _scan_record(self, opcode: int, start: int, length: int, position: int) -> None:
        if opcode == _CHUNK:
            try:
                self._scan_chunk(position, self._unpacked(position))
            except UnreadableBytesError as error:
                self._lose(position, None, error)
        elif opcode == _MESSAGE:
            head = self.read(start, min(length, _MESSAGE_FIELDS))
            channel, receive_ns = _message_fields(memoryview(head))
            size = length - _MESSAGE_FIELDS
            self._add_loose(receive_ns, channel, start + _MESSAGE_FIELDS, size)
        elif opcode in (_SCHEMA, _CHANNEL):
            self._define(opcode, memoryview(self.read(start, length)))

    def _scan_chunk(self, position: int, data: bytes) -> None:
        counts: Counter[int] = Counter()
        start_ns, end_ns = 2**64, 0
        try:
            for opcode, record in _records(memoryview(data)):
                if opcode == _MESSAGE:
                    channel, receive_ns = _message_fields(record)
                    counts[channel] += 1
                    start_ns, end_ns = min(start_ns, receive_ns), max(end_ns, receive_ns)
                elif opcode in (_SCHEMA, _CHANNEL):
                    self._define(opcode, record)
        finally:  # what lies before damaged bytes is read
            if counts:
                self._chunks.append(Chunk(start_ns, position, dict(counts)))
                self._extend(start_ns, end_ns)

    def _define(self, opcode: int, record: memoryview) -> None:
        """Add a schema or channel; complain if it contradicts an earlier one."""
        if opcode == _SCHEMA:
            _read_schema(Cursor(record), self._schemas)
            return
        found: dict[int, Channel] = {}
        _read_channel(Cursor(record), self._schemas, found)
        for number, channel in found.items():
            known = self.channels.setdefault(number, channel)
            if (known.topic, known.encoding) != (channel.topic, channel.encoding):
                self._note_damage(
                    f"names two topics for one channel: {known.topic} and {channel.topic}"
                )

    def _next_chunk(self, start: int, end: int) -> int | None:
        """Position of the first chunk behind damaged records; None if there is none."""
        while start < end:
            window = self.read(start, min(_WINDOW, end - start))
            for match in _CHUNK_START.finditer(window):
                position = start + match.start()
                try:
                    self._chunk_fields(position)
                except UnreadableBytesError:
                    continue
                return position
            if start + len(window) == end:
                return None
            start += len(window) - 64  # a start of a chunk may lie across the boundary
        return None

    def _chunk_fields(self, position: int) -> tuple[int, int, str, int, int]:
        """Size when decompressed, checksum, compression, position and size of a chunk's data."""
        head = self.read(position, min(64, self._size - position))
        cursor = Cursor(head)
        opcode, length = cursor.unpack("BQ")
        if opcode != _CHUNK:
            raise UnreadableBytesError("there is no chunk at its position")
        _, _, size, checksum = cursor.unpack("QQQI")
        compression = cursor.text()
        packed = cursor.number("Q")
        if cursor.position + packed != _RECORD.size + length:
            raise UnreadableBytesError("the sizes of the record and of its data disagree")
        if position + cursor.position + packed > self._size:
            raise UnreadableBytesError("a record exceeds the file")
        return size, checksum, compression, position + cursor.position, packed

    def _unpacked(self, position: int) -> bytes:
        """The records in a chunk, decompressed and checked."""
        size, checksum, compression, start, packed = self._chunk_fields(position)
        data = unpack(self.read(start, packed), compression, size)
        if checksum and zlib.crc32(data) != checksum:
            raise UnreadableBytesError("its checksum does not match")
        return data

    def _chunk_messages(self, chunk: Chunk, wanted: Collection[int]) -> list[RawMessage]:
        counts: Counter[int] = Counter()
        messages: list[RawMessage] = []
        early = False
        data = memoryview(self._unpacked(chunk.offset))
        try:
            for opcode, record in _records(data):
                if opcode == _MESSAGE:
                    channel, receive_ns = _message_fields(record)
                    counts[channel] += 1
                    early |= receive_ns < chunk.start_ns
                    if channel in wanted:
                        messages.append((receive_ns, channel, bytes(record[_MESSAGE_FIELDS:])))
                elif opcode in (_SCHEMA, _CHANNEL):
                    self._define(opcode, record)
        except UnreadableBytesError as error:
            self._lose(chunk.offset, max(0, chunk.total - sum(counts.values())), error)
            return messages
        if early or counts != Counter(chunk.counts):
            self._note_damage(f"has an index that does not fit its chunk at byte {chunk.offset}")
        return messages

    def _check_data_section(self, data_end: int) -> None:
        """Check the checksum of the data section where chunks do not have their own."""
        start = data_end - _RECORD.size - 4
        try:
            opcode, length, checksum = Cursor(self.read(start, _RECORD.size + 4)).unpack("BQI")
        except UnreadableBytesError:
            return
        if (opcode, length) != (_DATA_END, 4) or not checksum:
            return
        try:
            if not self._loose[0] and all(self._chunk_fields(c.offset)[1] for c in self._chunks):
                return
            computed, position = 0, 0
            while position < start:
                data = self.read(position, min(_WINDOW, start - position))
                computed, position = zlib.crc32(data, computed), position + len(data)
        except UnreadableBytesError:
            return  # reported when the chunk is read
        if computed != checksum:
            self._note_damage(
                "is damaged: the checksum of its data does not match, so messages may be wrong"
            )


def _records(data: memoryview) -> Iterator[tuple[int, memoryview]]:
    """The records in a chunk or in the summary: opcode and content."""
    position = 0
    while position < len(data):
        if position + _RECORD.size > len(data):
            raise UnreadableBytesError("its last record is incomplete")
        opcode, length = _RECORD.unpack_from(data, position)
        position += _RECORD.size
        if position + length > len(data):
            raise UnreadableBytesError("the length of a record exceeds it")
        yield opcode, data[position : position + length]
        position += length


def _message_fields(record: memoryview) -> tuple[int, int]:
    """Channel and receive time of a message."""
    if len(record) < _MESSAGE_FIELDS:
        raise UnreadableBytesError("a message is shorter than its fields")
    channel, _, receive_ns = _MESSAGE_HEAD.unpack_from(record)
    return channel, receive_ns


def _read_schema(cursor: Cursor, schemas: dict[int, tuple[str, str, bytes]]) -> None:
    number = cursor.number("H")
    name, encoding = cursor.text(), cursor.text()
    schemas[number] = (name, encoding, cursor.take(cursor.number("I")))


def _read_channel(
    cursor: Cursor, schemas: dict[int, tuple[str, str, bytes]], channels: dict[int, Channel]
) -> None:
    number, schema = cursor.unpack("HH")
    topic, encoding = cursor.text(), cursor.text()
    name, language, definition = schemas.get(schema, ("", "", b""))
    if encoding in ("cdr", "ros1"):
        name = ros2_type(name)
    text = definition.decode(errors="replace") if language.startswith("ros") else ""
    channels[number] = Channel(topic, name, encoding, text, language)


def ros2_type(name: str) -> str:
    """A type such as ``sensor_msgs/Image`` in the notation of ROS 2, ``sensor_msgs/msg/Image``."""
    package, separator, kind = name.partition("/")
    return f"{package}/msg/{kind}" if separator and "/" not in kind else name


def _read_chunk_index(cursor: Cursor) -> Chunk:
    start_ns, _, offset, length = cursor.unpack("QQQQ")
    offsets = Cursor(cursor.take(cursor.number("I")))
    index = []
    while offsets.left:
        channel, position = offsets.unpack("HQ")
        index.append((position, channel))
    index.sort()
    end_of_indexes = offset + length + cursor.number("Q")
    ends = [*(position for position, _ in index), end_of_indexes][1:]
    counts = {}
    for (position, channel), end in zip(index, ends, strict=True):
        # A message index has 15 bytes and 16 bytes for each message.
        counts[channel], rest = divmod(end - position - 15, 16)
        if rest or counts[channel] < 0:
            raise UnreadableBytesError("the positions of its message indexes are wrong")
    return Chunk(start_ns, offset, counts)


def _read_statistics(cursor: Cursor, summary: _Summary) -> None:
    cursor.take(8 + 2 + 4 + 4 + 4)
    summary.chunk_count = cursor.number("I")
    summary.start_ns, summary.end_ns = cursor.unpack("QQ")
    summary.counts = {}
    counts = Cursor(cursor.take(cursor.number("I")))
    while counts.left:
        channel, count = counts.unpack("HQ")
        summary.counts[channel] = count
