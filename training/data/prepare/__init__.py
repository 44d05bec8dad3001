# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Preparation: converts official dataset files into one layout, with one module per dataset."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from training.options import lookup

if TYPE_CHECKING:
    from training.data.prepare.base import RawDataset

#: Dataset → (module, subclass of :class:`training.data.prepare.base.RawDataset`).
RAW_DATASETS: dict[str, tuple[str, str]] = {
    "nyuv2": ("nyuv2", "NYUv2"),
    "sunrgbd": ("sunrgbd", "SunRGBD"),
    "potsdam": ("potsdam", "Potsdam"),
    "midair": ("midair", "MidAir"),
    "folder": ("folder", "OwnFolder"),
    "rooms": ("rooms", "RenderedRooms"),
}


def raw_dataset_class(name: str) -> type[RawDataset]:
    """The class that reads the official files of a dataset.

    Raises:
        UsageError: an unknown dataset.
    """
    module, name_of_class = lookup("dataset", name, RAW_DATASETS)
    cls: type[RawDataset] = getattr(importlib.import_module(f"{__name__}.{module}"), name_of_class)
    return cls
