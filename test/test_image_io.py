# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Image files: pixels as stored, error messages that name the file, atomic writing."""

from __future__ import annotations

import io
import os
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
    check_aligned,
    encode_image,
    read_depth,
    read_image,
    read_rgb,
    read_single_channel,
    resize_nearest,
    write_image,
)
from rgbd_seg_ros.images import to_frame
from rgbd_seg_ros.preprocess import resize_depth

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


#: Depth in meters; 0 is invalid.
DEPTH_M = [[0.0, 0.5], [2.0, 3.25]]
EXPECTED_M = [[np.nan, 0.5], [2.0, 3.25]]


def encoded(suffix: str, array: np.ndarray) -> bytes:
    """The bytes of a file that another program would write."""
    if suffix in (".npy", ".npz"):
        file = io.BytesIO()
        np.save(file, array) if suffix == ".npy" else np.savez_compressed(file, depth=array)
        return file.getvalue()
    if suffix == ".exr":
        os.environ["OPENCV_IO_ENABLE_OPENEXR"] = "1"
    done, data = cv2.imencode(suffix, array)
    assert done
    return bytes(data)


@pytest.mark.parametrize("suffix", [".tiff", ".exr", ".pfm", ".npy", ".npz"])
def test_float_depth_is_in_meters_unless_its_scale_is_stated(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"depth{suffix}"
    path.write_bytes(encoded(suffix, np.array(DEPTH_M, np.float32)))
    np.testing.assert_allclose(read_depth(path), EXPECTED_M)
    path.write_bytes(encoded(suffix, np.array(DEPTH_M, np.float32) * 1000))
    np.testing.assert_allclose(read_depth(path, 0.001), EXPECTED_M, rtol=1e-6)


@pytest.mark.parametrize("suffix", [".png", ".tif", ".pgm", ".npy", ".npz"])
def test_16_bit_depth_is_in_millimeters_unless_its_scale_is_stated(
    suffix: str, tmp_path: Path
) -> None:
    path = tmp_path / f"depth{suffix}"
    path.write_bytes(encoded(suffix, np.array([[0, 500], [2000, 65535]], np.uint16)))
    np.testing.assert_allclose(read_depth(path), [[np.nan, 0.5], [2.0, np.nan]])
    np.testing.assert_allclose(read_depth(path, 0.0002), [[np.nan, 0.1], [0.4, np.nan]])


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_8_bit_depth_needs_a_stated_scale(channels: int, tmp_path: Path) -> None:
    path = tmp_path / "depth.png"
    image = np.repeat(np.array([[0, 50], [200, 255]], np.uint8)[..., None], channels, axis=2)
    path.write_bytes(encoded(".png", image))
    with pytest.raises(ImageFileError, match=r"depth\.png is uint8.*state the meters per unit"):
        read_depth(path)
    np.testing.assert_allclose(read_depth(path, 0.01), [[np.nan, 0.5], [2.0, 2.55]], rtol=1e-6)


def test_integers_of_other_types_need_a_stated_scale(tmp_path: Path) -> None:
    path = tmp_path / "depth.npy"
    path.write_bytes(encoded(".npy", np.array([[-1, 0], [2000, 100_000]], np.int32)))
    with pytest.raises(ImageFileError, match="is int32"):
        read_depth(path)
    np.testing.assert_allclose(read_depth(path, 0.001), [[np.nan, np.nan], [2.0, 100.0]])


def test_a_color_image_is_not_depth_and_depth_not_color(tmp_path: Path) -> None:
    write_image(tmp_path / "rgb.png", RGB)
    with pytest.raises(ImageFileError, match=r"rgb\.png is a color image"):
        read_depth(tmp_path / "rgb.png", 0.01)
    write_image(tmp_path / "depth.png", np.full((6, 8), 900, np.uint16))
    with pytest.raises(ImageFileError, match="not a color image: it has one channel of 16 bits"):
        read_rgb(tmp_path / "depth.png")
    (tmp_path / "depth.tiff").write_bytes(encoded(".tiff", np.ones((6, 8), np.float32)))
    with pytest.raises(ImageFileError, match="it has floating-point numbers"):
        read_rgb(tmp_path / "depth.tiff")
    (tmp_path / "depth.npy").write_bytes(encoded(".npy", np.ones((6, 8), np.uint16)))
    with pytest.raises(ImageFileError, match="is uint16; color images are uint8"):
        read_rgb(tmp_path / "depth.npy")


@pytest.mark.parametrize("suffix", [".png", ".webp", ".ppm", ".bmp", ".tif", ".npy", ".npz"])
def test_color_is_rgb_in_every_format(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"color{suffix}"
    numpy = suffix in (".npy", ".npz")
    path.write_bytes(encoded(suffix, RGB if numpy else RGB[..., ::-1]))
    np.testing.assert_array_equal(read_rgb(path), RGB)
    if suffix != ".ppm":  # has no alpha channel
        alpha = np.full((*RGB.shape[:2], 1), 255, np.uint8)
        path.write_bytes(encoded(suffix, np.dstack([RGB if numpy else RGB[..., ::-1], alpha])))
        np.testing.assert_array_equal(read_rgb(path), RGB)


@pytest.mark.parametrize("suffix", [".png", ".pgm", ".npy"])
def test_gray_images_count_as_color(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"gray{suffix}"
    path.write_bytes(encoded(suffix, RGB[..., 0]))
    np.testing.assert_array_equal(read_rgb(path), RGB[..., :1].repeat(3, axis=2))


def test_an_exr_channel_of_another_name_is_read(tmp_path: Path) -> None:
    path = tmp_path / "depth.exr"
    data = encoded(".exr", np.array(DEPTH_M, np.float32))
    named = data.replace(b"chlist\0\x13\0\0\0Y\0", b"chlist\0\x13\0\0\0Z\0")
    assert named != data
    path.write_bytes(named)
    np.testing.assert_allclose(read_depth(path), EXPECTED_M)


def test_a_pfm_with_a_scale_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "depth.pfm"
    values = np.array(DEPTH_M, np.float32)
    for scale, order in ((b"-1.0", "<f4"), (b"1", ">f4")):
        path.write_bytes(b"Pf\n2 2\n" + scale + b"\n" + values[::-1].astype(order).tobytes())
        np.testing.assert_allclose(read_depth(path), EXPECTED_M)
    path.write_bytes(b"Pf\n2 2\n-2.5\n" + values[::-1].tobytes())
    with pytest.raises(ImageFileError, match=r"scale is -2\.5; write it with the scale -1"):
        read_depth(path)


@pytest.mark.parametrize(
    "suffix", [".png", ".tiff", ".bmp", ".webp", ".ppm", ".pgm", ".pfm", ".exr", ".npy", ".npz"]
)
def test_an_image_of_too_many_pixels_is_refused_by_its_header(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"image{suffix}"
    kind = np.float32 if suffix in (".pfm", ".exr") else np.uint8
    path.write_bytes(encoded(suffix, np.zeros((30, 50, 3)[: 3 if suffix == ".ppm" else 2], kind)))
    assert read_image(path, max_pixels=1500).shape[:2] == (30, 50)
    with pytest.raises(ImageFileError, match=r"is 50×30.*at most 1,499 pixels are read"):
        read_image(path, max_pixels=1499)


def test_numpy_files_that_promise_more_than_they_have_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "depth.npy"
    data = encoded(".npy", np.ones((6, 8), np.float32))
    path.write_bytes(data.replace(b"(6, 8)", b"(60,8)"))
    with pytest.raises(ImageFileError, match="truncated"):
        read_depth(path)
    path.write_bytes(encoded(".npy", np.array([[{}]], object)))
    with pytest.raises(ImageFileError, match="values of type object"):
        read_depth(path)
    path.write_bytes(encoded(".npy", np.ones(5, np.float32)))
    with pytest.raises(ImageFileError, match=r"has the shape \(5,\); an image is H×W"):
        read_depth(path)


def test_the_image_of_a_npz_file_is_its_only_or_its_named_array(tmp_path: Path) -> None:
    path = tmp_path / "frame.npz"
    values = np.array(DEPTH_M, np.float32)
    np.savez(path, anything=values)
    np.testing.assert_allclose(read_depth(path), EXPECTED_M)
    np.savez(path, pose=np.eye(4), depth=values)
    np.testing.assert_allclose(read_depth(path), EXPECTED_M)
    np.savez(path, pose=np.eye(4), z=values)
    with pytest.raises(ImageFileError, match="contains the arrays pose, z, none of which"):
        read_depth(path)


@pytest.mark.parametrize("shape", [(1, 2, 2), (2, 2, 1), (1, 2, 2, 1)])
def test_axes_of_length_one_around_an_array_are_dropped(shape: tuple, tmp_path: Path) -> None:
    path = tmp_path / "depth.npy"
    np.save(path, np.asfortranarray(np.reshape(DEPTH_M, shape)))
    np.testing.assert_allclose(read_depth(path), EXPECTED_M)


def test_what_is_not_a_regular_file_is_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "rgb.png")
    with pytest.raises(ImageFileError, match="not a regular file"):
        read_rgb(tmp_path / "rgb.png")
    with pytest.raises(ImageFileError, match="not a regular file, but a device"):
        read_rgb(Path(os.devnull))
    write_image(tmp_path / "real.png", RGB)
    (tmp_path / "link.png").symlink_to("real.png")
    np.testing.assert_array_equal(read_rgb(tmp_path / "link.png"), RGB)


@pytest.mark.parametrize(("height", "width", "aligned"), [(60, 80, 1), (60, 81, 0), (30, 40, 1)])
def test_depth_is_aligned_if_its_aspect_ratio_agrees_within_1_percent(
    height: int, width: int, aligned: bool
) -> None:
    if aligned:
        check_aligned((120, 160), (height, width))
    else:
        with pytest.raises(ImageFileError, match="it is 81×60 but color is 160×120"):
            check_aligned((120, 160), (height, width))


@pytest.mark.parametrize("size", [(12, 16), (7, 11), (24, 31), (6, 8)])
def test_depth_is_resized_as_in_the_networks(size: tuple[int, int]) -> None:
    torch = pytest.importorskip("torch")
    depth = np.random.default_rng(0).random((12, 16), np.float32)
    expected = resize_depth(torch.from_numpy(depth)[None, None], size)[0, 0].numpy()
    np.testing.assert_array_equal(resize_nearest(depth, size), expected)


def test_three_equal_channels_count_as_one(tmp_path: Path) -> None:
    path = tmp_path / "labels.png"
    write_image(path, np.full((6, 8, 3), 7, np.uint8))
    assert read_single_channel(path).shape == (6, 8)
    write_image(path, RGB)
    with pytest.raises(
        ImageFileError,
        match=r"is a color image.*painted with cannot be read back",
    ):
        read_single_channel(path)


@pytest.mark.parametrize(
    "suffix", [".png", ".jpg", ".webp", ".tiff", ".bmp", ".ppm", ".npy", ".npz"]
)
@pytest.mark.parametrize("defect", ["missing", "empty", "text", "truncated"])
def test_unreadable_files_are_named(suffix: str, defect: str, tmp_path: Path) -> None:
    path = tmp_path / f"image{suffix}"
    data = encoded(suffix, RGB)
    content = {"empty": b"", "text": b"not an image", "truncated": data[: len(data) * 3 // 4]}
    if defect in content:
        path.write_bytes(content[defect])
    message = "cannot read" if defect == "missing" else "is truncated"
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
