# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""`ros2 run rgbd_seg_ros segmenter`: runs the node and shuts it down within two seconds."""

from __future__ import annotations

# Nothing else is imported here: a signal that arrives while rclpy and OpenCV are imported, which
# takes half a second, must already find the handler.
import contextlib
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rclpy.executors import Executor

    from rgbd_seg_ros.inference import Engine

#: Time for an orderly shutdown after a signal; then the process exits immediately. The rest of
#: the two seconds is for the operating system to end the process.
SHUTDOWN_TIMEOUT_S = 1.8
STDERR = 2


class SignalHandler:
    """Shuts the process down on SIGINT and SIGTERM, within :data:`SHUTDOWN_TIMEOUT_S`.

    A thread waits for the signals, so the timeout holds no matter what the main thread is doing.
    Ctrl-C arrives twice, from the terminal and from the launch file; the second one is ignored.
    Until :attr:`executor` is set, there is nothing to shut down, and the process exits at once.
    """

    def __init__(self) -> None:
        self.exit_code = 0
        #: Checked by the main thread between two callbacks.
        self.shutdown_requested = False
        #: Runs the node; woken by a signal.
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
        if self.executor is None:
            self._exit(b"segmenter: stopped while starting\n")
        else:
            self.executor.create_task(lambda: None)
            time.sleep(SHUTDOWN_TIMEOUT_S)
            self._exit(b"segmenter: shutdown timed out, exiting\n")

    def _exit(self, message: bytes) -> None:
        with contextlib.suppress(OSError):
            if select.select([], [STDERR], [], 0)[1]:  # skip the message if writing would block
                os.write(STDERR, message)
        os._exit(self.exit_code)


def main(
    args: Sequence[str] | None = None,
    load: Callable[[str, str, str, int], Engine] | None = None,
) -> int:
    """Run the node until SIGINT, SIGTERM or a failed start; return the exit code.

    Args:
        args: command line; None for the process's own.
        load: loads the engine from bundle, device, backend and threads; None for the real one.
    """
    signals = SignalHandler()
    # A callback waits at most this long for the thread that computes a mask. Python's default of
    # 5 ms equals all other latency that the node adds.
    sys.setswitchinterval(0.0005)
    from rgbd_seg_ros.command_line import one_line, set_library_defaults

    set_library_defaults()
    given = None if args is None else list(args)
    try:
        import rclpy
        from rclpy.exceptions import ParameterException
        from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
        from rclpy.signals import SignalHandlerOptions

        from rgbd_seg_ros.inference import load_engine
        from rgbd_seg_ros.ros.node import SegmenterNode
    except ImportError as error:
        print(
            f"segmenter: {one_line(error)}; run `source /opt/ros/<distro>/setup.bash` first, and "
            "see `rgbd_seg doctor`",
            file=sys.stderr,
        )
        return 2
    try:
        # rclpy's own handlers would shut the context down at once, before the node can log and
        # publish its last messages.
        rclpy.init(args=given, signal_handler_options=SignalHandlerOptions.NO)
        node = SegmenterNode(load or load_engine)
    # RCLError of rclpy, for a wrong log level or parameter file, is a RuntimeError.
    except (RuntimeError, ValueError, ParameterException) as error:
        print(f"segmenter: {one_line(error)}", file=sys.stderr)
        rclpy.try_shutdown()
        return 2
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    signals.executor = executor

    async def start() -> None:
        if not await node.autostart():
            signals.exit_code, signals.shutdown_requested = 1, True

    if node.get_parameter("autostart").value:
        executor.create_task(start)
    else:
        node.get_logger().info("waiting to be configured (autostart is false)")
    while not signals.shutdown_requested:
        try:
            executor.spin_once()
        except ExternalShutdownException:
            break
        # Some messages raise inside rclpy itself: a /clock of negative time, a parameter of an
        # unknown type. They must not end the node.
        except Exception as error:
            node.report_error(error)
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
