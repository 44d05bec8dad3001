# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Bag reader: messages of ROS 2 (db3, mcap, zstd) and ROS 1 bags in the order received."""

from __future__ import annotations

import heapq
import itertools
import re
import tempfile
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any

from rgbd_seg_ros.bag import mcap_storage, ros1_storage, sqlite_storage
from rgbd_seg_ros.bag.decode import ENCODINGS, MessageDecoder
from rgbd_seg_ros.bag.mcap_storage import McapStorage
from rgbd_seg_ros.bag.parts import (
    ROS1_SUFFIXES,
    STORAGE_SUFFIXES,
    Parts,
    find_parts,
    is_regular,
    without_compression,
)
from rgbd_seg_ros.bag.ros1_storage import Ros1Storage
from rgbd_seg_ros.bag.sqlite_storage import SqliteStorage
from rgbd_seg_ros.bag.storage import BagError, Channel, Storage, UnreadableBytesError, one_line
from rgbd_seg_ros.bag.unpack import ZSTD_MAGIC, unpack_file
from rgbd_seg_ros.files import ARCHIVES

__all__ = ["STORAGE_SUFFIXES", "BagError", "BagMessage", "BagReader", "Topic"]

#: Sentences of :attr:`BagReader.damage` that are given in full.
MOST_SENTENCES = 5
#: The first bytes of zip, gzip, bzip2, xz, 7z and rar files, and of a pointer of Git LFS.
ARCHIVE_MAGIC = (b"PK\x03\x04", b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"7z\xbc\xaf", b"Rar!")
GIT_LFS = b"version https:/"
#: If so many receive times are equal, all of them are compared.
EQUAL_TIMES = 10
NS_PER_YEAR = 365 * 86_400 * 10**9
# Names of topics and types that are probably images.
_NO_IMAGE = "realsense_msgs/msg/StreamInfo"  # rate and encoding, which the images tell as well
_LIKE_AN_IMAGE = re.compile(r"image|depth|colou?r|rgb|video|camera(?!_?info)", re.IGNORECASE)


@dataclass(frozen=True)
class Topic:
    """One topic of a bag."""

    name: str
    #: Type in ROS 2 notation, such as ``sensor_msgs/msg/Image``, also for ROS 1 bags. Messages
    #: that are encoded neither by ROS 2 nor by ROS 1 have a type such as ``Image (protobuf)``.
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

    Messages are decoded with the standard definitions of their types. A topic whose type is not
    known, or whose definition in the bag differs, is listed but not decoded. Everything that is
    readable is read: recordings that were cut off or not closed, damaged ones, and folders whose
    ``metadata.yaml`` is missing or does not fit the files.

    Args:
        path: a rosbag2 directory, one of its ``.mcap`` or ``.db3`` files (also compressed as
            ``.zstd``), a ROS 1 ``.bag`` or ``.bag.active`` file, or a folder with the parts of
            one split ROS 1 recording. The content decides which format a file has.

    Raises:
        BagError: there is no bag, it contains no messages, or nothing in it is readable.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        #: What was worked around without a loss, one sentence each: ``metadata.yaml`` ignored, a
        #: journal read, topics left out that are probably images. Complete when the bag is open.
        self.notes: list[str] = []
        #: Number of messages that could not be decoded, by topic. Grows while messages are read.
        self.undecodable: Counter[str] = Counter()
        self._damage: list[str] = []
        self._stack = ExitStack()
        self._files: list[Storage] = []
        self._decoder: MessageDecoder | None = None
        #: Begin and end by the stamps of the headers; None if the receive times are used.
        self._header_times: tuple[int, int] | None = None

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
    def damage(self) -> str | None:
        """What could not be read or may be wrong; None if nothing was lost.

        Grows while messages are read, so it is complete after the last message.
        """
        texts = [*self._damage, *(text for file in self._files for text in file.damage)]
        if len(texts) > MOST_SENTENCES:
            texts[MOST_SENTENCES:] = [f"and {len(texts) - MOST_SENTENCES} more"]
        return "; ".join(texts) or None

    @property
    def ros1(self) -> bool:
        """Whether the messages of some topic are those of ROS 1."""
        return any(c.encoding == "ros1" for file in self._files for c in file.channels.values())

    @property
    def topics(self) -> list[Topic]:
        """All topics, sorted by name. A topic with messages of two types appears twice."""
        counts: dict[tuple[str, str], int] = {}
        for channel in self._channels():
            foreign = channel.encoding not in ENCODINGS
            kind = f"{channel.type} ({channel.encoding})".strip() if foreign else channel.type
            key = (channel.topic, kind)
            counts[key] = counts.get(key, 0) + channel.count
        return [Topic(name, kind, count) for (name, kind), count in sorted(counts.items())]

    @property
    def start_ns(self) -> int:
        """Receive time of the first message of any topic."""
        if self._header_times:
            return self._header_times[0]
        return min(file.start_ns for file in self._files if file.start_ns is not None)

    @property
    def end_ns(self) -> int:
        """Receive time of the last message of any topic."""
        if self._header_times:
            return self._header_times[1]
        return max(file.end_ns for file in self._files if file.end_ns is not None)

    @property
    def warnings(self) -> list[str]:
        """One sentence for each topic of which messages could not be decoded so far."""
        return [
            f"{count} of {self._count(topic)} messages on {topic} cannot be decoded"
            + (f": {reason}" if (reason := self._problem(topic)) else "")
            for topic, count in sorted(self.undecodable.items())
        ]

    def messages(self, topics: Collection[str]) -> Iterator[BagMessage]:
        """The messages of some topics in the order received, one chunk in memory at a time.

        Messages that are lost to damage are skipped, and :attr:`damage` is set. Those that cannot
        be decoded are None and counted in :attr:`undecodable`.
        """
        undecodable: Counter[str] = Counter()
        if self._header_times:
            sources = [self._by_stamp(file, topic) for file in self._files for topic in topics]
        else:
            sources = [self._raw(file, topics) for file in self._files]
        for receive_ns, channel, data in heapq.merge(*sources, key=lambda item: item[0]):
            message = self._decode(channel, data)
            if message is None:
                topic = channel.topic
                undecodable[topic] += 1
                self.undecodable[topic] = max(self.undecodable[topic], undecodable[topic])
            yield BagMessage(channel.topic, receive_ns, message)

    def replace_equal_times(self, topics: Collection[str]) -> bool:
        """If the receive times of some topics are all equal, use the stamps of their headers.

        Some converters write such recordings. Each message then counts as received at the latest
        stamp so far on its topic.

        Args:
            topics: topics with headers.

        Returns:
            Whether the receive times are equal and the stamps are not.
        """
        times = {item.receive_ns for item in itertools.islice(self.messages(topics), EQUAL_TIMES)}
        if len(times) != 1:
            return False
        first_ns = last_ns = 0
        for item in self.messages(topics):
            if item.receive_ns not in times:
                return False
            stamp_ns = _header_ns(item.message)
            if stamp_ns:
                first_ns = min(first_ns or stamp_ns, stamp_ns)
                last_ns = max(last_ns, stamp_ns)
        if first_ns < last_ns:
            self._header_times = first_ns, last_ns
        return first_ns < last_ns

    def first(self, topic: str) -> Any:
        """The first message of a topic; None if it has none, or if it cannot be decoded."""
        for item in self.messages([topic]):
            return item.message
        return None

    def _channels(self) -> list[Channel]:
        return [channel for file in self._files for channel in file.channels.values()]

    def _count(self, topic: str) -> int:
        return sum(c.count for c in self._channels() if c.topic == topic)

    def _problem(self, topic: str) -> str | None:
        """Why no message of a topic can be decoded; None if some can, or if it is not known."""
        assert self._decoder is not None
        problems = (self._decoder.problem(c) for c in self._channels() if c.topic == topic)
        return next((problem for problem in problems if problem), None)

    def _raw(self, file: Storage, topics: Collection[str]) -> Iterator[tuple[int, Channel, bytes]]:
        wanted = [i for i, c in file.channels.items() if c.topic in topics]
        if wanted:
            for receive_ns, channel, data in file.messages(wanted):
                yield receive_ns, file.channels[channel], data

    def _by_stamp(self, file: Storage, topic: str) -> Iterator[tuple[int, Channel, bytes]]:
        """Messages as if they had been received at the time in their headers."""
        now_ns = self.start_ns
        for _, channel, data in self._raw(file, [topic]):
            now_ns = max(now_ns, _header_ns(self._decode(channel, data)) or now_ns)
            yield now_ns, channel, data

    def _decode(self, channel: Channel, data: bytes) -> Any:
        assert self._decoder is not None
        return self._decoder(channel, data)

    @cached_property
    def _folder(self) -> Path:
        """A temporary folder, deleted when the bag is closed."""
        folder = tempfile.TemporaryDirectory(prefix="rgbd_seg_")
        return Path(self._stack.enter_context(folder))

    def _open(self) -> None:
        parts = find_parts(self.path)
        self._decoder = MessageDecoder()
        self.notes += parts.notes
        listed = [file for path in parts.files if (file := self._open_part(path))]
        for path in parts.unlisted:
            self._add_unlisted(path, listed)
        if parts.missing:
            self._damage.append(f"metadata.yaml lists missing files: {', '.join(parts.missing)}")
        if parts.gaps:
            self._damage.append(
                f"{', '.join(parts.gaps[:3])} is missing, by the numbers of the other files"
            )
        if not any(channel.count for channel in self._channels()):
            if self.damage:
                # The path of a file is not repeated.
                own = f"{self.path.name} cannot be read: " if self.path.is_file() else ""
                raise BagError(f"cannot read {self.path}: {self.damage.removeprefix(own)}")
            raise BagError(f"{self.path} contains no messages; was anything recorded?")
        for file in self._files:
            self.notes += file.notes
        self._compare(parts)
        self._note_unreadable_images()
        years = (self.end_ns - self.start_ns) / NS_PER_YEAR
        if years > 1:
            self.notes.append(
                f"the receive times span {years:.1f} years, so some of them are wrong; the frames "
                "of those messages may be late and unused, and the duration is not that of the "
                "recording"
            )

    def _open_part(self, path: Path) -> Storage | None:
        """Open one file; if it is not readable, add the reason to the damage."""
        try:
            file = self._storage(path)
        except OSError as error:
            reason = error.strerror or str(error)
            hint = "; grant read permission" if isinstance(error, PermissionError) else ""
            self._damage.append(f"{path.name} cannot be read: {reason}{hint}")
            return None
        except UnreadableBytesError as error:
            self._damage.append(f"{path.name} cannot be read: {one_line(error)}")
            return None
        self._stack.callback(file.close)
        self._files.append(file)
        return file

    def _storage(self, path: Path) -> Storage:
        if not is_regular(path):
            raise UnreadableBytesError("it is not a file")
        name, source = path.name, path
        with path.open("rb") as file:
            start = file.read(16)
        if start.startswith(ZSTD_MAGIC):
            source = self._folder / f"{len(self._files)}_{without_compression(name)}"
            damage = unpack_file(path, source)
            if damage:
                self._damage.append(f"{name} {damage}")
            with source.open("rb") as file:
                start = file.read(16)
        if start.startswith(mcap_storage.MAGIC):
            return McapStorage(source, name)
        if start.startswith(ros1_storage.MAGIC_OF_ANY_VERSION):
            return Ros1Storage(source, name)
        if start == sqlite_storage.MAGIC or (not start and sqlite_storage.journals_of(source)):
            return SqliteStorage(source, name, folder=self._folder)
        raise UnreadableBytesError(_not_a_bag(name, start))

    def _add_unlisted(self, path: Path, listed: list[Storage]) -> None:
        """Read a file that metadata.yaml does not list, if it does not repeat a listed one."""
        file = self._open_part(path)
        if file is None or file.start_ns is None or file.end_ns is None:
            return
        if any(
            other.start_ns is not None
            and other.end_ns is not None
            and other.start_ns <= file.end_ns
            and file.start_ns <= other.end_ns
            for other in listed
        ):
            self._files.remove(file)
            self.notes.append(
                f"{path.name} is not read: metadata.yaml does not list it, and it covers the same "
                "time as a listed file; to read it, pass it alone"
            )
        else:
            self.notes.append(f"{path.name} is read although metadata.yaml does not list it")

    def _compare(self, parts: Parts) -> None:
        """Compare the number of messages with the one in metadata.yaml."""
        found = sum(channel.count for channel in self._channels())
        expected = parts.message_count
        if expected is None or expected == found or self.damage:
            return
        text = f"metadata.yaml lists {expected} messages, the files contain {found}"
        if found < expected:
            self._damage.append(text)
        else:
            self.notes.append(f"{text}; all of them are read")

    def _note_unreadable_images(self) -> None:
        """Name the topics that are probably images and cannot be decoded."""
        assert self._decoder is not None
        for channel in sorted(set(self._channels()), key=lambda c: c.topic):
            name = f"{channel.topic} {channel.type}"
            if channel.count and _LIKE_AN_IMAGE.search(name) and channel.type != _NO_IMAGE:
                problem = self._decoder.problem(channel)
                if problem:
                    count = f"{channel.count} message{'s' * (channel.count > 1)}"
                    self.notes.append(
                        f"{channel.topic} ({channel.type}) is not read: its {count} cannot be "
                        f"decoded, since {problem}"
                    )


def _header_ns(message: Any) -> int | None:
    """The stamp of a message in nanoseconds; None if it has no header."""
    stamp = getattr(getattr(message, "header", None), "stamp", None)
    return None if stamp is None else int(stamp.sec) * 1_000_000_000 + int(stamp.nanosec)


def _not_a_bag(name: str, start: bytes) -> str:
    """What is wrong with a file that starts like none of the known formats."""
    known = (*STORAGE_SUFFIXES, *ROS1_SUFFIXES)
    if start.startswith(GIT_LFS):
        return (
            "it is a pointer of Git LFS, not the recording itself; get that with `git lfs pull` "
            "in its repository"
        )
    if name.lower().endswith(ARCHIVES) or start.startswith(ARCHIVE_MAGIC):
        return "it is an archive; unpack it, and pass the bag in it"
    if not without_compression(name).endswith(known):
        suffix = Path(name).suffix or "no suffix"
        return (
            f"it has an unknown type ({suffix}); known types: a rosbag2 directory, "
            f"{', '.join(known)}, also compressed as .zstd"
        )
    if not start.strip(b"\0"):
        return "it starts with zeros" if start else "it is empty (0 bytes)"
    return "its content is not that of a bag; copy it again from where it was recorded"
