# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Node of a live replay that starts the bag when all are ready, and sees when all is done."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from rcl_interfaces.srv import GetParameters
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node
from rclpy.parameter import parameter_value_to_python
from rclpy.qos import DurabilityPolicy, QoSProfile
from std_msgs.msg import String

from rgbd_seg_ros.ros.parameters import FIELDS
from rgbd_seg_ros.ros.replay.plan import PREFIX

#: The networks of a large bundle take their time to load on a small machine.
READY_S = 180.0
#: The outputs are complete when no mask has come after the player's end for so long and three
#: times as long as the slowest mask took.
QUIET_S = 2.0
#: A mask may take this long on a CPU.
END_S = 60.0


class NotReadyError(RuntimeError):
    """Something did not come up; the message says what."""


class ReplayMonitor(Node):
    """Parameters: ``segmenter`` (name), ``topics`` (of the streams), ``out`` (directory)."""

    def __init__(self) -> None:
        super().__init__("replay_monitor")
        self._segmenter = self.declare_parameter("segmenter", "/segmenter").value
        self._topics = self.declare_parameter("topics", [""]).value
        self._out = Path(self.declare_parameter("out", ".").value)
        self._modes: list[str] = []
        self._last_mask_s = time.monotonic()
        self._slowest_s = 0.0
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self.create_subscription(String, f"{self._segmenter}/mode", self._on_mode, latched)
        self.create_subscription(
            DiagnosticArray, f"{self._segmenter}/status", self._on_status, 100
        )

    def _on_mode(self, message: String) -> None:
        self._modes.append(message.data)

    def _on_status(self, message: DiagnosticArray) -> None:
        self._last_mask_s = time.monotonic()
        values = {entry.key: entry.value for entry in message.status[0].values}
        self._slowest_s = max(self._slowest_s, float(values["latency_ms"]) / 1e3)

    def start(self) -> None:
        """Wait for everybody, note the node's parameters, let the player go."""
        from rosbag2_interfaces.srv import Resume

        self._wait(lambda: bool(self._modes), f"{self._segmenter} did not become active")
        for topic in self._topics:
            self._wait(
                lambda topic=topic: (  # type: ignore[misc]
                    self.count_publishers(f"{PREFIX}{topic}")
                    and self.count_subscribers(f"{PREFIX}{topic}")
                    and self.count_publishers(topic)
                    and self.count_subscribers(topic)
                ),
                f"nobody plays or hears {topic}",
            )
        # The recorder, and of the status this node too.
        self._wait(
            lambda: (
                self.count_subscribers(f"{self._segmenter}/status") > 1
                and self.count_subscribers(f"{self._segmenter}/mask") > 0
                and self.count_subscribers("/diagnostics") > 0
            ),
            "the recorder did not subscribe",
        )
        names = list(FIELDS)
        answer = self._call(
            GetParameters, f"{self._segmenter}/get_parameters", GetParameters.Request(names=names)
        )
        values = [parameter_value_to_python(value) for value in answer.values]
        self._out.mkdir(parents=True, exist_ok=True)
        (self._out / "parameters.json").write_text(
            json.dumps(dict(zip(names, values, strict=True)))
        )
        self._call(Resume, "/rosbag2_player/resume", Resume.Request())

    def end(self) -> None:
        """Wait until the player is gone and no more masks come, and deactivate the node."""
        played = [f"{PREFIX}{topic}" for topic in self._topics]
        while any(self.count_publishers(topic) for topic in played):
            rclpy.spin_once(self, timeout_sec=0.1)
        self._last_mask_s = time.monotonic()
        self._wait(
            lambda: time.monotonic() - self._last_mask_s > QUIET_S + 3 * self._slowest_s,
            "masks go on after the end of the bag",
            END_S,
        )
        # Its last act is a report with the final counts, which is recorded too.
        request = ChangeState.Request()
        request.transition.id = Transition.TRANSITION_DEACTIVATE
        self._call(ChangeState, f"{self._segmenter}/change_state", request)
        written_s = time.monotonic() + 1.0
        self._wait(lambda: time.monotonic() > written_s, "time stands still")

    def _wait(
        self, condition: Callable[[], Any], complaint: str, timeout_s: float = READY_S
    ) -> None:
        end_s = time.monotonic() + timeout_s
        while not condition():
            if time.monotonic() > end_s:
                raise NotReadyError(f"{complaint} within {timeout_s:.0f} s")
            rclpy.spin_once(self, timeout_sec=0.1)

    def _call(self, kind: Any, service: str, request: Any) -> Any:
        client = self.create_client(kind, service)
        self._wait(client.service_is_ready, f"no service {service}")
        future = client.call_async(request)
        self._wait(future.done, f"no answer from {service}")
        return future.result()


def main() -> int:
    """From start to end; 0 when all went as it should."""
    rclpy.init()
    try:
        node = ReplayMonitor()
        node.start()
        node.end()
    except NotReadyError as error:
        print(f"replay_monitor: {error}", file=sys.stderr)
        return 1
    except (KeyboardInterrupt, ExternalShutdownException):
        return 1
    node.destroy_node()
    rclpy.try_shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(main())
