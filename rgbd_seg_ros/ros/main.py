# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""`ros2 run rgbd_seg_ros segmenter`: runs the node and shuts it down within two seconds."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence

import rclpy
from rclpy.executors import Executor, SingleThreadedExecutor
from rclpy.signals import SignalHandlerOptions

from rgbd_seg_ros.inference import Engine, load_engine
from rgbd_seg_ros.ros.node import SegmenterNode

#: Time for an orderly shutdown after a signal; then the process exits immediately. The rest of
#: the two seconds is for the operating system to end the process.
SHUTDOWN_TIMEOUT_S = 1.8
STDERR = 2


class SignalHandler:
    """Shuts the process down on SIGINT and SIGTERM, within :data:`SHUTDOWN_TIMEOUT_S`.

    A thread waits for the signals, so the timeout holds no matter what the main thread is doing.
    Ctrl-C arrives twice, from the terminal and from the launch file; the second one is ignored.
    """

    def __init__(self) -> None:
        self.exit_code = 0
        #: Checked by the main thread between two callbacks.
        self.shutdown_requested = False
        #: Woken by a signal, if set.
        self.executor: Executor | None = None
        reader, writer = os.pipe()
        os.set_blocking(writer, False)
        signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: None)
        threading.Thread(target=self._watch, args=(reader,), name="signals", daemon=True).start()

    def _watch(self, reader: int) -> None:
        os.read(reader, 1)
        self.shutdown_requested = True
        if self.executor is not None:
            self.executor.create_task(lambda: None)
        time.sleep(SHUTDOWN_TIMEOUT_S)
        with contextlib.suppress(OSError):
            if select.select([], [STDERR], [], 0)[1]:  # skip the message if writing would block
                os.write(STDERR, b"segmenter: shutdown timed out, exiting\n")
        os._exit(self.exit_code)


def main(
    args: Sequence[str] | None = None,
    load: Callable[[str, str, str], Engine] = load_engine,
) -> int:
    """Run the node until SIGINT, SIGTERM or a failed start; return the exit code.

    Args:
        args: command line; None for the process's own.
        load: loads the engine from bundle, device and backend.
    """
    # As in cli.py, set before torch is imported. OpenMP threads that busy-wait
    # slow each other down on busy cores.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # A callback waits at most this long for the thread that computes a mask. Python's default of
    # 5 ms equals all other latency that the node adds.
    sys.setswitchinterval(0.0005)
    signals = SignalHandler()
    given = None if args is None else list(args)
    try:
        # rclpy's own handlers would shut the context down at once, before the node can log and
        # publish its last messages.
        rclpy.init(args=given, signal_handler_options=SignalHandlerOptions.NO)
        node = SegmenterNode(load)
    # RCLError of rclpy, for a wrong log level or parameter file, is a RuntimeError.
    except (RuntimeError, ValueError) as error:
        print(f"segmenter: {' '.join(str(error).split())}", file=sys.stderr)
        rclpy.try_shutdown()
        return 2
    executor = signals.executor = SingleThreadedExecutor()
    executor.add_node(node)

    async def start() -> None:
        if not await node.autostart():
            signals.exit_code, signals.shutdown_requested = 1, True

    if node.get_parameter("autostart").value:
        executor.create_task(start)
    else:
        node.get_logger().info("waiting to be configured (autostart is false)")
    while not signals.shutdown_requested:
        executor.spin_once()
    node.close()
    node.destroy_node()
    rclpy.try_shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    # Instead of `return`, because PyTorch needs a second or two to clean up, and cannot do so
    # while the engine's thread runs a network.
    os._exit(signals.exit_code)


if __name__ == "__main__":
    sys.exit(main())
