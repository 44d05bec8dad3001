# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Mid-Air: drone flights, listed in HDF5 files or found in folders, every 8th frame."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from rgbd_seg_ros.image_io import read_rgb, read_single_channel
from rgbd_seg_ros.labels import IGNORE_ID, MIDAIR13
from training.data.checks import size_text
from training.data.prepare.base import (
    Entry,
    FrameData,
    RawDataset,
    class_ids,
    open_hdf5,
    packed,
)
from training.options import UsageError, opt

RECORDS = "sensor_records.hdf5"
COLOR, LABELS, DISPARITY = "color_left", "segmentation", "stereo_disparity"
#: Published id → class id; 7 is "empty" and becomes unlabeled.
LABEL_TABLE = np.array(
    [0, 1, 2, 3, 4, 5, 6, IGNORE_ID, 7, 8, 9, 10, 11, 12], np.uint8
)  # fmt: skip
#: Depth in meters × disparity in pixels: focal length 512 px (90° over 1024 px) × baseline 1 m.
FOCAL_BASELINE = 512.0
SIDE = 1024
#: The depth PNG's last tick at 1 cm; it represents the sky (0.008 px of disparity).
FAR_M = 655.34


@dataclass(frozen=True)
class MidAirOptions:
    """Options of Mid-Air."""

    environment: str = opt("PLE", "PLE or Kite: NAME in the folders NAME_training and NAME_test")
    setup: str = opt("spring", "season or weather: a subfolder of both folders")
    every: int = opt(8, "take every Nth frame of a flight")

    def __post_init__(self) -> None:
        if self.every < 1:
            raise UsageError(f"every must be 1 or more, got {self.every}")


class MidAir(RawDataset):
    """PLE in spring, every 8th frame: 6,859 frames of 1024×1024, 13 classes."""

    name: ClassVar[str] = "midair"
    page: ClassVar[str] = (
        "Mid-Air, https://midair.ulg.ac.be/download.html (Left RGB, Semantic seg. and Stereo "
        "Disparity of PLE training and test, spring)"
    )
    #: Over open land, the median depth can be large.
    plausible_m: ClassVar[tuple[float, float]] = (1.0, 300.0)
    #: 6,859 is the CroDiNo-KD paper's count.
    expected_is_official: ClassVar[bool] = False

    options_class: ClassVar[type] = MidAirOptions

    def __init__(self, root: Path, options: MidAirOptions, partial: bool) -> None:
        self.options, self.partial, self.root = options, partial, root
        self.label_set = MIDAIR13
        self.depth_scale = 0.01
        self.expected = (
            {"all": 6859}
            if (options.environment, options.setup, options.every) == ("PLE", "spring", 8)
            else {}
        )
        if not root.is_dir():
            raise UsageError(
                f"--source {root} is not a folder; it must contain the files from {self.page}"
            )
        self.parts = {
            split: root / f"{options.environment}_{part}" / options.setup
            for split, part in (("train", "training"), ("test", "test"))
        }
        self.parts = {split: path for split, path in self.parts.items() if path.is_dir()}
        if "train" not in self.parts:
            raise UsageError(
                f"{root} lacks {options.environment}_training/{options.setup} with the folders "
                f"{COLOR}, {LABELS}, {DISPARITY} and {RECORDS}; official page: {self.page}"
            )
        self.files = [p / RECORDS for p in self.parts.values() if (p / RECORDS).is_file()]

    def entries(self) -> list[Entry]:
        """All frames, flight by flight, in temporal order."""
        found, missing = [], []
        for split, part in self.parts.items():
            # If there are no test flights, the test split is held out of the training flights.
            published = split if len(self.parts) > 1 else None
            for flight, frames in sorted(flights(part).items()):
                for color in frames[:: self.options.every]:
                    stem = Path(color).stem
                    paths = (part / color, *(
                        _png(part / kind / flight / stem) for kind in (LABELS, DISPARITY)
                    ))  # fmt: skip
                    lacking = [p for p in paths if not p.is_file()]
                    missing += lacking
                    if not lacking:
                        name = f"{part.parent.name}_{flight}_{stem}"
                        found.append(Entry(name, flight, published, paths))
        if missing and not self.partial:
            raise UsageError(
                f"{len(missing)} images are missing; the first is {missing[0]}"
                f"{packed(missing[0].parent)}; unpack all archives of {self.page} or add "
                "--partial"
            )
        return found

    def read(self, entry: Entry) -> FrameData:
        """Read a frame of the left camera."""
        color, segmentation, disparity = entry.key
        rgb = read_rgb(color)
        raw = read_single_channel(segmentation)
        if rgb.shape[:2] != (SIDE, SIDE) and not self.partial:
            raise UsageError(
                f"{color} is {size_text(rgb.shape)}; the published size is {SIDE}×{SIDE}; add "
                "--partial"
            )
        bits = read_single_channel(disparity)
        if bits.dtype != np.uint16:
            raise UsageError(f"{disparity} is {bits.dtype}; expected a 16-bit PNG of float16")
        width = rgb.shape[1]
        center = (width - 1) / 2
        return FrameData(
            rgb,
            disparity_to_meters(bits, FOCAL_BASELINE * width / SIDE),
            class_ids(raw, LABEL_TABLE, str(segmentation)),
            (width / 2, width / 2, center, center),
        )


def disparity_to_meters(
    bits: npt.NDArray[np.uint16], focal_baseline: float
) -> npt.NDArray[np.float32]:
    """H×W float16 bit patterns of disparity in pixels → meters up to 655.34, NaN invalid."""
    disparity = bits.view(np.float16).astype(np.float32)
    valid = np.isfinite(disparity) & (disparity > 0)
    depth = np.minimum(focal_baseline / np.where(valid, disparity, 1), FAR_M)
    return np.where(valid, depth, np.nan).astype(np.float32)


def flights(part: Path) -> dict[str, list[str]]:
    """Flight → relative paths of its color images, from the HDF5 file or from the folders."""
    path = part / RECORDS
    if not path.is_file():
        folders = sorted(p for p in (part / COLOR).glob("trajectory_*") if p.is_dir())
        if not folders:
            raise UsageError(f"{part} has neither {RECORDS} nor {COLOR}/trajectory_* folders")
        listed = {f.name: _relative(part, sorted(f.iterdir())) for f in folders}
        empty = [f for f in folders if not listed[f.name]]
        if empty:
            raise UsageError(f"{empty[0]} contains no images{packed(empty[0])}")
        return listed
    with open_hdf5(path) as file:
        found = {}
        for flight in file:
            group = file[flight]
            if "camera_data" not in group or COLOR not in group["camera_data"]:
                raise UsageError(f"{path}: {flight} has no camera_data/{COLOR}")
            found[flight] = [_text(v) for v in group["camera_data"][COLOR][()]]
    return found


def _relative(part: Path, paths: Iterable[Path]) -> list[str]:
    return [p.relative_to(part).as_posix() for p in paths if p.suffix.lower() in _SUFFIXES]


def _text(value: Any) -> str:
    """A path in the HDF5 file, which may be bytes or use Windows separators."""
    text = value.decode() if isinstance(value, bytes) else str(value)
    return text.replace("\\", "/")


_SUFFIXES = (".jpg", ".jpeg", ".png")


def _png(stem: Path) -> Path:
    """``…/000008`` → the PNG of that name, whose suffix may be in upper or lower case."""
    for suffix in (".PNG", ".png"):
        if stem.with_suffix(suffix).is_file():
            return stem.with_suffix(suffix)
    return stem.with_suffix(".PNG")
