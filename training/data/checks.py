# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Checks of the images of a dataset, in the same words whether they are prepared or trained on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from rgbd_seg_ros.depth import PLAUSIBLE_M, fitting_units
from rgbd_seg_ros.fallback.config import CoreConfig
from rgbd_seg_ros.fallback.pixel_tests import color_defect, depth_defect, strided_sample
from rgbd_seg_ros.image_io import ImageFileError, check_aligned, resize_nearest
from rgbd_seg_ros.image_scene import listed
from training.options import UsageError

#: Frames whose depth is checked, spread over a dataset.
SAMPLED = 12
#: Thresholds of the frame tests: those of the node and of `rgbd_seg predict`.
FRAME_TESTS = CoreConfig()
#: Stream → what its images are called in messages.
WHAT_STREAM = {"rgb": "color", "depth": "depth"}


def sampled(count: int, most: int = SAMPLED) -> list[int]:
    """Indices of up to ``most`` of ``count`` frames, spread evenly."""
    return [int(i) for i in np.unique(np.linspace(0, count - 1, most).astype(int))]


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


def fit_to_color(
    where: str, depth_m: npt.NDArray[np.float32], size: tuple[int, int]
) -> npt.NDArray[np.float32]:
    """Depth at the size of the color image, by nearest neighbor, as in the node and in predict.

    Args:
        where: the dataset and the frame, which start the message.
        depth_m: H×W meters, NaN invalid.
        size: (height, width) of the color image.

    Raises:
        UsageError: the aspect ratios differ by more than 1 %.
    """
    try:
        check_aligned(size, (depth_m.shape[0], depth_m.shape[1]))
    except ImageFileError as error:
        raise UsageError(f"{where}: {error}; align depth to color") from error
    return resize_nearest(depth_m, size)


def judge_frame(rgb: npt.NDArray[np.uint8], depth_m: npt.NDArray[np.float32]) -> dict[str, str]:
    """The node's frame tests: ``rgb`` or ``depth`` → why the node would not use the image.

    Args:
        rgb: H×W×3, RGB order.
        depth_m: H×W meters, NaN invalid.
    """
    found = {
        "rgb": color_defect(strided_sample(rgb), FRAME_TESTS),
        "depth": depth_defect(strided_sample(depth_m), FRAME_TESTS),
    }
    return {stream: reason for stream, reason in found.items() if reason}


def describe_unusable(frames: Mapping[str, Mapping[str, str]]) -> list[str]:
    """One line for each kind of image that the node would not use.

    Args:
        frames: name of every frame → result of :func:`judge_frame`.
    """
    names: dict[tuple[str, str], list[str]] = {}
    for name, reasons in frames.items():
        for stream, reason in reasons.items():
            names.setdefault((stream, reason), []).append(name)
    return [
        f"{len(found)} of {len(frames)} {WHAT_STREAM[stream]} images are used here, but the node "
        f"would not use them ({reason}): {listed(found)}; correct them, or remove their frames"
        for (stream, reason), found in names.items()
    ]


def check_depth(
    where: str,
    depths_m: Sequence[npt.NDArray[np.float32]],
    unit: float,
    option: str,
    plausible_m: tuple[float, float] = PLAUSIBLE_M,
) -> str:
    """Check that depth is there and that its median is plausible.

    Args:
        where: the dataset, which starts the message.
        depths_m: H×W meters of some frames, NaN invalid.
        unit: meters per unit with which they were read; 0 if it cannot be set.
        option: how to set the unit, for example ``--depth-unit {}``.
        plausible_m: range of the median in meters.

    Returns:
        One line that tells the unit and the median, because a wrong unit may be plausible: the
        files of TUM RGB-D have 0.0002 m per unit, and 0.001 makes them five times too far.

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
        read = f"read with {unit:g} m per unit" if unit else "read"
        return f"{where}: depth is {read}, its median is {median:.3g} m"
    hint = "is it another kind of depth?"
    if unit:
        hint = f"wrong unit? try {option.format(fitting_units(median, unit, plausible_m))}"
    read_with = f" with {unit:g} m per unit" if unit else ""
    raise UsageError(
        f"{where}: median depth of {len(depths_m)} sampled frames is {median:.4g} m{read_with}, "
        f"outside {low:g} to {high:g} m: {hint}"
    )
