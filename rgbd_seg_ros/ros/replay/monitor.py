# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Node that starts the playback when all processes are ready and detects the end of the replay."""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Callable
from functools import partial
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

#: Timeout for each process to become ready; large networks load slowly on a small machine.
READY_S = 180.0
#: After the end of the playback, the outputs are complete when no mask has arrived for this time
#: plus three times the latency of the slowest mask.
QUIET_S = 2.0
#: Timeout for the outputs to be complete; one mask may take seconds on a CPU.
END_S = 60.0


class NotReadyError(RuntimeError):
    """A condition was not met within its timeout; the message names the condition."""


class ReplayMonitor(Node):
    """Watches a live replay.

    Parameters: ``segmenter``, the node's name; ``topics``, the topics of the streams; ``out``, the
    directory for ``parameters.json``.
    """

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
        """Wait until all processes are ready, save the node's parameters and resume the player."""
        from rosbag2_interfaces.srv import Resume

        self._wait(lambda: bool(self._modes), f"{self._segmenter} did not become active")
        for topic in self._topics:
            for name in (f"{PREFIX}{topic}", topic):
                self._wait(partial(self.count_publishers, name), f"{name} had no publisher")
                self._wait(partial(self.count_subscribers, name), f"{name} had no subscriber")
        # The recorder subscribes to all of these topics, and this node to the status.
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
        """Wait until the player has ended and all masks have arrived, then deactivate the node."""
        played = [f"{PREFIX}{topic}" for topic in self._topics]
        while any(self.count_publishers(topic) for topic in played):
            rclpy.spin_once(self, timeout_sec=0.1)
        self._last_mask_s = time.monotonic()
        self._wait(
            lambda: time.monotonic() - self._last_mask_s > QUIET_S + 3 * self._slowest_s,
            "the node did not finish the remaining masks",
            END_S,
        )
        # The node then publishes diagnostics with the final counts, which are also recorded.
        request = ChangeState.Request()
        request.transition.id = Transition.TRANSITION_DEACTIVATE
        self._call(ChangeState, f"{self._segmenter}/change_state", request)
        written_s = time.monotonic() + 1.0
        while time.monotonic() < written_s:
            rclpy.spin_once(self, timeout_sec=0.1)

    def _wait(
        self, condition: Callable[[], Any], failure: str, timeout_s: float = READY_S
    ) -> None:
        end_s = time.monotonic() + timeout_s
        while not condition():
            if time.monotonic() > end_s:
                raise NotReadyError(f"{failure} within {timeout_s:.0f} s")
            rclpy.spin_once(self, timeout_sec=0.1)

    def _call(self, service_type: Any, service: str, request: Any) -> Any:
        client = self.create_client(service_type, service)
        self._wait(client.service_is_ready, f"service {service} did not become available")
        future = client.call_async(request)
        self._wait(future.done, f"{service} did not respond")
        return future.result()


def main() -> int:
    """Watch the replay from start to end; 0 on success, else 1."""
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
    # A signal may shut down the context from its own thread at the same time.
    with contextlib.suppress(RuntimeError):
        rclpy.try_shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(main())
