# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""`ros2 run rgbd_seg_ros segmenter`: start the node, and end it in time."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Sequence
from typing import cast

import rclpy
from rclpy.executors import ExternalShutdownException

from rgbd_seg_ros.ros.live import LiveEngine
from rgbd_seg_ros.ros.node import SegmenterNode
from rgbd_seg_ros.ros.parameters import NodeConfig


def build_engine(config: NodeConfig) -> LiveEngine:
    """The engine with the configured bundle, warm.

    Raises:
        RuntimeError: PyTorch is missing.
        ValueError: the bundle or the device cannot be used.
    """
    try:
        from rgbd_seg_ros.bundle import DEFAULT_BUNDLE, load_bundle
        from rgbd_seg_ros.engine import Segmenter
    except ImportError as error:
        raise RuntimeError(
            f"{error}: PyTorch and safetensors are needed; install the PyTorch build for this "
            "machine from https://pytorch.org/get-started, then see `rgbd_seg doctor`"
        ) from error
    bundle = load_bundle(config.bundle or DEFAULT_BUNDLE)
    return cast(LiveEngine, Segmenter(bundle, config.device, config.backend))


def main(
    args: Sequence[str] | None = None,
    build: Callable[[NodeConfig], LiveEngine] = build_engine,
) -> int:
    """Run the node until SIGINT, SIGTERM or a failed start; the exit code."""
    # As in the command line: before torch loads, so that busy cores do not starve its threads.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # A message waits this long at most for the thread that is making a mask (Python's default is
    # 5 ms, as much as all else that the node adds).
    sys.setswitchinterval(0.0005)
    rclpy.init(args=None if args is None else list(args))
    try:
        node = SegmenterNode(build)
    except ValueError as error:
        print(f"segmenter: {error}", file=sys.stderr)
        rclpy.try_shutdown()
        return 2
    code = 0
    try:
        if not node.get_parameter("autostart").value:
            node.get_logger().info("waiting to be configured (autostart is false)")
        elif not node.autostart() and node.context.ok():
            code = 1
        if code == 0:
            rclpy.spin(node)
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    # A signal between two steps of the executor takes its context away.
    except RuntimeError:
        if node.context.ok():
            raise
    # Ctrl-C reaches the node twice, from the terminal and from the launch file.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    node.close()
    node.destroy_node()
    rclpy.try_shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    # Not `return`: PyTorch takes a second or two to end in order, and cannot while the engine's
    # thread is inside a network.
    os._exit(code)


if __name__ == "__main__":
    sys.exit(main())
