# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Helpers for the ROS tests: an overlay, a tiny bundle, a test rig and clients of a node."""

from __future__ import annotations

import os
import re
import shutil
import stat
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from rigs.engines import NetworkIdEngine

ROOT = Path(__file__).resolve().parents[2]


def install_overlay(prefix: Path) -> None:
    """Make ROS find the launch files and executables of the checkout as an installed package."""
    index = prefix / "share" / "ament_index" / "resource_index" / "packages"
    index.mkdir(parents=True)
    (index / "rgbd_seg_ros").touch()
    share = prefix / "share" / "rgbd_seg_ros"
    share.mkdir()
    for name in ("launch", "config", "rviz"):
        # Links to files, not to folders, because `ros2 launch` does not search linked folders.
        shutil.copytree(ROOT / name, share / name, copy_function=os.symlink)
    (share / "package.xml").symlink_to(ROOT / "package.xml")
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
    # As a workspace's setup.bash does, because the launch files import the package.
    os.environ["PYTHONPATH"] = f"{ROOT}:{os.environ.get('PYTHONPATH', '')}"


def until(condition: Callable[[], Any], step: Callable[[], Any], timeout_s: float = 60.0) -> Any:
    """Call ``step`` until ``condition`` holds, and return its value; fail after ``timeout_s``."""
    end = time.monotonic() + timeout_s
    while not (value := condition()):
        assert time.monotonic() < end, f"not within {timeout_s} s: {condition}"
        step()
    return value


def call_service(
    node: Any, until: Callable[[Any], Any], service_type: Any, service: str, request: Any
) -> Any:
    """Call a service from ``node``, which ``until`` spins, and return the response."""
    client = node.create_client(service_type, service)
    until(client.service_is_ready)
    future = client.call_async(request)
    until(future.done)
    node.destroy_client(client)
    return future.result()


def wait_for_log(rig: Any, *words: str) -> str:
    """Wait for a log line that contains all these words, and return the first one."""

    def found() -> str:
        return next((line for line in rig.logs if all(word in line for word in words)), "")

    return str(rig.until(found))


class RecordingLogger:
    """A logger that also keeps its lines."""

    def __init__(self, logger: Any, lines: list[str]) -> None:
        self._logger = logger
        self._lines = lines

    def __getattr__(self, name: str) -> Any:
        return getattr(self._logger, name)

    def info(self, text: str, **options: Any) -> None:
        self._lines.append(text)
        self._logger.info(text, **options)

    def warning(self, text: str, **options: Any) -> None:
        self._lines.append(text)
        self._logger.warning(text, **options)

    def error(self, text: str, **options: Any) -> None:
        self._lines.append(text)
        self._logger.error(text, **options)


class Rig:
    """The node with a fake engine, a camera and a listener, all in this process."""

    def __init__(self, **parameters: Any) -> None:
        from diagnostic_msgs.msg import DiagnosticArray
        from rclpy.executors import SingleThreadedExecutor
        from rclpy.node import Node
        from rclpy.parameter import Parameter
        from rclpy.qos import DurabilityPolicy, QoSProfile
        from sensor_msgs.msg import Image
        from std_msgs.msg import String
        from vision_msgs.msg import LabelInfo

        from rgbd_seg_ros.ros.node import SegmenterNode

        self.engine = NetworkIdEngine()
        self.node = SegmenterNode(lambda *_: self.engine)
        # Short holds, because most tests wait for a stream to recover.
        parameters = {"hold_s": 0.2, **parameters}
        changes = [Parameter(name, value=value) for name, value in parameters.items()]
        results = self.node.set_parameters(changes)
        assert all(result.successful for result in results), results
        self.camera = Node("camera")
        self.listener = Node("listener")
        self.executor = SingleThreadedExecutor()
        for node in (self.node, self.camera, self.listener):
            self.executor.add_node(node)
        #: Makes a message from the frame's number; None while the camera is silent.
        self.rgb: Callable[[int], Image] | None = self.rgb_message
        self.depth: Callable[[int], Image] | None = self.depth_message
        self.rng = np.random.default_rng(0)
        self.size = (48, 64)
        self.count = 0
        #: Sent stamps by stream, and whether that frame was good.
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
        subscribe = self.listener.create_subscription
        subscribe(Image, "segmenter/mask", self.masks.append, 50)
        subscribe(DiagnosticArray, "segmenter/status", self._on_status, 50)
        subscribe(String, "segmenter/mode", lambda m: self.modes.append(m.data), latched)
        subscribe(LabelInfo, "segmenter/label_info", self.labels.append, latched)
        subscribe(DiagnosticArray, "/diagnostics", self._on_diagnostics, 10)
        # /rosout is not used, because a node of the same name that is destroyed late removes that
        # publisher.
        logger = self.node.get_logger()
        self.node.get_logger = lambda: RecordingLogger(logger, self.logs)
        self.timer = self.camera.create_timer(1 / 30, self.publish)

    # --- The camera ---

    def advertise(self, stream: str, message_type: Any = None, topic: str = "") -> None:
        """Create the publisher of a stream, replacing an earlier one."""
        from sensor_msgs.msg import Image

        if stream in self.topics:
            self.camera.destroy_publisher(self.topics[stream])
        topic = topic or f"{stream}/image_raw"
        self.topics[stream] = self.camera.create_publisher(message_type or Image, topic, 5)

    def publish(self) -> None:
        """Publish one frame of each stream; called 30 times per second."""
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

    def meters_message(self, _: int) -> Any:
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
        """Run one callback if one is ready."""
        self.executor.spin_once(timeout_sec=0.02)

    def until(self, condition: Callable[[], Any], timeout_s: float = 60.0) -> Any:
        """Spin until a condition holds."""
        return until(condition, self.step, timeout_s)

    def activate(self) -> None:
        """Configure and activate the node, and wait for the first mode."""
        assert self.node.trigger_configure().to_label() == "transition_success"
        assert self.node.trigger_activate().to_label() == "transition_success"
        self.until(lambda: self.modes)

    def call(self, service_type: Any, service: str, request: Any) -> Any:
        """Call a service of the node and return the response."""
        name = f"segmenter/{service}"
        return call_service(self.listener, self.until, service_type, name, request)

    def mode(self, mode: str) -> None:
        """Wait for a mode, and for a mask in this mode if it has masks."""
        self.until(lambda: self.modes and self.modes[-1] == mode)
        if mode not in ("NO_INPUT", "STARTING"):
            count = len(self.statuses)
            self.until(lambda: any(s["mode"] == mode for s in self.statuses[count:]))

    def settle(self) -> None:
        """Stop the camera and wait until every frame is accounted for."""
        self.timer.cancel()
        thread, measured = self.node._engine_thread, self.node._measurements
        self.until(
            lambda: (
                self.pending() == 0
                and not thread._busy
                and len(self.masks) == len(self.statuses) == measured.masks
            )
        )

    def pending(self) -> int:
        """Number of frames that the core has neither used nor discarded."""
        numbers: list[int] = []
        thread = self.node._engine_thread
        assert thread is not None
        thread.update()
        thread.with_core(
            lambda core: numbers.append(
                core.counters.pending("rgb") + core.counters.pending("depth")
            )
        )
        return sum(numbers)

    def check_masks(self) -> None:
        """Check that no mask is stale, duplicated, missing or computed from a bad frame."""
        self.settle()
        counters = self.node._core.counters
        made = {"rgb": 0, "depth": 0}
        stamps = [s["stamp"] for s in self.statuses]
        assert stamps == sorted(set(stamps)), "duplicated or out of order"
        mask_stamps = [m.header.stamp.sec * 10**9 + m.header.stamp.nanosec for m in self.masks]
        assert mask_stamps == stamps, "a mask without status or a status without mask"
        for status in self.statuses:
            for stream in made:
                if stream in status["network"].replace("rgbd", "rgb depth"):
                    made[stream] += 1
                    assert self.sent[stream].get(status["stamp"]), f"stale or bad frame: {status}"
        for stream, number in made.items():
            assert counters.fates[stream]["used"] == number, f"a mask from {stream} is missing"

    def close(self) -> None:
        """Destroy all nodes."""
        self.engine.may_finish.set()
        self.node.close()
        self.executor.shutdown()
        for node in (self.node, self.camera, self.listener):
            node.destroy_node()


class Client:
    """A camera, a listener and a service client for a node in another process."""

    def __init__(self, name: str, node: str) -> None:
        import rclpy
        from rclpy.qos import DurabilityPolicy, QoSProfile
        from sensor_msgs.msg import Image
        from std_msgs.msg import String
        from vision_msgs.msg import LabelInfo

        self.rclpy = rclpy
        self.node = rclpy.create_node(name)
        self.path = node
        self.executor = rclpy.executors.SingleThreadedExecutor()
        self.executor.add_node(self.node)
        #: Received messages by topic.
        self.got: dict[str, list[Any]] = {"mask": [], "label_info": [], "mode": [], "overlay": []}
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        for topic, kind, qos in (
            ("mask", Image, 10),
            ("overlay", Image, 10),
            ("label_info", LabelInfo, latched),
            ("mode", String, latched),
        ):
            self.node.create_subscription(kind, f"{node}/{topic}", self.got[topic].append, qos)
        self.sent: list[int] = []
        self.rng = np.random.default_rng(1)

    def send(self, namespace: str) -> None:
        """Start publishing both streams at 10 Hz."""
        from sensor_msgs.msg import Image

        publishers = {
            name: self.node.create_publisher(Image, f"{namespace}/{name}/image_raw", 5)
            for name in ("rgb", "depth")
        }

        def publish() -> None:
            now = self.node.get_clock().now()
            self.sent.append(now.nanoseconds)
            rgb = self.rng.integers(30, 220, (48, 64, 3), dtype=np.uint8)
            depth = self.rng.integers(800, 4000, (48, 64), dtype=np.uint16)
            for name, pixels, encoding in (("rgb", rgb, "rgb8"), ("depth", depth, "16UC1")):
                message = Image(height=48, width=64, encoding=encoding, step=pixels.strides[0])
                message.header.stamp = now.to_msg()
                message.header.frame_id = "camera"
                message.data.frombytes(pixels.tobytes())
                publishers[name].publish(message)

        self.node.create_timer(0.1, publish)

    def step(self) -> None:
        self.executor.spin_once(timeout_sec=0.1)

    def until(self, condition: Callable[[], Any], timeout_s: float = 60.0) -> Any:
        """Spin until a condition holds."""
        return until(condition, self.step, timeout_s)

    def call(self, service_type: Any, service: str, request: Any) -> Any:
        """Call a service of the node and return the response."""
        name = f"{self.path}/{service}"
        return call_service(self.node, self.until, service_type, name, request)

    def close(self) -> None:
        self.executor.shutdown()
        self.node.destroy_node()
