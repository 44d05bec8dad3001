# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Your own images: a folder with color images, depth images and labels, checked once and read."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cache as once
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from rgbd_seg_ros.files import InputFileError, read_json, write_atomically
from rgbd_seg_ros.image_io import (
    ImageFileError,
    default_depth_scale,
    read_depth,
    read_image,
    read_rgb,
)
from rgbd_seg_ros.progress import progress_bar, say
from training import distributed
from training.data.checks import (
    check_depth,
    check_sizes,
    describe_unusable,
    fit_to_color,
    judge_frame,
    sampled,
)
from training.data.class_report import count_labels
from training.data.description import Description, read_description
from training.data.folder_files import LabeledFrames, find_labeled_frames, split_names
from training.data.label_files import read_labels
from training.data.polygons import labels_of
from training.data.sample import FOLDERS, Sample
from training.options import UsageError


class FolderSamples:
    """Samples of a folder.

    Args:
        root: the folder, named in messages.
        description: classes, label coding, depth unit and intrinsics.
        files: ``rgb``, ``depth`` or ``labels`` → name of a sample → its file.
        names: the samples in order.
    """

    def __init__(
        self,
        root: Path,
        description: Description,
        files: Mapping[str, Mapping[str, Path]],
        names: list[str],
    ) -> None:
        self.root, self.description, self.names = root, description, names
        self.label_set = description.label_set
        self.files = {f: {name: files[f][name] for name in names} for f in FOLDERS}
        #: One line for each thing in the folder that is not used, or not as usual.
        self.notes: tuple[str, ...] = ()
        self._counts: dict[str, npt.NDArray[np.int64]] = {}
        #: Name of a sample that has been checked → result of :func:`judge_frame`.
        self.unusable: dict[str, dict[str, str]] = {}

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> Sample:
        """Read and check the images of one sample.

        Raises:
            ImageFileError: a file is truncated or not an image.
            UsageError: the sizes differ, or a label is not a class.
        """
        name = self.names[index]
        rgb = read_rgb(self.files["rgb"][name])
        size = (rgb.shape[0], rgb.shape[1])
        where = f"{self.root}, sample {name!r}"
        depth = fit_to_color(where, self.depth_m(index), size)
        labels = read_labels(self.files["labels"][name], self.description.coding, size)
        check_sizes(where, rgb=rgb, depth=depth, labels=labels)
        camera = self.description.intrinsics(size)
        return Sample(rgb, depth, labels, name, None if camera is None else camera.matrix())

    def depth_m(self, index: int) -> npt.NDArray[np.float32]:
        """The depth of one sample as H×W meters as stored, NaN invalid.

        Raises:
            ImageFileError: the file is truncated or not a depth image, or its unit is not known.
        """
        return read_depth(self.files["depth"][self.names[index]], self.description.depth_scale)

    def label_counts(self, index: int) -> npt.NDArray[np.int64] | None:
        """Pixels of each class, then unlabeled pixels, of a sample that has been checked."""
        return self._counts.get(self.names[index])

    def without(self, bad: Mapping[str, str]) -> FolderSamples:
        """The samples whose names are not in ``bad``."""
        names = [name for name in self.names if name not in bad]
        rest = FolderSamples(self.root, self.description, self.files, names)
        rest._counts, rest.unusable = self._counts, self.unusable
        return rest


def open_folder(
    root: str, split: str, held_out: float, strict: bool, cache: str = ""
) -> FolderSamples:
    """Open one split of a folder and check all its files.

    Args:
        root: the folder.
        split: train, val or test.
        held_out: share of the samples for a split that has no list.
        strict: reject incomplete frames and unreadable images instead of skipping them.
        cache: folder for the results of the checks, so that they run only once.

    Raises:
        UsageError: a missing folder, name or key; an invalid size or label; no valid depth, or
            depth in another unit; no readable sample; with ``strict``, an incomplete frame or an
            unreadable image.
    """
    if not root:
        raise UsageError("dataset 'folder' needs its folder: --root DIR")
    path = Path(root)
    frames, description = read_folder(path)
    if strict and frames.incomplete:
        name = frames.incomplete[0]
        raise UsageError(
            f"{root}: {len(frames.incomplete)} frames are incomplete; {name!r} has no "
            f"{' and no '.join(frames.lacking(name))}; complete them, or omit strict"
        )
    names = split_names(frames, held_out)[split]
    samples = FolderSamples(path, description, frames.files, names)
    bad = check(samples, Path(cache) if cache else None)
    if bad and strict:
        first = next(iter(bad))
        raise UsageError(f"{len(bad)} unreadable samples in {root}; the first is: {bad[first]}")
    if bad and len(bad) == len(names):
        first = next(iter(bad))
        raise UsageError(
            f"{root}: none of the {len(names)} {split} samples can be read; the first is "
            f"{first!r}: {bad[first]}"
        )
    skipped = [f"skipped: {text}" for text in list(bad.values())[:5]]
    if bad:
        skipped.append(f"{split}: {len(bad)} of {len(names)} samples skipped")
    samples = samples.without(bad)
    check_samples(samples, f"{path}, {split} split")
    unusable = [f"{split}: {line}" for line in describe_unusable(samples.unusable)]
    samples.notes = (*frames.notes, *skipped, *unusable)
    for note in samples.notes:
        tell(note)
    return samples


def read_folder(root: Path) -> tuple[LabeledFrames, Description]:
    """The frames of a folder and their description.

    Raises:
        UsageError: as :func:`find_labeled_frames` and :func:`read_description`.
    """
    frames = find_labeled_frames(root)
    polygons = [p for p in frames.files["labels"].values() if p.suffix.lower() == ".json"]
    return frames, read_description(root, lambda: sorted(set().union(*map(labels_of, polygons))))


def depth_dtype(samples: FolderSamples) -> np.dtype[Any]:
    """The type of the values in the first depth image that can be read."""
    error: ImageFileError | None = None
    for name in samples.names:
        try:
            return read_image(samples.files["depth"][name]).dtype
        except ImageFileError as caught:
            error = error or caught
    raise UsageError(f"{samples.root}: no depth image can be read; the first: {error}")


def check_samples(samples: FolderSamples, where: str) -> None:
    """Check the depth of a few samples; raise UsageError if it is missing or not plausible.

    Args:
        samples: a split.
        where: its name, which starts the message.
    """
    chosen = sampled(len(samples)) if len(samples) else []
    if chosen:
        depths = [samples.depth_m(index) for index in chosen]
        unit = samples.description.depth_scale or default_depth_scale(depth_dtype(samples))
        line = check_depth(where, depths, unit, "depth_scale: {} in dataset.yaml")
        if distributed.is_main():
            say(line)


@once
def tell(note: str) -> None:
    """Print a warning on stderr, once in a process."""
    if distributed.is_main():
        say(f"warning: {note}")


def check(samples: FolderSamples, cache: Path | None) -> dict[str, str]:
    """Read every sample once, and count the pixels of its classes.

    Files that passed an earlier check and have not changed since are not read again.

    Returns:
        Name → reason of each sample with an unreadable image.

    Raises:
        UsageError: any other defect.
    """
    key = hashlib.sha256(f"{samples.root.resolve()}{samples.description}".encode()).hexdigest()
    store = cache / "folder" / f"{key[:16]}.json" if cache else None
    passed = _load(store)
    stamps = {name: _stamp(samples, name) for name in samples.names}
    todo = [
        i
        for i, name in enumerate(samples.names)
        if passed.get(name, {}).get("files") != stamps[name]
    ]
    classes = len(samples.label_set)

    def read(index: int) -> dict[str, Any] | str:
        try:
            sample = samples[index]
        except ImageFileError as error:
            return str(error)
        return {
            "pixels": count_labels(sample.labels, classes).tolist(),
            "unusable": judge_frame(sample.rgb, sample.depth_m),
        }

    bad: dict[str, str] = {}
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # decoding releases the GIL
        results = pool.map(read, todo)
        with progress_bar(
            "checking images", len(todo), "sample", iterable=results, disable=not todo
        ) as bar:
            for index, result in zip(todo, bar, strict=True):
                name = samples.names[index]
                if isinstance(result, str):
                    bad[name] = result
                else:
                    passed[name] = {"files": stamps[name], **result}
    good = [name for name in samples.names if name not in bad]
    samples._counts = {name: np.array(passed[name]["pixels"], np.int64) for name in good}
    samples.unusable = {name: passed[name]["unusable"] for name in good}
    if store and todo and distributed.is_main():
        store.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(store, json.dumps(passed))
    return bad


def _load(store: Path | None) -> dict[str, dict[str, Any]]:
    """Name → file stamps and pixel counts of an earlier check; empty if the file is damaged."""
    try:
        stored = read_json(store) if store else {}
    except InputFileError:
        return {}
    return {
        name: entry
        for name, entry in (stored.items() if isinstance(stored, dict) else ())
        if isinstance(entry, dict)
        and isinstance(entry.get("pixels"), list)
        and isinstance(entry.get("unusable"), dict)
    }


def _stamp(samples: FolderSamples, name: str) -> list[int]:
    """Sizes and modification times of a sample's files."""
    stats = [samples.files[folder][name].stat() for folder in FOLDERS]
    return [value for stat in stats for value in (stat.st_size, stat.st_mtime_ns)]
