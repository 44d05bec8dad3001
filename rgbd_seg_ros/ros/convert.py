# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Conversion between ROS messages and frames or arrays."""

from __future__ import annotations

import array
from typing import Any

import numpy as np
import numpy.typing as npt
from rclpy.time import Time
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Header

from rgbd_seg_ros.frames import Defect, Frame, Intrinsics, Stream
from rgbd_seg_ros.images import (
    COLOR_ENCODINGS,
    DEPTH_ENCODINGS,
    stamp_ns,
    to_frame,
    to_intrinsics,
)
from rgbd_seg_ros.ros.log_once import LogOnce


class Converter:
    """Converts the messages of all streams to frames with the latest intrinsics.

    The usual encodings are numpy views or take one OpenCV pass, see :mod:`rgbd_seg_ros.images`.
    All others are converted by cv_bridge, if it can be imported.

    Args:
        log_once: logs unreadable messages.
    """

    def __init__(self, log_once: LogOnce) -> None:
        self._log_once = log_once
        self._bridge: Any = None
        self._bridge_tried = False
        self._intrinsics: dict[Stream, Intrinsics | None] = {}

    def camera_info(self, stream: Stream, message: CameraInfo) -> None:
        """Store the intrinsics of a stream; None if the camera is uncalibrated."""
        self._intrinsics[stream] = to_intrinsics(message)

    def __call__(self, stream: Stream, message: Any) -> Frame | Defect:
        """Convert an Image or CompressedImage; a Defect states why that is impossible."""
        known = COLOR_ENCODINGS if stream == "rgb" else DEPTH_ENCODINGS
        if isinstance(message, Image) and message.encoding not in known:
            converted = self._convert_with_cv_bridge(stream, message)
            if converted is not None:
                return converted
        frame = to_frame(message, stream, self._intrinsics.get(stream))
        if isinstance(frame, Defect):
            # Keyed by reason, because the details may differ from message to message.
            text = f"unusable {stream} message: {frame.detail}"
            self._log_once(text, key=f"{stream} {frame.reason}")
        return frame

    def _convert_with_cv_bridge(self, stream: Stream, message: Image) -> Frame | None:
        bridge = self._load_bridge()
        if bridge is None:
            return None
        try:
            image = bridge.imgmsg_to_cv2(message, "rgb8" if stream == "rgb" else "passthrough")
        # CvBridgeError, cv2.error, KeyError, …: any of them means an unreadable message.
        except Exception as error:
            reason = " ".join(str(error).split())[:200]
            self._log_once(f"cv_bridge cannot convert {message.encoding!r} for {stream}: {reason}")
            return None
        if stream != "rgb" and (image.ndim != 2 or image.dtype not in (np.uint16, np.float32)):
            return None
        return Frame(
            image,
            stamp_ns(message.header),
            message.header.frame_id,
            message.encoding,
            self._intrinsics.get(stream),
        )

    def _load_bridge(self) -> Any:
        if not self._bridge_tried:
            self._bridge_tried = True
            try:
                from cv_bridge import CvBridge
                from cv_bridge.boost import cv_bridge_boost  # noqa: F401  (the compiled part)

                self._bridge = CvBridge()
            # A build for numpy 1 raises more than ImportError with numpy 2.
            except Exception as error:
                reason = " ".join(str(error).split())[:200] or type(error).__name__
                self._log_once(
                    f"cannot import cv_bridge ({reason}); only the usual encodings are "
                    "supported. The apt build needs numpy < 2"
                )
        return self._bridge


def header(stamp: int, frame_id: str) -> Header:
    """Make a message header from a stamp in nanoseconds."""
    return Header(stamp=Time(nanoseconds=stamp).to_msg(), frame_id=frame_id)


def image_message(image: npt.NDArray[np.uint8], message_header: Header) -> Image:
    """Make a message from an H×W (mono8) or H×W×3 (rgb8) image.

    The pixels are passed as an ``array.array``. Given an ndarray or a list, rclpy would check each
    of the 300,000 values separately, which takes tens of milliseconds.
    """
    data = array.array("B")
    data.frombytes(image.tobytes())
    height, width = image.shape[:2]
    message = Image(header=message_header, height=height, width=width)
    message.encoding = "mono8" if image.ndim == 2 else "rgb8"
    message.step = len(data) // height
    message.data = data
    return message
