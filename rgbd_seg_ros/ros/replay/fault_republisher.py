# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Node between the bag player and the segmenter that applies a fault schedule."""

from __future__ import annotations

import contextlib
import heapq
import itertools
import sys
from functools import partial
from pathlib import Path
from typing import Any

import rclpy
from rclpy.clock import Clock, ClockType
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.time import Time
from sensor_msgs.msg import Image

from rgbd_seg_ros.frames import CompressedFrame, Defect, Frame, Stream
from rgbd_seg_ros.images import stamp_ns, to_frame
from rgbd_seg_ros.replay.fault_kinds import ReceivedItem
from rgbd_seg_ros.ros.replay.plan import LiveReplayPlan, ReceiveTimes

#: Reliable, with a deep queue, because no message of the recording may be lost.
QOS = QoSProfile(depth=100, reliability=ReliabilityPolicy.RELIABLE)
#: Period of the timer that publishes delayed messages.
RELEASE_S = 0.002


class FaultRepublisher(Node):
    """Subscribes to ``/recorded/TOPIC``, applies the faults and publishes on ``TOPIC``.

    Parameter ``plan``: path of a :class:`rgbd_seg_ros.ros.replay.plan.LiveReplayPlan`.
    """

    def __init__(self) -> None:
        super().__init__("fault_republisher")
        plan = LiveReplayPlan.load(Path(self.declare_parameter("plan", "plan.json").value))
        self._start_ns = plan.start_ns
        self._schedule = plan.schedule()
        for warning in self._schedule.warnings:
            self.get_logger().warning(warning)
        self._receive_times = ReceiveTimes(plan)
        self._delayed: list[tuple[int, int, Any, Image]] = []
        self._order = itertools.count()
        self._last_due_ns: dict[Stream, int] = {}
        for stream, topic in plan.streams.items():
            publisher = self.create_publisher(Image, topic, QOS)
            callback = partial(self._on_image, stream, publisher)
            self.create_subscription(Image, f"{plan.prefix}{topic}", callback, QOS)
        self.create_timer(RELEASE_S, self._release, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def _on_image(self, stream: Stream, publisher: Any, message: Image) -> None:
        now_ns = self.get_clock().now().nanoseconds
        recorded_ns = self._receive_times.take(stream, stamp_ns(message.header)) or now_ns
        before = to_frame(message, stream)
        after = self._schedule.apply(stream, ReceivedItem(before, recorded_ns), self._start_ns)
        if after is None or isinstance(after.item, CompressedFrame):  # only raw images come here
            return
        message = with_fault(message, before, after.item)
        # The wall clock must not let a message overtake the one before it.
        due_ns = max(now_ns + after.receive_ns - recorded_ns, self._last_due_ns.get(stream, 0))
        self._last_due_ns[stream] = due_ns
        if due_ns <= now_ns:
            publisher.publish(message)
        else:
            heapq.heappush(self._delayed, (due_ns, next(self._order), publisher, message))

    def _release(self) -> None:
        now_ns = self.get_clock().now().nanoseconds
        while self._delayed and self._delayed[0][0] <= now_ns:
            _, _, publisher, message = heapq.heappop(self._delayed)
            publisher.publish(message)


def with_fault(message: Image, before: Frame | Defect, after: Frame | Defect) -> Image:
    """The message after a fault.

    Args:
        message: the recorded message; may be modified.
        before: the frame in it.
        after: the frame after the fault; the same object if the fault changed nothing.
    """
    if after is before:
        return message
    if isinstance(after, Defect):
        # Truncated data is malformed in every encoding.
        message.data = message.data[: len(message.data) // 2]
        return message
    message.header.stamp = Time(nanoseconds=after.stamp_ns).to_msg()
    message.header.frame_id = after.frame_id
    if isinstance(before, Frame) and after.array is before.array:
        return message
    message.height, message.width = after.array.shape[:2]
    # A Frame holds color as RGB, regardless of its encoding; depth keeps its type.
    encodings = {"uint8": "rgb8", "uint16": "16UC1", "float32": "32FC1"}
    message.encoding = encodings[str(after.array.dtype)]
    message.is_bigendian = 0
    data = after.array.tobytes()
    message.step = len(data) // message.height
    message.data = type(message.data)("B", data)
    return message


def main() -> int:
    """Run until the launch file stops the process."""
    rclpy.init()
    try:
        rclpy.spin(FaultRepublisher())
    except (OSError, ValueError) as error:
        print(f"fault_republisher: {error}", file=sys.stderr)
        return 2
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    # A signal may shut down the context from its own thread at the same time.
    with contextlib.suppress(RuntimeError):
        rclpy.try_shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(main())
