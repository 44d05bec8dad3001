# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Encodings of raw images: the exact values of every one, with padding and both byte orders."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rigs.messages import STAMP_NS, image_message

from rgbd_seg_ros.compressed_color import CODECS
from rgbd_seg_ros.encodings import COLOR_ENCODINGS, DEPTH_ENCODINGS
from rgbd_seg_ros.frames import Defect, Frame
from rgbd_seg_ros.images import to_frame, to_mask

HEIGHT, WIDTH = 6, 8
RNG = np.random.default_rng(0)
RGB = RNG.integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
RGB16 = RNG.integers(0, 65536, (HEIGHT, WIDTH, 3), np.uint16)
#: Which channel of RGB each stored channel is; 3 is alpha.
ORDER = {
    "rgb": [0, 1, 2], "bgr": [2, 1, 0], "rgba": [0, 1, 2, 3], "bgra": [2, 1, 0, 3],
    "UC3": [2, 1, 0], "UC4": [2, 1, 0, 3],
}  # fmt: skip
PACKED = [
    (f"{kind}{bits}", kind, bits) for kind in ("rgb", "bgr", "rgba", "bgra") for bits in (8, 16)
]
PACKED += [(f"{bits}{kind}", kind, bits) for kind in ("UC3", "UC4") for bits in (8, 16)]
GRAY = ("mono8", "8UC1", "mono16")
BAYER = [name for name in COLOR_ENCODINGS if name.startswith("bayer")]
YUV = ("yuv422", "uyvy", "yuv422_yuy2", "yuyv", "nv12", "nv21", "nv24")


def to_8_bits(values: np.ndarray) -> np.ndarray:
    return np.rint(values / 257).astype(np.uint8) if values.dtype == np.uint16 else values


def stored(pixels: np.ndarray, big: int) -> np.ndarray:
    return pixels.astype(pixels.dtype.newbyteorder(">" if big else "<"))


def color(message: Any) -> np.ndarray:
    frame = to_frame(message, "rgb")
    assert isinstance(frame, Frame), frame
    assert (frame.stamp_ns, frame.encoding) == (STAMP_NS, message.encoding)
    assert frame.frame_id == "camera_color_optical_frame"
    assert frame.array.dtype == np.uint8
    return frame.array


def test_every_encoding_is_tested() -> None:
    assert {name for name, *_ in PACKED} | {*GRAY, *BAYER, *YUV} == set(COLOR_ENCODINGS)


@pytest.mark.parametrize("padding", [0, 6])
@pytest.mark.parametrize("big", [0, 1])
@pytest.mark.parametrize(("encoding", "kind", "bits"), PACKED)
def test_channels(encoding: str, kind: str, bits: int, big: int, padding: int) -> None:
    rgb = RGB if bits == 8 else RGB16
    rgba = np.dstack([rgb, RNG.integers(0, 256, (HEIGHT, WIDTH), np.uint8).astype(rgb.dtype)])
    pixels = stored(rgba[..., ORDER[kind]], big)
    np.testing.assert_array_equal(
        color(image_message(pixels, encoding, padding, big)), to_8_bits(rgb)
    )


@pytest.mark.parametrize("padding", [0, 6])
@pytest.mark.parametrize("big", [0, 1])
@pytest.mark.parametrize("encoding", GRAY)
def test_gray(encoding: str, big: int, padding: int) -> None:
    gray = (RGB16 if encoding == "mono16" else RGB)[..., 0]
    expected = np.repeat(to_8_bits(gray)[..., None], 3, axis=2)
    message = image_message(stored(gray, big), encoding, padding, big)
    np.testing.assert_array_equal(color(message), expected)


@pytest.mark.parametrize("padding", [0, 6])
@pytest.mark.parametrize("big", [0, 1])
@pytest.mark.parametrize("encoding", BAYER)
def test_bayer(encoding: str, big: int, padding: int) -> None:
    value = {"r": 200, "g": 100, "b": 50}
    pattern = [value[letter] for letter in encoding[6:10]]
    mosaic = np.tile(np.reshape(pattern, (2, 2)), (HEIGHT // 2, WIDTH // 2)).astype(np.uint8)
    pixels = mosaic if encoding.endswith("8") else mosaic.astype(np.uint16) * 257 + 100
    image = color(image_message(stored(pixels, big), encoding, padding, big))
    np.testing.assert_array_equal(image, np.broadcast_to([200, 100, 50], (HEIGHT, WIDTH, 3)))


def bt601(y: np.ndarray, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """RGB of BT.601 with limited range, from the standard's luma weights."""
    red, blue = 0.299, 0.114
    y, u, v = (y - 16.0) / 219, (u - 128.0) / 224, (v - 128.0) / 224
    r, b = y + 2 * (1 - red) * v, y + 2 * (1 - blue) * u
    g = (y - red * r - blue * b) / (1 - red - blue)
    return np.clip(np.stack([r, g, b], axis=-1) * 255, 0, 255)


def yuv_rows(
    encoding: str, y: np.ndarray, u: np.ndarray, v: np.ndarray, padding: int
) -> np.ndarray:
    """The rows of data of an image: y is H×W, u and v have one value per stored pair or pixel."""

    def pad(rows: np.ndarray, count: int) -> np.ndarray:
        return np.pad(rows.reshape(len(rows), -1), ((0, 0), (0, count)), constant_values=77)

    if encoding.startswith("nv"):
        chroma = np.stack([v, u] if encoding == "nv21" else [u, v], axis=-1)
        if encoding == "nv24":  # a row of chroma is as long as two of luma, also with padding
            chroma = pad(chroma, 2 * padding).reshape(2 * len(chroma), -1)
            return np.vstack([pad(y, padding), chroma])
        return np.vstack([pad(y, padding), pad(chroma, padding)])
    first, second = y[:, ::2], y[:, 1::2]
    order = [u, first, v, second] if encoding in ("yuv422", "uyvy") else [first, u, second, v]
    return pad(np.stack(order, axis=-1), padding)


@pytest.mark.parametrize("padding", [0, 6])
@pytest.mark.parametrize("encoding", YUV)
def test_yuv(encoding: str, padding: int) -> None:
    y = RNG.integers(16, 236, (HEIGHT, WIDTH), np.uint8)
    rows = HEIGHT // 2 if encoding in ("nv12", "nv21") else HEIGHT
    columns = WIDTH if encoding == "nv24" else WIDTH // 2
    u, v = (RNG.integers(64, 193, (rows, columns), np.uint8) for _ in "uv")
    data = yuv_rows(encoding, y, u, v, padding)
    message = image_message(data, encoding, height=HEIGHT)
    message.width = WIDTH
    full = [np.kron(c, np.ones((HEIGHT // rows, WIDTH // columns))) for c in (u, v)]
    np.testing.assert_allclose(color(message), bt601(y, *full), atol=1.01)


@pytest.mark.parametrize("padding", [0, 6])
@pytest.mark.parametrize("big", [0, 1])
@pytest.mark.parametrize("encoding", DEPTH_ENCODINGS)
def test_depth_keeps_its_values(encoding: str, big: int, padding: int) -> None:
    native = np.dtype(DEPTH_ENCODINGS[encoding])
    values = (np.arange(HEIGHT * WIDTH).reshape(HEIGHT, WIDTH) * 257).astype(native)
    frame = to_frame(image_message(stored(values, big), encoding, padding, big), "depth_raw")
    assert isinstance(frame, Frame)
    assert frame.array.dtype == native
    np.testing.assert_array_equal(frame.array, values)


def test_rgb8_and_native_depth_are_views_of_the_message() -> None:
    rgb = image_message(RGB, "rgb8", padding=3)
    depth = image_message(np.ones((HEIGHT, WIDTH), np.uint16), "16UC1")
    for message, stream in ((rgb, "rgb"), (depth, "depth")):
        frame = to_frame(message, stream)  # type: ignore[arg-type]
        assert isinstance(frame, Frame)
        assert np.shares_memory(frame.array, np.frombuffer(message.data, np.uint8))


def test_masks_keep_their_ids() -> None:
    ids = np.arange(HEIGHT * WIDTH, dtype=np.uint8).reshape(HEIGHT, WIDTH)
    frame = to_mask(image_message(ids, "mono8", padding=2))
    assert isinstance(frame, Frame)
    np.testing.assert_array_equal(frame.array, ids)
    defect = to_mask(image_message(RGB, "rgb8"))
    assert isinstance(defect, Defect)
    assert "unknown mask encoding" in defect.detail


#: Encodings of sensor_msgs that are neither color nor depth: their meaning is not defined.
UNDEFINED = {
    "8UC2", "16UC2",
    *(f"{kind}{n}" for kind in ("8SC", "16SC", "32SC", "64FC") for n in (1, 2, 3, 4)),
    "32FC2", "32FC3", "32FC4",
}  # fmt: skip


@pytest.mark.parametrize("encoding", sorted(UNDEFINED))
@pytest.mark.parametrize("stream", ["rgb", "depth"])
def test_an_encoding_without_a_meaning_is_named_with_the_known_ones(
    encoding: str, stream: Any
) -> None:
    defect = to_frame(image_message(np.zeros((2, 2, 32), np.uint8), encoding), stream)
    assert isinstance(defect, Defect)
    assert f"encoding {encoding!r}" in defect.detail
    assert "(known: " in defect.detail or "docs/replay.md lists" in defect.detail
    assert "publish" in defect.detail


def test_every_encoding_of_ros_is_decoded_or_named() -> None:
    found = sorted(Path("/opt/ros").glob("*/include/sensor_msgs/sensor_msgs/image_encodings.hpp"))
    if not found:
        pytest.skip("needs ROS 2: its list of encodings is in image_encodings.hpp")
    names = set(re.findall(r'^const char \w+\[\] = "(\w+)";', found[-1].read_text(), re.M))
    assert len(names) > 40
    assert names <= {*COLOR_ENCODINGS, *DEPTH_ENCODINGS, *UNDEFINED}


@pytest.mark.parametrize(
    ("stream", "change", "detail"),
    [
        (
            "rgb",
            {"encoding": "rgb9"},
            "unknown color encoding 'rgb9'; did you mean 'rgb8'?; publish rgb8, bgr8",
        ),
        ("rgb", {"encoding": "16UC1"}, "encoding '16UC1' is depth, not color; check the topics"),
        (
            "depth",
            {"encoding": "rgb8"},
            "'rgb8' is color, not depth (depth is 16UC1, mono16, 32FC1); check the topics",
        ),
        ("depth", {"encoding": "bayer_rggb16"}, "is color, not depth"),
        ("depth", {"encoding": "bayer_rggb16", "step": 1, "height": 30}, "is color, not depth"),
        ("depth", {"encoding": "16UC2"}, "unknown depth encoding '16UC2'; did you mean '16UC1'?"),
        ("rgb", {"encoding": "rgb16", "width": 1, "height": 30, "step": 1}, "step is 1 bytes"),
        ("rgb", {"height": 0}, "8×0"),
        ("rgb", {"width": -3}, "-3×6"),
        ("rgb", {"step": 23}, "step is 23 bytes, but a row of 8 rgb8 pixels has 24"),
        ("rgb", {"step": 0}, "step is 0"),
        ("rgb", {"step": 2**40}, f"step {2**40} × 6 rows needs {6 * 2**40}: the message is trunc"),
        ("rgb", {"step": -24}, "step is -24"),
        ("rgb", {"data": b"\0" * 143}, "143 bytes, step 24 × 6 rows needs 144"),
        ("rgb", {"data": b""}, "0 bytes"),
        ("rgb", {"data": None}, "TypeError"),
        ("rgb", {"data": [0] * 144}, "TypeError"),
        (
            "rgb",
            {"encoding": "yuyv", "width": 7, "step": 14},
            "7×6, but in yuyv pixels share chro",
        ),
        ("rgb", {"encoding": "nv12", "height": 5, "step": 8}, "8×5, but in nv12"),
        ("rgb", {"encoding": "nv12", "step": 8, "data": b"\0" * 71}, "8 × 9 rows needs 72"),
        ("rgb", {"encoding": "nv24", "step": 8}, None),
        ("rgb", {"encoding": "nv24", "step": 9}, "9 × 18 rows needs 162"),
        ("rgb", {"encoding": None}, "unknown color encoding None"),
        ("rgb", {"encoding": ["rgb8"]}, "TypeError"),
        ("rgb", {"height": "six"}, "ValueError"),
        ("rgb", {"height": float("inf")}, "OverflowError"),
        ("rgb", {"header": None}, "AttributeError"),
    ],
)
def test_bad_images_become_defects(
    stream: Any, change: dict[str, Any], detail: str | None
) -> None:
    message = image_message(RGB, "rgb8")
    for name, value in change.items():
        setattr(message, name, value)
    defect = to_frame(message, stream)
    if detail is None:
        assert isinstance(defect, Frame)
        return
    assert isinstance(defect, Defect)
    assert defect.reason == "malformed"
    assert detail in defect.detail
    assert "\n" not in defect.detail
    assert defect.stamp_ns == (None if "header" in change else STAMP_NS)


@pytest.mark.parametrize("encoding", BAYER)
@pytest.mark.parametrize("size", [(1, 1), (1, 8), (8, 1), (2, 2), (3, 3)])
def test_small_bayer_images_are_decoded_or_refused(encoding: str, size: tuple[int, int]) -> None:
    item = to_frame(image_message(np.full((*size, 2), 9, np.uint8), encoding), "rgb")
    assert isinstance(item, Defect) or item.size == size


def test_the_table_of_the_documentation_lists_every_encoding_and_codec() -> None:
    text = (Path(__file__).resolve().parents[1] / "docs" / "replay.md").read_text()
    section = text.partition("## Images that are read")[2].partition("\n## ")[0]
    rows = [line.split("|") for line in section.splitlines() if line.startswith("| `")]
    listed: dict[str, set[str]] = {"color": set(), "depth": set()}
    for _, kind, names, *_ in rows:
        if kind.startswith(" `Image`"):
            words = re.findall(r"\w+", names)
            listed["depth" if "depth" in kind else "color"].update(words)
    assert listed["color"] - {"in", "BGR", "order"} == {*COLOR_ENCODINGS}
    assert {*DEPTH_ENCODINGS} <= listed["depth"]
    (color,) = [names for _, kind, names, *_ in rows if "CompressedImage`, color" in kind]
    assert all(codec in color.lower() for codec in CODECS)
