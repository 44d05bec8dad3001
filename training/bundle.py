# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""`python -m training.bundle`: packs up to three trained networks into a deployable bundle."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from training.command import require_empty, run_command
from training.networks import open_network
from training.options import UsageError

SLOTS = ("rgbd", "rgb", "depth")


def main(argv: list[str] | None = None) -> int:
    """Parse, load each network, write the bundle and read it back; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m training.bundle",
        description="Pack up to three trained networks into a deployable bundle.",
    )
    for slot in SLOTS:
        parser.add_argument(
            f"--{slot}", type=Path, metavar="PATH",
            help=f"the {slot} network: folder of a run or bundle, or a .safetensors file",
        )  # fmt: skip
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to write")
    parser.add_argument(
        "--dtype", choices=("float16", "float32"), default="float16",
        help="type of stored matrices and kernels (default %(default)s, half the size)",
    )  # fmt: skip
    parser.add_argument("--overwrite", action="store_true", help="replace the contents of --out")
    args = parser.parse_args(argv)
    chosen = {slot: getattr(args, slot) for slot in SLOTS if getattr(args, slot)}
    if not chosen:
        raise UsageError("nothing to pack: pass at least one of --rgbd, --rgb and --depth")
    require_empty(args.out, args.overwrite)

    import torch

    from rgbd_seg_ros.bundle import Bundle, load_bundle, save_bundle

    networks = {slot: open_network(path, slot) for slot, path in chosen.items()}
    labels = next(iter(networks.values())).record.labels
    save_bundle(args.out, Bundle(labels, networks), getattr(torch, args.dtype))  # type: ignore[arg-type]
    load_bundle(args.out)  # check that it can be read
    megabytes = sum(p.stat().st_size for p in args.out.iterdir()) / 1e6
    missing = [slot for slot in SLOTS if slot not in networks]
    print(f"{', '.join(networks)} in {args.out}, {megabytes:.1f} MB", file=sys.stderr)
    if missing:
        print(
            f"no {', '.join(missing)} network: no mask if only that input is left", file=sys.stderr
        )
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main))
