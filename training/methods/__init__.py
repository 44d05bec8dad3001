# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Training methods, one file each."""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import Any

from training.options import lookup

#: Method name → class in ``training/methods/NAME.py``. That file also has the method's options,
#: a frozen dataclass ``Config``. A method's file, and therefore torch, is imported on first use.
METHODS: dict[str, str] = {
    "supervised": "Supervised",
    "crodino_kd": "CroDiNoKD",
    "prim_kd": "PrimKD",
    "kd_v2": "KDv2",
}


def method_class(method: str) -> Any:
    """The class of a method.

    Raises:
        UsageError: an unknown method.
    """
    return getattr(_module(method), METHODS[method])


def options_of(method: str) -> type:
    """The ``Config`` dataclass of a method.

    Raises:
        UsageError: an unknown method.
    """
    options: type = _module(method).Config
    return options


def _module(method: str) -> ModuleType:
    lookup("method", method, METHODS)
    return importlib.import_module(f"training.methods.{method}")
