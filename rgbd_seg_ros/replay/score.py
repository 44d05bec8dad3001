# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Scores masks against ground truth: by network, by phase, with and without fallback."""

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
from rgbd_seg_ros.fallback import Mode
from rgbd_seg_ros.frames import NETWORK_NAMES, Frame, NetworkName, same_aspect
from rgbd_seg_ros.labels import LabelSet
from rgbd_seg_ros.metrics import ConfusionMatrix
from rgbd_seg_ros.replay.fault_response import NETWORK_STREAMS
from rgbd_seg_ros.replay.faults import Phase
from rgbd_seg_ros.replay.mask_measures import Calibrations
from rgbd_seg_ros.replay.runner import ReplayResult
from rgbd_seg_ros.replay.truth_folder import TruthFolder

#: A ground-truth mask belongs to a mask if their stamps differ by at most this much: ground truth
#: is stamped like color, and depth may be stamped a little later.
TOLERANCE_NS = 20_000_000
#: Number of masks without ground truth whose stamps are named.
MAX_NAMED = 10
#: Largest number of parts of a recording that are scored on their own, and their least duration.
MAX_PARTS, MIN_PART_S = 100, 0.5
#: A mask waits this long for its ground truth; after that it stays unscored.
PATIENCE_NS = 500_000_000

Mask = npt.NDArray[np.uint8]


@dataclass(eq=False)
class PhaseScore:
    """Scores of the masks of one phase."""

    phase: Phase
    #: All masks of the phase.
    score: ConfusionMatrix
    #: The fused network with a blank image, for masks of a fallback network.
    without_fallback: ConfusionMatrix
    #: The fallback network, for the same masks.
    fallback: ConfusionMatrix
    networks: dict[NetworkName, int] = field(
        default_factory=lambda: dict.fromkeys(NETWORK_NAMES, 0)
    )
    masks: int = 0

    def summary(self, classes: Sequence[str]) -> dict[str, Any]:
        """One entry of ``phases`` in the summary."""
        return {
            "name": self.phase.name,
            "streams": list(self.phase.streams),
            "from": round(self.phase.from_s, 3),
            "to": round(self.phase.to_s, 3),
            "masks": self.masks,
            "networks": self.networks,
            "miou": rounded(self.score.miou),
            "miou_fallback": rounded(self.fallback.miou),
            "miou_without_fallback": rounded(self.without_fallback.miou),
            "iou": iou_table(self.score, classes) if self.score.counts.any() else None,
        }

    def wrong(self, fuses: bool) -> int:
        """Masks that used a stream of which the fault has left nothing, or not a healthy one.

        Args:
            fuses: whether the two streams can be fused; if not, one of them is not used.
        """
        used = [(set(NETWORK_STREAMS[name]), count) for name, count in self.networks.items()]
        blind, healthy = set(self.phase.blind), {"rgb", "depth"} - set(self.phase.streams)
        return sum(
            count for streams, count in used if streams & blind or (fuses and healthy - streams)
        )


class Scorer:
    """Matches masks with ground-truth masks as they arrive, and accumulates the scores.

    Args:
        labels: label set of the masks and the ground truth.
        phases: in bag time, see :meth:`rgbd_seg_ros.replay.faults.FaultSchedule.phases`.
        start_ns: receive time of the first message in the bag.
        expect_truth: whether ground truth is expected to arrive.
        on_match: called with every mask and its ground truth, which is None if missing.
        window_ns: largest difference between the stamps of a mask and its ground truth.
        folder: ground truth to use instead of what :meth:`add_truth` receives.
        class_map: translates the class ids of the ground truth.
    """

    def __init__(
        self,
        labels: LabelSet,
        phases: Sequence[Phase],
        start_ns: int,
        expect_truth: bool,
        on_match: Callable[[ReplayResult, Mask | None], None] = lambda result, truth: None,
        window_ns: int = TOLERANCE_NS,
        folder: TruthFolder | None = None,
        class_map: Callable[[Mask], Mask] | None = None,
    ) -> None:
        self._labels = labels
        self._start_ns = start_ns
        self._expect_truth = expect_truth
        self._on_match = on_match
        self._window_ns = window_ns
        self._folder = folder
        self._class_map = class_map
        self._truths: deque[Frame] = deque()
        self._waiting: deque[ReplayResult] = deque()
        self._has_truth = False

        def new() -> ConfusionMatrix:
            return ConfusionMatrix(len(labels))

        self.total = new()
        self._calibrations = Calibrations()
        self.by_network = {name: new() for name in NETWORK_NAMES}
        self._by_mode = {mode.value: new() for mode in Mode}
        self._over_time = ScoreOverTime(len(labels), phases[-1].to_s)
        self.phases = [PhaseScore(phase, new(), new(), new()) for phase in phases]
        #: One-line warnings.
        self.notes: list[str] = []
        #: Number of masks without ground truth.
        self.unscored = 0
        self._unscored_stamps: list[int] = []

    @property
    def has_truth(self) -> bool:
        """Whether any mask has been scored."""
        return self._has_truth

    def add_truth(self, frame: Frame) -> None:
        """Add a ground-truth mask."""
        self._truths.append(frame)
        self._score_waiting(frame.stamp_ns)

    def add_mask(self, result: ReplayResult) -> None:
        """Add a mask."""
        phase = self._phase(result)
        phase.masks += 1
        phase.networks[result.segmentation.network] += 1
        self._waiting.append(result)
        waits = self._expect_truth and self._folder is None
        patience_ns = max(PATIENCE_NS, self._window_ns)
        self._score_waiting(result.job.stamp_ns - patience_ns if waits else None)

    def finish(self) -> None:
        """Score the masks that still wait; nothing may be added after this."""
        self._score_waiting(None)

    def summary(self, baseline: Scorer | None = None) -> dict[str, Any]:
        """The keys of the summary that contain scores, see docs/replay.md.

        Args:
            baseline: scores of the same recording without faults, in the same phases.
        """
        scored, classes = self.has_truth, self._labels.classes
        matrices = {
            name: matrix
            for name, matrix in self.by_network.items()
            if scored and any(phase.networks[name] for phase in self.phases)
        }
        fuses = any(phase.networks["rgbd"] for phase in self.phases)
        modes = {name: matrix for name, matrix in self._by_mode.items() if matrix.counts.any()}
        return {
            "miou": rounded(self.total.miou) if scored else None,
            "miou_all": rounded(self.total.miou_all) if scored else None,
            "iou": iou_table(self.total, classes) if scored else None,
            "miou_by_mode": {n: rounded(m.miou) for n, m in modes.items()},
            "iou_by_mode": {n: iou_table(m, classes) for n, m in modes.items()},
            "miou_by_network": {n: rounded(m.miou) for n, m in matrices.items()},
            "iou_by_network": {n: iou_table(m, classes) for n, m in matrices.items()},
            **self._calibrations.summary(),
            "unscored": self.unscored if self._expect_truth else None,
            "unscored_stamps_ns": self._unscored_stamps if self._expect_truth else None,
            "phases": [
                {
                    **phase.summary(classes),
                    "miou_without_faults": rounded(baseline.phases[i].score.miou)
                    if baseline
                    else None,
                }
                for i, phase in enumerate(self.phases)
            ],
            "miou_without_faults": rounded(baseline.total.miou) if baseline else None,
            "miou_fallback": rounded(_merged(p.fallback for p in self.phases).miou),
            "miou_without_fallback": rounded(
                _merged(p.without_fallback for p in self.phases).miou
            ),
            "masks_by_wrong_network": sum(phase.wrong(fuses) for phase in self.phases),
            "miou_over_time": self._over_time.summary(),
            "confusion": self.total.counts.tolist() if scored else None,
        }

    def _score_waiting(self, seen_until_ns: int | None) -> None:
        """Score each mask whose ground truth must have arrived by then; all masks if None."""
        while self._waiting:
            result = self._waiting[0]
            stamp_ns = result.job.stamp_ns
            if seen_until_ns is not None and seen_until_ns < stamp_ns + self._window_ns:
                exact = any(truth.stamp_ns == stamp_ns for truth in self._truths)
                if not exact:
                    return
            self._waiting.popleft()
            while len(self._truths) > 1 and self._truths[0].stamp_ns < stamp_ns - self._window_ns:
                self._truths.popleft()
            self._score(result, self._nearest(stamp_ns))

    def _nearest(self, stamp_ns: int) -> Frame | None:
        if self._folder is not None:
            return self._folder.nearest(stamp_ns, self._window_ns)
        near = [(abs(t.stamp_ns - stamp_ns), i) for i, t in enumerate(self._truths)]
        if not near or min(near)[0] > self._window_ns:
            return None
        return self._truths[min(near)[1]]

    def _score(self, result: ReplayResult, truth: Frame | None) -> None:
        if truth is None:
            self.unscored += 1
            if len(self._unscored_stamps) < MAX_NAMED:
                self._unscored_stamps.append(result.job.stamp_ns)
            self._on_match(result, None)
            return
        self._has_truth = True
        segmentation = result.segmentation
        array = truth.array if self._class_map is None else self._class_map(truth.array)
        labels = self._resized(array, segmentation.labels.shape)
        phase = self._phase(result)
        matrices = [
            self.total,
            self.by_network[segmentation.network],
            self._by_mode[result.job.mode.value],
            self._over_time.matrix(self._seconds(result)),
            phase.score,
        ]
        if result.without_fallback is not None:
            count_pixels(phase.without_fallback, labels, result.without_fallback.labels)
            matrices.append(phase.fallback)
        counts = ConfusionMatrix(len(self._labels))
        count_pixels(counts, labels, segmentation.labels)
        for matrix in matrices:
            matrix.merge(counts)
        self._calibrations.update(result, labels)
        self._on_match(result, labels)

    def _resized(self, truth: Mask, shape: tuple[int, ...]) -> Mask:
        if truth.shape == shape:
            return truth
        sizes = f"{truth.shape[1]}×{truth.shape[0]} pixels, the masks have {shape[1]}×{shape[0]}"
        if not same_aspect((truth.shape[0], truth.shape[1]), (shape[0], shape[1])):
            raise BagError(
                f"the ground truth has {sizes}, which is another aspect ratio; use the ground "
                "truth of this camera"
            )
        if not self.notes:
            self.notes.append(f"the ground truth has {sizes}; it is resized by nearest neighbor")
        return resize_mask(truth, shape)

    def _seconds(self, result: ReplayResult) -> float:
        """When the last frame of a mask arrived, seconds from the start of the bag."""
        return (max(result.arrived_ns.values()) - self._start_ns) / 1e9

    def _phase(self, result: ReplayResult) -> PhaseScore:
        """The phase in which a mask's frames arrived, since faults depend on the receive time."""
        t_s = self._seconds(result)
        for score in self.phases:
            if t_s < score.phase.to_s:
                return score
        return self.phases[-1]


class ScoreOverTime:
    """The mIoU of successive parts of a recording, all of equal duration.

    Args:
        num_classes: number of classes.
        duration_s: of the recording, seconds.
    """

    def __init__(self, num_classes: int, duration_s: float) -> None:
        self._num_classes = num_classes
        self._step_s = max(duration_s / MAX_PARTS, MIN_PART_S)
        self._parts: dict[int, ConfusionMatrix] = {}

    def matrix(self, t_s: float) -> ConfusionMatrix:
        """The matrix of the part that contains a time in seconds."""
        part = min(max(int(t_s / self._step_s), 0), MAX_PARTS)
        return self._parts.setdefault(part, ConfusionMatrix(self._num_classes))

    def summary(self) -> list[list[float | None]]:
        """For each part with scored masks: its middle in seconds, and its mIoU."""
        return [
            [round((part + 0.5) * self._step_s, 3), rounded(matrix.miou)]
            for part, matrix in sorted(self._parts.items())
        ]


def _merged(matrices: Iterable[ConfusionMatrix]) -> ConfusionMatrix:
    first, *others = matrices
    total = ConfusionMatrix(first.num_classes)
    for matrix in (first, *others):
        total.merge(matrix)
    return total


def resize_mask(mask: Mask, shape: tuple[int, ...]) -> Mask:
    """A mask (H×W class ids) resized to ``shape`` by nearest neighbor."""
    if mask.shape == shape:
        return mask
    size = (shape[1], shape[0])
    return np.asarray(cv2.resize(mask, size, interpolation=cv2.INTER_NEAREST), dtype=np.uint8)


def count_pixels(matrix: ConfusionMatrix, truth: Mask, prediction: Mask) -> None:
    """Add a mask and its ground truth of equal size to a matrix.

    Raises:
        BagError: a class id of the ground truth is not in the label set.
    """
    try:
        matrix.update(truth, prediction)
    except ValueError as error:
        raise BagError(
            f"the ground truth does not match the label set of the bundle: {error}"
        ) from error


def rounded(value: float) -> float | None:
    """A score with four digits; None instead of NaN, which JSON does not have."""
    return None if math.isnan(value) else round(value, 4)


def iou_table(matrix: ConfusionMatrix, classes: Iterable[str]) -> dict[str, Any]:
    """Map from class to IoU; None for a class in neither ground truth nor prediction."""
    return {name: rounded(float(iou)) for name, iou in zip(classes, matrix.iou, strict=True)}
