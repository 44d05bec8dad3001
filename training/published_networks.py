# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Published files as networks of this project: classes, input size, normalization, license."""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from rgbd_seg_ros.files import read_text_file
from rgbd_seg_ros.labels import LABEL_SETS, LabelSet
from rgbd_seg_ros.names import unknown_name
from training.options import UsageError, convert, lookup
from training.published_weights import (
    NVIDIA_LICENSE,
    convert_network,
    depth_encoding,
    read_state,
)

if TYPE_CHECKING:
    from torch import Tensor

    from rgbd_seg_ros.bundle import TrainedNetwork

#: Publisher of whole networks → license of the weights, as recorded with them.
SOURCES: dict[str, str] = {
    "cmx": f"published with CMX, whose code has the MIT License; {NVIDIA_LICENSE}",
    "primkd": "published with PrimKD, whose repository states no license: ask its authors; "
    f"{NVIDIA_LICENSE}",
    "segformer": NVIDIA_LICENSE,
}
#: What :func:`add_network_options` adds.
NETWORK_OPTIONS = ("classes", "size", "depth_encoding")


@dataclass(frozen=True)
class PublishedNetwork:
    """A converted network, and what its user has to know."""

    network: TrainedNetwork
    #: One line each.
    notes: tuple[str, ...]


def add_network_options(parser: argparse.ArgumentParser) -> None:
    """Declare the options of a published network that its file does not state."""
    parser.add_argument(
        "--classes", metavar="NAME|TXT",
        help=f"class names of the published network: a label set ({', '.join(LABEL_SETS)}) or a "
        "text file with one name per line (default class_0, class_1, …)",
    )  # fmt: skip
    parser.add_argument(
        "--size", metavar="H,W",
        help="input size of the published network, to which images are resized (default 480,640)",
    )  # fmt: skip
    parser.add_argument(
        "--depth-encoding", metavar="KIND",
        help="depth input of the published fused network: hha (default), zscore or disparity",
    )  # fmt: skip


def open_published(source: str, file: Path, args: argparse.Namespace) -> PublishedNetwork:
    """Convert a published network.

    Args:
        source: a key of ``SOURCES``.
        file: .pth, .pt or .safetensors.
        args: the options of :func:`add_network_options`; None stands for a default.

    Raises:
        UsageError: the file cannot be read, is not from ``source``, has weights that are missing
            or unknown, or has another number of classes than ``args`` names.
    """
    lookup("publisher", source, SOURCES)  # before a large file is read
    state = read_state(file)
    if not any(key.startswith("decode_head.") for key in state):
        raise UsageError(
            f"{file} has no segmentation head (decode_head.…): if it is an encoder, train with "
            f"--pretrained {file}"
        )
    return convert_published(source, file, state, args)


def convert_published(
    source: str, file: Path, state: Mapping[str, Tensor], args: argparse.Namespace
) -> PublishedNetwork:
    """As :func:`open_published`, for a file whose tensors have been read already."""
    from rgbd_seg_ros.bundle import NetworkRecord, TrainedNetwork
    from rgbd_seg_ros.depth import IMAGENET_MEAN, IMAGENET_STD, DepthEncoding
    from rgbd_seg_ros.models import build
    from rgbd_seg_ros.preprocess import Preprocess

    lookup("publisher of a whole network", source, SOURCES)
    spec, weights = convert_network(source, state)
    mean, std = IMAGENET_MEAN, IMAGENET_STD
    if source in ("cmx", "primkd"):
        mean, std = mean[::-1], std[::-1]
    fused = spec.modality == "rgbd"
    if args.depth_encoding and not fused:
        raise UsageError(f"{file} has no depth input: omit --depth-encoding")
    kind = args.depth_encoding or "hha"
    depth = depth_encoding(kind) if fused else DepthEncoding()
    if fused:
        spec = replace(spec, depth_channels=depth.channels)
    labels = _labels(args.classes, spec.num_classes, file)
    try:
        preprocess = Preprocess(
            convert(args.size or "480,640", tuple[int, int], "size"), mean, std, depth
        )
    except UsageError:
        raise
    except ValueError as error:
        raise UsageError(str(error)) from error
    network = build(spec)
    _check_weights(network.state_dict(), weights, file)
    network.load_state_dict(weights)
    facts = {
        "method": f"published by {source}",
        "source_file": file.name,
        "source_sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
    }
    record = NetworkRecord(spec, preprocess, labels, facts, SOURCES[source])
    notes = [f"{spec.architecture} on {spec.encoder}, {spec.num_classes} classes"]
    if not args.classes:
        sets = [name for name, known in LABEL_SETS.items() if len(known) == spec.num_classes]
        known = f"; label sets with as many classes: {', '.join(sets)}" if sets else ""
        notes.append(
            f"the classes are called class_0, class_1, …: name them with --classes{known}"
        )
    if fused and kind == "hha":
        notes.append("its depth input is HHA, which is computed from the camera's intrinsics")
    elif fused:
        notes.append(
            f"its depth input is recorded as {kind} with mean {depth.mean} and std {depth.std}: "
            "if it was trained otherwise, its masks are wrong until it is trained further"
        )
    return PublishedNetwork(
        TrainedNetwork(network.eval(), record), (*notes, f"license: {SOURCES[source]}")
    )


def _labels(chosen: str | None, count: int, file: Path) -> LabelSet:
    """The label set of a network with ``count`` classes."""
    if chosen is None:
        return LabelSet(f"unnamed{count}", tuple(f"class_{i}" for i in range(count)))
    if chosen in LABEL_SETS:
        labels = LABEL_SETS[chosen]
    elif Path(chosen).exists():
        lines = read_text_file(Path(chosen)).splitlines()
        names = tuple(line.strip() for line in lines if line.strip())
        try:
            labels = LabelSet(Path(chosen).stem, names)
        except ValueError as error:
            raise UsageError(f"{chosen}: {error}") from error
    else:
        raise UsageError(f"{unknown_name('label set', chosen, LABEL_SETS)}, and no such file")
    if len(labels) != count:
        sets = [name for name, known in LABEL_SETS.items() if len(known) == count]
        remedy = f"use {' or '.join(sets)}, or a text file" if sets else "use a text file"
        raise UsageError(
            f"{file} has {count} classes, but --classes {chosen} names {len(labels)}: {remedy} "
            f"with {count} names, one per line"
        )
    return labels


def _check_weights(own: Mapping[str, Tensor], weights: Mapping[str, Tensor], file: Path) -> None:
    """Check that the weights are exactly those of the network."""
    for what, keys in (("lacks", own.keys() - weights.keys()),
                       ("has unknown", weights.keys() - own.keys())):  # fmt: skip
        if keys:
            shown = ", ".join(sorted(keys)[:3]) + (", …" if len(keys) > 3 else "")
            raise UsageError(f"{file} {what} {len(keys)} of the network's weights: {shown}")
    for key, tensor in weights.items():
        if tensor.shape != own[key].shape:
            raise UsageError(
                f"{file}: {key} is {tuple(tensor.shape)}, but the network needs "
                f"{tuple(own[key].shape)}"
            )
