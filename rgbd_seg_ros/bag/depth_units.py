# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The depth unit that a recording of the RealSense SDK states for one of its depth sensors."""

from __future__ import annotations

import re

from rgbd_seg_ros.bag.reader import BagReader

#: ``/device_0/sensor_0/Depth_0/image/data``: the options of a sensor are beside its streams.
_SDK_IMAGE = re.compile(r"(/device_\d+/sensor_\d+)/[^/]+/image/data")
_FLOAT = "std_msgs/msg/Float32"


def recorded_depth_scale(reader: BagReader, depth_topic: str) -> float | None:
    """Meters per tick of 16-bit depth, as the sensor of ``depth_topic`` was set when recorded.

    The SDK (librealsense, rs-record, RealSense Viewer) writes every option of a sensor once, the
    unit as ``…/option/Depth Units/value``. It is 0.001 m for most cameras, 0.00025 m for L515 and
    SR300, 0.0001 m for D405.

    Returns:
        None if the topic is none of an SDK recording, or the recording states no positive number.
    """
    match = _SDK_IMAGE.fullmatch(depth_topic)
    if match is None:
        return None
    topic = f"{match[1]}/option/Depth Units/value"
    if not any(t.name == topic and t.type == _FLOAT and t.count for t in reader.topics):
        return None
    message = reader.first(topic)
    # A float32 has 7 digits: 0.0010000000474974513 means 0.001.
    scale = float(f"{message.data:.7g}") if message is not None else 0.0
    return scale if 0 < scale < float("inf") else None
