# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Reads ahead: a thread fetches the next items while the current one is processed."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Generator, Iterable
from typing import TypeVar

Item = TypeVar("Item")

#: Number of items that wait at most, so that a recording of any length fits into the memory.
DEPTH = 8


def read_ahead(items: Iterable[Item], depth: int = DEPTH) -> Generator[Item, None, None]:
    """The same items in the same order, fetched by a thread of their own.

    An error while fetching is raised here, after the items before it. If the generator is closed
    early, the thread ends after the item that it is fetching.

    Args:
        items: iterated only by the thread.
        depth: largest number of items that wait, at least 1.
    """
    waiting: deque[Item] = deque()
    errors: list[BaseException] = []
    condition = threading.Condition()
    ended = closed = False

    def fetch() -> None:
        nonlocal ended
        try:
            for item in items:
                with condition:
                    condition.wait_for(lambda: closed or len(waiting) < depth)
                    if closed:
                        break
                    waiting.append(item)
                    condition.notify_all()
        except BaseException as error:
            errors.append(error)
        finally:
            with condition:
                ended = True
                condition.notify_all()

    thread = threading.Thread(target=fetch, name="read-ahead", daemon=True)
    thread.start()
    try:
        while True:
            with condition:
                condition.wait_for(lambda: waiting or ended)
                if not waiting:
                    break
                item = waiting.popleft()
                condition.notify_all()
            yield item
        if errors:
            raise errors[0]
    finally:
        with condition:
            closed = True
            condition.notify_all()
        thread.join()
