# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""replay.launch.py: the live node makes the same decisions and masks as the offline replay."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2: source /opt/ros/<distro>/setup.bash")

from ament_index_python.packages import get_package_share_directory
from launch.launch_description_sources import get_launch_description_from_python_launch_file
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rigs.graph import until
from sensor_msgs.msg import Image
from std_msgs.msg import String

from launch import LaunchContext
from rgbd_seg_ros.bag.writer import BagWriter
from rgbd_seg_ros.frames import Defect, Frame
from rgbd_seg_ros.images import stamp_ns, to_frame
from rgbd_seg_ros.ros.replay.fault_republisher import with_fault

pytestmark = pytest.mark.ros

# At 12.5 Hz, a hold of 1 s is not a whole number of frame periods, so a millisecond of jitter does
# not decide which frame is the first one after the hold.
FAULTS = """
- {stream: depth, fault: drop, from: 2.0, to: 3.0}
- {stream: rgb, fault: drop, from: 5.0, to: 6.0}
"""
RATE_HZ = 12.5
SECONDS = 8.5
BOXES = "bags/realsense_boxes_aligned"
ROBOT = "bags/realsense_robot_unaligned"


@dataclass(frozen=True)
class Result:
    """Result of one `ros2 launch`."""

    code: int
    output: str
    out: Path

    @property
    def score(self) -> dict[str, Any]:
        return dict(json.loads((self.out / "score.json").read_text()))


@contextmanager
def started(*command: object) -> Iterator[subprocess.Popen[str]]:
    """Start a command; at the end, kill it and all processes that it started."""
    process = subprocess.Popen(
        [str(word) for word in command],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()


def launch(out: Path, **arguments: object) -> Result:
    """Run replay.launch.py until it ends."""
    words = [f"{name}:={value}" for name, value in {"out": out, **arguments}.items()]
    with started("ros2", "launch", "rgbd_seg_ros", "replay.launch.py", *words) as process:
        output, _ = process.communicate(timeout=400)
    return Result(process.returncode, output, out)


def replay(folder: Path, speeds: tuple[float, ...], **arguments: object) -> Result:
    """Run a live replay; repeat it at a lower rate if the only failure is that the node was late.

    A busy machine may be too slow for the first rate.
    """
    for speed in speeds:
        result = launch(folder / str(speed), rate=speed, **arguments)
        score = result.score if (result.out / "score.json").exists() else {}
        busy = score and not score["passed"] and score["causes"]
        if not busy or score["unexplained"] or score["masks_different"]:
            break
    return result


@pytest.fixture(scope="module")
def bag(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Aligned color and depth images of noise. Depth arrives 20 ms before color.

    If color had to wait for depth, each delay of a busy test machine beyond the learned wait would
    cause a mask from color alone: correct on a robot, but different in every run.
    """
    path = tmp_path_factory.mktemp("bags") / "noise"
    rng = np.random.default_rng(0)
    with BagWriter(path) as writer:
        for i in range(round(RATE_HZ * SECONDS)):
            t = 1_700_000_000 * 10**9 + round(i * 1e9 / RATE_HZ)
            rgb = rng.integers(30, 220, (48, 64, 3), dtype=np.uint8)
            depth = rng.integers(800, 4000, (48, 64), dtype=np.uint16)
            late = t + 2_000_000
            writer.image("/cam/depth/image_raw", t + 4_000_000, depth, late, "cam")
            writer.image("/cam/color/image_raw", t + 24_000_000, rgb, t, "cam")
        writer.image("/cam/extra/image_raw", t + 25_000_000, rgb, t, "cam", "rgb9")
    return path


@pytest.fixture(scope="module")
def replayed(bag: Path, bundle_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Result:
    """A live replay with two faults."""
    folder = tmp_path_factory.mktemp("out")
    faults = folder / "faults.yaml"
    faults.write_text(FAULTS)
    return replay(folder, (1.0, 0.2), bag=bag, faults=faults, bundle=bundle_dir)


def test_live_and_offline_replay_agree(replayed: Result) -> None:
    assert replayed.code == 0, replayed.output
    score = replayed.score
    assert score["agreement"] >= 0.99
    assert score["coverage"] >= 0.99
    assert score["unexplained"] == 0
    assert set(score["networks"]) == {"rgbd", "rgb", "depth"}
    assert [fault["messages"] for fault in score["faults"]] == [13, 12]


def test_what_the_bag_has_and_is_not_used_is_logged(replayed: Result) -> None:
    line = "topic /cam/extra/image_raw is not used: its encoding 'rgb9' is unknown"
    assert replayed.output.count(f"[rgbd_seg_ros]: {line}") == 1, "before the replay begins"
    assert any(text.startswith(line) for text in replayed.score["warnings"])


def test_equal_inputs_give_equal_mask_bytes(replayed: Result) -> None:
    score = replayed.score
    assert score["masks_recomputed"] >= 0.99 * score["masks"]
    assert score["masks_different"] == 0


def test_the_recording_opens_in_ros(replayed: Result) -> None:
    recorded = str(replayed.out / "recorded")
    info = subprocess.run(
        ["ros2", "bag", "info", recorded], capture_output=True, text=True, timeout=100, check=True
    )
    assert "/segmenter/mask | Type: sensor_msgs/msg/Image" in info.stdout
    play = ["ros2", "bag", "play", recorded, "--rate", "20", "--disable-keyboard-controls"]
    subprocess.run(play, capture_output=True, timeout=100, check=True)


@pytest.mark.parametrize(
    ("name", "speeds", "networks"),
    [(BOXES, (1.0, 0.2), {"rgbd": 10}), (ROBOT, (0.2, 0.05), {"rgb": 60})],
)
def test_real_recordings_agree(
    name: str,
    speeds: tuple[float, ...],
    networks: dict[str, int],
    recordings: Path,
    bundle_dir: Path,
    tmp_path: Path,
) -> None:
    before = sorted((recordings / name).iterdir())
    result = replay(tmp_path, speeds, bag=recordings / name, bundle=bundle_dir)
    assert result.code == 0, result.output
    assert sorted((recordings / name).iterdir()) == before
    assert result.score["networks"] == networks
    assert result.score["masks_different"] == 0


def test_real_recordings_with_ros2_bag_play(
    ros_context: None, recordings: Path, bundle_dir: Path, tmp_path: Path
) -> None:
    """Play two bags to a launched node, as a user would; the clock jumps back between them."""
    masks: list[int] = []
    modes: list[str] = []
    node = Node("listener")
    node.create_subscription(
        Image, "/segmenter/mask", lambda m: masks.append(stamp_ns(m.header)), 50
    )
    node.create_subscription(String, "/segmenter/mode", lambda m: modes.append(m.data), 50)
    executor = SingleThreadedExecutor()
    executor.add_node(node)

    def step() -> None:
        executor.spin_once(timeout_sec=0.1)

    arguments = ("camera:=realsense", "use_sim_time:=true", f"bundle:={bundle_dir}")
    with started("ros2", "launch", "rgbd_seg_ros", "seg.launch.py", *arguments) as launched:
        until(lambda: node.count_publishers("/segmenter/mask"), step, 120)
        for name, mode in ((BOXES, "RGBD"), (ROBOT, "RGB_ONLY")):
            # A copy, because rosbag2 decompresses files in place.
            bag = shutil.copytree(
                recordings / name, tmp_path / Path(name).name, copy_function=shutil.copyfile
            )
            masks.clear()
            modes.clear()
            options = ("--clock", "100", "--rate", "0.5", "--disable-keyboard-controls")
            with started("ros2", "bag", "play", bag, *options) as player:
                until(lambda: player.poll() is not None, step, 120)
                assert player.returncode == 0
            until(lambda: masks, step)
            assert modes[-1] == mode
            assert masks == sorted(set(masks))
            assert all(1_700_000_000 <= stamp / 1e9 <= 1_700_000_002 for stamp in masks)
        launched.send_signal(signal.SIGINT)
        output, _ = launched.communicate(timeout=60)
    executor.shutdown()
    node.destroy_node()
    assert launched.returncode == 0, output


# --- Refused arguments and failures -------------------------------------------------------------


def refused(tmp_path: Path, **arguments: object) -> str:
    """The error of the launch file for these arguments, before anything is started."""
    share = get_package_share_directory("rgbd_seg_ros")
    described = get_launch_description_from_python_launch_file(f"{share}/launch/replay.launch.py")
    *declared, run = described.entities
    context = LaunchContext()
    given = {"out": tmp_path / "out", **arguments}
    context.launch_configurations.update({name: str(value) for name, value in given.items()})
    for action in declared:
        action.execute(context)
    with pytest.raises(RuntimeError) as caught:
        run.execute(context)
    return str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"bag": "/nowhere/bag"}, ("no bag", "/nowhere/bag")),
        ({"rate": "0"}, ("rate:=0", "0.5")),
        ({"rate": "fast"}, ("rate:=fast",)),
        ({"rviz": "maybe"}, ("rviz:=maybe", "true")),
        ({"bundle": "/nowhere/bundle"}, ("bundle:=/nowhere/bundle", "bundle.json")),
        ({"params_file": "/nowhere/p.yaml"}, ("params_file:=/nowhere/p.yaml",)),
        ({"faults": "/nowhere/f.yaml"}, ("/nowhere/f.yaml",)),
    ],
)
def test_wrong_arguments_are_one_line_at_once(
    bag: Path, tmp_path: Path, arguments: dict[str, object], words: tuple[str, ...]
) -> None:
    line = refused(tmp_path, **{"bag": bag, **arguments})
    assert "\n" not in line
    assert all(word in line for word in words)


def test_faults_that_affect_no_message_are_refused(bag: Path, tmp_path: Path) -> None:
    faults = tmp_path / "late.yaml"
    faults.write_text("- {stream: depth, fault: drop, from: 60.0, to: 61.0}")
    line = refused(tmp_path, bag=bag, faults=faults)
    assert "no fault affects a message" in line
    assert str(bag) in line


def test_an_existing_recording_is_not_replaced(bag: Path, tmp_path: Path) -> None:
    (tmp_path / "out" / "recorded").mkdir(parents=True)
    assert "already contains a recording" in refused(tmp_path, bag=bag)


@pytest.fixture
def launch_file() -> Any:
    """The imported launch file."""
    share = get_package_share_directory("rgbd_seg_ros")
    path = f"{share}/launch/replay.launch.py"
    spec = importlib.util.spec_from_file_location("replay_launch", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def ended(action: object, name: str, code: int) -> SimpleNamespace:
    """The event that a process ended."""
    return SimpleNamespace(action=action, process_name=name, returncode=code)


def test_an_unexpected_end_of_a_process_ends_the_launch(launch_file: Any) -> None:
    follow, running = launch_file.follow, SimpleNamespace(is_shutdown=False)
    stages = {"player": (["next"], "playing the bag failed", (0,))}
    assert follow(ended("player", "player-1", 0), running, stages) == ["next"]
    for event, words in (
        (ended("player", "player-1", 1), "playing the bag failed"),
        (ended("node", "segmenter-2", -9), "segmenter-2 ended with exit code -9"),
        (ended("node", "segmenter-2", 0), "segmenter-2 ended with exit code 0"),
    ):
        with pytest.raises(RuntimeError, match=words):
            follow(event, running, stages)
        assert follow(event, SimpleNamespace(is_shutdown=True), stages) == []
    assert follow(ended("rviz", "rviz2-3", 1), running, stages) == []


def test_an_interrupted_replay_does_not_pass(launch_file: Any) -> None:
    launch_file.interrupted(SimpleNamespace(due_to_sigint=False), None)
    with pytest.raises(RuntimeError, match="before the replay was scored"):
        launch_file.interrupted(SimpleNamespace(due_to_sigint=True), None)


def test_a_compressed_bag_is_decompressed_elsewhere(launch_file: Any, tmp_path: Path) -> None:
    bag, out = tmp_path / "bag", tmp_path / "out"
    bag.mkdir()
    out.mkdir()
    (bag / "metadata.yaml").touch()
    assert launch_file.playable(bag, out) == bag
    (bag / "bag.mcap.zstd").touch()
    links = launch_file.playable(bag, out)
    assert links.parent == out
    assert {path.resolve() for path in links.iterdir()} == set(bag.iterdir())


def test_a_missing_bag_ends_the_launch_with_1(tmp_path: Path) -> None:
    result = launch(tmp_path / "out", bag=tmp_path / "none")
    assert result.code == 1
    assert f"{tmp_path}/none" in result.output
    assert "Traceback" not in result.output


def test_a_node_that_cannot_start_ends_the_launch_with_1(bag: Path, tmp_path: Path) -> None:
    broken = tmp_path / "bundle"
    broken.mkdir()
    (broken / "bundle.json").write_text("{}")
    result = launch(tmp_path / "out", bag=bag, bundle=broken)
    assert result.code == 1
    assert "Traceback" not in result.output
    assert "cannot configure" in result.output
    (line,) = [line for line in result.output.splitlines() if "Caught exception" in line]
    assert "segmenter" in line
    assert not (tmp_path / "out" / "score.json").exists()


def test_a_republisher_that_dies_ends_the_launch_with_1(
    bag: Path, bundle_dir: Path, tmp_path: Path
) -> None:
    with started(
        *("ros2", "launch", "rgbd_seg_ros", "replay.launch.py"),
        *(f"bag:={bag}", f"out:={tmp_path / 'out'}", f"bundle:={bundle_dir}", "rate:=0.1"),
    ) as launched:
        assert launched.stdout is not None
        for line in launched.stdout:
            if "fault_republisher" in line and "process started with pid" in line:
                os.kill(int(line.split("[")[-1].rstrip("]\n")), signal.SIGKILL)
                break
        output, _ = launched.communicate(timeout=200)
    assert launched.returncode == 1
    (line,) = [line for line in output.splitlines() if "Caught exception" in line]
    assert "fault_republisher" in line


# --- Messages of the republisher ----------------------------------------------------------------


def color_image() -> Image:
    rgb = np.random.default_rng(0).integers(0, 255, (4, 6, 3), dtype=np.uint8)
    message = Image(height=4, width=6, encoding="bgr8", step=18)
    message.data.frombytes(rgb.tobytes())
    return message


def test_an_unaffected_message_is_passed_on_unchanged() -> None:
    message = color_image()
    frame = to_frame(message, "rgb")
    assert with_fault(message, frame, frame) is message


def test_a_defect_becomes_an_unusable_message() -> None:
    message = color_image()
    after = with_fault(message, to_frame(message, "rgb"), Defect("malformed", "cut off"))
    assert isinstance(to_frame(after, "rgb"), Defect)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_modified_pixels_are_published(dtype: type) -> None:
    shape = (4, 6, 3) if dtype is np.uint8 else (4, 6)
    frame = Frame(np.full(shape, 7, dtype), 5_000_000_007, "cam", "x")
    after = with_fault(color_image(), SimpleNamespace(), frame)  # type: ignore[arg-type]
    seen = to_frame(after, "rgb" if dtype is np.uint8 else "depth")
    assert isinstance(seen, Frame)
    assert np.array_equal(seen.array, frame.array)
    assert (seen.stamp_ns, seen.frame_id) == (5_000_000_007, "cam")
