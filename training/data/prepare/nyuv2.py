# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""NYU Depth v2: nyu_depth_v2_labeled.mat (HDF5), its split and its class mappings."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt

from rgbd_seg_ros.labels import IGNORE_ID, NYU13, NYU40
from rgbd_seg_ros.progress import say
from training.data.prepare.base import (
    Entry,
    FrameData,
    RawDataset,
    hdf5_array,
    load_mat,
    matlab_string,
    need,
    open_hdf5,
)
from training.data.prepare.index import sha256
from training.options import UsageError, opt

LABELED, SPLIT = "nyu_depth_v2_labeled.mat", "splits.mat"
MAP40, MAP13 = "classMapping40.mat", "class13Mapping.mat"
#: Hashes of the copies in the authors' toolboxes.
KNOWN_SHA256 = {
    SPLIT: "6e081404491a8bfba2f066beaa9713ef6046f9007aa5f799f2a350506a580cee",
    MAP40: "ff177194cce9a2163517f1e1e6f1c64c50987162f542dedddc04bbf6ebe6d851",
    MAP13: "4e79ab24c345896c19abc62476b2c3520f3e2db00f71f868c5027208af48a3de",
}
#: Color camera in the toolbox's camera_params.m; depth is aligned to it.
INTRINSICS = (518.85790117450188, 519.46961112127485, 325.58244941119034, 253.73616633400465)
NUM_LABELS = 894


@dataclass(frozen=True)
class NYUv2Options:
    """Options of NYU Depth v2."""

    classes: Literal["40", "13"] = opt("40", "classes of Gupta et al. (40) or Couprie et al. (13)")
    depth: Literal["refined", "raw"] = opt(
        "refined", "`depths` with holes filled in, or `rawDepths`"
    )
    depth_unit: float = opt(1.0, "meters per unit of the stored depth")


class NYUv2(RawDataset):
    """1,449 frames of 640×480; 795 for training, 654 for testing."""

    name: ClassVar[str] = "nyuv2"
    page: ClassVar[str] = (
        "NYU Depth Dataset V2, https://cs.nyu.edu/~fergus/datasets/nyu_depth_v2.html (labeled "
        "dataset; splits.mat of its toolbox; mappings of github.com/ankurhanda/nyuv2-meta-data)"
    )

    options_class: ClassVar[type] = NYUv2Options

    def __init__(self, root: Path, options: NYUv2Options, partial: bool) -> None:
        self.expected = {"train": 795, "test": 654}
        self.label_set = NYU40 if options.classes == "40" else NYU13
        self.depth_unit = options.depth_unit
        names = [LABELED, SPLIT, MAP40, *([MAP13] if options.classes == "13" else [])]
        need(root, names, self.page)
        self.files = [root / name for name in names]
        for path in self.files[1:]:
            if sha256(path.read_bytes()) != KNOWN_SHA256[path.name]:
                say(f"note: {path} is not a known copy, so only its content is checked")
        self._table = label_table(root, options.classes == "13")
        self._file = open_hdf5(root / LABELED)
        self._images = hdf5_array(self._file, root / LABELED, "images", 4)
        self._labels = hdf5_array(self._file, root / LABELED, "labels", 3)
        key = "depths" if options.depth == "refined" else "rawDepths"
        self._depths = hdf5_array(self._file, root / LABELED, key, 3)
        self._scenes = scene_names(self._file, root / LABELED, len(self._images))
        self._split = read_split(root / SPLIT, len(self._images))
        check_shapes(root / LABELED, self._images, self._depths, self._labels, partial)

    def entries(self) -> list[Entry]:
        """All frames in the order of the file; a scene is a group."""
        return [
            Entry(f"{i + 1:04d}", scene, split, i)
            for i, (scene, split) in enumerate(zip(self._scenes, self._split, strict=True))
            if split
        ]

    def read(self, entry: Entry) -> FrameData:
        """Read a frame; on disk, MATLAB's column order is N×3×W×H and N×W×H."""
        try:
            rgb = self._images[entry.key].transpose(2, 1, 0)
            depth = self._depths[entry.key].T.astype(np.float32) * np.float32(self.depth_unit)
            raw = self._labels[entry.key].T
        except OSError as error:
            raise UsageError(
                f"{self.files[0]} is damaged at frame {entry.name}: download it again "
                f"({' '.join(str(error).split())})"
            ) from error
        depth[~(np.isfinite(depth) & (depth > 0))] = np.nan
        if int(raw.max()) >= len(self._table):
            raise UsageError(
                f"frame {entry.name} has label {int(raw.max())}; {MAP40} maps only {NUM_LABELS}"
            )
        return FrameData(np.ascontiguousarray(rgb, np.uint8), depth, self._table[raw], INTRINSICS)


def label_table(root: Path, thirteen: bool) -> npt.NDArray[np.uint8]:
    """Table from labels in the file (0 unlabeled, 1..894) to class ids, 255 unlabeled."""
    mapping = load_mat(root / MAP40, "mapClass", "className")
    to40 = np.asarray(mapping["mapClass"], np.int64).ravel()
    names = tuple(str(name) for name in np.atleast_1d(mapping["className"]))
    if names != NYU40.classes:
        raise UsageError(
            f"{root / MAP40} names {len(names)} classes, not the 40 of Gupta et al. in their order"
        )
    if len(to40) != NUM_LABELS or to40.min() < 1 or to40.max() > 40:
        raise UsageError(
            f"{root / MAP40} maps {len(to40)} labels to {to40.min()}..{to40.max()}; expected "
            f"{NUM_LABELS} labels to 1..40"
        )
    ids = to40
    if thirteen:
        struct = load_mat(root / MAP13, "classMapping13")["classMapping13"]
        to13 = np.asarray(getattr(struct, "labels13", ()), np.int64).ravel()
        names = tuple(str(name) for name in np.atleast_1d(getattr(struct, "classNames", ())))
        if names != NYU13.classes or len(to13) != 40 or to13.min() < 1 or to13.max() > 13:
            raise UsageError(
                f"{root / MAP13} maps {len(to13)} classes to {len(names)} names; expected 40 to "
                f"the 13 of Couprie et al."
            )
        ids = to13[to40 - 1]
    return np.concatenate([[IGNORE_ID], ids - 1]).astype(np.uint8)


def read_split(path: Path, frames: int) -> list[str | None]:
    """The split of each frame, or None; the file counts frames from 1."""
    found = load_mat(path, "trainNdxs", "testNdxs")
    result: list[str | None] = [None] * frames
    for key, split in (("trainNdxs", "train"), ("testNdxs", "test")):
        for number in np.atleast_1d(found[key]).ravel():
            if not 1 <= int(number) <= frames:
                raise UsageError(f"{path}: {key} lists frame {number}, but {LABELED} has {frames}")
            if result[int(number) - 1]:
                raise UsageError(f"{path}: frame {number} is in both splits, or twice in one")
            result[int(number) - 1] = split
    return result


def scene_names(file: Any, path: Path, frames: int) -> list[str]:
    """The scene of each frame, such as ``kitchen_0004``."""
    references = hdf5_array(file, path, "scenes", 2)
    if references.size != frames:
        raise UsageError(f"{path} has {references.size} scene names for {frames} frames")
    return [matlab_string(file, reference) for reference in references[()].ravel()]


def check_shapes(path: Path, images: Any, depths: Any, labels: Any, partial: bool) -> None:
    """Raise UsageError unless the shapes match and, without ``partial``, are those published."""
    n, channels, width, height = images.shape
    if channels != 3 or depths.shape != (n, width, height) or labels.shape != (n, width, height):
        raise UsageError(
            f"{path}: images {images.shape}, depths {depths.shape}, labels {labels.shape} do not "
            "match; expected N×3×W×H, N×W×H, N×W×H"
        )
    if (n, height, width) != (1449, 480, 640) and not partial:
        raise UsageError(
            f"{path} contains {n} frames of {width}×{height}; the published file contains 1449 of "
            "640×480; add --partial to use it anyway"
        )
