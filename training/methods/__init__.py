# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Training methods."""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import Any

from training.options import UsageError, lookup

#: Method name → ``FILE.CLASS`` in this folder. The file also has the method's options, a frozen
#: dataclass ``Config``. It is imported, and therefore torch, on first use.
METHODS: dict[str, str] = {
    "supervised": "supervised.Supervised",
    "crodino_kd": "crodino_kd.CroDiNoKD",
    "prim_kd": "prim_kd.PrimKD",
    "kd_v1": "kd_v2.KDv1",
    "kd_v2": "kd_v2.KDv2",
    "kd_net": "kd_net.KDNet",
    "mgd": "mgd.MGD",
    "proto_kd": "proto_kd.ProtoKD",
    "lad": "angular_kd.LAD",
    "cad": "angular_kd.CAD",
}


def method_class(method: str) -> Any:
    """The class of a method.

    Raises:
        UsageError: an unknown method.
    """
    module = _module(method)
    return getattr(module, METHODS[method].partition(".")[2])


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
    return importlib.import_module(f"training.methods.{METHODS[method].partition('.')[0]}")
