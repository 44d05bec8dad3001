# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""SnapshotCollector: the few instants of a replay whose pictures the report shows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np
import numpy.typing as npt

from rgbd_seg_ros.colorize import colorize
from rgbd_seg_ros.fallback import CoreConfig
from rgbd_seg_ros.labels import LabelSet
from rgbd_seg_ros.replay.faults import Phase
from rgbd_seg_ros.replay.output_folder import depth_picture
from rgbd_seg_ros.replay.runner import ReplayResult

Image = npt.NDArray[np.uint8]
#: Wider pictures are shrunk: the report stays a file that can be mailed.
WIDTH_PX = 320
#: Instants shown of a phase; of one that is the whole bag, more.
PER_PHASE, PER_BAG = 1, 4


@dataclass(eq=False)
class Snapshot:
    """The pictures of one instant; one that there is not is None."""

    #: Bag time, seconds.
    t_s: float
    phase: str
    #: The network that made the mask; empty where there is none.
    network: str = ""
    pictures: dict[str, Image | None] = field(default_factory=dict)


class SnapshotCollector:
    """Keeps the pictures of instants spread evenly over each phase.

    Args:
        phases: in the order of their times.
        labels: names and colors of the classes.
        config: of the core, for the units of depth.
        start_ns: receive time of the bag's first message.
    """

    def __init__(
        self, phases: Sequence[Phase], labels: LabelSet, config: CoreConfig, start_ns: int
    ) -> None:
        self._labels = labels
        self._config = config
        self._start_ns = start_ns
        count = PER_PHASE if len(phases) > 1 else PER_BAG
        self._wanted: list[tuple[float, Phase]] = [
            (p.from_s + (i + 0.5) / count * (p.to_s - p.from_s), p)
            for p in phases
            for i in range(count)
        ]
        self._last: tuple[ReplayResult, Image | None, float] | None = None
        self._strips: list[Snapshot] = []

    def add(self, made: ReplayResult, truth: Image | None) -> None:
        """A mask was made, and its truth is known or there is none."""
        t_s = (max(made.arrived_ns.values()) - self._start_ns) / 1e9
        while self._wanted and t_s >= self._wanted[0][0]:
            self._choose(made, truth, t_s)
        self._last = (made, truth, t_s)

    def strips(self) -> list[Snapshot]:
        """In the order of time; a phase without masks has a strip without pictures."""
        while self._wanted:
            self._choose(None, None, self._wanted[0][0])
        return self._strips

    def _choose(self, made: ReplayResult | None, truth: Image | None, t_s: float) -> None:
        """Settle the first wanted instant with the mask at or after it, or the one before."""
        wanted_s, phase = self._wanted.pop(0)
        if made is not None and t_s < phase.to_s:
            self._strips.append(self._strip(made, truth, t_s, phase))
        elif self._last is not None and phase.from_s <= self._last[2] < phase.to_s:
            self._strips.append(self._strip(*self._last, phase))
        else:
            self._strips.append(Snapshot(wanted_s, phase.name))

    def _strip(
        self, made: ReplayResult, truth: Image | None, t_s: float, phase: Phase
    ) -> Snapshot:
        rgb = None if made.job.rgb is None else made.job.rgb.array
        fused = made.without_fallback
        mask = made.result.labels
        pictures = {
            "color": rgb,
            "depth": depth_picture(made.job, self._config),
            "mask": colorize(mask, self._labels),
            "truth": None if truth is None else colorize(truth, self._labels),
            "fused": None if fused is None else colorize(fused.labels, self._labels),
        }
        kept = {name: None if p is None else _shrunk(p) for name, p in pictures.items()}
        return Snapshot(t_s, phase.name, made.result.network, kept)


def _shrunk(picture: Image) -> Image:
    height, width = picture.shape[:2]
    if width <= WIDTH_PX:
        return np.array(picture, dtype=np.uint8)
    size = (WIDTH_PX, max(1, round(height * WIDTH_PX / width)))
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)
