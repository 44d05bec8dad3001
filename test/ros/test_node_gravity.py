# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""A network that reads HHA in the node: camera_info, transforms, and what it says of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2: source /opt/ros/<distro>/setup.bash")

from geometry_msgs.msg import Quaternion, TransformStamped
from rclpy.qos import DurabilityPolicy, QoSProfile
from sensor_msgs.msg import CameraInfo
from tf2_msgs.msg import TFMessage

pytestmark = pytest.mark.ros


def give_hha(rig: Any) -> list[Any]:
    """Make the stand-in ask for intrinsics and gravity; the list of the gravities it is given."""
    given: list[Any] = []
    plain = type(rig.engine)

    class Hha(plain):  # type: ignore[misc, valid-type]
        need_intrinsics = ("rgbd", "depth")

        def __call__(self, *args: Any, gravity: Any = None, **options: Any) -> Any:
            given.append(gravity)
            return super().__call__(*args, **options)

        def estimate_gravity(self, depth: Any, intrinsics: Any) -> np.ndarray:
            assert depth.dtype == np.float32
            assert (intrinsics.width, intrinsics.height) == (64, 48)
            return np.array([0.0, 0.6, 0.8], np.float32)

    rig.engine = Hha()
    info = CameraInfo(width=64, height=48, k=[60.0, 0, 32, 0, 60, 24, 0, 0, 1])
    publishers = [
        rig.camera.create_publisher(CameraInfo, f"{s}/camera_info", 5) for s in ("rgb", "depth")
    ]
    rig.camera.create_timer(0.05, lambda: [p.publish(info) for p in publishers])
    return given


def test_gravity_is_estimated_until_transforms_tell_it(make_rig: Callable[..., Any]) -> None:
    rig = make_rig()
    given = give_hha(rig)
    rig.activate()
    rig.mode("RGBD")
    rig.until(lambda: any(g is not None for g in given))
    np.testing.assert_allclose(given[-1], [0, 0.6, 0.8], atol=1e-6)
    rig.until(lambda: any("no transforms lead to base_link" in line for line in rig.logs))

    latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    publisher = rig.camera.create_publisher(TFMessage, "/tf_static", latched)
    mount = TransformStamped(child_frame_id="camera")
    mount.header.frame_id = "base_link"
    mount.transform.rotation = Quaternion(x=-0.5, y=0.5, z=-0.5, w=0.5)
    publisher.publish(TFMessage(transforms=[mount]))
    rig.until(lambda: np.allclose(given[-1], [0, 1, 0], atol=1e-6))
    rig.until(lambda: any("gravity by the transforms from base_link" in x for x in rig.logs))


def test_a_plain_network_leaves_transforms_alone(rig: Any) -> None:
    topics = {s.topic_name for s in rig.node._inputs._subscriptions}
    assert "rgb/image_raw" in {t.lstrip("/") for t in topics}
    assert not topics & {"/tf", "/tf_static"}
