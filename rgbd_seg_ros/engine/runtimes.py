# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""OpenVINO, ONNX Runtime and torch.compile: convert a network, cache the result, and run it."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import warnings
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from rgbd_seg_ros.bundle import TrainedNetwork
from rgbd_seg_ros.engine.artifact_cache import artifact_facts, cache_folder, cached_artifact
from rgbd_seg_ros.engine.folding import fold_batch_norms

#: Normalized inputs (1×C×h×w float32 each, rgb before depth) → logits (1×K×h×w).
Runner = Callable[..., Tensor]
#: Execution providers of ONNX Runtime that a backend can use.
PROVIDERS = ("CPUExecutionProvider", "CUDAExecutionProvider", "TensorrtExecutionProvider")


class LogitsOnly(nn.Module):
    """A network that returns only its logits, as the converters need it."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network.eval()

    def forward(self, *inputs: Tensor) -> Tensor:
        """Logits (B×K×H×W) of normalized inputs."""
        logits: Tensor = self.network(*inputs).logits
        return logits


@cache
def openvino_core() -> Any:
    """OpenVINO's entry point, one for the whole life of the process.

    Its CPU plugin gives the thread that loads it another stack for signals, and takes it away when
    it is unloaded. After several instances were unloaded, that stack would be memory that no
    longer exists, and the next Ctrl-C would end the process with a segmentation fault.
    """
    import openvino

    return openvino.Core()


@cache
def has_bfloat16() -> bool:
    """Whether OpenVINO computes in bfloat16 on this processor."""
    return "BF16" in openvino_core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def openvino_runner(network: TrainedNetwork, precision: str) -> Runner:
    """Run the network in OpenVINO.

    Args:
        network: the network.
        precision: ``bf16`` or ``f32``.
    """
    import openvino

    facts = artifact_facts(network, ("openvino",), "openvino")

    def build(folder: Path) -> None:
        examples = example_inputs(network)
        with torch.no_grad(), quiet():
            model = openvino.convert_model(
                LogitsOnly(network.module),
                example_input=examples,
                input=[x.shape for x in examples],
            )
        openvino.save_model(model, folder / "network.xml", compress_to_fp16=False)

    path = cached_artifact(facts, build) / "network.xml"
    options = {
        "INFERENCE_PRECISION_HINT": precision,
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
    }
    compiled = openvino_core().compile_model(path, "CPU", options)
    request = compiled.create_infer_request()

    def run(*inputs: Tensor) -> Tensor:
        request.infer([x.numpy() for x in inputs], share_inputs=True)
        # The next call overwrites the output, and nothing refers to it any longer by then.
        return torch.from_numpy(request.get_output_tensor().data)

    return run


def onnxruntime_runner(network: TrainedNetwork, device: torch.device, provider: str) -> Runner:
    """Run the network in ONNX Runtime, in float32; TensorRT chooses float16 where it is faster.

    Args:
        network: the network.
        device: where inputs and logits are.
        provider: one of :data:`PROVIDERS`.

    Raises:
        RuntimeError: this ONNX Runtime has no such provider, or the provider does not start.
    """
    import onnxruntime

    if provider not in onnxruntime.get_available_providers():
        raise RuntimeError(
            f"this onnxruntime has no {provider}: pip install onnxruntime-gpu (on a Jetson, "
            "NVIDIA's wheel)"
        )
    facts = artifact_facts(network, ("onnxruntime", "onnx", "onnxscript"), "onnxruntime")
    names = {"rgb": ["rgb"], "depth": ["depth"], "rgbd": ["rgb", "depth"]}[
        network.record.spec.modality
    ]

    def build(folder: Path) -> None:
        with torch.no_grad(), quiet():
            torch.onnx.export(
                LogitsOnly(network.module), example_inputs(network), str(folder / "network.onnx"),
                input_names=names, output_names=["logits"], dynamo=True, external_data=False,
            )  # fmt: skip

    path = cached_artifact(facts, build) / "network.onnx"
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    # Threads that busy-wait between masks would take the cores from the rest of the robot.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    chosen = [(provider, provider_options(provider, device))]
    session = onnxruntime.InferenceSession(str(path), options, providers=chosen)
    if provider not in session.get_providers():  # ONNX Runtime itself only prints a warning
        raise RuntimeError(f"{provider} does not start: check its CUDA and cuDNN libraries")
    if device.type == "cpu":

        def run(*inputs: Tensor) -> Tensor:
            given = {name: x.numpy() for name, x in zip(names, inputs, strict=True)}
            return torch.from_numpy(session.run(["logits"], given)[0])

        return run

    height, width = network.record.preprocess.size
    shape = 1, network.record.spec.num_classes, height, width
    logits = torch.empty(shape, dtype=torch.float32, device=device)
    index = device.index or 0

    def run_on_cuda(*inputs: Tensor) -> Tensor:
        binding = session.io_binding()
        held = [x.contiguous() for x in inputs]  # until the call returns
        for name, x in zip(names, held, strict=True):
            binding.bind_input(name, "cuda", index, "float32", tuple(x.shape), x.data_ptr())
        binding.bind_output("logits", "cuda", index, "float32", shape, logits.data_ptr())
        torch.cuda.current_stream(device).synchronize()  # ONNX Runtime has a stream of its own
        session.run_with_iobinding(binding)
        binding.synchronize_outputs()
        return logits

    return run_on_cuda


def provider_options(provider: str, device: torch.device) -> dict[str, Any]:
    """Options of an execution provider; TensorRT keeps its engines in the cache folder."""
    options: dict[str, Any] = {}
    if provider != "CPUExecutionProvider":
        options["device_id"] = device.index or 0
    if provider == "TensorrtExecutionProvider":
        folder = cache_folder() / "tensorrt"
        folder.mkdir(parents=True, exist_ok=True)
        options |= {
            "trt_fp16_enable": True,
            "trt_engine_cache_enable": True,
            "trt_engine_cache_path": str(folder),
            "trt_timing_cache_enable": True,
            "trt_timing_cache_path": str(folder),
        }
    return options


def compiled_runner(network: TrainedNetwork, device: torch.device) -> Runner:
    """Run the network with torch.compile: float32 on a CPU, float16 on CUDA.

    Needs a C++ compiler on a CPU, and Triton on CUDA. Compiled code is kept in the cache folder.
    """
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(cache_folder() / "inductor"))
    module = fold_batch_norms(network.module, example_inputs(network)).to(device)
    dtype = torch.float16 if device.type == "cuda" else torch.float32
    module = LogitsOnly(module.to(dtype, memory_format=torch.channels_last))  # type: ignore[call-overload]
    compiled = torch.compile(module, fullgraph=True, dynamic=False)

    def run(*inputs: Tensor) -> Tensor:
        logits: Tensor = compiled(*(x.to(dtype) for x in inputs))
        return logits

    return run


def example_inputs(network: TrainedNetwork) -> tuple[Tensor, ...]:
    """Inputs of the network's size, which the converters trace it with."""
    size = network.record.preprocess.size
    return tuple(torch.zeros(1, c, *size) for c in network.record.spec.in_channels)


@contextlib.contextmanager
def quiet() -> Iterator[Any]:
    """Suppress what converters print and warn about; a failure is an exception."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnx_ir", "onnxscript")]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
