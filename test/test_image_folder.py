# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Folders of images: layouts, pairs, and everything that is not read is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from rgbd_seg_ros.image_folder import FolderFrames, ImageFolderError, find_frames


def make(root: Path, *files: str) -> Path:
    """Empty files below ``root``; only their names matter here."""
    for name in files:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def frames_of(found: FolderFrames) -> dict[str, tuple[str, ...]]:
    """Name of each frame → its files below the root, in the order of ``files``."""
    return {
        name: tuple(
            files[name].relative_to(found.root).as_posix()
            for files in found.files.values()
            if name in files
        )
        for name in found.names
    }


LAYOUTS = {
    "prepared": (
        ["rgb/a.png", "depth/a.png", "labels/a.png", "dataset.yaml", "train.txt", "card.png"],
        {"a": ("rgb/a.png", "depth/a.png", "labels/a.png")},
    ),
    "cmx": (
        ["RGB/10.jpg", "Depth/10.png", "Label/10.png", "RGB/9.jpg", "Depth/9.png", "Label/9.png"],
        {
            "9": ("RGB/9.jpg", "Depth/9.png", "Label/9.png"),
            "10": ("RGB/10.jpg", "Depth/10.png", "Label/10.png"),
        },
    ),
    "scannet": (
        ["color/0.jpg", "depth/0.png", "label-filt/0.png", "pose/0.txt"],
        {"0": ("color/0.jpg", "depth/0.png", "label-filt/0.png")},
    ),
    "7-scenes": (
        [
            "frame-000001.color.png",
            "frame-000001.depth.png",
            "frame-000001.pose.txt",
            "Thumbs.db",
            ".DS_Store",
            "._frame-000001.color.png",
        ],
        {"frame-000001": ("frame-000001.color.png", "frame-000001.depth.png")},
    ),
    "one pair": (["rgb.png", "depth.png"], {"rgb": ("rgb.png", "depth.png")}),
    "words in names": (
        ["rgb/rgb_0001.png", "depth/depth_0001.png", "gt/0001_label.png"],
        {"0001": ("rgb/rgb_0001.png", "depth/depth_0001.png", "gt/0001_label.png")},
    ),
    "numbers": (
        ["images/img_12.jpg", "depth/d0012.png", "images/img_7.jpg", "depth/d0007.png"],
        {
            "img_7": ("images/img_7.jpg", "depth/d0007.png"),
            "img_12": ("images/img_12.jpg", "depth/d0012.png"),
        },
    ),
    "tum": (
        [
            "rgb/1305031102.175304.png",
            "rgb/1305031102.211214.png",
            "depth/1305031102.160407.png",
            "depth/1305031102.226738.png",
        ],
        {
            "1305031102.175304": ("rgb/1305031102.175304.png", "depth/1305031102.160407.png"),
            "1305031102.211214": ("rgb/1305031102.211214.png", "depth/1305031102.226738.png"),
        },
    ),
    "sun rgb-d": (
        ["a/image/5.jpg", "a/depth/x.png", "b/image/6.jpg", "b/depth/6.png", "a/depth_bfx/5.png"],
        {"a": ("a/image/5.jpg", "a/depth/x.png"), "b": ("b/image/6.jpg", "b/depth/6.png")},
    ),
    "scenes": (
        ["s1/color/0.png", "s1/depth/0.png", "s1/color/1.png", "s1/depth/1.png", "s1/x.txt"],
        {
            "s1_0": ("s1/color/0.png", "s1/depth/0.png"),
            "s1_1": ("s1/color/1.png", "s1/depth/1.png"),
        },
    ),
    "subfolders of one kind": (
        ["images/train/0.png", "images/val/0.png", "depth/train/0.png", "depth/val/0.png"],
        {
            "train_0": ("images/train/0.png", "depth/train/0.png"),
            "val_0": ("images/val/0.png", "depth/val/0.png"),
        },
    ),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts(layout: str, tmp_path: Path) -> None:
    files, expected = LAYOUTS[layout]
    found = find_frames(make(tmp_path, *files))
    assert frames_of(found) == expected
    assert list(found.complete) == list(expected)
    assert not found.unpaired


def test_a_folder_that_has_both_but_no_pair_is_an_error(tmp_path: Path) -> None:
    make(tmp_path, "rgb/kitchen.png", "rgb/hall.png", "depth/a.png", "depth/b.png")
    with pytest.raises(ImageFolderError, match=r"rgb/hall\.png and depth/a\.png: neither"):
        find_frames(tmp_path)
