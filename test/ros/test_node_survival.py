# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The node survives bad messages, errors, overload and a blocked engine, and tells about them."""

from __future__ import annotations

import itertools
import re
import struct
import zlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2: source /opt/ros/<distro>/setup.bash")

from rclpy.parameter import Parameter
from rigs.graph import wait_for_log
from sensor_msgs.msg import CompressedImage, Image

from rgbd_seg_ros.fallback import Core
from rgbd_seg_ros.frames import CompressedFrame
from rgbd_seg_ros.ros.convert import Converter
from rgbd_seg_ros.ros.engine_thread import MAX_INBOX

pytestmark = pytest.mark.ros

ENCODINGS = (
    "rgb8", "rgb16", "bgra16", "bayer_rggb16", "mono16", "16UC1", "32FC1", "yuv422", "nv21", "",
    "no such encoding" * 6250,
)  # fmt: skip
#: Height, width, step and number of bytes; none of them is a whole image in any encoding.
LAYOUTS = ((1, 30, 1, 1), (0, 0, 0, 0), (2**32 - 1, 2**32 - 1, 2**32 - 1, 9), (48, 64, 1, 48))
KINDS = tuple(itertools.product(ENCODINGS, LAYOUTS))


def bad_image(number: int) -> Image:
    """The message of one of :data:`KINDS`, whose index is its frame_id."""
    encoding, (height, width, step, size) = KINDS[number % len(KINDS)]
    message = Image(height=height, width=width, step=step, encoding=encoding)
    message.header.frame_id = str(number % len(KINDS))
    message.data.frombytes(bytes(size))
    return message


def diagnostic(rig: Any, key: str) -> str:
    """A value of the latest report in /diagnostics; empty if it has none."""
    report = rig.diagnostics[-1] if rig.diagnostics else None
    return next((v.value for v in report.values if v.key == key), "") if report else ""


def wait_for_report(rig: Any, words: str) -> Any:
    """Wait for a report in /diagnostics whose summary contains these words, and return it."""
    return rig.until(lambda: next((r for r in rig.diagnostics if words in r.message), None))


def mask_stamps(rig: Any) -> list[int]:
    return [m.header.stamp.sec * 10**9 + m.header.stamp.nanosec for m in rig.masks]


# --- Bad messages -----------------------------------------------------------------------------


@pytest.mark.parametrize(("stream", "mode"), [("rgb", "DEPTH_ONLY"), ("depth", "RGB_ONLY")])
def test_masks_continue_during_and_after_bad_messages(
    rig: Any, stream: str, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    converted: set[str] = set()
    convert = Converter.__call__

    def spy(self: Converter, name: Any, message: Any) -> Any:
        converted.add(message.header.frame_id)
        return convert(self, name, message)

    monkeypatch.setattr(Converter, "__call__", spy)
    good = getattr(rig, stream)
    rig.good[stream] = False
    setattr(rig, stream, bad_image)
    rig.mode(mode)
    rig.until(lambda: converted >= set(map(str, range(len(KINDS)))))
    rig.until(lambda: diagnostic(rig, f"{stream}_detail_malformed"))
    wait_for_log(rig, f"{stream}: a message is unusable (malformed)")
    setattr(rig, stream, good)
    rig.good[stream] = True
    rig.mode("RGBD")
    assert rig.node._measurements.engine_errors == 0
    assert max(map(len, rig.logs)) < 1000
    assert max(len(v.value) for r in rig.diagnostics for v in r.values) < 1000
    rig.check_masks()


def test_a_long_frame_id_gives_short_lines(rig: Any) -> None:
    make = rig.depth_message

    def unaligned(number: int) -> Image:
        message = make(number)
        message.header.frame_id = "depth" * 20_000
        return message

    rig.depth = unaligned
    rig.mode("RGB_ONLY")
    wait_for_log(rig, "frame_id is 'depth", "assume_aligned")
    assert max(map(len, rig.logs)) < 1000


def png_bomb(width: int = 2**31 - 1, height: int = 2**31 - 1) -> bytes:
    """A tiny PNG whose header promises a huge image."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", width, height, 16, 0, 0, 0, 0)
    pixels = zlib.compress(bytes(9))
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", pixels)
        + chunk(b"IEND", b"")
    )


@pytest.fixture
def compressed(make_rig: Callable[..., Any]) -> Any:
    """An active node with compressed inputs; ``max_age_s`` allows a blocked engine."""
    rig = make_rig(rgb_transport="compressed", depth_transport="compressedDepth", max_age_s=60.0)
    rig.advertise("rgb", CompressedImage, "rgb/image_raw/compressed")
    rig.advertise("depth", CompressedImage, "depth/image_raw/compressedDepth")

    def color(_: int) -> CompressedImage:
        pixels = rig.rng.integers(30, 220, (48, 64, 3), dtype=np.uint8)
        message = CompressedImage(format="rgb8; jpeg compressed bgr8")
        message.data.frombytes(cv2.imencode(".jpg", pixels)[1].tobytes())
        return message

    def depth(_: int) -> CompressedImage:
        ticks = rig.rng.integers(800, 4000, (48, 64), dtype=np.uint16)
        message = CompressedImage(format="16UC1; compressedDepth png")
        message.data.frombytes(bytes(12) + cv2.imencode(".png", ticks)[1].tobytes())
        return message

    rig.rgb, rig.depth = color, depth
    rig.activate()
    rig.mode("RGBD")
    return rig


def test_a_compressed_image_that_promises_too_much_is_never_decoded(compressed: Any) -> None:
    rig, good = compressed, compressed.depth

    def bomb(_: int) -> CompressedImage:
        message = CompressedImage(format="16UC1; compressedDepth png")
        message.data.frombytes(bytes(12) + png_bomb())
        return message

    rig.good["depth"], rig.depth = False, bomb
    rig.mode("RGB_ONLY")
    wait_for_log(rig, "depth: a message is unusable", "2147483647×2147483647", "max_image_pixels")
    rig.until(lambda: "2147483647" in diagnostic(rig, "depth_detail_malformed"))
    rig.good["depth"], rig.depth = True, good
    rig.mode("RGBD")
    rig.check_masks()


def test_the_limit_of_pixels_changes_at_run_time(rig: Any) -> None:
    for limit, mode in ((48 * 64 - 1, "NO_INPUT"), (48 * 64, "RGBD")):
        (result,) = rig.node.set_parameters([Parameter("max_image_pixels", value=limit)])
        assert result.successful
        rig.mode(mode)
    wait_for_log(rig, "malformed", "max_image_pixels allows 3071 pixels")


# --- Errors ------------------------------------------------------------------------------------


def fail_once(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str) -> list[str]:
    """Let the next call of a method raise; the list then contains its name."""
    failed: list[str] = []
    method = getattr(owner, name)

    def fail(*arguments: Any, **options: Any) -> Any:
        if not failed:
            failed.append(name)
            raise RuntimeError(f"planted in {name}")
        return method(*arguments, **options)

    monkeypatch.setattr(owner, name, fail)
    return failed


@pytest.mark.parametrize("name", ["offer", "tick", "next_job", "next_decodes", "decoded"])
def test_masks_continue_after_an_error_in_the_core(
    compressed: Any, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig = compressed
    failed = fail_once(monkeypatch, Core, name)
    if name == "tick":
        rig.rgb, kept = None, rig.rgb  # a tick is due only if something is missing
        rig.until(lambda: failed)
        rig.rgb = kept
    rig.until(lambda: failed)
    report = wait_for_report(rig, f"RuntimeError: planted in {name}")
    assert report.level == b"\x02"
    rig.mode("RGBD")
    assert rig.node._measurements.engine_errors == 1
    rig.settle()  # every frame is accounted for, also the one that was lost


def test_masks_continue_after_an_error_in_the_engine(rig: Any) -> None:
    rig.engine.failures.append(RuntimeError("out of\nmemory"))
    wait_for_report(rig, "RuntimeError: out of memory")
    count = len(rig.masks)
    rig.until(lambda: len(rig.masks) > count + 3)
    assert rig.node._measurements.engine_errors == 1
    assert rig.modes[-1] == "RGBD"  # nothing is wrong with the streams


def test_masks_continue_after_an_error_while_converting(
    rig: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from rgbd_seg_ros import video

    failed = fail_once(monkeypatch, video, "inspect")
    rig.until(lambda: failed)
    wait_for_log(rig, "malformed", "RuntimeError: planted in inspect")
    count = len(rig.masks)
    rig.until(lambda: len(rig.masks) > count + 3)


def test_masks_continue_after_an_error_while_decoding(
    compressed: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig = compressed
    failed: list[str] = []
    convert = Converter.__call__

    def spoil(self: Converter, stream: Any, message: Any) -> Any:
        item = convert(self, stream, message)

        def fail() -> Any:
            failed.append(stream)
            raise RuntimeError("planted in decode")

        return replace(item, decode=fail) if not failed and stream == "depth" else item

    monkeypatch.setattr(Converter, "__call__", spoil)
    rig.until(lambda: failed)
    wait_for_report(rig, "RuntimeError: planted in decode")
    rig.mode("RGBD")
    rig.settle()
    assert rig.node._core.counters.unusable["depth"]["malformed"] == len(failed)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_the_engines_thread_is_started_again_if_it_ends(rig: Any) -> None:
    thread = rig.node._engine_thread
    ended = thread._thread
    rig.engine.failures.append(SystemExit())
    rig.until(lambda: not ended.is_alive())
    wait_for_report(rig, "the engine's thread ended and was started again")
    count = len(rig.masks)
    rig.until(lambda: len(rig.masks) > count + 3)
    assert thread._thread is not ended


# --- A busy engine -----------------------------------------------------------------------------


def block(rig: Any) -> None:
    """Keep the engine busy with a mask until ``may_finish`` is set."""
    rig.engine.may_finish.clear()
    calls = len(rig.engine.calls)
    rig.until(lambda: len(rig.engine.calls) > calls)


def test_a_flood_while_the_engine_is_busy_is_bounded(rig: Any) -> None:
    block(rig)
    thread, core = rig.node._engine_thread, rig.node._core
    for number in range(20 * MAX_INBOX):
        message = rig.rgb_message(number)
        now = rig.node.get_clock().now()
        message.header.stamp, message.header.frame_id = now.to_msg(), "camera"
        thread.enqueue("rgb", message, now.nanoseconds)
        assert len(thread._inbox) <= MAX_INBOX
    assert core.counters.pending("rgb") <= MAX_INBOX
    rig.engine.may_finish.set()
    rig.mode("RGBD")


def test_an_error_in_the_core_while_the_engine_is_busy_does_not_end_the_executor(
    rig: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    block(rig)
    failed = fail_once(monkeypatch, Core, "offer")
    rig.until(lambda: failed)  # spins the executor, which would raise
    wait_for_report(rig, "RuntimeError: planted in offer")
    rig.engine.may_finish.set()
    rig.mode("RGBD")
    rig.settle()


def test_a_busy_engine_decodes_only_what_its_masks_need(
    compressed: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig = compressed
    decoded: list[Any] = []
    convert = Converter.__call__

    def spy(self: Converter, stream: Any, message: Any) -> Any:
        item = convert(self, stream, message)
        assert isinstance(item, CompressedFrame)

        def decode() -> Any:
            decoded.append(stream)
            return item.decode()

        return replace(item, decode=decode)

    monkeypatch.setattr(Converter, "__call__", spy)
    count = len(rig.masks)
    rig.until(lambda: len(rig.masks) > count + 3 and decoded)
    block(rig)
    modes, offered = len(rig.modes), rig.node._core.counters.offered
    decoded.clear()
    begin = offered["rgb"]
    rig.until(lambda: offered["rgb"] > begin + 40)
    assert decoded == []
    rig.engine.may_finish.set()
    count = len(rig.masks)
    rig.until(lambda: len(rig.masks) > count + 3)
    assert len(rig.modes) == modes  # it has stayed RGBD
    rig.settle()
    used = rig.node._core.counters.fates
    assert used["rgb"]["superseded"] >= 30
    assert decoded.count("rgb") < offered["rgb"] - begin - 30


def test_a_mask_that_is_held_back_is_dropped_counted_and_told(rig: Any) -> None:
    block(rig)
    newest = max(rig.sent["rgb"])  # the images of the blocked mask are not newer
    clock = rig.node.get_clock()
    rig.until(lambda: clock.now().nanoseconds > newest + 1.1e9)
    count = len(rig.masks)
    rig.engine.may_finish.set()
    wait_for_log(rig, "a mask was dropped", "max_age_s=1")
    rig.until(lambda: len(rig.masks) > count + 3)
    assert all(stamp > newest for stamp in mask_stamps(rig)[count:])
    rig.until(lambda: diagnostic(rig, "masks_expired") == "1")
    rig.settle()


def test_no_mask_although_images_arrive_is_an_error(make_rig: Callable[..., Any]) -> None:
    rig = make_rig(max_age_s=60.0)
    rig.activate()
    rig.mode("RGBD")
    block(rig)
    report = wait_for_report(rig, "but no mask for")
    assert report.level == b"\x02"
    rig.engine.may_finish.set()
    rig.diagnostics.clear()
    report = wait_for_report(rig, "RGBD: color and depth are fused")
    assert report.level != b"\x02"


# --- Rates -------------------------------------------------------------------------------------


def test_a_mode_that_is_rarely_fused_is_not_rgbd(make_rig: Callable[..., Any]) -> None:
    rig = make_rig()
    publish, numbers = rig.topics["depth"].publish, itertools.count()

    def tenth(message: Image) -> None:
        if next(numbers) % 10 == 0:
            publish(message)

    rig.topics["depth"].publish = tenth
    rig.activate()
    rig.until(lambda: rig.modes[-1] == "RGB_ONLY" and "fused" in rig.node._core.mode_reason)
    assert "% of the masks are fused" in rig.node._core.mode_reason
    rig.until(lambda: rig.statuses[-1]["mode"] == "RGB_ONLY")
    assert 0 < float(rig.statuses[-1]["fused_share"]) < 0.4
    line = wait_for_log(rig, "by their stamps, color has", "set both to one rate")
    color, depth = map(float, re.findall(r"([\d.]+) Hz", line))
    assert color / depth == pytest.approx(10, rel=0.3)  # on a loaded machine, the camera is late
