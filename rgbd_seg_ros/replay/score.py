# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Scores masks against a truth topic: by network, by phase, and against no fallback at all."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from rgbd_seg_ros.bag.reader import BagError
from rgbd_seg_ros.frames import NETWORKS, Frame, NetworkName
from rgbd_seg_ros.labels import LabelSet
from rgbd_seg_ros.metrics import ConfusionMatrix
from rgbd_seg_ros.replay.faults import Phase
from rgbd_seg_ros.replay.runner import ReplayResult

#: A true mask belongs to a mask when their stamps lie within this: depth may be stamped a little
#: after the color that the truth was made for.
TOLERANCE_NS = 20_000_000
#: A mask waits so long for its truth to come by; then it stays unscored.
PATIENCE_NS = 500_000_000

Mask = npt.NDArray[np.uint8]


@dataclass(eq=False)
class PhaseScore:
    """Scores of the masks stamped within one phase."""

    phase: Phase
    #: All masks of the phase.
    score: ConfusionMatrix
    #: The fused network with an empty partner, on the instants where the fallback served.
    without_fallback: ConfusionMatrix
    #: The fallback on those same instants.
    fallback: ConfusionMatrix
    networks: dict[NetworkName, int] = field(default_factory=lambda: dict.fromkeys(NETWORKS, 0))
    masks: int = 0


class Scorer:
    """Matches masks with true masks as both come by, and adds up.

    Args:
        labels: of the masks and the truth.
        phases: in bag time, see :meth:`rgbd_seg_ros.replay.faults.FaultSchedule.phases`.
        start_ns: receive time of the bag's first message.
        expect_truth: whether true masks will come by at all.
        on_match: is given every mask with its true mask, or with None when it has none.
    """

    def __init__(
        self,
        labels: LabelSet,
        phases: Sequence[Phase],
        start_ns: int,
        expect_truth: bool,
        on_match: Callable[[ReplayResult, Mask | None], None] = lambda made, truth: None,
    ) -> None:
        self._start_ns = start_ns
        self._expect_truth = expect_truth
        self._on_match = on_match
        self._truths: deque[Frame] = deque()
        self._waiting: deque[ReplayResult] = deque()
        self._has_truth = False

        def new() -> ConfusionMatrix:
            return ConfusionMatrix(len(labels))

        self.total = new()
        self.by_network = {name: new() for name in NETWORKS}
        self.phases = [PhaseScore(phase, new(), new(), new()) for phase in phases]
        #: Masks without a true mask of their stamp.
        self.unscored = 0

    @property
    def has_truth(self) -> bool:
        """Whether any mask has been scored."""
        return self._has_truth

    def add_truth(self, frame: Frame) -> None:
        """A true mask came by."""
        self._truths.append(frame)
        self._settle(frame.stamp_ns)

    def add_mask(self, made: ReplayResult) -> None:
        """A mask was made."""
        phase = self._phase(made)
        phase.masks += 1
        phase.networks[made.result.network] += 1
        self._waiting.append(made)
        self._settle(made.job.stamp_ns - PATIENCE_NS if self._expect_truth else None)

    def finish(self) -> None:
        """No more will come: score what still waits."""
        self._settle(None)

    def _settle(self, seen_until_ns: int | None) -> None:
        """Score every mask whose truth would have been seen by now."""
        while self._waiting:
            made = self._waiting[0]
            stamp_ns = made.job.stamp_ns
            if seen_until_ns is not None and seen_until_ns < stamp_ns + TOLERANCE_NS:
                exact = any(truth.stamp_ns == stamp_ns for truth in self._truths)
                if not exact:
                    return
            self._waiting.popleft()
            while len(self._truths) > 1 and self._truths[0].stamp_ns < stamp_ns - TOLERANCE_NS:
                self._truths.popleft()
            self._score(made, self._nearest(stamp_ns))

    def _nearest(self, stamp_ns: int) -> Frame | None:
        near = [(abs(t.stamp_ns - stamp_ns), i) for i, t in enumerate(self._truths)]
        if not near or min(near)[0] > TOLERANCE_NS:
            return None
        return self._truths[min(near)[1]]

    def _score(self, made: ReplayResult, truth: Frame | None) -> None:
        if truth is None:
            self.unscored += 1
            self._on_match(made, None)
            return
        self._has_truth = True
        labels = fitted(truth.array, made.result.labels.shape)
        phase = self._phase(made)
        matrices = [self.total, self.by_network[made.result.network], phase.score]
        if made.without_fallback is not None:
            _update(phase.without_fallback, labels, made.without_fallback.labels)
            matrices.append(phase.fallback)
        for matrix in matrices:
            _update(matrix, labels, made.result.labels)
        self._on_match(made, labels)

    def _phase(self, made: ReplayResult) -> PhaseScore:
        """The phase of the time at which a mask's frames arrived: faults go by that time."""
        t_s = (max(made.arrived_ns.values()) - self._start_ns) / 1e9
        for score in self.phases:
            if t_s < score.phase.to_s:
                return score
        return self.phases[-1]


def fitted(truth: Mask, shape: tuple[int, ...]) -> Mask:
    """A true mask at a mask's size, by nearest neighbor."""
    if truth.shape == shape:
        return truth
    size = (shape[1], shape[0])
    return np.asarray(cv2.resize(truth, size, interpolation=cv2.INTER_NEAREST), dtype=np.uint8)


def _update(matrix: ConfusionMatrix, truth: Mask, prediction: Mask) -> None:
    try:
        matrix.update(truth, prediction)
    except ValueError as error:
        raise BagError(f"the truth topic does not fit the bundle's label set: {error}") from error


def rounded(value: float) -> float | None:
    """For JSON, which has no NaN: four digits, or None."""
    return None if math.isnan(value) else round(value, 4)


def iou_table(matrix: ConfusionMatrix, classes: Iterable[str]) -> dict[str, Any]:
    """Class to IoU, None for a class in neither truth nor prediction."""
    return {name: rounded(float(iou)) for name, iou in zip(classes, matrix.iou, strict=True)}
