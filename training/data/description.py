# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Description of your own images: dataset.yaml, or the class lists of an annotation tool's export.

``dataset.yaml`` has ``classes``: a list of names, the name of a label set, or a mapping from each
name to its label value (``{background: 0, object: 255}``) or color (``{floor: [128, 0, 0]}``). If
the defaults do not fit, it also has

- ``name``: name of the label set (default: that of the folder),
- ``first_id``: label value of the first class of a list; 1 if 0 means unlabeled,
- ``colors``: color table of color-coded labels: a file, ``voc`` or a mapping from names to colors,
- ``unlabeled``: label values, colors and names that mean unlabeled, besides 255,
- ``depth_scale``: meters per unit of depth (default 0.001 for integers and 1 for floats),
- ``intrinsics``: fx, fy, cx, cy in pixels.

Without ``classes``, they are those of ``labelmap.txt`` (CVAT), ``class_names.txt`` or
``labels.txt`` (labelme).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rgbd_seg_ros.frames import Intrinsics
from rgbd_seg_ros.labels import IGNORE_ID, LABEL_SETS, LabelSet
from rgbd_seg_ros.names import did_you_mean
from training.data.color_table import (
    LABELMAP,
    VOID_COLORS,
    Color,
    as_color,
    color_ids,
    read_color_table,
    voc_color,
)
from training.data.label_files import VALUES, LabelCoding, consecutive_ids
from training.data.polygons import IGNORED_NAMES
from training.data.split_lists import read_text
from training.options import UsageError, convert, lookup, read_yaml

FILE = "dataset.yaml"
#: Class lists of labelme, one name a line.
NAME_LISTS = ("class_names.txt", "labels.txt")
KEYS = ("classes", "name", "first_id", "colors", "unlabeled", "depth_scale", "intrinsics")


@dataclass(frozen=True)
class Description:
    """What dataset.yaml says about a folder of images."""

    label_set: LabelSet
    coding: LabelCoding
    #: Meters per unit of depth; None for 0.001 in integer images and 1 in float images.
    depth_scale: float | None = None
    #: fx, fy, cx, cy in pixels of the color images.
    camera: tuple[float, float, float, float] | None = None
    #: The files that this was read from.
    files: tuple[Path, ...] = ()

    def intrinsics(self, size: tuple[int, int]) -> Intrinsics | None:
        """The camera's intrinsics for images of (height, width)."""
        height, width = size
        return None if self.camera is None else Intrinsics(*self.camera, width, height)


def description_of(label_set: LabelSet, depth_scale: float) -> Description:
    """The description of images whose label values are class ids."""
    coding = LabelCoding(label_set.classes, consecutive_ids(0, len(label_set)))
    return Description(label_set, coding, depth_scale)


def read_description(root: Path, found: Callable[[], list[str]] = list) -> Description:
    """Read and check the description of a folder.

    Args:
        root: the folder.
        found: gives the names in its labels, for the message if no file lists the classes.

    Raises:
        UsageError: no class list, an unknown key, or a value that is not allowed.
    """
    path = root / FILE
    values = read_yaml(path) if path.is_file() else {}
    for key in values:
        if key not in KEYS:
            raise UsageError(f"{path}: unknown key {key!r}{did_you_mean(str(key), KEYS)}")
    try:
        return _Reader(root, values).description(found)
    except UsageError:
        raise
    except (TypeError, ValueError) as error:
        raise UsageError(f"{path}: {error}") from error


class _Reader:
    """Reads one description; ``files`` collects what it was read from."""

    def __init__(self, root: Path, values: dict[str, Any]) -> None:
        self.root, self.values = root, values
        self.path = root / FILE
        self.files = [self.path] if self.path.is_file() else []

    def description(self, found: Callable[[], list[str]]) -> Description:
        classes = self.values.get("classes")
        table = self.color_table()
        name = str(self.values.get("name") or self.root.resolve().name)
        palette: tuple[Color, ...] = ()
        ids: dict[int, int] = {}
        if isinstance(classes, str):
            try:
                named = lookup("label set", classes, LABEL_SETS)
            except UsageError as error:
                raise UsageError(f"{self.path}: {error}") from error
            name = str(self.values.get("name") or named.name)
            names, palette = named.classes, named.palette
        elif isinstance(classes, Mapping):
            names = tuple(map(str, classes))
            by_value = [isinstance(v, int) and not isinstance(v, bool) for v in classes.values()]
            if all(by_value):
                ids = {self.value(v, name): i for i, (name, v) in enumerate(classes.items())}
                if len(ids) < len(names):
                    raise UsageError(f"{self.path}: two classes have the same label value")
            elif any(by_value):
                raise UsageError(
                    f"{self.path}: classes has both label values and colors; give each class one "
                    "kind"
                )
            elif table:
                raise UsageError(f"{self.path}: give the colors in classes or in colors, not both")
            else:
                table = {str(n): as_color(c, f"{self.path}: {n}") for n, c in classes.items()}
        elif isinstance(classes, list):
            names = tuple(map(str, classes))
        elif classes is None:
            names = self.listed_classes(table, found)
        else:
            raise UsageError(f"{self.path}: classes must be a list of names, got {classes!r}")
        label_set = LabelSet(name, names, palette)
        if ids and "first_id" in self.values:
            raise UsageError(f"{self.path}: omit first_id, since each class has its value")
        first_id = self.number("first_id", int, 0)
        if not 0 <= first_id <= VALUES - len(names):
            raise UsageError(f"{self.path}: first_id must be 0 or more, got {first_id}")
        all_ids = dict(consecutive_ids(first_id, len(names)))
        if ids:
            all_ids = {IGNORE_ID: IGNORE_ID, **ids}
        colors: dict[Color, int] = {}
        if self.values.get("colors") == "voc":
            colors = {voc_color(v): i for v, i in all_ids.items() if v < IGNORE_ID}
            colors = {**dict.fromkeys(VOID_COLORS, IGNORE_ID), **colors}
        elif table:
            colors = dict(color_ids(table, names, str(self.files[-1])))
        ignored = self.unlabeled(all_ids, colors)
        if colors and not palette:
            by_id = {class_id: color for color, class_id in colors.items()}
            label_set = LabelSet(name, names, tuple(by_id[i] for i in range(len(names))))
        coding = LabelCoding(names, tuple(all_ids.items()), tuple(colors.items()), ignored)
        scale = self.number("depth_scale", float, None)
        if scale is not None and scale <= 0:
            raise UsageError(f"{self.path}: depth_scale must be above 0 meters, got {scale:g}")
        return Description(label_set, coding, scale, self.camera(), tuple(self.files))

    def listed_classes(
        self, table: Mapping[str, Color], found: Callable[[], list[str]]
    ) -> tuple[str, ...]:
        """The classes of a tool's list, in its order."""
        if table:
            return tuple(table)
        for name in NAME_LISTS:
            path = self.root / name
            if path.is_file():
                self.files.append(path)
                lines = (line.strip() for line in read_text(path).splitlines())
                return tuple(line for line in lines if line and line not in IGNORED_NAMES)
        missing = f"{self.path} has no classes" if self.values else f"{self.path} is missing"
        example = ", ".join(found()) or "floor, wall, …"
        others = sorted(p.name for p in self.root.iterdir() if p.suffix in (".yaml", ".yml"))
        if others and not self.values:
            missing += f" (there is {', '.join(others[:3])})"
        raise UsageError(f"{missing}; it lists the classes: `classes: [{example}]`")

    def color_table(self) -> dict[str, Color]:
        """Name → color, from ``colors`` or ``labelmap.txt``; empty if neither is there."""
        colors = self.values.get("colors")
        if isinstance(colors, Mapping):
            return {str(n): as_color(c, f"{self.path}: {n}") for n, c in colors.items()}
        path = self.root / LABELMAP
        if colors == "voc" or (colors is None and not path.is_file()):
            return {}
        if colors is not None:
            path = self.root / str(colors)
            if not path.is_file():
                raise UsageError(
                    f"{self.path}: colors {colors!r} is neither `voc` nor a file beside it; it "
                    "may also be a mapping from names to colors"
                )
        self.files.append(path)
        return read_color_table(path)

    def unlabeled(self, ids: dict[int, int], colors: dict[Color, int]) -> tuple[str, ...]:
        """Add what ``unlabeled`` lists to the values and colors; return its names."""
        listed = self.values.get("unlabeled", [])
        if not isinstance(listed, list):
            listed = [listed]
        names = []
        for item in listed:
            if isinstance(item, bool) or not isinstance(item, int | str | list):
                raise UsageError(
                    f"{self.path}: unlabeled has {item!r}; allowed are label values, "
                    "[red, green, blue] and names"
                )
            if isinstance(item, str):
                names.append(item)
                continue
            known: dict[Any, int] = ids if isinstance(item, int) else colors
            key = (
                self.value(item, "unlabeled")
                if isinstance(item, int)
                else as_color(item, f"{self.path}: unlabeled")
            )
            if known.setdefault(key, IGNORE_ID) != IGNORE_ID:
                raise UsageError(f"{self.path}: {item} is both unlabeled and a class")
        return tuple(names)

    def value(self, value: int, name: object) -> int:
        """A label value, checked."""
        if not 0 <= value < VALUES:
            raise UsageError(f"{self.path}: {name} has label value {value}, allowed are 0..65535")
        return value

    def number(self, key: str, kind: type, default: Any) -> Any:
        """A number from the file, checked."""
        if self.values.get(key) is None:
            return default
        return convert(self.values[key], kind, f"{self.path}: {key}")

    def camera(self) -> tuple[float, float, float, float] | None:
        """fx, fy, cx, cy, checked."""
        camera = self.values.get("intrinsics")
        if camera is None:
            return None
        keys = ("fx", "fy", "cx", "cy")
        if not isinstance(camera, Mapping) or set(camera) != set(keys):
            raise UsageError(f"{self.path}: intrinsics must have {', '.join(keys)}, got {camera}")
        fx, fy, cx, cy = (
            convert(camera[key], float, f"{self.path}: intrinsics {key}") for key in keys
        )
        Intrinsics(fx, fy, cx, cy, 1, 1)  # raises on values that are not possible
        return fx, fy, cx, cy
