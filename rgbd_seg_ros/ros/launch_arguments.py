# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Checks of launch arguments, shared by the launch files. Imports neither torch nor rclpy."""

from __future__ import annotations

from pathlib import Path


def check_bundle_argument(directory: str) -> None:
    """Check the argument ``bundle``; empty for the shipped bundle.

    The node makes the same check, but only after it has imported PyTorch, seconds later.

    Raises:
        RuntimeError: the directory is not a bundle; launch prints one line and exits with 1.
    """
    if directory and not (Path(directory) / "bundle.json").is_file():
        raise RuntimeError(
            f"bundle:={directory} is not a bundle: it has no bundle.json; create one with "
            "`python -m training.bundle`, or omit the argument to use the shipped bundle"
        )


def parse_bool(name: str, value: str) -> bool:
    """Convert the value of a boolean argument.

    Raises:
        RuntimeError: the value is neither true nor false.
    """
    if value.lower() not in ("true", "false"):
        raise RuntimeError(f"{name}:={value} must be true or false")
    return value.lower() == "true"
