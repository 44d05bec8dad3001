# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Reads db3 files (SQLite): also those that were cut off, are damaged or have a journal beside."""

from __future__ import annotations

import shutil
import sqlite3
import struct
from array import array
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np

from rgbd_seg_ros.bag.storage import Channel, RawMessage, Storage, UnreadableBytesError
from rgbd_seg_ros.bag.unpack import disk_space

MAGIC = b"SQLite format 3\0"
#: Files beside a db3 that belong to it while it is written.
JOURNALS = ("-wal", "-journal")
#: SQLite checks the integrity of files up to this size in bytes, since it reads all of the file.
MAX_CHECKED = 2**30
#: Rows that are searched behind damaged ones if the last row is not known.
_MAX_GAP = 2**20
_FIRST_ROW = -(2**63)
_ROWS = "SELECT id, timestamp, topic_id FROM messages"


class SqliteStorage(Storage):
    """A db3 file of rosbag2. The user's file is never written, nor anything beside it.

    Args:
        path: the file.
        name: the name by which the user knows it, if ``path`` is an unpacked copy.
        folder: a temporary folder for a copy, if there is a journal to apply.
    """

    _lost_unit = "row"

    def __init__(self, path: Path, name: str | None = None, *, folder: Path) -> None:
        super().__init__(path, name)
        journals = journals_of(path)
        if journals:
            copy = folder / path.name
            for file in (path, *journals):
                target = folder / file.name
                with disk_space(file, target):
                    shutil.copyfile(file, target)
            self._database = _connect(copy, "rw")
        else:
            self._database = _connect(path, "ro")
        #: Row, receive time and channel of every message.
        self._rows = (array("q"), array("q"), array("q"))
        try:
            self._open()
            if journals:
                self._note_journal(path, journals[0])
        except BaseException as error:
            self.close()
            if isinstance(error, sqlite3.Error):
                raise UnreadableBytesError(_cut_off(path, error)) from error
            raise

    def _open(self) -> None:
        missing = _missing_bytes(self.path)
        if missing:
            self._note_damage(f"was cut off; its last {missing} bytes are lost")
            # Without this, SQLite refuses a file that is shorter than its header says.
            self._database.execute("PRAGMA writable_schema = ON")
        tables = {
            str(name)
            for name, sql in self._database.execute(
                "SELECT name, sql FROM sqlite_master WHERE type = 'table'"
            )
            if str(sql).upper().startswith("CREATE TABLE")
        }
        if not {"topics", "messages"} <= tables and missing:
            raise sqlite3.DatabaseError(f"its tables are lost, like its last {missing} bytes")
        if not {"topics", "messages"} <= tables:
            raise UnreadableBytesError("it is an SQLite file, but not a recording of rosbag2")
        definitions: dict[str, tuple[str, str]] = {}
        if "message_definitions" in tables:
            try:
                definitions = {
                    str(name): (str(text), str(language))
                    for name, text, language in self._database.execute(
                        "SELECT topic_type, encoded_message_definition, encoding "
                        "FROM message_definitions"
                    )
                }
            except sqlite3.Error as error:
                self._note_damage(f"has unreadable definitions of its types ({error})")
        query = "SELECT id, name, type, serialization_format FROM topics"
        for number, name, kind, encoding in self._database.execute(query):
            self.channels[int(number)] = Channel(
                str(name), str(kind), str(encoding), *definitions.get(str(kind), ("", ""))
            )
        self._list_rows()
        if not missing:
            self._check_integrity()
        counts = Counter(self._rows[2])
        unknown = sum(n for channel, n in counts.items() if channel not in self.channels)
        if unknown:
            self._note_damage(f"contains {unknown} messages of no known topic")
        self.channels = {
            i: Channel(c.topic, c.type, c.encoding, c.definition, c.definition_format, counts[i])
            for i, c in self.channels.items()
        }
        if len(self._rows[1]):
            times = np.frombuffer(self._rows[1], np.int64)
            self.start_ns, self.end_ns = int(times.min()), int(times.max())

    def _list_rows(self) -> None:
        """List all messages without their data; rows on damaged pages are skipped."""
        last = _FIRST_ROW
        while True:
            try:
                for row in self._database.execute(f"{_ROWS} WHERE id > ? ORDER BY id", (last,)):
                    last = self._add_row(row)
                return
            except sqlite3.Error as error:
                row = self._next_row(last)
                if row is None:
                    if not self._damage:
                        self._note_damage(f"is damaged behind row {max(last, 0)} ({error})")
                    return
                gap = row[0] - max(last, 0) - 1
                if gap > 0:
                    self._note_damage(f"is damaged ({error}); {gap} messages cannot be read")
                last = self._add_row(row)

    def _add_row(self, row: tuple[Any, ...]) -> int:
        """Add a message to the list; returns its row."""
        if all(isinstance(value, int) for value in row):
            for column, value in zip(self._rows, row, strict=True):
                column.append(value)
        else:
            self._lose(int(row[0]), 1, "a time or topic is not a number")
        return int(row[0])

    def _next_row(self, last: int) -> tuple[Any, ...] | None:
        """The first readable row behind ``last``; None if there is none."""
        first = max(last, 0)
        try:
            ((end,),) = self._database.execute("SELECT max(id) FROM messages")
        except sqlite3.Error:
            end = None
        end = first + _MAX_GAP if end is None else int(end)
        # The rows before ``bad`` are not readable; ``found`` is at ``good`` or behind it.
        bad, step, found = first, 1, self._row(first + 1)
        while found is None:
            bad, step = bad + step, 2 * step
            if bad >= end:
                return None
            found = self._row(bad + step)
        good = bad + step
        while good - bad > 1:
            middle = (good + bad) // 2
            row = self._row(middle)
            good, bad, found = (good, middle, found) if row is None else (middle, bad, row)
        return found

    def _row(self, first: int) -> tuple[Any, ...] | None:
        """The next row from ``first`` on; None if there is none or if it is not readable."""
        try:
            query = f"{_ROWS} WHERE id >= ? ORDER BY id LIMIT 1"
            row: tuple[Any, ...] | None = self._database.execute(query, (first,)).fetchone()
            return row
        except sqlite3.Error:
            return None

    def _check_integrity(self) -> None:
        if self.path.stat().st_size > MAX_CHECKED or self._damage:
            return
        try:
            ((result,),) = self._database.execute("PRAGMA integrity_check(1)")
        except sqlite3.Error as error:
            result = error
        if str(result) != "ok":
            self._note_damage(f"is damaged: SQLite's integrity check found: {result}")

    def _note_journal(self, path: Path, journal: Path) -> None:
        total = len(self._rows[0])
        before = 0
        try:
            with closing(_connect(path, "ro")) as database:
                ((before,),) = database.execute("SELECT count(*) FROM messages")
        except sqlite3.Error:
            pass
        self.notes.append(
            f"{self.name} was not closed by its recorder; {max(0, total - before)} of its {total} "
            f"messages were read from its journal {journal.name}"
        )

    def messages(self, channels: Collection[int]) -> Iterator[RawMessage]:
        """The messages of some channels by receive time; damaged rows are skipped."""
        rows, times, ids = (np.frombuffer(column, np.int64) for column in self._rows)
        indices = np.flatnonzero(np.isin(ids, list(channels)))
        for index in indices[np.argsort(times[indices], kind="stable")]:
            row = int(rows[index])
            try:
                found = self._database.execute(
                    "SELECT data FROM messages WHERE id = ?", (row,)
                ).fetchone()
                if found is None or not isinstance(found[0], bytes):
                    raise UnreadableBytesError("its data are not a blob")
            except (sqlite3.Error, UnreadableBytesError, MemoryError) as error:
                self._lose(row, 1, error)
                continue
            yield int(times[index]), int(ids[index]), found[0]

    def close(self) -> None:
        """Close the file."""
        self._database.close()


def journals_of(path: Path) -> list[Path]:
    """The journals beside a db3 that contain anything."""
    files = [path.with_name(path.name + suffix) for suffix in JOURNALS]
    return [file for file in files if file.is_file() and file.stat().st_size]


def _connect(path: Path, mode: str) -> sqlite3.Connection:
    # Bytes, since a path need not be valid UTF-8. Any of its characters may have a meaning in a
    # URI. A file that is immutable for SQLite gets no files beside it.
    uri = f"file:{quote(bytes(path.resolve()))}?mode={mode}"
    uri += "&immutable=1" if mode == "ro" else ""
    database = sqlite3.connect(uri, uri=True, check_same_thread=False, isolation_level=None)
    database.text_factory = lambda data: data.decode(errors="replace")
    database.execute("PRAGMA trusted_schema = OFF")
    database.execute("PRAGMA cell_size_check = ON")
    return database


def _cut_off(path: Path, error: sqlite3.Error) -> str:
    """Why SQLite cannot read a file, with the remedy."""
    lost = "copy it again from where it was recorded"
    if _missing_bytes(path):
        size = path.stat().st_size
        return f"it was cut off after {size} bytes, before its first message ({error}); {lost}"
    return f"it is damaged ({error}); {lost}, or try `sqlite3 FILE .recover`"


def _missing_bytes(path: Path) -> int:
    """How many bytes a file is shorter than its header says."""
    with path.open("rb") as file:
        head = file.read(100)
    if len(head) < 100:
        return 100 - len(head)
    (page_size,) = struct.unpack_from(">H", head, 16)
    changes, pages = struct.unpack_from(">II", head, 24)
    # SQLite's rule: the number of pages is valid if the two change counters agree.
    (valid_for,) = struct.unpack_from(">I", head, 92)
    if changes != valid_for:
        return 0
    size = int(pages) * (65536 if page_size == 1 else int(page_size))
    return max(0, size - path.stat().st_size)
