# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The share of recent masks that are fused, so that the mode promises no more than the masks."""

from __future__ import annotations

from collections import deque

from rgbd_seg_ros.fallback.modes import Mode
from rgbd_seg_ros.fallback.pairing import StreamStatus
from rgbd_seg_ros.fallback.streams import Streams
from rgbd_seg_ros.frames import NetworkName

#: Number of jobs over which the share is computed: one second at 30 Hz.
WINDOW = 30
#: Below the first share the mode is no longer RGBD; above the second it is RGBD again.
LOW, HIGH = 0.4, 0.6


class FusedShare:
    """Counts fused jobs among the last 30 that were handed out while both streams were OK."""

    def __init__(self) -> None:
        self._networks: deque[NetworkName] = deque(maxlen=WINDOW)
        #: Whether most masks use one stream only, although both are OK.
        self.is_low = False

    @property
    def value(self) -> float | None:
        """The share, 0..1; None before 30 jobs."""
        full = len(self._networks) == WINDOW
        return self._networks.count("rgbd") / WINDOW if full else None

    @property
    def most_alone(self) -> NetworkName:
        """The network that computes most of the masks that are not fused."""
        depth, rgb = self._networks.count("depth"), self._networks.count("rgb")
        return "depth" if depth > rgb else "rgb"

    def add(self, network: NetworkName) -> None:
        """Count one job."""
        self._networks.append(network)
        share = self.value
        if share is not None:
            self.is_low = share < (HIGH if self.is_low else LOW)

    def clear(self) -> None:
        """Start over, because a stream is lost or has returned."""
        self._networks.clear()
        self.is_low = False


def best_mode(streams: Streams, status: StreamStatus, share: FusedShare) -> tuple[Mode, str]:
    """The best mode that streams and masks allow, and the reason for a change to it.

    ``share`` starts over if the streams do not allow fusion.
    """
    mode = streams.possible_mode(status)
    if mode is not Mode.RGBD:
        share.clear()
        return mode, streams.degradation or "recovered"
    if not share.is_low:
        return mode, "recovered"
    alone = Mode.RGB_ONLY if share.most_alone == "rgb" else Mode.DEPTH_ONLY
    return alone, f"only {share.value or 0:.0%} of the masks are fused"
