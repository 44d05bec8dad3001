# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""`rgbd_seg predict`: pictures in, masks and overlays out."""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import numpy.typing as npt

from rgbd_seg_ros.depth import to_meters
from rgbd_seg_ros.frames import Intrinsics

if TYPE_CHECKING:
    from rgbd_seg_ros.engine import Segmenter
    from rgbd_seg_ros.labels import LabelSet

#: Folder names under ``--folder`` that hold one stream each.
RGB_FOLDERS = ("rgb", "color", "image", "images")
DEPTH_FOLDERS = ("depth",)
SUFFIXES = {".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp"}


class PredictError(ValueError):
    """A picture or folder that cannot be used; the message names it and the remedy."""


@dataclass(frozen=True)
class Item:
    """The picture files of one instant."""

    name: str
    rgb: Path | None
    depth: Path | None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `rgbd_seg predict`."""
    parser.add_argument("--rgb", type=Path, metavar="FILE", help="one color picture")
    parser.add_argument(
        "--depth",
        type=Path,
        metavar="FILE",
        help="one depth picture, registered to the color one",
    )
    parser.add_argument(
        "--folder",
        type=Path,
        metavar="DIR",
        help=f"a folder with {' or '.join(RGB_FOLDERS)} and/or depth in it, paired by file name",
    )
    parser.add_argument("--bundle", type=Path, metavar="DIR", help="default: the shipped bundle")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="where results go")
    parser.add_argument(
        "--depth-scale",
        type=float,
        default=0.001,
        metavar="M",
        help="meters per tick of 16-bit depth pictures (default %(default)s); floats are meters",
    )
    parser.add_argument(
        "--intrinsics",
        type=float,
        nargs=4,
        metavar=("FX", "FY", "CX", "CY"),
        help="of the pictures, in pixels; only networks that read HHA need them",
    )
    parser.add_argument(
        "--network", choices=("rgbd", "rgb", "depth"), help="default: the one using all inputs"
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    parser.add_argument("--overwrite", action="store_true", help="replace what is in --out")
    parser.add_argument("--json", action="store_true", help="print the summary as JSON on stdout")


def run(args: argparse.Namespace) -> int:
    """Predict every item; 0, or 1 when a picture had to be skipped.

    Raises:
        ValueError: bad usage or input.
    """
    if not 0 < args.depth_scale < math.inf:
        raise PredictError(f"--depth-scale needs meters above 0, got {args.depth_scale}")
    if args.intrinsics is not None and not min(args.intrinsics[:2]) > 0:
        raise PredictError(f"--intrinsics needs FX and FY above 0, got {args.intrinsics[:2]}")
    items = _items(args)
    if args.out.exists() and any(args.out.iterdir()) and not args.overwrite:
        raise PredictError(f"{args.out} is not empty; choose another --out or add --overwrite")

    from rgbd_seg_ros.bundle import DEFAULT_BUNDLE, load_bundle
    from rgbd_seg_ros.engine import Segmenter

    segmenter = Segmenter(load_bundle(args.bundle or DEFAULT_BUNDLE), device=args.device)
    args.out.mkdir(parents=True, exist_ok=True)
    results: list[dict[str, Any]] = []
    skipped: dict[str, str] = {}
    for item in items:
        try:
            results.append(_predict(item, segmenter, args))
        except PredictError as error:
            skipped[item.name] = str(error)
            print(f"skipped {item.name}: {error}", file=sys.stderr)
        else:
            print(f"{item.name}: {results[-1]['network']}", file=sys.stderr)
    summary = {"masks": results, "skipped": skipped, "device": str(segmenter.device)}
    (args.out / "summary.json").write_text(json.dumps(summary, indent=2) + "\n")
    if args.json:
        print(json.dumps(summary))
    print(f"{len(results)} masks in {args.out}, {len(skipped)} skipped", file=sys.stderr)
    return 1 if skipped else 0


def _items(args: argparse.Namespace) -> list[Item]:
    if args.folder is not None:
        if args.rgb or args.depth:
            raise PredictError("give either --folder or --rgb/--depth, not both")
        return list(_folder_items(args.folder))
    if args.rgb is None and args.depth is None:
        raise PredictError("nothing to predict; give --rgb, --depth or --folder")
    for path in (args.rgb, args.depth):
        if path is not None and not path.is_file():
            raise PredictError(f"no such file {path}; give a picture")
    return [Item((args.rgb or args.depth).stem, args.rgb, args.depth)]


def _folder_items(folder: Path) -> Iterator[Item]:
    streams: dict[str, dict[str, Path]] = {}
    for stream, candidates in (("rgb", RGB_FOLDERS), ("depth", DEPTH_FOLDERS)):
        found = [folder / name for name in candidates if (folder / name).is_dir()]
        if len(found) > 1:
            raise PredictError(
                f"{folder} has several {stream} folders: {', '.join(map(str, found))}"
            )
        streams[stream] = (
            {p.stem: p for p in sorted(found[0].iterdir()) if p.suffix.lower() in SUFFIXES}
            if found
            else {}
        )
    names = sorted(streams["rgb"].keys() | streams["depth"].keys())
    if not names:
        raise PredictError(
            f"no pictures in {folder}; expected {'|'.join(RGB_FOLDERS)}/NAME.png and/or "
            "depth/NAME.png in it, or give single files with --rgb and --depth"
        )
    for name in names:
        yield Item(name, streams["rgb"].get(name), streams["depth"].get(name))


def _predict(item: Item, segmenter: Segmenter, args: argparse.Namespace) -> dict[str, Any]:
    from rgbd_seg_ros.engine.backends import EngineError

    rgb = read_rgb(item.rgb) if item.rgb else None
    depth = read_depth(item.depth, args.depth_scale) if item.depth else None
    if rgb is not None and depth is not None:
        aspects = [a.shape[1] / a.shape[0] for a in (rgb, depth)]
        if abs(aspects[0] - aspects[1]) > 0.01 * aspects[0]:
            raise PredictError(
                f"color is {rgb.shape[1]}×{rgb.shape[0]} but depth {depth.shape[1]}×"
                f"{depth.shape[0]}: depth is not registered to color; give one of them alone"
            )
    try:
        result = segmenter(rgb, depth, _intrinsics(args, rgb, depth), network=args.network)
    except EngineError as error:
        raise PredictError(str(error)) from error
    write_picture(args.out / f"{item.name}_mask.png", result.labels)
    write_picture(
        args.out / f"{item.name}_overlay.png",
        _overlay(rgb, depth, result.labels, segmenter.labels),
    )
    return {
        "name": item.name,
        "network": result.network,
        "mean_confidence": round(float(result.confidence.mean()) / 255, 4),
        "timings_ms": {k: round(v, 3) for k, v in result.timings_ms.items()},
    }


def _intrinsics(args: argparse.Namespace, *pictures: npt.NDArray[Any] | None) -> Intrinsics | None:
    if args.intrinsics is None:
        return None
    height, width = next(p.shape[:2] for p in pictures if p is not None)
    fx, fy, cx, cy = args.intrinsics
    return Intrinsics(fx, fy, cx, cy, width, height)


def _overlay(
    rgb: npt.NDArray[np.uint8] | None,
    depth: npt.NDArray[np.float32] | None,
    labels: npt.NDArray[np.uint8],
    label_set: LabelSet,
) -> npt.NDArray[np.uint8]:
    from rgbd_seg_ros.colorize import colorize_depth, overlay

    if rgb is not None:
        return overlay(rgb, labels, label_set)
    if depth is None:
        raise PredictError("neither rgb nor depth to draw on")
    return overlay(colorize_depth(depth), labels, label_set)


def read_rgb(path: Path) -> npt.NDArray[np.uint8]:
    """A color picture as H×W×3 uint8 RGB."""
    picture = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if picture is None:
        raise PredictError(f"cannot read color picture {path}: not there or no picture")
    rgb: npt.NDArray[np.uint8] = cv2.cvtColor(picture, cv2.COLOR_BGR2RGB).astype(np.uint8)
    return rgb


def read_depth(path: Path, depth_scale: float) -> npt.NDArray[np.float32]:
    """A one-channel depth picture (16-bit ticks or float meters) as H×W meters, NaN invalid."""
    picture = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if picture is None:
        raise PredictError(f"cannot read depth picture {path}: not there or no picture")
    try:
        return to_meters(picture, depth_scale)
    except ValueError as error:
        raise PredictError(
            f"{path}: {error}; save depth as a 16-bit PNG or a float TIFF"
        ) from error


def write_picture(path: Path, picture: npt.NDArray[np.uint8]) -> None:
    """Write H×W ids or H×W×3 RGB as PNG."""
    bgr = picture if picture.ndim == 2 else cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)
    if not cv2.imwrite(str(path), bgr):
        raise PredictError(f"cannot write {path}; is the disk full or the folder read-only?")
