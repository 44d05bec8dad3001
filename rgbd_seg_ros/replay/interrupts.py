# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Ctrl-C during a replay: the first one ends it with complete outputs."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def interruptible() -> Iterator[Callable[[], int]]:
    """Catch the first SIGINT or SIGTERM; a second one raises KeyboardInterrupt.

    Yields a function that returns the number of the caught signal, or 0 if there was none.
    """
    caught = 0

    def handle(number: int, frame: Any) -> None:
        nonlocal caught
        if caught:
            raise KeyboardInterrupt
        caught = number

    if threading.current_thread() is not threading.main_thread():
        yield lambda: caught  # only the main thread may set handlers
        return
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, handle) for number in numbers}
    try:
        yield lambda: caught
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
