# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""`rgbd_seg predict`: files and folders, skipped images, bad usage."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from rgbd_seg_ros import predict
from rgbd_seg_ros.bundle import Bundle, save_bundle
from rgbd_seg_ros.files import OutputError
from rgbd_seg_ros.predict import PredictError


@pytest.fixture(scope="module")
def bundle(tiny_bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_bundle(tmp_path_factory.mktemp("bundle"), tiny_bundle)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three items: a frame pair, color only, depth only."""
    rng = np.random.default_rng(0)
    for stream in ("rgb", "depth"):
        (tmp_path / "in" / stream).mkdir(parents=True)
    for name in ("both", "color"):
        rgb = rng.integers(0, 256, (60, 80, 3), dtype=np.uint8)
        cv2.imwrite(str(tmp_path / "in" / "rgb" / f"{name}.png"), rgb)
    for name in ("both", "geometry"):
        ticks = rng.integers(500, 5000, (60, 80), dtype=np.uint16)
        cv2.imwrite(str(tmp_path / "in" / "depth" / f"{name}.png"), ticks)
    return tmp_path / "in"


def _run(*arguments: object) -> int:
    parser = argparse.ArgumentParser()
    predict.add_arguments(parser)
    return predict.run(parser.parse_args([str(a) for a in ("--device", "cpu", *arguments)]))


def test_each_item_of_a_folder_runs_its_network(folder: Path, bundle: Path, capsys) -> None:  # type: ignore[no-untyped-def]
    out = folder.parent / "out"
    assert _run("--folder", folder, "--bundle", bundle, "--out", out, "--json") == 0
    summary = json.loads(capsys.readouterr().out)
    assert summary == json.loads((out / "summary.json").read_text())
    networks = {mask["name"]: mask["network"] for mask in summary["masks"]}
    assert networks == {"both": "rgbd", "color": "rgb", "geometry": "depth"}
    for name in networks:
        mask = cv2.imread(str(out / f"{name}_mask.png"), cv2.IMREAD_UNCHANGED)
        assert mask.shape == (60, 80)
        assert mask.max() < 16
        assert cv2.imread(str(out / f"{name}_overlay.png")).shape == (60, 80, 3)
    with pytest.raises(OutputError, match="--overwrite"):
        _run("--folder", folder, "--bundle", bundle, "--out", out)
    assert _run("--folder", folder, "--bundle", bundle, "--out", out, "--overwrite") == 0


def test_a_bad_image_is_reported_and_skipped(folder: Path, bundle: Path, capsys) -> None:  # type: ignore[no-untyped-def]
    (folder / "rgb" / "broken.png").write_bytes(b"not an image")
    cv2.imwrite(str(folder / "depth" / "wide.png"), np.full((60, 160), 900, np.uint16))
    cv2.imwrite(str(folder / "rgb" / "wide.png"), np.zeros((60, 80, 3), np.uint8))
    cv2.imwrite(str(folder / "depth" / "eight.png"), np.zeros((60, 80), np.uint8))
    out = folder.parent / "out"
    assert _run("--folder", folder, "--bundle", bundle, "--out", out) == 1
    skipped = json.loads((out / "summary.json").read_text())["skipped"]
    assert sorted(skipped) == ["broken", "eight", "wide"]
    assert "not aligned to color" in skipped["wide"]
    assert "16-bit PNG" in skipped["eight"]
    assert "truncated or not an image" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "no input"),
        (("--folder", "x", "--rgb", "y"), "not both"),
        (("--folder", "/nowhere"), "no images in /nowhere"),
        (("--rgb", "/nowhere.png"), "no such file: /nowhere.png"),
        (("--rgb", "y", "--depth-scale", "0"), "above 0 meters, got 0.0"),
        (("--rgb", "y", "--depth-scale", "nan"), "above 0 meters, got nan"),
    ],
)
def test_bad_usage_is_refused(tmp_path: Path, arguments: tuple, message: str) -> None:
    with pytest.raises(PredictError, match=message):
        _run(*arguments, "--out", tmp_path / "out")


def test_a_real_frame_pair_gives_a_mask_of_its_size(
    recordings: Path, bundle: Path, tmp_path: Path
) -> None:
    frames = recordings / "frames" / "kinect2_office"
    rgb, depth = frames / "sample_rgb.png", frames / "sample_depth.png"
    assert _run("--rgb", rgb, "--depth", depth, "--bundle", bundle, "--out", tmp_path / "o") == 0
    mask = cv2.imread(str(tmp_path / "o" / "sample_rgb_mask.png"), cv2.IMREAD_UNCHANGED)
    assert mask.shape == cv2.imread(str(rgb)).shape[:2]


def test_a_network_that_reads_hha_needs_intrinsics(
    folder: Path, hha_bundle: Bundle, tmp_path: Path, capsys
) -> None:  # type: ignore[no-untyped-def]
    bundle = save_bundle(tmp_path / "bundle", hha_bundle)
    depth = folder / "depth" / "geometry.png"
    options = ("--depth", depth, "--bundle", bundle, "--out", tmp_path / "out", "--overwrite")
    assert _run(*options) == 1
    assert "--intrinsics" in capsys.readouterr().err
    assert _run(*options, "--intrinsics", 70, 70, 39.5, 29.5) == 0
    with pytest.raises(PredictError, match="FX and FY must be above 0"):
        _run(*options, "--intrinsics", 0, 70, 39.5, 29.5)
