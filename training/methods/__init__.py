# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The training methods, one file each; importing this needs no torch."""

from __future__ import annotations

#: Name → class of its file, ``training/methods/NAME.py``. The file also holds the method's
#: options, a frozen dataclass ``Config`` that uses nothing but builtins, typing and ``opt``.
METHODS: dict[str, str] = {
    "supervised": "Supervised",
    "crodino_kd": "CroDiNoKD",
    "prim_kd": "PrimKD",
    "kd_v2": "KDv2",
}
