# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The node's publishers: mask, label_info, confidence, overlay, color mask, mode, status."""

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

from rgbd_seg_ros.colorize import colorize, overlay
from rgbd_seg_ros.fallback import Core, CoreConfig, Job, Mode
from rgbd_seg_ros.fallback.unusable import CausedWarning
from rgbd_seg_ros.inference import MODE_LEVELS, mask_status, overlay_background
from rgbd_seg_ros.labels import LabelSet
from rgbd_seg_ros.ros.convert import header, image_message
from rgbd_seg_ros.ros.diagnostics import MODE_TEXTS, Measurements
from rgbd_seg_ros.ros.log_throttle import LogThrottle

if TYPE_CHECKING:
    from rgbd_seg_ros.engine import Segmentation

RELIABLE = QoSProfile(depth=5, reliability=ReliabilityPolicy.RELIABLE)
LATCHED = QoSProfile(
    depth=1, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL
)
#: Lines of one kind are logged at most this often; of the changes of mode, five.
LOG_PERIOD_S = 10.0
#: Modes in which no masks are published.
MODES_WITHOUT_MASKS = (Mode.STARTING, Mode.NO_INPUT)


class Outputs:
    """Publishes masks and modes. Debug images are rendered only while they have subscribers.

    Args:
        node: the node.
        labels: classes and palette of the masks.
        overlay_rate_hz: limit for overlay and color mask; may be changed at any time.
        measurements: counts masks, errors and warnings.
    """

    def __init__(
        self,
        node: LifecycleNode,
        labels: LabelSet,
        overlay_rate_hz: float,
        measurements: Measurements,
    ) -> None:
        self._node = node
        self._labels = labels
        self.overlay_rate_hz = overlay_rate_hz
        self._measurements = measurements
        self._log_mode = LogThrottle(lambda text: node.get_logger().info(text), LOG_PERIOD_S, 5)
        self._warn = LogThrottle(lambda text: node.get_logger().warning(text), LOG_PERIOD_S)
        self._publishers: list[Any] = []
        self._mode_publisher = self._create(String, "~/mode", LATCHED)
        self._label_info = self._create(LabelInfo, "~/label_info", LATCHED)
        self._mask = self._create(Image, "~/mask", RELIABLE)
        self._confidence = self._create(Image, "~/confidence", RELIABLE)
        self._overlay = self._create(Image, "~/overlay", RELIABLE)
        self._color_mask = self._create(Image, "~/color_mask", RELIABLE)
        self._status = self._create(DiagnosticArray, "~/status", RELIABLE)
        #: The last published mode.
        self._mode: Mode | None = None
        self._debug_images_due_s = 0.0
        #: Height and width of the last mask, and its frame_id.
        self._last_shape: tuple[int, ...] = (480, 640)
        self._last_frame_id = ""

    def _create(self, message_type: type, topic: str, qos: QoSProfile) -> Any:
        publisher = self._node.create_lifecycle_publisher(
            message_type,
            topic,
            copy.copy(qos),  # rclpy writes the overrides of a topic into the profile
            qos_overriding_options=QoSOverridingOptions.with_default_policies(),
        )
        self._publishers.append(publisher)
        return publisher

    def destroy(self) -> None:
        """Destroy all publishers."""
        for publisher in self._publishers:
            self._node.destroy_lifecycle_publisher(publisher)

    # --- Modes ----------------------------------------------------------------------------------

    def publish_labels(self) -> None:
        """Publish the names of the class ids, latched."""
        classes = [
            VisionClass(class_id=i, class_name=name) for i, name in enumerate(self._labels.classes)
        ]
        info_header = header(self._now_ns(), "")
        self._label_info.publish(LabelInfo(header=info_header, class_map=classes))

    def publish_changes(self, core: Core) -> None:
        """Publish the mode if it changed, and log mode changes and warnings of the core."""
        for change in core.drain_mode_changes():
            if core.enabled:
                self._log_mode(str(change))
        for text in core.drain_warnings():
            if isinstance(text, CausedWarning):
                self._measurements.caused_warnings.append(text)  # Inputs looks for the cause
                continue
            self._warn(text)
            self._measurements.add_warning(text)
        # A disabled core is in STARTING, but subscribers must not expect masks.
        mode = core.mode if core.enabled else Mode.NO_INPUT
        if mode is not self._mode:
            self._publish_mode(mode)
            self.publish_placeholder(core)

    def publish_placeholder(self, core: Core) -> None:
        """In a mode without masks, replace the overlay with a caption that gives the reason."""
        if self._mode in MODES_WITHOUT_MASKS:
            reason = core.mode_reason
            if not core.enabled:
                reason = "disabled"
            elif self._mode is Mode.STARTING:
                reason = MODE_TEXTS[Mode.STARTING]
            self._publish_caption(f"{self._mode.value}: {reason}")

    def publish_inactive(self) -> None:
        """Signal that no masks will follow, because the mode is latched and RViz keeps images."""
        self._publish_mode(Mode.NO_INPUT)
        self._publish_caption("inactive")

    def _publish_mode(self, mode: Mode) -> None:
        self._mode = mode
        self._measurements.mode_since_ns = self._now_ns()
        self._mode_publisher.publish(String(data=mode.value))

    def _publish_caption(self, caption: str) -> None:
        """Publish a dark overlay with a caption."""
        if self._overlay.get_subscription_count():
            image = np.full((*self._last_shape, 3), 40, np.uint8)
            write_caption(image, caption)
            image_header = header(self._now_ns(), self._last_frame_id)
            self._overlay.publish(image_message(image, image_header))

    # --- Masks ----------------------------------------------------------------------------------

    def publish_mask(
        self, job: Job, segmentation: Segmentation, latency_ms: float, config: CoreConfig
    ) -> None:
        """Publish a mask with its status, and all other outputs that have subscribers.

        Args:
            job: the job.
            segmentation: its result.
            latency_ms: time since the last message of the job arrived.
            config: scale and range of depth, for the overlay.
        """
        mask_header = header(job.stamp_ns, job.frame_id)
        self._last_shape, self._last_frame_id = segmentation.labels.shape, job.frame_id
        self._mask.publish(image_message(segmentation.labels, mask_header))
        if self._confidence.get_subscription_count():
            self._confidence.publish(image_message(segmentation.confidence, mask_header))
        status = mask_status(job, segmentation.network, latency_ms)
        entry = DiagnosticStatus(
            name=f"{self._node.get_fully_qualified_name().lstrip('/')}: mask",
            level=bytes([MODE_LEVELS[job.mode]]),
            message=job.mode.value,
            values=[KeyValue(key=key, value=value) for key, value in status.items()],
        )
        self._status.publish(DiagnosticArray(header=mask_header, status=[entry]))
        self._measurements.add_mask(self._now_ns(), latency_ms)
        # A mask that was being computed when the last stream fell silent is published, but it
        # must not replace the placeholder.
        if self._mode not in MODES_WITHOUT_MASKS:
            self._publish_debug_images(job, segmentation, config)

    def _publish_debug_images(
        self, job: Job, segmentation: Segmentation, config: CoreConfig
    ) -> None:
        """Publish overlay and color mask if subscribed, at most ``overlay_rate_hz`` times/s."""
        publishers = (self._overlay, self._color_mask)
        to_overlay, to_color_mask = (p.get_subscription_count() > 0 for p in publishers)
        now_s = time.monotonic()
        if not (to_overlay or to_color_mask) or now_s < self._debug_images_due_s:
            return
        self._debug_images_due_s = now_s + 1 / self.overlay_rate_hz
        mask_header = header(job.stamp_ns, job.frame_id)
        if to_color_mask:
            image = colorize(segmentation.labels, self._labels)
            self._color_mask.publish(image_message(image, mask_header))
        if to_overlay:
            image = overlay(overlay_background(job, config), segmentation.labels, self._labels)
            write_caption(image, f"{job.mode.value} ({segmentation.network})")
            self._overlay.publish(image_message(image, mask_header))

    def _now_ns(self) -> int:
        return int(self._node.get_clock().now().nanoseconds)


def write_caption(image: npt.NDArray[np.uint8], text: str) -> None:
    """Write one line of text on a dark band at the top of an H×W×3 image, in place."""
    scale = max(0.4, image.shape[0] / 900)
    band = int(32 * scale) + 4
    image[:band] //= 3
    origin = (6, band - int(8 * scale) - 2)
    font = cv2.FONT_HERSHEY_SIMPLEX
    cv2.putText(image, text, origin, font, scale, (255, 255, 255), 1, cv2.LINE_AA)
