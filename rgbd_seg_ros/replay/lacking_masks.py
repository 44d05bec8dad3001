# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Masks that lack a stream of the recording, by number: told if nothing else explains them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator

from rgbd_seg_ros.fallback import Core
from rgbd_seg_ros.fallback.counters import FATES
from rgbd_seg_ros.frames import NETWORK_NAMES, STREAMS, NetworkName, Stream
from rgbd_seg_ros.replay.faults import FaultSchedule
from rgbd_seg_ros.replay.runner import ReplayResult

#: From this share of the masks on, the lack of a stream is told.
LACKING_SHARE = 0.1
#: Fewer masks are told only if they are half of all.
_MIN_LACKING = 3


class LackingMasks:
    """Counts the masks of each stream that is not in them.

    Args:
        core: of the replay.
        faults: of the replay; what they cause is not told.
        start_ns: receive time of the first message in the bag.
        networks: of the bundle.
    """

    def __init__(
        self,
        core: Core,
        faults: FaultSchedule,
        start_ns: int,
        networks: Collection[NetworkName] = NETWORK_NAMES,
    ) -> None:
        self._core, self._faults, self._start_ns = core, faults, start_ns
        self._networks = networks
        self._masks = 0
        self._lacking: Counter[Stream] = Counter()
        #: Of these, those that a fault may have caused, until its stream has recovered.
        self._by_fault: Counter[Stream] = Counter()

    def add(self, result: ReplayResult) -> None:
        """Count a mask."""
        self._masks += 1
        job, ready_s = result.job, (result.ready_ns - self._start_ns) / 1e9
        begin_s = ready_s - self._core.config.max_hold_s
        for stream in STREAMS[:2]:
            if (job.rgb if stream == "rgb" else job.depth) is None:
                self._lacking[stream] += 1
                self._by_fault[stream] += self._faults.may_affect(stream, begin_s, ready_s)

    def share(self, stream: Stream) -> float:
        """The share of the masks that lack a stream, for any reason."""
        return self._lacking[stream] / max(self._masks, 1)

    def lines(self, told: Collection[Stream]) -> Iterator[str]:
        """Yield a warning for each stream that many masks lack.

        Args:
            told: streams of which another line says why they are not used.
        """
        if self._core.config.force_network != "auto":
            return
        counters = self._core.counters
        remedy = "the timeline of --json and the report of --out show when and why"
        if "rgbd" not in self._networks:
            remedy = "the bundle has no network rgbd for both; choose one that has it (--bundle)"
        for stream in STREAMS[:2]:
            lacking = self._lacking[stream] - self._by_fault[stream]
            many = lacking >= LACKING_SHARE * self._masks
            enough = lacking >= min(_MIN_LACKING, max(self._masks / 2, 1))
            if stream in told or not counters.offered[stream] or not (many and enough):
                continue
            fates, unusable = counters.fates[stream], counters.unusable[stream]
            counts = {fate: fates[fate] for fate in FATES} | unusable
            reasons = ", ".join(f"{number} {name}" for name, number in counts.items() if number)
            yield (
                f"{stream}: {lacking} of {self._masks} masks lack it, although the recording has "
                f"{counters.offered[stream]} messages of it ({reasons or 'none used'}); {remedy}"
            )
