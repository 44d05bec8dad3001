# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""replay.launch.py: the live node decides as the offline replay does, and makes the same masks."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2: source /opt/ros/<distro>/setup.bash")

from sensor_msgs.msg import Image

from rgbd_seg_ros.bag.reader import BagReader
from rgbd_seg_ros.bag.replay import Replay
from rgbd_seg_ros.bag.source import Source
from rgbd_seg_ros.bag.topics import choose_topics
from rgbd_seg_ros.bag.writer import BagWriter
from rgbd_seg_ros.frames import Defect, Frame
from rgbd_seg_ros.images import stamp_ns, to_frame
from rgbd_seg_ros.ros import replay_score
from rgbd_seg_ros.ros.fault_republisher import changed

pytestmark = pytest.mark.ros

# Edges lie between two frames, and no whole number of frames fills a hold of 1 s: which frame is
# the first one after must not hang on a millisecond.
FAULTS = """
- {stream: depth, fault: drop, from: 3.09, to: 5.09}
- {stream: rgb, fault: drop, from: 8.05, to: 10.05}
"""
RATE_HZ = 12.5
SECONDS = 13


@pytest.fixture(scope="module")
def bag(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Thirteen seconds of registered colour and depth. Depth arrives first by 20 ms.

    Where colour had to wait for depth, each hiccup of a busy test machine beyond the learned wait
    would be a mask by colour alone: right for a robot, but no two runs would be alike.
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
    return path


@pytest.fixture(scope="module")
def replayed(
    bag: Path, bundle_dir: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[int, str, Path]:
    """Exit code, output and results of one live replay with two faults."""
    out = tmp_path_factory.mktemp("out")
    faults = out / "faults.yaml"
    faults.write_text(FAULTS)
    arguments = {"bag": bag, "faults": faults, "bundle": bundle_dir, "out": out}

    command = ["ros2", "launch", "rgbd_seg_ros", "replay.launch.py"]
    command += [f"{name}:={value}" for name, value in arguments.items()]
    done = subprocess.run(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=180,
        check=False,
    )
    return done.returncode, done.stdout, out


def test_live_and_offline_decide_alike(replayed: tuple[int, str, Path]) -> None:
    code, output, out = replayed
    assert code == 0, output
    score = json.loads((out / "score.json").read_text())
    assert score["agreement"] >= 0.99
    assert score["unexplained"] == 0
    assert set(score["networks"]) == {"rgbd", "rgb", "depth"}
    assert score["masks"] > 0.5 * score["offline_masks"]  # what a busy machine must manage


def test_the_same_inputs_give_the_same_mask_bytes(
    replayed: tuple[int, str, Path], bag: Path, bundle_dir: Path
) -> None:
    from rgbd_seg_ros.bundle import load_bundle
    from rgbd_seg_ros.engine import Segmenter
    from rgbd_seg_ros.fallback import Core

    _, _, out = replayed
    live: dict[int, Any] = {}
    with BagReader(out / "recorded") as reader:
        for message in reader.messages(["/segmenter/mask"]):
            live[stamp_ns(message.message.header)] = message.message
    engine = Segmenter(load_bundle(bundle_dir), device="cpu")
    compared = set()
    with BagReader(bag) as reader:
        from rgbd_seg_ros.bag.faults import load_faults

        schedule = load_faults(out / "faults.yaml")
        source = Source(reader, choose_topics(reader, {}), schedule, "header")
        jobs: list[Any] = []
        blank = replay_score.NoEngine(engine.available)
        for made in Replay(Core(networks=engine.available), blank).run(source):
            jobs.append(made.job)
    for job in jobs[::5]:
        if job.stamp_ns in live:
            from rgbd_seg_ros.bag.replay import segment
            from rgbd_seg_ros.fallback import CoreConfig

            mask = segment(engine, job, CoreConfig()).labels
            assert mask.tobytes() == bytes(live[job.stamp_ns].data), job.network
            compared.add(job.network)
    assert compared == {"rgbd", "rgb", "depth"}


def test_the_recording_opens_in_ros(replayed: tuple[int, str, Path]) -> None:
    recorded = str(replayed[2] / "recorded")
    info = subprocess.run(
        ["ros2", "bag", "info", recorded], capture_output=True, text=True, timeout=60, check=True
    )
    assert "/segmenter/mask | Type: sensor_msgs/msg/Image" in info.stdout
    play = ["ros2", "bag", "play", recorded, "--rate", "20", "--disable-keyboard-controls"]
    subprocess.run(play, capture_output=True, timeout=60, check=True)


def test_a_bag_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    command = ["ros2", "launch", "rgbd_seg_ros", "replay.launch.py", f"bag:={tmp_path}/none"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert f"{tmp_path}/none" in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr


# --- The republisher's messages -----------------------------------------------------------------


def picture() -> Image:
    rgb = np.random.default_rng(0).integers(0, 255, (4, 6, 3), dtype=np.uint8)
    message = Image(height=4, width=6, encoding="bgr8", step=18)
    message.data.frombytes(rgb.tobytes())
    return message


def test_an_untouched_message_goes_on_as_it_is() -> None:
    message = picture()
    frame = to_frame(message, "rgb")
    assert changed(message, frame, frame) is message


def test_a_defect_is_a_message_the_node_refuses() -> None:
    message = picture()
    after = changed(message, to_frame(message, "rgb"), Defect("malformed", "cut off"))
    assert isinstance(to_frame(after, "rgb"), Defect)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_changed_pixels_arrive_as_the_fault_made_them(dtype: type) -> None:
    shape = (4, 6, 3) if dtype is np.uint8 else (4, 6)
    frame = Frame(np.full(shape, 7, dtype), 5_000_000_007, "cam", "x")
    after = changed(picture(), SimpleNamespace(), frame)  # type: ignore[arg-type]
    seen = to_frame(after, "rgb" if dtype is np.uint8 else "depth")
    assert isinstance(seen, Frame)
    assert np.array_equal(seen.array, frame.array)
    assert (seen.stamp_ns, seen.frame_id) == (5_000_000_007, "cam")
