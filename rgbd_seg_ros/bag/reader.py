# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Bag reader: messages of ROS 2 (db3, mcap, zstd) and ROS 1 bags in the order received."""

from __future__ import annotations

import heapq
import tempfile
from collections.abc import Collection, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from rgbd_seg_ros.bag.salvage import is_cut_off, salvage

if TYPE_CHECKING:
    from rosbags.interfaces import Connection
    from rosbags.rosbag1 import Reader as Reader1
    from rosbags.rosbag2 import Reader as Reader2

#: File name suffixes of rosbag2 storage; these files can also be read without metadata.yaml.
STORAGE_SUFFIXES = (".mcap", ".db3")


class BagError(ValueError):
    """An unusable bag, topic or output; the message names the value seen and the remedy."""


@dataclass(frozen=True)
class Topic:
    """One topic of a bag."""

    name: str
    #: Type in ROS 2 notation, such as ``sensor_msgs/msg/Image``, also for ROS 1 bags.
    type: str
    #: Number of messages.
    count: int


@dataclass(frozen=True, eq=False)
class BagMessage:
    """One message with its topic and receive time."""

    topic: str
    #: Receive time, nanoseconds.
    receive_ns: int
    #: The message; None if its bytes could not be decoded.
    message: Any


class BagReader:
    """Reads one bag; a context manager.

    Messages are decoded with the standard definitions of their types instead of those embedded in
    the bag, so that one unusual type does not make the images unreadable.

    Args:
        path: a rosbag2 directory, its ``.mcap`` or ``.db3`` file, or a ROS 1 ``.bag`` file. A
            recording that was cut off, with an incomplete mcap or without ``metadata.yaml``, is
            read as far as possible.

    Raises:
        BagError: the bag is missing, empty, damaged or of an unknown type.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        #: Describes what could not be read; None if nothing was lost.
        self.damage: str | None = None
        self._stack = ExitStack()
        self._readers: list[Reader1 | Reader2] = []
        self._ros1 = False
        self._typestore: Any = None

    def __enter__(self) -> BagReader:
        try:
            self._open()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()

    @property
    def topics(self) -> list[Topic]:
        """All topics, sorted by name. A topic with messages of two types appears twice."""
        counts: dict[tuple[str, str], int] = {}
        for connection in self._connections():
            key = (connection.topic, connection.msgtype)
            counts[key] = counts.get(key, 0) + connection.msgcount
        return [Topic(name, kind, count) for (name, kind), count in sorted(counts.items())]

    @property
    def start_ns(self) -> int:
        """Receive time of the first message of any topic."""
        return min(reader.start_time for reader in self._readers)

    @property
    def end_ns(self) -> int:
        """Receive time of the last message of any topic."""
        return max(reader.end_time for reader in self._readers) - 1

    def messages(self, topics: Collection[str]) -> Iterator[BagMessage]:
        """The messages of some topics in the order received, one in memory at a time.

        If the bag is damaged, iteration stops there or skips the lost messages, and
        :attr:`damage` is set.
        """
        wanted = [[c for c in reader.connections if c.topic in topics] for reader in self._readers]
        sources = [
            reader.messages(connections=connections)
            for reader, connections in zip(self._readers, wanted, strict=True)
            if connections
        ]
        expected, seen = sum(c.msgcount for connections in wanted for c in connections), 0
        try:
            for connection, receive_ns, data in heapq.merge(*sources, key=lambda item: item[1]):
                seen += 1
                yield BagMessage(connection.topic, receive_ns, self._decode(connection, data))
            # Damage that no checksum detects appears only as missing messages.
            if seen < expected:
                self.damage = f"only {seen} of {expected} messages are readable"
        # On damaged bytes, rosbags passes on any exception of struct, sqlite, lz4 or zstd.
        except Exception as error:
            self.damage = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"

    def first(self, topic: str) -> Any:
        """The first message of a topic; None if the topic has no messages."""
        for item in self.messages([topic]):
            return item.message
        return None

    def _connections(self) -> list[Connection]:
        return [c for reader in self._readers for c in reader.connections]

    def _decode(self, connection: Connection, data: bytes | memoryview) -> Any:
        store = self._typestore
        try:
            if self._ros1:
                return store.deserialize_ros1(data, connection.msgtype)
            return store.deserialize_cdr(data, connection.msgtype)
        # SerdeError, KeyError for a type that is not standard, struct.error, IndexError, …
        except Exception:
            return None

    def _open(self) -> None:
        paths = _storage_paths(self.path)
        try:
            from rosbags.rosbag1 import Reader as Reader1
            from rosbags.rosbag2 import Reader as Reader2
            from rosbags.typesys import Stores, get_typestore
        except ImportError as error:
            raise BagError(
                f"reading bags needs rosbags ({error}); install it with: pip install rosbags"
            ) from error
        self._ros1 = paths[0].suffix == ".bag"
        self._typestore = get_typestore(Stores.ROS1_NOETIC if self._ros1 else Stores.LATEST)
        for path in self._repaired(paths):
            try:
                reader: Reader1 | Reader2 = Reader1(path) if self._ros1 else Reader2(path)
                self._stack.enter_context(reader)
                self._readers.append(reader)
            # As in messages(): a damaged file can raise any exception.
            except Exception as error:
                # Name the user's file, not its repaired copy.
                known = self.path if self.path.is_file() else self.path / path.name
                raise BagError(_unreadable(path if path == self.path else known, error)) from error
        if not any(c.msgcount for c in self._connections()):
            raise BagError(f"{self.path} contains no messages; was anything recorded?")

    def _repaired(self, paths: list[Path]) -> list[Path]:
        """The same paths, with a repaired copy in place of each mcap that was cut off."""
        files = [f for p in paths for f in (sorted(p.glob("*.mcap")) if p.is_dir() else [p])]
        if not any(f.suffix == ".mcap" and is_cut_off(f) for f in files):
            return paths
        folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="rgbd_seg_")))
        complete = []
        for file in files:
            if file.suffix == ".mcap" and is_cut_off(file):
                try:
                    lost = salvage(file, folder / file.name)
                except (EOFError, ImportError) as error:
                    raise BagError(f"cannot read {file}: {error}") from error
                self.damage = f"{file.name} was cut off; its last {lost} bytes are lost"
                file = folder / file.name
            complete.append(file)
        return complete


def _storage_paths(path: Path) -> list[Path]:
    """The rosbag2 directory, storage files or ROS 1 bag to open for a path given by the user."""
    if not path.exists():
        raise BagError(f"there is no bag at {path}; pass a rosbag2 directory or a .bag file")
    if path.is_dir():
        if (path / "metadata.yaml").exists():
            return [path]
        files = sorted(p for p in path.iterdir() if p.suffix in STORAGE_SUFFIXES)
        if not files:
            raise BagError(
                f"{path} is not a bag: it contains no metadata.yaml and no "
                f"{' or '.join('*' + s for s in STORAGE_SUFFIXES)} files"
            )
        return files
    if path.name == "metadata.yaml":
        return _storage_paths(path.parent)
    if path.stat().st_size == 0:
        raise BagError(f"{path} is empty (0 bytes); record it again")
    if path.suffix not in (*STORAGE_SUFFIXES, ".bag"):
        raise BagError(
            f"{path} has an unknown type ({path.suffix or 'no suffix'}); known types: a rosbag2 "
            f"directory, {', '.join(STORAGE_SUFFIXES)}, .bag"
            + ("; for a compressed bag, pass its directory" if ".zst" in path.suffix else "")
        )
    return [path]


def _unreadable(path: Path, error: Exception) -> str:
    reason = " ".join(str(error).split())[:200].rstrip(".") or type(error).__name__
    remedy = {
        ".bag": "repair it with: rosbag reindex",
        ".mcap": "try: mcap recover IN -o OUT",
    }.get(path.suffix, "record it again, or rebuild its metadata with: ros2 bag reindex")
    return f"cannot read {path}: {reason}; if it was cut off, {remedy}"
