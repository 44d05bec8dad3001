# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""HHA networks in a replay: gravity comes from the transforms in the bag, or is estimated."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rgbd_seg_ros.bag.writer import BagWriter
from rgbd_seg_ros.frames import Intrinsics
from rgbd_seg_ros.replay.replay_options import ReplayOptions
from rgbd_seg_ros.replay.session import replay_bag

MS = 1_000_000
START_NS = 1_700_000_000_000_000_000
FRAME = "camera_color_optical_frame"
LEVEL = (-0.5, 0.5, -0.5, 0.5)
#: The same camera lying on its side: down is to its right.
ROLLED = (0.0, 0.70710678, 0.0, 0.70710678)


def put_transform(
    writer: BagWriter, topic: str, at_ns: int, rotation: tuple[float, ...], parent: str
) -> None:
    make = writer.make
    transform = make(
        "geometry_msgs/msg/Transform",
        {
            "translation": make("geometry_msgs/msg/Vector3", {"x": 1.0, "y": 2.0, "z": 3.0}),
            "rotation": make(
                "geometry_msgs/msg/Quaternion", dict(zip("xyzw", rotation, strict=True))
            ),
        },
    )
    stamped = make(
        "geometry_msgs/msg/TransformStamped",
        {
            "header": writer._header(at_ns, parent),
            "child_frame_id": FRAME,
            "transform": transform,
        },
    )
    kind = "tf2_msgs/msg/TFMessage"
    writer._put(topic, kind, at_ns, writer.make(kind, {"transforms": [stamped]}))


@pytest.fixture
def write_bag(tmp_path: Path) -> Callable[..., Path]:
    """Twenty pairs at 10 Hz, and transforms as (topic, index of the pair, rotation)."""

    def write(*transforms: tuple[str, int, tuple[float, ...]]) -> Path:
        camera = Intrinsics(30.0, 30.0, 15.5, 11.5, 32, 24)
        with BagWriter(tmp_path / "bag") as writer:
            for i in range(20):
                now_ns = START_NS + i * 100 * MS
                rng = np.random.default_rng(i)
                writer.camera_info("/cam/color/camera_info", now_ns, camera, now_ns, FRAME)
                color = rng.integers(40, 200, (24, 32, 3), dtype=np.uint8)
                writer.image("/cam/color/image_raw", now_ns, color, now_ns, FRAME)
                depth = rng.integers(1500, 2500, (24, 32), dtype=np.uint16)
                topic = "/cam/aligned_depth_to_color/image_raw"
                writer.image(topic, now_ns + MS, depth, now_ns, FRAME)
                for topic, index, rotation in transforms:
                    if index == i:
                        put_transform(writer, topic, now_ns + 2 * MS, rotation, "base_link")
        return tmp_path / "bag"

    return write


@pytest.fixture
def hha_engine(engine: Any) -> Any:
    """The fake engine with HHA input; ``given`` lists the gravity passed to each call."""
    plain = type(engine)

    class Hha(plain):  # type: ignore[misc, valid-type]
        need_intrinsics = ("rgbd", "depth")
        given: list[Any] = []  # noqa: RUF012

        def __call__(
            self, rgb: Any, depth: Any, intrinsics: Any = None, gravity: Any = None, **options: Any
        ) -> Any:
            self.given.append(None if gravity is None else np.round(gravity, 4).tolist())
            return super().__call__(rgb, depth, intrinsics, gravity, **options)

        def estimate_gravity(self, depth: Any, intrinsics: Any) -> np.ndarray:
            assert (intrinsics.width, intrinsics.height) == depth.shape[::-1]
            return np.array([0.0, 0.6, 0.8], np.float32)

    return Hha()


def gravities(engine: Any, bag: Path, **options: Any) -> list[Any]:
    replay_bag(ReplayOptions(bag=bag, **options), lambda: engine)
    return [g for g in engine.given if g is not None]


def test_static_transforms_are_valid_from_the_start(
    hha_engine: Any, write_bag: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    found = gravities(hha_engine, write_bag(("/tf_static", 15, LEVEL)))
    assert len(found) >= 19
    assert all(g == [0, 1, 0] for g in found)
    assert "gravity from the transforms to base_link" in capsys.readouterr().err


def test_moving_transforms_are_valid_from_their_arrival(
    hha_engine: Any, write_bag: Callable[..., Path]
) -> None:
    bag = write_bag(("/tf", 0, LEVEL), ("/tf", 9, ROLLED))
    found = gravities(hha_engine, bag)
    assert [0, 1, 0] in found[1:9]
    assert found[-8:] == [found[-1]] * 8
    assert found[-1] != [0, 1, 0]


def test_without_transforms_gravity_is_estimated_and_reported(
    hha_engine: Any, write_bag: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    found = gravities(hha_engine, write_bag())
    assert all(np.allclose(g, [0, 0.6, 0.8], atol=1e-3) for g in found)
    assert capsys.readouterr().err.count("no transforms connect this frame to base_link") == 1


def test_an_empty_gravity_frame_forces_the_estimate(
    hha_engine: Any, write_bag: Callable[..., Path]
) -> None:
    bag = write_bag(("/tf_static", 0, LEVEL))
    found = gravities(hha_engine, bag, gravity_frame="")
    assert np.allclose(found[-1], [0, 0.6, 0.8], atol=1e-3)


def test_networks_without_hha_get_no_gravity(
    run_replay: Any, write_bag: Callable[..., Path], engine: Any
) -> None:
    run_replay(write_bag(("/tf_static", 0, LEVEL)))  # the fake engine asserts this
    assert engine.calls
