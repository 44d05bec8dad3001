# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Labels drawn as polygons: the JSON files of labelme, rasterized as labelme itself does."""

from __future__ import annotations

import base64
import io
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from rgbd_seg_ros.image_io import ImageFileError
from rgbd_seg_ros.names import did_you_mean, shown
from training.data.split_lists import read_text
from training.options import UsageError

#: Names of labelme for pixels that are unlabeled.
IGNORED_NAMES = ("__ignore__", "_ignore_")
#: Names of the class that pixels outside all shapes have, if it exists.
BACKGROUND_NAMES = ("_background_", "__background__", "background")
#: Width of lines and radius of points in pixels, as in labelme.
LINE_WIDTH, POINT_RADIUS = 10, 5
#: Number of points of each shape; other shapes have any number.
POINTS = {"rectangle": 2, "circle": 2, "point": 1, "mask": 2}
SHAPES = ("polygon", "rectangle", "circle", "line", "linestrip", "point", "mask")


def read_polygons(
    path: Path, values: Mapping[str, int], outside: int, size: tuple[int, int] | None
) -> npt.NDArray[np.uint8]:
    """Draw the shapes of a labelme file, later ones over earlier ones.

    Args:
        path: the JSON file.
        values: label → value of its pixels.
        outside: value of the pixels outside all shapes.
        size: (height, width) if the file does not say it.

    Returns:
        H×W uint8 values.

    Raises:
        ImageFileError: the file cannot be read or is truncated.
        UsageError: the file is not labelme's, or has an unknown label or shape.
    """
    image_class, draw_class = _pillow(path)
    document = _document(path)
    height, width = document.get("imageHeight"), document.get("imageWidth")
    if not (isinstance(height, int) and isinstance(width, int)):
        if size is None:
            raise UsageError(f"{path} has no imageHeight and imageWidth; save it again in labelme")
        height, width = size
    if not (0 < height <= 65535 and 0 < width <= 65535):
        raise UsageError(f"{path}: the size {width}×{height} is not that of an image")
    canvas = image_class.new("L", (width, height), outside)
    draw = draw_class.Draw(canvas)
    for number, shape in enumerate(document["shapes"], 1):
        where = f"{path}, shape {number}"
        label = shape.get("label") if isinstance(shape, dict) else None
        if not isinstance(label, str) or label not in values:
            hint = did_you_mean(label, values)
            raise UsageError(
                f"{where}: label {shown(label)} is not a class{hint}; add it to "
                "`classes` in dataset.yaml, or to `unlabeled` there"
            )
        try:
            _draw(shape, values[label], canvas, draw, image_class)
        except (KeyError, TypeError, ValueError, ArithmeticError, OSError) as error:
            raise UsageError(f"{where} ({shown(label)}) cannot be drawn: {error}") from error
    return np.asarray(canvas, dtype=np.uint8).copy()


def labels_of(path: Path) -> set[str]:
    """The labels of a labelme file.

    Raises:
        ImageFileError, UsageError: as :func:`read_polygons`.
    """
    return {str(s.get("label")) for s in _document(path)["shapes"] if isinstance(s, dict)}


def _pillow(path: Path) -> tuple[Any, Any]:
    try:
        from PIL import Image, ImageDraw
    except ImportError as error:
        raise UsageError(
            f"{path.name} needs Pillow: pip install pillow (or pip install -e '.[data]')"
        ) from error
    return Image, ImageDraw


def _document(path: Path) -> dict[str, Any]:
    text = read_text(path)
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        why = "nested too deeply" if isinstance(error, RecursionError) else error
        raise ImageFileError(f"{path} is truncated or not JSON ({why}): copy it again") from error
    if not isinstance(document, dict) or not isinstance(document.get("shapes"), list):
        raise UsageError(f"{path} is not a file of labelme: it has no list `shapes`")
    return document


def _draw(shape: dict[str, Any], value: int, canvas: Any, draw: Any, image_class: Any) -> None:
    """Draw one shape; raise KeyError, TypeError, ValueError or OSError if it is defective."""
    kind = shape.get("shape_type") or "polygon"
    if kind not in SHAPES:
        raise ValueError(f"shape_type {kind!r} is not one of {', '.join(SHAPES)}")
    points = [(float(x), float(y)) for x, y in shape["points"]]
    if not all(map(math.isfinite, (c for point in points for c in point))):
        raise ValueError("a coordinate is not a finite number")
    if len(points) != POINTS.get(kind, len(points)):
        raise ValueError(f"a {kind} has {POINTS[kind]} points, not {len(points)}")
    if kind == "polygon":
        if len(points) < 3:
            raise ValueError(f"a polygon has at least 3 points, not {len(points)}")
        draw.polygon(points, fill=value, outline=value)
    elif kind in ("line", "linestrip"):
        draw.line(points, fill=value, width=LINE_WIDTH)
    elif kind == "mask":
        left, top = (round(min(c)) for c in zip(*points, strict=True))
        with image_class.open(io.BytesIO(base64.b64decode(shape["mask"]))) as image:
            inside = image.convert("L").point(lambda v: 255 if v else 0)
        canvas.paste(value, (left, top), inside)
    else:
        (x, y), radius = points[0], float(POINT_RADIUS)
        if kind == "rectangle":
            left, top = (min(c) for c in zip(*points, strict=True))
            right, bottom = (max(c) for c in zip(*points, strict=True))
            draw.rectangle((left, top, right, bottom), fill=value, outline=value)
            return
        if kind == "circle":
            radius = math.dist(*points)
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=value, outline=value)
