# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""One folder of RGB-D images: which files show color, depth and labels, and which form a frame."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from rgbd_seg_ros.files import InputFileError, read_text_file
from rgbd_seg_ros.image_io import SUFFIXES, UNREAD_SUFFIXES
from rgbd_seg_ros.image_names import (
    BY_SHORT_NAME,
    KINDS,
    PAINTED,
    Kind,
    Pairs,
    kind_of,
    match_names,
    natural_order,
    not_classes,
    says_kind,
    stamp_ns,
    without_kind,
)

#: Names of the folders of each kind in lower case. If there are several, the first one is read.
FOLDER_NAMES: dict[Kind, tuple[str, ...]] = {
    "rgb": (
        "rgb", "color", "colour", "image", "images", "img", "photo", "jpegimages", "rgb_images",
        "color_images", "leftimg8bit", "image_2", "imgs", "photos", "frames", "left",
    ),
    "depth": (
        "depth", "depths", "depth_images", "aligned_depth", "depth_aligned", "depth_bfx",
        "depth_raw", "depth_maps",
    ),
    "labels": (
        "labels", "label", "label-filt", "label_filt", "gt", "semantic", "segmentation", "masks",
        "mask", "annotations", "segmentationclasspng", "segmentationclass", "semantics",
        "ground_truth", "groundtruth", "gtfine", "gtcoarse",
    ),
}  # fmt: skip
#: What an image of each kind is called in messages.
WHAT: dict[Kind, str] = {"rgb": "color", "depth": "depth", "labels": "label"}
#: Why a folder of HHA images is not read.
FROM_DEPTH = "HHA is computed from the depth images"
#: Why a folder of depth in colors is not read.
IN_COLORS = "its name says that it shows depth in colors, which are no distances"
#: Why a folder of labels is not read.
NO_LABELS = "labels are only read for training and scores: training.prepare, training.evaluate"
#: Lists of a TUM RGB-D sequence: lines of ``stamp file``, or ``stamp file stamp file``.
STAMP_LISTS: dict[Kind, str] = {"rgb": "rgb.txt", "depth": "depth.txt"}
ASSOCIATIONS = ("associations.txt", "associated.txt", "associate.txt", "association.txt")
#: Suffixes of files that accompany images: lists, poses, calibrations, notes.
TEXT_SUFFIXES = frozenset({"", ".txt", ".json", ".yaml", ".yml", ".csv", ".md", ".xml", ".log"})
#: Levels of folders in a folder of one kind, such as ``train/aachen`` in Cityscapes.
LEVELS = 3
#: Files that operating systems leave in folders; hidden files are not images either.
LITTER = frozenset({"thumbs.db", "desktop.ini"})


class ImageFolderError(ValueError):
    """A folder without usable images or pairs; the message names what was found."""


@dataclass(frozen=True)
class ImageScene:
    """The image files of one folder."""

    root: Path
    #: The files of each kind by their path in the kind's folder, without suffix.
    files: Mapping[Kind, Mapping[str, Path]]
    folders: Mapping[Kind, Path]
    #: File or folder → reason why it is not read.
    ignored: Mapping[Path, str]
    #: Whether all kinds are in one folder, so that the names of files say what they show.
    mixed: bool

    def frames(self) -> tuple[dict[str, dict[Kind, Path]], tuple[str, ...]]:
        """The frames by name, in natural order, and the rules by which files were paired.

        The first kind gives the frames their names; every other kind is paired with it.
        """
        first, *others = self.files
        matched = {kind: self._match(first, kind) for kind in others}
        rules = tuple({pairs.rule: 0 for pairs in matched.values() if pairs.pairs})
        short = self.mixed or BY_SHORT_NAME in rules
        names = {kind: self._names(kind, short) for kind in self.files}
        frames: dict[str, dict[Kind, Path]] = {
            name: {first: path}
            for name, path in zip(names[first], self.files[first].values(), strict=True)
        }
        for kind, pairs in matched.items():
            partner = {j: names[first][i] for i, j in pairs.pairs}
            for j, path in enumerate(self.files[kind].values()):
                name = partner.get(j, names[kind][j])
                while j not in partner and not {first, kind}.isdisjoint(frames.get(name, ())):
                    name += f"_{kind}"
                frames.setdefault(name, {})[kind] = path
        return dict(sorted(frames.items(), key=lambda item: natural_order(item[0]))), rules

    def _names(self, kind: Kind, short: bool) -> list[str]:
        stems = list(self.files[kind])
        names = [without_kind(stem) for stem in stems] if short else stems
        chosen = names if all(names) and len(set(names)) == len(names) else stems
        return [name.replace("/", "_") for name in chosen]

    def _match(self, first: Kind, second: Kind) -> Pairs:
        """Pair two kinds by a list of associations, or else by their names or stamps."""
        index = [
            {self._listed_name(path): i for i, path in enumerate(self.files[kind].values())}
            for kind in (first, second)
        ]
        for name in ASSOCIATIONS:
            pairs = {
                (index[0][a], index[1][b])
                for words in map(str.split, _lines(self.root / name))
                if len(words) == 4
                for a, b in ((words[1], words[3]), (words[3], words[1]))
                if a in index[0] and b in index[1]
            }
            if pairs and all(len({pair[k] for pair in pairs}) == len(pairs) for k in (0, 1)):
                return Pairs(tuple(sorted(pairs)), name)
        stamps = self._stamps(first), self._stamps(second)
        return match_names(list(self.files[first]), list(self.files[second]), stamps)

    def _stamps(self, kind: Kind) -> list[int | None]:
        """The stamp of each file from the list of its kind, or else from its name."""
        listed: dict[str, int] = {}
        for line in _lines(self.root / STAMP_LISTS[kind]) if kind in STAMP_LISTS else ():
            words = line.split()
            try:
                seconds = float(words[0])
            except (IndexError, ValueError):
                continue
            if len(words) == 2 and math.isfinite(seconds):
                listed[words[1]] = round(seconds * 1e9)
        paths = self.files[kind].values()
        return [listed.get(self._listed_name(path), stamp_ns(path.stem)) for path in paths]

    def _listed_name(self, path: Path) -> str:
        """A file as lists name it: its path below the scene, with slashes."""
        return os.path.relpath(path, self.root).replace(os.sep, "/")


def read_scene(
    root: Path, kinds: Collection[Kind], chosen: Mapping[Kind, Path] | None = None
) -> ImageScene:
    """Find the images of one folder by the names of its subfolders, or else of its files.

    Args:
        root: the folder.
        kinds: what to look for.
        chosen: folders that are read regardless of their names.

    Raises:
        ImageFolderError: a folder of images without a readable one, or two files of one name.
    """
    ignored: dict[Path, str] = {}
    folders = _folders(root, kinds, chosen or {}, ignored)
    if folders:
        files = {kind: _images_of(folder, kind, ignored) for kind, folder in folders.items()}
        return ImageScene(root, files, folders, ignored, mixed=False)
    files = _mixed_images(root, kinds, ignored)
    return ImageScene(root, files, dict.fromkeys(files, root), ignored, mixed=True)


def _mixed_images(
    root: Path, kinds: Collection[Kind], ignored: dict[Path, str]
) -> dict[Kind, dict[str, Path]]:
    """The images of a folder of several kinds, told apart by the words in their names."""
    others: dict[Path, str] = {}
    named: dict[Kind | None, dict[str, Path]] = {}
    for stem, path in _images(root, others).items():
        named.setdefault(kind_of(stem), {})[stem] = path
    # Lists, poses and calibrations are expected beside images.
    ignored |= {p: reason for p, reason in others.items() if p.suffix.lower() not in TEXT_SUFFIXES}
    unknown = named.pop(None, {})
    if named and "rgb" not in named:  # 7.jpg beside 7_depth.png
        named["rgb"] = {s: unknown.pop(s) for s in list(unknown) if not says_kind(s)}
    reason = "the name does not say whether it is color, depth or labels"
    ignored |= dict.fromkeys(unknown.values(), reason)
    return {kind: named[kind] for kind in KINDS if kind in kinds and named.get(kind)}


def _folders(
    root: Path, kinds: Collection[Kind], chosen: Mapping[Kind, Path], ignored: dict[Path, str]
) -> dict[Kind, Path]:
    """The folder of each kind.

    Raises:
        ImageFolderError: several folders could hold a kind.
    """
    within = subfolders(root)
    candidates = [path for path in within if not _has_kinds(path)]
    result: dict[Kind, Path] = {}
    for kind in KINDS:
        if kind in kinds and kind in chosen:
            result[kind] = chosen[kind]
        elif kind in kinds:
            known = FOLDER_NAMES[kind]
            found = [p for p in candidates if p.name.lower() in known]
            found.sort(key=lambda p: known.index(p.name.lower()))
            similar = [p for p in candidates if kind_of(p.name) == kind and _has_images(p)]
            if not found and (kind == "rgb" or "left" in _name(result.get("rgb"))):
                twins = _right_images(similar)
                ignored |= dict.fromkeys(twins, "the left image of the stereo pair is read")
                similar = [path for path in similar if path not in twins]
            if not found and kind == "depth":
                painted = [path for path in similar if PAINTED.search(path.name)]
                if painted != similar:
                    ignored |= dict.fromkeys(painted, IN_COLORS)
                    similar = [path for path in similar if path not in painted]
            if not found and len(similar) > 1:
                names = listed([f"{path.name}/" for path in similar])
                raise ImageFolderError(
                    f"{root}: several folders could hold {WHAT[kind]} images: {names}; rename "
                    f"one of them to {kind}"
                )
            if found or similar:
                result[kind], *rest = found or similar
                rest += [path for path in similar if path not in (result[kind], *rest)]
                option = "" if kind == "labels" else f" (or pass --{kind} DIR to predict)"
                reason = f"{result[kind].name}/ is read instead; to choose, rename one{option}"
                ignored |= dict.fromkeys(rest, reason)
    if result and "depth" in kinds and "depth" not in chosen:
        hha = [p for p in within if re.search("(?i)(?<![a-z])hha(?![a-z])", p.name)]
        ignored |= dict.fromkeys(hha, FROM_DEPTH)
    if {"rgb", "depth"} & set(kinds) <= {*result} and not chosen:
        # If a kind is missing, another message names these folders.
        reason = "the name of the folder says neither color nor depth nor labels"
        for path in within:
            if path in ignored or path in result.values() or not _has_images(path):
                continue
            if not names_a_kind(path.name):
                ignored[path] = reason
            elif "labels" not in kinds and _names_labels(path.name):
                ignored[path] = NO_LABELS
    return result


def names_a_kind(folder: str) -> bool:
    """Whether the name of a folder says that it holds color, depth or labels."""
    known = any(folder.lower() in names for names in FOLDER_NAMES.values())
    return known or kind_of(folder) is not None


def _names_labels(folder: str) -> bool:
    return folder.lower() in FOLDER_NAMES["labels"] or kind_of(folder) == "labels"


def _has_kinds(folder: Path) -> bool:
    """Whether a folder is a scene itself: its own folders hold color and depth images."""
    names = [path.name.lower() for path in subfolders(folder)]
    return all(
        any(name in FOLDER_NAMES[kind] or kind_of(name) == kind for name in names)
        for kind in ("rgb", "depth")
    )


def _has_images(folder: Path, levels: int = LEVELS) -> bool:
    """Whether there are images in a folder or in the folders below."""
    if any(path.suffix.lower() in SUFFIXES for path in entries(folder)):
        return True
    return levels > 0 and any(_has_images(sub, levels - 1) for sub in subfolders(folder))


def _name(path: Path | None) -> str:
    return path.name.lower() if path else ""


def _right_images(folders: list[Path]) -> list[Path]:
    """The folders of a stereo camera's right images, such as ``image_right`` of ``image_left``."""
    names = {path.name.lower() for path in folders}
    return [
        path
        for path in folders
        if "right" in path.name.lower() and path.name.lower().replace("right", "left") in names
    ]


def _convert(folder: Path) -> str:
    """The remedy for images in a format that is not read; empty if there are none."""
    unread = any(path.suffix.lower() in UNREAD_SUFFIXES for path in entries(folder))
    return "convert the images to PNG, or " if unread else ""


def _images_of(folder: Path, kind: Kind, ignored: dict[Path, str]) -> dict[str, Path]:
    """The images of a folder of one kind, or of its subfolders if it has none itself."""
    found = _images_below(folder, ignored)
    if not found:
        raise ImageFolderError(
            f"{folder} has no image that can be read; it contains {contents(folder)} (read are "
            f"{', '.join(sorted(SUFFIXES))}); {_convert(folder)}remove the folder if it is not "
            "meant to be read"
        )
    # Some programs write a mask or a preview of each image into the same folder.
    named = {stem: kind_of(Path(stem).name) for stem in found}
    if kind in named.values():
        for stem in [stem for stem, other in named.items() if other not in (kind, None)]:
            ignored[found.pop(stem)] = f"the name does not say that it is a {WHAT[kind]} image"
    if kind == "labels":
        for stem, reason in not_classes(found).items():
            ignored[found.pop(stem)] = reason
    return found


def _images_below(folder: Path, ignored: dict[Path, str], levels: int = LEVELS) -> dict[str, Path]:
    """The images of a folder or, if it has none itself, those of the folders below."""
    found = _images(folder, ignored)
    if not found and levels:
        for sub in subfolders(folder):
            below = _images_below(sub, ignored, levels - 1)
            found |= {f"{sub.name}/{stem}": path for stem, path in below.items()}
    return found


def _images(folder: Path, ignored: dict[Path, str]) -> dict[str, Path]:
    """The images of one folder by name without suffix, in natural order."""
    found: dict[str, Path] = {}
    for path in entries(folder):
        if path.is_dir():
            continue
        if path.suffix.lower() not in SUFFIXES:
            ignored[path] = f"the suffix {path.suffix or '(none)'} is not supported"
            if path.suffix.lower() in UNREAD_SUFFIXES:
                ignored[path] += "; convert these images to PNG"
        elif not path.is_file():
            broken = path.is_symlink() and not path.exists()
            ignored[path] = "a link to a missing file" if broken else "not a regular file"
        elif path.stem in found:
            raise ImageFolderError(
                f"{found[path.stem]} and {path.name} have the same name; keep one of them"
            )
        else:
            found[path.stem] = path
    return found


def entries(folder: Path) -> list[Path]:
    """Everything in a folder except hidden files and litter, in natural order."""
    shown = (p for p in folder.iterdir() if p.name[0] != "." and p.name.lower() not in LITTER)
    return sorted(shown, key=lambda p: natural_order(p.name))


def subfolders(folder: Path) -> list[Path]:
    """The folders in a folder except hidden ones, in natural order."""
    return [path for path in entries(folder) if path.is_dir()]


def contents(folder: Path) -> str:
    """The first entries of a folder, for messages."""
    names = [f"{path.name}/" if path.is_dir() else path.name for path in entries(folder)]
    return listed(names) or "nothing"


def listed(names: list[str], limit: int = 3) -> str:
    """The first names, and how many more there are: ``a, b, c and 2 more``."""
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more


def _lines(path: Path) -> list[str]:
    """The lines of a text file without comments; none if there is no such file.

    Raises:
        ImageFolderError: the file cannot be read, is not regular, is too large, or is not text.
    """
    if not os.path.lexists(path):
        return []
    try:
        text = read_text_file(path)
    except InputFileError as error:
        raise ImageFolderError(str(error)) from error
    return [line for line in text.splitlines() if not line.lstrip().startswith("#")]
