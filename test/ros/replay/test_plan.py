# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Plans of live replays, and the bags that cannot be replayed live."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from rigs.broken_files import BROKEN, assert_one_line

from rgbd_seg_ros.bag.reader import BagError
from rgbd_seg_ros.files import InputFileError
from rgbd_seg_ros.replay.faults import FaultError
from rgbd_seg_ros.ros.replay.plan import LiveReplayPlan, ReceiveTimes, make_plan
from rgbd_seg_ros.ros.replay.scorer import main

MS = 1_000_000


def faults(folder: Path, text: str) -> str:
    path = folder / "faults.yaml"
    path.write_text(text)
    return str(path)


def test_a_plan_can_be_saved_and_loaded(recording: Path, tmp_path: Path) -> None:
    plan = make_plan(recording, faults(tmp_path, "- {stream: depth, fault: drop, from: 1}"))
    plan.save(tmp_path / "plan.json")
    assert LiveReplayPlan.load(tmp_path / "plan.json") == plan
    assert set(plan.streams) == {"rgb", "depth"}
    assert set(plan.inputs) == {"rgb/image_raw", "depth/image_raw", "rgb/camera_info"}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_plan_is_refused_in_one_line(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    BROKEN[kind](path)
    with pytest.raises(InputFileError) as caught:
        LiveReplayPlan.load(path)
    assert_one_line(caught.value, path)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("bag", 3),
        ("faults", None),
        ("start_ns", "0"),
        ("end_ns", -1),
        ("streams", {"colour": "/a"}),
        ("streams", {"rgb": 3}),
        ("inputs", []),
        ("arrivals", {"rgb": 3}),
        ("arrivals", {"rgb": [[1, 2, 3]]}),
        ("arrivals", {"rgb": [[1, 2.5]]}),
        ("hits", [-1]),
        ("hits", 2),
        ("prefix", ["/a"]),
        ("warnings", [3]),
    ],
)
def test_a_wrong_value_of_a_plan_is_named(
    recording: Path, tmp_path: Path, key: str, value: object
) -> None:
    path = tmp_path / "plan.json"
    make_plan(recording).save(path)
    path.write_text(json.dumps({**json.loads(path.read_text()), key: value}))
    with pytest.raises(InputFileError, match=f"{key} must be .*, got .*: start the live replay"):
        LiveReplayPlan.load(path)


@pytest.mark.parametrize("change", [{"extra": 1}, None])
def test_a_plan_with_other_keys_is_refused(
    recording: Path, tmp_path: Path, change: dict[str, int] | None
) -> None:
    path = tmp_path / "plan.json"
    make_plan(recording).save(path)
    document = json.loads(path.read_text())
    document = {**document, **change} if change else {k: document[k] for k in ("bag", "hits")}
    path.write_text(json.dumps(document))
    with pytest.raises(InputFileError, match="is not the plan of a live replay, which has"):
        LiveReplayPlan.load(path)


def test_a_preset_fits_into_the_bag_as_in_the_offline_replay(recording: Path) -> None:
    plan = make_plan(recording, "lens-cap")
    (fault,) = plan.schedule().faults
    assert (fault.from_s, fault.to_s) == pytest.approx((2 / 9 * 3.903, 7 / 9 * 3.903))
    assert plan.hits == [22]  # 10 Hz from 0.867 s to 3.036 s
    assert "made for 9 s" in plan.warnings[0]


def test_receive_times_are_found_by_stamp(recording: Path) -> None:
    plan = make_plan(recording)
    assert [len(pairs) for pairs in plan.arrivals.values()] == [40, 40]
    (stamp, receive_ns), *_ = plan.arrivals["depth"]
    assert receive_ns - stamp == 5 * MS
    times = ReceiveTimes(plan)
    assert times.take("depth", stamp) == receive_ns
    assert times.take("depth", stamp) is None
    assert times.take("rgb", stamp + 1) is None


def test_messages_with_equal_stamps_keep_their_order(recording: Path) -> None:
    plan = make_plan(recording)
    plan.arrivals["rgb"] = [(7, 10), (7, 20)]
    times = ReceiveTimes(plan)
    assert [times.take("rgb", 7) for _ in range(3)] == [10, 20, None]


def test_hits_are_counted_for_each_fault(recording: Path, tmp_path: Path) -> None:
    text = "- {stream: depth, fault: drop, from: 1.0, to: 2.0}\n- {fault: color_driver, from: 30}"
    # The bag starts with color, and depth follows 3 ms later: from 1.003 to 1.903 s.
    assert make_plan(recording, faults(tmp_path, text)).hits == [10, 0]


@pytest.mark.parametrize(
    "text",
    [
        "- {stream: depth, fault: drop, from: 30.0, to: 35.0}",
        "- {stream: depth_raw, fault: drop, from: 1.0}",
        "- {stream: rgb, fault: black, from: 1.01, to: 1.02}",
    ],
)
def test_faults_that_affect_no_message_are_refused(
    recording: Path, tmp_path: Path, text: str
) -> None:
    path = faults(tmp_path, text)
    with pytest.raises(FaultError, match="no fault affects a message") as caught:
        make_plan(recording, path)
    assert path in str(caught.value)
    assert str(recording) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_bag_that_needs_receive_stamps_is_refused(
    write_recording: Callable[..., Path], tmp_path: Path
) -> None:
    bag = write_recording(tmp_path / "old", count=5, header_offset_ms=-100_000)
    with pytest.raises(BagError, match="use `rgbd_seg replay`"):
        make_plan(bag)


def test_a_ros1_bag_is_refused(recordings: Path) -> None:
    bag = recordings / "bags_ros1" / "librealsense_single_depth_color_640x480.bag"
    with pytest.raises(BagError, match="ROS 1"):
        make_plan(bag)


def test_a_damaged_bag_is_refused_in_one_line(recording: Path, tmp_path: Path) -> None:
    folder = tmp_path / "parts"
    shutil.copytree(recording, folder)
    metadata = folder / "metadata.yaml"
    document = yaml.safe_load(metadata.read_text())
    document["rosbag2_bagfile_information"]["relative_file_paths"].append("lost_1.mcap")
    metadata.write_text(yaml.safe_dump(document))
    with pytest.raises(BagError, match=r"damaged.*lost_1.mcap.*use `rgbd_seg replay`") as caught:
        make_plan(folder)
    assert "\n" not in str(caught.value)


def test_what_the_bag_has_and_is_not_used_is_told(
    recording: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert make_plan(recording).warnings == []
    folder = tmp_path / "renamed"
    shutil.copytree(recording, folder)
    (file,) = folder.glob("*.mcap")
    file.rename(folder / "mine.mcap")
    schedule = faults(tmp_path, "- {stream: depth, fault: drop, from: 1}")
    line = f"metadata.yaml lists {file.name}, which is not there; mine.mcap is read instead"
    out = tmp_path / "plan.json"
    assert main(["plan", f"--bag={folder}", f"--faults={schedule}", f"--out={out}"]) == 0
    assert capsys.readouterr().err == f"warning: {line}\n"
    assert LiveReplayPlan.load(out).warnings == [line]
