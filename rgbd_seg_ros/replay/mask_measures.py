# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Measures of the masks of a replay: flicker at switches, consistency of networks, calibration."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from rgbd_seg_ros.fallback import Mode
from rgbd_seg_ros.frames import NETWORK_NAMES
from rgbd_seg_ros.labels import IGNORE_ID
from rgbd_seg_ros.replay.runner import ReplayResult

#: Masks that are further apart, in nanoseconds, are not compared: the scene has changed.
MAX_GAP_NS = 500_000_000
#: Bins of the confidence, as usual (Guo et al., "On Calibration of Modern Neural Networks",
#: ICML 2017, section 2).
BINS = 15

Mask = npt.NDArray[np.uint8]


class Flicker:
    """Share of pixels whose class changes from one mask to the next, at switches of the network.

    Masks are compared pixel by pixel, without motion compensation, as a robot sees them. What
    changes on average between masks of one network is subtracted.
    """

    def __init__(self) -> None:
        self._last: ReplayResult | None = None
        self._usual: list[float] = []
        self._switches: list[float] = []

    def add(self, result: ReplayResult) -> None:
        """Add the next mask."""
        last, self._last = self._last, result
        if last is None or not 0 < result.job.stamp_ns - last.job.stamp_ns <= MAX_GAP_NS:
            return
        before, after = last.segmentation, result.segmentation
        if before.labels.shape != after.labels.shape:
            return
        changed = _share(before.labels != after.labels)
        (self._usual if before.network == after.network else self._switches).append(changed)

    def summary(self) -> dict[str, Any]:
        """The key ``flicker`` of the summary; shares in 0..1, None without masks to compare."""
        usual, switches = _mean(self._usual), _mean(self._switches)
        excess = None if usual is None or switches is None else round(switches - usual, 4)
        return {
            "usual": usual,
            "at_switches": switches,
            "excess": excess,
            "switches": len(self._switches),
        }


class Consistency:
    """Share of pixels to which two networks give the same class, on the same fused frames."""

    def __init__(self) -> None:
        self._equal: defaultdict[str, list[float]] = defaultdict(list)
        self._frames = 0

    def add(self, result: ReplayResult) -> None:
        """Add a mask; it counts if the other networks were run on its frames as well."""
        if not result.others:
            return
        self._frames += 1
        masks = {result.segmentation.network: result.segmentation.labels}
        masks |= {name: other.labels for name, other in result.others.items()}
        names = [name for name in NETWORK_NAMES if name in masks]
        for a, b in itertools.combinations(names, 2):
            self._equal[f"{a}_{b}"].append(_share(masks[a] == masks[b]))

    def summary(self) -> dict[str, Any] | None:
        """The key ``consistency`` of the summary; None if nothing was compared."""
        if not self._frames:
            return None
        return {"frames": self._frames, **{k: _mean(v) for k, v in self._equal.items()}}


class Calibration:
    """Expected calibration error (ECE) of the confidence over labeled pixels."""

    def __init__(self) -> None:
        self._counts = np.zeros(BINS, np.int64)
        self._correct = np.zeros(BINS, np.int64)
        self._confidence = np.zeros(BINS)

    def update(self, truth: Mask, labels: Mask, confidence: Mask) -> None:
        """Add a mask.

        Args:
            truth: H×W class ids; ``IGNORE_ID`` is not counted.
            labels: H×W class ids.
            confidence: H×W, 0..255 for 0..1.
        """
        # One count of all pixels by right or wrong and by value, since there are only 512 of them.
        kinds = (truth == labels).astype(np.uint16)
        kinds <<= 8
        kinds |= confidence
        wrong, right = np.bincount(kinds[truth != IGNORE_ID], minlength=512).reshape(2, 256)
        values = np.arange(256)
        bins = np.minimum(values * BINS // 255, BINS - 1)
        np.add.at(self._counts, bins, wrong + right)
        np.add.at(self._correct, bins, right)
        np.add.at(self._confidence, bins, (wrong + right) * (values / 255))

    def merge(self, other: Calibration) -> None:
        """Add the pixels of another one."""
        self._counts += other._counts
        self._correct += other._correct
        self._confidence += other._confidence

    @property
    def ece(self) -> float | None:
        """Σ over the bins: share of the pixels × |accuracy - mean confidence|; None if empty."""
        total = self._counts.sum()
        if not total:
            return None
        return round(float(np.abs(self._correct - self._confidence).sum() / total), 4)


class Calibrations:
    """The calibration of each network, and in each mode."""

    def __init__(self) -> None:
        self._by_network: defaultdict[str, Calibration] = defaultdict(Calibration)
        self._by_mode: defaultdict[str, Calibration] = defaultdict(Calibration)

    def update(self, result: ReplayResult, truth: Mask) -> None:
        """Add a mask and its ground truth of equal size."""
        mask = result.segmentation
        counts = Calibration()
        counts.update(truth, mask.labels, mask.confidence)
        self._by_network[mask.network].merge(counts)
        self._by_mode[result.job.mode.value].merge(counts)

    def summary(self) -> dict[str, dict[str, float]]:
        """Keys ``ece_by_network`` and ``ece_by_mode``: networks and modes with scored masks."""
        return {
            "ece_by_network": _eces(self._by_network, NETWORK_NAMES),
            "ece_by_mode": _eces(self._by_mode, [mode.value for mode in Mode]),
        }


def _eces(calibrations: Mapping[str, Calibration], names: Iterable[str]) -> dict[str, float]:
    found = {name: calibrations[name].ece for name in names if name in calibrations}
    return {name: ece for name, ece in found.items() if ece is not None}


def _share(found: npt.NDArray[np.bool_]) -> float:
    return np.count_nonzero(found) / found.size


def _mean(values: list[float]) -> float | None:
    return round(float(np.mean(values)), 4) if values else None
