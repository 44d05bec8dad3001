# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""`python -m training.model_info`: parameters and multiply-adds of every network."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from rgbd_seg_ros.names import unknown_name
from rgbd_seg_ros.progress import progress_bar
from rgbd_seg_ros.text_table import text_table
from training.command import run_command
from training.options import parse_command

if TYPE_CHECKING:
    from torch import Tensor, nn

    from rgbd_seg_ros.models import NetworkSpec

CONVENTION = (
    "Multiply-adds for one image (two FLOPs each). GMAC counts convolutions and linear layers "
    "only, as published for CMX and PrimKD; the last column adds the matrix products of "
    "attention. Norms, activations and resizing are not counted. The all-MLP head counts in its "
    "published form, although it is computed with fewer operations."
)


@dataclass(frozen=True)
class Cost:
    """Cost of a network. Costs can be added to give the cost of both networks."""

    #: Learnable parameters.
    params: int
    #: Multiply-adds of convolutions and linear layers.
    macs: int
    #: The same plus the matrix products of attention.
    macs_with_attention: int

    def __add__(self, other: Cost) -> Cost:
        return Cost(
            self.params + other.params,
            self.macs + other.macs,
            self.macs_with_attention + other.macs_with_attention,
        )


def measure(module: nn.Module, *inputs: Tensor | tuple[int, int]) -> Cost:
    """Cost of ``module(*inputs)`` for a batch of one; works on the meta device."""
    import torch
    from torch import nn
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    from rgbd_seg_ros.models.segformer import AllMLPHead

    macs = 0

    def count(layer: Any, inputs: Any, output: Any) -> None:
        nonlocal macs
        if isinstance(layer, AllMLPHead):
            macs += layer.published_macs(*inputs)
        else:  # each output value takes one product per weight of its channel, weight[0]
            macs += output.numel() * layer.weight[0].numel()

    hooks = [
        layer.register_forward_hook(count)
        for layer in module.modules()
        if isinstance(layer, (nn.Conv2d, nn.Linear, AllMLPHead))
    ]
    # FlopCounterMode sees the matrix products only in the plain attention backend.
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), counter:
        module.eval()(*inputs)
    for hook in hooks:
        hook.remove()
    of_operator = counter.get_flop_counts()["Global"]
    batched = (torch.ops.aten.bmm, torch.ops.aten.baddbmm)
    attention = sum(of_operator.get(operator, 0) for operator in batched) // 2
    params = sum(p.numel() for p in module.parameters())
    return Cost(params, macs, macs + attention)


def network_cost(spec: NetworkSpec, size: tuple[int, int]) -> Cost:
    """Cost of the network of ``spec`` at (height, width)."""
    import torch

    from rgbd_seg_ros.models import build

    with torch.device("meta"):
        inputs = [torch.empty(1, channels, *size) for channels in spec.in_channels]
        return measure(build(spec), *inputs)


def pair_cost(name: str, size: tuple[int, int], classes: int) -> Cost:
    """Cost of the RGB network plus the depth network (one channel) of this name."""
    from rgbd_seg_ros.models import network_spec

    rgb, depth = (
        network_cost(network_spec(name, modality=modality, num_classes=classes), size)
        for modality in ("rgb", "depth")
    )
    return rgb + depth


def auxiliary_cost(size: tuple[int, int], classes: int, skip: bool) -> Cost:
    """Cost of one pass through CroDiNo-KD's auxiliary decoder (ResNet-50)."""
    import torch

    from rgbd_seg_ros.models import network_spec
    from rgbd_seg_ros.models.deeplabv3plus import auxiliary_decoder

    spec = network_spec("crodino_r50", num_classes=classes)
    with torch.device("meta"):
        half = torch.empty(1, 512, *_map_size(size, 16))
        low_level = torch.empty(1, 256, *_map_size(size, 4))
        return measure(auxiliary_decoder(spec, skip), half, low_level, size)


def generators_cost(size: tuple[int, int]) -> Cost:
    """Cost of MGD's two generators on the last maps of two ResNet-50 students."""
    import torch

    from training.methods.mgd import MgdGenerator

    with torch.device("meta"):
        one = measure(MgdGenerator(2048), torch.empty(1, 2048, *_map_size(size, 16)))
    return one + one


def _map_size(size: tuple[int, int], stride: int) -> tuple[int, int]:
    return -(-size[0] // stride), -(-size[1] // stride)


def costs(size: tuple[int, int], classes: int) -> dict[str, Callable[[], Cost]]:
    """Functions that measure each network, pair and training-only part, by name."""
    from rgbd_seg_ros.models import NETWORKS, network_spec

    rows: dict[str, Callable[[], Cost]] = {}
    for name in NETWORKS:
        rows[name] = partial(network_cost, network_spec(name, num_classes=classes), size)
    for name in ("deeplabv3plus_r18", "deeplabv3plus_r50", "crodino_r18", "crodino_r50"):
        rows[f"{name}_pair"] = partial(pair_cost, name, size, classes)
    rows["crodino_aux"] = partial(auxiliary_cost, size, classes, skip=True)
    rows["crodino_aux_no_skip"] = partial(auxiliary_cost, size, classes, skip=False)
    rows["mgd_generators"] = partial(generators_cost, size)
    return rows


def _size(text: str) -> tuple[int, int]:
    from rgbd_seg_ros.models.network import MIN_SIZE_PX

    height, _, width = text.partition("x")
    if (
        not (height.isdecimal() and width.isdecimal())
        or min(int(height), int(width)) < MIN_SIZE_PX
    ):
        raise argparse.ArgumentTypeError(
            f"{text!r} is not HEIGHTxWIDTH of at least {MIN_SIZE_PX}; write it as 480x640"
        )
    return int(height), int(width)


def _classes(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 255:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of classes from 1 to 255")
    return int(text)


def main(argv: list[str] | None = None) -> int:
    """Print the table or one JSON object; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m training.model_info",
        description="Print parameters and multiply-adds of every network at an input size.",
        epilog=CONVENTION,
    )
    parser.add_argument(
        "names", nargs="*", metavar="NETWORK", help="names of networks (default: all)"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object on stdout")
    parser.add_argument(
        "--size", type=_size, default=(480, 640), metavar="HxW",
        help="input size (default 480x640)",
    )  # fmt: skip
    parser.add_argument(
        "--classes", type=_classes, default=40, metavar="K", help="number of classes (default 40)"
    )
    args = parse_command(parser, argv)
    rows = costs(args.size, args.classes)
    for name in args.names:
        if name not in rows:
            parser.error(unknown_name("network", name, rows))
    height, width = args.size
    networks = {}
    table = [["network", "params M", "GMAC", "+attention"]]
    names = args.names or list(rows)
    for name in progress_bar("measuring", len(names), "network", iterable=names):
        cost = rows[name]()
        gmac, with_attention = cost.macs / 1e9, cost.macs_with_attention / 1e9
        networks[name] = {
            "params": cost.params,
            "gmac": round(gmac, 3),
            "gmac_with_attention": round(with_attention, 3),
            "size": [height, width],
        }
        table.append([name, f"{cost.params / 1e6:.2f}", f"{gmac:.1f}", f"{with_attention:.1f}"])
    if args.json:
        print(json.dumps({"networks": networks}, indent=2))
    else:
        print(f"{height}×{width}, {args.classes} classes. {CONVENTION}\n\n{text_table(table)}")
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main))
