# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The engine: choice of network, refused inputs, backends."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from rgbd_seg_ros.bundle import Bundle, TrainedNetwork, load_bundle, save_bundle
from rgbd_seg_ros.engine import Segmenter
from rgbd_seg_ros.engine.backends import (
    BACKENDS,
    Backend,
    EngineError,
    StagedBackend,
    resolve_backend,
    resolve_device,
)
from rgbd_seg_ros.engine.segmenter import LOG
from rgbd_seg_ros.engine.stages import RawInputs, RawMask, decide
from rgbd_seg_ros.frames import Intrinsics
from rgbd_seg_ros.inference import load_engine

RNG = np.random.default_rng(0)
RGB = RNG.integers(0, 256, (120, 160, 3), dtype=np.uint8)
DEPTH = RNG.uniform(0.5, 5.0, (120, 160)).astype(np.float32)


@pytest.fixture(scope="module")
def segmenter(tiny_bundle: Bundle) -> Segmenter:
    return Segmenter(tiny_bundle, "cpu", "torch")


@pytest.mark.parametrize(
    ("rgb", "depth", "network"), [(RGB, DEPTH, "rgbd"), (RGB, None, "rgb"), (None, DEPTH, "depth")]
)
def test_the_network_that_uses_all_inputs_is_chosen(
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


def test_the_mask_has_the_requested_size_and_depth_may_be_smaller(segmenter: Segmenter) -> None:
    assert segmenter(None, DEPTH, size=(240, 320)).labels.shape == (240, 320)
    assert segmenter(RGB, DEPTH[::2, ::2].copy()).labels.shape == (120, 160)


def test_a_forced_network_gets_an_empty_image_for_a_missing_one(segmenter: Segmenter) -> None:
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
        (None, None, None, "pass rgb, depth or both"),
        (RGB[:, :, 0], None, None, "H×W×3 uint8"),
        (RGB.astype(np.float32), None, None, "H×W×3 uint8"),
        (None, DEPTH.astype(np.float64), None, "float32 meters"),
        (None, DEPTH[:0], None, "float32 meters"),
        (RGB, None, "depth", "needs the input 'depth'"),
        (RGB, None, "fused", "no network 'fused'"),
    ],
)
def test_bad_inputs_are_refused(segmenter, rgb, depth, network, message) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(EngineError, match=message):
        segmenter(rgb, depth, network=network)


def test_a_network_that_the_bundle_lacks_is_refused(tiny_bundle: Bundle) -> None:
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


def test_intrinsics_may_be_for_another_size_of_the_image(hha_segmenter: Segmenter) -> None:
    doubled = CAMERA.resized(320, 240)
    first, second = (hha_segmenter(None, DEPTH, camera) for camera in (CAMERA, doubled))
    np.testing.assert_array_equal(first.confidence, second.confidence)


def test_gravity_that_is_not_given_is_estimated(hha_segmenter: Segmenter) -> None:
    down = hha_segmenter.estimate_gravity(DEPTH[::2, ::3], CAMERA)
    assert down.shape == (3,)
    np.testing.assert_allclose(np.linalg.norm(down), 1.0, rtol=1e-6)
    alone = hha_segmenter(None, DEPTH, CAMERA)
    given = hha_segmenter(None, DEPTH, CAMERA, hha_segmenter.estimate_gravity(DEPTH, CAMERA))
    assert np.abs(alone.confidence.astype(int) - given.confidence).max() <= 1
    sideways = hha_segmenter(None, DEPTH, CAMERA, np.array([1.0, 0.0, 0.0]))
    assert (alone.confidence != sideways.confidence).any()


def test_unknown_device_and_backend_are_refused() -> None:
    for device in ("gpu", "cpu:1", "cuda:x"):
        with pytest.raises(EngineError, match="known: auto, cpu, cuda"):
            resolve_device(device)
    with pytest.raises(EngineError, match="known: auto, openvino, float32, torch"):
        resolve_backend("tensorflow", torch.device("cpu"))


def test_the_fastest_backend_is_chosen_for_each_device() -> None:
    assert resolve_backend("auto", torch.device("cpu"))[-1] == "torch"
    assert resolve_backend("auto", torch.device("cuda", 1))[0] == "cuda_graph"
    assert resolve_backend("torch", torch.device("cuda")) == ["torch"]


def test_one_entry_adds_a_backend_that_computes_the_whole_mask(
    tiny_bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The backend opens an artifact built from the weights, and receives the original arrays."""
    seen: list[RawInputs] = []

    def open_artifact(network: TrainedNetwork, device: torch.device) -> Backend:
        assert network.file is not None
        class_id = int((network.file.parent / f"{network.file.stem}.toy").read_text())

        def run(inputs: RawInputs, size: tuple[int, int]) -> RawMask:
            seen.append(inputs)
            mask = np.full(size, class_id, np.uint8)
            return RawMask(mask, mask, {"preprocess": 0.0, "network": 1.0, "postprocess": 0.0})

        return run

    bundle = Bundle(tiny_bundle.labels, {"depth": tiny_bundle.networks["depth"]})
    folder = save_bundle(tmp_path, bundle)
    (folder / "depth.toy").write_text("7")
    monkeypatch.setitem(BACKENDS, "toy", open_artifact)
    segmenter = Segmenter(load_bundle(folder), "cpu", "toy")
    assert len(seen) == 2  # the warm-up
    result = segmenter(RGB, DEPTH, network="depth")
    assert seen[2].rgb is None
    assert seen[2].depth is DEPTH
    assert (result.labels == 7).all()
    assert result.labels.shape == (120, 160)
    assert set(result.timings_ms) == {"preprocess", "network", "postprocess", "total"}


def test_one_entry_adds_a_backend_that_only_runs_the_network(
    tiny_bundle: Bundle, segmenter: Segmenter, monkeypatch: pytest.MonkeyPatch
) -> None:
    def build(network: TrainedNetwork, device: torch.device) -> Backend:
        preprocess = network.record.preprocess
        return StagedBackend(preprocess, device, lambda *x: network.module(*x).logits)

    monkeypatch.setitem(BACKENDS, "toy", build)
    result = Segmenter(tiny_bundle, "cpu", "toy")(RGB, DEPTH)
    np.testing.assert_array_equal(result.labels, segmenter(RGB, DEPTH).labels)


@pytest.mark.parametrize("fails_in_call", [False, True])
def test_auto_falls_back_to_torch_if_the_fast_backend_fails(
    tiny_bundle: Bundle,
    segmenter: Segmenter,
    fails_in_call: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: object) -> RawMask:
        raise RuntimeError("CUDA error: out of memory\nadvice in more lines")

    def build(network: TrainedNetwork, device: torch.device) -> Backend:
        return fail if fails_in_call else fail()  # type: ignore[return-value]

    monkeypatch.setitem(BACKENDS, "fast", build)
    warnings: list[str] = []
    monkeypatch.setattr("rgbd_seg_ros.engine.segmenter.resolve_backend", lambda *_: ["fast"])
    monkeypatch.setattr(LOG, "warning", lambda text, *values: warnings.append(text % values))
    safe = Segmenter(tiny_bundle, device="cpu")
    assert (safe(RGB, DEPTH).labels == segmenter(RGB, DEPTH).labels).all()
    assert warnings == [
        "the fast backend failed (CUDA error: out of memory): using backend torch instead"
    ]
    assert safe.description.count("torch, because CUDA error: out of memory") == 3
    with pytest.raises(RuntimeError, match="out of memory"):  # named, so not replaced
        Segmenter(tiny_bundle, device="cpu", backend="fast")


def test_cuda_is_refused_where_it_is_not_available(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert resolve_device("auto").type == "cpu"
    with pytest.raises(EngineError, match=r"is not available, .* or use device: auto"):
        resolve_device("cuda")


class SlowAtFirst:
    """A backend that counts its masks and the sizes that it was prepared for."""

    def __init__(self) -> None:
        self.masks = 0
        self.prepared: list[tuple[RawInputs, tuple[int, int]]] = []

    def prepare(self, inputs: RawInputs, size: tuple[int, int]) -> None:
        self.prepared.append((inputs, size))

    def __call__(self, inputs: RawInputs, size: tuple[int, int]) -> RawMask:
        self.masks += 1
        return RawMask(np.zeros(size, np.uint8), np.zeros(size, np.uint8), {})


def test_a_frame_pair_prepares_all_networks_for_its_sizes(
    hha_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that the first mask after a switch takes no longer than the others."""
    backends: dict[str, SlowAtFirst] = {}

    def build(network: TrainedNetwork, device: torch.device) -> Backend:
        return backends.setdefault(network.record.spec.modality, SlowAtFirst())

    monkeypatch.setitem(BACKENDS, "toy", build)
    segmenter = Segmenter(hha_bundle, "cpu", "toy")
    for backend in backends.values():
        known = {inputs.gravity is None for inputs, _ in backend.prepared}
        assert backend.masks == 2  # the warm-up
        assert known == ({True, False} if backend is backends["depth"] else {True})
        backend.prepared.clear()
    down = np.array([0.0, 1.0, 0.0], np.float32)

    segmenter(RGB, DEPTH, CAMERA, down, size=(90, 120))
    assert {name: backend.masks for name, backend in backends.items()} == {
        "rgbd": 3, "rgb": 2, "depth": 2
    }  # fmt: skip
    for name, expected in (
        ("rgbd", RawInputs(RGB, DEPTH)),
        ("rgb", RawInputs(RGB)),
        ("depth", RawInputs(None, DEPTH, CAMERA, down)),
    ):
        ((inputs, size),) = backends[name].prepared
        assert all(found is given for found, given in zip(inputs, expected, strict=True))
        assert size == (90, 120)
        backends[name].prepared.clear()

    segmenter(RGB, DEPTH)  # depth as HHA cannot be prepared without intrinsics
    assert [len(backends[name].prepared) for name in ("rgbd", "rgb", "depth")] == [1, 1, 0]
    segmenter(RGB)
    segmenter(None, DEPTH, CAMERA)  # a single frame prepares nothing
    assert [len(backends[name].prepared) for name in ("rgbd", "rgb", "depth")] == [1, 1, 0]


def test_the_engine_is_loaded_with_the_given_number_of_threads(
    tiny_bundle: Bundle, tmp_path: Path
) -> None:
    save_bundle(tmp_path, tiny_bundle)
    before = torch.get_num_threads()
    try:
        for threads in (1, 3):
            load_engine(tmp_path, "cpu", "torch", threads)
            assert torch.get_num_threads() == threads
        load_engine(tmp_path, "cpu", "torch")
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)
