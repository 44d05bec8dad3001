# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Files of a folder of labeled RGB-D images: its frames, and which frames each split has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from rgbd_seg_ros.image_folder import FolderFrames, ImageFolderError, find_frames
from rgbd_seg_ros.image_io import SUFFIXES
from rgbd_seg_ros.image_names import match_names
from rgbd_seg_ros.image_scene import FOLDER_NAMES, subfolders
from training.data.sample import FOLDERS, SPLITS, hold_out
from training.data.split_lists import LIST_NAMES, find_lists, read_list, unused_lists
from training.options import UsageError


@dataclass(frozen=True)
class LabeledFrames:
    """The frames of a folder that have a color image, a depth image and labels."""

    root: Path
    #: Names in natural order.
    names: tuple[str, ...]
    #: ``rgb``, ``depth`` or ``labels`` → name of a frame → its file, also of incomplete frames.
    files: Mapping[str, Mapping[str, Path]]
    #: One line for each file or frame that is not used, with the reason.
    notes: tuple[str, ...]
    found: FolderFrames

    def named(self, text: str) -> str | None:
        """The name of the complete frame that a text in a list means, or None."""
        name = self.found.find(text)
        return name if name and not self.lacking(name) else None

    def why_not_named(self, text: str) -> str:
        """``; it has no depth image`` and the like for an incomplete frame, else empty."""
        name = self.found.find(text)
        return f"; it has no {' and no '.join(self.lacking(name))} image" if name else ""

    @property
    def incomplete(self) -> tuple[str, ...]:
        """The names of the frames that lack an image."""
        return tuple(name for name in self.found.names if self.lacking(name))

    def lacking(self, name: str) -> list[str]:
        """What a frame lacks of ``rgb``, ``depth`` and ``labels``."""
        return [kind for kind, files in self.files.items() if name not in files]


def find_labeled_frames(root: Path) -> LabeledFrames:
    """Find the frames of a folder, and the labels in images or in polygons of labelme.

    Raises:
        UsageError: a missing folder or kind of image, ambiguous names, or no complete frame.
    """
    try:
        polygons = _polygons(root) if root.is_dir() else {}
        if polygons:
            found = find_frames(
                root, kinds=("rgb", "depth"), need=("rgb", "depth"),
                read_elsewhere=polygons.values(),
            )  # fmt: skip
            labels, notes = _of_frames(found, polygons), list(found.notes)
            lacking = [name for name in found.names if name not in labels]
            if lacking:
                notes.append(
                    f"{len(lacking)} of {len(found.names)} frames have no polygons, such as "
                    f"{lacking[0]}"
                )
        else:
            found = find_frames(root, need=FOLDERS)
            labels, notes = dict(found.files["labels"]), list(found.notes)
    except ImageFolderError as error:
        raise UsageError(str(error)) from error
    files = {**found.files, "labels": labels}
    names = tuple(n for n in found.names if all(n in kind for kind in files.values()))
    if not names:
        raise UsageError(f"{root}: no frame has a color image, a depth image and labels")
    notes += [
        f"{path} is not used; lists are train.txt, val.txt and test.txt in {root} or in "
        "ImageSets/Segmentation"
        for path in unused_lists(root)
    ]
    named = {name: _split_folder(root, files["rgb"][name]) for name in names}
    splits = {split for split in named.values() if split}
    if splits and not find_lists(root) and ("" in named.values() or "train" not in splits):
        notes.append(
            f"the folders named after splits ({', '.join(sorted(splits))}) do not decide the "
            "splits, because other frames are in none of them or there is none for train; name "
            "the frames in train.txt, val.txt and test.txt"
        )
    return LabeledFrames(root, names, files, tuple(notes), found)


def _polygons(root: Path) -> dict[str, Path]:
    """Name without suffix → file of labelme, if the labels are polygons.

    They are in a folder of labels without images, or beside the color images, where labelme
    writes them, if there is no folder of labels.
    """
    within = {path.name.lower(): path for path in subfolders(root)}
    labels = [within[name] for name in FOLDER_NAMES["labels"] if name in within]
    for folder in labels or [within[n] for n in FOLDER_NAMES["rgb"] if n in within][:1]:
        files = sorted(folder.iterdir())
        if labels and any(path.suffix.lower() in SUFFIXES for path in files):
            return {}
        found = {path.stem: path for path in files if path.suffix.lower() == ".json"}
        if found:
            return found
    return {}


def _of_frames(frames: FolderFrames, polygons: Mapping[str, Path]) -> dict[str, Path]:
    """Name of a frame → its polygons, paired with the color image by name."""
    colors = {path.stem: name for name, path in frames.files["rgb"].items()}
    stems = list(colors), list(polygons)
    pairs = match_names(*stems).pairs
    return {colors[stems[0][i]]: polygons[stems[1][j]] for i, j in pairs}


def split_names(frames: LabeledFrames, held_out: float) -> dict[str, list[str]]:
    """Frame names of each split: from its list, from its folder, or else held out.

    Args:
        frames: the frames of the folder.
        held_out: share of the frames for a split that has no list.

    Raises:
        UsageError: a list with an unknown name, or a name in two lists.
    """
    listed = listed_splits(frames)
    taken = {name for names in listed.values() for name in names}
    rest = listed["train"] if "train" in listed else sorted(set(frames.names) - taken)
    for split in ("test", "val"):
        if split not in listed:
            rest, listed[split] = hold_out(rest, held_out)
    return {**listed, "train": rest}


def listed_splits(frames: LabeledFrames) -> dict[str, list[str]]:
    """The frame names of each split that has a list or, without lists, a folder of its own.

    Raises:
        UsageError: a list with an unknown name, or a name in two lists.
    """
    lists = find_lists(frames.root)
    if not lists:
        return _splits_by_folder(frames)
    listed = {
        split: read_list(path, frames.names, frames.named, frames.why_not_named)
        for split, path in lists.items()
    }
    for i, a in enumerate(SPLITS):
        for b in SPLITS[i + 1 :]:
            both = sorted(set(listed.get(a, ())) & set(listed.get(b, ())))
            if both:
                raise UsageError(f"{both[0]!r} is in both {lists[a]} and {lists[b]}; keep one")
    return listed


def _splits_by_folder(frames: LabeledFrames) -> dict[str, list[str]]:
    """Split → its frames, if each frame is in a folder named after a split: ``rgb/val/7.png``."""
    found: dict[str, list[str]] = {}
    for name in frames.names:
        found.setdefault(_split_folder(frames.root, frames.files["rgb"][name]), []).append(name)
    return {} if "" in found or "train" not in found else found


def _split_folder(root: Path, image: Path) -> str:
    """The split after which a folder of an image is named; empty if none is, or several are."""
    folders = [part.lower() for part in image.relative_to(root).parts[:-1]]
    found = [LIST_NAMES[folder] for folder in folders if folder in LIST_NAMES]
    return found[0] if len(found) == 1 else ""
