# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Label files: class ids in gray or palette images, color-coded images, polygons of labelme."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from rgbd_seg_ros.image_io import SUFFIXES, read_image
from rgbd_seg_ros.labels import IGNORE_ID
from training.data.color_table import Color
from training.data.polygons import BACKGROUND_NAMES, IGNORED_NAMES, read_polygons
from training.options import UsageError

#: File name suffixes of labels, lower case.
LABEL_SUFFIXES = frozenset({*SUFFIXES, ".json"})
#: Values of a label image: 8 or 16 bits.
VALUES = 1 << 16
#: Entry of the table of values for a value without meaning; no class id, since masks are uint8.
WRONG = 256
#: Colors of a label image that an error lists.
LISTED_COLORS = 6


@dataclass(frozen=True)
class LabelCoding:
    """How the label files of a dataset tell the classes."""

    classes: tuple[str, ...]
    #: Value in gray and palette images → class id 0..K-1, or 255 for unlabeled.
    ids: tuple[tuple[int, int], ...]
    #: Color → class id or 255; empty if no color table is given.
    colors: tuple[tuple[Color, int], ...] = ()
    #: Labels of polygons that are unlabeled, apart from labelme's ``__ignore__``.
    unlabeled_names: tuple[str, ...] = ()

    def values_text(self) -> str:
        """The values of the classes for messages, such as ``0..12`` or ``0, 7, 255``."""
        values = sorted(value for value, class_id in self.ids if class_id != IGNORE_ID)
        if values == list(range(values[0], values[-1] + 1)) and len(values) > 1:
            return f"{values[0]}..{values[-1]}"
        return ", ".join(map(str, values))

    def polygon_values(self) -> tuple[dict[str, int], int]:
        """Label → class id for polygons, and the id of the pixels outside all of them."""
        values = {name: i for i, name in enumerate(self.classes)}
        outside = next((values[n] for n in BACKGROUND_NAMES if n in values), IGNORE_ID)
        ignored = dict.fromkeys((*IGNORED_NAMES, *self.unlabeled_names), IGNORE_ID)
        return {**ignored, **values}, outside


def consecutive_ids(first_id: int, count: int) -> tuple[tuple[int, int], ...]:
    """The ids of ``count`` values from ``first_id``; smaller values and 255 are unlabeled."""
    unlabeled = dict.fromkeys((*range(first_id), IGNORE_ID), IGNORE_ID)
    return tuple({**unlabeled, **{first_id + i: i for i in range(count)}}.items())


def read_labels(
    path: Path, coding: LabelCoding, size: tuple[int, int] | None = None
) -> npt.NDArray[np.uint8]:
    """Read a label file as H×W class ids 0..K-1, 255 unlabeled.

    The values of a palette image (PNG, TIFF or BMP, as VOC and labelme2voc write them) are its
    indices unless there is a color table. Three equal channels are read as one. Transparent
    pixels without a known value or color are unlabeled.

    Args:
        path: an image, or a JSON file of labelme.
        coding: meaning of values, colors and names.
        size: (height, width) of the color image, for polygons of a file that does not say it.

    Raises:
        ImageFileError: the file is missing, truncated or not an image.
        UsageError: a value, color or name that is not a class, or a lossy or float image.
    """
    if path.suffix.lower() == ".json":
        return read_polygons(path, *coding.polygon_values(), size)
    image = read_image(path)
    kind, bits = _header(path)
    if kind == "jpeg":
        raise UsageError(
            f"{path}: JPEG changes pixel values, so it cannot hold labels; save them as PNG"
        )
    if image.dtype.kind not in "iu":
        raise UsageError(f"{path} has {image.dtype} values; labels are whole numbers")
    transparent = None
    if image.ndim == 3 and image.shape[2] == 4:
        transparent, image = image[..., 3] == 0, image[..., :3]
    if image.ndim == 3 and coding.colors and image.dtype == np.uint8:
        return _from_colors(image, coding, path, transparent)
    if image.ndim == 2 and kind == "gray" and bits < 8:
        image = image // (255 // (2**bits - 1))  # OpenCV scales 1, 2 and 4 bits to 0..255
    if image.ndim == 3:
        if kind == "palette" or (kind == "other" and _has_palette(path)):
            image, transparent = _palette_indices(path), None
        else:
            image = _single_channel(path, image)
    return _from_values(image, coding, path, transparent)


def _single_channel(path: Path, image: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """H×W×3 → H×W, if the channels are equal."""
    if (image == image[..., :1]).all():
        return np.ascontiguousarray(image[..., 0])
    raise UsageError(
        f"{path} has {image.shape[2]} channels, and no color table says which color is which "
        f"class; give the color of each class in dataset.yaml (`classes: {{floor: [128, 0, 0], "
        f"…}}`, or `colors: voc` for Pascal VOC's), or add labelmap.txt; the "
        f"image has {_colors_text(image)}"
    )


def _from_values(
    values: npt.NDArray[Any],
    coding: LabelCoding,
    path: Path,
    transparent: npt.NDArray[np.bool_] | None,
) -> npt.NDArray[np.uint8]:
    table = np.full(VALUES + 1, WRONG, np.uint16)
    table[[value for value, _ in coding.ids]] = [class_id for _, class_id in coding.ids]
    # Any other value becomes the last entry of the table.
    ids = table[np.where((values >= 0) & (values < VALUES), values, VALUES)]
    if transparent is not None:
        ids[transparent & (ids == WRONG)] = IGNORE_ID
    if (wrong := ids == WRONG).any():
        unlabeled = "" if (IGNORE_ID, IGNORE_ID) not in coding.ids else " and 255 (unlabeled)"
        raise UsageError(
            f"{path} contains label {np.unique(values[wrong])[0]}, allowed are "
            f"{coding.values_text()}{unlabeled}; correct the file, or in dataset.yaml the classes "
            "and first_id, or give the value of each class (`classes: {floor: 7, wall: 8}`)"
        )
    return ids.astype(np.uint8)


def _from_colors(
    image: npt.NDArray[np.uint8],
    coding: LabelCoding,
    path: Path,
    transparent: npt.NDArray[np.bool_] | None,
) -> npt.NDArray[np.uint8]:
    """Class ids of an H×W×3 BGR image."""
    packed = _packed(image)
    entries = sorted(((r << 16) | (g << 8) | b, class_id) for (r, g, b), class_id in coding.colors)
    keys, values = (np.array(column, np.int32) for column in zip(*entries, strict=True))
    where = np.searchsorted(keys, packed).clip(max=len(keys) - 1)
    ids = np.where(keys[where] == packed, values[where], WRONG)
    if transparent is not None:
        ids[transparent & (ids == WRONG)] = IGNORE_ID
    wrong = ids == WRONG
    if wrong.any():
        y, x = np.argwhere(wrong)[0]
        blue, green, red = map(int, image[y, x])
        known = ", ".join(str(color) for color, _ in coding.colors[:20])
        raise UsageError(
            f"{path} has {int(wrong.sum())} pixels of unknown color, the first "
            f"({red}, {green}, {blue}) at row {y}, column {x}; known are {known}; correct the "
            "image or the color table"
        )
    return ids.astype(np.uint8)


def _packed(image: npt.NDArray[np.uint8]) -> npt.NDArray[np.int32]:
    """H×W×3 BGR → H×W numbers 0xRRGGBB."""
    blue, green, red = (image[..., i].astype(np.int32) for i in range(3))
    return (red << 16) | (green << 8) | blue


def _colors_text(image: npt.NDArray[Any]) -> str:
    if image.dtype != np.uint8:
        return f"{image.dtype} values"
    small = cv2.resize(image, None, fx=0.25, fy=0.25, interpolation=cv2.INTER_NEAREST)
    found = np.unique(_packed(small if small.size else image))
    shown = ", ".join(f"({c >> 16}, {c >> 8 & 255}, {c & 255})" for c in found[:LISTED_COLORS])
    return f"colors such as {shown}{' …' if len(found) > LISTED_COLORS else ''}"


# --- Palette images ------------------------------------------------------------------------------


def _header(path: Path) -> tuple[str, int]:
    """``gray``, ``palette`` or ``color`` for a PNG, ``jpeg`` or ``other``, and bits per value."""
    with path.open("rb") as file:
        start = file.read(26)
    if len(start) == 26 and start.startswith(b"\x89PNG"):
        return {0: "gray", 4: "gray", 3: "palette"}.get(start[25], "color"), start[24]
    return "jpeg" if start.startswith(b"\xff\xd8") else "other", 8


def _has_palette(path: Path) -> bool:
    """Whether a TIFF or BMP file has a palette."""
    try:
        with _open(path) as image:
            return bool(image.mode == "P")
    except (OSError, ValueError):  # a file that OpenCV reads but Pillow does not
        return False


def _palette_indices(path: Path) -> npt.NDArray[np.uint8]:
    """H×W indices of a palette image; OpenCV only returns the colors."""
    try:
        with _open(path) as image:
            return np.asarray(image, dtype=np.uint8)
    except (OSError, ValueError, SyntaxError) as error:
        raise UsageError(f"{path}: its palette cannot be read: {error}; save it again") from error


def _open(path: Path) -> Any:
    try:
        from PIL import Image
    except ImportError as error:
        raise UsageError(
            f"{path.name} has a palette, which needs Pillow: pip install pillow "
            "(or pip install -e '.[data]')"
        ) from error
    return Image.open(path)
