# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Launch arguments that a launch file does not declare are told. Runs without ROS."""

from __future__ import annotations

import pytest

from rgbd_seg_ros.ros.launch_arguments import unknown_arguments

KNOWN = ("bundle", "device")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("ros2 launch rgbd_seg_ros seg.launch.py devce:=cpu", ["'devce:=cpu'", "mean 'device'?"]),
        ("ros2 launch /share/seg.launch.py rgbtopic:=x", ["'rgbtopic:=x'", "bundle, device"]),
    ],
)
def test_an_unknown_argument_is_named(line: str, words: list[str]) -> None:
    (text,) = unknown_arguments(line.split(), "seg.launch.py", KNOWN)
    assert all(word in text for word in words)
    assert "\n" not in text


@pytest.mark.parametrize(
    "line",
    [
        "ros2 launch rgbd_seg_ros seg.launch.py --show-args bundle:=a:=b device:=cpu",
        "ros2 launch robot robot.launch.py camera_name:=x",  # includes the launch file
    ],
)
def test_other_words_are_not_told(line: str) -> None:
    assert list(unknown_arguments(line.split(), "seg.launch.py", KNOWN)) == []
