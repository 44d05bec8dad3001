# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Snapshots: input images and masks at a few times of a replay, for the report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np
import numpy.typing as npt

from rgbd_seg_ros.colorize import colorize
from rgbd_seg_ros.fallback import CoreConfig
from rgbd_seg_ros.inference import depth_image
from rgbd_seg_ros.labels import LabelSet
from rgbd_seg_ros.replay.faults import Phase
from rgbd_seg_ros.replay.runner import ReplayResult

Image = npt.NDArray[np.uint8]
#: Wider images are reduced to this width, so that the report stays small enough to email.
MAX_WIDTH_PX = 320
#: Number of snapshots of each phase, and of a bag with a single phase.
PER_PHASE, PER_BAG = 1, 4


@dataclass(eq=False)
class Snapshot:
    """The images at one time of a replay."""

    #: Bag time, seconds.
    t_s: float
    phase: str
    #: Network of the mask; empty if there is no mask.
    network: str = ""
    #: ``color``, ``depth``, ``mask``, ``truth`` and ``without_fallback`` (the mask
    #: of the fused network with a blank image), each H×W×3 RGB; None if missing.
    images: dict[str, Image | None] = field(default_factory=dict)


class SnapshotCollector:
    """Takes snapshots at times spread evenly over each phase.

    Args:
        phases: phases of the replay, in chronological order.
        labels: names and colors of the classes.
        config: configuration of the core, for the scale and range of depth.
        start_ns: receive time of the first message in the bag.
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
        self._snapshots: list[Snapshot] = []

    def add(self, result: ReplayResult, truth: Image | None) -> None:
        """Add a mask with its ground truth (H×W class ids), which is None if missing."""
        t_s = (max(result.arrived_ns.values()) - self._start_ns) / 1e9
        while self._wanted and t_s >= self._wanted[0][0]:
            self._choose(result, truth, t_s)
        self._last = (result, truth, t_s)

    def finish(self) -> list[Snapshot]:
        """All snapshots in chronological order; for a phase without masks, one without images."""
        while self._wanted:
            self._choose(None, None, self._wanted[0][0])
        return self._snapshots

    def _choose(self, result: ReplayResult | None, truth: Image | None, t_s: float) -> None:
        """Take the next wanted snapshot from this mask, or from the last one of its phase."""
        wanted_s, phase = self._wanted.pop(0)
        if result is not None and t_s < phase.to_s:
            self._snapshots.append(self._snapshot(result, truth, t_s, phase))
        elif self._last is not None and phase.from_s <= self._last[2] < phase.to_s:
            self._snapshots.append(self._snapshot(*self._last, phase))
        else:
            self._snapshots.append(Snapshot(wanted_s, phase.name))

    def _snapshot(
        self, result: ReplayResult, truth: Image | None, t_s: float, phase: Phase
    ) -> Snapshot:
        job, other = result.job, result.without_fallback
        images = {
            "color": None if job.rgb is None else job.rgb.array,
            "depth": depth_image(job, self._config),
            "mask": colorize(result.segmentation.labels, self._labels),
            "truth": None if truth is None else colorize(truth, self._labels),
            "without_fallback": None if other is None else colorize(other.labels, self._labels),
        }
        reduced = {
            name: None if image is None else _reduce(image) for name, image in images.items()
        }
        return Snapshot(t_s, phase.name, result.segmentation.network, reduced)


def _reduce(image: Image) -> Image:
    """A copy of an H×W×3 image, at most ``MAX_WIDTH_PX`` wide."""
    height, width = image.shape[:2]
    if width <= MAX_WIDTH_PX:
        return np.array(image, dtype=np.uint8)
    size = (MAX_WIDTH_PX, max(1, round(height * MAX_WIDTH_PX / width)))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)
