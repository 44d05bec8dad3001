# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""`rgbd_seg predict`: files and folders, skipped images, bad usage."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from rgbd_seg_ros import predict
from rgbd_seg_ros.bundle import Bundle, save_bundle
from rgbd_seg_ros.fallback.config import CoreConfig
from rgbd_seg_ros.files import OutputError
from rgbd_seg_ros.image_io import ImageFileError
from rgbd_seg_ros.judged_images import judge_depth, median_m, warn_of_unit
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


@pytest.mark.parametrize(
    ("options", "unit", "median_m"), [((), 0.001, 2), ((0.0002,), 0.0002, 0.4)]
)
def test_the_unit_and_the_median_of_depth_are_told(  # type: ignore[no-untyped-def]
    bundle: Path, tmp_path: Path, capsys, options: tuple[float, ...], unit: float, median_m: float
) -> None:
    ramp = np.linspace(1500, 2500, 60 * 80).reshape(60, 80)
    cv2.imwrite(str(tmp_path / "d.png"), ramp.astype(np.uint16))
    flags = [word for value in options for word in ("--depth-scale", value)]
    files = ("--depth", tmp_path / "d.png", "--bundle", bundle, "--out", tmp_path / "out")
    assert _run(*files, *flags) == 0
    line = f"depth is read with {unit:g} m per unit"
    assert line in capsys.readouterr().err
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["median_depth_m"] == pytest.approx(median_m, rel=0.01)
    assert summary["warnings"] == []


@pytest.mark.parametrize(
    ("name", "ramp", "unit", "median", "fitting"),
    [
        ("d.png", np.linspace(150, 250, 4800).astype(np.uint16), "0.001", "0.2", "0.01"),
        ("d.png", np.linspace(1.5e4, 2.5e4, 4800).astype(np.uint16), "0.001", "20", "0.0001 or"),
        ("d.tiff", np.linspace(15, 25, 4800).astype(np.float32), "1", "20", "0.1"),
    ],
)
def test_an_unusual_median_is_a_warning_until_the_unit_is_stated(
    bundle: Path,
    tmp_path: Path,
    name: str,
    ramp: npt.NDArray[Any],
    unit: str,
    median: str,
    fitting: str,
) -> None:
    cv2.imwrite(str(tmp_path / name), ramp.reshape(60, 80))
    files = ("--depth", tmp_path / name, "--bundle", bundle, "--out", tmp_path / "out")
    assert _run(*files) == 0
    (text,) = json.loads((tmp_path / "out" / "summary.json").read_text())["warnings"]
    assert text.startswith(f"depth is read with {unit} m per unit, and its median is {median} m: ")
    assert (
        f"confirm the unit with --depth-scale {unit}; otherwise pass --depth-scale {fitting}"
        in text
    )
    assert _run(*files, "--depth-scale", unit, "--overwrite") == 0
    assert json.loads((tmp_path / "out" / "summary.json").read_text())["warnings"] == []


def test_the_unit_is_doubted_within_the_limit_of_pixels(tmp_path: Path) -> None:
    """The limit that the user has raised also holds where the type of an image is looked up."""
    cv2.imwrite(str(tmp_path / "d.png"), np.full((60, 80), 20_000, np.uint16))
    assert warn_of_unit(tmp_path / "d.png", None, 20.0, 60 * 80)
    with pytest.raises(ImageFileError):
        warn_of_unit(tmp_path / "d.png", None, 20.0, 60 * 80 - 1)


def test_a_bad_image_is_reported_and_skipped(folder: Path, bundle: Path, capsys) -> None:  # type: ignore[no-untyped-def]
    (folder / "rgb" / "broken.png").write_bytes(b"not an image")
    cv2.imwrite(
        str(folder / "depth" / "wide.png"), np.arange(9600, dtype=np.uint16).reshape(60, 160)
    )
    cv2.imwrite(str(folder / "rgb" / "wide.png"), np.arange(14400).reshape(60, 80, 3) % 256)
    cv2.imwrite(str(folder / "depth" / "eight.png"), np.zeros((60, 80), np.uint8))
    out = folder.parent / "out"
    assert _run("--folder", folder, "--bundle", bundle, "--out", out) == 1
    summary = json.loads((out / "summary.json").read_text())
    skipped = summary["skipped"]
    assert sorted(skipped) == ["broken", "eight"]
    wide = next(mask for mask in summary["masks"] if mask["name"] == "wide")
    assert (wide["network"], wide["reason_depth"]) == ("rgb", "not_aligned")
    assert (
        "1 of 4 depth images is not used (not_aligned): wide.png: depth is not aligned to color: "
        "it is 160×60 but color is 80×60; align depth to color"
    ) in summary["warnings"]
    again = ("--folder", folder, "--bundle", bundle, "--out", out, "--overwrite")
    assert _run(*again, "--network", "rgbd") == 1
    forced = json.loads((out / "summary.json").read_text())["skipped"]["wide"]
    assert "not aligned to color: it is 160×60 but color is 80×60" in forced
    assert "state the meters per unit (--depth-scale" in skipped["eight"]
    assert "truncated or not an image" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "no input"),
        (("--folder", "x", "--rgb", "y"), "not both"),
        (("--folder", "/nowhere"), "/nowhere does not exist"),
        (("--rgb", ".", "--depth", "/dev/null"), "two files or two folders"),
        (("--rgb", "y", "--max-image-pixels", "0"), "must be 1 or more, got 0"),
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


def test_dead_sensors_fall_back_as_on_a_robot(folder: Path, bundle: Path, capsys) -> None:  # type: ignore[no-untyped-def]
    depth_m = np.linspace(1, 3, 4800, dtype=np.float32).reshape(60, 80)
    rgb = np.arange(14400).reshape(60, 80, 3) % 256
    frames = {
        "empty": (rgb, depth_m * 0, "rgb", "ok", "no_depth"),
        "dark": (rgb * 0, depth_m, "depth", "black", "ok"),
        "unit": (rgb, depth_m * 1000, "rgb", "ok", "depth_units"),
    }
    for name, (color, depth, *_) in frames.items():
        cv2.imwrite(str(folder / "rgb" / f"{name}.png"), color)
        cv2.imwrite(str(folder / "depth" / f"{name}.tiff"), depth)
    (folder / "rgb" / "cut.png").write_bytes((folder / "rgb" / "unit.png").read_bytes()[:-40])
    cv2.imwrite(str(folder / "depth" / "cut.tiff"), depth_m)
    cv2.imwrite(str(folder / "rgb" / "none.png"), rgb * 0)
    cv2.imwrite(str(folder / "depth" / "none.tiff"), depth_m * 0)
    out = folder.parent / "out"
    assert _run("--folder", folder, "--bundle", bundle, "--out", out) == 1
    summary = json.loads((out / "summary.json").read_text())
    seen = {
        m["name"]: (m["network"], m["reason_rgb"], m["reason_depth"]) for m in summary["masks"]
    }
    assert {name: seen[name] for name in frames} == {k: v[2:] for k, v in frames.items()}
    assert seen["cut"] == ("depth", "malformed", "ok")
    assert seen["color"] == ("rgb", "ok", "missing")
    assert list(summary["skipped"]) == ["none"]
    assert "color is black" in summary["skipped"]["none"]
    assert "depth is no_depth" in summary["skipped"]["none"]
    assert (
        "2 of 7 depth images are not used (no_depth): empty.tiff: 0% of the pixels are valid: "
        "check that the file is a depth image, and that 0 means no depth, or remove it (also "
        "none.tiff)"
    ) in summary["warnings"]
    assert any(
        text.startswith("1 of 7 depth images is not used (depth_units): unit.tiff: the median is ")
        for text in summary["warnings"]
    )
    errors = capsys.readouterr().err
    assert "unit: rgb, because depth is depth_units (the median is 2000 m: " in errors
    assert "wrong unit? try --depth-scale 0.001 or 0.0002)" in errors
    assert "dark: depth, because color is black (mean 0.0" in errors


def test_depth_that_is_never_used_is_a_failure_and_its_unit_the_remedy(
    tmp_path: Path, bundle: Path
) -> None:
    depth = np.linspace(1000, 3000, 4800, dtype=np.float32).reshape(60, 80)
    np.save(tmp_path / "depth.npy", depth)
    cv2.imwrite(str(tmp_path / "rgb.png"), np.arange(14400).reshape(60, 80, 3) % 256)
    options = ("--folder", tmp_path, "--bundle", bundle, "--out", tmp_path / "out", "--overwrite")
    assert _run(*options) == 1
    assert _run(*options, "--depth-scale", 0.001) == 0
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert [mask["network"] for mask in summary["masks"]] == ["rgbd"]


def test_what_is_given_and_not_used_is_told(folder: Path, bundle: Path, capsys) -> None:  # type: ignore[no-untyped-def]
    (folder / "depth" / "both.xyz").touch()
    options = ("--bundle", bundle, "--out", folder.parent / "out", "--overwrite", "--json")
    _run("--folder", folder, "--intrinsics", 70, 70, 39.5, 29.5, *options)
    assert json.loads(capsys.readouterr().out)["warnings"] == [
        "1 of 2 color images has no depth image: rgb/color.png",
        "1 of 2 depth images has no color image: depth/geometry.png",
        "not read: depth/both.xyz (the suffix .xyz is not supported)",
        "--intrinsics is not used, because no network of the bundle reads HHA",
    ]
    rgb = folder / "rgb" / "both.png"
    assert _run("--rgb", rgb, "--depth-scale", 0.001, *options) == 0
    assert json.loads(capsys.readouterr().out)["warnings"] == [
        "--depth-scale is not used, because there are no depth images"
    ]
    depth = folder / "depth" / "both.png"
    assert _run("--rgb", rgb, "--depth", depth, "--network", "rgb", *options) == 0
    assert json.loads(capsys.readouterr().out)["warnings"] == [
        "--network rgb does not use the depth images"
    ]


def test_two_folders_without_a_pair_are_refused(folder: Path, tmp_path: Path) -> None:
    names = {"rgb": ("hall", "kitchen"), "depth": ("a", "b")}
    for stream, stems in names.items():
        for path in (folder / stream).iterdir():
            path.unlink()
        for stem in stems:
            (folder / stream / f"{stem}.png").touch()
    with pytest.raises(PredictError, match=r"rgb/hall\.png and depth/a\.png: neither"):
        _run("--folder", folder, "--out", tmp_path / "out")
    with pytest.raises(PredictError, match=r"rgb/hall\.png and depth/a\.png: neither"):
        _run("--rgb", folder / "rgb", "--depth", folder / "depth", "--out", tmp_path / "out")


def test_depth_given_as_color_and_huge_images_are_refused(
    folder: Path, bundle: Path, capsys
) -> None:  # type: ignore[no-untyped-def]
    options = ("--bundle", bundle, "--out", folder.parent / "out", "--overwrite")
    assert _run("--rgb", folder / "depth" / "both.png", *options) == 1
    assert "not a color image: it has one channel of 16 bits" in capsys.readouterr().err
    assert _run("--rgb", folder / "rgb" / "both.png", "--max-image-pixels", 4799, *options) == 1
    assert "is 80×60 according to its header, but at most 4,799" in capsys.readouterr().err


def test_many_images_get_a_progress_bar(folder: Path, bundle: Path, capsys) -> None:  # type: ignore[no-untyped-def]
    source = (folder / "rgb" / "both.png").read_bytes()
    for i in range(6):
        (folder / "rgb" / f"{i}.png").write_bytes(source)
    assert _run("--rgb", folder / "rgb", "--bundle", bundle, "--out", folder.parent / "out") == 0
    errors = capsys.readouterr().err
    assert "8/8" in errors
    assert "0: rgb" not in errors
    assert "8 masks in" in errors


def test_a_folder_with_depth_of_which_no_frame_is_fused_fails(
    folder: Path, bundle: Path, capsys
) -> None:  # type: ignore[no-untyped-def]
    """Color without depth and depth without color are used, but no pair of them."""
    cv2.imwrite(str(folder / "depth" / "both.png"), np.zeros((60, 80), np.uint16))
    out = folder.parent / "out"
    assert _run("--folder", folder, "--bundle", bundle, "--out", out) == 1
    line = "no mask is fused, although 1 frame had color and depth; the lines above say why"
    summary = json.loads((out / "summary.json").read_text())
    assert {mask["network"] for mask in summary["masks"]} == {"rgb", "depth"}
    assert summary["warnings"][-1] == line
    assert f"warning: {line}" in capsys.readouterr().err
    options = ("--bundle", bundle, "--out", out, "--overwrite", "--network", "rgb")
    assert _run("--rgb", folder / "rgb", *options) == 0


@pytest.mark.parametrize("suffix", [".heic", ".HEIF", ".avif", ".jxl"])
def test_images_that_must_be_converted_are_a_failure(
    folder: Path, bundle: Path, suffix: str
) -> None:
    out = folder.parent / "out"
    (folder / "rgb" / f"7{suffix}").touch()
    assert _run("--folder", folder, "--bundle", bundle, "--out", out) == 1
    reason = f"(the suffix {suffix} is not supported; convert these images to PNG)"
    warnings = json.loads((out / "summary.json").read_text())["warnings"]
    assert f"not read: rgb/7{suffix} {reason}" in warnings


def test_the_median_of_depth_is_that_of_its_valid_pixels(tmp_path: Path) -> None:
    """Not the mean, and holes do not count."""
    ticks = np.zeros((60, 80), np.uint16)
    ticks[:30, :50] = 30
    ticks[:30, 50:] = 60_000
    cv2.imwrite(str(tmp_path / "d.png"), ticks)
    judged = judge_depth(tmp_path / "d.png", CoreConfig())
    assert (judged.reason, judged.detail.partition(":")[0]) == (
        "depth_units", "the median is 0.03 m",
    )  # fmt: skip
    assert judged.image is not None
    assert median_m(judged.image) == pytest.approx(0.03)
