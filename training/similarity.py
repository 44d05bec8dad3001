# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""How alike two networks' stage maps are (linear CKA), and how their values are spread."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from rgbd_seg_ros.bundle import TrainedNetwork
from rgbd_seg_ros.models.network import resize
from training.scoring import Pictures, prepare


def stage_maps(network: TrainedNetwork, pictures: Pictures) -> dict[str, Tensor]:
    """B×C×h×w by name: the four stages and, of a split network, the two halves they end in."""
    record, module = network.record, network.module
    features = module(*prepare(pictures, record.spec.modality, record.preprocess, False)).features
    maps = {f"stage {n}": values for n, values in enumerate(features, start=1)}
    if record.spec.split:
        halves = module.split(module.projection(features[-1]))
        maps |= zip(("invariant half", "specific half"), halves, strict=True)
    return maps


class LinearCKA:
    """Linear centerd kernel alignment (arXiv 1905.00414, eq. 6) of two maps, pixel by pixel.

    ‖YᵀX‖²_F / (‖XᵀX‖_F ‖YᵀY‖_F) over centerd X (N×p) and Y (N×q), whose N rows are the pixels of
    all pictures. Sums are kept in float64, so any number of batches fits in memory.
    """

    def __init__(self) -> None:
        self._count = 0
        self._sums: dict[str, Tensor] = {}

    def update(self, x: Tensor, y: Tensor) -> None:
        """Two B×C×h×w; the finer map is resized to the coarser one's size."""
        size = (min(x.shape[2], y.shape[2]), min(x.shape[3], y.shape[3]))
        rows = {
            name: resize(v.float(), size).permute(0, 2, 3, 1).flatten(0, 2).double()
            for name, v in (("x", x), ("y", y))
        }
        self._count += len(rows["x"])
        for name, v in rows.items():
            self._add(name, v.sum(dim=0))
        for a, b in (("x", "x"), ("y", "y"), ("x", "y")):
            self._add(a + b, rows[a].T @ rows[b])

    def _add(self, key: str, value: Tensor) -> None:
        self._sums[key] = self._sums[key] + value if key in self._sums else value

    @property
    def value(self) -> float:
        """From 0 (no linear relation) to 1 (equal up to rotation and scale); NaN if constant."""
        if not self._count:
            return float("nan")

        def squared(a: str, b: str) -> Tensor:
            centerd = self._sums[a + b] - torch.outer(self._sums[a], self._sums[b]) / self._count
            return centerd.square().sum()

        return float(squared("x", "y") / (squared("x", "x").sqrt() * squared("y", "y").sqrt()))


def value_ranges(seen: Iterable[Mapping[str, Tensor]]) -> dict[str, tuple[float, float]]:
    """Of each map's name: from the lowest 0.1 % to the highest 99.9 % quantile that was seen."""
    ranges: dict[str, tuple[float, float]] = {}
    for maps in seen:
        for name, values in maps.items():
            quantiles = np.percentile(values.double().cpu().numpy(), (0.1, 99.9))
            low, high = ranges.get(name, quantiles)
            ranges[name] = float(min(low, quantiles[0])), float(max(high, quantiles[1]))
    return ranges


class Histogram:
    """Counts of a map's values between two bounds, and of those below and above."""

    def __init__(self, low: float, high: float, bins: int = 100) -> None:
        self.edges = np.linspace(low, max(high, low + 1e-6), bins + 1)
        self.counts = np.zeros(bins, dtype=np.int64)
        self.below = self.above = 0

    def update(self, values: Tensor) -> None:
        """Counts every value once."""
        array = values.flatten().double().cpu().numpy()
        low, high = self.edges[0], self.edges[-1]
        self.below += int((array < low).sum())
        self.above += int((array > high).sum())
        # By range, not by edges: NumPy would search every value's place among those.
        self.counts += np.histogram(array, len(self.counts), (low, high))[0]

    @property
    def density(self) -> npt.NDArray[np.float64]:
        """Share of all values per unit; its integral is the share that is within the bounds."""
        total = self.counts.sum() + self.below + self.above
        return self.counts / max(1, total) / np.diff(self.edges)

    def to_json(self) -> dict[str, Any]:
        """Edges, counts between them and beyond them."""
        return {
            "edges": self.edges.round(5).tolist(),
            "counts": self.counts.tolist(),
            "below": self.below,
            "above": self.above,
        }
