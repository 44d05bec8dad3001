# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Checks of launch arguments, shared by the launch files. Imports neither torch nor rclpy."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from rgbd_seg_ros.names import shown, unknown_name


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


def check_device_argument(device: str) -> None:
    """Check the spelling of the argument ``device``; empty for that of params_file.

    The node makes the same check, but only after it has imported PyTorch, seconds later.

    Raises:
        RuntimeError: the device has an unknown name.
    """
    if device and not re.fullmatch(r"auto|cpu|cuda(:\d+)?", device):
        known = ("auto", "cpu", "cuda", "cuda:N")
        raise RuntimeError(f"device:={device}: {unknown_name('device', device, known)}")


def unknown_arguments(
    words: Iterable[str], launch_file: str, known: Iterable[str]
) -> Iterator[str]:
    """Yield a message for each argument of `ros2 launch` that the launch file does not declare.

    launch itself sets such arguments silently. They can be told only if the user runs this launch
    file directly: the arguments of a launch file that includes it are those of both.

    Args:
        words: the words of the command line.
        launch_file: name of the launch file.
        known: its arguments.
    """
    words = [str(word) for word in words]
    start = next((i for i, word in enumerate(words) if Path(word).name == launch_file), None)
    if start is None:
        return
    known = list(known)
    for word in words[start + 1 :]:
        name, assigned, _ = word.partition(":=")
        if assigned and name not in known:
            yield f"{shown(word)} has no effect: {unknown_name('argument', name, known)}"


def parse_bool(name: str, value: str) -> bool:
    """Convert the value of a boolean argument.

    Raises:
        RuntimeError: the value is neither true nor false.
    """
    if value.lower() not in ("true", "false"):
        raise RuntimeError(f"{name}:={value} must be true or false")
    return value.lower() == "true"
