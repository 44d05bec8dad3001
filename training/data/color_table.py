# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Color tables: the color of each class in color-coded labels, from the files of common tools."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rgbd_seg_ros.labels import IGNORE_ID, default_palette
from training.data.split_lists import read_text
from training.options import UsageError, read_yaml

Color = tuple[int, int, int]

#: Color table of CVAT and Datumaro, beside the folders of their export.
LABELMAP = "labelmap.txt"
#: Colors that mean unlabeled unless a class has them: black, and the void color of PASCAL VOC.
VOID_COLORS: tuple[Color, ...] = ((0, 0, 0), (224, 224, 192))


def as_color(value: Any, where: str) -> Color:
    """A color from ``[r, g, b]`` or the text ``r,g,b`` of 0..255.

    Raises:
        UsageError: the value is not a color; ``where`` starts the message.
    """
    parts = value.split(",") if isinstance(value, str) else value
    try:
        red, green, blue = (int(part) for part in parts)
    except (TypeError, ValueError):
        raise UsageError(f"{where}: {value!r} is not a color; write [red, green, blue]") from None
    if not all(0 <= part <= 255 for part in (red, green, blue)):
        raise UsageError(f"{where}: color {value!r} is outside 0..255")
    return red, green, blue


def voc_color(index: int) -> Color:
    """The color of an index in the color map of PASCAL VOC (VOC devkit); 0 is black."""
    return (0, 0, 0) if index == 0 else default_palette(index)[index - 1]


def read_color_table(path: Path) -> dict[str, Color]:
    """Name → color in a file: CVAT's ``labelmap.txt``, CSV (name, r, g, b) or YAML.

    Raises:
        UsageError: the file is missing or has another form; the message names the line.
    """
    suffix = path.suffix.lower()
    if suffix in (".yaml", ".yml"):
        table = {str(name): as_color(value, f"{path}, {name}")
                 for name, value in read_yaml(path).items()}  # fmt: skip
    elif suffix == ".csv":
        table = _from_rows(path, csv.reader(read_text(path).splitlines()))
    elif suffix == ".txt":
        table = _from_labelmap(path)
    else:
        raise UsageError(f"{path} is not a color table; use .txt (labelmap), .csv or .yaml")
    if not table:
        raise UsageError(f"{path} contains no color")
    return table


def _from_rows(path: Path, rows: Any) -> dict[str, Color]:
    table: dict[str, Color] = {}
    for number, row in enumerate(rows, 1):
        cells = [cell.strip() for cell in row]
        if not any(cells) or (not table and not cells[-1].isdecimal()):  # empty, or the heading
            continue
        _add(table, cells[0], as_color(cells[1:4], f"{path}, line {number}"), path, number)
    return table


def _from_labelmap(path: Path) -> dict[str, Color]:
    """Lines ``label:color_rgb:parts:actions``; CVAT gives a label without color VOC's next one."""
    table: dict[str, Color] = {}
    for number, line in enumerate(read_text(path).splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        name, colon, rest = line.strip().partition(":")
        if not colon:
            raise UsageError(
                f"{path}, line {number}: {line.strip()!r} is not `label:color_rgb:parts:actions`"
            )
        text = rest.split(":")[0]
        color = as_color(text, f"{path}, line {number}") if text else voc_color(len(table))
        _add(table, name, color, path, number)
    return table


def _add(table: dict[str, Color], name: str, color: Color, path: Path, number: int) -> None:
    if table.get(name, color) != color:
        raise UsageError(f"{path}, line {number}: {name!r} has two colors; keep one")
    table[name] = color


def color_ids(
    table: Mapping[str, Color], classes: Sequence[str], where: str
) -> tuple[tuple[Color, int], ...]:
    """Color → class id; a name that is not a class is unlabeled, like the void colors.

    Args:
        table: name → color.
        classes: names of the classes.
        where: source of the table, named in errors.

    Raises:
        UsageError: a class without a color, or two names with one color.
    """
    lacking = [name for name in classes if name not in table]
    if lacking:
        raise UsageError(
            f"{where} has no color for class {lacking[0]!r}; its names are {', '.join(table)}"
        )
    ids = {name: class_id for class_id, name in enumerate(classes)}
    found: dict[Color, int] = {}
    for name, color in table.items():
        class_id = ids.get(name, IGNORE_ID)
        if found.get(color, class_id) != class_id:
            raise UsageError(f"{where}: {name!r} has the color {color} of another name")
        found[color] = class_id
    return tuple({**dict.fromkeys(VOID_COLORS, IGNORE_ID), **found}.items())
