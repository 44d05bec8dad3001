# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Video packets: colors and stamps, keyframes, lost and damaged packets, limits, missing PyAV."""

from __future__ import annotations

import array
import sys
from fractions import Fraction
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from rigs.messages import HEADER, STAMP_NS, compressed_message, image_message

from rgbd_seg_ros.frames import CompressedFrame, Defect, Frame
from rgbd_seg_ros.images import inspect
from rgbd_seg_ros.video import StreamDecoder

HEIGHT, WIDTH = 48, 64
CODECS = {"h264": "libx264", "hevc": "libx265"}


def color(number: int) -> tuple[int, int, int]:
    return (200 - 10 * number, 100, 50 + 8 * number)


def packets(codec: str, count: int = 12, **options: str) -> list[bytes]:
    """Frames of one color each; a keyframe every six."""
    av = pytest.importorskip("av", reason="needs PyAV: pip install av")
    if CODECS[codec] not in av.codecs_available:
        pytest.skip(f"this PyAV cannot encode {codec}")
    context: Any = av.CodecContext.create(CODECS[codec], "w")
    context.width, context.height, context.pix_fmt = WIDTH, HEIGHT, "yuv420p"
    context.time_base, context.framerate = Fraction(1, 30), Fraction(30)
    context.options = {
        "tune": "zerolatency",
        "x264-params": "keyint=6:scenecut=0",
        "x265-params": "log-level=none:keyint=6:scenecut=0",
        **options,
    }
    encoded = []
    for number in range(count):
        pixels = np.full((HEIGHT, WIDTH, 3), color(number), np.uint8)
        frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
        frame.pts = number
        encoded += context.encode(frame)
    return [bytes(packet) for packet in (*encoded, *context.encode(None))]


def message(data: bytes, codec: str, number: int = 0, ffmpeg: bool = False) -> SimpleNamespace:
    stamp = SimpleNamespace(sec=12 + number, nanosec=345)
    header = SimpleNamespace(stamp=stamp, frame_id=HEADER.frame_id)
    content = {"header": header, "data": array.array("B", data)}
    if not ffmpeg:
        return SimpleNamespace(format=codec, **content)
    encoding = f"{codec};yuv420p;bgr8;bgr8"
    size = {"width": WIDTH, "height": HEIGHT}
    return SimpleNamespace(encoding=encoding, pts=number, flags=0, **size, **content)


def read(
    decoder: StreamDecoder, data: bytes, codec: str, number: int, ffmpeg: bool = False
) -> Any:
    item = decoder.inspect(message(data, codec, number, ffmpeg))
    if isinstance(item, CompressedFrame):
        assert item.size == (HEIGHT, WIDTH)
        frame = item.decode()
        assert isinstance(frame, Frame), frame
        assert (frame.size, frame.stamp_ns) == (item.size, item.stamp_ns)
        assert frame.encoding == codec
        return frame
    assert isinstance(item, Defect)
    return item


@pytest.mark.parametrize("ffmpeg", [False, True])
@pytest.mark.parametrize("codec", CODECS)
def test_every_packet_is_its_frame(codec: str, ffmpeg: bool) -> None:
    decoder = StreamDecoder("rgb")
    for number, data in enumerate(packets(codec)):
        frame = read(decoder, data, codec, number, ffmpeg)
        assert isinstance(frame, Frame)
        assert frame.stamp_ns == STAMP_NS + number * 10**9
        expected = np.broadcast_to(color(number), (HEIGHT, WIDTH, 3))
        np.testing.assert_allclose(frame.array, expected, atol=4)


def test_frames_wait_for_a_keyframe() -> None:
    decoder = StreamDecoder("rgb")
    items = [read(decoder, data, "hevc", n) for n, data in enumerate(packets("hevc")) if n >= 3]
    assert [isinstance(item, Frame) for item in items] == [False] * 3 + [True] * 6
    assert "hevc video is waiting for a keyframe" in items[0].detail


@pytest.mark.parametrize("damaged", [b"damaged", b"\0\0\0\1", b""])
@pytest.mark.parametrize("codec", CODECS)
def test_damaged_packets_are_defects_until_the_next_keyframe(codec: str, damaged: bytes) -> None:
    """FFmpeg takes an empty packet for the end of the video, and would refuse all that follow."""
    decoder = StreamDecoder("rgb")
    sent = packets(codec, 18)
    sent[2] = damaged
    items = [read(decoder, data, codec, number) for number, data in enumerate(sent)]
    usable = [isinstance(item, Frame) for item in items]
    assert usable[:2] == [True, True]
    assert not any(usable[2:6])
    assert all(usable[6:])


def test_reordered_frames_keep_their_stamps() -> None:
    decoder = StreamDecoder("rgb")
    sent = packets("h264", tune="film", preset="medium", bf="2")
    items = [read(decoder, data, "h264", number) for number, data in enumerate(sent)]
    frames = [item for item in items if isinstance(item, Frame)]
    assert len(frames) >= 6
    stamps = [frame.stamp_ns for frame in frames]
    assert len(set(stamps)) == len(stamps)
    assert all(frame.stamp_ns >= STAMP_NS for frame in frames)


def test_the_limit_of_pixels() -> None:
    data = packets("h264")[0]
    for ffmpeg in (False, True):
        defect = read(StreamDecoder("rgb", max_pixels=HEIGHT * WIDTH - 1), data, "h264", 0, ffmpeg)
        assert isinstance(defect, Defect)
        frame = read(StreamDecoder("rgb", max_pixels=HEIGHT * WIDTH), data, "h264", 0, ffmpeg)
        assert isinstance(frame, Frame)


def test_a_wrong_size_is_a_defect() -> None:
    packet = message(packets("h264")[0], "h264", ffmpeg=True)
    packet.height = 50
    defect = StreamDecoder("rgb").inspect(packet)
    assert isinstance(defect, Defect)
    assert "the video has 64×48 pixels, but its message states 64×50" in defect.detail


def test_without_pyav_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    defect = StreamDecoder("rgb").inspect(message(b"\0\0\0\1", "h264"))
    assert isinstance(defect, Defect)
    assert "install it with: pip install av" in defect.detail


def test_other_messages_need_no_video() -> None:
    decoder = StreamDecoder("rgb")
    image = image_message(np.zeros((4, 4, 3), np.uint8), "rgb8")
    assert isinstance(decoder.inspect(image), Frame)
    for odd in (None, compressed_message(b"x", "jpeg"), message(b"", "theora", ffmpeg=True)):
        assert isinstance(decoder.inspect(odd), Defect)
    assert "unknown video codec" in decoder.inspect(odd).detail  # type: ignore[union-attr]
    defect = StreamDecoder("depth").inspect(message(b"\0\0\0\1", "h264", ffmpeg=True))
    assert isinstance(defect, Defect)
    assert "depth as video is not supported" in defect.detail
    assert isinstance(inspect(message(b"\0\0\0\1", "h264", ffmpeg=True), "rgb"), Defect)


def test_data_that_is_no_buffer_allocates_nothing() -> None:
    """``bytes(n)`` of a number would allocate n zeros."""
    message = SimpleNamespace(
        header=SimpleNamespace(stamp=SimpleNamespace(sec=1, nanosec=0), frame_id="camera"),
        format="h264",
        data=2**40,
    )
    item = StreamDecoder("rgb").inspect(message)
    assert isinstance(item, Defect)
    assert item.reason == "malformed"
