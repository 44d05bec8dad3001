# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""What the node publishes: mask, label_info, confidence, overlay, colour mask, mode, status."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Mapping
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.lifecycle import LifecycleNode
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions
from sensor_msgs.msg import Image
from std_msgs.msg import Header, String
from vision_msgs.msg import LabelInfo, VisionClass

from rgbd_seg_ros.colorize import colorize, overlay
from rgbd_seg_ros.labels import LabelSet
from rgbd_seg_ros.ros.convert import header, image_message

RELIABLE = QoSProfile(depth=5, reliability=ReliabilityPolicy.RELIABLE)
LATCHED = QoSProfile(
    depth=1, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL
)
#: Diagnostic level of each mode.
LEVELS = {
    "STARTING": DiagnosticStatus.WARN,
    "RGBD": DiagnosticStatus.OK,
    "RGB_ONLY": DiagnosticStatus.WARN,
    "DEPTH_ONLY": DiagnosticStatus.WARN,
    "NO_INPUT": DiagnosticStatus.ERROR,
}


class Outputs:
    """The publishers. Pictures for people are made only for who listens."""

    def __init__(self, node: LifecycleNode, labels: LabelSet, overlay_rate_hz: float) -> None:
        self._node = node
        self._labels = labels
        self.overlay_rate_hz = overlay_rate_hz
        self._mode = self._publisher(String, "~/mode", LATCHED)
        self._label_info = self._publisher(LabelInfo, "~/label_info", LATCHED)
        self._mask = self._publisher(Image, "~/mask", RELIABLE)
        self._confidence = self._publisher(Image, "~/confidence", RELIABLE)
        self._overlay = self._publisher(Image, "~/overlay", RELIABLE)
        self._color_mask = self._publisher(Image, "~/color_mask", RELIABLE)
        self._status = self._publisher(DiagnosticArray, "~/status", RELIABLE)
        self._pictures_due_s = 0.0

    def _publisher(self, message_type: type, topic: str, qos: QoSProfile) -> Any:
        return self._node.create_lifecycle_publisher(
            message_type,
            topic,
            copy.copy(qos),  # rclpy writes a topic's overrides into it
            qos_overriding_options=QoSOverridingOptions.with_default_policies(),
        )

    def destroy(self) -> None:
        """Take every publisher off the graph."""
        for publisher in (
            self._mode,
            self._label_info,
            self._mask,
            self._confidence,
            self._overlay,
            self._color_mask,
            self._status,
        ):
            self._node.destroy_lifecycle_publisher(publisher)

    def publish_labels(self, stamp_ns: int) -> None:
        """Names of the class ids, once, latched."""
        classes = [
            VisionClass(class_id=i, class_name=name) for i, name in enumerate(self._labels.classes)
        ]
        self._label_info.publish(LabelInfo(header=header(stamp_ns, ""), class_map=classes))

    def publish_mode(self, mode: str) -> None:
        """One of the five words, latched."""
        self._mode.publish(String(data=mode))

    def publish_mask(
        self,
        labels: npt.NDArray[np.uint8],
        confidence: npt.NDArray[np.uint8],
        message_header: Header,
        status: Mapping[str, str],
    ) -> None:
        """A mask with its status, and its confidence if somebody listens."""
        self._mask.publish(image_message(labels, message_header))
        if self._confidence.get_subscription_count():
            self._confidence.publish(image_message(confidence, message_header))
        entry = DiagnosticStatus(
            name=f"{self._node.get_fully_qualified_name().lstrip('/')}: mask",
            level=LEVELS[status["mode"]],
            message=status["mode"],
            values=[KeyValue(key=key, value=value) for key, value in status.items()],
        )
        self._status.publish(DiagnosticArray(header=message_header, status=[entry]))

    def publish_pictures(
        self,
        labels: npt.NDArray[np.uint8],
        background: Callable[[], npt.NDArray[np.uint8]],
        message_header: Header,
        caption: str,
    ) -> None:
        """Overlay and colour mask, if somebody listens and not more often than the limit."""
        publishers = {"overlay": self._overlay, "color_mask": self._color_mask}
        wanted = {name for name, p in publishers.items() if p.get_subscription_count()}
        now_s = time.monotonic()
        if not wanted or now_s < self._pictures_due_s:
            return
        self._pictures_due_s = now_s + 1 / self.overlay_rate_hz
        if "color_mask" in wanted:
            self._color_mask.publish(image_message(colorize(labels, self._labels), message_header))
        if "overlay" in wanted:
            height, width = labels.shape
            below = background()
            if below.shape[:2] != (height, width):
                below = np.asarray(
                    cv2.resize(below, (width, height), interpolation=cv2.INTER_NEAREST),
                    dtype=np.uint8,
                )
            picture = overlay(below, labels, self._labels)
            write_caption(picture, caption)
            self._overlay.publish(image_message(picture, message_header))


def write_caption(picture: npt.NDArray[np.uint8], text: str) -> None:
    """Write a line on a dark band at the top of an H×W×3 picture, in place."""
    scale = max(0.4, picture.shape[0] / 900)
    band = int(32 * scale) + 4
    picture[:band] //= 3
    origin = (6, band - int(8 * scale) - 2)
    font = cv2.FONT_HERSHEY_SIMPLEX
    cv2.putText(picture, text, origin, font, scale, (255, 255, 255), 1, cv2.LINE_AA)
