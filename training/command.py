# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Ctrl-C and SIGTERM ask a run to stop at the end of its step; a later one stops it at once."""

from __future__ import annotations

import signal
import sys
import time
from types import FrameType
from typing import Any

from training import distributed

#: Under torchrun one Ctrl-C reaches a rank twice, from the terminal and from its parent.
SAME_REQUEST_S = 2.0


class Interrupt:
    """Within the block signals set :attr:`asked`; afterward the old handlers are back."""

    def __init__(self) -> None:
        self.asked = False
        self._asked_at = 0.0
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Interrupt:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _handle(self, number: int, _: FrameType | None) -> None:
        if self.asked:
            if time.monotonic() - self._asked_at > SAME_REQUEST_S:
                raise KeyboardInterrupt
            return
        self.asked, self._asked_at = True, time.monotonic()
        if distributed.is_main():
            print("stopping after this step, then saving …", file=sys.stderr, flush=True)
