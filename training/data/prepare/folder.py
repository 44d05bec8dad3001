# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Your own images: rgb/, depth/ and labels/ with matching names, any classes and depth unit."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from rgbd_seg_ros.image_io import read_image, read_rgb, read_single_channel
from rgbd_seg_ros.labels import LabelSet
from training.data.prepare.base import Entry, FrameData, RawDataset, need
from training.data.sample import FOLDERS
from training.options import UsageError, opt

if TYPE_CHECKING:
    from training.data.folder import Description

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
        from training.data.folder import image_files, read_description

        need(root, ["dataset.yaml", "rgb", "depth", "labels"], self.page)
        self.root, self.options = root, options
        self.description: Description = read_description(root)
        self.label_set = LabelSet(self.description.name, self.description.classes)
        first = next(iter(image_files(root / "depth").values()), None)
        self._float = first is not None and read_image(first).dtype.kind == "f"
        self.depth_unit = options.depth_unit or (
            1.0 if self._float else self.description.depth_scale
        )
        # 16-bit ticks are copied unchanged.
        self.depth_scale = options.tick if self._float else self.depth_unit
        self.expected = {}
        lists = [root / f"{split}.txt" for split in ("train", "val", "test")]
        self.files = [root / "dataset.yaml", *(p for p in lists if p.is_file())]

    def entries(self) -> list[Entry]:
        """All frames by name; lists such as ``train.txt`` in the folder decide their splits."""
        from training.data.folder import image_files, split_names

        split_names(self.root, 0.1)  # raises on incomplete samples and wrong lists
        files = {folder: image_files(self.root / folder) for folder in FOLDERS}
        listed: dict[str, str] = {}
        for path in self.files[1:]:
            names = path.read_text(encoding="utf-8").split()
            listed |= dict.fromkeys(names, path.stem)
        # With a train.txt, frames that no list contains are not used.
        chosen = listed if "train" in listed.values() else files["rgb"]
        names = sorted(chosen)
        groups = group_names(names, self.options.group)
        return [
            Entry(name, group, listed.get(name), tuple(files[f][name] for f in FOLDERS))
            for name, group in zip(names, groups, strict=True)
        ]

    def edited(self, entry: Entry) -> Sequence[Path]:
        """All three images, because users may, for example, correct labels."""
        files: tuple[Path, ...] = entry.key
        return files

    def read(self, entry: Entry) -> FrameData:
        """Read the three images of a frame."""
        from rgbd_seg_ros.depth import to_meters
        from training.data.folder import read_labels

        rgb_path, depth_path, label_path = entry.key
        raw = read_single_channel(depth_path)
        try:
            depth = to_meters(raw, self.depth_unit)
        except ValueError as error:
            raise UsageError(f"{depth_path}: {error}") from error
        if (raw.dtype.kind == "f") != self._float:
            raise UsageError(f"{depth_path} is {raw.dtype}, unlike the first depth image")
        if self._float:
            depth *= np.float32(self.depth_unit)
        labels = read_labels(label_path, self.description)
        k = self.description.intrinsics
        camera = None if k is None else (k.fx, k.fy, k.cx, k.cy)
        return FrameData(read_rgb(rgb_path), depth, labels, camera)


def group_names(names: list[str], pattern: str) -> list[str]:
    """The group of each name; ``names`` are sorted.

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
