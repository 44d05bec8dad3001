# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The node tells wrong clocks, second publishers and missing packages once, while they last."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from types import ModuleType, SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2: source /opt/ros/<distro>/setup.bash")

from rclpy.node import Node
from rigs.graph import wait_for_log
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from rgbd_seg_ros.fallback.unusable import CausedWarning
from rgbd_seg_ros.ros.inputs import EXPLAINED_WITHIN

pytestmark = pytest.mark.ros


@pytest.mark.parametrize("ahead_s", [-3, 3])
def test_a_clock_ahead_or_behind_is_told_in_one_line(
    make_rig: Callable[..., Any], ahead_s: int
) -> None:
    rig = make_rig()
    rig.depth = None
    publish = rig.topics["rgb"].publish

    def publish_shifted(message: Image) -> None:
        message.header.stamp.sec += ahead_s
        publish(message)

    rig.topics["rgb"].publish = publish_shifted
    rig.activate()
    wait_for_log(rig, "rgb stamps are 3.0 s", "chrony")
    rig.until(lambda: "chrony" in rig.diagnostics[-1].message)
    assert rig.diagnostics[-1].message.count("rgb stamps are") == 1
    assert "messages are unusable" not in rig.diagnostics[-1].message
    for _ in range(2 * EXPLAINED_WITHIN):
        rig.node._inputs.check_streams()
    assert not [line for line in rig.logs if line.startswith("rgb: ")]


def test_stamps_first_behind_then_ahead_are_told_as_they_are(make_rig: Callable[..., Any]) -> None:
    rig = make_rig()
    rig.depth = None
    publish, shift_s = rig.topics["rgb"].publish, [-3]

    def publish_shifted(message: Image) -> None:
        message.header.stamp.sec += shift_s[0]
        publish(message)

    rig.topics["rgb"].publish = publish_shifted
    rig.activate()
    wait_for_log(rig, "rgb stamps are 3.0 s old")
    rig.until(lambda: "3.0 s old" in rig.diagnostics[-1].message)
    shift_s[0] = 3
    wait_for_log(rig, "rgb stamps are 3.0 s ahead")
    rig.until(lambda: "3.0 s ahead" in rig.diagnostics[-1].message)
    assert "3.0 s old" not in rig.diagnostics[-1].message


def test_a_clock_that_stops_while_images_arrive_is_told(make_rig: Callable[..., Any]) -> None:
    rig = make_rig(use_sim_time=True)
    clock, now = rig.camera.create_publisher(Clock, "/clock", 10), rig.camera.get_clock().now
    timer = rig.camera.create_timer(0.02, lambda: clock.publish(Clock(clock=now().to_msg())))
    rig.activate()
    rig.mode("RGBD")
    timer.cancel()
    wait_for_log(rig, "/clock has stopped, but images arrive")
    rig.diagnostics.clear()  # the reports do not depend on /clock
    rig.until(lambda: rig.diagnostics and "/clock has stopped" in rig.diagnostics[-1].message)
    assert "ahead of the simulated clock" not in rig.diagnostics[-1].message


def test_the_size_of_a_damaged_image_does_not_blame_the_camera_info(rig: Any) -> None:
    info = CameraInfo(width=64, height=48, k=[60.0, 0, 31.5, 0, 60.0, 23.5, 0, 0, 1.0])
    rig.node._inputs._on_info("rgb", info)
    rig.node._inputs._on_image("rgb", Image(height=2**31, width=2**31, encoding="rgb8"))
    assert not [key for key, _ in rig.node._inputs._conditions() if key.startswith("size")]


def test_a_stream_that_recovers_is_not_called_lost(make_rig: Callable[..., Any]) -> None:
    rig = make_rig(hold_s=3.0)
    rig.activate()
    rig.mode("RGBD")
    depth, rig.depth = rig.depth, None
    rig.mode("RGB_ONLY")
    rig.until(lambda: "depth is lost: silent" in rig.diagnostics[-1].message)
    rig.depth = depth
    words = r"depth is recovering: usable for [0-3]\.\d s of 3 s, after silent"
    rig.until(lambda: re.search(words, rig.diagnostics[-1].message))
    rig.mode("RGBD")


def test_a_second_publisher_is_named_until_it_goes(rig: Any) -> None:
    other = Node("fault_republisher")
    other.create_publisher(Image, "rgb/image_raw", 5)
    line = "2 publishers on /rgb/image_raw: /camera, /fault_republisher; "
    wait_for_log(rig, line)
    rig.until(lambda: rig.diagnostics[-1].message.count(line) == 1)
    other.destroy_node()
    rig.until(lambda: "publishers on" not in rig.diagnostics[-1].message)
    assert sum(line in text for text in rig.logs) == 1


def test_the_reason_of_a_silent_topic_is_told_again_when_it_changes(
    make_rig: Callable[..., Any], short_silence: None
) -> None:
    """A node that starts before the camera must not call the camera missing ever after."""
    rig = make_rig()
    rig.camera.destroy_publisher(rig.topics.pop("rgb"))
    rig.activate()
    wait_for_log(rig, "no messages on /rgb/image_raw: no publisher.")
    rig.advertise("rgb", CompressedImage, "rgb/image_raw/compressed")
    rig.rgb = lambda _: CompressedImage()
    line = "only /rgb/image_raw/compressed is published: set the parameter rgb_transport"
    wait_for_log(rig, line)
    rig.until(lambda: line in rig.diagnostics[-1].message)
    assert "no publisher" not in rig.diagnostics[-1].message


def test_the_topic_and_the_package_of_ffmpeg_image_transport(
    make_rig: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    rig = make_rig(rgb_transport="ffmpeg")
    monkeypatch.setitem(sys.modules, "ffmpeg_image_transport_msgs", None)
    rig.node.trigger_configure()
    assert any("needs the package ffmpeg_image_transport_msgs" in text for text in rig.logs)
    # A stand-in that DDS can carry shows that the node subscribes to the right topic.
    package = ModuleType("ffmpeg_image_transport_msgs")
    package.msg = SimpleNamespace(FFMPEGPacket=CompressedImage)
    monkeypatch.setitem(sys.modules, "ffmpeg_image_transport_msgs", package)
    monkeypatch.setitem(sys.modules, "ffmpeg_image_transport_msgs.msg", package.msg)
    rig.advertise("rgb", CompressedImage, "rgb/image_raw/ffmpeg")

    def color(_: int) -> CompressedImage:
        pixels = rig.rng.integers(30, 220, (48, 64, 3), dtype=np.uint8)
        message = CompressedImage(format="jpeg")
        message.data.frombytes(cv2.imencode(".jpg", pixels)[1].tobytes())
        return message

    rig.rgb = color
    rig.activate()
    rig.mode("RGBD")
    rig.check_masks()


def test_single_old_stamps_without_a_known_cause_are_told_too(
    make_rig: Callable[..., Any],
) -> None:
    rig = make_rig()
    publish = rig.topics["rgb"].publish

    def publish_some_old(message: Image) -> None:
        message.header.stamp.sec -= 3 * (rig.count % 4 == 0)
        publish(message)

    rig.topics["rgb"].publish = publish_some_old
    rig.activate()
    wait_for_log(rig, "rgb: 3 messages are unusable (stale)", "max_age_s is 1")
    assert not [line for line in rig.logs if "chrony" in line]


def test_a_sensor_that_freezes_on_the_way_is_told_with_its_remedy(
    make_rig: Callable[..., Any],
) -> None:
    rig = make_rig()
    publish, hangs = rig.topics["depth"].publish, [False]
    kept = []

    def publish_frozen(message: Image) -> None:
        if hangs[0]:
            kept.append(message.data)
            message.data = kept[0]
        publish(message)

    rig.topics["depth"].publish = publish_frozen
    rig.activate()
    rig.mode("RGBD")
    hangs[0] = True
    wait_for_log(rig, "depth: ", "are unusable (frozen)", "set frozen_after to 0")
    rig.until(lambda: "set frozen_after to 0" in rig.diagnostics[-1].message)
    lines = [line for line in rig.logs if "are unusable (frozen)" in line]
    assert len(lines) == 1
    assert lines[0] in rig.diagnostics[-1].message


def test_what_a_second_publisher_explains_is_not_told(rig: Any) -> None:
    """Mixed frames have wrong rates and find no partners; other remedies would mislead."""
    text = CausedWarning("by their stamps, color has 60 Hz but depth 30 Hz")
    text.streams = ("rgb", "depth")

    def checked() -> bool:
        rig.node._measurements.caused_warnings.append(text)
        for _ in range(2 * EXPLAINED_WITHIN):
            rig.node._inputs.check_streams()
        return text in rig.logs

    other = Node("fault_republisher")
    other.create_publisher(Image, "depth/image_raw", 5)
    wait_for_log(rig, "2 publishers on /depth/image_raw")
    assert not checked()
    other.destroy_node()
    rig.until(lambda: "publishers on" not in rig.diagnostics[-1].message)
    assert checked()
