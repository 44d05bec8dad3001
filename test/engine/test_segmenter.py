# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The engine: which network answers, what it refuses, and what CUDA must keep."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from rgbd_seg_ros.bundle import Bundle
from rgbd_seg_ros.engine import Segmenter
from rgbd_seg_ros.engine.backends import (
    BACKENDS,
    EngineError,
    resolve_backend,
    resolve_device,
)
from rgbd_seg_ros.engine.inputs import decide
from rgbd_seg_ros.frames import Intrinsics

RNG = np.random.default_rng(0)
RGB = RNG.integers(0, 256, (120, 160, 3), dtype=np.uint8)
DEPTH = RNG.uniform(0.5, 5.0, (120, 160)).astype(np.float32)


@pytest.fixture(scope="module")
def segmenter(tiny_bundle: Bundle) -> Segmenter:
    return Segmenter(tiny_bundle, device="cpu")


@pytest.mark.parametrize(
    ("rgb", "depth", "network"), [(RGB, DEPTH, "rgbd"), (RGB, None, "rgb"), (None, DEPTH, "depth")]
)
def test_the_network_that_uses_all_inputs_answers(
    segmenter: Segmenter,
    rgb: np.ndarray | None,
    depth: np.ndarray | None,
    network: str,
) -> None:
    result = segmenter(rgb, depth)
    assert result.network == network
    assert result.labels.shape == result.confidence.shape == (120, 160)
    assert result.labels.dtype == result.confidence.dtype == np.uint8
    assert result.labels.max() < len(segmenter.labels)
    assert set(result.timings_ms) == {"preprocess", "network", "postprocess", "total"}
    np.testing.assert_array_equal(segmenter(rgb, depth).labels, result.labels)


def test_mask_has_the_size_asked_for_and_depth_may_be_smaller(segmenter: Segmenter) -> None:
    assert segmenter(None, DEPTH, size=(240, 320)).labels.shape == (240, 320)
    assert segmenter(RGB, DEPTH[::2, ::2].copy()).labels.shape == (120, 160)


def test_a_forced_network_gets_an_empty_partner(segmenter: Segmenter) -> None:
    nothing = np.full_like(DEPTH, np.nan)
    forced = segmenter(RGB, network="rgbd")
    np.testing.assert_array_equal(forced.labels, segmenter(RGB, nothing).labels)
    black = segmenter(None, DEPTH, network="rgbd")
    np.testing.assert_array_equal(black.labels, segmenter(np.zeros_like(RGB), DEPTH).labels)


def test_a_read_only_view_of_a_message_is_accepted(segmenter: Segmenter) -> None:
    view = np.frombuffer(RGB.tobytes(), np.uint8).reshape(RGB.shape)[:, ::-1]
    np.testing.assert_array_equal(segmenter(view).labels, segmenter(view.copy()).labels)


def test_confidence_is_the_probability_of_the_chosen_class() -> None:
    logits = torch.log(torch.tensor([0.7, 0.2, 0.1])).view(1, 3, 1, 1).expand(1, 3, 4, 4)
    labels, confidence = decide(logits, (8, 8))
    assert labels.unique().tolist() == [0]
    assert confidence.unique().tolist() == [round(0.7 * 255)]


@pytest.mark.parametrize(
    ("rgb", "depth", "network", "message"),
    [
        (None, None, None, "give rgb, depth or both"),
        (RGB[:, :, 0], None, None, "H×W×3 uint8"),
        (RGB.astype(np.float32), None, None, "H×W×3 uint8"),
        (None, DEPTH.astype(np.float64), None, "float32 metres"),
        (None, DEPTH[:0], None, "float32 metres"),
        (RGB, None, "depth", "needs the input 'depth'"),
        (RGB, None, "fused", "no network 'fused'"),
    ],
)
def test_bad_input_is_refused(segmenter, rgb, depth, network, message) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(EngineError, match=message):
        segmenter(rgb, depth, network=network)


def test_a_bundle_without_a_network_says_which_it_has(tiny_bundle: Bundle) -> None:
    alone = Segmenter(
        Bundle(tiny_bundle.labels, {"rgb": tiny_bundle.networks["rgb"]}), device="cpu"
    )
    assert alone.available == ("rgb",)
    with pytest.raises(EngineError, match="no network 'rgbd', only rgb"):
        alone(RGB, DEPTH)


@pytest.fixture(scope="module")
def hha_segmenter(hha_bundle: Bundle) -> Segmenter:
    return Segmenter(hha_bundle, device="cpu")


CAMERA = Intrinsics(150.0, 150.0, 80.0, 60.0, 160, 120)


def test_only_networks_that_read_hha_need_intrinsics(
    segmenter: Segmenter, hha_segmenter: Segmenter
) -> None:
    assert segmenter.need_intrinsics == ()
    assert hha_segmenter.need_intrinsics == ("depth",)
    hha_segmenter(RGB, DEPTH)
    with pytest.raises(EngineError, match=r"needs the camera's intrinsics.*camera_info"):
        hha_segmenter(None, DEPTH)


def test_intrinsics_of_another_size_of_the_picture_serve_too(hha_segmenter: Segmenter) -> None:
    doubled = CAMERA.resized(320, 240)
    first, second = (hha_segmenter(None, DEPTH, camera) for camera in (CAMERA, doubled))
    np.testing.assert_array_equal(first.confidence, second.confidence)


def test_without_gravity_it_is_estimated(hha_segmenter: Segmenter) -> None:
    down = hha_segmenter.estimate_gravity(DEPTH[::2, ::3], CAMERA)
    assert down.shape == (3,)
    np.testing.assert_allclose(np.linalg.norm(down), 1.0, rtol=1e-6)
    alone = hha_segmenter(None, DEPTH, CAMERA)
    told = hha_segmenter(None, DEPTH, CAMERA, hha_segmenter.estimate_gravity(DEPTH, CAMERA))
    assert np.abs(alone.confidence.astype(int) - told.confidence).max() <= 1
    sideways = hha_segmenter(None, DEPTH, CAMERA, np.array([1.0, 0.0, 0.0]))
    assert (alone.confidence != sideways.confidence).any()


def test_unknown_device_and_backend_are_refused() -> None:
    for device in ("gpu", "cpu:1", "cuda:x"):
        with pytest.raises(EngineError, match="known: auto, cpu, cuda"):
            resolve_device(device)
    with pytest.raises(EngineError, match="known: auto, torch"):
        resolve_backend("tensorflow", torch.device("cpu"))


def test_cuda_without_cuda_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert resolve_device("auto").type == "cpu"
    with pytest.raises(EngineError, match=r"was asked for but .* or use device: auto"):
        resolve_device("cuda")


@pytest.fixture(scope="module", params=[pytest.param(b, marks=pytest.mark.gpu) for b in BACKENDS])
def on_gpu(request: pytest.FixtureRequest, hha_bundle: Bundle) -> Segmenter:
    return Segmenter(hha_bundle, "cuda", request.param)


#: A floor that goes away to the right, seen from where gravity is.
FLOOR = np.linspace(1.0, 4.0, 160, dtype=np.float32) * np.ones((120, 1), np.float32)


@pytest.mark.parametrize(
    ("rgb", "depth", "gravity"),
    [
        (RGB, DEPTH, None),
        (RGB, None, None),
        (None, FLOOR, None),
        (None, FLOOR, np.array([0.0, 0.9, 0.1])),
    ],
)
def test_cuda_masks_equal_those_of_float32_on_the_cpu(
    hha_segmenter: Segmenter,
    on_gpu: Segmenter,
    rgb: np.ndarray | None,
    depth: np.ndarray | None,
    gravity: np.ndarray | None,
) -> None:
    # Mirrored, then smaller: nothing of the first picture may be left in what is reused.
    for view in (np.s_[:], np.s_[:, ::-1], np.s_[::2, ::2]):
        inputs = [None if x is None else x[view] for x in (rgb, depth)]
        expected = hha_segmenter(*inputs, CAMERA, gravity, size=(90, 120))
        found = on_gpu(*inputs, CAMERA, gravity, size=(90, 120))
        assert (found.labels == expected.labels).mean() >= 0.99
        off = np.abs(found.confidence.astype(int) - expected.confidence)
        assert off.mean() < 1


def test_cuda_estimates_gravity_as_the_cpu_does(
    hha_segmenter: Segmenter, on_gpu: Segmenter
) -> None:
    found, expected = (s.estimate_gravity(FLOOR, CAMERA) for s in (on_gpu, hha_segmenter))
    np.testing.assert_allclose(found, expected, atol=1e-3)


def test_a_gpu_leaves_the_bundle_as_it_is(hha_bundle: Bundle, on_gpu: Segmenter) -> None:
    for network in hha_bundle.networks.values():
        for weight in network.module.parameters():
            assert (weight.device.type, weight.dtype) == ("cpu", torch.float32)


def test_a_mask_stays_what_it_is_when_the_next_is_made(on_gpu: Segmenter) -> None:
    first = on_gpu(RGB, DEPTH)
    labels = first.labels.copy()
    on_gpu(255 - RGB, DEPTH)
    np.testing.assert_array_equal(first.labels, labels)


def test_a_thousand_switches_allocate_nothing(on_gpu: Segmenter) -> None:
    on_gpu(RGB, DEPTH, CAMERA)  # from the first fused mask on, all networks know the sizes

    def footprint() -> tuple[int, int]:
        stats = torch.cuda.memory_stats()
        return stats["segment.all.allocated"], stats["allocated_bytes.all.current"]

    inputs = ((RGB, DEPTH), (RGB, None), (None, DEPTH))
    before = footprint()
    for i in range(1000):
        on_gpu(*inputs[i % 3], CAMERA)
    assert footprint() == before


def test_a_graph_without_a_gpu_is_refused(tiny_bundle: Bundle) -> None:
    with pytest.raises(EngineError, match="needs device cuda; use backend: auto"):
        Segmenter(tiny_bundle, "cpu", "cuda_graph")
