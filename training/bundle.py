# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""`python -m training.bundle`: packs up to three trained networks into a deployable bundle.

A network is one that was trained here, or a published one, which is converted first.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from training.command import require_empty, run_command
from training.networks import open_network
from training.options import UsageError, lookup, parse_command
from training.published_networks import (
    NETWORK_OPTIONS,
    SOURCES,
    add_network_options,
    open_published,
)

if TYPE_CHECKING:
    from rgbd_seg_ros.bundle import TrainedNetwork

SLOTS = ("rgbd", "rgb", "depth")


def main(argv: list[str] | None = None) -> int:
    """Parse, load each network, write the bundle and read it back; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m training.bundle",
        description="Pack up to three networks, trained here or published, into a deployable "
        "bundle.",
    )
    for slot in SLOTS:
        parser.add_argument(
            f"--{slot}", type=Path, metavar="PATH",
            help=f"the {slot} network: folder of a run or bundle, or a .safetensors file",
        )  # fmt: skip
    parser.add_argument(
        "--published", nargs=2, action="append", default=[], metavar=("SOURCE", "FILE"),
        help=f"a published network, with SOURCE {', '.join(SOURCES)} (repeatable)",
    )  # fmt: skip
    add_network_options(parser)
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to write")
    parser.add_argument(
        "--dtype", choices=("float16", "float32"), default="float16",
        help="type of stored matrices and kernels (default %(default)s, half the size)",
    )  # fmt: skip
    parser.add_argument("--overwrite", action="store_true", help="replace the contents of --out")
    args = parse_command(parser, argv)
    chosen = {slot: getattr(args, slot) for slot in SLOTS if getattr(args, slot)}
    _check_usage(args, chosen)
    require_empty(args.out, args.overwrite)

    import torch

    from rgbd_seg_ros.bundle import Bundle, load_bundle, save_bundle

    networks = {slot: open_network(path, slot) for slot, path in chosen.items()}
    _add_published(args, networks)
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


def _check_usage(args: argparse.Namespace, chosen: dict[str, Path]) -> None:
    """Check everything that does not need a network.

    Raises:
        UsageError: nothing to pack, an unknown publisher, a missing file, or an option that
            applies to published networks only.
    """
    if not chosen and not args.published:
        raise UsageError(
            "nothing to pack: pass at least one of --rgbd, --rgb, --depth and --published"
        )
    for source, file in args.published:
        lookup("publisher", source, SOURCES)
        if not Path(file).is_file():
            raise UsageError(f"--published {source} {file}: there is no such file")
    given = [name for name in NETWORK_OPTIONS if getattr(args, name)]
    if given and not args.published:
        raise UsageError(f"--{given[0].replace('_', '-')} only applies to --published networks; "
                         "those trained here state it themselves: omit it")  # fmt: skip


def _add_published(args: argparse.Namespace, networks: dict[str, TrainedNetwork]) -> None:
    """Convert the published networks and add each under its modality; prints their notes.

    Raises:
        UsageError: a file that cannot be converted, or two networks of the same modality.
    """
    for source, file in args.published:
        published = open_published(source, Path(file), args)
        slot = published.network.record.spec.modality
        if slot in networks:
            raise UsageError(
                f"{file} is a network for {slot}, and the bundle already has one: pass one of them"
            )
        networks[slot] = published.network
        for note in published.notes:
            print(f"{file}: {note}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(run_command(main))
