# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Label sets: class names, palettes, ignore id. Add one by adding an entry to ``LABEL_SETS``."""

from __future__ import annotations

from dataclasses import dataclass

#: Id of pixels without a class. vision_msgs/LabelInfo reserves 255 for "unlabeled".
IGNORE_ID = 255


def default_palette(num_classes: int) -> tuple[tuple[int, int, int], ...]:
    """The PASCAL VOC color map without its first color, black: distinct RGB triples.

    The bits of the id are distributed over the three channels, most significant first (VOC
    devkit).
    """
    palette = []
    for class_id in range(1, num_classes + 1):  # 0 would be black, the color of unlabeled pixels
        r = g = b = 0
        for bit in range(8):
            r |= (class_id >> (3 * bit) & 1) << (7 - bit)
            g |= (class_id >> (3 * bit + 1) & 1) << (7 - bit)
            b |= (class_id >> (3 * bit + 2) & 1) << (7 - bit)
        palette.append((r, g, b))
    return tuple(palette)


@dataclass(frozen=True)
class LabelSet:
    """Names and colors of the classes 0..K-1.

    Raises:
        ValueError: a duplicate name, too many classes, or a palette that does not fit.
    """

    name: str
    classes: tuple[str, ...]
    #: One RGB triple (0..255) per class; if empty, :func:`default_palette`.
    palette: tuple[tuple[int, int, int], ...] = ()
    ignore_id: int = IGNORE_ID

    def __post_init__(self) -> None:
        if not 1 <= len(self.classes) <= 255:
            raise ValueError(
                f"label set {self.name!r} has {len(self.classes)} classes; 1 to 255 are allowed, "
                "since masks are uint8 and 255 means unlabeled"
            )
        duplicates = sorted({c for c in self.classes if self.classes.count(c) > 1})
        if duplicates:
            raise ValueError(f"label set {self.name!r} has duplicate classes: {duplicates}")
        if not self.palette:
            object.__setattr__(self, "palette", default_palette(len(self.classes)))
        if len(self.palette) != len(self.classes) or any(
            len(c) != 3 or not all(0 <= v <= 255 for v in c) for c in self.palette
        ):
            raise ValueError(
                f"label set {self.name!r} needs one RGB triple of 0..255 per class "
                f"({len(self.classes)}), got {len(self.palette)} colors"
            )
        if self.ignore_id != IGNORE_ID:
            raise ValueError(f"ignore id must be {IGNORE_ID}, got {self.ignore_id}")

    def __len__(self) -> int:
        return len(self.classes)


def _named(name: str, classes: str, palette: tuple[tuple[int, int, int], ...] = ()) -> LabelSet:
    return LabelSet(name, tuple(classes.split(", ")), palette)


LABEL_SETS: dict[str, LabelSet] = {
    # The synthetic rooms of ``training.data.synthetic``.
    "indoor16": _named(
        "indoor16",
        "floor, wall, ceiling, door, window, table, chair, sofa, bed, cabinet, shelf, box, ball, "
        "lamp, picture, rug",
        (
            (152, 118, 84), (174, 199, 232), (220, 220, 220), (214, 39, 40), (23, 190, 207),
            (255, 152, 150), (188, 189, 34), (140, 86, 75), (255, 187, 120), (31, 119, 180),
            (148, 103, 189), (82, 84, 163), (44, 160, 44), (255, 217, 47), (227, 119, 194),
            (255, 127, 14),
        ),
    ),
    # NYU Depth v2, 40 classes of Gupta et al. (CVPR 2013), spelled as in ``classMapping40.mat``.
    "nyu40": _named(
        "nyu40",
        "wall, floor, cabinet, bed, chair, sofa, table, door, window, bookshelf, picture, "
        "counter, blinds, desk, shelves, curtain, dresser, pillow, mirror, floor mat, clothes, "
        "ceiling, books, refridgerator, television, paper, towel, shower curtain, box, "
        "whiteboard, person, night stand, toilet, sink, lamp, bathtub, bag, otherstructure, "
        "otherfurniture, otherprop",
    ),
    # NYU Depth v2, 13 classes of Couprie et al. (ICLR 2013), as in ``class13Mapping.mat``.
    "nyu13": _named(
        "nyu13",
        "bed, books, ceiling, chair, floor, furniture, objects, picture, sofa, table, tv, wall, "
        "window",
    ),
    # SUN RGB-D (CVPR 2015), as in the toolbox's ``seg37list.mat``.
    "sunrgbd37": _named(
        "sunrgbd37",
        "wall, floor, cabinet, bed, chair, sofa, table, door, window, bookshelf, picture, "
        "counter, blinds, desk, shelves, curtain, dresser, pillow, mirror, floor_mat, clothes, "
        "ceiling, books, fridge, tv, paper, towel, shower_curtain, box, whiteboard, person, "
        "night_stand, toilet, sink, lamp, bathtub, bag",
    ),
    # ISPRS Potsdam, 2D semantic labeling, with the colors of its label images.
    "potsdam6": _named(
        "potsdam6",
        "Impervious surfaces, Building, Low vegetation, Tree, Car, Clutter/background",
        ((255, 255, 255), (0, 0, 255), (0, 255, 255), (0, 255, 0), (255, 255, 0), (255, 0, 0)),
    ),
    # Mid-Air (CVPRW 2019): its 14 ids without 7, "empty", which no pixel has.
    "midair13": _named(
        "midair13",
        "Sky, Animals, Trees, Dirt ground, Ground vegetation, Rocky ground, Boulders, Water "
        "plane, Man-made construction, Road, Train track, Road sign, Others",
    ),
    # ADE20K (CVPR 2017), 150 classes of its scene parsing challenge, named as by SegFormer.
    "ade150": _named(
        "ade150",
        "wall, building, sky, floor, tree, ceiling, road, bed, windowpane, grass, cabinet, "
        "sidewalk, person, earth, door, table, mountain, plant, curtain, chair, car, water, "
        "painting, sofa, shelf, house, sea, mirror, rug, field, armchair, seat, fence, desk, "
        "rock, wardrobe, lamp, bathtub, railing, cushion, base, box, column, signboard, "
        "chest of drawers, counter, sand, sink, skyscraper, fireplace, refrigerator, "
        "grandstand, path, stairs, runway, case, pool table, pillow, screen door, stairway, "
        "river, bridge, bookcase, blind, coffee table, toilet, flower, book, hill, bench, "
        "countertop, stove, palm, kitchen island, computer, swivel chair, boat, bar, "
        "arcade machine, hovel, bus, towel, light, truck, tower, chandelier, awning, "
        "streetlight, booth, television receiver, airplane, dirt track, apparel, pole, land, "
        "bannister, escalator, ottoman, bottle, buffet, poster, stage, van, ship, fountain, "
        "conveyer belt, canopy, washer, plaything, swimming pool, stool, barrel, basket, "
        "waterfall, tent, bag, minibike, cradle, oven, ball, food, step, tank, trade name, "
        "microwave, pot, animal, bicycle, lake, dishwasher, screen, blanket, sculpture, hood, "
        "sconce, vase, traffic light, tray, ashcan, fan, pier, crt screen, plate, monitor, "
        "bulletin board, shower, radiator, glass, clock, flag",
    ),
    # Cityscapes (CVPR 2016), its 19 train ids, with the benchmark's colors.
    "cityscapes19": _named(
        "cityscapes19",
        "road, sidewalk, building, wall, fence, pole, traffic light, traffic sign, "
        "vegetation, terrain, sky, person, rider, car, truck, bus, train, motorcycle, bicycle",
        (
            (128, 64, 128), (244, 35, 232), (70, 70, 70), (102, 102, 156), (190, 153, 153),
            (153, 153, 153), (250, 170, 30), (220, 220, 0), (107, 142, 35), (152, 251, 152),
            (70, 130, 180), (220, 20, 60), (255, 0, 0), (0, 0, 142), (0, 0, 70),
            (0, 60, 100), (0, 80, 100), (0, 0, 230), (119, 11, 32),
        ),
    ),
    # ScanNet (CVPR 2017), the 20 classes of its benchmark.
    "scannet20": _named(
        "scannet20",
        "wall, floor, cabinet, bed, chair, sofa, table, door, window, bookshelf, picture, "
        "counter, desk, curtain, refrigerator, shower curtain, toilet, sink, bathtub, "
        "otherfurniture",
    ),
}  # fmt: skip

INDOOR16 = LABEL_SETS["indoor16"]
NYU40 = LABEL_SETS["nyu40"]
NYU13 = LABEL_SETS["nyu13"]
SUNRGBD37 = LABEL_SETS["sunrgbd37"]
POTSDAM6 = LABEL_SETS["potsdam6"]
MIDAIR13 = LABEL_SETS["midair13"]
