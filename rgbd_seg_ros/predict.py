# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""`rgbd_seg predict`: segments image files and writes masks and overlays.

Every image is judged as the node judges a camera's: one that is black, empty or in the wrong unit
is not used, and the network for the other image of the frame takes over.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

from rgbd_seg_ros.colorize import colorize_depth, overlay
from rgbd_seg_ros.fallback.config import CoreConfig
from rgbd_seg_ros.files import check_output_folder, write_atomically
from rgbd_seg_ros.frames import NETWORK_NAMES, Intrinsics, NetworkName
from rgbd_seg_ros.image_folder import WHAT, ImageFolderError, Kind, counted, find_frames
from rgbd_seg_ros.image_io import ImageFileError, check_aligned, resize_nearest, write_image
from rgbd_seg_ros.image_size import MAX_IMAGE_PIXELS
from rgbd_seg_ros.inference import BACKEND_HELP, Engine, load_engine
from rgbd_seg_ros.judged_images import (
    JudgedImage,
    describe_unit,
    judge_color,
    judge_depth,
    mask_size,
    median_m,
    warn_of_unit,
)
from rgbd_seg_ros.progress import progress_bar, say
from rgbd_seg_ros.unused_images import UnusedImages

#: The images that each network needs; the first network that can run is chosen.
NEEDS: dict[NetworkName, tuple[Kind, ...]] = {
    "rgbd": ("rgb", "depth"),
    "rgb": ("rgb",),
    "depth": ("depth",),
}
#: Up to this many frames, each gets a line; for more there is a progress bar.
FEW_FRAMES = 5
#: Most lines about frames with unused images; the others are in summary.json.
MAX_LINES = 20


class PredictError(ValueError):
    """Options or inputs that cannot be used; the message names the value and the remedy."""


@dataclass(frozen=True)
class ImageFiles:
    """The files of one frame; at least one is given."""

    name: str
    files: Mapping[Kind, Path]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `rgbd_seg predict`."""
    parser.add_argument(
        "--rgb", type=Path, metavar="FILE|DIR", help="a color image, or a folder of them"
    )
    parser.add_argument(
        "--depth",
        type=Path,
        metavar="FILE|DIR",
        help="a depth image aligned to the color image, or a folder of them",
    )
    parser.add_argument(
        "--folder",
        type=Path,
        metavar="DIR",
        help="a folder with color images in rgb, color, image or images and depth images in "
        "depth, in any case, or with both in one folder; paired by name, stamp or number",
    )
    parser.add_argument("--bundle", type=Path, metavar="DIR", help="default: the shipped bundle")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="output folder")
    parser.add_argument(
        "--depth-scale",
        type=float,
        metavar="M",
        help="meters per unit of the depth images (default: 0.001 for 16-bit depth, 1 for "
        "floating-point depth; 8-bit depth needs this option)",
    )
    parser.add_argument(
        "--intrinsics",
        type=float,
        nargs=4,
        metavar=("FX", "FY", "CX", "CY"),
        help="intrinsics of the images in pixels; only networks that read HHA need them",
    )
    parser.add_argument(
        "--network",
        choices=NETWORK_NAMES,
        help="default: the network that uses all usable images of a frame",
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    # Not auto, since cuda_graph would capture one graph for each size of the images.
    parser.add_argument("--backend", default="torch", metavar="NAME", help=BACKEND_HELP)
    parser.add_argument(
        "--max-image-pixels",
        type=int,
        default=MAX_IMAGE_PIXELS,
        metavar="N",
        help="larger images are not decoded (default %(default)s)",
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="write into --out even if it is not empty"
    )
    parser.add_argument("--json", action="store_true", help="print the summary as JSON on stdout")


def run(args: argparse.Namespace) -> int:
    """Segment every frame.

    Returns:
        0; or 1 if a frame had to be skipped, a file could not be read, none of the color or none
        of the depth images was used, or no frame was fused although some have both images.

    Raises:
        ValueError: bad usage or input.
    """
    _check_options(args)
    warnings: list[str] = []
    items, unread = _items(args, warnings)
    check_output_folder(args.out, args.overwrite)
    engine = load_engine(args.bundle, args.device, args.backend)
    predictor = Predictor(args, engine)
    warnings += predictor.check(_kinds(items))
    for text in warnings:
        print(f"warning: {text}", file=sys.stderr)

    args.out.mkdir(parents=True, exist_ok=True)
    lines = 0
    for item in _with_progress(items):
        line = predictor(item)
        if line or len(items) <= FEW_FRAMES:
            lines += 1
            if lines <= MAX_LINES:
                say(line or f"{item.name}: {predictor.masks[-1]['network']}")
    if lines > MAX_LINES:
        print(f"and {lines - MAX_LINES} more, see summary.json", file=sys.stderr)
    depth_m = round(median(predictor.medians_m), 4) if predictor.medians_m else None
    unused = predictor.unused()
    if depth_m is not None:
        unit = (predictor.depth_file, args.depth_scale, depth_m, args.max_image_pixels)
        if unusual := warn_of_unit(*unit):
            unused.append(unusual)
        else:
            print(describe_unit(args.depth_scale, depth_m), file=sys.stderr)
    for text in unused:
        print(f"warning: {text}", file=sys.stderr)
    summary = {
        "masks": predictor.masks,
        "skipped": predictor.skipped,
        "device": str(engine.device),
        "median_depth_m": depth_m,
        "warnings": warnings + unused,
    }
    write_atomically(args.out / "summary.json", json.dumps(summary, indent=2) + "\n")
    if args.json:
        print(json.dumps(summary))
    count = counted(len(predictor.masks), "mask")
    print(f"{count} in {args.out}, {len(predictor.skipped)} skipped", file=sys.stderr)
    return 0 if predictor.complete(_kinds(items)) and not unread else 1


def _check_options(args: argparse.Namespace) -> None:
    if args.depth_scale is not None and not 0 < args.depth_scale < math.inf:
        raise PredictError(f"--depth-scale must be above 0 meters, got {args.depth_scale}")
    if args.max_image_pixels < 1:
        raise PredictError(f"--max-image-pixels must be 1 or more, got {args.max_image_pixels}")
    if args.intrinsics is not None and not (
        all(map(math.isfinite, args.intrinsics)) and min(args.intrinsics[:2]) > 0
    ):
        raise PredictError(
            f"--intrinsics: FX and FY must be above 0 and all values finite, got {args.intrinsics}"
        )


def _items(
    args: argparse.Namespace, warnings: list[str]
) -> tuple[list[ImageFiles], tuple[Path, ...]]:
    """The frames, and images in a format that is not read; appends notes to ``warnings``."""
    named: dict[Kind, Path | None] = {"rgb": args.rgb, "depth": args.depth}
    given = {kind: path for kind, path in named.items() if path is not None}
    if args.folder is not None and given:
        raise PredictError("pass either --folder or --rgb/--depth, not both")
    if args.folder is None and not given:
        raise PredictError("no input; pass --rgb, --depth or --folder")
    for path in given.values():
        if not path.exists():
            raise PredictError(f"no such file: {path}")
    folders = {kind: path.absolute() for kind, path in given.items() if path.is_dir()}
    if args.folder is None and not folders:
        return [ImageFiles(next(iter(given.values())).stem, given)], ()
    if 0 < len(folders) < len(given):
        raise PredictError("--rgb and --depth must be two files or two folders")
    root = args.folder or next(iter(folders.values())).parent
    try:
        found = find_frames(
            root,
            rgb=folders.get("rgb"),
            depth=folders.get("depth"),
            kinds=tuple(folders) or ("rgb", "depth"),
        )
    except ImageFolderError as error:
        choose = "; --rgb DIR and --depth DIR choose the folders"
        remedy = "" if folders or not root.is_dir() else choose
        raise PredictError(f"{error}{remedy}") from error
    warnings += found.notes
    if found.pairing:
        print(f"color and depth images are paired by {found.pairing}", file=sys.stderr)
    return [
        ImageFiles(name, {k: files[name] for k, files in found.files.items() if name in files})
        for name in found.names
    ], found.unread_images


def _with_progress(items: Sequence[ImageFiles]) -> Iterable[ImageFiles]:
    if len(items) <= FEW_FRAMES:
        return items
    try:
        bar: Iterable[ImageFiles] = progress_bar("predict", len(items), "image", iterable=items)
    except ImportError:  # tqdm is not installed
        return items
    return bar


class Predictor:
    """Reads, judges and segments one frame after the other, and writes masks and overlays."""

    def __init__(self, args: argparse.Namespace, engine: Engine) -> None:
        self._args, self._engine, self._config = args, engine, CoreConfig()
        self._blocked = () if args.intrinsics else engine.need_intrinsics
        self.masks: list[dict[str, Any]] = []
        self._unused = UnusedImages()
        #: Name of a frame → why it has no mask.
        self.skipped: dict[str, str] = {}
        #: Median of each depth image that was used, in meters.
        self.medians_m: list[float] = []
        #: The last depth image that was used.
        self.depth_file: Path | None = None

    def check(self, kinds: Sequence[Kind]) -> list[str]:
        """What no frame will use of the options and the images, one line each.

        Raises:
            PredictError: the bundle does not have the network of ``--network``.
        """
        forced: NetworkName | None = self._args.network
        available = self._engine.available
        if forced and forced not in available:
            raise PredictError(f"the bundle has no network {forced}, only {', '.join(available)}")
        notes = []
        if self._args.depth_scale is not None and "depth" not in kinds:
            notes.append("--depth-scale is not used, because there are no depth images")
        if self._args.intrinsics and not self._engine.need_intrinsics:
            notes.append("--intrinsics is not used, because no network of the bundle reads HHA")
        if forced:
            for kind in set(kinds).difference(NEEDS[forced]):
                notes.append(f"--network {forced} does not use the {WHAT[kind]} images")
        elif len(kinds) == 2 and "rgbd" not in available:
            notes.append("color and depth are not fused, because the bundle has no network rgbd")
        elif len(kinds) == 2 and "rgbd" in self._blocked:
            notes.append(f"color and depth are not fused: {_HHA}")
        return notes

    def __call__(self, item: ImageFiles) -> str:
        """Segment one frame; returns a line if an image is not used, else an empty string."""
        from rgbd_seg_ros.engine.backends import EngineError

        limit = self._args.max_image_pixels
        rgb = judge_color(item.files.get("rgb"), self._config, limit)
        depth = judge_depth(item.files.get("depth"), self._config, self._args.depth_scale, limit)
        if self._args.network is None and rgb.usable and depth.usable:
            rgb, depth = self._one_if_not_aligned(rgb, depth)
        why = self._unused.add(item.files, {"rgb": rgb, "depth": depth})
        self.depth_file = item.files["depth"] if depth.usable else self.depth_file
        try:
            self.masks.append(self._segment(item.name, rgb, depth))
        except (PredictError, ImageFileError, EngineError) as error:
            self.skipped[item.name] = "; ".join(filter(None, (why, str(error))))
            return f"skipped {item.name}: {self.skipped[item.name]}"
        return f"{item.name}: {self.masks[-1]['network']}, because {why}" if why else ""

    def unused(self) -> list[str]:
        """What was not used, one line for each kind and reason, with the remedy."""
        pairs = counted(self._unused.pairs, "frame")
        why = f"no mask is fused, although {pairs} had color and depth; the lines above say why"
        return self._unused.lines() + [why] * (not self._fused)

    @property
    def _fused(self) -> bool:
        """Whether a mask is fused, if the images and the networks allow it."""
        possible = "rgbd" in self._engine.available and "rgbd" not in self._blocked
        wanted = self._unused.pairs and not self._args.network and possible
        return not wanted or any(mask["network"] == "rgbd" for mask in self.masks)

    def complete(self, kinds: Sequence[Kind]) -> bool:
        """Whether every frame has a mask, every file was readable and every kind was used."""
        used = {kind for mask in self.masks for kind in NEEDS[mask["network"]]}
        wanted = NEEDS[self._args.network] if self._args.network else kinds
        failed = self.skipped or self._unused.unreadable
        return used.issuperset(wanted) and self._fused and not failed

    def _one_if_not_aligned(
        self, rgb: JudgedImage, depth: JudgedImage
    ) -> tuple[JudgedImage, JudgedImage]:
        """Depth that is not aligned is not used, as on the robot; color, if only depth can run."""
        sizes = [image.image.shape[:2] for image in (rgb, depth) if image.image is not None]
        try:
            check_aligned(*sizes)
        except ImageFileError as error:
            unused = JudgedImage("not_aligned", f"{error}; align depth to color")
            if "rgb" in self._engine.available:
                return rgb, replace(unused, image=depth.image)
            return replace(unused, image=rgb.image), depth
        return rgb, depth

    def _segment(self, name: str, rgb: JudgedImage, depth: JudgedImage) -> dict[str, Any]:
        """Compute and write one mask.

        Raises:
            PredictError: no network can run on these images.
            ImageFileError: depth is not aligned to color.
        """
        network = self._network(rgb, depth)
        if network == "rgbd" and rgb.image is not None and depth.image is not None:
            # Only --network rgbd gets here with images that are not aligned.
            check_aligned(rgb.image.shape[:2], depth.image.shape[:2])
        height, width = size = mask_size(network, rgb, depth)
        intrinsics = None
        if self._args.intrinsics:
            fx, fy, cx, cy = self._args.intrinsics
            intrinsics = Intrinsics(fx, fy, cx, cy, width, height)
        result = self._engine(
            rgb.image if "rgb" in NEEDS[network] else None,
            depth.image if "depth" in NEEDS[network] else None,
            intrinsics,
            size=size,
            network=network,
        )
        if rgb.usable and rgb.image is not None and rgb.image.shape[:2] == size:
            background = rgb.image
        elif depth.image is not None:
            background = colorize_depth(resize_nearest(depth.image, size))
        else:
            raise PredictError("there is no image under the overlay")
        if "depth" in NEEDS[network] and depth.image is not None:
            self.medians_m.append(median_m(depth.image))
        write_image(self._args.out / f"{name}_mask.png", result.labels)
        blended = overlay(background, result.labels, self._engine.labels)
        write_image(self._args.out / f"{name}_overlay.png", blended)
        return {
            "name": name,
            "network": result.network,
            "reason_rgb": rgb.reason,
            "reason_depth": depth.reason,
            "mean_confidence": round(float(result.confidence.mean()) / 255, 4),
            "timings_ms": {k: round(v, 3) for k, v in result.timings_ms.items()},
        }

    def _network(self, rgb: JudgedImage, depth: JudgedImage) -> NetworkName:
        """The first network that can run on the usable images."""
        usable = {"rgb": rgb.usable, "depth": depth.usable, "labels": False}
        forced: NetworkName | None = self._args.network
        possible = [
            network
            for network, needed in NEEDS.items()
            if all(usable[kind] for kind in needed) and forced in (None, network)
        ]
        chosen = [n for n in possible if n in self._engine.available and n not in self._blocked]
        if chosen:
            return chosen[0]
        if forced and not possible:
            needed = " and ".join(WHAT[kind] for kind in NEEDS[forced])
            raise PredictError(f"--network {forced} needs a usable {needed} image")
        if blocked := [network for network in possible if network in self._blocked]:
            raise PredictError(f"network {blocked[0]} cannot run: {_HHA}")
        if possible:
            raise PredictError(f"the bundle has no network {' or '.join(possible)}")
        raise PredictError("no image can be used")


_HHA = "it reads HHA, which needs --intrinsics FX FY CX CY"


def _kinds(items: Sequence[ImageFiles]) -> tuple[Kind, ...]:
    """The kinds of which there are images."""
    return tuple(kind for kind in WHAT if any(kind in item.files for item in items))
