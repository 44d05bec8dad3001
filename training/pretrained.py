# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Initial weights of a network: none, ImageNet, an encoder's file, or a trained network."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from rgbd_seg_ros.files import read_json
from rgbd_seg_ros.names import shown
from training import distributed
from training.imagenet import check_imagenet, imagenet_weights
from training.networks import open_network, open_networks
from training.options import UsageError
from training.published_weights import (
    ENCODER_FORMAT,
    convert_encoder,
    encoder_source,
    read_state,
)

if TYPE_CHECKING:
    from rgbd_seg_ros.bundle import TrainedNetwork
    from rgbd_seg_ros.models import NetworkSpec
    from rgbd_seg_ros.models.network import Network
    from rgbd_seg_ros.preprocess import Preprocess


def load_pretrained(network: Network, source: str, preprocess: Preprocess) -> str:
    """Initialize ``network`` in place; returns the license of its new weights.

    Args:
        network: the network to initialize.
        source: one of

            - ``none``;
            - ``imagenet``, or for ResNet a name of torchvision's weights such as
              ``IMAGENET1K_V1``; see :mod:`training.imagenet`;
            - an encoder's file, written by ``training.import_weights`` or published for MiT or
              ResNet;
            - a network trained or imported here: its file, or the folder of its run or bundle.
              A classifier for other classes is omitted. If anything else differs, only the
              encoder's weights are loaded, into every encoder of ``network``. A run or bundle
              with an RGB and a depth network but no fused one gives a fused network the encoders
              of both.
        preprocess: that of ``network``. Differences from a trained network's are printed.

    Raises:
        UsageError: an unknown file or name, weights of another network, or a failed download.
        InputFileError: the JSON beside the weights is damaged.
    """
    if source == "none":
        return "Apache-2.0"
    path = Path(source)
    if path.is_dir():
        return _from_network(network, path, preprocess)
    if not path.is_file():
        return _from_imagenet(network, source, preprocess)
    if path.suffix == ".safetensors" and path.with_suffix(".json").exists():
        document = read_json(path.with_suffix(".json"))
        if not isinstance(document, dict) or document.get("format") != ENCODER_FORMAT:
            return _from_network(network, path, preprocess)
        name, license, sha256 = (document.get(key) for key in ("encoder", "license", "sha256"))
        if not isinstance(name, str) or not isinstance(license, str):
            raise UsageError(
                f"{path.with_suffix('.json')} must name encoder and license, got {shown(name)} "
                f"and {shown(license)}; import the weights again"
            )
        if hashlib.sha256(path.read_bytes()).hexdigest() != sha256:
            raise UsageError(f"{path} is not the file that its JSON describes; import it again")
        weights = read_state(path)
    else:
        state = read_state(path)
        name, weights, license = convert_encoder(encoder_source(state), state)
    if name != network.spec.encoder:
        raise UsageError(
            f"{path} contains weights of {name}, but the network needs {network.spec.encoder}"
        )
    _load_encoder(network, weights, source)
    _say(f"encoder weights from {path}: {license}")
    return license


def check_sources(options: Any) -> None:
    """Check that the initial weights and the teacher of a method's options are there.

    It reads no weights and downloads nothing, so that a mistake is found before data is prepared.

    Args:
        options: an instance of a method's ``Config``.

    Raises:
        UsageError: a path that does not exist, an unknown name, or no teacher.
    """
    check_pretrained(options)
    if hasattr(options, "check_teacher"):
        options.check_teacher()
        if options.teacher and not Path(options.teacher).exists():
            raise UsageError(
                f"the teacher {options.teacher} does not exist: pass a network's file, or the "
                "folder of a run or bundle"
            )


def check_pretrained(options: Any) -> None:
    """Check that the initial weights of a method's options are there, as :func:`check_sources`.

    Raises:
        UsageError: a path that does not exist, or an unknown name.
    """
    from rgbd_seg_ros.models import network_spec

    source = options.pretrained
    if source != "none" and not Path(source).exists():
        check_imagenet(network_spec(options.network).encoder, source)


def _load_encoder(network: Network, weights: Mapping[str, Tensor], source: str) -> None:
    try:
        network.load_encoder(weights)
    except ValueError as error:
        raise UsageError(f"{source}: {error}") from error


def _from_imagenet(network: Network, source: str, preprocess: Preprocess) -> str:
    from rgbd_seg_ros.models.encoders import encoder_entry

    state, license = imagenet_weights(network.spec.encoder, source)
    _load_encoder(network, state, source)
    entry = encoder_entry(network.spec.encoder)
    for key in ("rgb_mean", "rgb_std"):
        theirs, ours = getattr(entry, key), getattr(preprocess, key)
        if network.spec.modality != "depth" and theirs != ours:
            _say(f"the encoder was trained with {key} {theirs}, but this run uses {ours}")
    return license


def _from_network(network: Network, path: Path, preprocess: Preprocess) -> str:
    if path.is_dir() and network.spec.modality == "rgbd":
        single = open_networks(path)
        if single.keys() == {"rgb", "depth"}:
            return _from_both(network, single, path, preprocess)
    trained = open_network(path, network.spec.modality)
    if _only_encoder_fits(trained.record.spec, network.spec):
        _load_encoder(network, trained.module.encoder.state_dict(), str(path))
        _say(f"only encoder weights from {path}")
        _say_normalization(trained.record.preprocess, preprocess)
        return trained.record.license
    own = network.state_dict()
    weights = trained.module.state_dict()
    other = {
        key
        for key in own.keys() | weights.keys()
        if key not in own or key not in weights or own[key].shape != weights[key].shape
    }
    if any(".classifier." not in key for key in other):
        raise UsageError(
            f"{path} contains {trained.record.spec}, which does not fit {network.spec}"
        )
    network.load_state_dict({k: v for k, v in weights.items() if k not in other}, strict=False)
    _say(f"weights from {path}{', without its classifier' if other else ''}")
    _say_normalization(trained.record.preprocess, preprocess)
    return trained.record.license


def _from_both(
    network: Network,
    single: Mapping[str, TrainedNetwork],
    path: Path,
    preprocess: Preprocess,
) -> str:
    """Start the depth encoder of a fused network from the depth network, the rest from RGB's."""
    rgb, depth = single["rgb"], single["depth"]
    for trained in (rgb, depth):
        if trained.record.spec.encoder != network.spec.encoder:
            raise UsageError(
                f"{path} contains weights of {trained.record.spec.encoder}, but the network needs "
                f"{network.spec.encoder}"
            )
    _load_encoder(network, rgb.module.encoder.state_dict(), str(path))
    network.get_submodule("depth").load_state_dict(depth.module.encoder.state_dict())
    _say(f"encoder weights of RGB and depth from {path}")
    _say_normalization(rgb.record.preprocess, preprocess, ("rgb_mean", "rgb_std"))
    _say_normalization(depth.record.preprocess, preprocess, ("depth",))
    return "; ".join(dict.fromkeys((rgb.record.license, depth.record.license)))


def _only_encoder_fits(theirs: NetworkSpec, ours: NetworkSpec) -> bool:
    if theirs.modality == "rgbd":
        return False  # a fused network has more than one encoder
    rest = [
        (s.architecture, s.width, s.split, s.output_stride, s.in_channels) for s in (theirs, ours)
    ]
    return theirs.encoder == ours.encoder and rest[0] != rest[1]


def _say_normalization(
    trained: Preprocess,
    preprocess: Preprocess,
    keys: tuple[str, ...] = ("rgb_mean", "rgb_std", "depth"),
) -> None:
    for key in keys:
        theirs, ours = getattr(trained, key), getattr(preprocess, key)
        if theirs != ours:
            _say(f"the network was trained with {key} {theirs}, but this run uses {ours}")


def _say(text: str) -> None:
    if distributed.is_main():
        print(text, file=sys.stderr)
