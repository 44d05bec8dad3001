# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""A private ROS graph on this machine alone, an installed overlay, cameras and listeners."""

from __future__ import annotations

import gc
import os
import re
import stat
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]


def pytest_configure() -> None:
    """Before any rclpy.init: a domain of its own, loopback only."""
    os.environ.setdefault("RMW_IMPLEMENTATION", "rmw_cyclonedds_cpp")
    os.environ["CYCLONEDDS_URI"] = f"file://{ROOT}/config/cyclonedds_local.xml"
    # Two runs of the tests on one machine must not hear each other.
    os.environ["ROS_DOMAIN_ID"] = str(10 + os.getpid() % 80)


@pytest.fixture(scope="session", autouse=True)
def ros_logs(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Logs of every node of the tests go to the run's own folder."""
    os.environ["ROS_LOG_DIR"] = str(tmp_path_factory.mktemp("ros_logs"))


@pytest.fixture(scope="session")
def overlay(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkout as an installed package, so that launch files and executables are found."""
    prefix = tmp_path_factory.mktemp("overlay")
    index = prefix / "share" / "ament_index" / "resource_index" / "packages"
    index.mkdir(parents=True)
    (index / "rgbd_seg_ros").touch()
    share = prefix / "share" / "rgbd_seg_ros"
    share.mkdir()
    for name in ("package.xml", "launch", "config", "rviz"):
        (share / name).symlink_to(ROOT / name)
    executables = prefix / "lib" / "rgbd_seg_ros"
    executables.mkdir(parents=True)
    text = (ROOT / "setup.py").read_text()
    for name, module, function in re.findall(r'"(\w+) = ([\w.]+):(\w+)"', text):
        script = executables / name
        script.write_text(
            f"#!{sys.executable}\nimport sys\nsys.path.insert(0, {str(ROOT)!r})\n"
            f"from {module} import {function}\nsys.exit({function}())\n"
        )
        script.chmod(script.stat().st_mode | stat.S_IXUSR)
    os.environ["AMENT_PREFIX_PATH"] = f"{prefix}:{os.environ['AMENT_PREFIX_PATH']}"
    return prefix


@pytest.fixture(scope="session")
def bundle_dir(tiny_bundle: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny random bundle on disk."""
    from rgbd_seg_ros.bundle import save_bundle

    return save_bundle(tmp_path_factory.mktemp("bundle"), tiny_bundle)


@pytest.fixture(scope="session")
def ros_context() -> Iterator[None]:
    """rclpy, initialised once for all tests of this process."""
    rclpy = pytest.importorskip("rclpy", reason="needs ROS 2")
    rclpy.init()
    yield
    rclpy.try_shutdown()


def until(condition: Callable[[], Any], step: Callable[[], Any], timeout_s: float = 20.0) -> Any:
    """Step until ``condition`` holds; fails, naming it, when it does not in ``timeout_s``."""
    end = time.monotonic() + timeout_s
    while not (value := condition()):
        assert time.monotonic() < end, f"not within {timeout_s} s: {condition}"
        step()
    return value


class StandIn:
    """An engine whose mask says which network made it, after a wait that a test may set."""

    device = "stand-in"
    available = ("rgbd", "rgb", "depth")
    memory_mb = None

    def __init__(self) -> None:
        from rgbd_seg_ros.labels import INDOOR16

        self.labels = INDOOR16
        self.calls: list[dict[str, Any]] = []
        #: A test clears it to hold the engine in the middle of a mask.
        self.may_finish = threading.Event()
        self.may_finish.set()
        self.failures: list[Exception] = []

    def __call__(
        self,
        rgb: Any = None,
        depth: Any = None,
        intrinsics: Any = None,
        *,
        size: tuple[int, int],
        network: str,
    ) -> Any:
        from rgbd_seg_ros.engine import Segmentation

        self.calls.append({"rgb": rgb, "depth": depth, "intrinsics": intrinsics})
        self.may_finish.wait(30)
        if self.failures:
            raise self.failures.pop()
        labels = np.full(size, self.available.index(network), np.uint8)
        return Segmentation(labels, np.full(size, 200, np.uint8), network, {})


class Rig:
    """The node with a stand-in engine, a camera and a listener, all in this process."""

    def __init__(self, **parameters: Any) -> None:
        from diagnostic_msgs.msg import DiagnosticArray
        from rcl_interfaces.msg import Log
        from rclpy.executors import SingleThreadedExecutor
        from rclpy.node import Node
        from rclpy.parameter import Parameter
        from rclpy.qos import DurabilityPolicy, QoSProfile
        from sensor_msgs.msg import Image
        from std_msgs.msg import String
        from vision_msgs.msg import LabelInfo

        from rgbd_seg_ros.ros.node import SegmenterNode

        self.engine = StandIn()
        self.node = SegmenterNode(lambda _: self.engine)
        # Short holds: every test waits for a stream to come back.
        parameters = {"hold_s": 0.2, **parameters}
        changes = [Parameter(name, value=value) for name, value in parameters.items()]
        results = self.node.set_parameters(changes)
        assert all(result.successful for result in results), results
        self.camera = Node("camera")
        self.listener = Node("listener")
        self.executor = SingleThreadedExecutor()
        for node in (self.node, self.camera, self.listener):
            self.executor.add_node(node)
        #: What the camera sends now. None for silence; else a function of the frame's number.
        self.rgb: Callable[[int], Image] | None = self.rgb_message
        self.depth: Callable[[int], Image] | None = self.depth_message
        self.rng = np.random.default_rng(0)
        self.size = (48, 64)
        self.count = 0
        #: Stamps that were sent, with what was sent: the encoding, or "bad".
        self.sent: dict[str, dict[int, bool]] = {"rgb": {}, "depth": {}}
        self.good = {"rgb": True, "depth": True}
        self.topics: dict[str, Any] = {}
        self.advertise("rgb")
        self.advertise("depth")
        self.masks: list[Image] = []
        self.statuses: list[dict[str, str]] = []
        self.modes: list[str] = []
        self.labels: list[LabelInfo] = []
        self.logs: list[str] = []
        self.diagnostics: list[Any] = []
        latched = QoSProfile(depth=10, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        hear = self.listener.create_subscription
        hear(Image, "segmenter/mask", self.masks.append, 50)
        hear(DiagnosticArray, "segmenter/status", self._on_status, 50)
        hear(String, "segmenter/mode", lambda m: self.modes.append(m.data), latched)
        hear(LabelInfo, "segmenter/label_info", self.labels.append, latched)
        hear(DiagnosticArray, "/diagnostics", self._on_diagnostics, 10)
        hear(Log, "/rosout", lambda m: self.logs.append(m.msg), QoSProfile(depth=100))
        self.timer = self.camera.create_timer(1 / 30, self.publish)

    # --- The camera ---

    def advertise(self, stream: str, kind: Any = None, topic: str = "") -> None:
        """(Re)start the publisher of a stream."""
        from sensor_msgs.msg import Image

        if stream in self.topics:
            self.camera.destroy_publisher(self.topics[stream])
        topic = topic or f"{stream}/image_raw"
        self.topics[stream] = self.camera.create_publisher(kind or Image, topic, 5)

    def publish(self) -> None:
        """One instant of both streams; called 30 times a second."""
        self.count += 1
        now = self.camera.get_clock().now()
        if now.nanoseconds == 0:
            return
        for stream, make in (("rgb", self.rgb), ("depth", self.depth)):
            if make is not None and stream in self.topics:
                message = make(self.count)
                message.header.stamp = now.to_msg()
                message.header.frame_id = message.header.frame_id or "camera"
                self.sent[stream][now.nanoseconds] = self.good[stream]
                self.topics[stream].publish(message)

    def image(self, pixels: Any, encoding: str) -> Any:
        from sensor_msgs.msg import Image

        message = Image(height=pixels.shape[0], width=pixels.shape[1], encoding=encoding)
        message.step = pixels.strides[0]
        message.data.frombytes(pixels.tobytes())
        return message

    def rgb_message(self, _: int) -> Any:
        return self.image(self.rng.integers(30, 220, (*self.size, 3), dtype=np.uint8), "rgb8")

    def depth_message(self, _: int) -> Any:
        return self.image(self.rng.integers(800, 4000, self.size, dtype=np.uint16), "16UC1")

    def metres_message(self, _: int) -> Any:
        depth = self.rng.uniform(0.8, 4.0, self.size).astype(np.float32)
        return self.image(depth, "32FC1")

    # --- The listener ---

    def _on_status(self, message: Any) -> None:
        entry = {v.key: v.value for v in message.status[0].values}
        entry["stamp"] = message.header.stamp.sec * 10**9 + message.header.stamp.nanosec
        self.statuses.append(entry)

    def _on_diagnostics(self, message: Any) -> None:
        self.diagnostics += [s for s in message.status if s.name.endswith("segmentation")]

    # --- The test ---

    def step(self) -> None:
        """Let the callbacks run that are due."""
        self.executor.spin_once(timeout_sec=0.02)

    def until(self, condition: Callable[[], Any], timeout_s: float = 20.0) -> Any:
        """Spin until a condition holds."""
        return until(condition, self.step, timeout_s)

    def activate(self) -> None:
        """Configure and activate, and wait for the first mode."""
        assert self.node.autostart()
        self.until(lambda: self.modes)

    def mode(self, mode: str) -> None:
        """Wait for a mode and for a mask made in it, where it makes any."""
        self.until(lambda: self.modes[-1] == mode)
        if mode not in ("NO_INPUT", "STARTING"):
            count = len(self.statuses)
            self.until(lambda: any(s["mode"] == mode for s in self.statuses[count:]))

    def settle(self) -> None:
        """Stop the camera and wait until every frame that arrived has met its fate."""
        self.timer.cancel()
        live, measured = self.node._live, self.node._measurements
        self.until(
            lambda: (
                self.pending() == 0
                and not live._busy
                and len(self.masks) == len(self.statuses) == measured.masks
            )
        )

    def pending(self) -> int:
        """Frames in the core that have not met their fate."""
        numbers: list[int] = []
        assert self.node._live is not None
        self.node._live.advance()
        self.node._live.with_core(
            lambda core: numbers.append(
                core.counters.pending("rgb") + core.counters.pending("depth")
            )
        )
        return sum(numbers)

    def check_masks(self) -> None:
        """No mask is stale, doubled, missing, or made from a frame that was no good."""
        self.settle()
        counters = self.node._core.counters
        made = {"rgb": 0, "depth": 0}
        stamps = [s["stamp"] for s in self.statuses]
        assert stamps == sorted(set(stamps)), "doubled, or out of order"
        mask_stamps = [m.header.stamp.sec * 10**9 + m.header.stamp.nanosec for m in self.masks]
        assert mask_stamps == stamps, "a mask without status or the reverse"
        for status in self.statuses:
            for stream in made:
                if stream in status["network"].replace("rgbd", "rgb depth"):
                    made[stream] += 1
                    assert self.sent[stream].get(status["stamp"]), f"stale or bad: {status}"
        for stream, number in made.items():
            assert counters.fates[stream]["used"] == number, f"a mask of {stream} is missing"

    def close(self) -> None:
        """Take everything off the graph."""
        self.engine.may_finish.set()
        self.node.close()
        self.executor.shutdown()
        for node in (self.node, self.camera, self.listener):
            node.destroy_node()
        # Until its last reference is gone, /rosout of the next node of this name goes nowhere.
        del self.node
        gc.collect()


@pytest.fixture
def make_rig(ros_context: None) -> Iterator[Callable[..., Rig]]:
    """Makes rigs; takes them down after the test."""
    rigs: list[Rig] = []

    def make(**parameters: Any) -> Rig:
        rigs.append(Rig(**parameters))
        return rigs[-1]

    yield make
    for rig in rigs:
        rig.close()


@pytest.fixture
def rig(make_rig: Callable[..., Rig]) -> Rig:
    """An active node with both streams fused."""
    rig = make_rig()
    rig.activate()
    rig.mode("RGBD")
    return rig
