# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""`python -m training.export`: converts networks for other runtimes and compares the results."""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from training.command import run_command
from training.options import UsageError, lookup, parse_command

if TYPE_CHECKING:
    from torch import Tensor

    from rgbd_seg_ros.bundle import TrainedNetwork
    from training.export_module import ExportModule

#: Parity requires that at least this share of the pixels gets the same label.
SAME_LABELS = 0.999
#: Parity also requires that no logit differs by more than this share of the largest one.
LOGIT_TOLERANCE = 1e-4
#: Batch, height and width with which files of any size are traced. No axis may have length one
#: at any stage, which a tracer would take for a constant.
TRACED = (2, 96, 128)
#: Batch, height and width on which those files are compared, besides one of the network's size.
COMPARED = ((1, 160, 96), (3, 101, 77))

#: Arrays or tensors of a file's inputs → logits, an array of B×K×h×w.
Runner = Callable[["list[Tensor]"], Any]


@dataclass(frozen=True)
class Target:
    """A runtime: how to write its files, and how to run them for the comparison."""

    #: Of the files per network; the first is the one to open.
    suffixes: tuple[str, ...]
    #: Python packages that it needs, which have the same names on PyPI.
    packages: tuple[str, ...]
    #: Writes the files of a network whose first file is ``path``; the last argument is the
    #: network's SHA-256, which the file's metadata contain as ``weights_sha256``.
    write: Callable[[ExportModule, Path, str], None]
    open: Callable[[ExportModule, Path], Runner]
    #: Whether the files take any batch and size, or only one image of the network's size.
    any_size: bool = True

    def require(self) -> None:
        """Raise UsageError with the install command if a package is missing."""
        missing = [name for name in self.packages if importlib.util.find_spec(name) is None]
        if missing:
            raise UsageError(
                f"{' and '.join(missing)} not installed: pip install {' '.join(missing)}"
            )


def make_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m training.export",
        description="Convert networks for other runtimes and compare the results with PyTorch's.",
    )
    parser.add_argument(
        "bundle", type=Path, help="folder of a bundle or run, or a .safetensors network"
    )
    parser.add_argument("--to", required=True, metavar="|".join(TARGETS), help="target runtime")
    parser.add_argument(
        "--raw",
        action="store_true",
        help="the files take RGB in 0..255 (uint8) and depth in meters, not normalized inputs",
    )
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="output folder (default BUNDLE/TARGET)"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace files in --out")
    parser.add_argument("--json", action="store_true", help="print the parity as JSON on stdout")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Export and compare each network; returns 0 if all are at parity, else 1."""
    args = parse_command(make_parser(), argv)
    target = lookup("target", args.to, TARGETS)
    target.require()
    from training.networks import open_networks

    networks = open_networks(args.bundle)
    hha = [n for n, x in networks.items() if x.record.preprocess.depth.needs_intrinsics]
    hha = [n for n in hha if networks[n].record.spec.modality != "rgb"]
    if args.raw and hha:
        raise UsageError(
            f"--raw: {' and '.join(hha)} takes HHA, which cannot be exported; zscore and "
            "disparity can: leave --raw out, and encode with rgbd_seg_ros.depth.encode"
        )
    base = args.bundle if args.bundle.is_dir() else args.bundle.parent
    out: Path = args.out or base / args.to
    existing = [
        name for name in networks if any((out / f"{name}{x}").exists() for x in target.suffixes)
    ]
    if existing and not args.overwrite:
        raise UsageError(f"{out} already contains {', '.join(existing)}; add --overwrite")
    out.mkdir(parents=True, exist_ok=True)
    report = {}
    for name, network in networks.items():
        print(f"exporting {name} …", file=sys.stderr)
        parity = export(network, target, out / f"{name}{target.suffixes[0]}", args.raw)
        report[name] = parity
        print(
            f"{name}: {100 * parity['same_labels']:.3f} % equal labels, largest logit difference "
            f"{parity['logit_difference']:.1e} of {parity['logit_range']:.1f}, "
            f"{parity['megabytes']:.1f} MB: {'parity' if parity['ok'] else 'NO PARITY'}",
            file=sys.stderr,
        )
    if args.json:
        print(json.dumps(report))
    return 0 if all(parity["ok"] for parity in report.values()) else 1


def export(
    network: TrainedNetwork, target: Target, path: Path, raw: bool = False
) -> dict[str, Any]:
    """Write the files of one network, run them, and compare the logits with PyTorch's.

    Args:
        network: the network.
        target: a value of ``TARGETS``.
        path: the first file, with the target's first suffix.
        raw: see :class:`training.export_module.ExportModule`.

    Returns:
        See :func:`parity_of`.

    Raises:
        UsageError: the target needs a newer PyTorch or a C++ compiler.
    """
    import torch

    from training.export_module import ExportModule

    module = ExportModule(network, raw).eval()
    target.write(module, path, network.sha256)
    shapes = [(1, *network.record.preprocess.size), *(COMPARED if target.any_size else ())]
    trials = [module.example(seed, *shape) for seed, shape in enumerate(shapes)]
    run = target.open(module, path)
    with torch.no_grad():
        expected = [module(*trial).numpy() for trial in trials]
    found = [run([*trial]) for trial in trials]
    size = sum(path.with_suffix(suffix).stat().st_size for suffix in target.suffixes)
    return parity_of(expected, found, size)


def parity_of(expected: list[Any], found: list[Any], size: int) -> dict[str, Any]:
    """Compare the logits of another runtime with PyTorch's.

    Args:
        expected: PyTorch's logits, arrays of 1×K×h×w.
        found: the other runtime's logits.
        size: size of the exported file in bytes.
    """
    import numpy as np

    pairs = list(zip(expected, found, strict=True))
    same = float(np.mean([(a.argmax(1) == b.argmax(1)).mean() for a, b in pairs]))
    difference = float(max(np.abs(a - b).max() for a, b in pairs))
    largest = float(max(np.abs(a).max() for a, _ in pairs))
    ok = same >= SAME_LABELS and difference <= LOGIT_TOLERANCE * largest
    return {
        "same_labels": same,
        "logit_difference": difference,
        "logit_range": largest,
        "megabytes": size / 1e6,
        "ok": ok,
    }


def write_onnx(module: ExportModule, path: Path, sha256: str) -> None:
    """ONNX with inputs ``rgb`` and ``depth`` of any batch and size, and the output ``logits``."""
    import onnx

    convert_to_onnx(module, path)
    model = onnx.load(str(path))
    onnx.helper.set_model_props(model, {"weights_sha256": sha256})
    onnx.save(model, str(path))


def convert_to_onnx(module: ExportModule, path: Path) -> None:
    """Trace the network and write it as ONNX without metadata."""
    import torch

    from rgbd_seg_ros.engine.runtimes import quiet

    example = module.example(0, *TRACED)
    dynamic = torch.export.Dim.DYNAMIC
    axes = tuple({0: dynamic, 2: dynamic, 3: dynamic} for _ in example)
    try:
        with torch.no_grad(), quiet():
            traced = torch.export.export(module, example, dynamic_shapes=(axes,), strict=False)
            torch.onnx.export(
                traced, (), str(path), input_names=list(module.inputs), output_names=["logits"],
                dynamo=True, external_data=False,
            )  # fmt: skip
    except TypeError as error:
        raise UsageError(f"export needs torch 2.6 or newer ({error})") from error


def open_onnx(module: ExportModule, path: Path) -> Runner:
    """Run an ONNX file in ONNX Runtime on the CPU."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])

    def run(inputs: list[Tensor]) -> Any:
        given = {n: x.numpy() for n, x in zip(module.inputs, inputs, strict=True)}
        return session.run(["logits"], given)[0]

    return run


def write_openvino(module: ExportModule, path: Path, sha256: str) -> None:
    """OpenVINO's .xml and .bin in float32, by way of ONNX, with the inputs and output of ONNX."""
    import openvino

    file = path.with_suffix(".tmp.onnx")
    try:
        convert_to_onnx(module, file)
        model = openvino.convert_model(str(file))
    finally:
        file.unlink(missing_ok=True)
    model.set_rt_info(sha256, "weights_sha256")
    openvino.save_model(model, str(path), compress_to_fp16=False)


def open_openvino(_module: ExportModule, path: Path) -> Runner:
    """Run an OpenVINO file on the CPU in float32."""
    from rgbd_seg_ros.engine.runtimes import openvino_core

    options = {"INFERENCE_PRECISION_HINT": "f32"}
    compiled = openvino_core().compile_model(str(path), "CPU", options)
    return lambda inputs: compiled([x.numpy() for x in inputs])[0]


def write_aoti(module: ExportModule, path: Path, sha256: str) -> None:
    """A package of AOTInductor for this machine's CPU, for one image of the network's size."""
    import torch

    from rgbd_seg_ros.engine.runtimes import quiet

    compiler = os.environ.get("CXX", "g++")
    if shutil.which(compiler) is None:
        raise UsageError(
            f"AOTInductor needs a C++ compiler, and {compiler} is missing: install g++"
        )
    example = module.example(0, 1, *module.preprocess.size)
    with torch.no_grad(), quiet():
        traced = torch.export.export(module, example, strict=False)
        torch._inductor.aoti_compile_and_package(
            traced,
            package_path=str(path),
            inductor_configs={"aot_inductor.metadata": {"weights_sha256": sha256}},
        )


def open_aoti(_module: ExportModule, path: Path) -> Runner:
    """Run a package of AOTInductor."""
    import torch

    compiled = torch._inductor.aoti_load_package(str(path))
    return lambda inputs: compiled(*inputs).detach().numpy()


TARGETS: dict[str, Target] = {
    "onnx": Target((".onnx",), ("onnx", "onnxruntime", "onnxscript"), write_onnx, open_onnx),
    "openvino": Target(
        (".xml", ".bin"), ("openvino", "onnx", "onnxscript"), write_openvino, open_openvino
    ),
    "aoti": Target((".pt2",), (), write_aoti, open_aoti, any_size=False),
}


if __name__ == "__main__":
    sys.exit(run_command(main))
