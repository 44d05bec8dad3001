# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Salvage: an mcap recording that was cut off, such as by a flat battery, made readable again."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

MAGIC = b"\x89MCAP0\r\n"
#: Opcodes of https://mcap.dev/spec
FOOTER, CHUNK, MESSAGE_INDEX, CHUNK_INDEX, STATISTICS, DATA_END = (
    0x02, 0x06, 0x07, 0x08, 0x0B, 0x0F,
)  # fmt: skip
LAST_OPCODE = DATA_END
BLOCK_BYTES = 1 << 20
_HEADER = struct.Struct("<BQ")
_CHUNK = struct.Struct("<QQQI")


@dataclass
class _Chunk:
    """What a chunk's index says of it."""

    start: int
    length: int
    first_ns: int
    last_ns: int
    raw_size: int
    compression: bytes
    stored_size: int
    #: Channel to the place of its message index.
    indexes: dict[int, int] = field(default_factory=dict)
    indexes_length: int = 0


def is_cut_off(path: Path) -> bool:
    """Whether a file begins as mcap but does not end as one."""
    with path.open("rb") as file:
        if file.read(len(MAGIC)) != MAGIC:
            return False
        file.seek(0, 2)
        file.seek(max(len(MAGIC), file.tell() - len(MAGIC)))
        return file.read() != MAGIC


def salvage(path: Path, copy: Path) -> int:
    """Copy all whole records of a cut-off mcap and give it a new end; returns the bytes lost.

    The summary lists the chunks, so that readers give their messages in the order of time. What
    was in the last, incomplete chunk is lost: about a megabyte.
    """
    with path.open("rb") as file:
        end, chunks = _scan(file)
        size = file.seek(0, 2)
        file.seek(0)
        with copy.open("wb") as out:
            _copy(file, out, end)
            out.write(_record(DATA_END, struct.pack("<I", 0)))
            summary_start = out.tell()
            for chunk in chunks:
                out.write(_record(CHUNK_INDEX, _index(chunk)))
            # Counts are left to the reader, which has to look for the channels anyway.
            statistics = struct.pack("<QHIIIIQQI", 0, 0, 0, 0, 0, len(chunks), 0, 0, 0)
            out.write(_record(STATISTICS, statistics))
            # Without chunks there is nothing to list: readers then go through the file.
            start = summary_start if chunks else 0
            out.write(_record(FOOTER, struct.pack("<QQI", start, 0, 0)))
            out.write(MAGIC)
    return size - end


def _copy(file: BinaryIO, out: BinaryIO, length: int) -> None:
    while length > 0 and (data := file.read(min(length, BLOCK_BYTES))):
        out.write(data)
        length -= len(data)


def _scan(file: BinaryIO) -> tuple[int, list[_Chunk]]:
    """Where the last whole record ends, and the chunks before that."""
    size = file.seek(0, 2)
    position = len(MAGIC)
    chunks: list[_Chunk] = []
    while position + _HEADER.size <= size:
        file.seek(position)
        opcode, length = _HEADER.unpack(file.read(_HEADER.size))
        whole = position + _HEADER.size + length
        if whole > size or opcode in (0, FOOTER, DATA_END) or opcode > LAST_OPCODE:
            break  # cut off here, or followed by zeros of a file system that lost the rest
        if opcode == CHUNK:
            try:
                chunks.append(_chunk(file, position, whole - position))
            except struct.error:
                break  # the file ends within what claims to be a whole chunk
        elif opcode == MESSAGE_INDEX and chunks:
            (channel,) = struct.unpack("<H", file.read(2))
            chunks[-1].indexes[channel] = position
            chunks[-1].indexes_length += whole - position
        position = whole
    return position, chunks


def _chunk(file: BinaryIO, start: int, length: int) -> _Chunk:
    first_ns, last_ns, raw_size, _ = _CHUNK.unpack(file.read(_CHUNK.size))
    (name_length,) = struct.unpack("<I", file.read(4))
    compression = file.read(name_length)
    (stored_size,) = struct.unpack("<Q", file.read(8))
    return _Chunk(start, length, first_ns, last_ns, raw_size, compression, stored_size)


def _index(chunk: _Chunk) -> bytes:
    places = b"".join(struct.pack("<HQ", *entry) for entry in chunk.indexes.items())
    return b"".join(
        (
            struct.pack("<QQQQ", chunk.first_ns, chunk.last_ns, chunk.start, chunk.length),
            struct.pack("<I", len(places)),
            places,
            struct.pack("<Q", chunk.indexes_length),
            struct.pack("<I", len(chunk.compression)),
            chunk.compression,
            struct.pack("<QQ", chunk.stored_size, chunk.raw_size),
        )
    )


def _record(opcode: int, content: bytes) -> bytes:
    return _HEADER.pack(opcode, len(content)) + content
