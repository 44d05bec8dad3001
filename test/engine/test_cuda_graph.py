# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The CUDA graph backend: its logic on the CPU, and masks of all backends on a GPU."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from rigs.no_waiting import NoWaiting

from rgbd_seg_ros.bundle import Bundle, TrainedNetwork
from rgbd_seg_ros.engine import Segmentation, Segmenter, cuda_graph
from rgbd_seg_ros.engine.backends import REQUIREMENTS, EngineError, Requirement
from rgbd_seg_ros.engine.cuda_graph import CudaGraphBackend, compute_mask
from rgbd_seg_ros.engine.stages import RawInputs, host_arrays
from rgbd_seg_ros.frames import Intrinsics

RNG = np.random.default_rng(0)
RGB = RNG.integers(0, 256, (120, 160, 3), dtype=np.uint8)
DEPTH = RNG.uniform(0.5, 5.0, (120, 160)).astype(np.float32)
CAMERA = Intrinsics(150.0, 150.0, 80.0, 60.0, 160, 120)
#: Depth that grows to the right: a single plane, so that gravity and HHA are well defined.
PLANE = np.linspace(1.0, 4.0, 160, dtype=np.float32) * np.ones((120, 1), np.float32)
DOWN = np.array([0.0, 0.9, 0.1])
#: Color, depth and gravity of one call.
INPUTS = [(RGB, DEPTH, None), (RGB, None, None), (None, PLANE, None), (None, PLANE, DOWN)]


@pytest.fixture(scope="module")
def on_cpu(hha_bundle: Bundle) -> Segmenter:
    return Segmenter(hha_bundle, "cpu", "torch")


# --- On the CPU --------------------------------------------------------------------------------


@pytest.fixture
def captures(monkeypatch: pytest.MonkeyPatch) -> list[Callable[[], None]]:
    """Let the backend run on the CPU: a replay calls the captured function, in float32.

    Returns all captured functions.
    """
    functions: list[Callable[[], None]] = []

    def capture(run: Callable[[], None], device: torch.device) -> Callable[[], None]:
        functions.append(run)
        return torch.inference_mode()(run)

    monkeypatch.setattr(cuda_graph, "capture", capture)
    monkeypatch.setattr(cuda_graph, "pinned", lambda array: torch.from_numpy(array.copy()))
    monkeypatch.setattr(cuda_graph, "DTYPE", torch.float32)
    monkeypatch.setitem(REQUIREMENTS, "cuda_graph", Requirement(("cpu", "cuda")))
    return functions


def masks_of_views(
    segmenter: Segmenter, rgb: np.ndarray | None, depth: np.ndarray | None, gravity: Any
) -> list[Segmentation]:
    """Masks of the inputs, mirrored, smaller, and as they are again.

    They show whether anything of an earlier image is left in the buffers of a graph.
    """
    masks = []
    for view in (np.s_[:], np.s_[:, ::-1], np.s_[::2, ::2], np.s_[:]):
        inputs = [None if x is None else x[view] for x in (rgb, depth)]
        masks.append(segmenter(*inputs, CAMERA, gravity, size=(90, 120)))
    return masks


@pytest.mark.parametrize(("rgb", "depth", "gravity"), INPUTS)
def test_what_is_captured_computes_the_mask_of_the_torch_backend(
    hha_bundle: Bundle, on_cpu: Segmenter, captures: list[Callable[[], None]],
    rgb: np.ndarray | None, depth: np.ndarray | None, gravity: Any,
) -> None:  # fmt: skip
    graphs = Segmenter(hha_bundle, "cpu", "cuda_graph")
    masks = (masks_of_views(s, rgb, depth, gravity) for s in (graphs, on_cpu))
    for found, expected in zip(*masks, strict=True):
        assert found.network == expected.network
        np.testing.assert_array_equal(found.labels, expected.labels)
        np.testing.assert_allclose(found.confidence, expected.confidence, atol=1)


def test_half_precision_changes_few_pixels(
    hha_bundle: Bundle, on_cpu: Segmenter, captures: list[Callable[[], None]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(cuda_graph, "DTYPE", torch.float16)
    graphs = Segmenter(hha_bundle, "cpu", "cuda_graph")
    for rgb, depth, gravity in INPUTS:
        found, expected = (s(rgb, depth, CAMERA, gravity) for s in (graphs, on_cpu))
        assert (found.labels == expected.labels).mean() >= 0.99


def test_one_graph_is_captured_for_each_size_and_the_oldest_is_replaced(
    tiny_bundle: Bundle, captures: list[Callable[[], None]]
) -> None:
    backend = CudaGraphBackend(tiny_bundle.networks["rgbd"], torch.device("cpu"))
    pair = RawInputs(RGB, DEPTH)
    backend.prepare(pair, (90, 120))
    backend.prepare(pair, (90, 120))
    backend(pair, (90, 120))
    assert len(captures) == 1
    backend(RawInputs(RGB, DEPTH[::2]), (90, 120))
    backend(RawInputs(RGB[::2], DEPTH), (90, 120))
    assert len(captures) == 3
    for height in range(64, 64 + cuda_graph.MAX_GRAPHS - 2):
        backend(pair, (height, 120))
    assert len(captures) == cuda_graph.MAX_GRAPHS + 1
    backend(RawInputs(RGB, DEPTH[::2]), (90, 120))  # captured second, still there
    assert len(captures) == cuda_graph.MAX_GRAPHS + 1
    backend(pair, (90, 120))  # captured first, replaced
    assert len(captures) == cuda_graph.MAX_GRAPHS + 2


def test_a_later_switch_captures_nothing(
    hha_bundle: Bundle, captures: list[Callable[[], None]]
) -> None:
    segmenter = Segmenter(hha_bundle, "cpu", "cuda_graph")
    segmenter(RGB, DEPTH, CAMERA, DOWN)
    count = len(captures)
    for rgb, depth in ((RGB, None), (None, DEPTH), (RGB, DEPTH)):
        segmenter(rgb, depth, CAMERA, DOWN, size=(120, 160))
    assert len(captures) == count


def test_a_graph_keeps_the_bundle_and_earlier_masks_unchanged(
    tiny_bundle: Bundle, captures: list[Callable[[], None]], monkeypatch: pytest.MonkeyPatch
) -> None:
    segmenter = Segmenter(tiny_bundle, "cpu", "cuda_graph")
    first = segmenter(RGB, DEPTH)
    labels = first.labels.copy()
    segmenter(255 - RGB, DEPTH)
    np.testing.assert_array_equal(first.labels, labels)
    monkeypatch.setattr(cuda_graph, "DTYPE", torch.float16)
    CudaGraphBackend(tiny_bundle.networks["rgbd"], torch.device("cpu"))
    assert_untouched(tiny_bundle)


@pytest.mark.parametrize("name", ["rgbd", "rgb", "depth"])
def test_no_operation_of_a_graph_waits_for_the_device(
    hha_bundle: Bundle, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(cuda_graph, "DTYPE", torch.float32)
    network: TrainedNetwork = hha_bundle.networks[name]  # type: ignore[index]
    inputs = {
        "rgbd": RawInputs(RGB, DEPTH),
        "rgb": RawInputs(RGB),
        "depth": RawInputs(None, DEPTH, CAMERA),
    }[name]
    arrays = [None if x is None else torch.from_numpy(x) for x in host_arrays(inputs)]
    module = copy.deepcopy(network.module)
    with torch.inference_mode(), NoWaiting():
        mask = compute_mask(module, network.record.preprocess, arrays, (90, 120))
    assert mask.shape == (2, 90, 120)


def test_a_graph_is_refused_on_the_cpu(tiny_bundle: Bundle) -> None:
    with pytest.raises(EngineError, match=r"but the device is cpu: .* use backend: auto"):
        Segmenter(tiny_bundle, "cpu", "cuda_graph")


def assert_untouched(bundle: Bundle) -> None:
    for network in bundle.networks.values():
        for weight in network.module.parameters():
            assert (weight.device.type, weight.dtype) == ("cpu", torch.float32)


# --- On a GPU ----------------------------------------------------------------------------------


@pytest.fixture(
    scope="module",
    params=[pytest.param(n, marks=pytest.mark.gpu) for n in ("float32", "torch", "cuda_graph")],
)
def on_gpu(request: pytest.FixtureRequest, hha_bundle: Bundle) -> Segmenter:
    return Segmenter(hha_bundle, "cuda", request.param)


@pytest.mark.parametrize(("rgb", "depth", "gravity"), INPUTS)
def test_masks_on_cuda_equal_those_in_float32_on_the_cpu(
    on_cpu: Segmenter, on_gpu: Segmenter,
    rgb: np.ndarray | None, depth: np.ndarray | None, gravity: Any,
) -> None:  # fmt: skip
    masks = (masks_of_views(s, rgb, depth, gravity) for s in (on_gpu, on_cpu))
    for found, expected in zip(*masks, strict=True):
        assert (found.labels == expected.labels).mean() >= 0.99
        assert np.abs(found.confidence.astype(int) - expected.confidence).mean() < 1


def test_gravity_estimated_on_cuda_equals_that_on_the_cpu(
    on_cpu: Segmenter, on_gpu: Segmenter
) -> None:
    found, expected = (s.estimate_gravity(PLANE, CAMERA) for s in (on_gpu, on_cpu))
    np.testing.assert_allclose(found, expected, atol=1e-3)


@pytest.mark.gpu
def test_compiled_masks_on_cuda_equal_those_in_float32_on_the_cpu(
    hha_bundle: Bundle, on_cpu: Segmenter
) -> None:
    compiled = Segmenter(hha_bundle, "cuda", "compile")
    for rgb, depth, gravity in INPUTS:
        found, expected = (s(rgb, depth, CAMERA, gravity) for s in (compiled, on_cpu))
        assert (found.labels == expected.labels).mean() >= 0.99


@pytest.mark.gpu
def test_auto_compares_the_graphs_with_float32_before_it_uses_them(hha_bundle: Bundle) -> None:
    segmenter = Segmenter(hha_bundle, "cuda")
    for network in segmenter.available:
        assert f"{network}: cuda_graph, " in segmenter.description
    assert segmenter.description.count("of the pixels as in float32") == 3


def test_cuda_leaves_the_bundle_on_the_cpu(hha_bundle: Bundle, on_gpu: Segmenter) -> None:
    assert_untouched(hha_bundle)


def test_a_mask_stays_unchanged_when_the_next_is_computed(on_gpu: Segmenter) -> None:
    first = on_gpu(RGB, DEPTH)
    labels = first.labels.copy()
    on_gpu(255 - RGB, DEPTH)
    np.testing.assert_array_equal(first.labels, labels)


def test_a_thousand_switches_allocate_nothing(on_gpu: Segmenter) -> None:
    on_gpu(RGB, DEPTH, CAMERA)  # prepares all networks

    def footprint() -> tuple[int, int]:
        stats = torch.cuda.memory_stats()
        return stats["segment.all.allocated"], stats["allocated_bytes.all.current"]

    inputs = ((RGB, DEPTH), (RGB, None), (None, DEPTH))
    before = footprint()
    for i in range(1000):
        on_gpu(*inputs[i % 3], CAMERA)
    assert footprint() == before
