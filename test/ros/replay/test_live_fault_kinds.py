# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Every fault reaches the node as the same frame as it reaches the core offline."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2: source /opt/ros/<distro>/setup.bash")

from rclpy.time import Time
from sensor_msgs.msg import Image

from rgbd_seg_ros.frames import Defect, Frame
from rgbd_seg_ros.images import to_frame
from rgbd_seg_ros.replay.fault_kinds import FAULTS, ReceivedItem
from rgbd_seg_ros.replay.faults import Fault, FaultSchedule
from rgbd_seg_ros.ros.replay.fault_republisher import with_fault

pytestmark = pytest.mark.ros

CASES = [(n, s) for n, kind in FAULTS.items() for s in kind.fixed_streams or kind.streams]


def message(stream: str, floating: bool) -> Image:
    random = np.random.default_rng(0)
    array = random.integers(500, 9000, (6, 8)).astype(np.uint16)
    encoding = "16UC1"
    if stream == "rgb":
        array, encoding = random.integers(0, 255, (6, 8, 3)).astype(np.uint8), "bgr8"
    elif floating:
        array, encoding = (array / 1000).astype(np.float32), "32FC1"
    image = Image(height=6, width=8, encoding=encoding, step=array.nbytes // 6)
    image.header.stamp = Time(seconds=100).to_msg()
    image.header.frame_id = "cam"
    image.data = type(image.data)("B", array.tobytes())
    return image


@pytest.mark.parametrize(("name", "stream"), CASES)
@pytest.mark.parametrize("floating", [False, True])
def test_a_message_with_a_fault_holds_the_frame_with_the_fault(
    name: str, stream: str, floating: bool
) -> None:
    kind = FAULTS[name]
    value = None if kind.value is None else min(max(2.0, kind.value.low), kind.value.high)
    fault = Fault(name, None if kind.fixed_streams else stream, value=value)  # type: ignore[arg-type]
    recorded = message(stream, floating)
    before = to_frame(recorded, stream)  # type: ignore[arg-type]
    received = ReceivedItem(before, 100_000_000_000)
    after = FaultSchedule([fault]).apply(stream, received, 99_000_000_000)  # type: ignore[arg-type]
    if after is None:
        assert name in ("drop", "color_driver", "bandwidth")
        return
    live = to_frame(with_fault(recorded, before, after.item), stream)  # type: ignore[arg-type]
    if isinstance(after.item, Defect):
        assert isinstance(live, Defect)
        assert (live.reason, live.stamp_ns) == (after.item.reason, after.item.stamp_ns)
        return
    assert isinstance(live, Frame)
    assert (live.stamp_ns, live.frame_id) == (after.item.stamp_ns, "cam")
    np.testing.assert_array_equal(live.array, after.item.array)  # type: ignore[union-attr]
