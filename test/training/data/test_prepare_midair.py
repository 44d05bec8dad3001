# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Mid-Air: HDF5 lists and plain folders, float16 disparity in PNGs, every 8th frame, defects."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

h5py = pytest.importorskip("h5py", reason="needs the data extra: pip install h5py scipy")

from rigs import prepared  # noqa: E402

from training.data.prepare import midair  # noqa: E402
from training.data.prepare.index import read_index  # noqa: E402

SIDE, FRAMES = 32, 20
FLIGHTS = {"PLE_training": ("trajectory_5000", "trajectory_5001", "trajectory_5002"),
           "PLE_test": ("trajectory_5100",)}  # fmt: skip
#: Published ids except 7, which is empty.
IDS = np.array([0, 1, 2, 3, 4, 5, 6, 8, 9, 10, 11, 12, 13], np.uint8)


def content(flight: str, frame: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Color, disparity in pixels, class ids of one frame."""
    rng = np.random.default_rng([int(flight[-4:]), frame])
    bgr = cv2.resize(rng.integers(0, 256, (4, 4, 3), np.uint8), (SIDE, SIDE))
    disparity = rng.uniform(0.2, 4, (SIDE, SIDE)).astype(np.float16)  # 4 to 80 m at this size
    disparity[0] = 0.0078125  # the sky
    disparity[1] = 0
    labels = IDS[rng.integers(0, 13, (SIDE, SIDE))]
    labels[2] = 7
    return bgr, disparity, labels


def write_official(root: Path, hdf5: bool = True) -> None:
    for part, flights in FLIGHTS.items():
        setup = root / part / "spring"
        lists: dict[str, dict[str, list[str]]] = {}
        for flight in flights:
            kinds = lists.setdefault(flight, {})
            for kind, suffix in (
                (midair.COLOR, "JPEG"), (midair.LABELS, "PNG"), (midair.DISPARITY, "PNG"),
            ):  # fmt: skip
                (setup / kind / flight).mkdir(parents=True)
                kinds[kind] = [f"{kind}/{flight}/{i:06d}.{suffix}" for i in range(FRAMES)]
            for i in range(FRAMES):
                bgr, disparity, labels = content(flight, i)
                images = (bgr, labels, disparity.view(np.uint16))
                for kind, image in zip(kinds, images, strict=True):
                    path = str(setup / kinds[kind][i])
                    quality = [cv2.IMWRITE_JPEG_QUALITY, 100] if path.endswith("JPEG") else []
                    assert cv2.imwrite(path, image, quality)
        if hdf5:
            with h5py.File(setup / midair.RECORDS, "w") as file:
                for flight, kinds in lists.items():
                    for kind, paths in kinds.items():
                        file.create_dataset(
                            f"{flight}/camera_data/{kind}", data=paths, dtype=h5py.string_dtype()
                        )
                    file.create_dataset(f"{flight}/groundtruth/position", data=np.zeros((4, 3)))


def prepare(root: Path, out: Path, *flags: str) -> int:
    return prepared.prepare("midair", root, out, "--partial", *flags)


@pytest.mark.parametrize("hdf5", [True, False], ids=["hdf5", "folders"])
def test_every_eighth_frame_of_the_left_camera(tmp_path: Path, hdf5: bool) -> None:
    write_official(tmp_path / "in", hdf5)
    assert prepare(tmp_path / "in", tmp_path / "out") == 0
    names = set()
    for record, sample in prepared.frames_of(tmp_path / "out"):
        names.add(record.name)
        frame = int(record.name[-6:])
        bgr, disparity, labels = content(record.group, frame)
        assert np.abs(sample.rgb[..., ::-1].astype(int) - bgr).mean() < 3  # JPEG
        with np.errstate(divide="ignore"):
            depth = 512 * SIDE / 1024 / disparity.astype(np.float64)
        depth = np.where(disparity == 0, np.nan, np.minimum(depth, 655.34))
        np.testing.assert_allclose(sample.depth_m, depth, atol=0.0051)
        expected = np.where(labels == 7, 255, labels - (labels > 7).astype(int))
        np.testing.assert_array_equal(sample.labels, expected)
        assert sample.intrinsics is not None
        assert sample.intrinsics[0, 0] == SIDE / 2  # 90° field of view
        assert (record.split == "test") == (record.group == "trajectory_5100")
    flights = [f"{part}_{f}" for part, of in FLIGHTS.items() for f in of]
    assert names == {f"{f}_{i:06d}" for f in flights for i in (0, 8, 16)}


def test_whole_flights_are_held_out_if_there_are_no_test_flights(tmp_path: Path) -> None:
    write_official(tmp_path / "in")
    (tmp_path / "in/PLE_test").rename(tmp_path / "elsewhere")
    assert prepare(tmp_path / "in", tmp_path / "out") == 0
    flights: dict[str, set[str]] = {}
    for record in read_index(tmp_path / "out").records:
        flights.setdefault(record.split, set()).add(record.group)
    assert {split: len(found) for split, found in flights.items()} == dict.fromkeys(flights, 1)
    assert set(flights) == {"train", "val", "test"}


def test_windows_paths_in_the_hdf5_file_are_read(tmp_path: Path) -> None:
    write_official(tmp_path / "in")
    with h5py.File(tmp_path / "in/PLE_test/spring" / midair.RECORDS, "r+") as file:
        paths = file["trajectory_5100/camera_data/color_left"]
        paths[...] = [p.decode().replace("/", "\\") for p in paths[()]]
    assert prepare(tmp_path / "in", tmp_path / "out") == 0


@pytest.mark.parametrize(
    ("pixels", "meters"), [(512, 1.0), (51.2, 10.0), (1, 512.0), (0.0078125, 655.34)]
)
def test_disparity_is_a_float16_bit_pattern(pixels: float, meters: float) -> None:
    bits = np.array([[pixels]], np.float16).view(np.uint16)
    assert midair.disparity_to_meters(bits, 512)[0, 0] == pytest.approx(meters, rel=1e-3)


@pytest.mark.parametrize("bad", [0.0, -1.0, np.nan, np.inf])
def test_invalid_disparity_is_invalid_depth(bad: float) -> None:
    bits = np.array([[bad]], np.float16).view(np.uint16)
    assert np.isnan(midair.disparity_to_meters(bits, 512)[0, 0])


SPRING = "PLE_training/spring"


def _eight_bits(root: Path) -> None:
    path = root / SPRING / "stereo_disparity/trajectory_5000/000000.PNG"
    cv2.imwrite(str(path), np.zeros((SIDE, SIDE), np.uint8))


def _label_20(root: Path) -> None:
    path = root / SPRING / "segmentation/trajectory_5000/000000.PNG"
    cv2.imwrite(str(path), np.full((SIDE, SIDE), 20, np.uint8))


def _no_key(root: Path) -> None:
    with h5py.File(root / SPRING / midair.RECORDS, "r+") as file:
        del file["trajectory_5001/camera_data/color_left"]


def _pack(root: Path) -> None:
    """As downloaded: each flight's folder holds frames.zip, and the records are packed too."""
    for path in root.rglob("*.*"):
        path.unlink()
    for folder in root.rglob("trajectory_*"):
        (folder / "frames.zip").touch()


DEFECTS = {
    "packed": (_pack, "color_left/trajectory_5000 contains no images; unpack frames.zip first"),
    "no season": (
        lambda r: (r / SPRING).rename(r / "PLE_training/fall"),
        "lacks PLE_training/spring with the folders color_left",
    ),
    "truncated records": (
        lambda r: prepared.truncate(r / SPRING / midair.RECORDS),
        "truncated or not an HDF5 file",
    ),
    "no key": (_no_key, "trajectory_5001 has no camera_data/color_left"),
    "eight bits": (_eight_bits, "expected a 16-bit PNG of float16"),
    "label 20": (_label_20, "contains label 20, allowed are 0..13"),
    "truncated image": (
        lambda r: prepared.truncate(r / SPRING / "color_left/trajectory_5000/000000.JPEG"),
        "truncated or not an image",
    ),
}


@pytest.mark.parametrize("name", DEFECTS)
def test_defects_are_one_line_and_code_2(name: str, tmp_path: Path, capsys) -> None:  # type: ignore[no-untyped-def]
    write_official(tmp_path / "in")
    prepared.assert_refused(prepare, tmp_path, DEFECTS[name], capsys)


def test_a_missing_image_is_refused_without_partial(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_official(tmp_path / "in")
    (tmp_path / "in" / SPRING / "segmentation/trajectory_5001/000008.PNG").unlink()
    assert prepared.prepare("midair", tmp_path / "in", tmp_path / "out") == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert "1 images are missing" in error
    assert "trajectory_5001/000008.PNG" in error
    assert prepare(tmp_path / "in", tmp_path / "out") == 0
    assert len(read_index(tmp_path / "out").records) == 11


def test_depth_maps_in_place_of_disparity_are_noticed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_official(tmp_path / "in")
    for path in (tmp_path / "in").rglob("stereo_disparity/*/*.PNG"):
        depth = np.full((SIDE, SIDE), 50, np.float16)  # meters: would be 0.3 m
        cv2.imwrite(str(path), depth.view(np.uint16))
    assert prepare(tmp_path / "in", tmp_path / "out") == 2
    error = capsys.readouterr().err
    assert "outside 1 to 300 m: is it another kind of depth?" in error
