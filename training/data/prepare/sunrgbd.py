# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""SUN RGB-D: the unpacked folders SUNRGBD and SUNRGBDtoolbox."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt

from rgbd_seg_ros.files import read_text_file
from rgbd_seg_ros.image_io import read_rgb, read_single_channel
from rgbd_seg_ros.labels import IGNORE_ID, SUNRGBD37
from training.data.prepare.base import (
    Entry,
    FrameData,
    RawDataset,
    class_ids,
    load_mat,
    need,
    open_hdf5,
)
from training.options import UsageError, opt

META = "SUNRGBDtoolbox/Metadata/SUNRGBDMeta.mat"
SEG = "SUNRGBDtoolbox/Metadata/SUNRGBD2Dseg.mat"
NAMES = "SUNRGBDtoolbox/Metadata/seg37list.mat"
SPLIT = "SUNRGBDtoolbox/traintestSUNRGBD/allsplit.mat"
#: Split lists accepted in place of SPLIT (github.com/ankurhanda/sunrgbd-meta-data).
LISTS = {"train": "sunrgbd_training_images.txt", "test": "sunrgbd_testing_images.txt"}
#: Sensors, which are the first folders of a frame's path.
SENSORS = ("kv1", "kv2", "xtion", "realsense")
#: The toolbox clips depth to 8 m.
FAR_TICKS = 8000


@dataclass(frozen=True)
class SunRGBDOptions:
    """Options of SUN RGB-D."""

    depth: Literal["refined", "raw"] = opt("refined", "depth_bfx with holes filled in, or depth")
    bits: Literal["rotated", "plain"] = opt(
        "rotated", "as published, or already converted to plain millimeters"
    )
    depth_unit: float = opt(
        0.001, "meters per unit of the stored depth, after its bits are rotated back"
    )


class SunRGBD(RawDataset):
    """10,335 frames of four sensors, 37 classes; 5,285 for training, 5,050 for testing."""

    name: ClassVar[str] = "sunrgbd"
    page: ClassVar[str] = (
        "SUN RGB-D, https://rgbd.cs.princeton.edu (SUNRGBD.zip and SUNRGBDtoolbox.zip, unpacked "
        "side by side)"
    )

    options_class: ClassVar[type] = SunRGBDOptions

    def __init__(self, root: Path, options: SunRGBDOptions, partial: bool) -> None:
        self.expected = {"train": 5285, "test": 5050}
        self.label_set = SUNRGBD37
        self.depth_unit = options.depth_unit
        self._rotated = options.bits == "rotated"
        self._folder = "depth_bfx" if options.depth == "refined" else "depth"
        lists = all((root / name).is_file() for name in LISTS.values())
        by_lists = lists and not (root / SPLIT).is_file()
        split_files = tuple(LISTS.values()) if by_lists else (SPLIT,)
        need(root, ["SUNRGBD", META, SEG, NAMES, *split_files], self.page)
        self.root = root
        self.files = [root / name for name in (META, SEG, NAMES, *split_files)]
        check_names(root / NAMES)
        self._meta = np.atleast_1d(load_mat(root / META, "SUNRGBDMeta")["SUNRGBDMeta"])
        for key in ("rgbpath", "rgbname", "depthname"):
            if not all(hasattr(meta, key) for meta in self._meta):
                raise UsageError(f"{META} has frames without {key}: is it the right file?")
        self._split = read_lists(root) if by_lists else read_split(root / SPLIT)
        self._seg = open_hdf5(root / SEG)
        self._labels = seg_references(self._seg, root / SEG)
        if len(self._labels) != len(self._meta):
            raise UsageError(
                f"{SEG} labels {len(self._labels)} frames, but {META} lists {len(self._meta)}"
            )
        self._partial = partial

    def entries(self) -> list[Entry]:
        """All frames in the order of SUNRGBDMeta.mat, which is the order of the labels."""
        entries, missing = [], []
        for i, meta in enumerate(self._meta):
            frame = frame_folder(str(meta.rgbpath))
            split = self._split.get(frame)
            if split is None:
                where = " and ".join(p.name for p in self.files[3:])
                raise UsageError(f"{where} has no split for {frame}, which {META} lists")
            folder = self.root / frame
            if not (folder / "intrinsics.txt").is_file():
                missing.append(frame)
                continue
            images = (str(meta.rgbname), str(meta.depthname))
            entries.append(Entry(f"{i + 1:05d}", group_of(frame), split, (i, folder, *images)))
        if missing and not self._partial:
            raise UsageError(
                f"{len(missing)} of {len(self._meta)} frames are not in {self.root}; the first is "
                f"{missing[0]}; unpack SUNRGBD.zip again or add --partial"
            )
        return entries

    def read(self, entry: Entry) -> FrameData:
        """Read a frame; its annotated extrinsics give the direction of gravity."""
        i, folder, rgb_name, depth_name = entry.key
        rgb = read_rgb(folder / "image" / rgb_name)
        path = folder / self._folder / depth_name
        ticks = read_single_channel(path)
        if ticks.dtype != np.uint16:
            raise UsageError(f"{path} is {ticks.dtype}; expected 16-bit depth")
        # In the published files, depth up to 8.19 m has three zero bits at the end.
        odd = float((ticks & 7 != 0).mean())
        if self._rotated and odd > 0.25:
            raise UsageError(
                f"{path}: {100 * odd:.0f} % of the depth would be beyond 8.19 m; its bits are "
                "probably not rotated: try --bits plain"
            )
        raw = np.asarray(self._seg[self._labels[i]]).T  # MATLAB's column order
        return FrameData(
            rgb,
            depth_meters(ticks, self.depth_unit, self._rotated),
            class_ids(raw, LABEL_TABLE, f"{SEG}, frame {i + 1}"),
            read_intrinsics(folder / "intrinsics.txt"),
            read_gravity(folder / "extrinsics"),
        )


#: Label in the file (0 unlabeled, 1..37) → class id.
LABEL_TABLE = np.concatenate([[IGNORE_ID], np.arange(37)]).astype(np.uint8)


def depth_meters(
    ticks: npt.NDArray[np.uint16], unit: float, rotated: bool = True
) -> npt.NDArray[np.float32]:
    """Stored depth → meters, NaN invalid; published PNGs are rotated left by three bits."""
    plain = (ticks >> 3) | (ticks << 13) if rotated else ticks
    depth = np.minimum(plain, FAR_TICKS).astype(np.float32) * np.float32(unit)
    depth[ticks == 0] = np.nan
    return depth


def frame_folder(path: str) -> str:
    """``/n/fs/sun3d/data/SUNRGBD/kv2/x/y/image/z.jpg`` → ``SUNRGBD/kv2/x/y``."""
    parts = [p for p in path.replace("\\", "/").split("/") if p]
    if "SUNRGBD" not in parts:
        raise UsageError(f"frame path {path!r} has no folder SUNRGBD")
    parts = parts[parts.index("SUNRGBD") :]
    if "image" in parts:
        parts = parts[: parts.index("image")]
    if len(parts) < 3 or parts[1] not in SENSORS:
        raise UsageError(f"frame path {path!r} does not name a sensor ({', '.join(SENSORS)})")
    return "/".join(parts)


def group_of(frame: str) -> str:
    """The recording of a frame. kv2 names recordings by time, SUN3D by folder."""
    parts = frame.split("/")
    recording = re.match(r"(?:\d{6}_)?(.+)_rgbf\d+", parts[-1])
    if recording:
        return "/".join([*parts[1:-1], recording[1]])
    return "/".join(parts[1:4])


def read_split(path: Path) -> dict[str, str]:
    """Frame folder → ``train`` or ``test``, from the toolbox."""
    found = load_mat(path, "alltrain", "alltest")
    lists = {"train": found["alltrain"], "test": found["alltest"]}
    return _to_splits({s: np.atleast_1d(frames) for s, frames in lists.items()}, path)


def read_lists(root: Path) -> dict[str, str]:
    """Frame folder → ``train`` or ``test``, from text files with one color image per line."""
    lists = {s: read_text_file(root / name).split() for s, name in LISTS.items()}
    return _to_splits(lists, root / LISTS["train"])


def _to_splits(lists: Mapping[str, Iterable[Any]], path: Path) -> dict[str, str]:
    result: dict[str, str] = {}
    for split, frames in lists.items():
        for frame in frames:
            folder = frame_folder(str(frame))
            if folder in result:
                raise UsageError(f"{path}: {folder} is in both splits, or twice in one")
            result[folder] = split
    return result


def check_names(path: Path) -> None:
    """Raise UsageError unless the toolbox names the 37 known classes."""
    names = tuple(str(n) for n in np.atleast_1d(load_mat(path, "seg37list")["seg37list"]))
    if names != SUNRGBD37.classes:
        raise UsageError(f"{path} names {len(names)} classes, not the known 37 in their order")


def seg_references(file: Any, path: Path) -> npt.NDArray[Any]:
    """References to the label image of each frame."""
    if "SUNRGBD2Dseg" not in file or "seglabel" not in file["SUNRGBD2Dseg"]:
        raise UsageError(f"{path} has no SUNRGBD2Dseg/seglabel: is it the right file?")
    return file["SUNRGBD2Dseg"]["seglabel"][()].ravel()


def read_intrinsics(path: Path) -> tuple[float, float, float, float]:
    """fx, fy, cx, cy from intrinsics.txt, which contains a 3×3 matrix row by row."""
    try:
        k = [float(v) for v in path.read_text().split()]
    except (OSError, ValueError) as error:
        raise UsageError(f"cannot read {path}: {error}") from error
    if len(k) != 9 or k[0] <= 0 or k[4] <= 0:
        raise UsageError(f"{path} must be a 3×3 camera matrix with fx and fy above 0, got {k}")
    return k[0], k[4], k[2], k[5]


def read_gravity(folder: Path) -> tuple[float, float, float] | None:
    """The down vector in the optical frame from the newest extrinsics file; None without one.

    The file's rotation maps optical axes to level axes whose y points down, so its second row is
    the down vector as the camera sees it.
    """
    files = sorted(folder.glob("*.txt"))
    if not files:
        return None
    try:
        rows = np.loadtxt(files[-1], ndmin=2)
    except ValueError:
        return None
    if rows.shape[0] < 3 or rows.shape[1] < 3:
        return None
    down = rows[1, :3] / max(1e-9, float(np.linalg.norm(rows[1, :3])))
    # A rotation has unit rows, and no camera of this dataset is upside down.
    if abs(float(np.linalg.norm(rows[1, :3])) - 1) > 0.02 or down[1] <= 0:
        return None
    x, y, z = (round(float(v), 6) for v in down)
    return x, y, z
