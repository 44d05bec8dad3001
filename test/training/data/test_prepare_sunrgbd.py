# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""SUN RGB-D: the official folders, rotated depth bits, toolbox files, defective copies."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

h5py = pytest.importorskip("h5py", reason="needs the data extra: pip install h5py scipy")
scipy_io = pytest.importorskip("scipy.io", reason="needs the data extra: pip install h5py scipy")

from rigs import prepared  # noqa: E402

from rgbd_seg_ros.labels import SUNRGBD37  # noqa: E402
from training.data.prepare import sunrgbd  # noqa: E402
from training.data.prepare.index import read_index  # noqa: E402

#: Frame folder, size, focal length: one of each sensor, two of one Kinect recording.
KV2 = "SUNRGBD/kv2/kinect2data/00031{}_2014-06-02_15-07-56_260595134347_rgbf000{}-resize"
FRAMES = [
    ("SUNRGBD/kv1/NYUdata/NYU0001", (42, 56), 520.0),
    ("SUNRGBD/xtion/sun3ddata/brown_bm_1/brown_bm_1/0000103-000003448944", (44, 58), 570.3),
    (KV2.format(1, 158), (53, 73), 529.5),
    (KV2.format(2, 362), (53, 73), 529.5),
    ("SUNRGBD/realsense/lg/2014_10_20-21_36_38-1311000073", (48, 64), 693.7),
    ("SUNRGBD/kv1/b3dodata/img_0063", (42, 56), 520.0),
]
TEST = {0, 4}


def content(i: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Color (BGR), depth in millimeters, labels of frame ``i``."""
    h, w = FRAMES[i][1]
    rng = np.random.default_rng(i)
    bgr = cv2.resize(rng.integers(0, 256, (4, 4, 3), np.uint8), (w, h))
    depth_mm = rng.integers(900, 4000, (h, w)).astype(np.uint16)
    depth_mm[0, 0], depth_mm[0, 1] = 0, 8100  # a hole, and a value beyond the toolbox's 8 m
    return bgr, depth_mm, rng.integers(0, 38, (h, w)).astype(np.uint8)


def rotate_left(depth_mm: np.ndarray) -> np.ndarray:
    """Rotate left by three bits, as the published files store depth."""
    wide = depth_mm.astype(np.uint32)
    return ((wide << 3) & 0xFFFF | wide >> 13).astype(np.uint16)


def cells(words: list[str]) -> np.ndarray:
    found = np.empty((1, len(words)), object)
    found[0] = words
    return found


def write_official(root: Path, rotate: bool = True) -> None:
    tilt = np.radians(20)  # the camera looks 20° down
    rotation = np.array(
        [[1, 0, 0], [0, np.cos(tilt), np.sin(tilt)], [0, -np.sin(tilt), np.cos(tilt)]]
    )
    meta = np.zeros((1, len(FRAMES)), [(k, object) for k in ("rgbpath", "rgbname", "depthname")])
    for i, (frame, _, focal) in enumerate(FRAMES):
        bgr, depth_mm, labels = content(i)
        h, w = labels.shape
        folder = root / frame
        for name in ("image", "depth", "depth_bfx", "extrinsics"):
            (folder / name).mkdir(parents=True)
        cv2.imwrite(str(folder / f"image/{i:07d}.jpg"), bgr, [cv2.IMWRITE_JPEG_QUALITY, 100])
        stored = rotate_left(depth_mm) if rotate else depth_mm
        cv2.imwrite(str(folder / f"depth_bfx/{i:07d}.png"), stored)
        cv2.imwrite(str(folder / f"depth/{i:07d}.png"), np.where(depth_mm > 2500, 0, stored))
        k = f"{focal:f} 0.000000 {w / 2:f}\n0.000000 {focal:f} {h / 2:f}\n0 0 1\n"
        (folder / "intrinsics.txt").write_text(k)
        np.savetxt(folder / "extrinsics/20150118235401.txt", np.c_[rotation, np.zeros(3)])
        path = f"/n/fs/sun3d/data/{frame}/image/{i:07d}.jpg"
        meta[0, i] = (path, f"{i:07d}.jpg", f"{i:07d}.png")
    box = root / "SUNRGBDtoolbox"
    (box / "Metadata").mkdir(parents=True)
    (box / "traintestSUNRGBD").mkdir()
    scipy_io.savemat(root / sunrgbd.META, {"SUNRGBDMeta": meta})
    scipy_io.savemat(root / sunrgbd.NAMES, {"seg37list": cells(list(SUNRGBD37.classes))})
    write_split(root, TEST)
    with h5py.File(root / sunrgbd.SEG, "w", userblock_size=512) as file:
        references = np.empty((len(FRAMES), 1), h5py.ref_dtype)
        for i in range(len(FRAMES)):
            references[i, 0] = file.create_dataset(f"#refs#/{i}", data=content(i)[2].T).ref
        file.create_dataset("SUNRGBD2Dseg/seglabel", data=references, dtype=h5py.ref_dtype)


def write_split(root: Path, test: set[int], both: int | None = None) -> None:
    paths = [f"/n/fs/sun3d/data/{frame}" for frame, _, _ in FRAMES]
    train = [p for i, p in enumerate(paths) if i not in test or i == both]
    values = {"alltrain": cells(train), "alltest": cells([paths[i] for i in sorted(test)])}
    scipy_io.savemat(root / sunrgbd.SPLIT, values)


def prepare(root: Path, out: Path, *flags: str) -> int:
    return prepared.prepare("sunrgbd", root, out, "--partial", *flags)


def test_frames_of_every_sensor_are_read_back(tmp_path: Path) -> None:
    write_official(tmp_path / "in")
    assert prepare(tmp_path / "in", tmp_path / "out") == 0
    seen = 0
    for record, sample in prepared.frames_of(tmp_path / "out"):
        i = int(record.name) - 1
        bgr, depth_mm, labels = content(i)
        seen += 1
        assert (record.split == "test") == (i in TEST)
        assert np.abs(sample.rgb[..., ::-1].astype(int) - bgr).mean() < 3  # JPEG
        truth = np.where(depth_mm == 0, np.nan, np.minimum(depth_mm, 8000) / 1000)
        np.testing.assert_allclose(sample.depth_m, truth, atol=1e-6)
        np.testing.assert_array_equal(
            sample.labels, np.where(labels == 0, 255, labels.astype(int) - 1)
        )
        assert sample.intrinsics is not None
        h, w = labels.shape
        focal = FRAMES[i][2]
        np.testing.assert_allclose(
            sample.intrinsics, [[focal, 0, w / 2], [0, focal, h / 2], [0, 0, 1]], rtol=1e-6
        )
        assert sample.gravity is not None
        np.testing.assert_allclose(
            sample.gravity, [0, np.cos(np.radians(20)), np.sin(np.radians(20))], atol=1e-5
        )
    assert seen == len(FRAMES)


def test_frames_of_one_recording_stay_together(tmp_path: Path) -> None:
    write_official(tmp_path / "in")
    assert prepare(tmp_path / "in", tmp_path / "out") == 0
    groups = {r.name: r.group for r in read_index(tmp_path / "out").records}
    assert groups["00003"] == groups["00004"]
    assert len(set(groups.values())) == 5
    assert groups["00002"] == "xtion/sun3ddata/brown_bm_1"


@pytest.mark.parametrize(
    ("frame", "group"),
    [
        (KV2.format(1, 158), "kv2/kinect2data/2014-06-02_15-07-56_260595134347"),
        (
            "SUNRGBD/kv2/align_kv2/2014-12-18_15-45-54_260595134347_rgbf000087-resize",
            "kv2/align_kv2/2014-12-18_15-45-54_260595134347",
        ),
        ("SUNRGBD/kv1/NYUdata/NYU0001", "kv1/NYUdata/NYU0001"),
        ("SUNRGBD/xtion/sun3ddata/a/b/0000103-0001", "xtion/sun3ddata/a"),
    ],
)
def test_a_group_is_a_recording_or_a_place(frame: str, group: str) -> None:
    assert sunrgbd.group_of(frame) == group


def test_split_lists_may_replace_the_toolbox(tmp_path: Path) -> None:
    write_official(tmp_path / "in")
    assert prepare(tmp_path / "in", tmp_path / "out") == 0
    (tmp_path / "in" / sunrgbd.SPLIT).unlink()
    for split, name in sunrgbd.LISTS.items():
        chosen = [i for i in range(len(FRAMES)) if (i in TEST) == (split == "test")]
        lines = [f"{FRAMES[i][0]}/image/{i:07d}.jpg\n" for i in chosen]
        (tmp_path / "in" / name).write_text("".join(lines))
    assert prepare(tmp_path / "in", tmp_path / "again") == 0
    assert read_index(tmp_path / "again").records == read_index(tmp_path / "out").records


def test_raw_depth_is_read_from_its_own_folder(tmp_path: Path) -> None:
    write_official(tmp_path / "in")
    assert prepare(tmp_path / "in", tmp_path / "out", "--depth", "raw") == 0
    ticks = cv2.imread(str(tmp_path / "out/depth/00002.png"), cv2.IMREAD_UNCHANGED)
    depth_mm = content(1)[1]
    np.testing.assert_array_equal(ticks, np.where(depth_mm > 2500, 0, depth_mm))


def test_the_bit_rotation_is_undone() -> None:
    every = np.arange(65536, dtype=np.uint16)[None]
    depth = sunrgbd.depth_meters(rotate_left(every), 0.001)[0]
    assert np.isnan(depth[0])
    np.testing.assert_allclose(depth[1:], np.minimum(np.arange(1, 65536), 8000) / 1000, rtol=1e-6)


def _pack(root: Path) -> None:
    (root / "SUNRGBD").rename(root / "elsewhere")
    (root / "SUNRGBD.zip").touch()


def _names(root: Path) -> None:
    scipy_io.savemat(root / sunrgbd.NAMES, {"seg37list": cells(list(SUNRGBD37.classes[:36]))})


def _relabel(root: Path) -> None:
    with h5py.File(root / sunrgbd.SEG, "r+") as file:
        file["#refs#/0"][0, 0] = 200


DEFECTS = {
    "no toolbox": (lambda r: (r / sunrgbd.SPLIT).unlink(), "allsplit.mat; official page: SUN"),
    "packed": (_pack, "lacks SUNRGBD; unpack SUNRGBD.zip first; official page"),
    "no frame": (
        lambda r: scipy_io.savemat(r / sunrgbd.META, {"SUNRGBDMeta": np.arange(6)}),
        "has frames without rgbpath",
    ),
    "truncated labels": (
        lambda r: prepared.truncate(r / sunrgbd.SEG),
        "truncated or not an HDF5 file",
    ),
    "truncated meta": (
        lambda r: prepared.truncate(r / sunrgbd.META),
        "truncated or not a MATLAB file",
    ),
    "36 classes": (_names, "names 36 classes, not the known 37"),
    "both splits": (lambda r: write_split(r, TEST, both=0), "is in both splits"),
    "unlisted": (lambda r: _drop_first(r), "has no split for"),
    "truncated image": (
        lambda r: prepared.truncate(r / FRAMES[1][0] / "depth_bfx/0000001.png"),
        "truncated or not an image",
    ),
    "label 200": (_relabel, "contains label 200, allowed are 0..37"),
    "camera": (
        lambda r: (r / FRAMES[0][0] / "intrinsics.txt").write_text("0 0 0"),
        "must be a 3×3 camera matrix",
    ),
}


def _drop_first(root: Path) -> None:
    found = scipy_io.loadmat(root / sunrgbd.SPLIT)
    values = {"alltrain": found["alltrain"][:, 1:], "alltest": found["alltest"]}
    scipy_io.savemat(root / sunrgbd.SPLIT, values)


@pytest.mark.parametrize("name", DEFECTS)
def test_defects_are_one_line_and_code_2(name: str, tmp_path: Path, capsys) -> None:  # type: ignore[no-untyped-def]
    write_official(tmp_path / "in")
    prepared.assert_refused(prepare, tmp_path, DEFECTS[name], capsys)


def test_depth_that_was_never_rotated_is_noticed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_official(tmp_path / "in", rotate=False)
    assert prepare(tmp_path / "in", tmp_path / "out") == 2
    assert "its bits are probably not rotated: try --bits plain" in capsys.readouterr().err
    assert prepare(tmp_path / "in", tmp_path / "out", "--bits", "plain") == 0
    ticks = cv2.imread(str(tmp_path / "out/depth/00001.png"), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(ticks, np.minimum(content(0)[1], 8000))


def test_depth_in_a_wrong_unit_is_noticed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_official(tmp_path / "in")
    assert prepare(tmp_path / "in", tmp_path / "out", "--depth-unit", "1") == 2
    assert "outside 0.05 to 50 m: wrong unit? try --depth-unit 0.001" in capsys.readouterr().err


def test_fewer_frames_than_published_are_refused_without_partial(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_official(tmp_path / "in")
    assert prepared.prepare("sunrgbd", tmp_path / "in", tmp_path / "out") == 2
    error = capsys.readouterr().err
    assert "train 4 (published: 5285), test 2 (published: 5050)" in error
    assert "--partial" in error
