# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""An own folder of pictures: rgb/, depth/ and labels/ with equal names, and dataset.yaml.

``dataset.yaml`` says ``classes`` (a list of names, id 0 first) and, where the defaults do not
fit, ``name``, ``depth_scale`` (meters per tick of 16-bit depth), ``first_id`` (the label value
of the first class; 1 where 0 means unlabeled) and ``intrinsics`` (fx, fy, cx, cy in pixels).
``train.txt``, ``val.txt`` and ``test.txt`` beside it list the names of each split; what is
missing is held out of the rest.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from rgbd_seg_ros.frames import Intrinsics
from rgbd_seg_ros.image_io import SUFFIXES, ImageFileError, read_depth, read_rgb
from rgbd_seg_ros.labels import IGNORE_ID, LabelSet
from rgbd_seg_ros.names import did_you_mean
from training import distributed
from training.data.sample import Sample, hold_out
from training.options import UsageError, read_yaml
from training.runlog import tracked

FOLDERS = ("rgb", "depth", "labels")
SPLIT_FILES = ("train", "val", "test")


@dataclass(frozen=True)
class Description:
    """What ``dataset.yaml`` says."""

    classes: tuple[str, ...]
    name: str
    #: Meters per tick of 16-bit depth; float pictures are meters.
    depth_scale: float = 0.001
    #: Label value of class 0; 1 where the files keep 0 for unlabeled pixels.
    first_id: int = 0
    #: Pinhole intrinsics of the pictures.
    intrinsics: Intrinsics | None = None


class Unreadable(UsageError):
    """A picture that cannot be decoded: skipped, unless ``strict``."""


class FolderSamples:
    """Named samples of a folder."""

    def __init__(self, root: Path, description: Description, names: list[str]) -> None:
        self.root, self.description, self.names = root, description, names
        self.label_set = LabelSet(description.name, description.classes)
        self._files = {folder: _files(root / folder) for folder in FOLDERS}

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> Sample:
        """Read and check one triple.

        Raises:
            Unreadable: a file is no picture.
            UsageError: sizes differ, or a label is no class id.
        """
        name = self.names[index]
        paths = {folder: self._files[folder][name] for folder in FOLDERS}
        try:
            rgb = read_rgb(paths["rgb"])
            depth = read_depth(paths["depth"], self.description.depth_scale)
        except ImageFileError as error:
            raise Unreadable(str(error)) from error
        labels = read_labels(paths["labels"], self.description)
        sizes = {"rgb": rgb.shape[:2], "depth": depth.shape, "labels": labels.shape}
        if len(set(sizes.values())) > 1:
            seen = ", ".join(f"{k} {w}×{h}" for k, (h, w) in sizes.items())
            raise UsageError(
                f"{self.root}, sample {name!r}: sizes differ ({seen}); register depth to color "
                "and label the color picture's pixels"
            )
        k = self.description.intrinsics
        return Sample(rgb, depth, labels, name, None if k is None else k.matrix())


def read_labels(path: Path, description: Description) -> npt.NDArray[np.uint8]:
    """A label picture as H×W class ids, 255 unlabeled.

    Raises:
        Unreadable: no picture.
        UsageError: more than one channel, or a value that is no class.
    """
    picture = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if picture is None:
        raise Unreadable(f"cannot read label picture {path}: not there or no picture")
    if picture.ndim != 2:
        raise UsageError(
            f"{path} has {picture.shape[2]} channels; labels are one-channel pictures of class "
            "ids, not colors"
        )
    ids = picture.astype(np.int64) - description.first_id
    unlabeled = (picture == IGNORE_ID) | (ids < 0)
    count = len(description.classes)
    wrong = np.unique(picture[~unlabeled & (ids >= count)])
    if wrong.size:
        first = description.first_id
        raise UsageError(
            f"{path} holds label {wrong[0]}, allowed are {first}..{first + count - 1} and 255 for "
            f"unlabeled; correct the file, or classes and first_id in dataset.yaml"
        )
    return np.where(unlabeled, IGNORE_ID, ids).astype(np.uint8)


def open_folder(
    root: str, split: str, held_out: float, strict: bool, cache: str = ""
) -> FolderSamples:
    """One split of a folder, every file checked (once: what was found is kept in ``cache``).

    Args:
        held_out: share of the samples for a split that no file lists.
        strict: refuse undecodable pictures instead of leaving them out.

    Raises:
        UsageError: a missing folder, name or key; a defect that is no mere unreadable file.
    """
    if not root:
        raise UsageError("data set 'folder' needs its folder: --root DIR")
    path = Path(root)
    description = read_description(path)
    names = split_names(path, held_out)[split]
    samples = FolderSamples(path, description, names)
    bad = check(samples, Path(cache) if cache else None)
    if bad and strict:
        first = next(iter(bad))
        raise UsageError(f"{len(bad)} unreadable samples in {root}, the first: {bad[first]}")
    if bad and distributed.is_main():
        for text in list(bad.values())[:5]:
            print(f"skipped: {text}", file=sys.stderr)
        print(f"{split}: {len(bad)} of {len(names)} samples skipped", file=sys.stderr)
    return FolderSamples(path, description, [n for n in names if n not in bad])


def read_description(root: Path) -> Description:
    """``dataset.yaml``, checked."""
    path = root / "dataset.yaml"
    if not path.is_file():
        raise UsageError(f"{path} is missing; it lists the classes: `classes: [floor, wall, …]`")
    values = read_yaml(path)
    known = ("classes", "name", "depth_scale", "first_id", "intrinsics")
    for key in values:
        if key not in known:
            raise UsageError(f"{path}: unknown key {key!r}{did_you_mean(key, known)}")
    try:
        camera = values.pop("intrinsics", None)
        values["classes"] = tuple(str(name) for name in values["classes"])
        description = Description(**{"name": root.resolve().name, **values})
        LabelSet(description.name, description.classes)
        if camera is None:
            return description
        height, width = read_rgb(next(iter(_files(root / "rgb").values()))).shape[:2]
        intrinsics = Intrinsics(**camera, width=width, height=height)
        return Description(**{**vars(description), "intrinsics": intrinsics})
    except (KeyError, TypeError, ValueError) as error:
        raise UsageError(f"{path}: {error}") from error


def split_names(root: Path, held_out: float) -> dict[str, list[str]]:
    """Sample names of each split: listed in files, or held out of what no file lists."""
    files = {folder: _files(root / folder) for folder in FOLDERS}
    everywhere = set.intersection(*(set(found) for found in files.values()))
    incomplete = set.union(*(set(found) for found in files.values())) - everywhere
    if incomplete:
        name = sorted(incomplete)[0]
        lacking = [folder for folder in FOLDERS if name not in files[folder]]
        raise UsageError(
            f"{root}: {len(incomplete)} samples are incomplete; {name!r} has no "
            f"{' and no '.join(lacking)}"
        )
    listed: dict[str, list[str]] = {}
    for split in SPLIT_FILES:
        path = root / f"{split}.txt"
        if path.is_file():
            listed[split] = path.read_text(encoding="utf-8").split()
            unknown = [name for name in listed[split] if name not in everywhere]
            if unknown:
                hint = did_you_mean(unknown[0], everywhere)
                raise UsageError(f"{path}: no sample {unknown[0]!r} in {root}{hint}")
    for a, b in (("train", "val"), ("train", "test"), ("val", "test")):
        both = set(listed.get(a, ())) & set(listed.get(b, ()))
        if both:
            raise UsageError(f"{root}: {sorted(both)[0]!r} is in both {a}.txt and {b}.txt")
    taken = {name for names in listed.values() for name in names}
    rest = listed["train"] if "train" in listed else sorted(everywhere - taken)
    for split in ("test", "val"):
        if split not in listed:
            rest, listed[split] = hold_out(rest, held_out)
    return {**listed, "train": rest}


def check(samples: FolderSamples, cache: Path | None) -> dict[str, str]:
    """Read every sample once: name → why it cannot be read; other defects are raised.

    Files that were fine last time and have not changed since are not read again.
    """
    key = hashlib.sha256(f"{samples.root.resolve()}{samples.description}".encode()).hexdigest()
    store = cache / "folder" / f"{key[:16]}.json" if cache else None
    fine: dict[str, Any] = _load(store)
    stamps = {name: _stamp(samples, name) for name in samples.names}
    todo = [i for i, name in enumerate(samples.names) if fine.get(name) != stamps[name]]

    def read(index: int) -> str | None:
        try:
            samples[index]
        except Unreadable as error:
            return str(error)
        return None

    bad: dict[str, str] = {}
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # decoding releases the interpreter's lock
        for index, defect in zip(
            todo, tracked(pool.map(read, todo), len(todo), "checking pictures"), strict=True
        ):
            name = samples.names[index]
            if defect is None:
                fine[name] = stamps[name]
            else:
                bad[name] = defect
    if store and todo and distributed.is_main():
        store.parent.mkdir(parents=True, exist_ok=True)
        store.write_text(json.dumps(fine))
    return bad


def _load(store: Path | None) -> dict[str, Any]:
    try:
        return dict(json.loads(store.read_text())) if store else {}
    except (OSError, ValueError):
        return {}


def _stamp(samples: FolderSamples, name: str) -> list[int]:
    stats = [samples._files[folder][name].stat() for folder in FOLDERS]
    return [value for stat in stats for value in (stat.st_size, stat.st_mtime_ns)]


def _files(folder: Path) -> dict[str, Path]:
    """Name without suffix → picture file, sorted by name."""
    if not folder.is_dir():
        raise UsageError(f"{folder} is missing; the data set needs {', '.join(FOLDERS)} in it")
    found: dict[str, Path] = {}
    for path in _pictures(folder):
        if path.stem in found:
            raise UsageError(f"{path} and {found[path.stem].name} have the same name")
        found[path.stem] = path
    return found


def _pictures(folder: Path) -> Iterable[Path]:
    return sorted(p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES)
