# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Counts how often a stream repeats the same image, as a driver that hangs does."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt


class RepeatCounter:
    """The number of exact repeats of the last image."""

    def __init__(self) -> None:
        #: The last image that was not a repeat, and a copy of its strided sample.
        self._image: npt.NDArray[Any] | None = None
        self._sample: npt.NDArray[Any] | None = None
        self._repeats = 0

    def add(self, image: npt.NDArray[Any], sample: npt.NDArray[Any]) -> int:
        """Take the next image and its strided sample; returns how many repeats it completes."""
        if self._is_repeated(image, sample):
            self._repeats += 1
        else:
            self._sample, self._image, self._repeats = sample.copy(), image, 0
        return self._repeats

    def _is_repeated(self, image: npt.NDArray[Any], sample: npt.NDArray[Any]) -> bool:
        """Whether every pixel is that of the last image; the sample decides for a moving scene."""
        if self._sample is None or self._image is None:
            return False
        nan = image.dtype.kind == "f"
        return np.array_equal(sample, self._sample, equal_nan=nan) and np.array_equal(
            image, self._image, equal_nan=nan
        )
