# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""How alike two networks' stage maps are (linear CKA), and how their values are spread."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from rgbd_seg_ros.models.network import resize


class LinearCKA:
    """Linear centred kernel alignment (arXiv 1905.00414, eq. 6) of two maps, pixel by pixel.

    ‖YᵀX‖²_F / (‖XᵀX‖_F ‖YᵀY‖_F) over centred X (N×p) and Y (N×q), whose N rows are the pixels of
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
            centred = self._sums[a + b] - torch.outer(self._sums[a], self._sums[b]) / self._count
            return centred.square().sum()

        return float(squared("x", "y") / (squared("x", "x").sqrt() * squared("y", "y").sqrt()))


class Histogram:
    """Counts of a map's values; its range is fixed by the first batch."""

    def __init__(self, bins: int = 100) -> None:
        self.counts = np.zeros(bins, dtype=np.int64)
        self.edges: npt.NDArray[np.float64] = np.zeros(0)

    def update(self, values: Tensor) -> None:
        """Values beyond the range of the first batch's 0.1 … 99.9 % count at its ends."""
        array = values.flatten().double().cpu().numpy()
        if not len(self.edges):
            low, high = np.percentile(array, (0.1, 99.9))
            self.edges = np.linspace(low, max(high, low + 1e-6), len(self.counts) + 1)
        low, high = self.edges[0], self.edges[-1]
        # By range, not by edges: NumPy would search every value's place among those.
        self.counts += np.histogram(array.clip(low, high), len(self.counts), (low, high))[0]

    @property
    def density(self) -> npt.NDArray[np.float64]:
        """Share of the values per unit, so that its integral is 1."""
        width = np.diff(self.edges)
        return self.counts / max(1, self.counts.sum()) / width

    def to_json(self) -> dict[str, list[float]]:
        """Edges and counts."""
        return {"edges": self.edges.round(5).tolist(), "counts": self.counts.tolist()}
