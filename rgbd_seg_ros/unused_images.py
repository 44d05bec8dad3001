# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Image files that were read and not used: counted by reason, and told with the remedy."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from rgbd_seg_ros.image_folder import WHAT, Kind, counted
from rgbd_seg_ros.image_scene import listed
from rgbd_seg_ros.judged_images import JudgedImage


@dataclass
class _Unused:
    """The files of one kind that were not used for one reason."""

    #: Of the first one.
    detail: str
    names: list[str] = field(default_factory=list)


class UnusedImages:
    """Adds up the images that were not used."""

    def __init__(self) -> None:
        #: Number of frames with a color and a depth image.
        self.pairs = 0
        self._counts: Counter[Kind] = Counter()
        self._unused: dict[tuple[Kind, str], _Unused] = {}

    def add(self, files: Mapping[Kind, Path], images: Mapping[Kind, JudgedImage]) -> str:
        """Take the images of one frame.

        Returns:
            Why images of this frame are not used; empty if all of them are.
        """
        self._counts.update(list(files))
        self.pairs += len(files) == 2
        why = []
        for kind, path in files.items():
            image = images[kind]
            if not image.usable:
                unused = self._unused.setdefault((kind, image.reason), _Unused(image.detail))
                unused.names.append(path.name)
                why.append(f"{WHAT[kind]} is {image.why}")
        return "; ".join(why)

    @property
    def unreadable(self) -> bool:
        """Whether a file could not be read."""
        return any(reason == "malformed" for _, reason in self._unused)

    def lines(self) -> list[str]:
        """One line for each kind and reason: how many, the first file, and the remedy."""
        lines = []
        for (kind, reason), unused in self._unused.items():
            number, (first, *rest) = len(unused.names), unused.names
            count = f"{number} of {counted(self._counts[kind], f'{WHAT[kind]} image')}"
            others = f" (also {listed(rest)})" if rest else ""
            verb = "is" if number == 1 else "are"
            # What is wrong with an unreadable file begins with its path.
            name = "" if first in unused.detail else f"{first}: "
            lines.append(f"{count} {verb} not used ({reason}): {name}{unused.detail}{others}")
        return lines
