# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""`python -m training.export`: converts networks for other runtimes and compares the results."""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import logging
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from training.command import run_command
from training.networks import open_networks
from training.options import UsageError, lookup, parse_command

if TYPE_CHECKING:
    import torch

    from rgbd_seg_ros.bundle import TrainedNetwork

#: Parity requires that at least this share of the pixels gets the same label.
SAME_LABELS = 0.999
#: Parity also requires that no logit differs by more than this share of the largest one.
LOGIT_TOLERANCE = 1e-3
#: Number of inputs on which each network is compared.
TRIALS = 3


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
        "--out", type=Path, metavar="DIR", help="output folder (default BUNDLE/TARGET)"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace files in --out")
    parser.add_argument("--json", action="store_true", help="print the parity as JSON on stdout")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Export and compare each network; returns 0 if all are at parity, else 1."""
    args = parse_command(make_parser(), argv)
    export = lookup("target", args.to, TARGETS)
    networks = open_networks(args.bundle)
    base = args.bundle if args.bundle.is_dir() else args.bundle.parent
    out: Path = args.out or base / args.to
    existing = [name for name in networks if (out / f"{name}.{args.to}").exists()]
    if existing and not args.overwrite:
        raise UsageError(f"{out} already contains {', '.join(existing)}; add --overwrite")
    out.mkdir(parents=True, exist_ok=True)
    report = {}
    for name, network in networks.items():
        print(f"exporting {name} …", file=sys.stderr)
        parity = export(network, out / f"{name}.{args.to}")
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


def inputs_of(network: TrainedNetwork) -> tuple[tuple[str, ...], list[tuple[torch.Tensor, ...]]]:
    """Names of a network's inputs, and normalized test inputs, 1×C×h×w each.

    The inputs are smooth noise. On white noise, most pixels would be ties between classes, which
    does not happen with real images.
    """
    import torch

    record = network.record
    names = {"rgb": ("rgb",), "depth": ("depth",), "rgbd": ("rgb", "depth")}[record.spec.modality]
    generator = torch.Generator().manual_seed(0)
    trials = []
    for _ in range(TRIALS):
        coarse = [torch.randn(1, c, 5, 6, generator=generator) for c in record.spec.in_channels]
        trials.append(
            tuple(
                torch.nn.functional.interpolate(x, record.preprocess.size, mode="bicubic")
                for x in coarse
            )
        )
    return names, trials


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


def export_onnx(network: TrainedNetwork, path: Path) -> dict[str, Any]:
    """Export to ONNX with normalized inputs ``rgb``, ``depth`` (1×C×h×w) and output ``logits``.

    The metadata entry ``weights_sha256`` identifies the exported weights.

    Raises:
        UsageError: a required package is missing or too old.
    """
    try:
        import onnx
        import onnxruntime
        import onnxscript  # noqa: F401  (torch.onnx needs it)
    except ImportError as error:
        raise UsageError(
            f"{error.name} is missing: pip install onnx onnxruntime onnxscript"
        ) from error
    import torch

    class Logits(torch.nn.Module):
        def __init__(self, module: torch.nn.Module) -> None:
            super().__init__()
            self.module = module

        def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
            return self.module(*inputs).logits  # type: ignore[no-any-return]

    names, trials = inputs_of(network)
    module = Logits(network.module).eval()
    try:
        with quiet():
            torch.onnx.export(
                module, trials[0], str(path), input_names=list(names), output_names=["logits"],
                dynamo=True, external_data=False,
            )  # fmt: skip
    except TypeError as error:
        raise UsageError(f"export to ONNX needs torch 2.6 or newer ({error})") from error
    model = onnx.load(str(path))
    onnx.helper.set_model_props(model, {"weights_sha256": network.sha256})
    onnx.save(model, str(path))
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    with torch.no_grad():
        expected = [module(*trial).numpy() for trial in trials]
    found = [
        session.run(["logits"], {n: x.numpy() for n, x in zip(names, trial, strict=True)})[0]
        for trial in trials
    ]
    return parity_of(expected, found, path.stat().st_size)


@contextlib.contextmanager
def quiet() -> Any:
    """Suppress progress and warnings of the exporter."""
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        yield


TARGETS: dict[str, Callable[[TrainedNetwork, Path], dict[str, Any]]] = {"onnx": export_onnx}


if __name__ == "__main__":
    sys.exit(run_command(main))
