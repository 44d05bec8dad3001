# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Image files: pixels as stored, error messages that name the file, atomic writing."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace as Namespace

import cv2
import numpy as np
import pytest

from rgbd_seg_ros.frames import Frame
from rgbd_seg_ros.image_io import (
    ImageFileError,
    encode_image,
    read_depth,
    read_image,
    read_rgb,
    read_single_channel,
    write_image,
)
from rgbd_seg_ros.images import to_frame

#: 32×48 with a red upper half: a rotation changes the shape, a flip changes the rows.
RGB = np.zeros((32, 48, 3), np.uint8)
RGB[:16, :, 0] = 250


def rotated_jpeg() -> bytes:
    """``RGB`` as a JPEG whose EXIF block asks for a rotation by 90° (orientation 6)."""
    tiff = b"II*\0" + struct.pack("<IHHHII", 8, 1, 0x0112, 3, 1, 6) + bytes(4)
    exif = b"Exif\0\0" + tiff
    jpeg = encode_image(".jpg", RGB)
    return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + jpeg[2:]


def test_opencv_would_rotate_this_jpeg() -> None:
    rotated = cv2.imdecode(np.frombuffer(rotated_jpeg(), np.uint8), cv2.IMREAD_COLOR)
    assert rotated.shape == (48, 32, 3)


def from_message(path: Path) -> np.ndarray:
    header = Namespace(stamp=Namespace(sec=1, nanosec=0), frame_id="camera")
    frame = to_frame(Namespace(header=header, format="jpeg", data=path.read_bytes()), "rgb")
    assert isinstance(frame, Frame)
    return frame.array


@pytest.mark.parametrize(
    "read", [read_rgb, lambda path: read_image(path)[..., ::-1], from_message]
)
def test_every_reader_ignores_exif_orientation(read: Callable, tmp_path: Path) -> None:
    path = tmp_path / "rotated.jpg"
    path.write_bytes(rotated_jpeg())
    image = read(path)
    assert image.shape == RGB.shape
    np.testing.assert_allclose(image[[0, -1]], RGB[[0, -1]], atol=12)  # away from the edge


@pytest.mark.parametrize("bits", [np.uint8, np.uint16])
def test_labels_and_depth_keep_their_values(bits: type, tmp_path: Path) -> None:
    values = (np.arange(48).reshape(6, 8) * 5).astype(bits)
    write_image(tmp_path / "values.png", values)
    for read in (read_image, read_single_channel):
        assert read(tmp_path / "values.png").dtype == bits
        np.testing.assert_array_equal(read(tmp_path / "values.png"), values)


def test_depth_is_read_in_meters(tmp_path: Path) -> None:
    path = tmp_path / "depth.png"
    write_image(path, np.array([[0, 500], [2000, 65535]], np.uint16))
    np.testing.assert_allclose(read_depth(path, 0.001), [[np.nan, 0.5], [2.0, np.nan]])
    write_image(path, np.zeros((6, 8), np.uint8))
    with pytest.raises(ImageFileError, match=r"depth\.png: .*got uint8.*16-bit PNG"):
        read_depth(path, 0.001)


def test_three_equal_channels_count_as_one(tmp_path: Path) -> None:
    path = tmp_path / "labels.png"
    write_image(path, np.full((6, 8, 3), 7, np.uint8))
    assert read_single_channel(path).shape == (6, 8)
    write_image(path, RGB)
    with pytest.raises(ImageFileError, match="is a color image"):
        read_single_channel(path)


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
@pytest.mark.parametrize("defect", ["missing", "empty", "text", "truncated"])
def test_unreadable_files_are_named(suffix: str, defect: str, tmp_path: Path) -> None:
    path = tmp_path / f"image{suffix}"
    data = encode_image(suffix, RGB)
    content = {"empty": b"", "text": b"not an image", "truncated": data[: len(data) * 3 // 4]}
    if defect in content:
        path.write_bytes(content[defect])
    message = "cannot read" if defect == "missing" else "truncated or not an image"
    with pytest.raises(ImageFileError, match=message) as caught:
        read_rgb(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("suffix", "dtype"), [(".png", np.float64), (".png", np.int32), (".jpg", np.uint16)]
)
def test_types_that_opencv_would_convert_silently_are_refused(suffix: str, dtype: type) -> None:
    with pytest.raises(ImageFileError, match=f"cannot write {np.dtype(dtype)}"):
        encode_image(suffix, np.zeros((4, 5), dtype))


def test_a_failed_write_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "mask.png"
    write_image(path, np.zeros((6, 8), np.uint8))
    before = path.read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(OSError, match="No space left"):
        write_image(path, np.ones((6, 8), np.uint8))
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["mask.png"]
