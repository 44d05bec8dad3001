# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Checks of the images of a dataset, in the same words whether they are prepared or trained on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from rgbd_seg_ros.depth import PLAUSIBLE_M, fitting_units
from training.options import UsageError

#: Frames whose depth is checked, spread over a dataset.
SAMPLED = 12


def sampled(count: int) -> list[int]:
    """Indices of up to twelve of ``count`` frames, spread evenly."""
    return [int(i) for i in np.unique(np.linspace(0, count - 1, SAMPLED).astype(int))]


def size_text(shape: Sequence[int]) -> str:
    """An image's shape (height, width, …) as ``WIDTH×HEIGHT``."""
    return f"{shape[1]}×{shape[0]}"


def check_sizes(where: str, **images: npt.NDArray[np.generic]) -> None:
    """Check that the images of a frame have one size.

    Args:
        where: the dataset and the frame, which start the message.
        images: the images by kind, H×W or H×W×C.

    Raises:
        UsageError: the sizes differ.
    """
    if len({image.shape[:2] for image in images.values()}) > 1:
        seen = ", ".join(f"{kind} {size_text(image.shape)}" for kind, image in images.items())
        raise UsageError(
            f"{where}: sizes differ ({seen}); align depth to color and label the pixels of the "
            "color image"
        )


def check_depth(
    where: str,
    depths_m: Sequence[npt.NDArray[np.float32]],
    unit: float,
    option: str,
    plausible_m: tuple[float, float] = PLAUSIBLE_M,
) -> None:
    """Check that depth is there and that its median is plausible.

    Args:
        where: the dataset, which starts the message.
        depths_m: H×W meters of some frames, NaN invalid.
        unit: meters per unit with which they were read; 0 if it cannot be set.
        option: how to set the unit, for example ``--depth-unit {}``.
        plausible_m: range of the median in meters.

    Raises:
        UsageError: no valid depth, or a median outside the range; the message names units that
            would fit.
    """
    depth = np.concatenate([d[::4, ::4].ravel() for d in depths_m])
    valid = depth[np.isfinite(depth)]
    if not valid.size:
        raise UsageError(
            f"{where}: no valid depth in {len(depths_m)} sampled frames; 0, NaN and 65535 mean "
            "invalid, so are these the right files?"
        )
    median, (low, high) = float(np.median(valid)), plausible_m
    if low <= median <= high:
        return
    hint = "is it another kind of depth?"
    if unit:
        hint = f"wrong unit? try {option.format(fitting_units(median, unit, plausible_m))}"
    raise UsageError(
        f"{where}: median depth of {len(depths_m)} sampled frames is {median:.4g} m, "
        f"outside {low:g}..{high:g} m: {hint}"
    )
