# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""What the node subscribes to: pictures and camera_infos, and a word when none come."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from rclpy.lifecycle import LifecycleNode
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from tf2_msgs.msg import TFMessage

from rgbd_seg_ros.frames import Defect, Frame, Stream
from rgbd_seg_ros.gravity import TransformTree
from rgbd_seg_ros.ros import subscription_hints as hints
from rgbd_seg_ros.ros.convert import Converter
from rgbd_seg_ros.ros.diagnostics import Measurements
from rgbd_seg_ros.ros.parameters import NodeConfig

#: Best effort talks to every publisher; newest frames matter, so few are kept.
SENSOR_QOS = QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)
#: As tf2's own listeners have it: static transforms are latched by many publishers.
TRANSFORM_QOS = {
    "/tf": QoSProfile(depth=100, reliability=ReliabilityPolicy.BEST_EFFORT),
    "/tf_static": QoSProfile(
        depth=100,
        reliability=ReliabilityPolicy.RELIABLE,
        durability=DurabilityPolicy.TRANSIENT_LOCAL,
    ),
}


class Inputs:
    """Subscriptions of an active node. Their callbacks only store and stamp.

    Args:
        node: the node.
        config: transports, and whether to listen to raw depth.
        store: takes a stream and its message.
        measurements: counts arrivals.
        transforms: is given the robot's transforms; None to leave them alone.
    """

    def __init__(
        self,
        node: LifecycleNode,
        config: NodeConfig,
        store: Callable[[Stream, Any], None],
        measurements: Measurements,
        transforms: TransformTree | None = None,
    ) -> None:
        self._node = node
        self._store = store
        self._measurements = measurements
        self._converter = Converter(self.warn_once)
        self._simulated = node.get_parameter("use_sim_time").value
        self._told: set[str] = set()
        self._clock_ns = 0
        self._subscriptions: list[Any] = []
        self._images: dict[Stream, Any] = {}
        self._last_image_s: dict[Stream, float] = {}
        self._subscribe("rgb", config.rgb_transport)
        self._subscribe("depth", config.depth_transport)
        if config.use_depth_raw:
            self._subscribe("depth_raw", config.depth_transport)
        if transforms is not None:
            for topic, qos in TRANSFORM_QOS.items():
                self._create(TFMessage, topic, transforms.add, qos)

    def destroy(self) -> None:
        """Take every subscription off the graph."""
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)
        self._subscriptions.clear()

    def _subscribe(self, stream: Stream, transport: str) -> None:
        # Resolved first, so that remapping the picture's topic moves its compressed form too.
        topic = self._node.resolve_topic_name(f"{stream}/image_raw")
        kind: type = Image
        if transport != "raw":
            topic, kind = f"{topic}/{transport}", CompressedImage
        self._images[stream] = self._create(kind, topic, partial(self._on_image, stream))
        self._last_image_s[stream] = time.monotonic()
        on_info = partial(self._converter.camera_info, stream)
        self._create(CameraInfo, f"{stream}/camera_info", on_info)

    def _create(
        self,
        kind: type,
        topic: str,
        callback: Callable[[Any], None],
        qos: QoSProfile | None = None,
    ) -> Any:
        overrides = QoSOverridingOptions.with_default_policies()
        # A copy: rclpy writes a topic's overrides into the profile that it is given.
        qos = copy.copy(qos or SENSOR_QOS)
        subscription = self._node.create_subscription(
            kind, topic, callback, qos, qos_overriding_options=overrides
        )
        self._subscriptions.append(subscription)
        return subscription

    def _on_image(self, stream: Stream, message: Any) -> None:
        self._store(stream, message)
        self._last_image_s[stream] = time.monotonic()
        self._told.discard(f"missing {stream}")
        self._measurements.rates[stream].event(self._node.get_clock().now().nanoseconds)

    def convert(self, stream: Stream, message: Any) -> Frame | Defect:
        """A stored message as a Frame, or the Defect that says why not."""
        frame = self._converter(stream, message)
        now_ns = self._node.get_clock().now().nanoseconds
        if frame.stamp_ns is not None and now_ns:
            text = hints.wrong_day(stream, frame.stamp_ns, now_ns, self._simulated)
            if text:
                self.warn_once(text, key=f"wrong day {stream}")
        if isinstance(frame, Defect):
            text = f"a message of {stream} is unusable: {frame.detail}"
            self.warn_once(text, key=f"{stream} {frame.reason}")  # details may differ in each
        return frame

    def be_patient(self) -> None:
        """Count the silence of every stream from now on."""
        for stream in self._last_image_s:
            self._last_image_s[stream] = time.monotonic()

    def explain(self) -> None:
        """One line for each stream that has brought nothing for seconds. Call it regularly."""
        before_ns, self._clock_ns = self._clock_ns, self._node.get_clock().now().nanoseconds
        if self._simulated and self._clock_ns == before_ns != 0:
            self.be_patient()  # a paused bag is not a silent camera
        for stream, subscription in self._images.items():
            optional = stream == "depth_raw"
            silence_s = time.monotonic() - self._last_image_s[stream]
            key = f"missing {stream}"
            if not optional and silence_s > hints.PATIENCE_S and key not in self._told:
                text = hints.missing_stream(self._node, subscription, f"{stream}/image_raw")
                self.warn_once(text, key=key)
        if self._simulated and not self._clock_ns:
            self.warn_once(
                "use_sim_time is true but nobody publishes /clock: play the bag with --clock, or "
                "start the simulation",
                key="no clock",
            )

    def warn_once(self, text: str, key: str = "") -> None:
        """Log a line, but not again and again."""
        if (key or text) not in self._told:
            self._told.add(key or text)
            self._node.get_logger().warning(text)
