# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""A recording that was cut off anywhere is read as far as possible, in the order received."""

from __future__ import annotations

import json
import re
import shutil
import struct
from pathlib import Path

import pytest
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

from rgbd_seg_ros.bag.mcap_storage import MAGIC
from rgbd_seg_ros.bag.reader import BagError, BagReader

#: Opcode of a chunk.
CHUNK = 0x06
RGB = "/camera/camera/color/image_raw"


@pytest.fixture(scope="module")
def long_bag(write_recording, tmp_path_factory: pytest.TempPathFactory) -> Path:  # type: ignore[no-untyped-def]
    """Several chunks of noise."""
    return write_recording(tmp_path_factory.mktemp("long") / "bag", 700)  # type: ignore[no-any-return]


def _cut(bag: Path, to: Path, share: float, tail: bytes = b"", metadata: bool = True) -> Path:
    shutil.copytree(bag, to)
    path = next(to.glob("*.mcap"))
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)] + tail)
    if not metadata:
        (to / "metadata.yaml").unlink()
    return to


@pytest.mark.parametrize("metadata", [True, False])
@pytest.mark.parametrize("tail", [b"", bytes(5000)], ids=["cut", "zeros"])
@pytest.mark.parametrize("share", [0.4, 0.75, 0.97])
def test_a_cut_recording_is_read_as_far_as_possible(  # type: ignore[no-untyped-def]
    long_bag, tmp_path, share, tail, metadata
) -> None:
    cut = _cut(long_bag, tmp_path / "cut", share, tail, metadata)
    with BagReader(long_bag) as reader:
        reference = [m.receive_ns for m in reader.messages([RGB])]
    with BagReader(cut) as reader:
        assert "was cut off" in (reader.damage or "")
        times = [m.receive_ns for m in reader.messages([RGB])]
    assert times == reference[: len(times)]
    # Each chunk contains about a megabyte, a quarter of this recording.
    assert (share - 0.35) * len(reference) < len(times) < len(reference)


def test_a_cut_file_without_its_bag_is_read_and_not_changed(
    long_bag: Path, tmp_path: Path
) -> None:
    cut = next(_cut(long_bag, tmp_path / "cut", 0.6).glob("*.mcap"))
    before = cut.read_bytes()
    with BagReader(cut) as reader:
        assert sum(1 for _ in reader.messages([RGB])) > 100
    assert cut.read_bytes() == before


def test_messages_out_of_order_are_sorted_by_time(tmp_path: Path) -> None:
    store = get_typestore(Stores.ROS2_HUMBLE)
    string = store.types["std_msgs/msg/String"]
    with Writer(tmp_path / "bag", version=8, storage_plugin=StoragePlugin.MCAP) as writer:
        connection = writer.add_connection("/a", "std_msgs/msg/String", typestore=store)
        for i in range(40):
            now_ns = 1000 + 10 * (i ^ 1)  # every pair of neighbors swapped
            message = store.serialize_cdr(string(data="x" * 100_000), "std_msgs/msg/String")
            writer.write(connection, now_ns, message)
    path = tmp_path / "bag" / "bag.mcap"
    path.write_bytes(path.read_bytes()[:-5000])
    with BagReader(tmp_path / "bag") as reader:
        times = [m.receive_ns for m in reader.messages(["/a"])]
    assert len(times) > 20
    assert times == sorted(times)


@pytest.mark.parametrize(
    "data",
    [
        MAGIC,
        MAGIC + b"\x01\x05",
        MAGIC + bytes(100),
        MAGIC + struct.pack("<BQ", CHUNK, 3) + b"abc",
    ],
)
def test_a_file_without_any_complete_record_is_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "bag.mcap").write_bytes(data)
    for path in (tmp_path, tmp_path / "bag.mcap"):
        where = f"cannot read {path}: bag.mcap was cut off"
        with pytest.raises(BagError, match=re.escape(where)), BagReader(path):
            pass


def test_a_cut_bag_is_replayed_and_the_summary_says_so(long_bag, run_replay, tmp_path) -> None:  # type: ignore[no-untyped-def]
    cut = _cut(long_bag, tmp_path / "cut", 0.6)
    summary = run_replay(cut).summary
    assert summary["masks"] > 200
    assert "was cut off" in summary["damage"]
    assert any("was cut off" in text for text in summary["warnings"])
    json.dumps(summary)
