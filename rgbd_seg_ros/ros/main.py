# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""`ros2 run rgbd_seg_ros segmenter`: start the node, and end it in time."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import cast

import rclpy
from rclpy.executors import Executor, SingleThreadedExecutor
from rclpy.signals import SignalHandlerOptions

from rgbd_seg_ros.ros.engine_thread import LiveEngine
from rgbd_seg_ros.ros.node import SegmenterNode
from rgbd_seg_ros.ros.parameters import NodeConfig

#: A signal ends the process within two seconds: in order if that takes no longer than this, else
#: as it is. The rest is for the system to take it down.
END_S = 1.8
STDERR = 2


class Ending:
    """When the process ends: on SIGINT, on SIGTERM, or when the start failed.

    A thread hears the signals, so that the end comes in time whatever the main thread is busy
    with. Ctrl-C comes twice, from the terminal and from the launch file; only the first counts.
    """

    def __init__(self) -> None:
        self.code = 0
        #: Read by the main thread between two callbacks.
        self.wanted = False
        #: Whom to wake when the end is wanted.
        self.executor: Executor | None = None
        reader, writer = os.pipe()
        os.set_blocking(writer, False)
        signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: None)
        threading.Thread(target=self._watch, args=(reader,), name="ending", daemon=True).start()

    def _watch(self, reader: int) -> None:
        os.read(reader, 1)
        self.wanted = True
        if self.executor is not None:
            self.executor.create_task(lambda: None)
        time.sleep(END_S)
        with contextlib.suppress(OSError):
            if select.select([], [STDERR], [], 0)[1]:  # not if that could block
                os.write(STDERR, b"segmenter: the orderly end took too long, ending at once\n")
        os._exit(self.code)


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
    ending = Ending()
    given = None if args is None else list(args)
    try:
        # rclpy's own handlers would take the context away at once, and with it every last word.
        rclpy.init(args=given, signal_handler_options=SignalHandlerOptions.NO)
        node = SegmenterNode(build)
    # rclpy's RCLError, for a wrong log level or parameter file, is a RuntimeError.
    except (RuntimeError, ValueError) as error:
        print(f"segmenter: {' '.join(str(error).split())}", file=sys.stderr)
        rclpy.try_shutdown()
        return 2
    executor = ending.executor = SingleThreadedExecutor()
    executor.add_node(node)

    async def start() -> None:
        if not await node.autostart():
            ending.code, ending.wanted = 1, True

    if node.get_parameter("autostart").value:
        executor.create_task(start)
    else:
        node.get_logger().info("waiting to be configured (autostart is false)")
    while not ending.wanted:
        executor.spin_once()
    node.close()
    node.destroy_node()
    rclpy.try_shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    # Not `return`: PyTorch takes a second or two to end in order, and cannot while the engine's
    # thread is inside a network.
    os._exit(ending.code)


if __name__ == "__main__":
    sys.exit(main())
