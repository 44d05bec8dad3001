# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""`python -m training.import_weights`: converts published weights into this project's format.

Every weight of the network must be filled. The authors of CMX and PrimKD read images as BGR but
normalize them by a mean and std in RGB order, while networks of this project take RGB. Therefore
the input channels of the first convolutions are reversed, and so are mean and std in the network's
record, so that the same numbers reach the same weights.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from rgbd_seg_ros.files import write_atomically
from training.command import run_command
from training.options import UsageError, parse_command
from training.published_networks import NETWORK_OPTIONS, add_network_options, convert_published
from training.published_weights import ENCODER_FORMAT, convert_encoder, read_state

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
    add_network_options(parser)
    parser.add_argument("--overwrite", action="store_true", help="replace --out")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Convert a file, save the result and read it back; returns the exit code."""
    args = parse_command(make_parser(), argv)
    out: Path = args.out.with_suffix(".safetensors")
    if out.exists() and not args.overwrite:
        raise UsageError(f"{out} exists; choose another --out or add --overwrite")
    state = read_state(args.file)
    if any(key.startswith("decode_head.") for key in state):
        from rgbd_seg_ros.bundle import load_network, save_network

        published = convert_published(args.source, args.file, state, args)
        load_network(save_network(out, published.network.module, published.network.record))
        text = "\n".join(published.notes)
    else:
        given = [name for name in NETWORK_OPTIONS if getattr(args, name)]
        if given:
            raise UsageError(f"--{given[0].replace('_', '-')} needs a whole network, but "
                             f"{args.file} is an encoder: omit it")  # fmt: skip
        name, weights, license = convert_encoder(args.source, state)
        save_encoder(out, name, weights, license)
        text = f"encoder {name}; use it with --pretrained {out}\n{license}"
    print(f"converted all {len(state)} keys to {out}: {text}", file=sys.stderr)
    return 0


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
