# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Repair of mcap recordings that were cut off, for example by a power failure."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from mcap.records import McapRecord

MAGIC = b"\x89MCAP0\r\n"
#: Opcode and length of a record, see https://mcap.dev/spec.
_RECORD = struct.Struct("<BQ")


def is_cut_off(path: Path) -> bool:
    """Whether a file starts as mcap but lacks the end of one."""
    with path.open("rb") as file:
        if file.read(len(MAGIC)) != MAGIC:
            return False
        file.seek(max(len(MAGIC), file.seek(0, os.SEEK_END) - len(MAGIC)))
        return file.read() != MAGIC


def salvage(path: Path, target: Path) -> int:
    """Copy the readable messages of a truncated mcap file to a complete one.

    The incomplete last chunk is lost, which is about a megabyte.

    Returns:
        Number of bytes at the end of the file that were not readable.

    Raises:
        EOFError: the file is cut off before the end of its first record.
        ImportError: mcap is not installed.
    """
    try:
        from mcap.records import Channel, Header, Message, Schema
        from mcap.writer import Writer
    except ImportError as error:
        raise ImportError(
            f"repairing a truncated mcap needs mcap ({error}); install it with: pip install mcap"
        ) from error
    #: Ids in the file to ids in the target.
    schemas: dict[int, int] = {}
    channels: dict[int, int] = {}
    end = 0
    with path.open("rb") as file, target.open("wb") as out:
        writer = Writer(out)
        for record, end in _records(file):  # noqa: B007 (used below)
            if isinstance(record, Header):
                writer.start(record.profile)
            elif isinstance(record, Schema) and record.id not in schemas:
                schemas[record.id] = writer.register_schema(
                    record.name, record.encoding, record.data
                )
            elif isinstance(record, Channel) and record.id not in channels:
                channels[record.id] = writer.register_channel(
                    record.topic,
                    record.message_encoding,
                    schemas.get(record.schema_id, 0),
                    record.metadata,
                )
            elif isinstance(record, Message) and record.channel_id in channels:
                writer.add_message(
                    channels[record.channel_id],
                    record.log_time,
                    record.data,
                    record.publish_time,
                    record.sequence,
                )
        if not end:
            raise EOFError("it is cut off before the end of its first record")
        writer.finish()
    return path.stat().st_size - end


def _records(file: BinaryIO) -> Iterator[tuple[McapRecord, int]]:
    """All records before the first incomplete one, each with the end of its outermost record."""
    from mcap.records import Chunk
    from mcap.stream_reader import StreamReader, breakup_chunk

    size = os.fstat(file.fileno()).st_size
    file.seek(len(MAGIC))
    while len(header := file.read(_RECORD.size)) == _RECORD.size:
        _, length = _RECORD.unpack(header)
        if length > size - file.tell():
            return
        data = BytesIO(header + file.read(length))
        try:
            record = next(StreamReader(data, skip_magic=True, emit_chunks=True).records)
            records = (
                breakup_chunk(record, validate_crc=True) if isinstance(record, Chunk) else [record]
            )
        # Damaged bytes raise struct.error, EndOfFile, ZstdError, … A file system that lost the
        # end of the file fills it with zeros, which are an unknown record.
        except Exception:
            return
        for inner in records:
            yield inner, file.tell()
