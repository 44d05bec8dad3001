# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The node's subscriptions; warns about silent streams, wrong stamps and other mistakes."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

from rclpy.lifecycle import LifecycleNode
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from tf2_msgs.msg import TFMessage

from rgbd_seg_ros.fallback.unusable import CausedWarning
from rgbd_seg_ros.frames import Stream
from rgbd_seg_ros.gravity import TransformTree
from rgbd_seg_ros.images import stamp_ns, to_intrinsics
from rgbd_seg_ros.ros import subscription_hints as hints
from rgbd_seg_ros.ros.convert import Converter
from rgbd_seg_ros.ros.diagnostics import Measurements
from rgbd_seg_ros.ros.log_throttle import LogThrottle
from rgbd_seg_ros.ros.outputs import LOG_PERIOD_S
from rgbd_seg_ros.ros.parameters import NodeConfig
from rgbd_seg_ros.ros.stamp_hints import AGE_KINDS, StampWatch
from rgbd_seg_ros.ros.standing_warnings import StandingWarnings

#: Best effort is compatible with every publisher. Only the newest frames matter.
SENSOR_QOS = QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)
#: A warning of the core about stamps is logged after this many checks without a cause. By then
#: the stamps of a stream of 1 Hz have been judged.
EXPLAINED_WITHIN = 5
#: As in tf2's own listeners: many publishers latch static transforms.
TRANSFORM_QOS = {
    "/tf": QoSProfile(depth=100, reliability=ReliabilityPolicy.BEST_EFFORT),
    "/tf_static": QoSProfile(
        depth=100,
        reliability=ReliabilityPolicy.RELIABLE,
        durability=DurabilityPolicy.TRANSIENT_LOCAL,
    ),
}


class Inputs:
    """Subscriptions of the active node. The callbacks only enqueue messages.

    Args:
        node: the node.
        config: transports, and whether to subscribe to raw depth.
        enqueue: takes a stream, its message and the arrival time in nanoseconds.
        converter: takes the camera_infos.
        measurements: counts messages.
        transforms: takes the robot's transforms; None to subscribe to none.
    """

    def __init__(
        self,
        node: LifecycleNode,
        config: NodeConfig,
        enqueue: Callable[[Stream, Any, int], None],
        converter: Converter,
        measurements: Measurements,
        transforms: TransformTree | None = None,
    ) -> None:
        self._node = node
        self._enqueue = enqueue
        self._converter = converter
        self._measurements = measurements
        self._simulated = node.get_parameter("use_sim_time").value
        self._clock_ns = 0
        self._images_since_check = 0
        self._subscriptions: list[Any] = []
        self._images: dict[Stream, Any] = {}
        self._last_image_s: dict[Stream, float] = {}
        self._stamps: dict[Stream, StampWatch] = {}
        #: (height, width) of the last raw image and of the last calibrated camera_info.
        self._image_sizes: dict[Stream, tuple[int, int]] = {}
        self._info_sizes: dict[Stream, tuple[int, int]] = {}
        #: Topics that had several publishers at the last check. A restarted driver's old
        #: publisher may be listed for a moment.
        self._shared: set[str] = set()
        #: Warnings of the core whose cause may be known, and the number of checks since then.
        self._unexplained: list[tuple[CausedWarning, int]] = []
        self._warn = LogThrottle(lambda text: node.get_logger().warning(text), LOG_PERIOD_S)
        measurements.caused_warnings.clear()
        self._warnings = StandingWarnings(
            node.get_logger().warning, measurements.add_warning, measurements.remove_warning
        )
        try:
            self._subscribe_all(config, transforms)
        except Exception:
            self.destroy()  # otherwise the first subscriptions would outlive the error
            raise

    def _subscribe_all(self, config: NodeConfig, transforms: TransformTree | None) -> None:
        self._subscribe("rgb", config.rgb_transport)
        self._subscribe("depth", config.depth_transport)
        if config.use_depth_raw:
            self._subscribe("depth_raw", config.depth_transport)
        if transforms is not None:
            for topic, qos in TRANSFORM_QOS.items():
                add = partial(transforms.add, static=topic == "/tf_static")
                self._create(TFMessage, topic, add, qos)

    def destroy(self) -> None:
        """Destroy all subscriptions."""
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)
        self._subscriptions.clear()

    def _subscribe(self, stream: Stream, transport: str) -> None:
        # Resolved first, so that remapping the raw topic remaps its compressed form too.
        topic = self._node.resolve_topic_name(f"{stream}/image_raw")
        if transport != "raw":
            topic = f"{topic}/{transport}"
        message_type = image_type(transport)
        self._images[stream] = self._create(message_type, topic, partial(self._on_image, stream))
        self._last_image_s[stream] = time.monotonic()
        self._stamps[stream] = StampWatch(stream, self._simulated)
        self._create(CameraInfo, f"{stream}/camera_info", partial(self._on_info, stream))

    def _create(
        self,
        message_type: type,
        topic: str,
        callback: Callable[[Any], None],
        qos: QoSProfile | None = None,
    ) -> Any:
        overrides = QoSOverridingOptions.with_default_policies()
        # A copy, because rclpy writes the overrides of a topic into the profile.
        qos = copy.copy(qos or SENSOR_QOS)
        subscription = self._node.create_subscription(
            message_type, topic, callback, qos, qos_overriding_options=overrides
        )
        self._subscriptions.append(subscription)
        return subscription

    def _on_image(self, stream: Stream, message: Any) -> None:
        now_ns = self._node.get_clock().now().nanoseconds
        self._enqueue(stream, message, now_ns)
        self._last_image_s[stream] = time.monotonic()
        self._forget_silence(stream)
        self._images_since_check += 1
        self._measurements.rates[stream].event(now_ns)
        self._stamps[stream].add(stamp_ns(message.header), now_ns)
        # The size of a damaged message would blame the camera_info.
        if isinstance(message, Image) and 0 < message.height * message.width <= len(message.data):
            self._image_sizes[stream] = (message.height, message.width)

    def _on_info(self, stream: Stream, message: CameraInfo) -> None:
        self._converter.camera_info(stream, message)
        intrinsics = to_intrinsics(message)
        if intrinsics is not None:
            self._info_sizes[stream] = (intrinsics.height, intrinsics.width)

    def _forget_silence(self, stream: Stream, but: str = "") -> None:
        for cause in hints.SILENT_CAUSES:
            if cause != but:
                self._warnings.forget(f"silent {stream} {cause}")

    def restart_timeouts(self) -> None:
        """Measure the silence of every stream from now on."""
        for stream in self._last_image_s:
            self._last_image_s[stream] = time.monotonic()

    def check_streams(self) -> None:
        """Warn about silent streams, wrong stamps and topics. Called once per second."""
        before_ns, self._clock_ns = self._clock_ns, self._node.get_clock().now().nanoseconds
        stopped = self._simulated and self._clock_ns == before_ns != 0
        if stopped:
            self.restart_timeouts()  # the playback is paused
        conditions = dict(self._conditions())
        if stopped and self._images_since_check:
            ages = [f"{kind} {stream}" for kind in AGE_KINDS for stream in self._images]
            conditions = {key: text for key, text in conditions.items() if key not in ages}
            for key in ages:
                self._warnings.forget(key)
            conditions["clock stopped"] = (
                "/clock has stopped, but images arrive: start its publisher again, or launch with "
                "use_sim_time:=false"
            )
        self._images_since_check = 0
        for stream in self._images:
            ages = [f"{kind} {stream}" for kind in AGE_KINDS]
            if any(key in conditions for key in ages):
                for key in ages:
                    if key not in conditions:
                        self._warnings.forget(key)  # its text contradicts the new one
        self._warnings.update(conditions)
        self._tell_unexplained(conditions)

    def _tell_unexplained(self, conditions: Mapping[str, str]) -> None:
        """Log the core's warnings that a condition may explain, unless one does."""
        new = self._measurements.caused_warnings
        waiting = [*self._unexplained, *((new.popleft(), 0) for _ in range(len(new)))]
        self._unexplained = []
        for text, checks in waiting:
            causes = [
                cause
                for stream in text.streams
                for cause in (
                    *(f"{name} {stream}" for name in (*AGE_KINDS, "whole seconds", "copies")),
                    f"publishers {self._topic(stream)}",
                )
            ]
            if any(cause in conditions for cause in causes):
                continue
            if checks < EXPLAINED_WITHIN:
                self._unexplained.append((text, checks + 1))
            else:
                self._warn(text)
                self._measurements.add_warning(text)

    def _topic(self, stream: Stream) -> str:
        return str(self._images[stream].topic_name) if stream in self._images else ""

    def _conditions(self) -> Iterator[tuple[str, str]]:
        """Yield (key, hint) for each mistake in the set-up that can be seen now."""
        limits = [self._node.get_parameter(name).value for name in ("max_age_s", "max_future_s")]
        shared = dict(self._several_publishers())
        # Told only if seen in two checks.
        yield from ((key, text) for key, text in shared.items() if key in self._shared)
        self._shared = set(shared)
        for stream, subscription in self._images.items():
            silence_s = time.monotonic() - self._last_image_s[stream]
            if stream != "depth_raw" and silence_s > hints.SILENCE_S:
                name = f"{stream}/image_raw"
                cause, text = hints.silent_topic(self._node, subscription, name)
                # Another cause is another condition, told at once, such as a camera that started.
                self._forget_silence(stream, but=cause)
                yield f"silent {stream} {cause}", text
                continue
            copied = f"publishers {subscription.topic_name}" in shared
            for key, text in self._stamps[stream].hints(*limits):
                if not (copied and key.startswith("copies")):  # the publishers are named
                    yield key, text
            if stream in self._image_sizes and stream in self._info_sizes:
                sizes = self._image_sizes[stream], self._info_sizes[stream]
                text_or_none = hints.other_size(stream, *sizes)
                if text_or_none is not None:
                    yield f"size {stream}", text_or_none
        if self._simulated and not self._clock_ns:
            yield (
                "no clock",
                "use_sim_time is true but nothing publishes /clock: play the bag with --clock, or "
                "start the simulation",
            )

    def _several_publishers(self) -> Iterator[tuple[str, str]]:
        topics = {subscription.topic_name for subscription in self._subscriptions}
        topics -= TRANSFORM_QOS.keys()
        for topic in sorted(topics | ({"/clock"} if self._simulated else set())):
            text = hints.several_publishers(topic, self._node.get_publishers_info_by_topic(topic))
            if text is not None:
                yield f"publishers {topic}", text


def image_type(transport: str) -> type:
    """The message class of a transport.

    Raises:
        RuntimeError: the package that defines it is not installed.
    """
    found: type = Image if transport == "raw" else CompressedImage
    if transport == "ffmpeg":
        try:
            from ffmpeg_image_transport_msgs.msg import FFMPEGPacket
        except ImportError as error:
            raise RuntimeError(
                f"rgb_transport: ffmpeg needs the package ffmpeg_image_transport_msgs ({error}); "
                "install it (apt install ros-$ROS_DISTRO-ffmpeg-image-transport-msgs), or set "
                "rgb_transport to raw or compressed"
            ) from error
        found = FFMPEGPacket
    return found
