# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""From official data-set files to one layout: a module per data set, and what they share."""

from __future__ import annotations

import importlib
from typing import Any

from training.options import lookup

#: Data set → (module, source class). Its attribute ``Options`` is the dataclass of its options.
DATASETS: dict[str, tuple[str, str]] = {
    "nyuv2": ("nyuv2", "NYUv2"),
    "sunrgbd": ("sunrgbd", "SunRGBD"),
    "potsdam": ("potsdam", "Potsdam"),
    "midair": ("midair", "MidAir"),
    "folder": ("folder", "OwnFolder"),
}


def source_class(name: str) -> Any:
    """The class that reads the official files of a data set."""
    module, cls = lookup("data set", name, DATASETS)
    return getattr(importlib.import_module(f"{__name__}.{module}"), cls)
