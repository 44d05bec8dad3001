# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Gravity: transforms take precedence, estimates are smoothed, and the source is logged."""

from __future__ import annotations

from types import SimpleNamespace as Object

import numpy as np
import pytest

from rgbd_seg_ros.gravity import MAX_FRAMES, MAX_NAME, Gravity, TransformTree, rotation_matrix

#: base_link (x forward, y left, z up) → optical (x right, y down, z forward), as camera drivers
#: publish it.
OPTICAL = (-0.5, 0.5, -0.5, 0.5)
LATER_NS = 5_000_000_000


def message(*transforms: tuple[str, str, tuple[float, ...]]) -> Object:
    """A TFMessage of (parent, child, quaternion xyzw)."""
    return Object(
        transforms=[
            Object(
                header=Object(frame_id=parent),
                child_frame_id=child,
                transform=Object(rotation=Object(**dict(zip("xyzw", q, strict=True)))),
            )
            for parent, child, q in transforms
        ]
    )


def pitch(degrees: float) -> tuple[float, ...]:
    """Quaternion that tilts the nose down: a rotation about y, which points left."""
    half = np.radians(degrees) / 2
    return (0.0, float(np.sin(half)), 0.0, float(np.cos(half)))


def test_a_level_camera_has_gravity_along_y() -> None:
    tree = TransformTree()
    tree.add(message(("base_link", "optical", OPTICAL)))
    np.testing.assert_allclose(tree.down("optical", "base_link"), [0, 1, 0], atol=1e-7)
    np.testing.assert_allclose(tree.down("base_link", "base_link"), [0, 0, -1], atol=1e-7)


def test_a_camera_that_looks_down_has_gravity_partly_ahead() -> None:
    tree = TransformTree()
    tree.add(message(("mast", "head", pitch(30)), ("head", "optical", OPTICAL)))
    tree.add(message(("odom", "base_link", pitch(0)), ("/base_link", "/mast", (0, 0, 0.6, 0.8))))
    expected = [0, np.cos(np.pi / 6), np.sin(np.pi / 6)]
    for level in ("base_link", "odom", "/odom"):
        np.testing.assert_allclose(tree.down("optical", level), expected, atol=1e-7)
    tree.add(message(("mast", "head", pitch(0))))  # the newest transform wins
    np.testing.assert_allclose(tree.down("/optical", "odom"), [0, 1, 0], atol=1e-7)


def test_the_level_frame_may_be_on_another_branch() -> None:
    tree = TransformTree()
    tree.add(message(("root", "optical", OPTICAL), ("root", "imu", pitch(90))))
    np.testing.assert_allclose(tree.down("optical", "imu"), [0, 0, -1], atol=1e-7)


def test_gravity_is_unknown_without_connecting_transforms() -> None:
    tree = TransformTree()
    assert tree.down("optical", "base_link") is None
    tree.add(message(("a", "optical", OPTICAL), ("b", "base_link", OPTICAL)))
    assert tree.down("optical", "base_link") is None
    tree.add(message(("optical", "a", OPTICAL)))  # a loop
    assert tree.down("optical", "base_link") is None
    tree.add(message(("base_link", "camera", (0.0, 0.0, 0.0, 0.0))))  # not a rotation
    assert tree.down("camera", "base_link") is None


def test_rotation_matrix_by_hand() -> None:
    quarter = rotation_matrix(0, 0, 2.0, 2.0)  # 90° about z, not normalized
    assert quarter is not None
    np.testing.assert_allclose(quarter @ [1, 0, 0], [0, 1, 0], atol=1e-12)
    assert rotation_matrix(float("nan"), 0, 0, 1) is None


def down(degrees: float) -> np.ndarray:
    angle = np.radians(degrees)
    return np.array([0, np.cos(angle), np.sin(angle)], np.float32)


def test_transforms_take_precedence_and_are_not_smoothed() -> None:
    lines: list[str] = []
    gravity = Gravity("base_link", lines.append)

    def never() -> np.ndarray:
        raise AssertionError("estimated although transforms are known")

    np.testing.assert_array_equal(gravity("optical", 0, lambda: down(9)), down(9))
    gravity.tree.add(message(("base_link", "optical", OPTICAL)))
    for stamp_ns in range(3):
        np.testing.assert_allclose(gravity("optical", stamp_ns, never), [0, 1, 0], atol=1e-7)
    assert len(lines) == 2
    assert (
        "estimated from depth, because no transforms connect this frame to base_link" in lines[0]
    )
    assert "gravity from the transforms to base_link" in lines[1]


def test_without_a_level_frame_gravity_is_always_estimated() -> None:
    gravity = Gravity("")
    gravity.tree.add(message(("", "optical", OPTICAL)))
    np.testing.assert_array_equal(gravity("optical", 0, lambda: down(4)), down(4))


def test_estimates_are_smoothed_over_time() -> None:
    gravity = Gravity("")
    gravity("optical", 0, lambda: down(0))
    half_way = gravity("optical", 500_000_000, lambda: down(10))  # one time constant
    angle = np.degrees(np.arctan2(half_way[2], half_way[1]))
    assert angle == pytest.approx(10 * (1 - np.exp(-1)), abs=0.1)
    assert np.linalg.norm(half_way) == pytest.approx(1)
    same = gravity("optical", 500_000_000, lambda: down(80))  # no time, no change
    np.testing.assert_allclose(same, half_way, atol=1e-6)


@pytest.mark.parametrize(
    ("camera", "stamp_ns"), [("other", 1), ("optical", -1), ("optical", LATER_NS)]
)
def test_smoothing_restarts(camera: str, stamp_ns: int) -> None:
    gravity = Gravity("")
    gravity("optical", 0, lambda: down(0))
    np.testing.assert_array_equal(gravity(camera, stamp_ns, lambda: down(30)), down(30))


def test_opposite_estimates_do_not_cancel_out() -> None:
    gravity = Gravity("")
    gravity("optical", 0, lambda: down(0))
    found = gravity("optical", round(0.5e9 * np.log(2)), lambda: down(180))
    assert np.linalg.norm(found) == pytest.approx(1)


def test_invented_frames_do_not_fill_the_memory_and_no_current_or_static_frame_is_lost() -> None:
    tree = TransformTree()
    tree.add(message(("mast", "optical", OPTICAL)), static=True)
    for number in range(3 * MAX_FRAMES):
        tree.add(message(("map", f"marker_{number}", OPTICAL)))
        if number % 1000 == 0:
            tree.add(message(("base_link", "mast", pitch(0))))
    np.testing.assert_allclose(tree.down("optical", "base_link"), [0, 1, 0], atol=1e-7)
    assert tree.down(f"marker_{3 * MAX_FRAMES - 1}", "map") is not None
    assert tree.down(f"marker_{2 * MAX_FRAMES - 1}", "map") is None  # the oldest are dropped
    tree.add(message(("map", "n" * (MAX_NAME + 1), OPTICAL)))
    assert tree.down("n" * (MAX_NAME + 1), "map") is None


def test_a_frame_is_moving_or_static_as_it_was_last_sent() -> None:
    tree = TransformTree()
    for static, degrees in ((True, 90), (False, 0), (True, 90)):
        tree.add(message(("base_link", "imu", pitch(degrees))), static=static)
        expected = [1, 0, 0] if degrees else [0, 0, -1]
        np.testing.assert_allclose(tree.down("imu", "base_link"), expected, atol=1e-7)
