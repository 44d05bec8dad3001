# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Optional runtimes: equal masks, the numerical guard, the cache, and what replaces a failure."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from rgbd_seg_ros.bundle import Bundle, TrainedNetwork, save_bundle
from rgbd_seg_ros.engine import Segmenter, artifact_cache, backends, runtimes, selection
from rgbd_seg_ros.engine.backends import (
    BACKENDS,
    REQUIREMENTS,
    Backend,
    EngineError,
    Requirement,
    StagedBackend,
    is_exact,
    missing_packages,
    resolve_backend,
)
from rgbd_seg_ros.engine.guard import MaskAgreement, guard_inputs, render_boxes
from rgbd_seg_ros.engine.runtimes import PROVIDERS

ROOT = Path(__file__).resolve().parents[2]
CPU = torch.device("cpu")
INSTALLED = [
    pytest.param(
        name,
        marks=pytest.mark.skipif(
            missing_packages(needs.packages) is not None,
            reason=f"needs {' '.join(needs.packages)}, an optional runtime",
        ),
    )
    for name, needs in REQUIREMENTS.items()
    if needs.packages and needs.devices == ("cpu",) and name != "openvino_bf16"
]
OPTIONAL = ("openvino_bf16", "openvino_f32", "onnxruntime")


@pytest.fixture
def rgb_only(tiny_bundle: Bundle) -> Bundle:
    return Bundle(tiny_bundle.labels, {"rgb": tiny_bundle.networks["rgb"]})


@pytest.fixture
def warnings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    told: list[str] = []
    for log in (selection.LOG, artifact_cache.LOG):
        monkeypatch.setattr(log, "warning", lambda text, *values: told.append(text % values))
    return told


@pytest.mark.parametrize("name", INSTALLED)
def test_a_runtime_computes_the_masks_of_float32(tiny_bundle: Bundle, name: str) -> None:
    reference, tested = Segmenter(tiny_bundle, "cpu", "torch"), Segmenter(tiny_bundle, "cpu", name)
    for network in tested.available:
        for seed in (10, 11):
            rgb, depth, *_ = render_boxes(seed, (120, 160))
            expected = reference(rgb, depth, network=network)
            found = tested(rgb, depth, network=network)
            assert (expected.labels == found.labels).mean() > 0.9999
            np.testing.assert_allclose(found.confidence, expected.confidence, atol=1)
        assert f"{network}: {name}, 100.00 % of the pixels as in float32" in tested.description


LOADS_AND_UNLOADS = """
import gc, signal, sys
from rgbd_seg_ros.bundle import load_bundle
from rgbd_seg_ros.engine import Segmenter

for backend in ("openvino_f32", "openvino_bf16", "openvino_f32"):
    try:
        Segmenter(load_bundle(sys.argv[1]), "cpu", backend)
    except ValueError:
        pass  # this processor does not compute in bfloat16
    gc.collect()
try:
    signal.raise_signal(signal.SIGINT)
except KeyboardInterrupt:
    print("interrupted")
"""


@pytest.mark.skipif(missing_packages(("openvino",)) is not None, reason="needs openvino")
def test_ctrl_c_works_after_openvino_was_unloaded(tiny_bundle: Bundle, tmp_path: Path) -> None:
    """Each instance of its CPU plugin takes away a stack that the next signal may still need."""
    folder = save_bundle(tmp_path / "bundle", tiny_bundle, torch.float32)
    done = subprocess.run(
        [sys.executable, "-c", LOADS_AND_UNLOADS, str(folder)],
        env={**os.environ, "PYTHONPATH": str(ROOT), "XDG_CACHE_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "interrupted\n"), done.stderr


def fake_backend(shift: float = 0.0) -> Any:
    """A backend that adds to the first class's logits; infinite: it gives class 0 everywhere."""

    def build(network: TrainedNetwork, device: torch.device) -> Backend:
        def run(*inputs: Tensor) -> Tensor:
            logits: Tensor = network.module(*inputs).logits.clone()
            logits[:, 0] += shift
            return logits

        return StagedBackend(network.record.preprocess, device, run)

    return build


@pytest.fixture
def fake_runtime(monkeypatch: pytest.MonkeyPatch) -> None:
    """All optional backends are installed, and their versions are known."""
    monkeypatch.setattr(backends, "missing_packages", lambda _: None)
    monkeypatch.setattr(backends, "has_bfloat16", lambda: True)
    for name in OPTIONAL:
        monkeypatch.setitem(REQUIREMENTS, name, Requirement(("cpu",)))


def test_a_backend_that_fails_the_guard_is_replaced_by_the_next(
    rgb_only: Bundle,
    fake_runtime: None,
    warnings: list[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setitem(BACKENDS, "openvino_bf16", fake_backend(1000.0))
    monkeypatch.setitem(BACKENDS, "openvino_f32", fake_backend())
    segmenter = Segmenter(rgb_only, "cpu", "auto")
    (warning,) = warnings
    assert warning.startswith("network rgb: openvino_bf16 gives ")
    assert warning.endswith("less than 99% or 97%; trying openvino_f32")
    assert segmenter.description.startswith("rgb: openvino_f32, 100.00 %")
    with pytest.raises(EngineError, match=r"openvino_bf16 gives .* use backend: auto"):
        Segmenter(rgb_only, "cpu", "openvino_bf16")  # named, so not replaced


def test_a_backend_that_cannot_be_built_is_replaced_and_the_reason_is_kept(
    rgb_only: Bundle, fake_runtime: None, warnings: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(network: TrainedNetwork, device: torch.device) -> Backend:
        raise MemoryError("no room\nfor weights")

    for name in OPTIONAL:
        monkeypatch.setitem(BACKENDS, name, fail)
    segmenter = Segmenter(rgb_only, "cpu", "auto")
    reasons = [f"{name} failed (no room for weights)" for name in OPTIONAL]
    assert segmenter.description == f"rgb: torch, because {'; '.join(reasons)}"
    assert len(warnings) == 3
    with pytest.raises(EngineError, match=r"openvino_bf16 failed .*; openvino_f32 failed"):
        Segmenter(rgb_only, "cpu", "openvino")


def test_the_guard_needs_both_shares() -> None:
    assert MaskAgreement(0.99, 0.97).passed
    assert not MaskAgreement(0.9899, 0.97).passed
    assert not MaskAgreement(0.99, 0.9699).passed


def test_what_is_not_installed_is_refused_by_name_and_skipped_by_auto(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(backends.importlib.util, "find_spec", lambda name: None)
    assert resolve_backend("auto", CPU) == ["torch"]
    with pytest.raises(EngineError, match="openvino not installed: pip install openvino, or"):
        resolve_backend("openvino", CPU)
    with pytest.raises(EngineError, match="pip install onnxruntime onnx onnxscript, or"):
        resolve_backend("onnxruntime", CPU)


def test_openvino_uses_float32_where_the_processor_has_no_bfloat16(
    fake_runtime: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert resolve_backend("openvino", CPU) == ["openvino_bf16", "openvino_f32"]
    monkeypatch.setattr(backends, "has_bfloat16", lambda: False)
    assert resolve_backend("openvino", CPU) == ["openvino_f32"]
    assert resolve_backend("auto", CPU) == ["openvino_f32", "onnxruntime", "torch"]
    with pytest.raises(EngineError, match="does not compute in bfloat16"):
        resolve_backend("openvino_bf16", CPU)
    with pytest.raises(EngineError, match="it runs on cpu, but the device is cuda: change it, or"):
        resolve_backend("openvino", torch.device("cuda"))


def test_guard_frames_repeat_and_differ(hha_bundle: Bundle) -> None:
    rgb, depth, _, gravity = render_boxes(0, (48, 64))
    again = render_boxes(0, (48, 64))
    np.testing.assert_array_equal(rgb, again[0])
    np.testing.assert_array_equal(depth, again[1])
    assert (rgb != render_boxes(1, (48, 64))[0]).mean() > 0.5
    assert 0.3 < np.nanmin(depth) < np.nanmax(depth) < 6
    assert 0.01 < np.isnan(depth).mean() < 0.06
    assert np.linalg.norm(gravity) == pytest.approx(1)
    inputs = guard_inputs(hha_bundle.networks["depth"], 0)
    assert inputs.rgb is None
    assert inputs.intrinsics is not None
    assert inputs.gravity is not None


def test_exact_backends_and_those_of_other_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    cuda = torch.device("cuda")
    assert [n for n in BACKENDS if is_exact(n, CPU)] == ["float32", "torch"]
    assert [n for n in BACKENDS if is_exact(n, cuda)] == ["float32"]
    assert resolve_backend("auto", cuda) == ["cuda_graph", "torch", "float32"]
    for name in ("cuda_graph", "onnxruntime_cuda", "onnxruntime_tensorrt"):
        with pytest.raises(EngineError, match="runs on cuda, but the device is cpu"):
            resolve_backend(name, CPU)
    assert resolve_backend("compile", CPU) == ["compile"]


def test_a_comparison_can_be_left_out(
    rgb_only: Bundle, fake_runtime: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(BACKENDS, "openvino_f32", fake_backend(1000.0))
    segmenter = Segmenter(rgb_only, "cpu", "openvino_f32", compare=False)
    assert segmenter.description == "rgb: openvino_f32"


class FakeSession:
    """ONNX Runtime's session, which computes with a given function on bound addresses."""

    def __init__(self, started: bool) -> None:
        self.started = started
        self.bound: dict[str, tuple[Any, ...]] = {}
        self.runs = 0

    def __call__(self, path: str, options: Any, providers: list[Any]) -> FakeSession:
        self.path, self.options, self.providers = path, options, providers
        return self

    def get_providers(self) -> list[str]:
        return [self.providers[0][0]] if self.started else ["CPUExecutionProvider"]

    def io_binding(self) -> FakeSession:
        return self

    def bind_input(self, name: str, *place: Any) -> None:
        self.bound[name] = place

    bind_output = bind_input

    def run_with_iobinding(self, binding: Any) -> None:
        self.runs += 1

    def synchronize_outputs(self) -> None:
        pass


@pytest.fixture
def fake_session(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FakeSession:
    onnxruntime = pytest.importorskip("onnxruntime")
    session = FakeSession(started=True)
    monkeypatch.setattr(onnxruntime, "InferenceSession", session)
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: list(PROVIDERS))
    monkeypatch.setattr(runtimes, "cached_artifact", lambda facts, build: tmp_path)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda _: SimpleNamespace(synchronize=int))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return session


def test_cuda_tensors_are_bound_by_their_addresses(
    tiny_bundle: Bundle, fake_session: FakeSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Tensor] = []
    empty = torch.empty

    def on_cpu(shape: Any, **options: Any) -> Tensor:
        made.append(empty(shape, dtype=options["dtype"]))
        return made[-1]

    monkeypatch.setattr(runtimes.torch, "empty", on_cpu)
    network = tiny_bundle.networks["rgbd"]
    device = torch.device("cuda:1")
    run = runtimes.onnxruntime_runner(network, device, "TensorrtExecutionProvider")
    ((provider, options),) = fake_session.providers
    assert provider == "TensorrtExecutionProvider"
    assert options["device_id"] == 1
    assert Path(options["trt_engine_cache_path"]).is_dir()
    rgb, depth = runtimes.example_inputs(network)
    logits = run(rgb, depth)
    assert logits is made[0]
    size = network.record.preprocess.size
    assert fake_session.bound == {
        "rgb": ("cuda", 1, "float32", (1, 3, *size), rgb.data_ptr()),
        "depth": ("cuda", 1, "float32", tuple(depth.shape), depth.data_ptr()),
        "logits": ("cuda", 1, "float32", tuple(logits.shape), logits.data_ptr()),
    }
    assert logits.shape == (1, network.record.spec.num_classes, *size)
    assert fake_session.runs == 1


def test_a_provider_that_is_missing_or_does_not_start_is_refused(
    tiny_bundle: Bundle, fake_session: FakeSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    network, device = tiny_bundle.networks["rgb"], torch.device("cuda")
    fake_session.started = False
    with pytest.raises(RuntimeError, match="CUDAExecutionProvider does not start: check its CUDA"):
        runtimes.onnxruntime_runner(network, device, "CUDAExecutionProvider")
    import onnxruntime

    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    with pytest.raises(
        RuntimeError, match="no CUDAExecutionProvider: pip install onnxruntime-gpu"
    ):
        runtimes.onnxruntime_runner(network, device, "CUDAExecutionProvider")


# --- The cache ----------------------------------------------------------------------------------


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Path]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return []


def artifact(built: list[Path], **facts: Any) -> Path:
    def build(folder: Path) -> None:
        built.append(folder)
        (folder / "network.bin").write_bytes(b"weights")

    spec = {"modality": "rgb"}
    return artifact_cache.cached_artifact({"spec": spec, "precision": "f32", **facts}, build)


def test_an_artifact_is_built_once_for_the_same_facts(built: list[Path], tmp_path: Path) -> None:
    first = artifact(built, weights="a")
    assert first.parent == tmp_path / "rgbd_seg_ros"
    assert artifact(built, weights="a") == first
    assert artifact(built, weights="b") != first
    assert len(built) == 2
    assert {path.name for path in first.parent.iterdir()} == {
        first.name,
        artifact(built, weights="b").name,
    }


@pytest.mark.parametrize("damage", ["changed", "cut", "added", "removed", "record", "foreign"])
def test_a_damaged_or_foreign_artifact_is_built_again(
    built: list[Path], warnings: list[str], damage: str
) -> None:
    folder = artifact(built)
    file, record = folder / "network.bin", folder / "record.json"
    if damage == "changed":
        file.write_bytes(b"Weights")
    elif damage == "cut":
        file.write_bytes(b"")
    elif damage == "added":
        (folder / "network.data").write_bytes(b"")
    elif damage == "removed":
        file.unlink()
    elif damage == "record":
        record.write_text("[]")
    else:
        other = artifact(built, weights="of another network")
        shutil.rmtree(folder)
        other.rename(folder)
    built.clear()
    assert artifact(built) == folder
    assert len(built) == 1
    assert file.read_bytes() == b"weights"
    (warning,) = warnings
    assert "building it again" in warning
    assert artifact(built) == folder
    assert len(built) == 1


def test_a_failed_build_leaves_nothing(built: list[Path], tmp_path: Path) -> None:
    def fail(folder: Path) -> None:
        (folder / "half").write_bytes(b"x")
        raise RuntimeError("unsupported operation")

    with pytest.raises(RuntimeError, match="unsupported"):
        artifact_cache.cached_artifact({"spec": {"modality": "rgb"}, "precision": "f32"}, fail)
    assert list((tmp_path / "rgbd_seg_ros").iterdir()) == []


@pytest.mark.parametrize("content", ["", "[]", '{"facts": {"a": 2}, "result": {"x": 9.0}}'])
def test_a_result_is_kept_and_a_damaged_one_computed_again(
    built: list[Path], tmp_path: Path, content: str
) -> None:
    calls: list[int] = []

    def compute() -> dict[str, float]:
        calls.append(1)
        return {"x": 0.5}

    for _ in range(2):
        assert artifact_cache.cached_result({"a": 1}, compute) == {"x": 0.5}
    assert len(calls) == 1
    (file,) = (tmp_path / "rgbd_seg_ros").iterdir()
    file.write_text(content)
    assert artifact_cache.cached_result({"a": 1}, compute) == {"x": 0.5}
    assert len(calls) == 2


def test_facts_tell_networks_apart(tiny_bundle: Bundle) -> None:
    rgb, depth = (tiny_bundle.networks[name] for name in ("rgb", "depth"))
    facts = artifact_cache.artifact_facts(rgb, (), "openvino")
    assert facts == artifact_cache.artifact_facts(rgb, (), "openvino")
    assert facts["weights"] != artifact_cache.artifact_facts(depth, (), "openvino")["weights"]
    assert torch.__version__.startswith(facts["versions"]["torch"])
