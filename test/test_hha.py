# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""HHA: equal to a float64 reference, correct on known planes, ready for CUDA graphs."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from rigs.no_waiting import NoWaiting

from rgbd_seg_ros.depth import hha, to_meters
from rgbd_seg_ros.hha import ROUNDS, estimate_gravity, least_eigenvector
from training.data.synthetic.renderer import RoomViews

FRAMES = Path(__file__).resolve().parents[2] / "shared" / "data" / "frames"
K = np.array([[200.0, 0, 80], [0, 190.0, 62], [0, 0, 1]])
SIZE = (120, 160)
DOWN = np.array([0.0, 1.0, 0.0])


# --- The reference: every formula as published, in float64 -------------------------------------


def box(f: np.ndarray, radius: int) -> np.ndarray:
    """Sums over (2·radius+1)² windows, with zeros outside the image."""
    c = np.pad(f, ((radius + 1, radius), (radius + 1, radius))).cumsum(0).cumsum(1)
    k = 2 * radius + 1
    return c[k:, k:] - c[:-k, k:] - c[k:, :-k] + c[:-k, :-k]


def literal_normals(z: np.ndarray, k: np.ndarray, radius: int) -> np.ndarray:
    """H×W×3: least-squares fit of N·(X/Z, Y/Z, 1) = 1/Z by nine products; NaN if singular."""
    valid = np.isfinite(z)
    v, u = np.indices(z.shape)
    rows = np.stack([(u - k[0, 2]) / k[0, 0], (v - k[1, 2]) / k[1, 1], np.ones(z.shape)], -1)
    inverse = np.where(valid, 1 / np.where(valid, z, 1), 0)
    a = np.empty((*z.shape, 3, 3))
    b = np.empty((*z.shape, 3, 1))
    for i in range(3):
        b[..., i, 0] = box(rows[..., i] * inverse, radius)
        for j in range(3):
            a[..., i, j] = box(rows[..., i] * rows[..., j] * valid, radius)
    fine = np.abs(np.linalg.det(a)) > 1e-15
    n = np.full((*z.shape, 3), np.nan)
    n[fine] = np.linalg.solve(a[fine], b[fine])[..., 0]
    away = np.sign((n * rows).sum(-1))
    return n * (away / np.linalg.norm(n, axis=-1))[..., None]


def literal_gravity(z: np.ndarray, k: np.ndarray) -> np.ndarray:
    n = literal_normals(z, k, 10)[np.isfinite(z)]
    n = n[np.isfinite(n).all(1)]
    y = DOWN
    for degrees, rounds in ROUNDS:
        theta = np.radians(degrees)
        for _ in range(rounds):
            floor = n[np.abs(n @ y) > np.cos(theta)]
            wall = n[np.abs(n @ y) < np.sin(theta)]
            vector = np.linalg.eigh(wall.T @ wall - floor.T @ floor)[1][:, 0]
            y = vector * np.sign(vector @ y)
    return y


def literal_hha(
    z: np.ndarray, k: np.ndarray, gravity: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """3×H×W before rounding, and the mask of pixels where all channels are defined."""
    z, k = z.astype(np.float64), k.astype(np.float64)
    y = literal_gravity(z, k) if gravity is None else gravity.astype(np.float64)
    n = literal_normals(z, k, 3)
    v, u = np.indices(z.shape)
    points = np.stack([(u - k[0, 2]) / k[0, 0] * z, (v - k[1, 2]) / k[1, 1] * z, z], -1)
    up = -(points @ y)
    lowest = np.nanmin(up)
    height = up - (lowest if lowest <= -0.9 else -1.3)
    angle = np.degrees(np.arccos(np.clip(n @ y, -1, 1)))
    levels = np.stack([31000 / np.maximum(100 * z, 100), 100 * height, angle + 38])
    return levels, np.isfinite(levels).all(0)


def ours(z: np.ndarray, k: np.ndarray, gravity: np.ndarray | None = None, **options: str):  # type: ignore[no-untyped-def]
    depth, intrinsics = torch.from_numpy(z)[None, None], torch.from_numpy(k).float()[None]
    down = None if gravity is None else torch.from_numpy(gravity).float()[None]
    return hha(depth, intrinsics, down, **options)[0].numpy()


def check_against_literal(z: np.ndarray, k: np.ndarray, gravity: np.ndarray | None) -> None:
    """Disparity within 1 level, height within 1 cm, angle within 1°, on ≥ 99 % of the pixels."""
    levels, defined = literal_hha(z, k, gravity)
    assert defined.mean() > 0.5
    off = np.abs(ours(z, k, gravity) - np.clip(levels, 0, 255))[:, defined]
    # Our values are integers, so rounding alone can cause an error of 0.5.
    assert ((off <= 1.0).mean(axis=1) >= 0.99).all(), np.percentile(off, 99, axis=1)


@pytest.mark.parametrize("known", [True, False], ids=["gravity given", "gravity estimated"])
@pytest.mark.parametrize(
    ("index", "size"), [(0, SIZE), (5, SIZE), (1, (240, 320)), (3, (97, 131))]
)
def test_synthetic_rooms_agree_with_the_literal_version(
    index: int, size: tuple[int, int], known: bool
) -> None:
    room = RoomViews(size, split="val")[index]
    gravity = room.gravity if known else None
    check_against_literal(to_meters(room.depth_mm), room.intrinsics.matrix(), gravity)


@pytest.mark.skipif(not FRAMES.is_dir(), reason=f"no recordings in {FRAMES}")
@pytest.mark.parametrize("known", [True, False], ids=["gravity given", "gravity estimated"])
@pytest.mark.parametrize("name", [*(f"realsense_boxes/depth/{i:06d}" for i in (0, 9)),
                                  "kinect2_office/sample_depth"])  # fmt: skip
def test_real_frames_agree_with_the_literal_version(name: str, known: bool) -> None:
    z = to_meters(cv2.imread(str(FRAMES / f"{name}.png"), cv2.IMREAD_UNCHANGED))
    if name.startswith("realsense"):
        camera = json.loads((FRAMES / "realsense_boxes/cam_params_realsense.json").read_text())
        k = np.array(camera["intrinsic_matrix"]).reshape(3, 3).T
    else:  # the recording has no intrinsics; use those of a typical Kinect v2
        k = np.array([[1060.0, 0, z.shape[1] / 2], [0, 1060.0, z.shape[0] / 2], [0, 0, 1]])
    check_against_literal(z, k, np.array([0.1, 0.95, 0.3]) / 1.0013 if known else None)


# --- Known planes ------------------------------------------------------------------------------


def plane(normal: np.ndarray, distance_m: float, far_m: float = 8.0) -> np.ndarray:
    """Depth of the plane normal·P = distance; NaN beyond ``far_m`` and behind the camera."""
    v, u = np.indices(SIZE)
    rays = np.stack([(u - K[0, 2]) / K[0, 0], (v - K[1, 2]) / K[1, 1], np.ones(SIZE)], -1)
    facing = rays @ normal
    z = np.where(facing > 1e-6, distance_m / np.maximum(facing, 1e-6), np.nan)
    return np.where(z < far_m, z, np.nan).astype(np.float32)


def tilted(degrees: float) -> np.ndarray:
    """Gravity in the frame of a camera that is tilted down by ``degrees``."""
    tilt = np.radians(degrees)
    return np.array([0.0, np.cos(tilt), np.sin(tilt)])


@pytest.mark.parametrize("degrees", [0.0, 5.0, -4.0])
def test_angle_is_38_on_floors_128_on_walls_218_on_ceilings(degrees: float) -> None:
    down = tilted(degrees)
    forward = np.array([0.0, -down[2], down[1]])
    inner = (slice(4, -4), slice(4, -4))
    for normal, distance_m, level in ((down, 1.1, 38), (forward, 3.0, 128), (-down, 1.4, 218)):
        z = plane(normal, distance_m)
        disparity, height, angle = (c[inner][np.isfinite(z[inner])] for c in ours(z, K, down))
        assert angle.size > 500
        assert set(np.unique(angle)) == {level}
        z = z[inner][np.isfinite(z[inner])]
        np.testing.assert_array_equal(disparity, np.round(310 / np.maximum(z, 1)).clip(0, 255))
        if level == 38:
            assert set(np.unique(height)) == {0}  # the visible floor is the lowest surface
        if level == 218:
            assert set(np.unique(height)) == {255}  # 1.30 m + 1.40 m exceeds 255 cm


def test_an_invisible_floor_is_assumed_130_cm_below() -> None:
    z = plane(np.array([0.0, 0.0, 1.0]), 1.0)
    v = np.arange(SIZE[0])
    expected = np.round(130 - 100 * (v - K[1, 2]) / K[1, 1])
    np.testing.assert_allclose(
        ours(z, K, DOWN)[1], np.tile(expected[:, None], (1, SIZE[1])), atol=1
    )


def test_gravity_of_a_tilted_corner_is_estimated() -> None:
    for degrees in (0.0, 15.0, 35.0):  # the floor is visible
        down = tilted(degrees)
        ahead = np.array([0.6, -0.8 * down[2], 0.8 * down[1]])
        depths = [plane(down, 1.2, 9.0), plane(ahead, 3.0, 9.0)]
        z = np.fmin(*depths)
        found = estimate_gravity(
            torch.from_numpy(z)[None, None], torch.from_numpy(K).float()[None]
        )
        assert np.degrees(np.arccos(found[0].numpy() @ down)) < 1.0


# --- Shapes, holes, arithmetic -----------------------------------------------------------------


@pytest.fixture(scope="module")
def room() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    sample = RoomViews(SIZE, split="val")[2]
    return to_meters(sample.depth_mm), sample.intrinsics.matrix(), sample.gravity


def test_a_batch_equals_its_images(room: tuple[np.ndarray, ...]) -> None:
    z, k, _ = room
    depth = torch.from_numpy(np.stack([z, z[::-1].copy()]))[:, None]
    both = torch.from_numpy(np.stack([k, K.astype(np.float32)]))
    batch = hha(depth, both)
    assert batch.shape == (2, 3, *SIZE)
    assert batch.dtype == torch.float32
    for i in range(2):
        torch.testing.assert_close(batch[i : i + 1], hha(depth[i : i + 1], both[i : i + 1]))


def test_a_mirrored_room_has_mirrored_hha(room: tuple[np.ndarray, ...]) -> None:
    z, k, gravity = room
    mirrored_k = k.copy()
    mirrored_k[0, 2] = SIZE[1] - 1 - k[0, 2]
    there = ours(z, k, gravity)
    back = ours(z[:, ::-1].copy(), mirrored_k, gravity * np.float32([-1, 1, 1]))[:, :, ::-1]
    assert (np.abs(there - back) <= 1).mean() > 0.999


def test_holes_are_filled_as_in_the_reference_or_by_zero(room: tuple[np.ndarray, ...]) -> None:
    z, k, gravity = room
    hole = ~np.isfinite(z)
    assert hole.any()
    reference, zero = ours(z, k, gravity), ours(z, k, gravity, holes="zero")
    assert (zero[:, hole] == 0).all()
    np.testing.assert_array_equal(reference[:, ~hole], zero[:, ~hole])
    lowest = np.nanmin(-(z * (rays_of(k) @ gravity)))
    own_height = round(100 * (-lowest if lowest <= -0.9 else 1.3))
    for channel, level in zip(reference, (255, min(own_height, 255), 218), strict=True):
        assert (np.abs(channel[hole] - level) <= 1).all()


def rays_of(k: np.ndarray) -> np.ndarray:
    v, u = np.indices(SIZE)
    return np.stack([(u - k[0, 2]) / k[0, 0], (v - k[1, 2]) / k[1, 1], np.ones(SIZE)], -1)


@pytest.mark.parametrize("value", [np.nan, np.inf, 0.0, -1.0])
def test_an_image_without_depth(value: float) -> None:
    z = np.full(SIZE, value, np.float32)
    np.testing.assert_array_equal(ours(z, K)[:, 7, 9], [255, 130, 218])
    assert (ours(z, K, holes="zero") == 0).all()


def test_the_angle_is_128_where_no_plane_can_be_fitted() -> None:
    z = np.full(SIZE, np.nan, np.float32)
    z[50, 60:80] = 2.0  # one line
    z[90, 30] = 2.0
    angle = ours(z, K, DOWN)[2]
    assert set(angle[np.isfinite(z)]) == {128}


@pytest.mark.parametrize("value", [0.0, np.nan, np.inf])
def test_gravity_that_is_not_a_direction_is_replaced(
    value: float, room: tuple[np.ndarray, ...]
) -> None:
    z, k, gravity = room
    depth = torch.from_numpy(np.stack([z, z]))[:, None]
    down = torch.from_numpy(np.stack([np.full(3, value, np.float32), 9.81 * gravity]))
    first, second = hha(depth, torch.from_numpy(k).repeat(2, 1, 1), down).numpy()
    np.testing.assert_array_equal(first, ours(z, k, DOWN))
    np.testing.assert_allclose(
        second, ours(z, k, gravity), atol=1
    )  # the other image is unaffected


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (9, 1), (2, 3), (7, 7), (20, 21)])
@pytest.mark.parametrize("gravity", [None, DOWN], ids=["estimated", "given"])
def test_images_smaller_than_a_window(size: tuple[int, int], gravity: np.ndarray | None) -> None:
    levels = ours(np.full(size, 2.0, np.float32), K, gravity)
    assert levels.shape == (3, *size)
    assert np.isfinite(levels).all()
    assert (levels[0] == 155).all()


def test_autocast_of_the_caller_changes_nothing(room: tuple[np.ndarray, ...]) -> None:
    z, k, _ = room
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = ours(z, k)
    np.testing.assert_array_equal(inside, ours(z, k))


def test_least_eigenvector() -> None:
    rng = np.random.default_rng(0)
    a = rng.normal(size=(200, 3, 3))
    a = a + a.transpose(0, 2, 1)
    near = rng.normal(size=(200, 3))
    near /= np.linalg.norm(near, axis=1, keepdims=True)
    found = least_eigenvector(torch.from_numpy(a), torch.from_numpy(near)).numpy()
    expected = np.linalg.eigh(a)[1][:, :, 0]
    expected *= np.sign((expected * near).sum(1, keepdims=True))
    np.testing.assert_allclose(found, expected, atol=1e-9)
    for nothing in (np.zeros((1, 3, 3)), np.eye(3)[None]):  # no unique direction
        back = least_eigenvector(torch.from_numpy(nothing), torch.from_numpy(near[:1]))
        np.testing.assert_array_equal(back.numpy(), near[:1])


@pytest.mark.parametrize(
    ("shapes", "options", "message"),
    [
        (((1, 8, 8), (1, 3, 3), None), {}, "B×1×H×W"),
        (((2, 1, 8, 8), (1, 3, 3), None), {}, "intrinsics 2×3×3"),
        (((1, 1, 8, 8), (1, 3, 3), (3,)), {}, "gravity must be 1×3"),
        (((1, 1, 8, 8), (1, 3, 3), None), {"holes": "none"}, "known: reference, zero"),
    ],
)
def test_bad_arguments_are_refused(shapes, options, message) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match=message):
        hha(*(None if s is None else torch.ones(s) for s in shapes), **options)


# --- Requirements of CUDA graphs ---------------------------------------------------------------


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("holes", ["reference", "zero"])
def test_no_operation_waits_for_the_device(
    room: tuple[np.ndarray, ...], known: bool, holes: str
) -> None:
    z, k, gravity = (torch.from_numpy(a)[None] for a in room)
    with NoWaiting():
        hha(z[None], k, gravity if known else None, holes)


def test_operations_that_wait_are_detected() -> None:
    x = torch.ones(3)
    for waiting in (lambda: x.sum().item(), lambda: x[x > 0], lambda: torch.tensor([1.0, 2.0])):
        with pytest.raises(AssertionError), NoWaiting():
            waiting()


@pytest.mark.gpu
@pytest.mark.parametrize("known", [True, False])
def test_a_captured_graph_equals_the_cpu(room: tuple[np.ndarray, ...], known: bool) -> None:
    z, k, gravity = (torch.from_numpy(a)[None] for a in room)
    down = gravity if known else None
    inputs = [t if t is None else t.cuda() for t in (z[None] * 0.5, k, down)]
    side = torch.cuda.Stream()
    with torch.cuda.stream(side):
        for _ in range(3):
            hha(*inputs)
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        out = hha(*inputs)
    inputs[0].copy_(z[None])
    graph.replay()
    off = (out.cpu() - hha(z[None], k, down)).abs()
    assert (off <= 1).float().mean() > 0.99
