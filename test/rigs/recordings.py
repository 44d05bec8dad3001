# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Small recordings and a fake engine for the tests of bags and replays."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import numpy as np
import pytest

from rgbd_seg_ros.bag.writer import BagWriter
from rgbd_seg_ros.frames import Intrinsics
from rgbd_seg_ros.labels import LabelSet
from rgbd_seg_ros.replay.replay_options import ReplayOptions
from rgbd_seg_ros.replay.session import replay_bag

MS = 1_000_000
START_NS = 1_700_000_000_000_000_000
RGB = "/camera/camera/color/image_raw"
DEPTH = "/camera/camera/aligned_depth_to_color/image_raw"
TRUTH = "/truth/mask"
HEIGHT, WIDTH = 24, 32


def color_image(index: int) -> np.ndarray:
    """A color image that differs from frame to frame, like those of a camera."""
    rng = np.random.default_rng(index)
    return rng.integers(40, 200, (HEIGHT, WIDTH, 3), dtype=np.uint8)


def depth_image(index: int) -> np.ndarray:
    """Depth around 2 m, in millimeters."""
    rng = np.random.default_rng(1000 + index)
    return rng.integers(1500, 2500, (HEIGHT, WIDTH), dtype=np.uint16)


def truth_mask() -> np.ndarray:
    """Class 0 in the upper half, class 1 in the lower half."""
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[HEIGHT // 2 :] = 1
    return mask


@pytest.fixture(scope="session")
def write_recording() -> Callable[..., Path]:
    """Write a bag like RealSense's: color, depth 2 ms later, camera_info, and ground truth."""

    def write(
        path: Path,
        count: int = 40,
        period_ms: int = 100,
        *,
        depth_frame: str = "camera_color_optical_frame",
        depth_topic: str = DEPTH,
        truth: bool = True,
        header_offset_ms: int = 0,
    ) -> Path:
        intrinsics = Intrinsics(30.0, 30.0, 15.5, 11.5, WIDTH, HEIGHT)
        frame = "camera_color_optical_frame"
        with BagWriter(path) as writer:
            for i in range(count):
                receive_ns = START_NS + i * period_ms * MS
                stamp_ns = receive_ns - 4 * MS + header_offset_ms * MS
                info = RGB.replace("image_raw", "camera_info")
                writer.camera_info(info, receive_ns, intrinsics, stamp_ns, frame)
                writer.image(RGB, receive_ns, color_image(i), stamp_ns, frame)
                if truth:
                    writer.image(TRUTH, receive_ns, truth_mask(), stamp_ns, frame)
                late_ns, depth_stamp_ns = receive_ns + 3 * MS, stamp_ns + 2 * MS
                writer.image(depth_topic, late_ns, depth_image(i), depth_stamp_ns, depth_frame)
        return path

    return write


@pytest.fixture(scope="session")
def recording(
    write_recording: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Four seconds at 10 Hz, aligned, with ground truth."""
    return write_recording(tmp_path_factory.mktemp("bags") / "aligned")


class PlainEngine:
    """A fake engine: each of its networks assigns one class to all pixels.

    With :func:`truth_mask`, every network is right on half of the pixels; the fused one is wrong
    everywhere if one of its images is missing.
    """

    labels = LabelSet("plain", ("zero", "one", "two", "three"))
    available = ("rgbd", "rgb", "depth")
    need_intrinsics: tuple[str, ...] = ()
    device = "cpu"
    description = "a fake"
    memory_mb = None
    sha256: ClassVar = {"rgbd": "f" * 64}
    classes: ClassVar = {"rgbd": 0, "rgb": 1, "depth": 1}

    def __init__(self) -> None:
        self.calls: list[str] = []

    def __call__(  # type: ignore[no-untyped-def]
        self, rgb, depth, intrinsics=None, gravity=None, *, size, network
    ):
        assert gravity is None or network in self.need_intrinsics
        assert rgb is None or (rgb.dtype == np.uint8 and rgb.shape[2] == 3)
        assert depth is None or depth.dtype == np.float32
        self.calls.append(network)
        blank = network == "rgbd" and (rgb is None or depth is None)
        labels = np.full(size, 3 if blank else self.classes[network], np.uint8)
        confidence = np.full(size, 200, np.uint8)
        return SimpleNamespace(
            labels=labels, confidence=confidence, network=network, timings_ms={"total": 2.5}
        )


@pytest.fixture
def engine() -> PlainEngine:
    return PlainEngine()


@pytest.fixture
def run_replay(engine: PlainEngine, tmp_path: Path):  # type: ignore[no-untyped-def]
    """Replay a bag with the fake engine; keyword arguments are those of ReplayOptions."""

    def run(bag: Path, interrupted=lambda: False, **options):  # type: ignore[no-untyped-def]
        return replay_bag(ReplayOptions(bag=bag, **options), lambda: engine, interrupted)

    return run
