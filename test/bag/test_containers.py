# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Recordings that are not as their recorder meant them: foreign, unfinished, renamed, unpacked."""

from __future__ import annotations

import os
import re
import shutil
import sqlite3
import struct
import sys
from pathlib import Path

import numpy as np
import pytest
from mcap.writer import Writer as McapWriter
from rigs.broken_files import BROKEN, assert_one_line
from rosbags.rosbag1 import Writer as Writer1
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

from rgbd_seg_ros.bag import unpack
from rgbd_seg_ros.bag.reader import BagError, BagReader

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

TOPIC, IMAGE, COUNT = "/camera/image", "sensor_msgs/msg/Image", 10
CDR, ROS1 = get_typestore(Stores.ROS2_HUMBLE), get_typestore(Stores.ROS1_NOETIC)


def _image(store, index: int, size: int = 1200):  # type: ignore[no-untyped-def]
    types = store.types
    extra = [0] if "seq" in types["std_msgs/msg/Header"].__annotations__ else []
    stamp = types["builtin_interfaces/msg/Time"](index, 0)
    header = types["std_msgs/msg/Header"](*extra, stamp, "camera")
    data = np.random.default_rng(index).integers(0, 256, size, dtype=np.uint8)
    data[0] = index
    return types[IMAGE](header, 1, size, "mono8", 0, size, data)


def _rosbag2(path: Path, storage: str = "SQLITE3", first: int = 0, size: int = 1200) -> Path:
    with Writer(path, version=9, storage_plugin=StoragePlugin[storage]) as writer:
        connection = writer.add_connection(TOPIC, IMAGE, typestore=CDR)
        for i in range(first, first + COUNT):
            data = CDR.serialize_cdr(_image(CDR, i, size), IMAGE)
            writer.write(connection, 1000 + 10 * i, data)
    return path


def _rosbag1(path: Path, first: int = 0, compression: str = "") -> Path:
    writer = Writer1(path)
    writer.chunk_threshold = 3000
    if compression:
        writer.set_compression(Writer1.CompressionFormat[compression])
    with writer:
        connection = writer.add_connection(TOPIC, IMAGE, typestore=ROS1)
        for i in range(first, first + COUNT):
            writer.write(connection, 1000 + 10 * i, ROS1.serialize_ros1(_image(ROS1, i), IMAGE))
    return path


def _without_index(path: Path) -> bytes:
    """A ROS 1 bag as its recorder leaves it when it is killed."""
    data = path.read_bytes()
    at = data.index(b"index_pos=") + 10
    (index,) = struct.unpack_from("<Q", data, at)
    unfinished = bytearray(data[:index])
    unfinished[at : at + 8] = bytes(8)
    for key in (b"conn_count=", b"chunk_count="):
        at = unfinished.index(key) + len(key)
        unfinished[at : at + 4] = bytes(4)
    return bytes(unfinished)


def _mcap(path: Path, profile: str = "ros2", encoding: str = "cdr") -> McapWriter:
    """A writer with ten images, to which a test adds what it needs."""
    store = ROS1 if encoding == "ros1" else CDR
    writer = McapWriter(str(path))
    writer.start(profile=profile)
    ros1 = encoding == "ros1"
    definition = store.generate_msgdef(IMAGE, ros_version=1 if ros1 else 2)[0].encode()
    name = "sensor_msgs/Image" if ros1 else IMAGE
    schema = writer.register_schema(name, "ros1msg" if ros1 else "ros2msg", definition)
    channel = writer.register_channel(TOPIC, encoding, schema)
    for i in range(COUNT):
        serialize = store.serialize_ros1 if ros1 else store.serialize_cdr
        data = bytes(serialize(_image(store, i), IMAGE))
        writer.add_message(channel, 1000 + 10 * i, data, 0)
    return writer


def _check(path: Path, first: int = 0, count: int = COUNT) -> BagReader:
    """Read all images; returns the reader for its notes and damage."""
    with BagReader(path) as reader:
        items = list(reader.messages([TOPIC]))
    indices = list(range(first, first + count))
    assert [item.receive_ns for item in items] == [1000 + 10 * i for i in indices]
    assert [item.message.data[0] for item in items] == indices
    return reader


@pytest.mark.parametrize(
    ("schema", "language", "encoding"),
    [
        ("my_msgs/msg/My", "unknown", "cdr"),
        ("foxglove.Log", "protobuf", "protobuf"),
        ("", "", "json"),
    ],
)
def test_foreign_channels_do_not_hide_the_images(
    tmp_path: Path, schema: str, language: str, encoding: str
) -> None:
    writer = _mcap(tmp_path / "a.mcap")
    number = writer.register_schema(schema, language, b"") if schema else 0
    other = writer.register_channel("/other", encoding, number)
    writer.add_message(other, 1000, b"{}", 0)
    writer.finish()
    reader = _check(tmp_path / "a.mcap")
    assert reader.damage is None
    assert reader.notes == []


def test_a_stream_info_of_the_realsense_sdk_is_not_named(tmp_path: Path) -> None:
    """It has the rate and the encoding of a stream, which are not needed."""
    writer = _mcap(tmp_path / "a.mcap")
    schema = writer.register_schema("realsense_msgs/msg/StreamInfo", "ros2msg", b"")
    topic = "/device_0/sensor_0/Depth_0/info"
    writer.add_message(writer.register_channel(topic, "cdr", schema), 1000, b"x", 0)
    writer.finish()
    assert _check(tmp_path / "a.mcap").notes == []


def test_a_foreign_image_topic_is_named(tmp_path: Path) -> None:
    writer = _mcap(tmp_path / "a.mcap")
    schema = writer.register_schema("foxglove.RawImage", "protobuf", b"")
    writer.add_message(writer.register_channel("/front", "protobuf", schema), 1000, b"x", 0)
    writer.finish()
    reader = _check(tmp_path / "a.mcap")
    (note,) = reader.notes
    assert "/front (foxglove.RawImage) is not read: its 1 message cannot" in note
    assert "encoded as protobuf" in note


@pytest.mark.parametrize(
    ("profile", "encoding"), [("", "cdr"), ("ros2", "cdr"), ("ros1", "ros1"), ("", "ros1")]
)
def test_mcap_of_every_profile(tmp_path: Path, profile: str, encoding: str) -> None:
    _mcap(tmp_path / "a.mcap", profile, encoding).finish()
    reader = _check(tmp_path / "a.mcap")
    assert reader.damage is None
    assert not reader.notes


def test_a_type_that_the_bag_defines_otherwise_is_left_out_and_counted(tmp_path: Path) -> None:
    writer = _mcap(tmp_path / "a.mcap")
    schema = writer.register_schema(IMAGE, "ros2msg", b"uint8[] other\n")
    channel = writer.register_channel("/odd", "cdr", schema)
    writer.add_message(channel, 1000, bytes(8), 0)
    writer.finish()
    with BagReader(tmp_path / "a.mcap") as reader:
        assert [item.message for item in reader.messages(["/odd"])] == [None]
        assert reader.first("/odd") is None
    assert reader.undecodable == {"/odd": 1}
    (warning,) = reader.warnings
    assert warning.startswith("1 of 1 messages on /odd cannot be decoded: the bag defines")


def test_packets_of_ffmpeg_image_transport_are_read(tmp_path: Path) -> None:
    name = "ffmpeg_image_transport_msgs/msg/FFMPEGPacket"
    cdr = b"\0\1\0\0" + struct.pack("<iI", 5, 6)  # stamp
    cdr += struct.pack("<I4s", 4, b"cam\0") + struct.pack("<ii", 640, 480)
    cdr += struct.pack("<I5s7xQBB2xI3s", 5, b"h264\0", 7, 1, 0, 3, b"abc")
    writer = McapWriter(str(tmp_path / "a.mcap"))
    writer.start(profile="ros2")
    channel = writer.register_channel("/f", "cdr", writer.register_schema(name, "ros2msg", b""))
    writer.add_message(channel, 1000, cdr, 0)
    writer.finish()
    with BagReader(tmp_path / "a.mcap") as reader:
        message = reader.first("/f")
    assert (message.width, message.height, message.encoding) == (640, 480, "h264")
    assert (message.pts, message.flags, bytes(message.data)) == (7, 1, b"abc")


@pytest.mark.parametrize("name", ["100%", "a#b", "what?", "with space", "käse", 'it\'s "quoted"'])
@pytest.mark.parametrize("storage", ["SQLITE3", "MCAP"])
def test_any_character_in_the_path(tmp_path: Path, name: str, storage: str) -> None:
    _rosbag2(tmp_path / "bag", storage).rename(tmp_path / name)
    assert _check(tmp_path / name).damage is None


def _with_journal(folder: Path, kept: int) -> Path:
    """A db3 of which all but ``kept`` messages are in its journal."""
    file = next(folder.glob("*.db3"))
    (folder / "metadata.yaml").unlink()
    database = sqlite3.connect(file, isolation_level=None)
    rows = database.execute("SELECT topic_id, timestamp, data FROM messages").fetchall()
    database.execute("DELETE FROM messages WHERE id > ?", (kept,))
    database.execute("VACUUM")
    database.execute("PRAGMA journal_mode = WAL")
    database.execute("PRAGMA wal_autocheckpoint = 0")
    insert = "INSERT INTO messages(topic_id, timestamp, data) VALUES (?, ?, ?)"
    database.executemany(insert, rows[kept:])
    killed = folder.with_name("killed")
    killed.mkdir()
    for name in (file.name, f"{file.name}-wal"):
        shutil.copy(folder / name, killed / name)
    database.close()
    return killed


def test_a_journal_is_read_and_nothing_is_written_beside_it(tmp_path: Path) -> None:
    killed = _with_journal(_rosbag2(tmp_path / "bag"), kept=4)
    before = {p.name: p.read_bytes() for p in killed.iterdir()}
    reader = _check(killed)
    assert reader.damage is None
    assert "6 of its 10 messages were read from its journal" in reader.notes[0]
    assert {p.name: p.read_bytes() for p in killed.iterdir()} == before


@pytest.mark.parametrize("share", [0.6, 0.9])
def test_a_db3_that_was_cut_off_is_read_as_far_as_possible(tmp_path: Path, share: float) -> None:
    bag = _rosbag2(tmp_path / "bag", size=50_000)
    file = next(bag.glob("*.db3"))
    data = file.read_bytes()
    file.write_bytes(data[: int(len(data) * share)])
    with BagReader(bag) as reader:
        found = [item.message.data[0] for item in reader.messages([TOPIC])]
        assert "was cut off" in (reader.damage or "")
    assert found == list(range(len(found)))
    assert COUNT * share - 2 <= len(found) < COUNT


def _emptied_identifier(bag: Path) -> None:
    text = (bag / "metadata.yaml").read_text()
    text = re.sub(r"storage_identifier: \S+", 'storage_identifier: ""', text)
    (bag / "metadata.yaml").write_text(text)


def _renamed(bag: Path) -> None:
    next(bag.glob("*.db3")).rename(bag / "mine_0.db3")


def _unpacked(bag: Path) -> None:
    text = (bag / "metadata.yaml").read_text().replace(".db3", ".db3.zstd")
    (bag / "metadata.yaml").write_text(text)


def _compressed(bag: Path) -> None:
    file = next(bag.glob("*.db3"))
    (bag / f"{file.name}.zstd").write_bytes(zstd.compress(file.read_bytes()))
    file.unlink()


def _compressed_alone(bag: Path) -> None:
    _compressed(bag)
    (bag / "metadata.yaml").unlink()


def _not_yaml(bag: Path) -> None:
    (bag / "metadata.yaml").write_text("{{{")


def _stale(bag: Path) -> None:
    text = (bag / "metadata.yaml").read_text().replace("message_count: 10", "message_count: 3")
    (bag / "metadata.yaml").write_text(text)


@pytest.mark.parametrize(
    ("change", "note"),
    [
        (_emptied_identifier, ""),
        (_renamed, "lists bag.db3, which is not there; mine_0.db3 is read instead"),
        (_unpacked, "bag.db3 is read in place of bag.db3.zstd"),
        (_compressed, "bag.db3.zstd is read in place of bag.db3"),
        (_compressed_alone, ""),
        (_not_yaml, "metadata.yaml is ignored: it is not YAML"),
        (_stale, "lists 3 messages, the files contain 10; all of them are read"),
    ],
)
def test_metadata_that_does_not_fit(tmp_path: Path, change, note: str) -> None:  # type: ignore[no-untyped-def]
    bag = _rosbag2(tmp_path / "bag")
    change(bag)
    reader = _check(bag)
    assert reader.damage is None
    assert len(reader.notes) == bool(note)
    assert note in "".join(reader.notes)


@pytest.mark.parametrize("kind", [*BROKEN, "!!bool x", "!!timestamp x", "!!int ''", "2024-13-45"])
def test_a_bag_with_broken_metadata_is_read_without_it(tmp_path: Path, kind: str) -> None:
    bag = _rosbag2(tmp_path / "bag")
    if kind in BROKEN:
        BROKEN[kind](bag / "metadata.yaml")
    else:
        (bag / "metadata.yaml").write_text(kind)
    (note,) = _check(bag).notes
    assert_one_line(note, bag / "metadata.yaml")
    assert note.startswith("metadata.yaml is ignored: ")


def test_a_missing_part_is_named_and_the_rest_is_read(tmp_path: Path) -> None:
    bag = _rosbag2(tmp_path / "bag")
    text = (bag / "metadata.yaml").read_text()
    (bag / "metadata.yaml").write_text(text.replace("- bag.db3", "- bag.db3\n  - bag_1.db3", 1))
    assert "missing files: bag_1.db3" in (_check(bag).damage or "")


def test_metadata_opens_no_file_outside_the_folder(tmp_path: Path) -> None:
    outside = _rosbag2(tmp_path / "outside")
    bag = _rosbag2(tmp_path / "bag", first=20)
    secret = next(outside.glob("*.db3"))
    for name in (f"../outside/{secret.name}", str(secret)):
        text = f"rosbag2_bagfile_information: {{relative_file_paths: [bag.db3, '{name}']}}"
        (bag / "metadata.yaml").write_text(text)
        assert "missing files: outside.db3" in (_check(bag, first=20).damage or "")


@pytest.mark.parametrize("compression", ["", "BZ2", "LZ4"])
@pytest.mark.parametrize("name", ["a.bag.active", "b.bag"])
def test_ros1_bags_without_an_index(tmp_path: Path, name: str, compression: str) -> None:
    data = _without_index(_rosbag1(tmp_path / "whole.bag", compression=compression))
    (tmp_path / name).write_bytes(data)
    reader = _check(tmp_path / name)
    assert reader.damage is None
    assert "was not closed by its recorder and has no index" in reader.notes[0]


@pytest.mark.parametrize("share", [0.5, 0.8])
def test_ros1_bags_that_were_cut_off(tmp_path: Path, share: float) -> None:
    path = _rosbag1(tmp_path / "whole.bag")
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    with BagReader(path) as reader:
        found = [item.message.data[0] for item in reader.messages([TOPIC])]
        assert "was cut off" in (reader.damage or "")
    assert 0 < len(found) < COUNT
    assert found == list(range(len(found)))


def test_a_folder_with_the_parts_of_one_ros1_recording(tmp_path: Path) -> None:
    for part in range(3):
        _rosbag1(tmp_path / f"run_2024-01-01-10-0{part}-00_{part}.bag", first=part * COUNT)
    assert _check(tmp_path, count=3 * COUNT).ros1
    _rosbag1(tmp_path / "other.bag")
    with pytest.raises(BagError, match="several ROS 1 recordings"), BagReader(tmp_path):
        pass


def test_a_record_that_promises_more_than_the_file(tmp_path: Path) -> None:
    _mcap(tmp_path / "a.mcap").finish()
    data = bytearray((tmp_path / "a.mcap").read_bytes())
    size = struct.pack("<Q", 2**62)
    chunk = data.index(b"\x06", 8 + 9 + data[9])
    data[chunk + 1 : chunk + 9] = size  # the chunk's length
    data[chunk + 25 : chunk + 33] = size  # its size when decompressed
    (tmp_path / "a.mcap").write_bytes(data)
    with BagReader(tmp_path / "a.mcap") as reader:
        assert list(reader.messages([TOPIC])) == []
        assert "10 messages of this recording cannot be read" in (reader.damage or "")


def test_a_chunk_never_decompresses_to_more_than_it_declares() -> None:
    bomb = zstd.compress(bytes(2**24))
    with pytest.raises(unpack.UnreadableBytesError, match="more than 1000 bytes"):
        unpack.unpack(bomb, "zstd", 1000)
    with pytest.raises(unpack.UnreadableBytesError, match="at most"):
        unpack.unpack(bomb, "zstd", 2**60)


def test_a_file_that_does_not_fit_on_the_disk(tmp_path: Path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    bag = _rosbag2(tmp_path / "bag")
    _compressed(bag)
    monkeypatch.setattr(unpack, "RESERVE", 2**70)
    with pytest.raises(BagError, match="set TMPDIR to a folder with more space"), BagReader(bag):
        pass


def _pipe(path: Path) -> Path:
    os.mkfifo(path)
    return path


def _loop(path: Path) -> Path:
    path.symlink_to(path)
    return path


def _pipe_in_folder(path: Path) -> Path:
    path.mkdir()
    os.mkfifo(path / "a.mcap")
    return path


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (_pipe, "is a named pipe"),
        (_loop, "cannot read .*symbolic links"),
        (_pipe_in_folder, "cannot read .*a.mcap cannot be read: it is not a file"),
        (lambda _: Path("/dev/zero"), "is a device"),
    ],
)
def test_what_is_no_file_is_refused_at_once(tmp_path: Path, make, message: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(BagError, match=message) as caught, BagReader(make(tmp_path / "x.mcap")):
        pass
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["bag.zip", "bag.tar.gz", "bag.mcap.gz", "bag.7z"])
def test_an_archive_is_to_be_unpacked(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"PK\x03\x04" + bytes(100))
    with pytest.raises(BagError, match=f"{name}: it is an archive; unpack it"):
        BagReader(tmp_path / name).__enter__()


@pytest.mark.parametrize(
    "part", ["metadata.yaml", "a.mcap", "a.db3.zstd", "a.bag", "a.bag.active"]
)
def test_a_folder_of_recordings_names_them(tmp_path: Path, part: str) -> None:
    for folder, file in (("run_1", part), ("notes", "todo.txt")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / file).touch()
    with pytest.raises(BagError, match=r"it contains bags, pass one of them: run_1$"):
        BagReader(tmp_path).__enter__()


@pytest.mark.parametrize(("names", "missing"), [
    (("run_0.mcap", "run_2.mcap"), "run_1.mcap"),
    (("run_0.db3", "run_1.db3", "run_4.db3"), "run_2.db3, run_3.db3"),
    (("run_0.mcap", "run_1.mcap"), ""),
    (("monday_7.mcap", "monday_2024.mcap"), ""),  # no numbers of parts
])  # fmt: skip
def test_a_part_that_is_missing_by_the_numbers_of_the_others_is_damage(
    tmp_path: Path, names: tuple[str, ...], missing: str
) -> None:
    folder = tmp_path / "bag"
    folder.mkdir()
    for i, name in enumerate(names):
        suffix = name.rpartition(".")[2]
        part = _rosbag2(tmp_path / f"part{i}", "MCAP" if suffix == "mcap" else "SQLITE3", 10 * i)
        (file,) = part.glob(f"*.{suffix}")
        shutil.copy(file, folder / name)
    with BagReader(folder) as reader:
        text = f"{missing} is missing, by the numbers of the other files" if missing else None
        assert reader.damage == text
        assert sum(topic.count for topic in reader.topics) == COUNT * len(names)


def test_a_missing_part_of_a_ros_1_recording_is_damage(tmp_path: Path) -> None:
    for i in (0, 2):
        _rosbag1(tmp_path / f"run_2024-01-01-10-0{i}-00_{i}.bag", 10 * i)
    with BagReader(tmp_path) as reader:
        assert reader.damage == "run_1.bag is missing, by the numbers of the other files"


def test_a_ros_1_bag_beside_the_files_of_a_ros_2_bag_is_told(tmp_path: Path) -> None:
    bag = _rosbag2(tmp_path / "bag")
    _rosbag1(bag / "old.bag")
    with BagReader(bag) as reader:
        assert "not read, since the folder is a ROS 2 bag: old.bag; pass it alone" in reader.notes


def _files(folder: Path, *names: str) -> Path:
    """A folder without metadata.yaml, with recordings of ten images each under these names."""
    folder.mkdir()
    for i, name in enumerate(names):
        storage = "MCAP" if ".mcap" in name else "SQLITE3"
        (file,) = _rosbag2(folder.with_name(f"part{i}"), storage, 10 * i).glob("part*")
        data = file.read_bytes()
        (folder / name).write_bytes(zstd.compress(data) if name.endswith(".zstd") else data)
    return folder


@pytest.mark.parametrize("names", [
    ("run1.mcap", "run2.mcap"),
    ("a_0.mcap", "b_0.mcap"),
    ("a_0.db3", "a_1.db3", "b_0.db3.zstd"),
    ("a_0.db3", "a_0.mcap"),
    ("rosbag2_2024_01_01-10_00_00_0.mcap", "rosbag2_2024_01_02-10_00_00_0.mcap"),
    ("2024_01_01_10_00_10.mcap", "2024_01_01_10_00_11.mcap"),
    ("run_20240101.mcap", "run_20240102.mcap"),
    ("drive_2024-01-01-12-00-00_0.mcap", "drive_2024-01-02-12-00-00_0.mcap"),
    ("d_2024-01-01-12-00-00_0.db3", "d_2024-01-01-12-09-00_1.db3", "d_2024-01-02-12-00-00_1.db3"),
])  # fmt: skip
def test_several_ros_2_recordings_in_one_folder_are_named(
    tmp_path: Path, names: tuple[str, ...]
) -> None:
    folder = _files(tmp_path / "runs", *names)
    text = f"contains several ROS 2 recordings; pass one of them: {', '.join(sorted(names))}$"
    with pytest.raises(BagError, match=text):
        BagReader(folder).__enter__()


@pytest.mark.parametrize(("names", "sure"), [
    (("run_0.mcap", "run_1.mcap"), False),
    (("run_1.mcap", "run_2.mcap"), False),
    (("monday_2024.mcap", "monday_7.mcap"), False),
    (("run_10.db3.zstd", "run_9.db3"), False),
    (("rosbag2_2024_01_01-10_00_00_0.mcap", "rosbag2_2024_01_01-10_00_00_1.mcap"), True),
    (("d_2024-01-01-10-00-00_0.mcap", "d_2024-01-01-10-05-00_1.mcap"), True),
])  # fmt: skip
def test_the_parts_of_one_ros_2_recording_are_joined(
    tmp_path: Path, names: tuple[str, ...], sure: bool
) -> None:
    """It is told unless the names are those that a recorder gives."""
    with BagReader(_files(tmp_path / "run", *names)) as reader:
        assert sum(topic.count for topic in reader.topics) == 2 * COUNT
        line = (
            f"2 files are read as one recording, by their names: {', '.join(names)}; if they are "
            "several, pass one of them"
        )
        assert (reader.notes, reader.damage) == ([] if sure else [line], None)


def test_a_second_first_part_beside_a_listed_one_is_not_read(tmp_path: Path) -> None:
    bag = _rosbag2(tmp_path / "drive_2024-01-01-12-00-00_0")
    other = next(_rosbag2(tmp_path / "other", first=10).glob("*.db3"))
    shutil.copy(other, bag / "drive_2024-01-02-12-00-00_0.db3")
    (note,) = _check(bag).notes
    assert note == (
        "drive_2024-01-02-12-00-00_0.db3 is not read: metadata.yaml does not list it, and a "
        "listed file is part 0 as well; pass it alone"
    )


def test_another_recording_beside_a_listed_one_is_told(tmp_path: Path) -> None:
    bag = _rosbag2(tmp_path / "bag")
    shutil.copy(next(_rosbag2(tmp_path / "other", first=10).glob("*.db3")), bag / "other.db3")
    (note,) = _check(bag).notes
    assert note.startswith("other.db3 is not read: metadata.yaml does not list it, and its name")


def test_a_renamed_recording_with_more_parts_than_metadata_lists_is_complete(
    tmp_path: Path,
) -> None:
    bag = _rosbag2(tmp_path / "bag")
    next(bag.glob("*.db3")).rename(bag / "mine_0.db3")
    shutil.copy(next(_rosbag2(tmp_path / "more", first=10).glob("*.db3")), bag / "mine_1.db3")
    with BagReader(bag) as reader:
        assert sum(topic.count for topic in reader.topics) == 2 * COUNT
        assert reader.damage is None
        assert reader.notes[0] == (
            "metadata.yaml lists bag.db3, which is not there; mine_0.db3, mine_1.db3 is read "
            "instead"
        )


def test_several_recordings_none_of_which_is_listed_are_named(tmp_path: Path) -> None:
    bag = _rosbag2(tmp_path / "bag")
    next(bag.glob("*.db3")).rename(bag / "monday.db3")
    shutil.copy(bag / "monday.db3", bag / "tuesday.db3")
    text = "several ROS 2 recordings; pass one of them: monday.db3, tuesday.db3"
    with pytest.raises(BagError, match=text):
        BagReader(bag).__enter__()


@pytest.mark.parametrize(
    ("keep", "content", "read", "note"),
    [
        (1.0, 1.0, 10, "bag.db3.zstd is not read, since bag.db3 has the same content"),
        (0.6, 1.0, 10, "bag.db3 is not read, since bag.db3.zstd has the same "),
        (1.0, 0.6, 10, "bag.db3.zstd is not read, since bag.db3 has the same content and "),
    ],
    ids=["equal", "cut copy", "longer copy"],
)
def test_of_a_compressed_file_and_its_copy_the_complete_one_is_read(
    tmp_path: Path, keep: float, content: float, read: int, note: str
) -> None:
    bag = _rosbag2(tmp_path / "bag")
    file = bag / "bag.db3"
    data = file.read_bytes()
    (bag / "bag.db3.zstd").write_bytes(zstd.compress(data[: int(content * len(data))]))
    file.write_bytes(data[: int(keep * len(data))])
    reader = _check(bag)
    assert reader.damage is None
    assert sum(topic.count for topic in reader.topics) == read
    assert any(text.startswith(note) for text in reader.notes), reader.notes


def test_a_compressed_file_that_differs_from_its_copy_is_told(tmp_path: Path) -> None:
    bag = _rosbag2(tmp_path / "bag")
    data = bytearray((bag / "bag.db3").read_bytes())
    data[24] ^= 1  # SQLite's counter of changes
    (bag / "bag.db3.zstd").write_bytes(zstd.compress(bytes(data)))
    (note,) = _check(bag).notes
    assert note.startswith("bag.db3.zstd is not read, since bag.db3 is the larger of the two, ")
    assert "which differ from byte 24 on" in note


def test_a_damaged_compressed_file_is_not_called_the_same(tmp_path: Path) -> None:
    bag = _rosbag2(tmp_path / "bag")
    packed = zstd.compress((bag / "bag.db3").read_bytes())
    (bag / "bag.db3.zstd").write_bytes(packed[: len(packed) // 2])
    (note,) = _check(bag).notes
    assert note.endswith("bytes more, and bag.db3.zstd was cut off")


@pytest.mark.parametrize("name", ["run.mcap", "run.db3", "run.bag", "run.mcap.zstd"])
@pytest.mark.parametrize(
    ("data", "remedy"),
    [
        (b"PK\x03\x04 and so on, up to the end", "it is an archive; unpack it"),
        (b"\x1f\x8b\x08 and so on, up to the end", "it is an archive; unpack it"),
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n",
            "it is a pointer of Git LFS, not the recording itself; get that with `git lfs pull`",
        ),
    ],
    ids=["zip", "gzip", "lfs"],
)
def test_other_files_under_the_name_of_a_bag_have_a_remedy(
    tmp_path: Path, name: str, data: bytes, remedy: str
) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(BagError) as caught:
        BagReader(tmp_path / name).__enter__()
    assert str(caught.value).startswith(f"cannot read {tmp_path / name}: {remedy}")
    assert str(caught.value).count(name) == 1


@pytest.mark.parametrize("size", [100, 3000, 8192])
def test_a_db3_of_which_only_the_start_is_left_has_a_remedy(tmp_path: Path, size: int) -> None:
    (file,) = _rosbag2(tmp_path / "bag").glob("*.db3")
    (tmp_path / "cut.db3").write_bytes(file.read_bytes()[:size])
    text = rf"it was cut off after {size} bytes, before its first message \(.*\); copy it again"
    with pytest.raises(BagError, match=text):
        BagReader(tmp_path / "cut.db3").__enter__()
