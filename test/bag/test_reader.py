# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Every type of bag is read in the order received; the error for a broken one names a remedy."""

from __future__ import annotations

import builtins
import shutil
from pathlib import Path

import numpy as np
import pytest
from rosbags.rosbag1 import Writer as Writer1
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

from rgbd_seg_ros.bag.reader import BagError, BagReader
from rgbd_seg_ros.bag.writer import BagWriter

TOPIC, OTHER = "/camera/image", "/other"
COUNT = 6
#: Storage, compression.
KINDS = [
    ("SQLITE3", "NONE"),
    ("SQLITE3", "FILE"),
    ("SQLITE3", "MESSAGE"),
    ("MCAP", "NONE"),
    ("MCAP", "FILE"),
    ("MCAP", "MESSAGE"),
    ("MCAP", "STORAGE"),
]


def _image(store, index: int):  # type: ignore[no-untyped-def]
    types = store.types
    stamp = types["builtin_interfaces/msg/Time"](sec=index, nanosec=0)
    extra = {"seq": index} if "seq" in types["std_msgs/msg/Header"].__annotations__ else {}
    header = types["std_msgs/msg/Header"](stamp=stamp, frame_id="cam", **extra)
    data = np.random.default_rng(index).integers(0, 256, 40 * 60, dtype=np.uint8)
    data[0] = index % 256
    return types["sensor_msgs/msg/Image"](
        header=header, height=40, width=60, encoding="mono8", is_bigendian=0, step=60, data=data
    )


def _write2(
    path: Path, storage: str = "MCAP", compression: str = "NONE", count: int = COUNT
) -> Path:
    store = get_typestore(Stores.ROS2_HUMBLE)
    writer = Writer(path, version=8, storage_plugin=StoragePlugin[storage])
    writer.set_compression(CompressionMode[compression], CompressionFormat.ZSTD)
    with writer:
        kinds = {TOPIC: "sensor_msgs/msg/Image", OTHER: "std_msgs/msg/String"}
        connections = {t: writer.add_connection(t, k, typestore=store) for t, k in kinds.items()}
        string = store.types["std_msgs/msg/String"](data="x")
        for i in range(count):
            data = store.serialize_cdr(_image(store, i), kinds[TOPIC])
            writer.write(connections[TOPIC], 1000 + 10 * i, data)
            writer.write(
                connections[OTHER], 1005 + 10 * i, store.serialize_cdr(string, kinds[OTHER])
            )
    return path


def _write1(path: Path, compression: str | None = None) -> Path:
    store = get_typestore(Stores.ROS1_NOETIC)
    writer = Writer1(path)
    if compression:
        writer.set_compression(Writer1.CompressionFormat[compression])
    with writer:
        connection = writer.add_connection(TOPIC, "sensor_msgs/msg/Image", typestore=store)
        for i in range(COUNT):
            data = store.serialize_ros1(_image(store, i), "sensor_msgs/msg/Image")
            writer.write(connection, 1000 + 10 * i, data)
    return path


def _check_content(path: Path) -> None:
    with BagReader(path) as reader:
        assert reader.start_ns == 1000
        items = list(reader.messages([TOPIC]))
        assert reader.damage is None
    assert [item.receive_ns for item in items] == [1000 + 10 * i for i in range(COUNT)]
    assert [item.message.data[0] for item in items] == list(range(COUNT))


@pytest.mark.parametrize(("storage", "compression"), KINDS)
def test_ros2_bags_of_every_type(tmp_path: Path, storage: str, compression: str) -> None:
    _check_content(_write2(tmp_path / "bag", storage, compression))


@pytest.mark.parametrize("compression", [None, "BZ2", "LZ4"])
def test_ros1_bag(tmp_path: Path, compression: str | None) -> None:
    _check_content(_write1(tmp_path / "one.bag", compression))


@pytest.mark.parametrize("storage", ["SQLITE3", "MCAP"])
def test_storage_file_alone_and_a_recording_without_metadata(tmp_path: Path, storage: str) -> None:
    bag = _write2(tmp_path / "bag", storage)
    (bag / "metadata.yaml").unlink()
    _check_content(bag)
    _check_content(next(bag.iterdir()))


def test_a_metadata_file_opens_its_bag(tmp_path: Path) -> None:
    _check_content(_write2(tmp_path / "bag") / "metadata.yaml")


def test_topics_and_bounds(tmp_path: Path) -> None:
    with BagReader(_write2(tmp_path / "bag")) as reader:
        assert [(t.name, t.type, t.count) for t in reader.topics] == [
            (TOPIC, "sensor_msgs/msg/Image", COUNT),
            (OTHER, "std_msgs/msg/String", COUNT),
        ]
        assert reader.end_ns == 1005 + 10 * (COUNT - 1)
        topics = [item.topic for item in reader.messages([TOPIC, OTHER])]
        assert topics == [TOPIC, OTHER] * COUNT
        assert reader.first(TOPIC).data[0] == 0
        assert reader.first("/nowhere") is None


def test_bytes_that_are_not_a_message_are_read_as_none(tmp_path: Path) -> None:
    store = get_typestore(Stores.ROS2_HUMBLE)
    with Writer(tmp_path / "bag", version=8, storage_plugin=StoragePlugin.MCAP) as writer:
        connection = writer.add_connection(TOPIC, "sensor_msgs/msg/Image", typestore=store)
        writer.write(connection, 1000, b"\0\1\0\0short")
        data = store.serialize_cdr(_image(store, 1), "sensor_msgs/msg/Image")
        writer.write(connection, 1010, data)
    with BagReader(tmp_path / "bag") as reader:
        first, second = reader.messages([TOPIC])
    assert first.message is None
    assert second.message.data[0] == 1


def _empty_file(tmp_path: Path) -> Path:
    (tmp_path / "empty.mcap").touch()
    return tmp_path / "empty.mcap"


def _empty_folder(tmp_path: Path) -> Path:
    (tmp_path / "folder").mkdir()
    return tmp_path / "folder"


def _text(tmp_path: Path) -> Path:
    (tmp_path / "bag.txt").write_text("no bag")
    return tmp_path / "bag.txt"


def _garbage(tmp_path: Path) -> Path:
    (tmp_path / "bag.bag").write_bytes(b"no bag at all" * 100)
    return tmp_path / "bag.bag"


def _cut_zstd(tmp_path: Path) -> Path:
    bag = _write2(tmp_path / "bag", "MCAP", "FILE")
    path = next(bag.glob("*.zstd"))
    path.write_bytes(path.read_bytes()[:100])
    return bag


def _storage_gone(tmp_path: Path) -> Path:
    bag = _write2(tmp_path / "bag")
    next(bag.glob("*.mcap")).unlink()
    return bag


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda p: p / "nowhere", "there is no bag at"),
        (_empty_file, r"is empty \(0 bytes\)"),
        (_empty_folder, r"it contains no metadata.yaml and no \*.bag, \*.mcap or \*.db3 files"),
        (_text, r"has an unknown type \(.txt\)"),
        (_garbage, "cannot read .*its content is not that of a bag"),
        (_cut_zstd, "cannot read .*zstd was cut off"),
        (_storage_gone, "its .* files are missing; copy them there"),
        (lambda p: _write2(p / "bag", count=0), "contains no messages"),
    ],
)
def test_bad_bags_are_refused_in_one_line(tmp_path: Path, make, message: str) -> None:  # type: ignore[no-untyped-def]
    path = make(tmp_path)
    with pytest.raises(BagError, match=message) as caught, BagReader(path):
        pass
    assert "\n" not in str(caught.value)
    assert str(path.parent) in str(caught.value)


def test_damage_in_the_middle_is_skipped_and_reported(tmp_path: Path) -> None:
    bag = _write2(tmp_path / "bag", "MCAP", "STORAGE", count=1200)
    path = next(bag.glob("*.mcap"))
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 2000] = bytes(2000)
    path.write_bytes(data)
    with BagReader(bag) as reader:
        count = sum(1 for _ in reader.messages([TOPIC]))
        assert 800 < count < 1200
        assert f"; {2 * (1200 - count)} messages" in (reader.damage or "")


def test_without_rosbags_the_remedy_is_named(tmp_path: Path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    bag = _write2(tmp_path / "bag")
    real_import = builtins.__import__

    def no_rosbags(name, *args, **kwargs):  # type: ignore[no-untyped-def]
        if name.startswith("rosbags"):
            raise ImportError("no rosbags here")
        return real_import(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", no_rosbags)
    with pytest.raises(BagError, match="pip install rosbags"), BagReader(bag):
        pass


def test_the_shared_recordings(recordings: Path) -> None:
    counts = {}
    for name in (
        "bags/realsense_boxes_aligned",
        "bags/realsense_robot_unaligned",
        "bags_ros1/librealsense_single_depth_color_640x480.bag",
    ):
        with BagReader(recordings / name) as reader:
            images = [t.name for t in reader.topics if t.type == "sensor_msgs/msg/Image"]
            counts[name] = sum(1 for _ in reader.messages(images))
    assert list(counts.values()) == [20, 120, 3]


def test_a_copied_bag_is_independent_of_its_name(tmp_path: Path) -> None:
    bag = _write2(tmp_path / "bag")
    shutil.copytree(bag, tmp_path / "copy")
    _check_content(tmp_path / "copy")


def test_receive_times_that_cannot_be_right_are_told(tmp_path: Path) -> None:
    for name, last in (("good", 1_700_000_100 * 10**9), ("rolled over", 2**63 - 1000)):
        with BagWriter(tmp_path / name) as writer:
            for receive_ns in (1_700_000_000 * 10**9, last):
                image = np.zeros((2, 2, 3), np.uint8)
                writer.image("/color", receive_ns, image, 1, "camera")
        with BagReader(tmp_path / name) as reader:
            notes = reader.notes
        assert bool(notes) == (name == "rolled over"), notes
        assert not notes or notes[0].startswith("the receive times span 238.6 years")
