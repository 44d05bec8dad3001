# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Class weights of the loss, from the number of pixels of each class in the training labels."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from training.options import UsageError

if TYPE_CHECKING:
    import torch

    from training.config import RunConfig
    from training.data.sample import Samples
    from training.settings import Settings

    Shares = npt.NDArray[np.float64]

#: ENet's c: a weight is between 1 / ln(1 + c) = 1.42 and 1 / ln(c) = 50.5.
ENET_C = 1.02
#: Significant digits of a weight, so that a recipe with 40 of them remains readable.
DIGITS = 5


def median_frequency(shares: Shares) -> Shares:
    """Median frequency balancing (Eigen and Fergus, ICCV 2015): median(share) / share.

    The share of a class is that of all labeled pixels; the paper counts only the images that
    contain the class. The median is over the classes that occur.

    Args:
        shares: share of each class, K numbers. A class without pixels gets weight 1, which has
            no effect in training.
    """
    present = shares > 0
    weights = np.ones_like(shares)
    weights[present] = np.median(shares[present]) / shares[present]
    return weights


def inverse_log(shares: Shares) -> Shares:
    """ENet's weighting (arXiv 1606.02147): 1 / ln(c + share) with c = 1.02.

    Args:
        shares: share of each class of the labeled pixels, K numbers.
    """
    return 1 / np.log(ENET_C + shares)


#: Value of ``class_weights`` in a recipe → weights from the classes' shares of labeled pixels.
RULES: dict[str, Callable[[Shares], Shares]] = {
    "median_frequency": median_frequency,
    "inverse_log": inverse_log,
}


def resolve_class_weights(settings: Settings, train: Samples, device: torch.device) -> Settings:
    """The settings with numbers in place of a rule, for every rank the same ones.

    A run saves them in its recipe, so that resuming and repeating it compute nothing again.

    Args:
        settings: the settings. Their ``class_weights`` may be ``none``, a rule, or numbers.
        train: the training split. With several ranks, each one counts a part of the samples.
        device: this rank's device.

    Raises:
        UsageError: the number of weights is not that of the classes, or there is no labeled pixel.
    """
    chosen, classes = settings.run.class_weights, train.label_set.classes
    if chosen == "none":
        return settings
    if isinstance(chosen, str):
        pixels = _count(train, device)
        if not pixels.any():
            raise UsageError(f"class_weights {chosen}: the training labels have no labeled pixel")
        weights = RULES[chosen](pixels / pixels.sum())
        numbers = tuple(float(f"{weight:.{DIGITS}g}") for weight in weights)
        run = dataclasses.replace(settings.run, class_weights=numbers)
        return dataclasses.replace(settings, run=run)
    if len(chosen) != len(classes):
        names = ", ".join(classes[:3]) + (", …" if len(classes) > 3 else "")
        raise UsageError(
            f"class_weights has {len(chosen)} numbers, but label set {train.label_set.name!r} has "
            f"{len(classes)} classes ({names}): give one number per class"
        )
    return settings


def _count(train: Samples, device: torch.device) -> npt.NDArray[np.int64]:
    import torch

    from training import distributed
    from training.data.class_report import class_pixel_counts
    from training.data.sample import Subset

    world, rank = distributed.world_size(), distributed.rank()
    if world == 1:
        return class_pixel_counts(train)
    own = class_pixel_counts(Subset(train, list(range(rank, len(train), world))))
    pixels: npt.NDArray[np.int64] = (
        distributed.total(torch.from_numpy(own).to(device)).cpu().numpy()
    )
    return pixels


def weight_of_each(config: RunConfig, classes: tuple[str, ...]) -> dict[str, float]:
    """Class → weight, from a resolved configuration; empty without class weights."""
    if isinstance(config.class_weights, str):
        return {}
    return dict(zip(classes, config.class_weights, strict=True))
