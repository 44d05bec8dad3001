# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""What the node publishes: mask, label_info, confidence, overlay, color mask, mode, status."""

from __future__ import annotations

import copy
import time
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import numpy.typing as npt
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.lifecycle import LifecycleNode
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions
from sensor_msgs.msg import Image
from std_msgs.msg import String
from vision_msgs.msg import LabelInfo, VisionClass

from rgbd_seg_ros.colorize import colorize, colorize_depth, overlay
from rgbd_seg_ros.fallback import CoreConfig, Job
from rgbd_seg_ros.labels import LabelSet
from rgbd_seg_ros.replay.runner import depth_m
from rgbd_seg_ros.ros.convert import header, image_message

if TYPE_CHECKING:
    from rgbd_seg_ros.engine import Segmentation

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
        #: Height and width, and frame, of the last mask.
        self._last_shape: tuple[int, ...] = (480, 640)
        self._last_frame_id = ""

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

    def publish_mask(self, job: Job, result: Segmentation, latency_ms: float) -> None:
        """A mask with its status, and its confidence if somebody listens."""
        head = header(job.stamp_ns, job.frame_id)
        self._last_shape, self._last_frame_id = result.labels.shape, job.frame_id
        self._mask.publish(image_message(result.labels, head))
        if self._confidence.get_subscription_count():
            self._confidence.publish(image_message(result.confidence, head))
        ages = {"age_rgb_ms": job.age_rgb_ms, "age_depth_ms": job.age_depth_ms}
        status = {
            "mode": job.mode.value,
            "network": result.network,
            "reason_rgb": job.reason_rgb,
            "reason_depth": job.reason_depth,
            **{key: "" if age is None else f"{age:.1f}" for key, age in ages.items()},
            "latency_ms": f"{latency_ms:.2f}",
        }
        entry = DiagnosticStatus(
            name=f"{self._node.get_fully_qualified_name().lstrip('/')}: mask",
            level=LEVELS[status["mode"]],
            message=status["mode"],
            values=[KeyValue(key=key, value=value) for key, value in status.items()],
        )
        self._status.publish(DiagnosticArray(header=head, status=[entry]))

    def publish_pictures(self, job: Job, result: Segmentation, config: CoreConfig) -> None:
        """Overlay and color mask, if somebody listens and not more often than the limit."""
        publishers = {"overlay": self._overlay, "color_mask": self._color_mask}
        wanted = {name for name, p in publishers.items() if p.get_subscription_count()}
        now_s = time.monotonic()
        if not wanted or now_s < self._pictures_due_s:
            return
        self._pictures_due_s = now_s + 1 / self.overlay_rate_hz
        head = header(job.stamp_ns, job.frame_id)
        if "color_mask" in wanted:
            self._color_mask.publish(image_message(colorize(result.labels, self._labels), head))
        if "overlay" in wanted:
            picture = overlay(background(job, config), result.labels, self._labels)
            write_caption(picture, f"{job.mode.value} ({result.network})")
            self._overlay.publish(image_message(picture, head))

    def publish_blank(self, caption: str, stamp_ns: int) -> None:
        """A dark overlay in place of the last one, which would look alive while no mask comes."""
        if self._overlay.get_subscription_count():
            picture = np.full((*self._last_shape, 3), 40, np.uint8)
            write_caption(picture, caption)
            self._overlay.publish(image_message(picture, header(stamp_ns, self._last_frame_id)))


def background(job: Job, config: CoreConfig) -> npt.NDArray[np.uint8]:
    """What a job's overlay is drawn on, H×W×3: the picture, or depth in false colors."""
    meters = depth_m(job, config) if job.rgb is None else None
    if job.rgb is not None:
        picture = np.asarray(job.rgb.array, dtype=np.uint8)
    elif meters is not None:
        picture = colorize_depth(meters)
    else:
        picture = np.zeros((*job.size, 3), np.uint8)
    if picture.shape[:2] != job.size:
        size = job.size[::-1]
        picture = np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_NEAREST), np.uint8)
    return picture


def write_caption(picture: npt.NDArray[np.uint8], text: str) -> None:
    """Write a line on a dark band at the top of an H×W×3 picture, in place."""
    scale = max(0.4, picture.shape[0] / 900)
    band = int(32 * scale) + 4
    picture[:band] //= 3
    origin = (6, band - int(8 * scale) - 2)
    font = cv2.FONT_HERSHEY_SIMPLEX
    cv2.putText(picture, text, origin, font, scale, (255, 255, 255), 1, cv2.LINE_AA)
