# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""`rgbd_seg predict`: segments image files and writes masks and overlays."""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rgbd_seg_ros.colorize import colorize_depth, overlay
from rgbd_seg_ros.files import check_output_folder, write_atomically
from rgbd_seg_ros.frames import NETWORK_NAMES, Intrinsics, NetworkName
from rgbd_seg_ros.image_io import SUFFIXES, ImageFileError, read_depth, read_rgb, write_image
from rgbd_seg_ros.inference import BACKEND_HELP, Engine, load_engine

#: Names of the folders in ``--folder`` that contain each stream.
RGB_FOLDERS = ("rgb", "color", "image", "images")
DEPTH_FOLDERS = ("depth",)


class PredictError(ValueError):
    """Options or inputs that cannot be used; the message names the value and the remedy."""


@dataclass(frozen=True)
class ImageFiles:
    """The files of one frame pair, or of one frame; at least one is given."""

    name: str
    rgb: Path | None
    depth: Path | None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `rgbd_seg predict`."""
    parser.add_argument("--rgb", type=Path, metavar="FILE", help="one color image")
    parser.add_argument(
        "--depth", type=Path, metavar="FILE", help="one depth image, aligned to the color image"
    )
    parser.add_argument(
        "--folder",
        type=Path,
        metavar="DIR",
        help=f"a folder with color images in {'|'.join(RGB_FOLDERS)} and/or depth images in "
        "depth; files with the same name form a pair",
    )
    parser.add_argument("--bundle", type=Path, metavar="DIR", help="default: the shipped bundle")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="output folder")
    parser.add_argument(
        "--depth-scale",
        type=float,
        default=0.001,
        metavar="M",
        help="meters per tick of 16-bit depth (default %(default)s); float depth is in meters",
    )
    parser.add_argument(
        "--intrinsics",
        type=float,
        nargs=4,
        metavar=("FX", "FY", "CX", "CY"),
        help="intrinsics of the images in pixels; only networks that read HHA need them",
    )
    parser.add_argument(
        "--network", choices=NETWORK_NAMES, help="default: the network that uses all given inputs"
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    # Not auto, since cuda_graph would capture one graph for each size of the images.
    parser.add_argument("--backend", default="torch", metavar="NAME", help=BACKEND_HELP)
    parser.add_argument(
        "--overwrite", action="store_true", help="write into --out even if it is not empty"
    )
    parser.add_argument("--json", action="store_true", help="print the summary as JSON on stdout")


def run(args: argparse.Namespace) -> int:
    """Segment every frame or frame pair; returns 0, or 1 if any had to be skipped.

    Raises:
        ValueError: bad usage or input.
    """
    if not 0 < args.depth_scale < math.inf:
        raise PredictError(f"--depth-scale must be above 0 meters, got {args.depth_scale}")
    if args.intrinsics is not None and not min(args.intrinsics[:2]) > 0:
        raise PredictError(f"--intrinsics: FX and FY must be above 0, got {args.intrinsics[:2]}")
    items = _items(args)
    check_output_folder(args.out, args.overwrite)

    engine = load_engine(args.bundle, args.device, args.backend)
    args.out.mkdir(parents=True, exist_ok=True)
    results: list[dict[str, Any]] = []
    skipped: dict[str, str] = {}
    for item in items:
        try:
            results.append(_predict(item, engine, args))
        except (PredictError, ImageFileError) as error:
            skipped[item.name] = str(error)
            print(f"skipped {item.name}: {error}", file=sys.stderr)
        else:
            print(f"{item.name}: {results[-1]['network']}", file=sys.stderr)
    summary = {"masks": results, "skipped": skipped, "device": str(engine.device)}
    write_atomically(args.out / "summary.json", json.dumps(summary, indent=2) + "\n")
    if args.json:
        print(json.dumps(summary))
    print(f"{len(results)} masks in {args.out}, {len(skipped)} skipped", file=sys.stderr)
    return 1 if skipped else 0


def _items(args: argparse.Namespace) -> list[ImageFiles]:
    if args.folder is not None:
        if args.rgb or args.depth:
            raise PredictError("pass either --folder or --rgb/--depth, not both")
        return list(_folder_items(args.folder))
    if args.rgb is None and args.depth is None:
        raise PredictError("no input; pass --rgb, --depth or --folder")
    for path in (args.rgb, args.depth):
        if path is not None and not path.is_file():
            raise PredictError(f"no such file: {path}")
    return [ImageFiles((args.rgb or args.depth).stem, args.rgb, args.depth)]


def _folder_items(folder: Path) -> Iterator[ImageFiles]:
    streams: dict[str, dict[str, Path]] = {}
    for stream, candidates in (("rgb", RGB_FOLDERS), ("depth", DEPTH_FOLDERS)):
        found = [folder / name for name in candidates if (folder / name).is_dir()]
        if len(found) > 1:
            raise PredictError(
                f"{folder} has several {stream} folders ({', '.join(map(str, found))}); keep one"
            )
        streams[stream] = (
            {p.stem: p for p in sorted(found[0].iterdir()) if p.suffix.lower() in SUFFIXES}
            if found
            else {}
        )
    names = sorted(streams["rgb"].keys() | streams["depth"].keys())
    if not names:
        raise PredictError(
            f"no images in {folder}; expected {'|'.join(RGB_FOLDERS)}/NAME.png and/or "
            "depth/NAME.png in it, or pass single files with --rgb and --depth"
        )
    for name in names:
        yield ImageFiles(name, streams["rgb"].get(name), streams["depth"].get(name))


def _predict(item: ImageFiles, engine: Engine, args: argparse.Namespace) -> dict[str, Any]:
    from rgbd_seg_ros.engine.backends import EngineError

    rgb = read_rgb(item.rgb) if item.rgb else None
    depth = read_depth(item.depth, args.depth_scale) if item.depth else None
    if rgb is not None and depth is not None:
        aspects = [a.shape[1] / a.shape[0] for a in (rgb, depth)]
        if abs(aspects[0] - aspects[1]) > 0.01 * aspects[0]:
            raise PredictError(
                f"color is {rgb.shape[1]}×{rgb.shape[0]} but depth {depth.shape[1]}×"
                f"{depth.shape[0]}: depth is not aligned to color; pass only one of them"
            )
    if rgb is not None:
        background = rgb
    elif depth is not None:
        background = colorize_depth(depth)
    else:
        raise PredictError(f"{item.name} has neither a color nor a depth image")
    height, width = background.shape[:2]
    network: NetworkName = "depth" if rgb is None else "rgb" if depth is None else "rgbd"
    intrinsics = None
    if args.intrinsics is not None:
        fx, fy, cx, cy = args.intrinsics
        intrinsics = Intrinsics(fx, fy, cx, cy, width, height)
    try:
        result = engine(
            rgb, depth, intrinsics, size=(height, width), network=args.network or network
        )
    except EngineError as error:
        raise PredictError(str(error)) from error
    write_image(args.out / f"{item.name}_mask.png", result.labels)
    write_image(
        args.out / f"{item.name}_overlay.png", overlay(background, result.labels, engine.labels)
    )
    return {
        "name": item.name,
        "network": result.network,
        "mean_confidence": round(float(result.confidence.mean()) / 255, 4),
        "timings_ms": {k: round(v, 3) for k, v in result.timings_ms.items()},
    }
