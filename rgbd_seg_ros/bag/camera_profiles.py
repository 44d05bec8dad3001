# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Camera profiles: the topics of known drivers, read from the files that the launch file uses."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

from rgbd_seg_ros.files import InputFileError, read_yaml

_FOLDER = Path("config") / "camera"
#: Names of the node's inputs in a profile, and the fields of ``Topics`` that they correspond to.
_FIELDS = {"rgb/image_raw": "rgb", "depth/image_raw": "depth", "depth_raw/image_raw": "depth_raw"}


@dataclass(frozen=True)
class CameraProfile:
    """Image topics of one driver, without the prefix that users choose."""

    rgb: str
    depth: str
    depth_raw: str = ""

    def prefix_of(self, topic: str, field: str) -> str | None:
        """The prefix under which ``topic`` is this profile's topic; None if it is not."""
        name = getattr(self, field)
        return topic[: -len(name)] if name and topic.endswith("/" + name) else None


@cache
def camera_profiles() -> tuple[CameraProfile, ...]:
    """The shipped profiles; none if they are neither installed nor in a checkout."""
    found = []
    for path in sorted(_folder().glob("*.yaml")):
        try:
            topics = read_yaml(path)["topics"]
            names = {_FIELDS[ours]: str(topics[ours]) for ours in _FIELDS if ours in topics}
            found.append(CameraProfile(**names))
        except (InputFileError, TypeError, KeyError):
            continue  # A user's edit of an installed profile; the launch file reports it.
    return tuple(found)


def _folder() -> Path:
    """The folder of the profiles: of the checkout, or in ``share`` of the installation prefix."""
    parents = Path(__file__).resolve().parents
    candidates = [parents[2] / _FOLDER]  # <checkout>/rgbd_seg_ros/bag/camera_profiles.py
    # <prefix>/lib/python3.x/site-packages/rgbd_seg_ros/…, by pip as by colcon
    candidates += [parent / "share" / "rgbd_seg_ros" / _FOLDER for parent in parents]
    return next((folder for folder in candidates if folder.is_dir()), candidates[0])
