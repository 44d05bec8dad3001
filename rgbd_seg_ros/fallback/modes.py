# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The five modes, and changes between them."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Mode(str, enum.Enum):
    """Overall state of the streams; exactly one of five values."""

    #: From startup or a reset until the first job, at most one second after the first frame.
    STARTING = "STARTING"
    #: Color and depth are fused.
    RGBD = "RGBD"
    RGB_ONLY = "RGB_ONLY"
    DEPTH_ONLY = "DEPTH_ONLY"
    #: No stream can be used, so no mask is published.
    NO_INPUT = "NO_INPUT"


@dataclass(frozen=True)
class ModeChange:
    """A change of mode and its reason."""

    t_ns: int
    from_mode: Mode
    to_mode: Mode
    #: For the log, for example ``depth silent`` or ``recovered``.
    reason: str

    def __str__(self) -> str:
        return f"{self.from_mode.value} -> {self.to_mode.value}: {self.reason}"
