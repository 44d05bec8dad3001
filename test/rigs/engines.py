# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Engines that replace the networks in tests."""

from __future__ import annotations

import threading
from typing import Any, ClassVar

import numpy as np

from rgbd_seg_ros.labels import INDOOR16, LabelSet


class FakeEngine:
    """The attributes of :class:`rgbd_seg_ros.inference.Engine`; subclasses compute the masks."""

    labels: LabelSet = INDOOR16
    available: tuple[str, ...] = ("rgbd", "rgb", "depth")
    need_intrinsics: tuple[str, ...] = ()
    device = "fake"
    description = "rgbd: a fake"
    memory_mb = None
    sha256: ClassVar = {"rgbd": "f" * 64}

    def estimate_gravity(self, depth: Any, intrinsics: Any) -> Any:
        """Only called if ``need_intrinsics`` names a network."""
        raise NotImplementedError


class NetworkIdEngine(FakeEngine):
    """An engine whose masks are filled with the index of their network."""

    def __init__(self) -> None:
        # Importing it takes a second, after which the first mask would be too old.
        from rgbd_seg_ros.engine import Segmentation

        self._segmentation = Segmentation
        self.calls: list[dict[str, Any]] = []
        #: Cleared by a test to keep the engine busy with a mask.
        self.may_finish = threading.Event()
        self.may_finish.set()
        #: Raised by the next calls.
        self.failures: list[Exception] = []

    def __call__(
        self,
        rgb: Any = None,
        depth: Any = None,
        intrinsics: Any = None,
        gravity: Any = None,
        *,
        size: tuple[int, int],
        network: str,
    ) -> Any:
        self.calls.append(
            {"rgb": rgb, "depth": depth, "intrinsics": intrinsics, "gravity": gravity}
        )
        self.may_finish.wait(30)
        if self.failures:
            raise self.failures.pop()
        labels = np.full(size, self.available.index(network), np.uint8)
        return self._segmentation(labels, np.full(size, 200, np.uint8), network, {})
