# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Path tracer: exact depth and classes, views equal in any order, and a Mitsuba that fails."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from rgbd_seg_ros.frames import Intrinsics
from training.data.rooms import mitsuba_setup
from training.data.rooms.mitsuba_setup import check_mitsuba, find_llvm
from training.data.synthetic.primitives import CLASS
from training.data.synthetic.raycast import Pose, cast
from training.options import UsageError


@pytest.fixture(scope="module")
def traced():
    """Two views of a room of simple shapes, with Mitsuba's modules."""
    pytest.importorskip("mitsuba")
    pytest.importorskip("trimesh")
    try:
        check_mitsuba()
    except UsageError as error:
        pytest.skip(str(error))
    from training.data.rooms.furnished_views import FurnishedViews

    views = FurnishedViews((24, 32), 4, None, samples=1, views=2, threads=1)
    return views, [views[0], views[1]]


def test_views_do_not_depend_on_their_order(traced) -> None:
    views, before = traced
    views[2]  # another room
    for index in (1, 0):
        again = views[index]
        np.testing.assert_array_equal(again.rgb, before[index].rgb)
        np.testing.assert_array_equal(again.depth_mm, before[index].depth_mm)
        np.testing.assert_array_equal(again.labels, before[index].labels)
    assert (before[0].rgb != before[1].rgb).any()


def test_depth_and_classes_are_those_of_the_ray_caster(traced) -> None:
    """Furniture of simple shapes is in both renderers; only the walls' holes are not."""
    views, _ = traced
    room, loaded = views.room(0)
    k = Intrinsics(30, 30, 23.5, 17.5, 48, 36)
    prims = room.layout.primitives
    shared = 0
    for yaw in np.arange(4) * np.pi / 2:
        pose = Pose.looking((room.room_m[0] / 2, room.room_m[1] / 2, 1.6), float(yaw), -0.3)
        depth, labels = loaded.probe(pose, k)
        expected, index, _ = cast(prims, room.room_m, pose, k)
        classes = prims.label[index]
        both = (labels == CLASS["floor"]) & (classes == CLASS["floor"])
        np.testing.assert_allclose(depth[both], expected[both], rtol=1e-4)
        shared += int(both.sum())
        solid = np.isin(classes, [CLASS[c] for c in ("table", "chair", "sofa", "bed", "cabinet")])
        solid &= labels == classes
        np.testing.assert_allclose(depth[solid], expected[solid], rtol=0.02)
    assert shared > 200


def test_gravity_points_to_the_floor(traced) -> None:
    for view in traced[1]:
        down = view.world_from_camera[:3, :3] @ view.gravity
        np.testing.assert_allclose(down, (0, 0, -1), atol=1e-6)
        assert view.labels.shape == view.depth_mm.shape == (24, 32)


def test_a_library_that_the_variable_names_must_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DRJIT_LIBLLVM_PATH", "/absent/libLLVM.so")
    with pytest.raises(UsageError, match=r"/absent/libLLVM\.so, which is not a file.*libllvm19"):
        find_llvm()


def test_without_a_known_llvm_the_package_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DRJIT_LIBLLVM_PATH", raising=False)
    monkeypatch.setattr(mitsuba_setup, "LLVM_FOLDERS", (str(tmp_path),))
    (tmp_path / "libLLVM-14.so").touch()
    with pytest.raises(UsageError, match=r"LLVM 18, 19 or 20: install .*libllvm19"):
        find_llvm()
    (tmp_path / "libLLVM-19.so").touch()
    assert find_llvm() == tmp_path / "libLLVM-19.so"


def test_an_llvm_that_does_not_load_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("mitsuba")
    broken = tmp_path / "libLLVM.so"
    broken.write_text("not a library")
    monkeypatch.setenv("DRJIT_LIBLLVM_PATH", str(broken))
    with pytest.raises(UsageError, match=r"cannot use LLVM .*libllvm19") as error:
        check_mitsuba()
    assert "\n" not in str(error.value)


def test_without_mitsuba_its_install_command_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.util

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"pip install mitsuba"):
        check_mitsuba()
