# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Folders of RGB-D images: finds the color, depth and label files and pairs them into frames.

These layouts are recognized by the names of folders and files, in any case:

- ``RGB/``, ``Depth/`` and ``Label/`` with equal names (CMX, PrimKD, DFormer), and this project's
  prepared datasets;
- ``rgb/`` and ``depth/`` named by stamp (TUM RGB-D), or paired in ``associations.txt``;
- ``color/``, ``depth/`` and ``label-filt/`` (ScanNet);
- one folder with ``NAME.color.png`` and ``NAME.depth.png`` (7-Scenes, 3DMatch);
- one folder per frame or scene, each in one of these layouts (SUN RGB-D).

Only names and lists are read here, never the images.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePosixPath

from rgbd_seg_ros.files import ARCHIVES
from rgbd_seg_ros.image_io import UNREAD_SUFFIXES
from rgbd_seg_ros.image_names import KINDS, Kind
from rgbd_seg_ros.image_scene import (
    FOLDER_NAMES,
    FROM_DEPTH,
    WHAT,
    ImageFolderError,
    ImageScene,
    contents,
    entries,
    listed,
    names_a_kind,
    read_scene,
    subfolders,
)

__all__ = ["KINDS", "WHAT", "FolderFrames", "ImageFolderError", "Kind", "find_frames"]


@dataclass(frozen=True)
class FolderFrames:
    """The image files of a folder, by frame."""

    root: Path
    #: The names of all frames, in natural order. A frame has at least one file.
    names: tuple[str, ...]
    #: The files of each kind by the name of their frame, in the order of ``names``. A kind that
    #: the folder does not have is missing.
    files: Mapping[Kind, Mapping[str, Path]]
    #: The folders in which the files of each kind were found: one per scene.
    folders: Mapping[Kind, tuple[Path, ...]]
    #: What the files of a frame have in common, for messages; empty for a single kind.
    pairing: str = ""
    #: File → reason, for each file whose frame lacks a kind that the folder has.
    unpaired: Mapping[Path, str] = field(default_factory=dict)
    #: File or folder → reason why it is not read.
    ignored: Mapping[Path, str] = field(default_factory=dict)
    #: One line for each warning: what is not used, and the reason.
    notes: tuple[str, ...] = ()

    @property
    def unread_images(self) -> tuple[Path, ...]:
        """Files that are images, but in a format that is not read."""
        return tuple(p for p in self.ignored if p.suffix.lower() in UNREAD_SUFFIXES)

    @property
    def complete(self) -> tuple[str, ...]:
        """The names of the frames that have a file of every kind in ``files``."""
        return tuple(n for n in self.names if all(n in found for found in self.files.values()))

    def find(self, text: str) -> str | None:
        """The name of the frame that an entry of a list means; None if there is no such frame.

        Args:
            text: the name of a frame, or one of its files with or without folder and suffix,
                such as ``RGB/7.jpg`` or ``7``.
        """
        text = text.replace("\\", "/").strip()
        stem = PurePosixPath(text).with_suffix("").as_posix() if PurePosixPath(text).name else ""
        return self._aliases.get(text) or self._aliases.get(stem)

    @cached_property
    def _aliases(self) -> dict[str, str | None]:
        """Everything that names a frame → its name; None for what names several."""
        found: dict[str, str | None] = {}
        for files in self.files.values():
            for name, path in files.items():
                file = PurePosixPath(os.path.relpath(path, self.root).replace(os.sep, "/"))
                stem = file.with_suffix("")
                for alias in {str(file), file.name, str(stem), stem.name}:
                    found[alias] = name if found.get(alias, name) == name else None
        return {**found, **{name: name for name in self.names}}


def find_frames(
    folder: Path,
    *,
    rgb: Path | None = None,
    depth: Path | None = None,
    labels: Path | None = None,
    kinds: Collection[Kind] = KINDS,
    need: Collection[Kind] = (),
    read_elsewhere: Collection[Path] = (),
) -> FolderFrames:
    """Find and pair the images of a folder.

    Args:
        folder: in one of the layouts that the module describes.
        rgb, depth, labels: the folder of each kind, relative to ``folder`` or absolute; None to
            find it by its name.
        kinds: what to look for.
        need: kinds that the folder must have.
        read_elsewhere: files that are no images, but are used, so that no note says otherwise.

    Raises:
        ImageFolderError: no such folder; no images, or none of a kind in ``need``; a folder of
            images without a readable one; two files of the same name; or several kinds without
            a single pair.
        OSError: a folder cannot be listed.
    """
    given: dict[Kind, Path | None] = {"rgb": rgb, "depth": depth, "labels": labels}
    chosen = {kind: folder / path for kind, path in given.items() if path is not None}
    for path in (folder, *chosen.values()):
        if not path.is_dir():
            problem = "is a file; pass its folder" if path.exists() else "does not exist"
            raise ImageFolderError(f"{path} {problem}")
    scenes = [read_scene(folder, kinds, chosen)]
    if not scenes[0].files:
        inner = [read_scene(sub, kinds) for sub in subfolders(folder)]
        scenes += [scene for scene in inner if scene.files]
    _check_kinds(folder, scenes, [kind for kind in KINDS if kind in kinds], need)

    names: list[str] = []
    files: dict[Kind, dict[str, Path]] = {kind: {} for kind in KINDS}
    rules: dict[str, None] = {}
    for scene in scenes:
        frames, used = scene.frames() if scene.files else ({}, ())
        rules |= dict.fromkeys(used)
        for name, found in frames.items():
            if scene.root != folder:
                name = f"{scene.root.name}_{name}" if len(frames) > 1 else scene.root.name
            names.append(name)
            for kind, path in found.items():
                files[kind][name] = path
    name, count = Counter(names).most_common(1)[0]
    if count > 1:
        raise ImageFolderError(f"{folder} has {count} frames of the name {name!r}; rename them")
    files = {kind: found for kind, found in files.items() if found}
    unpaired, notes = _unpaired(folder, files)
    notes += _unrecognized(folder, scenes[0], [k for k in kinds if k not in chosen])
    ignored = {path: reason for scene in scenes for path, reason in scene.ignored.items()}
    ignored = {path: reason for path, reason in ignored.items() if path not in read_elsewhere}
    return FolderFrames(
        root=folder,
        names=tuple(names),
        files=files,
        folders={k: tuple(s.folders[k] for s in scenes if k in s.folders) for k in files},
        pairing=" and ".join(rules),
        unpaired=unpaired,
        ignored=ignored,
        notes=(*notes, *_ignored_notes(folder, ignored)),
    )


def _check_kinds(
    folder: Path, scenes: Sequence[ImageScene], kinds: Sequence[Kind], need: Collection[Kind]
) -> None:
    """Raise ImageFolderError if there are no images, or none of a needed kind."""
    have = {kind for scene in scenes for kind in scene.files}
    missing = [kind for kind in kinds if kind in need and kind not in have]
    if have and not missing:
        return
    wanted = missing or kinds
    hha = [path.name for path in scenes[0].ignored if scenes[0].ignored[path] == FROM_DEPTH]
    hint = f"; {listed(hha)}/ is not read, since {FROM_DEPTH}" if hha else ""
    expected = " and ".join("|".join(FOLDER_NAMES[kind][:4]) + "/" for kind in wanted)
    raise ImageFolderError(
        f"{folder} has no {' and no '.join(WHAT[k] for k in wanted)} images; it contains "
        f"{contents(folder)}{_unpack(folder)}; expected {expected} (in any case), or images "
        f"with names such as 7_{wanted[0]}.png{hint}"
    )


def _unpack(folder: Path) -> str:
    """`` (unpack a.zip first)`` if a folder has archives, else an empty string."""
    found = [path.name for path in entries(folder) if path.name.lower().endswith(ARCHIVES)]
    return f" (unpack {listed(found)} first)" if found else ""


def _unpaired(
    folder: Path, files: Mapping[Kind, Mapping[str, Path]]
) -> tuple[dict[Path, str], list[str]]:
    """File → the image that its frame lacks, and a note for each kind."""
    unpaired: dict[Path, str] = {}
    notes = []
    for kind, found in files.items():
        for other, partners in files.items():
            alone = [path for name, path in found.items() if name not in partners]
            if kind == other or not alone:
                continue
            if len(alone) == len(found):
                two = _short(folder, alone[0]), _short(folder, next(iter(partners.values())))
                raise ImageFolderError(
                    f"none of the {counted(len(found), f'{WHAT[kind]} image')} in {folder} "
                    f"belongs to a {WHAT[other]} image, for example {two[0]} and {two[1]}: "
                    "neither their names (with or without words such as rgb and depth) nor their "
                    "numbers agree, nor are their stamps within 20 ms; rename the files, or "
                    f"remove the {WHAT[kind]} or the {WHAT[other]} images"
                )
            unpaired |= dict.fromkeys(alone, f"there is no {WHAT[other]} image of this frame")
            notes.append(
                f"{len(alone)} of {counted(len(found), f'{WHAT[kind]} image')} "
                f"{'has' if len(alone) == 1 else 'have'} no {WHAT[other]} image: "
                f"{listed([_short(folder, path) for path in alone])}"
            )
    return unpaired, notes


def _unrecognized(folder: Path, scene: ImageScene, kinds: Collection[Kind]) -> list[str]:
    """A note if color or depth is missing, and a folder of another name may contain it."""
    missing = [k for k in KINDS if k != "labels" and k in kinds and k not in scene.files]
    others = [
        _short(folder, path)
        for path in subfolders(folder)
        if path not in scene.folders.values()
        and path not in scene.ignored
        and not names_a_kind(path.name)
    ]
    if not scene.files or not missing or not others:
        return []
    names = " or ".join(FOLDER_NAMES[missing[0]][:2])
    return [
        f"there are no {WHAT[missing[0]]} images; if {listed(others)} contains them, rename it "
        f"to {names}"
    ]


def _ignored_notes(folder: Path, ignored: Mapping[Path, str]) -> list[str]:
    by_reason: dict[str, list[str]] = {}
    for path, reason in ignored.items():
        by_reason.setdefault(reason, []).append(_short(folder, path))
    return [f"not read: {listed(paths)} ({reason})" for reason, paths in by_reason.items()]


def _short(folder: Path, path: Path) -> str:
    shown = path.relative_to(folder) if path.is_relative_to(folder) else path
    return f"{shown}/" if path.is_dir() else str(shown)


def counted(count: int, noun: str) -> str:
    """A count with its noun: ``1 image``, ``2 images``."""
    return f"{count} {noun}{'' if count == 1 else 's'}"
