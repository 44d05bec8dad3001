# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The strip of the demo: input images and masks of a replayed drive in one image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from rgbd_seg_ros.labels import LabelSet

    Image = npt.NDArray[np.uint8]

NETWORK_TITLES = {"rgbd": "fused network", "rgb": "RGB network", "depth": "depth network"}


@dataclass(frozen=True)
class StripColumn:
    """One moment of the drive."""

    caption: str
    time_s: float
    #: Stamps of the frame pair in nanoseconds; None for a lost frame.
    color_ns: int | None
    depth_ns: int | None


def draw_strip(
    columns: Sequence[StripColumn],
    bag: Path,
    topics: Mapping[str, str],
    out: Path,
    labels: LabelSet,
) -> Image:
    """Draw input images and masks of some moments side by side, 1200 px wide.

    Args:
        columns: the moments, at most five.
        bag: the recorded drive.
        topics: of its streams ``rgb`` and ``depth``.
        out: folder of its replay.
        labels: names and colors of the classes.
    """
    import cv2
    import numpy as np

    from rgbd_seg_ros.colorize import colorize_depth, overlay
    from rgbd_seg_ros.depth import to_meters
    from rgbd_seg_ros.files import read_json_lines
    from rgbd_seg_ros.image_io import read_image
    from rgbd_seg_ros.replay.output_folder import LINES
    from rgbd_seg_ros.replay.report_charts import MODE_COLORS

    images = _read_images(bag, topics, {ns for c in columns for ns in (c.color_ns, c.depth_ns)})
    by_stamp = {line["stamp_ns"]: line for line in read_json_lines(out / LINES)}
    canvas = np.full((358, 1200, 3), 255, np.uint8)
    texts: list[tuple[float, float, str, dict[str, Any]]] = []
    width, small, large = 228, (111, 83), (228, 171)

    def panel(image: Image | None, x: int, y: int, size: tuple[int, int], missing: str) -> None:
        area = canvas[y : y + size[1], x : x + size[0]]
        if image is None:
            area[:] = (38, 43, 51)
            style = {"color": "#aeb6c2", "size": 10}
            texts.append((x + size[0] / 2, y + size[1] / 2, missing, style))
        else:
            area[:] = cv2.resize(image, size, interpolation=cv2.INTER_AREA)

    for x, column in zip(range(8, 1200, width + 11), columns, strict=False):
        rgb = None if column.color_ns is None else images[column.color_ns]
        depth = gray = None
        if column.depth_ns is not None:
            meters = to_meters(images[column.depth_ns])
            depth = colorize_depth(meters)
            nearness = 230 - 25 * np.nan_to_num(meters, nan=8.0).clip(0, 8)
            gray = np.repeat(nearness[..., None].astype(np.uint8), 3, axis=2)
        line = by_stamp.get(column.color_ns) or by_stamp.get(column.depth_ns)
        mode, mask = "NO_INPUT", None
        if line:
            mode, ids = line["mode"], read_image(out / line["mask"])
            mask = overlay(gray if rgb is None else rgb, ids, labels, 0.6)
        canvas[8:36, x : x + width] = [int(MODE_COLORS[mode][k : k + 2], 16) for k in (1, 3, 5)]
        texts.append((x + 9, 22, mode, {"ha": "left", "weight": "bold"}))
        texts.append((x + width - 9, 22, f"{column.time_s:g} s", {"ha": "right"}))
        texts.append((x + width / 2, 48, column.caption, {}))
        panel(rgb, x, 62, small, "no color")
        panel(depth, x + width - small[0], 62, small, "no depth")
        panel(mask, x, 151, large, "no mask is published")
        if line:
            canvas[302:322, x : x + width] //= 3
            style = {"ha": "left", "size": 9, "color": "white"}
            texts.append((x + 7, 312, f"mask of the {NETWORK_TITLES[line['network']]}", style))
    widths = [17 + 7 * len(name) for name in labels.classes]
    space, left = (1184 - sum(widths)) / max(1, len(widths) - 1), 8.0
    for name, color, item in zip(labels.classes, labels.palette, widths, strict=True):
        canvas[334:346, round(left) : round(left) + 12] = color
        texts.append((left + 17, 340, name, {"ha": "left", "size": 9}))
        left += item + space
    return _write_texts(canvas, texts)


def _read_images(
    bag: Path, topics: Mapping[str, str], stamps_ns: set[int | None]
) -> dict[int, Any]:
    """Stamp → array of the color and depth images with these stamps."""
    from rgbd_seg_ros.bag.reader import BagReader
    from rgbd_seg_ros.images import stamp_ns, to_frame

    found = {}
    with BagReader(bag) as reader:
        for item in reader.messages([topics["rgb"], topics["depth"]]):
            if (stamp := stamp_ns(item.message.header)) in stamps_ns:
                stream: Any = "rgb" if item.topic == topics["rgb"] else "depth"
                frame = to_frame(item.message, stream)
                found[stamp] = frame.array
    return found


def _write_texts(
    canvas: Image, texts: Sequence[tuple[float, float, str, dict[str, Any]]]
) -> Image:
    """Write texts (x, y in pixels, text, options of matplotlib) on an H×W×3 image."""
    import numpy as np
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    height, width = canvas.shape[:2]
    figure = Figure((width / 100, height / 100), dpi=100)
    agg = FigureCanvasAgg(figure)
    figure.figimage(canvas, origin="upper")
    for x, y, text, options in texts:
        style = {"ha": "center", "va": "center", "size": 11, "color": "#14181e", **options}
        figure.text(x / width, 1 - y / height, text, **style)
    agg.draw()
    return np.asarray(agg.buffer_rgba())[..., :3].copy()
