# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Bags are written completely or not at all, and reading them returns what was written."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml
from rosbags.highlevel import AnyReader

from rgbd_seg_ros.bag.reader import BagError, BagReader
from rgbd_seg_ros.bag.writer import BagWriter
from rgbd_seg_ros.frames import Intrinsics
from rgbd_seg_ros.images import stamp_ns, to_frame, to_intrinsics

NOW_NS = 1_700_000_000_123_456_789


@pytest.mark.parametrize(
    ("array", "encoding", "stream"),
    [
        (np.arange(72, dtype=np.uint8).reshape(4, 6, 3), "rgb8", "rgb"),
        (np.arange(24, dtype=np.uint16).reshape(4, 6), "16UC1", "depth"),
        (np.arange(24, dtype=np.float32).reshape(4, 6), "32FC1", "depth"),
        (np.arange(72, dtype=np.uint8).reshape(4, 6, 3)[:, ::-1], "rgb8", "rgb"),
    ],
)
def test_images_are_read_back(
    tmp_path: Path, array: np.ndarray, encoding: str, stream: str
) -> None:
    with BagWriter(tmp_path / "bag") as writer:
        writer.image("/image", NOW_NS, array, NOW_NS - 5, "cam")
    with BagReader(tmp_path / "bag") as reader:
        (item,) = reader.messages(["/image"])
    assert item.receive_ns == NOW_NS
    frame = to_frame(item.message, stream)  # type: ignore[arg-type]
    np.testing.assert_array_equal(frame.array, array)  # type: ignore[union-attr]
    assert (frame.stamp_ns, frame.encoding) == (NOW_NS - 5, encoding)  # type: ignore[union-attr]


def test_other_messages_are_read_back_by_their_embedded_definitions(tmp_path: Path) -> None:
    intrinsics = Intrinsics(300.5, 301.5, 159.5, 119.5, 320, 240)
    with BagWriter(tmp_path / "bag") as writer:
        writer.label_info("/label_info", NOW_NS, ["floor", "wall"])
        writer.string("/mode", NOW_NS, "RGBD")
        writer.camera_info("/info", NOW_NS, intrinsics, NOW_NS, "cam")
        writer.diagnostics(
            "/status", NOW_NS, NOW_NS, "cam", name="n", level=2, text="t", values={"k": "v"}
        )
    found = {}
    with AnyReader([tmp_path / "bag"]) as reader:  # decodes with the definitions in the bag
        for connection, _, data in reader.messages():
            found[connection.topic] = reader.deserialize(data, connection.msgtype)
    classes = [(c.class_id, c.class_name) for c in found["/label_info"].class_map]
    assert classes == [(0, "floor"), (1, "wall")]
    assert found["/mode"].data == "RGBD"
    assert to_intrinsics(found["/info"]) == intrinsics
    (status,) = found["/status"].status
    assert (status.name, status.level, status.message) == ("n", 2, "t")
    assert [(pair.key, pair.value) for pair in status.values] == [("k", "v")]
    assert stamp_ns(found["/status"].header) == NOW_NS


def test_latched_topics_and_metadata_that_humble_reads(tmp_path: Path) -> None:
    with BagWriter(tmp_path / "bag") as writer:
        writer.string("/mode", NOW_NS, "RGBD")
        writer.image("/mask", NOW_NS, np.zeros((2, 2), np.uint8), NOW_NS, "cam")
    metadata = yaml.safe_load((tmp_path / "bag" / "metadata.yaml").read_text())
    info = metadata["rosbag2_bagfile_information"]
    assert info["version"] <= 8  # 9 came with Jazzy
    assert info["storage_identifier"] == "mcap"
    durability = {}
    for topic in info["topics_with_message_count"]:
        (qos,) = yaml.safe_load(topic["topic_metadata"]["offered_qos_profiles"])
        durability[topic["topic_metadata"]["name"]] = qos["durability"]
    assert durability == {"/mode": 1, "/mask": 2}  # transient local, volatile


def test_a_bag_appears_only_when_it_is_complete(tmp_path: Path) -> None:
    writer = BagWriter(tmp_path / "bag")
    writer.string("/mode", NOW_NS, "RGBD")
    assert not (tmp_path / "bag").exists()
    writer.close()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["bag"]
    assert sorted(p.name for p in (tmp_path / "bag").iterdir()) == ["bag.mcap", "metadata.yaml"]


def test_a_failure_leaves_nothing_behind(tmp_path: Path) -> None:
    def fail() -> None:
        with BagWriter(tmp_path / "bag") as writer:
            writer.string("/mode", NOW_NS, "RGBD")
            raise RuntimeError("boom")

    with pytest.raises(RuntimeError, match="boom"):
        fail()
    with pytest.raises(BagError, match="nothing was recorded"), BagWriter(tmp_path / "bag"):
        pass
    assert not list(tmp_path.iterdir())


def test_remains_of_a_killed_run_are_cleared(tmp_path: Path) -> None:
    abandoned = BagWriter(tmp_path / "bag")
    abandoned.string("/mode", NOW_NS, "RGBD")
    with BagWriter(tmp_path / "bag") as writer:
        writer.string("/mode", NOW_NS, "NO_INPUT")
    with BagReader(tmp_path / "bag") as reader:
        assert reader.first("/mode").data == "NO_INPUT"


def test_only_a_bag_is_overwritten_and_only_on_request(tmp_path: Path) -> None:
    path = tmp_path / "bag"
    for text in ("first", "second"):
        with BagWriter(path, overwrite=text == "second") as writer:
            writer.string("/mode", NOW_NS, text)
    with BagReader(path) as reader:
        assert reader.first("/mode").data == "second"
    with pytest.raises(BagError, match=r"already exists; .*--overwrite"):
        BagWriter(path)
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "thesis.txt").write_text("precious")
    with pytest.raises(BagError, match="is not a bag, so it is not overwritten"):
        BagWriter(tmp_path / "home", overwrite=True)
    assert (tmp_path / "home" / "thesis.txt").exists()
