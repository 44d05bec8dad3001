# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The node with networks that read HHA: camera_info, transforms and what is logged."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2: source /opt/ros/<distro>/setup.bash")

from geometry_msgs.msg import Quaternion, TransformStamped
from rclpy.qos import DurabilityPolicy, QoSProfile
from rigs.graph import wait_for_log
from sensor_msgs.msg import CameraInfo
from tf2_msgs.msg import TFMessage

pytestmark = pytest.mark.ros


def estimate_gravity(depth: np.ndarray, intrinsics: Any) -> np.ndarray:
    """A constant estimate."""
    assert depth.dtype == np.float32
    assert (intrinsics.width, intrinsics.height) == (64, 48)
    return np.array([0.0, 0.6, 0.8], np.float32)


def test_gravity_is_estimated_until_transforms_arrive(make_rig: Callable[..., Any]) -> None:
    rig = make_rig()
    rig.engine.need_intrinsics = ("rgbd", "depth")
    rig.engine.estimate_gravity = estimate_gravity
    info = CameraInfo(width=64, height=48, k=[60.0, 0, 32, 0, 60, 24, 0, 0, 1])
    publishers = [
        rig.camera.create_publisher(CameraInfo, f"{s}/camera_info", 5) for s in ("rgb", "depth")
    ]
    rig.camera.create_timer(0.05, lambda: [p.publish(info) for p in publishers])

    def gravity() -> Any:
        found = [c["gravity"] for c in rig.engine.calls if c["gravity"] is not None]
        return found[-1] if found else None

    rig.activate()
    rig.mode("RGBD")
    rig.until(lambda: gravity() is not None)
    np.testing.assert_allclose(gravity(), [0, 0.6, 0.8], atol=1e-6)
    wait_for_log(rig, "no transforms connect this frame to base_link")

    latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    publisher = rig.camera.create_publisher(TFMessage, "/tf_static", latched)
    mount = TransformStamped(child_frame_id="camera")
    mount.header.frame_id = "base_link"
    mount.transform.rotation = Quaternion(x=-0.5, y=0.5, z=-0.5, w=0.5)
    publisher.publish(TFMessage(transforms=[mount]))
    rig.until(lambda: np.allclose(gravity(), [0, 1, 0], atol=1e-6))
    wait_for_log(rig, "gravity from the transforms to base_link")


def test_other_networks_need_no_transforms(rig: Any) -> None:
    topics = {s.topic_name for s in rig.node._inputs._subscriptions}
    assert "rgb/image_raw" in {t.lstrip("/") for t in topics}
    assert not topics & {"/tf", "/tf_static"}
