# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Class names, palettes and the ignore id of each label set."""

from __future__ import annotations

from dataclasses import dataclass

#: Pixels without a class. vision_msgs/LabelInfo reserves 255 for "unlabeled".
IGNORE_ID = 255


def default_palette(num_classes: int) -> tuple[tuple[int, int, int], ...]:
    """The PASCAL VOC colour map: ``num_classes`` distinct RGB triples, id 0 not black.

    Bits of the id are spread over the three channels, most significant first (VOC devkit).
    """
    palette = []
    for class_id in range(1, num_classes + 1):  # from 1: black is for unlabeled pixels
        r = g = b = 0
        for bit in range(8):
            r |= (class_id >> (3 * bit) & 1) << (7 - bit)
            g |= (class_id >> (3 * bit + 1) & 1) << (7 - bit)
            b |= (class_id >> (3 * bit + 2) & 1) << (7 - bit)
        palette.append((r, g, b))
    return tuple(palette)


@dataclass(frozen=True)
class LabelSet:
    """Names and colours of the classes 0..K-1."""

    name: str
    classes: tuple[str, ...]
    #: One RGB triple (0..255) per class; empty means :func:`default_palette`.
    palette: tuple[tuple[int, int, int], ...] = ()
    ignore_id: int = IGNORE_ID

    def __post_init__(self) -> None:
        if not 1 <= len(self.classes) <= 255:
            raise ValueError(
                f"label set {self.name!r} has {len(self.classes)} classes; masks are uint8 "
                "with 255 for unlabeled, so give 1 to 255"
            )
        duplicates = sorted({c for c in self.classes if self.classes.count(c) > 1})
        if duplicates:
            raise ValueError(f"label set {self.name!r} names a class twice: {duplicates}")
        if not self.palette:
            object.__setattr__(self, "palette", default_palette(len(self.classes)))
        if len(self.palette) != len(self.classes) or any(
            len(c) != 3 or not all(0 <= v <= 255 for v in c) for c in self.palette
        ):
            raise ValueError(
                f"label set {self.name!r} needs one RGB triple of 0..255 per class "
                f"({len(self.classes)}), got {len(self.palette)} colours"
            )
        if self.ignore_id != IGNORE_ID:
            raise ValueError(f"ignore id must be {IGNORE_ID}, got {self.ignore_id}")

    def __len__(self) -> int:
        return len(self.classes)


#: The procedural rooms of ``training.data.synthetic``.
INDOOR16 = LabelSet(
    name="indoor16",
    classes=(
        "floor",
        "wall",
        "ceiling",
        "door",
        "window",
        "table",
        "chair",
        "sofa",
        "bed",
        "cabinet",
        "shelf",
        "box",
        "ball",
        "lamp",
        "picture",
        "rug",
    ),
    palette=(
        (152, 118, 84),
        (174, 199, 232),
        (220, 220, 220),
        (214, 39, 40),
        (23, 190, 207),
        (255, 152, 150),
        (188, 189, 34),
        (140, 86, 75),
        (255, 187, 120),
        (31, 119, 180),
        (148, 103, 189),
        (82, 84, 163),
        (44, 160, 44),
        (255, 217, 47),
        (227, 119, 194),
        (255, 127, 14),
    ),
)

LABEL_SETS: dict[str, LabelSet] = {label_set.name: label_set for label_set in (INDOOR16,)}
