# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The procedural rooms: reproducibility, exactness, sensor models, completeness, drives."""

from __future__ import annotations

import hashlib
import itertools
import subprocess
import sys
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from rgbd_seg_ros.frames import Intrinsics
from training.data.synthetic import raycast
from training.data.synthetic.materials import PATTERNS, Material
from training.data.synthetic.primitives import (
    BOX,
    CEILING,
    CLASS,
    CONE,
    ELLIPSOID,
    FIRST_WALL,
    FLOOR,
    RECT,
    Footprint,
    SceneParts,
    inside_room,
    overlap,
)
from training.data.synthetic.raycast import Pose
from training.data.synthetic.renderer import (
    SPLIT_NUMBERS,
    RoomSample,
    RoomViews,
    _generator,
    render_drive,
)
from training.data.synthetic.scenes import Scene, build_scene
from training.data.synthetic.sensors import ColorCamera, DepthSensor, smooth_noise
from training.data.synthetic.walls import WALL_YAW

ROOT = Path(__file__).resolve().parents[4]
SMALL = (48, 64)
CAMERA = Intrinsics(60.0, 60.0, 39.5, 29.5, 80, 60)
ROOM = (5.0, 4.0, 2.5)


def digest(sample: RoomSample) -> str:
    arrays = (sample.rgb, sample.depth_mm, sample.labels, sample.depth_true_m)
    return hashlib.sha256(b"".join(a.tobytes() for a in arrays)).hexdigest()


@cache
def views() -> tuple[RoomSample, ...]:
    rooms = RoomViews(SMALL, seed=3)
    return tuple(rooms[i] for i in range(60))


def world_points(sample: RoomSample) -> np.ndarray:
    """H×W×3 world coordinates of the true depth."""
    k = sample.intrinsics
    v, u = np.mgrid[: k.height, : k.width]
    z = sample.depth_true_m.astype(np.float64)
    camera = np.stack([(u - k.cx) / k.fx * z, (v - k.cy) / k.fy * z, z], axis=-1)
    pose = sample.world_from_camera
    return camera @ pose[:3, :3].T + pose[:3, 3]


def empty_room() -> SceneParts:
    """The six faces of ROOM."""
    parts = SceneParts()
    parts.add_material(Material((0.5,) * 3, (0.4,) * 3, (0.3,) * 3))
    w, d, h = ROOM
    parts.add(RECT, (w / 2, d / 2, 0), (w / 2, d / 2, 0), 0, "floor", 0, -1, FLOOR)
    parts.add(RECT, (w / 2, d / 2, h), (w / 2, d / 2, 0), 0, "ceiling", 0, -1, CEILING)
    at = ((w / 2, 0), (w, d / 2), (w / 2, d), (0, d / 2))
    for i, (x, y) in enumerate(at):
        half = (ROOM[i % 2] / 2, 0, h / 2)
        parts.add(RECT, (x, y, h / 2), half, WALL_YAW[i], "wall", 0, -1, FIRST_WALL + i)
    return parts


def cast(parts: SceneParts, pose: Pose) -> tuple[np.ndarray, np.ndarray]:
    depth, index, _ = raycast.cast(parts.primitives(), ROOM, pose, CAMERA)
    return depth, index


# --- reproducible


def test_a_sample_depends_on_seed_split_and_index_alone() -> None:
    first, second = RoomViews(SMALL, seed=3), RoomViews(SMALL, seed=3)
    forward = [digest(first[i]) for i in (0, 7, 31)]
    assert [digest(second[i]) for i in (31, 7, 0)] == forward[::-1]
    others = [RoomViews(SMALL, seed=4)[7]] + [
        RoomViews(SMALL, seed=3, split=s)[7] for s in ("val", "test")
    ]
    assert len({digest(s) for s in others} | set(forward)) == 6


def test_another_process_renders_the_same_bytes() -> None:
    code = (
        "from training.data.synthetic.renderer import RoomViews as S; import hashlib;"
        f"s = S({SMALL}, seed=3)[7];"
        "print(hashlib.sha256(b''.join(a.tobytes() for a in "
        "(s.rgb, s.depth_mm, s.labels, s.depth_true_m))).hexdigest())"
    )
    output = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout.strip()
    assert output == digest(RoomViews(SMALL, seed=3)[7])


def test_splits_share_no_room() -> None:
    rooms = set()
    for split, seed, index in itertools.product(SPLIT_NUMBERS, range(3), range(3)):
        rooms.add(build_scene(_generator(seed, split, index)).room_m)
    assert len(rooms) == len(SPLIT_NUMBERS) * 9


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"split": "training"}, "known: train, val, test"),
        ({"seed": -1}, "seed must be 0 or more"),
        ({"size": (0, 64)}, "at least 8"),
    ],
)
def test_bad_arguments_are_refused(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RoomViews(**{"size": SMALL, **arguments})


def test_a_negative_index_is_refused() -> None:
    with pytest.raises(ValueError, match="non-negative"):
        RoomViews(SMALL)[-1]


# --- exact


def test_the_depth_of_an_empty_room_is_where_rays_meet_planes() -> None:
    pose = Pose.looking((2.0, 1.5, 0.9), 0.7, -0.3, 0.1)
    depth, index = cast(empty_room(), pose)
    v, u = np.mgrid[:60, :80]
    rays = np.stack([(u - 39.5) / 60, (v - 29.5) / 60, np.ones_like(u)], axis=-1) @ pose.rotation.T
    planes = [(2, 0.0), (2, ROOM[2]), (1, 0.0), (0, ROOM[0]), (1, ROOM[1]), (0, 0.0)]
    assert {FLOOR, FIRST_WALL + 1} <= set(np.unique(index).tolist())
    for face, (axis, at) in enumerate(planes):
        here = index == face
        expected = (at - pose.position[axis]) / rays[here][:, axis]
        np.testing.assert_allclose(depth[here], expected, rtol=1e-5)


@pytest.mark.parametrize("kind", [BOX, ELLIPSOID, CONE])
def test_solids_lie_on_their_surface(kind: int) -> None:
    parts, half, yaw = empty_room(), (0.4, 0.3, 0.5), 0.6
    parts.add(kind, (3.0, 2.0, 0.6), half, yaw, "box", 0)
    pose = Pose.looking((0.8, 1.2, 1.3), 0.35, -0.3, 0.05)
    depth, index = cast(parts, pose)
    v, u = np.nonzero(index == 6)
    assert len(v) > 100
    z = depth[v, u].astype(np.float64)
    camera = np.stack([(u - 39.5) / 60 * z, (v - 29.5) / 60 * z, z], axis=-1)
    local = camera @ pose.rotation.T + pose.position - (3.0, 2.0, 0.6)
    c, s = np.cos(yaw), np.sin(yaw)
    x, y, h = c * local[:, 0] + s * local[:, 1], c * local[:, 1] - s * local[:, 0], local[:, 2]
    if kind == BOX:
        reach = np.max(np.abs(np.stack([x, y, h], 1)) / half, axis=1)
    elif kind == ELLIPSOID:
        reach = np.sqrt((np.stack([x, y, h], 1) ** 2 / np.square(half)).sum(axis=1))
    else:
        radius = 0.35 + (0.3 - 0.4) / (2 * 0.5) * h
        reach = np.maximum(np.hypot(x, y) / radius, np.abs(h) / 0.5)
    np.testing.assert_allclose(reach, 1, atol=1e-4)


def test_the_pixel_rectangles_cut_nothing_off() -> None:
    """Testing each solid on the whole image gives the same result."""
    for seed in range(6):
        rng = np.random.default_rng(seed)
        scene = build_scene(rng)
        w, d, _ = scene.room_m
        pose = Pose.looking((0.5 * w, 0.5 * d, 1.9), rng.uniform(0, 6), -0.2, 0.05)
        culled = raycast.cast(scene.primitives, scene.room_m, pose, CAMERA)
        whole = np.tile(np.array([0, 60, 0, 80], np.int32), (len(scene.primitives.kind), 1))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(raycast, "pixel_windows", lambda *_, w=whole: w)
            full = raycast.cast(scene.primitives, scene.room_m, pose, CAMERA)
        np.testing.assert_array_equal(culled[0], full[0])
        np.testing.assert_array_equal(culled[1], full[1])


def test_a_ray_along_a_face_hits_the_box_ahead() -> None:
    parts = empty_room()
    parts.add(BOX, (3.0, 2.0, 1.0), (0.3, 0.3, 0.3), 0.0, "box", 0)
    camera = Intrinsics(
        60.0, 60.0, 40.0, 30.0, 80, 60
    )  # two components of the middle ray are zero
    pose = Pose(np.array([1.0, 2.0, 1.0]), np.array([[0.0, 0, 1], [-1, 0, 0], [0, -1, 0]]))
    depth, index, _ = raycast.cast(parts.primitives(), ROOM, pose, camera)
    assert index[30, 40] == 6
    assert depth[30, 40] == pytest.approx(1.7)
    assert np.isfinite(depth).all()


def test_labels_agree_with_geometry() -> None:
    """Rugs have the depth of the floor, and pictures and doors that of their wall."""
    seen = dict.fromkeys(("floor", "rug", "ceiling", "picture", "door"), 0)
    for index, sample in enumerate(views()):
        room = build_scene(_generator(3, "train", index)).room_m
        points = world_points(sample)
        for name in seen:
            p = points[sample.labels == CLASS[name]]
            seen[name] += len(p)
            if name in ("floor", "rug"):
                off = np.abs(p[:, 2])
            elif name == "ceiling":
                off = np.abs(room[2] - p[:, 2])
            else:
                off = np.minimum(np.abs(p[:, :2]), np.abs(room[:2] - p[:, :2])).min(axis=1)
            assert off.max(initial=0) < 2e-3
        assert (points > -2e-3).all()
        assert (points < np.array(room) + 2e-3).all()
    assert min(seen.values()) > 500


def test_gravity_points_down() -> None:
    level = Pose.looking((1, 1, 1), 2.0)
    np.testing.assert_allclose(level.gravity, (0, 1, 0), atol=1e-7)
    up = Pose.looking((1, 1, 1), 2.0, pitch=np.pi / 2 - 1e-9)
    np.testing.assert_allclose(up.gravity, (0, 0, -1), atol=1e-6)
    for sample in views()[:10]:
        rotation = sample.world_from_camera[:3, :3]
        np.testing.assert_allclose(rotation @ sample.gravity, (0, 0, -1), atol=1e-6)
        np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-9)
        assert np.linalg.det(rotation) == pytest.approx(1)
        assert sample.gravity[1] > 0.6  # indoor robots are roughly upright


# --- sensors


def _wall(depth_m: float, **changes: float) -> np.ndarray:
    """Measured depth in millimeters of a bright wall ``depth_m`` away."""
    clean = DepthSensor(speckle=0.0, fattening=0.0, threshold=0.0, max_m=12.0)
    sensor = replace(clean, **changes)
    flat = np.full((120, 160), depth_m, np.float32)
    one = np.ones_like(flat)
    return sensor.measure(flat, one, one, flat < 0, 150.0, np.random.default_rng(1))


def test_depth_noise_grows_with_the_square_of_depth() -> None:
    for depth_m in (1.0, 2.0, 4.0):
        noise_m = _wall(depth_m).astype(float).std() / 1000
        assert noise_m == pytest.approx(0.002 * depth_m**2, rel=0.15)


def test_depth_is_quantized_to_steps_of_disparity() -> None:
    measured = _wall(4.0, disparity_step=0.01)
    assert measured.dtype == np.uint16
    assert set(np.unique(measured)) <= {round(100_000 / k) for k in range(20, 31)}


@pytest.mark.parametrize("changes", [{"min_m": 5.0}, {"max_m": 3.0}, {"threshold": 1.0}])
def test_out_of_range_and_weak_returns_are_invalid(changes: dict[str, float]) -> None:
    assert not _wall(4.0, **changes).any()


def test_dark_and_grazing_surfaces_are_lost_first() -> None:
    z = np.full((120, 160), 3.0, np.float32)
    bright, sensor = np.ones_like(z), DepthSensor(threshold=0.01, speckle=0.0)

    def valid(infrared: np.ndarray, facing: np.ndarray) -> float:
        rng = np.random.default_rng(2)
        return float((sensor.measure(z, infrared, facing, z < 0, 150.0, rng) > 0).mean())

    assert valid(bright, bright) > 0.99
    assert valid(0.05 * bright, bright) < 0.5
    assert valid(bright, 0.1 * bright) < 0.5


@pytest.mark.parametrize("side", [1, -1])
def test_a_near_object_occludes_depth_on_one_side(side: int) -> None:
    z = np.full((20, 160), 4.0, np.float32)
    z[:, 40:70] = 1.0
    sensor = DepthSensor(baseline_m=side * 0.05, speckle=0, fattening=0, threshold=0)
    one = np.ones_like(z)
    lost = (sensor.measure(z, one, one, z < 0, 150.0, np.random.default_rng(0)) == 0).all(axis=0)
    width = round(0.05 * 150 * (1 / 1.0 - 1 / 4.0))  # difference of the disparities in pixels
    left, right = int(lost[:40].sum()), int(lost[70:].sum())
    beside = lost[40 - width + 1 : 40] if side > 0 else lost[70 : 70 + width - 1]
    assert beside.all()
    assert not lost[40:70].any()
    assert (left, right) in ([(w, 0)[::side] for w in (width - 1, width, width + 1)])


def test_glass_has_no_depth_of_its_own() -> None:
    z = np.full((120, 160), 3.0, np.float32)
    one = np.ones_like(z)
    measured = DepthSensor(threshold=0.0).measure(
        z, one, one, z > 0, 150.0, np.random.default_rng(0)
    )
    assert (measured == 0).mean() > 0.5
    assert (measured[measured > 0] > 3500).all()


def test_measured_depth_is_close_to_the_exact_depth_with_holes() -> None:
    lost, error = [], []
    for sample in views():
        valid = (sample.depth_mm > 0) & (sample.labels != CLASS["window"])
        lost.append((sample.depth_mm == 0).mean())
        error.append(np.median(np.abs(sample.depth_mm[valid] / 1000 - sample.depth_true_m[valid])))
        assert sample.depth_mm.max() <= 10_000
    assert 0.02 < np.mean(lost) < 0.3
    assert 0.001 < np.mean(error) < 0.03


def test_color_camera_exposes_and_clips() -> None:
    light = np.full((30, 40, 3), 0.1, np.float32)
    camera = ColorCamera(vignetting=0.0, softness=0.0)
    gain = camera.automatic_gain(light)
    rng = np.random.default_rng(0)
    values = [
        replace(camera, exposure_ev=ev).expose(light, gain, rng).mean() for ev in (-6, -2, 0, 4)
    ]
    assert values == sorted(values)
    assert values[0] < 30
    assert values[2] == pytest.approx(255 * 0.2 ** (1 / 2.2), rel=0.03)
    assert values[3] == 255


def test_exposures_vary_and_most_images_are_usable() -> None:
    means = [float(s.rgb.mean()) for s in views()]
    usable = np.mean([(40 < m < 225) for m in means])
    assert usable > 0.7
    assert min(means) < 40
    assert max(means) > 160


def test_noise_of_any_size_has_unit_std() -> None:
    rng = np.random.default_rng(0)
    for size_px in (1.0, 2.5, 5.0):
        assert smooth_noise(rng, (200, 300), size_px).std() == pytest.approx(1, abs=0.06)


# --- complete


def test_every_class_appears_and_none_dominates() -> None:
    pixels = sum(np.bincount(s.labels.ravel(), minlength=16) for s in views())
    share = pixels / pixels.sum()
    assert len(share) == len(CLASS) == 16
    assert share.min() > 0.005
    assert share.max() < 0.35


def test_arrays_have_the_documented_types_and_ranges() -> None:
    for sample in views():
        assert sample.rgb.shape == (*SMALL, 3)
        assert sample.rgb.dtype == np.uint8
        assert sample.depth_mm.dtype == np.uint16
        assert sample.labels.dtype == np.uint8
        assert sample.depth_true_m.dtype == np.float32
        assert np.isfinite(sample.depth_true_m).all()
        # The camera is never inside an object, nor right in front of one.
        assert sample.depth_true_m.min() > 0.2
        k = sample.intrinsics
        assert 54 < 2 * np.degrees(np.arctan(k.width / 2 / k.fx)) < 88
        assert 0.2 <= sample.world_from_camera[2, 3] <= 1.6


def test_every_pattern_and_shape_is_used() -> None:
    patterns, kinds = set(), set()
    for seed in range(60):
        scene = build_scene(np.random.default_rng(seed))
        patterns |= {m.pattern for m in scene.materials}
        kinds |= set(scene.primitives.kind.tolist())
    assert patterns == set(PATTERNS)
    assert kinds == {RECT, BOX, ELLIPSOID, CONE}


def test_furniture_does_not_overlap() -> None:
    for seed in range(20):
        scene = build_scene(np.random.default_rng(seed))
        for a, b in itertools.combinations(scene.footprints, 2):
            # Details extend up to 6 cm beyond the space that was kept free.
            shrunk = [replace(f, half_x=f.half_x - 0.07, half_y=f.half_y - 0.07) for f in (a, b)]
            assert not overlap(*shrunk)


def test_overlap_and_inside() -> None:
    a = Footprint(0, 0, 1, 1, 0, 0, 1, 0)
    assert overlap(a, replace(a, x=1.9))
    assert not overlap(a, replace(a, x=2.1))
    assert overlap(a, replace(a, x=2.1), margin_m=0.2)
    turned = replace(a, x=2.1, y=2.1, yaw=np.pi / 4)  # its corners miss, its bounding box does not
    assert not overlap(a, turned)
    assert overlap(a, replace(turned, x=1.6, y=1.6))
    assert inside_room(replace(a, x=1.1, y=1.1), 2.2, 2.2)
    assert not inside_room(replace(a, x=1.1, y=1.1, yaw=np.pi / 4), 2.2, 2.2)


# --- drives


@cache
def drives() -> tuple[tuple[Scene, tuple[RoomSample, ...]], ...]:
    """Three drives, each with its room."""
    found = []
    for seed in range(3):
        rooms: list[Scene] = []
        with pytest.MonkeyPatch.context() as patch:
            from training.data.synthetic import renderer

            original = renderer._roomiest

            def keep(scenes: list[Scene], pick=original, rooms=rooms) -> Scene:
                rooms.append(pick(scenes))
                return rooms[-1]

            patch.setattr(renderer, "_roomiest", keep)
            found.append((tuple(render_drive(seed, 120, (12, 16), 5.0)), rooms[0]))
    return tuple((scene, samples) for samples, scene in found)


def test_a_drive_is_smooth_and_moves_through_the_room() -> None:
    for _, samples in drives():
        poses = np.array([s.world_from_camera for s in samples])
        steps = np.linalg.norm(np.diff(poses[:, :3, 3], axis=0), axis=1)
        assert steps.max() < 0.4 / 5
        assert steps.sum() > 2.0
        ahead = poses[:, :3, 2]
        turns = np.degrees(np.arccos(np.clip((ahead[1:] * ahead[:-1]).sum(axis=1), -1, 1)))
        assert turns.max() < 55 / 5
        assert turns.sum() > 60


def test_a_drive_keeps_clear_of_everything() -> None:
    for scene, samples in drives():
        at = np.array([s.world_from_camera[:2, 3] for s in samples])
        assert scene.clearance_m(at).min() > 0.2
        assert min(s.depth_true_m.min() for s in samples) > 0.15


def test_a_drive_has_stamps_and_begins_alike_at_any_length() -> None:
    _, samples = drives()[0]
    assert [s.stamp_ns for s in samples[:3]] == [0, 200_000_000, 400_000_000]
    short = list(render_drive(0, 10, (12, 16), 5.0))
    assert [digest(s) for s in short] == [digest(s) for s in samples[:10]]


def test_bad_drives_are_refused() -> None:
    with pytest.raises(ValueError, match="num_frames ≥ 1"):
        next(render_drive(0, 0))
