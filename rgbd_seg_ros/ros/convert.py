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

from rgbd_seg_ros.frames import CompressedFrame, Defect, Frame, Intrinsics, Stream
from rgbd_seg_ros.image_size import MAX_IMAGE_PIXELS
from rgbd_seg_ros.images import to_intrinsics
from rgbd_seg_ros.video import StreamDecoder


class Converter:
    """Converts the messages of all streams to frames with the latest intrinsics.

    The messages of one stream must come in order and from one thread at a time, because video
    packets depend on each other.

    Args:
        max_pixels: largest height × width that is decoded; the parameter ``max_image_pixels``. May
            be assigned at any time.
    """

    def __init__(self, max_pixels: int = MAX_IMAGE_PIXELS) -> None:
        self.max_pixels = max_pixels
        self._decoders: dict[Stream, StreamDecoder] = {}
        self._intrinsics: dict[Stream, Intrinsics | None] = {}

    def camera_info(self, stream: Stream, message: CameraInfo) -> None:
        """Store the intrinsics of a stream; None if the camera is uncalibrated."""
        self._intrinsics[stream] = to_intrinsics(message)

    def __call__(self, stream: Stream, message: Any) -> Frame | CompressedFrame | Defect:
        """Read an Image, CompressedImage or FFMPEGPacket; a Defect states why that is impossible.

        Never raises, whatever the message contains.
        """
        decoder = self._decoders.get(stream)
        if decoder is None:
            decoder = self._decoders[stream] = StreamDecoder(stream)
        decoder.limit(self.max_pixels)
        return decoder.inspect(message, self._intrinsics.get(stream))


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
