# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Overlays of several bundles on the same images, side by side, to compare networks by eye.

    python -m benchmarks.overlays BUNDLE... --folder IMAGES --out sheet.jpg [--every 3]

Each frame has one row per bundle: the color image, depth, and the overlays of the fused, the color
and the depth network. The legend of the classes is on the right. The masks are those that
``rgbd_seg predict`` writes.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from rgbd_seg_ros import cli
from rgbd_seg_ros.bundle import load_bundle
from rgbd_seg_ros.colorize import colorize_depth, legend
from rgbd_seg_ros.image_folder import find_frames
from rgbd_seg_ros.image_io import read_depth, read_rgb, write_image

Image = npt.NDArray[np.uint8]
NETWORKS = ("rgbd", "rgb", "depth")
GAP_PX = 2


def overlays(bundle: Path, folder: Path, network: str, depth_scale: float) -> dict[str, Image]:
    """Name of each frame → the overlay of a network, H×W×3 RGB."""
    with tempfile.TemporaryDirectory() as out:
        command = ["predict", "--folder", str(folder), "--bundle", str(bundle), "--out", out]
        options = ["--network", network, "--depth-scale", str(depth_scale), "--overwrite"]
        if cli.main([*command, *options]):
            raise SystemExit(f"no overlays of the network {network} of {bundle}")
        end = "_overlay.png"
        return {p.name.removesuffix(end): read_rgb(p) for p in sorted(Path(out).glob(f"*{end}"))}


def sheet(bundles: list[Path], folder: Path, every: int, width: int, depth_scale: float) -> Image:
    """All rows, with the legend on the right, as an H×W×3 RGB image."""
    drawn = [{n: overlays(b, folder, n, depth_scale) for n in NETWORKS} for b in bundles]
    rows = []
    found = find_frames(folder, need=("rgb", "depth"))
    for name in found.names[::every]:
        color = read_rgb(found.files["rgb"][name])
        height = round(width * color.shape[0] / color.shape[1])
        depth = colorize_depth(read_depth(found.files["depth"][name], depth_scale))
        for masks in drawn:
            tiles = [color, depth, *(masks[n][name] for n in NETWORKS)]
            small = [cv2.resize(t, (width, height), interpolation=cv2.INTER_AREA) for t in tiles]
            rows.append(np.concatenate([_edged(tile) for tile in small], axis=1))
    image = np.concatenate(rows, axis=0)
    classes = legend(load_bundle(bundles[0]).labels)
    height = max(len(image), len(classes))
    return np.concatenate(
        [np.pad(part, ((0, height - len(part)), (0, 0), (0, 0)), constant_values=255)
         for part in (image, classes)],
        axis=1,
    )  # fmt: skip


def _edged(tile: Image) -> Image:
    edges = ((0, GAP_PX), (0, GAP_PX), (0, 0))
    return np.pad(tile, edges, constant_values=255)


def main(argv: list[str] | None = None) -> None:
    """Parse and write the sheet."""
    assert __doc__ is not None
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundles", nargs="+", type=Path, metavar="BUNDLE")
    parser.add_argument("--folder", type=Path, required=True, help="color and depth images")
    parser.add_argument("--out", type=Path, required=True, help="image to write")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="every Nth frame")
    parser.add_argument("--width", type=int, default=240, help="width of a tile in pixels")
    parser.add_argument(
        "--depth-scale", type=float, default=0.001, metavar="M", help="meters per unit of depth"
    )
    args = parser.parse_args(argv)
    image = sheet(args.bundles, args.folder, args.every, args.width, args.depth_scale)
    write_image(args.out, image)


if __name__ == "__main__":
    main()
