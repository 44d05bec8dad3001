# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""NYU Depth v2: the official HDF5 layout, its split and mappings, and defective copies."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

h5py = pytest.importorskip("h5py", reason="needs the data extra: pip install h5py scipy")
scipy_io = pytest.importorskip("scipy.io", reason="needs the data extra: pip install h5py scipy")

from rigs import prepared  # noqa: E402

from rgbd_seg_ros.labels import NYU13, NYU40  # noqa: E402
from training.data.prepare import nyuv2  # noqa: E402
from training.data.prepare.index import read_index  # noqa: E402

N, H, W = 8, 40, 56
SCENES = [f"{room}_{i:04d}" for room in ("kitchen", "office") for i in range(1, 5)]
TO40 = (np.arange(894) % 40 + 1).astype(np.uint8)
#: The published mapping from 40 to 13 classes.
TO13 = np.array(
    [*(12, 5, 6, 1, 4, 9, 10, 12, 13, 6, 8, 6, 13, 10, 6, 13, 6, 7, 7, 5),
     *(7, 3, 2, 6, 11, 7, 7, 7, 7, 7, 7, 6, 7, 7, 7, 7, 7, 7, 6, 7)],
    np.uint8,
)  # fmt: skip


def cells(words: list[str]) -> np.ndarray:
    """A MATLAB cell row of strings."""
    found = np.empty((1, len(words)), object)
    found[0] = words
    return found


def arrays() -> dict[str, np.ndarray]:
    """The arrays as MATLAB shows them: H×W×3×N, H×W×N."""
    rng = np.random.default_rng(0)
    depth = rng.uniform(1, 5, (H, W, N)).astype(np.float32)
    raw = depth.copy()
    raw[:4] = 0  # holes of the sensor
    return {
        "images": rng.integers(0, 256, (H, W, 3, N), np.uint8),
        "depths": depth,
        "rawDepths": raw,
        "labels": rng.integers(0, 895, (H, W, N)).astype(np.uint16),
    }


def write_official(root: Path, **changes: np.ndarray) -> dict[str, np.ndarray]:
    """Write the four files; MATLAB v7.3 reverses the axes and stores strings by reference."""
    values = {**arrays(), **changes}
    root.mkdir(exist_ok=True)
    with h5py.File(root / nyuv2.LABELED, "w", userblock_size=512) as file:
        for key, array in values.items():
            file.create_dataset(key, data=array.transpose(), chunks=True, compression="gzip")
        for key, words in (("scenes", SCENES), ("names", ["book", "bottle"])):
            references = np.empty((1, len(words)), h5py.ref_dtype)
            for i, word in enumerate(words):
                codes = np.array([[ord(c)] for c in word], np.uint16)
                references[0, i] = file.create_dataset(f"#refs#/{key}{i}", data=codes).ref
            file.create_dataset(key, data=references, dtype=h5py.ref_dtype)
    header = b"MATLAB 7.3 MAT-file".ljust(512, b"\0")
    with (root / nyuv2.LABELED).open("r+b") as file:
        file.write(header)
    index = np.arange(1, N + 1, dtype=np.uint16)[:, None]
    scipy_io.savemat(root / nyuv2.SPLIT, {"trainNdxs": index[2:], "testNdxs": index[:2]})
    scipy_io.savemat(
        root / nyuv2.MAP40, {"mapClass": TO40[None], "className": cells(list(NYU40.classes))}
    )
    struct = {"labels13": TO13[None], "classNames": cells(list(NYU13.classes))}
    scipy_io.savemat(root / nyuv2.MAP13, {"classMapping13": struct})
    return values


def prepare(root: Path, out: Path, *flags: str) -> int:
    return prepared.prepare("nyuv2", root, out, "--partial", *flags)


@pytest.mark.parametrize("classes", ["40", "13"])
def test_images_are_transposed_and_labels_mapped(tmp_path: Path, classes: str) -> None:
    values = write_official(tmp_path / "in")
    assert prepare(tmp_path / "in", tmp_path / "out", "--classes", classes) == 0
    index = read_index(tmp_path / "out")
    assert index.label_set == (NYU40 if classes == "40" else NYU13)
    frame = 4  # number 0005
    samples = {record.name: sample for record, sample in prepared.frames_of(tmp_path / "out")}
    assert len(samples) == N
    sample = samples["0005"]
    np.testing.assert_array_equal(sample.rgb, values["images"][..., frame])
    np.testing.assert_allclose(sample.depth_m, values["depths"][..., frame], atol=5.1e-4)
    raw = values["labels"][..., frame]
    expected = np.full(raw.shape, 255)
    for y, x in np.ndindex(raw.shape):  # by hand, pixel by pixel
        if raw[y, x]:
            of40 = int(TO40[raw[y, x] - 1])
            expected[y, x] = (of40 if classes == "40" else int(TO13[of40 - 1])) - 1
    np.testing.assert_array_equal(sample.labels, expected)
    assert sample.intrinsics is not None
    assert sample.intrinsics[0, 0] == pytest.approx(518.8579)


def test_splits_and_scenes(tmp_path: Path) -> None:
    write_official(tmp_path / "in")
    assert prepare(tmp_path / "in", tmp_path / "out") == 0
    records = read_index(tmp_path / "out").records
    assert [r.name for r in records if r.split == "test"] == ["0001", "0002"]
    assert {r.name: r.group for r in records} == {f"{i + 1:04d}": s for i, s in enumerate(SCENES)}
    held = {r.group for r in records if r.split == "val"}
    assert len(held) == 1
    assert held.isdisjoint({r.group for r in records if r.split == "train"})


def test_raw_depth_keeps_its_holes(tmp_path: Path) -> None:
    write_official(tmp_path / "in")
    assert prepare(tmp_path / "in", tmp_path / "out", "--depth", "raw") == 0
    ticks = cv2.imread(str(tmp_path / "out/depth/0003.png"), cv2.IMREAD_UNCHANGED)
    assert (ticks[:4] == 0).all()
    assert (ticks[4:] > 0).all()


def drop(name: str) -> Callable[[Path], None]:
    return lambda root: (root / name).unlink()


def cut(name: str) -> Callable[[Path], None]:
    return lambda root: prepared.truncate(root / name)


def replace(name: str, values: dict) -> Callable[[Path], None]:
    return lambda root: scipy_io.savemat(root / name, values)


INDEX = np.arange(1, N + 1)
DEFECTS = {
    "missing split": (drop("splits.mat"), "lacks splits.mat; official page: NYU Depth"),
    "missing data": (drop("nyu_depth_v2_labeled.mat"), "lacks nyu_depth_v2_labeled.mat"),
    "truncated data": (cut("nyu_depth_v2_labeled.mat"), "truncated or not an HDF5 file"),
    "truncated mapping": (cut("classMapping40.mat"), "truncated or not a MATLAB file"),
    "39 classes": (
        replace("classMapping40.mat", {"mapClass": TO40, "className": cells(["a"] * 39)}),
        "names 39 classes, not the 40",
    ),
    "short mapping": (
        replace(
            "classMapping40.mat", {"mapClass": TO40[:100], "className": cells(list(NYU40.classes))}
        ),
        "maps 100 labels to 1..40; expected 894",
    ),
    "wrong file": (replace("splits.mat", {"other": 1}), "no variable 'trainNdxs', only other"),
    "both splits": (
        replace("splits.mat", {"trainNdxs": INDEX, "testNdxs": INDEX[:2]}),
        "frame 1 is in both splits",
    ),
    "unknown frame": (
        replace("splits.mat", {"trainNdxs": INDEX + 4, "testNdxs": INDEX[:2]}),
        "lists frame 9, but nyu_depth_v2_labeled.mat has 8",
    ),
}


@pytest.mark.parametrize("name", DEFECTS)
def test_defects_are_one_line_and_code_2(name: str, tmp_path: Path, capsys) -> None:  # type: ignore[no-untyped-def]
    write_official(tmp_path / "in")
    prepared.assert_refused(prepare, tmp_path, DEFECTS[name], capsys)
    assert not (tmp_path / "out").exists()


def test_depth_in_millimeters_is_noticed_and_can_be_corrected(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    values = write_official(tmp_path / "in", depths=arrays()["depths"] * 1000)
    assert prepare(tmp_path / "in", tmp_path / "out") == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert "outside 0.05 to 50 m: wrong unit? try --depth-unit 0.001" in error
    unit = ("--depth-unit", "0.001")
    assert prepare(tmp_path / "in", tmp_path / "out", *unit) == 0
    ticks = cv2.imread(str(tmp_path / "out/depth/0001.png"), cv2.IMREAD_UNCHANGED)
    np.testing.assert_allclose(ticks, values["depths"][..., 0], atol=0.51)


def test_fewer_frames_than_published_are_refused_without_partial(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_official(tmp_path / "in")
    assert prepared.prepare("nyuv2", tmp_path / "in", tmp_path / "out") == 2
    assert (
        "contains 8 frames of 56×40; the published file contains 1449 of 640×480"
        in capsys.readouterr().err
    )
