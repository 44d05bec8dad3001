# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Training methods, one file each."""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import Any

from training.options import UsageError, lookup

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


def build_method(method: str, options: Any, task: Any) -> Any:
    """A method with its networks.

    Args:
        method: a key of ``METHODS``.
        options: an instance of the method's ``Config``.
        task: a :class:`training.methods.base.Task`.

    Raises:
        UsageError: an unknown method, or options that do not fit the task or each other.
    """
    try:
        return method_class(method)(options, task)
    except ValueError as error:
        raise UsageError(str(error)) from error


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
