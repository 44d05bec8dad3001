# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Your own images: a folder with rgb/, depth/ and labels/ with matching names, and dataset.yaml.

``dataset.yaml`` has ``classes`` (names, id 0 first, or the name of a label set) and, if the
defaults do not fit, ``name``, ``depth_scale`` (meters per tick of 16-bit depth), ``first_id``
(label value of the first class; 1 if 0 means unlabeled) and ``intrinsics`` (fx, fy, cx, cy in
pixels). ``train.txt``, ``val.txt`` and
``test.txt`` beside it list the names of each split; a split without a list is held out of the
remaining samples.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from rgbd_seg_ros.frames import Intrinsics
from rgbd_seg_ros.image_io import SUFFIXES, ImageFileError, read_depth, read_image, read_rgb
from rgbd_seg_ros.labels import IGNORE_ID, LABEL_SETS, LabelSet
from rgbd_seg_ros.names import did_you_mean
from rgbd_seg_ros.progress import progress_bar
from training import distributed
from training.data.sample import FOLDERS, SPLITS, Sample, hold_out
from training.options import UsageError, lookup, read_yaml


@dataclass(frozen=True)
class Description:
    """The content of ``dataset.yaml``."""

    classes: tuple[str, ...]
    name: str
    #: Colors of the classes; if empty, the default palette.
    palette: tuple[tuple[int, int, int], ...] = ()
    #: Meters per tick of 16-bit depth; float depth is in meters.
    depth_scale: float = 0.001
    #: Label value of class 0; 1 if the files use 0 for unlabeled pixels.
    first_id: int = 0
    #: Pinhole intrinsics of the images.
    intrinsics: Intrinsics | None = None


class FolderSamples:
    """The samples of a folder, in the order of ``names``."""

    def __init__(self, root: Path, description: Description, names: list[str]) -> None:
        self.root, self.description, self.names = root, description, names
        self.label_set = LabelSet(description.name, description.classes, description.palette)
        self.files = {folder: image_files(root / folder) for folder in FOLDERS}

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> Sample:
        """Read and check the images of one sample.

        Raises:
            ImageFileError: a file is truncated or not an image.
            UsageError: the sizes differ, or a label is not a class id.
        """
        name = self.names[index]
        paths = {folder: self.files[folder][name] for folder in FOLDERS}
        rgb = read_rgb(paths["rgb"])
        depth = read_depth(paths["depth"], self.description.depth_scale)
        labels = read_labels(paths["labels"], self.description)
        sizes = {"rgb": rgb.shape[:2], "depth": depth.shape, "labels": labels.shape}
        if len(set(sizes.values())) > 1:
            seen = ", ".join(f"{k} {w}×{h}" for k, (h, w) in sizes.items())
            raise UsageError(
                f"{self.root}, sample {name!r}: sizes differ ({seen}); align depth to color and "
                "label the pixels of the color image"
            )
        k = self.description.intrinsics
        return Sample(rgb, depth, labels, name, None if k is None else k.matrix())


def read_labels(path: Path, description: Description) -> npt.NDArray[np.uint8]:
    """Read a label image as H×W class ids, 255 unlabeled.

    Raises:
        ImageFileError: the file is missing, truncated or not an image.
        UsageError: the image has several channels or a value that is not a class.
    """
    image = read_image(path)
    if image.ndim != 2:
        raise UsageError(
            f"{path} has {image.shape[2]} channels; label images have one channel with class ids, "
            "not colors"
        )
    ids = image.astype(np.int64) - description.first_id
    unlabeled = (image == IGNORE_ID) | (ids < 0)
    count = len(description.classes)
    wrong = np.unique(image[~unlabeled & (ids >= count)])
    if wrong.size:
        first = description.first_id
        raise UsageError(
            f"{path} contains label {wrong[0]}, allowed are {first}..{first + count - 1} and 255 "
            f"(unlabeled); correct the file, or classes and first_id in dataset.yaml"
        )
    return np.where(unlabeled, IGNORE_ID, ids).astype(np.uint8)


def open_folder(
    root: str, split: str, held_out: float, strict: bool, cache: str = ""
) -> FolderSamples:
    """Open one split of a folder and check all its files.

    Args:
        root: the folder.
        split: train, val or test.
        held_out: share of the samples for a split that has no list.
        strict: reject unreadable images instead of skipping them.
        cache: folder for the results of the checks, so that they run only once.

    Raises:
        UsageError: a missing folder, name or key; an invalid size or label; with ``strict``, an
            unreadable image.
    """
    if not root:
        raise UsageError("dataset 'folder' needs its folder: --root DIR")
    path = Path(root)
    description = read_description(path)
    names = split_names(path, held_out)[split]
    samples = FolderSamples(path, description, names)
    bad = check(samples, Path(cache) if cache else None)
    if bad and strict:
        first = next(iter(bad))
        raise UsageError(f"{len(bad)} unreadable samples in {root}; the first is: {bad[first]}")
    if bad and distributed.is_main():
        for text in list(bad.values())[:5]:
            print(f"skipped: {text}", file=sys.stderr)
        print(f"{split}: {len(bad)} of {len(names)} samples skipped", file=sys.stderr)
    return FolderSamples(path, description, [n for n in names if n not in bad])


def read_description(root: Path) -> Description:
    """Read and check ``dataset.yaml``; raise UsageError on a mistake."""
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
        if isinstance(values["classes"], str):
            labels = lookup("label set", values["classes"], LABEL_SETS)
        else:
            labels = LabelSet(root.resolve().name, tuple(map(str, values["classes"])))
        defaults = {"name": labels.name, "palette": labels.palette}
        description = Description(**{**defaults, **values, "classes": labels.classes})
        if camera is None:
            return description
        height, width = read_rgb(next(iter(image_files(root / "rgb").values()))).shape[:2]
        intrinsics = Intrinsics(**camera, width=width, height=height)
        return Description(**{**vars(description), "intrinsics": intrinsics})
    except (KeyError, TypeError, ValueError) as error:
        raise UsageError(f"{path}: {error}") from error


def split_names(root: Path, held_out: float) -> dict[str, list[str]]:
    """Sample names of each split, from its list or held out of the unlisted samples.

    Raises:
        UsageError: an incomplete sample, or a list with an unknown or repeated name.
    """
    files = {folder: image_files(root / folder) for folder in FOLDERS}
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
    for split in SPLITS:
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
    """Read every sample once.

    Files that passed an earlier check and have not changed since are not read again.

    Returns:
        Name → reason of each sample with an unreadable image.

    Raises:
        UsageError: any other defect.
    """
    key = hashlib.sha256(f"{samples.root.resolve()}{samples.description}".encode()).hexdigest()
    store = cache / "folder" / f"{key[:16]}.json" if cache else None
    passed: dict[str, Any] = _load(store)
    stamps = {name: _stamp(samples, name) for name in samples.names}
    todo = [i for i, name in enumerate(samples.names) if passed.get(name) != stamps[name]]

    def read(index: int) -> str | None:
        try:
            samples[index]
        except ImageFileError as error:
            return str(error)
        return None

    bad: dict[str, str] = {}
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # decoding releases the GIL
        defects = pool.map(read, todo)
        with progress_bar(
            "checking images", len(todo), "sample", iterable=defects, disable=not todo
        ) as bar:
            for index, defect in zip(todo, bar, strict=True):
                name = samples.names[index]
                if defect is None:
                    passed[name] = stamps[name]
                else:
                    bad[name] = defect
    if store and todo and distributed.is_main():
        store.parent.mkdir(parents=True, exist_ok=True)
        store.write_text(json.dumps(passed))
    return bad


def _load(store: Path | None) -> dict[str, Any]:
    try:
        return dict(json.loads(store.read_text())) if store else {}
    except (OSError, ValueError):
        return {}


def _stamp(samples: FolderSamples, name: str) -> list[int]:
    """Sizes and modification times of a sample's files."""
    stats = [samples.files[folder][name].stat() for folder in FOLDERS]
    return [value for stat in stats for value in (stat.st_size, stat.st_mtime_ns)]


def image_files(folder: Path) -> dict[str, Path]:
    """Name without suffix → image file, sorted by name.

    Raises:
        UsageError: no folder, or two files that differ only in their suffix.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder} is missing; a dataset has the folders {', '.join(FOLDERS)}")
    found: dict[str, Path] = {}
    for path in sorted(p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES):
        if path.stem in found:
            raise UsageError(f"{path} and {found[path.stem].name} have the same name")
        found[path.stem] = path
    return found
