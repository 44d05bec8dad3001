# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Flipped bytes in recordings never crash the reader; where checksums exist, all are told."""

from __future__ import annotations

import os
import random
import resource
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from mcap.writer import CompressionType
from mcap.writer import Writer as McapWriter
from rosbags.rosbag1 import Writer as Writer1
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

from rgbd_seg_ros.bag.reader import BagError, BagReader

#: Flips of each kind of file; set BYTE_FLIPS for a larger campaign.
FLIPS = int(os.environ.get("BYTE_FLIPS", "15"))
COUNT = 12
TOPICS = ("/color", "/depth")
IMAGE = "sensor_msgs/msg/Image"


def _images(store):  # type: ignore[no-untyped-def]
    """Receive time, topic and image of every message."""
    types = store.types
    extra = [0] if "seq" in types["std_msgs/msg/Header"].__annotations__ else []
    for i in range(COUNT):
        stamp = types["builtin_interfaces/msg/Time"](i, 0)
        header = types["std_msgs/msg/Header"](*extra, stamp, "camera")
        data = np.random.default_rng(i).integers(0, 256, 600, dtype=np.uint8)
        for topic in TOPICS:
            yield 1000 + 10 * i, topic, types[IMAGE](header, 20, 30, "mono8", 0, 30, data)


def _mcap(path: Path, compression: CompressionType) -> None:
    store = get_typestore(Stores.ROS2_HUMBLE)
    with path.open("wb") as file:
        writer = McapWriter(file, chunk_size=4000, compression=compression)
        writer.start(profile="ros2")
        definition = store.generate_msgdef(IMAGE, ros_version=2)[0].encode()
        schema = writer.register_schema(IMAGE, "ros2msg", definition)
        ids = {topic: writer.register_channel(topic, "cdr", schema) for topic in TOPICS}
        for now, topic, image in _images(store):
            writer.add_message(ids[topic], now, bytes(store.serialize_cdr(image, IMAGE)), now)
        writer.finish()


def _db3(path: Path) -> None:
    store = get_typestore(Stores.ROS2_HUMBLE)
    folder = path.with_suffix("")
    with Writer(folder, version=9, storage_plugin=StoragePlugin.SQLITE3) as writer:
        ids = {t: writer.add_connection(t, IMAGE, typestore=store) for t in TOPICS}
        for now, topic, image in _images(store):
            writer.write(ids[topic], now, store.serialize_cdr(image, IMAGE))
    next(folder.glob("*.db3")).rename(path)


def _ros1(path: Path, compression: str | None) -> None:
    store = get_typestore(Stores.ROS1_NOETIC)
    writer = Writer1(path)
    writer.chunk_threshold = 4000
    if compression:
        writer.set_compression(Writer1.CompressionFormat[compression])
    with writer:
        ids = {t: writer.add_connection(t, IMAGE, typestore=store) for t in TOPICS}
        for now, topic, image in _images(store):
            writer.write(ids[topic], now, store.serialize_ros1(image, IMAGE))


KINDS: dict[str, Callable[[Path], None]] = {
    "crc.mcap": lambda path: _mcap(path, CompressionType.NONE),
    "zstd.mcap": lambda path: _mcap(path, CompressionType.ZSTD),
    "lz4.mcap": lambda path: _mcap(path, CompressionType.LZ4),
    "bag.db3": _db3,
    "none.bag": lambda path: _ros1(path, None),
    "bz2.bag": lambda path: _ros1(path, "BZ2"),
    "lz4.bag": lambda path: _ros1(path, "LZ4"),
}


def _read(path: Path) -> tuple[list[tuple[int, str, bytes]], str | None]:
    with BagReader(path) as reader:
        items = [
            (item.receive_ns, item.topic, bytes(item.message.data) if item.message else b"")
            for item in reader.messages([t.name for t in reader.topics])
        ]
        return items, reader.damage


def test_every_flip_in_the_summary_of_an_mcap_file_is_told(tmp_path: Path) -> None:
    path = tmp_path / "bag.mcap"
    _mcap(path, CompressionType.NONE)
    reference, good = _read(path)[0], path.read_bytes()
    footer = len(good) - 8 - 20 - 9  # magic, contents of the footer, and its kind and length
    start = int.from_bytes(good[footer + 9 : footer + 17], "little")
    assert 0 < start < footer
    for position in range(start, footer, 7):
        path.write_bytes(good[:position] + bytes([good[position] ^ 4]) + good[position + 1 :])
        items, damage = _read(path)
        assert damage is not None
        assert "has a damaged summary (its checksum does not match)" in damage
        assert items == reference  # the messages themselves are sound


@pytest.mark.parametrize("kind", KINDS)
def test_flipped_bytes_are_told_and_never_crash(tmp_path: Path, kind: str) -> None:
    path = tmp_path / kind
    KINDS[kind](path)
    reference, damage = _read(path)
    assert len(reference) == 2 * COUNT
    assert damage is None
    good = path.read_bytes()
    rng = random.Random(kind)
    outcomes = {"refused": 0, "told": 0, "unchanged": 0, "changed silently": 0}
    outcomes["refused in two lines"] = 0
    silent = []
    for _ in range(FLIPS):
        position, bit = rng.randrange(len(good)), rng.randrange(8)
        data = bytearray(good)
        data[position] ^= 1 << bit
        path.write_bytes(data)
        start = time.process_time()
        try:
            items, damage = _read(path)
        except BagError as error:
            outcomes["refused" if "\n" not in str(error) else "refused in two lines"] += 1
            continue
        finally:
            assert time.process_time() - start < 10
        if damage:
            outcomes["told"] += 1
        elif items == reference:
            outcomes["unchanged"] += 1
        else:
            outcomes["changed silently"] += 1
            silent.append((position, bit))
    print(kind, outcomes)
    assert not outcomes["refused in two lines"]
    # Kilobytes on Linux; a flipped length must not be believed.
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < 4 * 2**20
    if kind.endswith(".mcap"):
        assert not silent
