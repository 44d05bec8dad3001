# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""ISPRS Potsdam: 38 orthophotos with heights (nDSM) and color-coded labels, cut into crops."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt

from rgbd_seg_ros.image_io import read_rgb, read_single_channel
from rgbd_seg_ros.labels import IGNORE_ID, POTSDAM6
from training.data.checks import size_text
from training.data.prepare.base import Entry, FrameData, RawDataset, need
from training.options import UsageError, opt

RGB, IRRG, NDSM, LABELS = "2_Ortho_RGB", "3_Ortho_IRRG", "1_DSM_normalisation", "5_Labels_all"
#: Rows 2 to 7 of the tiling and their columns: 38 scenes.
SCENES = tuple(
    f"{row}_{column}"
    for row, columns in {
        2: range(10, 15), 3: range(10, 15), 4: range(10, 16),
        5: range(10, 16), 6: range(7, 16), 7: range(7, 14),
    }.items()
    for column in columns
)  # fmt: skip
#: Scenes whose labels the benchmark withheld while it was open.
TEST_SCENES = (
    *("2_13", "2_14", "3_13", "3_14", "4_13", "4_14", "4_15"),
    *("5_13", "5_14", "5_15", "6_13", "6_14", "6_15", "7_13"),
)
SCENE_PIXELS = 6000
#: Label colors may differ by this much per channel, as those of scene 4_12 do.
COLOR_TOLERANCE = 60
#: Added to the height, so that the ground has a valid depth; 0 means invalid.
GROUND_M = 1.0


@dataclass(frozen=True)
class PotsdamOptions:
    """Options of Potsdam."""

    bands: Literal["irgb", "irrg", "rgb"] = opt(
        "irgb", "the three channels: IR-G-B, IR-R-G or R-G-B"
    )
    crop: int = opt(500, "side of a crop in pixels; 500 gives 12 × 12 per scene")
    test_scenes: tuple[str, ...] = opt(
        TEST_SCENES, "scenes of the test split; the others are for training"
    )
    labels: str = opt(LABELS, "folder of the label images")
    depth_unit: float = opt(
        0.1, "meters per gray level of an 8-bit nDSM (nominal; no unit is published)"
    )

    def __post_init__(self) -> None:
        if self.crop < 32:
            raise UsageError(f"crop must be 32 or more, got {self.crop}")
        unknown = [s for s in self.test_scenes if s not in SCENES]
        if unknown:
            raise UsageError(f"unknown scene {unknown[0]!r} (known: {', '.join(SCENES)})")


class Potsdam(RawDataset):
    """38 scenes of 6000×6000, 6 classes; 5,472 crops of 500×500."""

    name: ClassVar[str] = "potsdam"
    page: ClassVar[str] = (
        "ISPRS 2D Semantic Labeling Contest - Potsdam, "
        "https://www.isprs.org/resources/datasets/benchmarks/UrbanSemLab/"
        "2d-sem-label-potsdam.aspx"
    )
    quantity: ClassVar[str] = "height above ground (nDSM) + 1 m"

    options_class: ClassVar[type] = PotsdamOptions

    def __init__(self, root: Path, options: PotsdamOptions, partial: bool) -> None:
        self.options, self.partial, self.root = options, partial, root
        self.label_set = POTSDAM6
        self.depth_unit = options.depth_unit
        self.depth_scale = 0.01
        # The zip file of the labels has no folder, so they may lie beside the other folders.
        loose = not (root / options.labels).is_dir() and any(root.glob("top_potsdam_*_label.tif"))
        self._labels = root if loose else root / options.labels
        self.scenes = [s for s in SCENES if self._label_path(s).is_file()]
        per_scene = (SCENE_PIXELS // options.crop) ** 2
        test = len(options.test_scenes)
        self.expected = {
            "all": per_scene * len(SCENES),
            "train": per_scene * (len(SCENES) - test),
            "test": per_scene * test,
        }
        names = {"irgb": (RGB, IRRG), "irrg": (IRRG,), "rgb": (RGB,)}[options.bands]
        need(root, [NDSM, *([] if loose else [options.labels]), *names], self.page)
        if not self.scenes or (len(self.scenes) < len(SCENES) and not partial):
            missing = [s for s in SCENES if s not in self.scenes]
            raise UsageError(
                f"{len(missing)} of {len(SCENES)} label images are missing; the first is "
                f"{self._label_path(missing[0])}; official page: {self.page}"
            )
        self.files = [p for s in self.scenes for p in self._paths(s)]
        self._scene = lru_cache(maxsize=1)(self._read_scene)

    def entries(self) -> list[Entry]:
        """All crops, scene by scene and row by row."""
        found = []
        for scene in self.scenes:
            size = SCENE_PIXELS if not self.partial else len(self._scene(scene)[0])
            split = "test" if scene in self.options.test_scenes else "train"
            steps = size // self.options.crop
            found += [
                Entry(f"{scene}_{row:02d}_{column:02d}", scene, split, (scene, row, column))
                for row in range(steps)
                for column in range(steps)
            ]
        return found

    def read(self, entry: Entry) -> FrameData:
        """Read a crop; its scene stays in memory for the next one."""
        scene, row, column = entry.key
        side = self.options.crop
        window = np.s_[row * side : (row + 1) * side, column * side : (column + 1) * side]
        return FrameData(*(np.ascontiguousarray(a[window]) for a in self._scene(scene)))

    def _label_path(self, scene: str) -> Path:
        return self._labels / f"top_potsdam_{scene}_label.tif"

    def _paths(self, scene: str) -> list[Path]:
        """Label, height and color files of a scene."""
        found = [self._label_path(scene), height_path(self.root / NDSM, scene)]
        if self.options.bands != "rgb":
            found.append(self.root / IRRG / f"top_potsdam_{scene}_IRRG.tif")
        if self.options.bands != "irrg":
            found.append(self.root / RGB / f"top_potsdam_{scene}_RGB.tif")
        missing = [p for p in found if not p.is_file()]
        if missing:
            raise UsageError(f"{missing[0]} is missing; official page: {self.page}")
        return found

    def _read_scene(self, scene: str) -> tuple[npt.NDArray[Any], ...]:
        label_path, height, *color = self._paths(scene)
        labels = label_ids(read_rgb(label_path), label_path)
        size = labels.shape
        images = [read_rgb(path) for path in color]
        for path, image in zip(color, images, strict=True):
            if image.shape[:2] != size:
                raise UsageError(
                    f"{path} is {size_text(image.shape)}, but its labels are {size_text(size)}"
                )
        if size != (SCENE_PIXELS, SCENE_PIXELS) and not self.partial:
            raise UsageError(
                f"{label_path} is {size_text(size)}; the published size is 6000×6000; add "
                "--partial"
            )
        rgb = images[0]
        if self.options.bands == "irgb":  # infrared of one image, green and blue of the other
            rgb = np.dstack([images[0][..., 0], images[1][..., 1:]])
        return rgb, read_height(height, size, self.depth_unit), labels


def height_path(folder: Path, scene: str) -> Path:
    """The normalized DSM of a scene: the published JPEG, or a float TIFF of the same name."""
    row, column = scene.split("_")
    stem = f"dsm_potsdam_{int(row):02d}_{int(column):02d}_normalized"
    found = sorted(p for p in folder.glob(f"{stem}*") if p.suffix.lower() in (".jpg", ".tif"))
    by_lastools = [p for p in found if "lastools" in p.stem]
    return (by_lastools or found or [folder / f"{stem}_lastools.jpg"])[0]


def read_height(path: Path, size: tuple[int, ...], unit: float) -> npt.NDArray[np.float32]:
    """Read heights as depth: meters above ground plus 1, NaN invalid.

    One published image (03_13) lacks its last column, so the column before it is repeated.

    Args:
        path: file of the normalized DSM.
        size: (height, width) of the labels.
        unit: meters per gray level; float files are in meters.
    """
    raw = read_single_channel(path)
    height = raw.astype(np.float32) * np.float32(1.0 if raw.dtype.kind == "f" else unit)
    lacking = [want - have for want, have in zip(size, height.shape, strict=True)]
    if min(lacking) < 0 or max(lacking) > 1:
        raise UsageError(
            f"{path} is {size_text(height.shape)}, but its labels are {size_text(size)}"
        )
    height = np.pad(height, [(0, n) for n in lacking], mode="edge")
    depth = np.maximum(height + np.float32(GROUND_M), np.float32(0.01))  # pits are below ground
    return np.where(np.isfinite(height), depth, np.nan).astype(np.float32)


def label_ids(painted: npt.NDArray[np.uint8], path: Path) -> npt.NDArray[np.uint8]:
    """H×W×3 label colors → class ids; black (eroded borders) is unlabeled.

    Raises:
        UsageError: a color that is not one of the six.
    """
    high = painted >= 128
    off = np.where(high, 255 - painted, painted)
    codes = _code(high)
    table = np.full(8, 254, np.uint8)
    for class_id, color in enumerate(POTSDAM6.palette):
        table[_code(np.array(color) >= 128)] = class_id
    table[0] = IGNORE_ID
    ids = table[codes]
    wrong = (ids == 254) | (off.max(axis=2) > COLOR_TOLERANCE)
    if wrong.any():
        y, x = np.argwhere(wrong)[0]
        raise UsageError(
            f"{path} has {int(wrong.sum())} pixels of unknown color, the first "
            f"{tuple(int(v) for v in painted[y, x])} at row {y}, column {x}; known are "
            f"{', '.join(map(str, POTSDAM6.palette))}"
        )
    return ids


def _code(high: npt.NDArray[np.bool_]) -> npt.NDArray[np.uint8]:
    """…×3 booleans (True: bright channel) → numbers from 0 to 7."""
    bits = high.astype(np.uint8)
    return bits[..., 0] * np.uint8(4) + bits[..., 1] * np.uint8(2) + bits[..., 2]
