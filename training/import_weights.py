# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""`python -m training.import_weights`: converts published weights into this project's format.

Every weight of the network must be filled. The authors of CMX and PrimKD read images as BGR but
normalize them by a mean and std in RGB order, while networks of this project take RGB. Therefore
the input channels of the first convolutions are reversed, and so are mean and std in the network's
record: that the same numbers reach the same weights.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from rgbd_seg_ros.files import write_atomically
from training.command import run_command
from training.options import UsageError, convert
from training.published_weights import (
    ENCODER_FORMAT,
    NVIDIA_LICENSE,
    convert_encoder,
    convert_network,
    depth_encoding,
    read_state,
)

if TYPE_CHECKING:
    from torch import Tensor


def make_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m training.import_weights",
        description="Convert published weights into this project's format.",
    )
    parser.add_argument(
        "--from", dest="source", required=True,
        choices=("cmx", "primkd", "segformer", "torchvision"), help="publisher of the file",
    )  # fmt: skip
    parser.add_argument(
        "file", type=Path, metavar="FILE", help="published .pth, .pt or .safetensors"
    )
    parser.add_argument(
        "--out", type=Path, required=True, metavar="F", help="file to write, F.safetensors"
    )
    parser.add_argument(
        "--classes", type=Path, metavar="TXT",
        help="class names of a whole network, one per line (default class_0, class_1, …)",
    )  # fmt: skip
    parser.add_argument(
        "--size", default="480,640", metavar="H,W", help="input size to record (%(default)s)"
    )
    parser.add_argument(
        "--depth-encoding", default="hha", metavar="KIND",
        help="encoding of the fused network's depth input (default %(default)s)",
    )  # fmt: skip
    parser.add_argument("--overwrite", action="store_true", help="replace --out")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Convert a file, save the result and read it back; returns the exit code."""
    args = make_parser().parse_args(argv)
    out: Path = args.out.with_suffix(".safetensors")
    if out.exists() and not args.overwrite:
        raise UsageError(f"{out} exists; choose another --out or add --overwrite")
    state = read_state(args.file)
    if any(key.startswith("decode_head.") for key in state):
        text = save_converted(args, state, out)
    else:
        name, weights, license = convert_encoder(args.source, state)
        save_encoder(out, name, weights, license)
        text = f"encoder {name}; use it with --pretrained {out}\n{license}"
    print(f"converted all {len(state)} keys to {out}: {text}", file=sys.stderr)
    return 0


def save_converted(args: argparse.Namespace, state: Mapping[str, Tensor], out: Path) -> str:
    """Save a whole network with its record; returns a description of it.

    Raises:
        UsageError: the class names or the weights do not fit the network.
    """
    from rgbd_seg_ros.bundle import NetworkRecord, load_network, save_network
    from rgbd_seg_ros.depth import IMAGENET_MEAN, IMAGENET_STD
    from rgbd_seg_ros.labels import LabelSet
    from rgbd_seg_ros.models import build
    from rgbd_seg_ros.preprocess import Preprocess

    spec, weights = convert_network(args.source, state)
    mean, std = IMAGENET_MEAN, IMAGENET_STD
    if args.source in ("cmx", "primkd"):
        mean, std = mean[::-1], std[::-1]
    names = [f"class_{i}" for i in range(spec.num_classes)]
    if args.classes:
        names = args.classes.read_text(encoding="utf-8").split("\n")
        names = [name.strip() for name in names if name.strip()]
    if len(names) != spec.num_classes:
        raise UsageError(
            f"{args.classes} names {len(names)} classes, but the network has {spec.num_classes}"
        )
    size = convert(args.size, tuple[int, int], "size")
    preprocess = Preprocess(size, mean, std)
    if spec.modality == "rgbd":
        depth = depth_encoding(args.depth_encoding)
        preprocess = Preprocess(size, mean, std, depth)
        spec = replace(spec, depth_channels=depth.channels)
    network = build(spec)
    try:
        network.load_state_dict(weights)  # strict: every weight must be present
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:300]
        raise UsageError(f"the file does not match the network: {reason}") from error
    digest = hashlib.sha256(args.file.read_bytes()).hexdigest()
    facts = {"method": f"imported from {args.source}", "source_sha256": digest}
    record = NetworkRecord(
        spec, preprocess, LabelSet(out.stem, tuple(names)), facts, NVIDIA_LICENSE
    )
    load_network(save_network(out, network, record))
    return f"{spec.architecture} on {spec.encoder}, {spec.num_classes} classes\n{NVIDIA_LICENSE}"


def save_encoder(path: Path, name: str, weights: Mapping[str, Tensor], license: str) -> None:
    """Write an encoder's weights and JSON, after checking that the weights can be loaded.

    Raises:
        UsageError: the weights do not fit the encoder.
    """
    from safetensors.torch import save

    from rgbd_seg_ros.models.encoders import build_encoder

    try:
        build_encoder(name).load_weights(weights)
    except ValueError as error:
        raise UsageError(str(error)) from error
    data = save({k: v.contiguous() for k, v in weights.items()})
    document = {
        "format": ENCODER_FORMAT,
        "version": 1,
        "encoder": name,
        "license": license,
        "sha256": hashlib.sha256(data).hexdigest(),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, data)  # first, because the JSON names their hash
    write_atomically(path.with_suffix(".json"), json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(run_command(main))
