# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Messages to frames and pictures to messages."""

from __future__ import annotations

import array
from collections.abc import Callable
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


class Converter:
    """Messages of all streams to frames, with the intrinsics that came last.

    The usual encodings are numpy views or one OpenCV pass, see :mod:`rgbd_seg_ros.images`. For
    any other one cv_bridge is asked, if it can be imported.
    """

    def __init__(self, log: Callable[[str], object]) -> None:
        self._log = log
        self._bridge: Any = None
        self._bridge_tried = False
        self._intrinsics: dict[Stream, Intrinsics | None] = {}

    def camera_info(self, stream: Stream, message: CameraInfo) -> None:
        """Remember a stream's intrinsics; an uncalibrated camera has none."""
        self._intrinsics[stream] = to_intrinsics(message)

    def __call__(self, stream: Stream, message: Any) -> Frame | Defect:
        """An Image or CompressedImage as a Frame, or the Defect that says why not."""
        known = COLOR_ENCODINGS if stream == "rgb" else DEPTH_ENCODINGS
        if isinstance(message, Image) and message.encoding not in known:
            frame = self._by_bridge(stream, message)
            if frame is not None:
                return frame
        return to_frame(message, stream, self._intrinsics.get(stream))

    def _by_bridge(self, stream: Stream, message: Image) -> Frame | None:
        bridge = self._load_bridge()
        if bridge is None:
            return None
        try:
            picture = bridge.imgmsg_to_cv2(message, "rgb8" if stream == "rgb" else "passthrough")
        # CvBridgeError, cv2.error, KeyError, …: whatever it is, the message cannot be read.
        except Exception as error:
            reason = " ".join(str(error).split())[:200]
            self._log(f"cv_bridge cannot convert {message.encoding!r} for {stream}: {reason}")
            return None
        if stream != "rgb" and (picture.ndim != 2 or picture.dtype not in (np.uint16, np.float32)):
            return None
        return Frame(
            picture,
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
                from cv_bridge.boost import cv_bridge_boost  # noqa: F401  (compiled for one numpy)

                self._bridge = CvBridge()
            # Compiled for numpy 1 and run beside numpy 2, it raises more than ImportError.
            except Exception as error:
                reason = " ".join(str(error).split())[:200] or type(error).__name__
                self._log(
                    f"cv_bridge cannot be imported ({reason}), so only the usual encodings are "
                    "read; apt's build needs numpy < 2"
                )
        return self._bridge


def header(stamp: int, frame_id: str) -> Header:
    """A message header for a stamp in nanoseconds."""
    return Header(stamp=Time(nanoseconds=stamp).to_msg(), frame_id=frame_id)


def image_message(picture: npt.NDArray[np.uint8], message_header: Header) -> Image:
    """H×W (mono8) or H×W×3 (rgb8) to a message.

    The pixels go through the buffer protocol: given an ndarray or a list, rclpy would check each
    of the 300,000 numbers by itself, which takes tens of milliseconds.
    """
    data = array.array("B")
    data.frombytes(picture.tobytes())
    height, width = picture.shape[:2]
    message = Image(header=message_header, height=height, width=width)
    message.encoding = "mono8" if picture.ndim == 2 else "rgb8"
    message.step = len(data) // height
    message.data = data
    return message
