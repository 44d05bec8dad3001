# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""An own folder: rgb/, depth/ and labels/ with equal names, any class list and depth unit."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from rgbd_seg_ros.labels import LabelSet
from training.data.prepare.base import Entry, Picture, RawDataset, need, read_picture
from training.options import UsageError, opt

if TYPE_CHECKING:
    from training.data.folder import Description

#: Frames of one recording that are next to each other and stay together.
BLOCK = 50


@dataclass(frozen=True)
class FolderOptions:
    """What can be chosen for an own folder. The rest is said by its dataset.yaml."""

    depth_unit: float = opt(0.0, "meters per unit of depth; 0: as dataset.yaml says, or 0.001")
    tick: float = opt(0.001, "meters per tick to write float depth with; 65534 is the farthest")
    group: str = opt("", "regular expression; what it matches in a name is the frame's scene")

    def __post_init__(self) -> None:
        if self.depth_unit < 0:
            raise UsageError(f"depth-unit must be above 0, got {self.depth_unit}")
        if self.tick <= 0:
            raise UsageError(f"tick must be above 0, got {self.tick}")
        try:
            re.compile(self.group)
        except re.error as error:
            raise UsageError(f"group {self.group!r} is no regular expression: {error}") from error


class OwnFolder(RawDataset):
    """What ``--data folder`` reads, checked once and indexed."""

    name: ClassVar[str] = "folder"
    page: ClassVar[str] = "docs/data.md, own pictures"

    Options = FolderOptions

    def __init__(self, root: Path, options: FolderOptions, partial: bool) -> None:
        from training.data.folder import _files, read_description

        need(root, ["dataset.yaml", "rgb", "depth", "labels"], self.page)
        self.root, self.options = root, options
        self.description: Description = read_description(root)
        self.label_set = LabelSet(self.description.name, self.description.classes)
        first = next(iter(_files(root / "depth").values()), None)
        self._float = first is not None and read_picture(first).dtype.kind == "f"
        self.depth_unit = options.depth_unit or (
            1.0 if self._float else self.description.depth_scale
        )
        # Ticks are copied as they are, so that nothing is lost.
        self.depth_scale = options.tick if self._float else self.depth_unit
        self.expected = {}
        lists = [root / f"{split}.txt" for split in ("train", "val", "test")]
        self.files = [root / "dataset.yaml", *(p for p in lists if p.is_file())]

    def entries(self) -> list[Entry]:
        """By name. The folder's own lists win; without them, scenes are held out."""
        from training.data.folder import FOLDERS, _files, split_names

        split_names(self.root, 0.1)  # raises on incomplete samples and wrong lists
        files = {folder: _files(self.root / folder) for folder in FOLDERS}
        listed: dict[str, str] = {}
        for path in self.files[1:]:
            names = path.read_text(encoding="utf-8").split()
            listed |= dict.fromkeys(names, path.stem)
        # What the lists leave out when there is a train.txt is not meant to be used.
        chosen = listed if "train" in listed.values() else files["rgb"]
        names = sorted(chosen)
        groups = group_names(names, self.options.group)
        return [
            Entry(name, group, listed.get(name), tuple(files[f][name] for f in FOLDERS))
            for name, group in zip(names, groups, strict=True)
        ]

    def edited(self, entry: Entry) -> Sequence[Path]:
        """All three: labels get corrected."""
        files: tuple[Path, ...] = entry.key
        return files

    def read(self, entry: Entry) -> Picture:
        """A triple, with the unit that was asked for."""
        from rgbd_seg_ros.depth import to_meters
        from training.data.folder import read_labels

        rgb_path, depth_path, label_path = entry.key
        raw = read_picture(depth_path, 1)
        try:
            depth = to_meters(raw, self.depth_unit)
        except ValueError as error:
            raise UsageError(f"{depth_path}: {error}") from error
        if (raw.dtype.kind == "f") != self._float:
            raise UsageError(f"{depth_path} is {raw.dtype}, other depth pictures are not")
        if self._float:
            depth *= np.float32(self.depth_unit)
        labels = read_labels(label_path, self.description)
        k = self.description.intrinsics
        camera = None if k is None else (k.fx, k.fy, k.cx, k.cy)
        return Picture(read_picture(rgb_path, 3), depth, labels, camera)


def group_names(names: list[str], pattern: str) -> list[str]:
    """The group of each of the sorted names.

    What ``pattern`` matches; without it, blocks of up to 50 neighbors among the names that
    differ in their last number only: ``kitchen_0007`` → ``kitchen_/0``.
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
