# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Your own images: rgb/, depth/ and labels/ with matching names, any classes and depth unit."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

from rgbd_seg_ros.image_io import default_depth_scale
from training.data.prepare.base import Entry, FrameData, RawDataset, need
from training.options import UsageError, opt

#: Number of consecutive frames of one recording that stay in one split.
BLOCK = 50


@dataclass(frozen=True)
class FolderOptions:
    """Options for your own images; dataset.yaml contains the rest."""

    depth_unit: float = opt(
        0.0, "meters per unit of depth; 0: depth_scale of dataset.yaml, or 0.001"
    )
    tick: float = opt(0.001, "meters per tick when writing float depth (at most 65534 ticks)")
    group: str = opt("", "regular expression; its match in a frame's name is the scene")

    def __post_init__(self) -> None:
        if self.depth_unit < 0:
            raise UsageError(f"depth-unit must be above 0, got {self.depth_unit}")
        if self.tick <= 0:
            raise UsageError(f"tick must be above 0, got {self.tick}")
        try:
            re.compile(self.group)
        except re.error as error:
            raise UsageError(
                f"group {self.group!r} is not a regular expression: {error}"
            ) from error


class OwnFolder(RawDataset):
    """Your own images, in the layout of --data folder."""

    name: ClassVar[str] = "folder"
    page: ClassVar[str] = "docs/data.md"

    options_class: ClassVar[type] = FolderOptions

    def __init__(self, root: Path, options: FolderOptions, partial: bool) -> None:
        from training.data.folder import FolderSamples, depth_dtype, read_folder, tell
        from training.data.split_lists import find_lists

        need(root, [], self.page)
        self.options = options
        self.frames, description = read_folder(root)
        for note in self.frames.notes:
            tell(note)
        if options.depth_unit:
            description = replace(description, depth_scale=options.depth_unit)
        names = list(self.frames.names)
        self.samples = FolderSamples(root, description, self.frames.files, names)
        self.label_set = description.label_set
        dtype = depth_dtype(self.samples)
        self.depth_unit = description.depth_scale or default_depth_scale(dtype)
        # 16-bit ticks are copied unchanged.
        self.depth_scale = options.tick if dtype.kind == "f" else self.depth_unit
        self.expected = {}
        self.files = [*description.files, *find_lists(root).values()]

    def entries(self) -> list[Entry]:
        """All frames by name; lists such as ``train.txt`` in the folder decide their splits."""
        from training.data.folder_files import listed_splits

        lists = listed_splits(self.frames)
        listed = {name: split for split, names in lists.items() for name in names}
        # With a train.txt, frames that no list contains are not used.
        names = [n for n in self.frames.names if n in listed or "train" not in lists]
        groups = group_names(names, self.options.group)
        index = {name: i for i, name in enumerate(self.samples.names)}
        return [
            Entry(name, group, listed.get(name), index[name])
            for name, group in zip(names, groups, strict=True)
        ]

    def edited(self, entry: Entry) -> Sequence[Path]:
        """All three images, because users may, for example, correct labels."""
        return [files[entry.name] for files in self.samples.files.values()]

    def read(self, entry: Entry) -> FrameData:
        """Read the three images of a frame."""
        sample = self.samples[entry.key]
        k = self.samples.description.camera
        return FrameData(sample.rgb, sample.depth_m, sample.labels, k)


def group_names(names: list[str], pattern: str) -> list[str]:
    """The group of each name; ``names`` are in natural order.

    A group is the match of ``pattern``. Without a pattern, it is a block of up to 50 consecutive
    names that differ only in their last number: ``kitchen_0007`` → ``kitchen_/0``.

    Raises:
        UsageError: the pattern does not match a name.
    """
    if pattern:
        found = [re.search(pattern, name) for name in names]
        lacking = [n for n, match in zip(names, found, strict=True) if match is None]
        if lacking:
            raise UsageError(f"group {pattern!r} matches nothing in {lacking[0]!r}")
        return [match[0] for match in found if match]
    block = min(BLOCK, max(1, len(names) // 20))
    counts: dict[str, int] = {}
    result = []
    for name in names:
        stem = re.sub(r"\d+\D*$", "", name)
        counts[stem] = counts.get(stem, -1) + 1
        result.append(f"{stem}/{counts[stem] // block}")
    return result
