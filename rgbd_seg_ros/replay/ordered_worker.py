# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Does work in a second thread, one piece after another, while the first one goes on."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import Any

#: Number of pieces that wait at most, so that their images fit into the memory.
DEPTH = 8


class OrderedWorker:
    """Calls functions in the order submitted; a context manager that ends when all are done.

    An error ends the work: it is raised by the next :meth:`submit`, or at the end of the context.
    """

    def __init__(self) -> None:
        self._waiting: deque[tuple[Callable[..., object], tuple[Any, ...]]] = deque()
        self._condition = threading.Condition()
        self._closed = self._abandoned = False
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._work, name="ordered-worker", daemon=True)

    def __enter__(self) -> OrderedWorker:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._condition:
            self._closed = True
            self._abandoned = error is not None
            self._condition.notify_all()
        self._thread.join()
        if self._error is not None and error is None:
            raise self._error

    def submit(self, function: Callable[..., object], *arguments: Any) -> None:
        """Call a function after all that were submitted before; waits while too many wait."""
        with self._condition:
            self._condition.wait_for(lambda: len(self._waiting) < DEPTH or self._error)
            if self._error is not None:
                raise self._error
            self._waiting.append((function, arguments))
            self._condition.notify_all()

    def wait(self) -> None:
        """Return when all that was submitted is done, or has failed."""
        with self._condition:
            self._condition.wait_for(lambda: not self._waiting or self._error)

    def _work(self) -> None:
        while True:
            with self._condition:
                self._condition.wait_for(lambda: self._waiting or self._closed)
                if self._abandoned or not self._waiting:
                    return
                function, arguments = self._waiting[0]
            try:
                function(*arguments)
            except BaseException as error:
                with self._condition:
                    self._error = error
                    self._condition.notify_all()
                return
            with self._condition:
                self._waiting.popleft()
                self._condition.notify_all()
