# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""OpenVINO and ONNX Runtime: convert a network, keep it in the cache, and run it on the CPU."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import logging
import warnings
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from rgbd_seg_ros.bundle import TrainedNetwork
from rgbd_seg_ros.engine.artifact_cache import artifact_facts, cached_artifact

#: Normalized inputs (1×C×h×w float32 each, rgb before depth) → logits (1×K×h×w).
Runner = Callable[..., Tensor]
#: Runtime → the Python packages that it needs, which have the same names on PyPI.
PACKAGES = {"openvino": ("openvino",), "onnxruntime": ("onnxruntime", "onnx", "onnxscript")}


class LogitsOnly(nn.Module):
    """A network that returns only its logits, as the converters need it."""

    def __init__(self, network: TrainedNetwork) -> None:
        super().__init__()
        self.network = network.module.eval()

    def forward(self, *inputs: Tensor) -> Tensor:
        """Logits (B×K×H×W) of normalized inputs."""
        logits: Tensor = self.network(*inputs).logits
        return logits


def missing_packages(runtime: str) -> str | None:
    """How to install what a runtime lacks, or None if it is complete."""
    missing = [name for name in PACKAGES[runtime] if importlib.util.find_spec(name) is None]
    if not missing:
        return None
    return f"{' and '.join(missing)} not installed: pip install {' '.join(missing)}"


@cache
def has_bfloat16() -> bool:
    """Whether OpenVINO computes in bfloat16 on this processor."""
    import openvino

    return "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def openvino_runner(network: TrainedNetwork, precision: str) -> Runner:
    """Run the network in OpenVINO.

    Args:
        network: the network.
        precision: ``bf16`` or ``f32``.
    """
    import openvino

    facts = artifact_facts(network, PACKAGES["openvino"], "openvino")

    def build(folder: Path) -> None:
        examples = example_inputs(network)
        with torch.no_grad(), _quiet():
            model = openvino.convert_model(
                LogitsOnly(network), example_input=examples, input=[x.shape for x in examples]
            )
        openvino.save_model(model, folder / "network.xml", compress_to_fp16=False)

    path = cached_artifact(facts, build) / "network.xml"
    options = {
        "INFERENCE_PRECISION_HINT": precision,
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
    }
    compiled = openvino.Core().compile_model(path, "CPU", options)
    request = compiled.create_infer_request()

    def run(*inputs: Tensor) -> Tensor:
        request.infer([x.numpy() for x in inputs], share_inputs=True)
        # The next call overwrites the output, and nothing refers to it any longer by then.
        return torch.from_numpy(request.get_output_tensor().data)

    return run


def onnxruntime_runner(network: TrainedNetwork) -> Runner:
    """Run the network in ONNX Runtime, in float32 on the CPU."""
    import onnxruntime

    facts = artifact_facts(network, PACKAGES["onnxruntime"], "onnxruntime")
    names = {"rgb": ["rgb"], "depth": ["depth"], "rgbd": ["rgb", "depth"]}[
        network.record.spec.modality
    ]

    def build(folder: Path) -> None:
        with torch.no_grad(), _quiet():
            torch.onnx.export(
                LogitsOnly(network), example_inputs(network), str(folder / "network.onnx"),
                input_names=names, output_names=["logits"], dynamo=True, external_data=False,
            )  # fmt: skip

    path = cached_artifact(facts, build) / "network.onnx"
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    # Threads that busy-wait between masks would take the cores from the rest of the robot.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    def run(*inputs: Tensor) -> Tensor:
        given = {name: x.numpy() for name, x in zip(names, inputs, strict=True)}
        return torch.from_numpy(session.run(["logits"], given)[0])

    return run


def example_inputs(network: TrainedNetwork) -> tuple[Tensor, ...]:
    """Inputs of the network's size, which the converters trace it with."""
    size = network.record.preprocess.size
    return tuple(torch.zeros(1, c, *size) for c in network.record.spec.in_channels)


@contextlib.contextmanager
def _quiet() -> Iterator[Any]:
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
