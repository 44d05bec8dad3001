# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Encoders from timm (github.com/huggingface/pytorch-image-models), if it is installed."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from rgbd_seg_ros.models.network import Encoder

STRIDES = (4, 8, 16, 32)


class TimmEncoder(Encoder):
    """A network of timm with maps of strides 4, 8, 16 and 32, which runs as a whole.

    Its parameters have timm's names, as with ``features_only=True``, after ``net.``.
    """

    def __init__(self, net: Any) -> None:
        super().__init__()
        self.channels, self.strides = tuple(net.feature_info.channels()), STRIDES
        self.net = net

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """B×C×H×W → four stage maps."""
        maps = self.net(x)
        return (
            tuple(m.permute(0, 3, 1, 2) for m in maps) if _is_channels_last(self.net) else (*maps,)
        )


class StagedTimmEncoder(Encoder):
    """A network of timm that is a sequence of modules, split where its maps are taken."""

    def __init__(self, net: Any) -> None:
        super().__init__()
        self.channels, self.strides = tuple(net.feature_info.channels()), STRIDES
        stages: list[nn.Module] = []
        modules: list[nn.Module] = []
        for key, module in net.items():
            modules.append(module)
            if key in net.return_layers:
                stages.append(nn.Sequential(*modules))
                modules = []
        self.stages = nn.ModuleList(stages)


def timm_encoder(name: str, in_channels: int) -> TimmEncoder | StagedTimmEncoder:
    """The named network of timm with random weights.

    Args:
        name: of the network in timm.
        in_channels: 3 for RGB and HHA, 1 for the other depth encodings.

    Raises:
        ModuleNotFoundError: timm is not installed.
        ValueError: an unknown network, or one without maps of these strides.
    """
    return _encoder(_features(name, in_channels))


class TimmDescription(NamedTuple):
    """What is known of a network of timm before it is built."""

    #: Channels of the four stage maps.
    channels: tuple[int, ...]
    #: Whether its stages can run one by one.
    staged: bool
    #: timm's record of the pretrained weights.
    pretrained: dict[str, Any]


def describe(name: str) -> TimmDescription:
    """Describe a network of timm, without memory for its parameters.

    Raises:
        ModuleNotFoundError: timm is not installed.
        ValueError: an unknown network, or one without maps of these strides.
    """
    with torch.device("meta"):
        net = _features(name, 3)
    return TimmDescription(tuple(net.feature_info.channels()), _is_staged(net), net.pretrained_cfg)


def imagenet_weights(name: str) -> tuple[dict[str, Tensor], str]:
    """timm's pretrained weights for :func:`timm_encoder`, and their license; they are downloaded.

    Raises:
        OSError: the download failed.
        RuntimeError: timm has no weights for this network.
    """
    net = _features(name, 3, pretrained=True)
    origin = net.pretrained_cfg
    license = f"{origin.get('license') or 'unknown license'} (timm, {origin.get('hf_hub_id')})"
    return _encoder(net).state_dict(), license


def _encoder(net: Any) -> TimmEncoder | StagedTimmEncoder:
    return StagedTimmEncoder(net) if _is_staged(net) else TimmEncoder(net)


def _is_staged(net: Any) -> bool:
    # The exact type, since subclasses need all modules in one call.
    return type(net).__name__ == "FeatureListNet" and not _is_channels_last(net)


def _is_channels_last(net: Any) -> bool:
    """Whether the maps are B×h×w×C, as those of Swin."""
    return getattr(getattr(net, "output_fmt", None), "value", "") == "NHWC"


def _features(name: str, in_channels: int, pretrained: bool = False) -> Any:
    try:
        import timm
    except ImportError as error:
        raise ModuleNotFoundError(
            f"the encoder timm:{name} needs timm: pip install timm", name="timm"
        ) from error
    try:
        with torch.device("meta"):
            info: Any = timm.create_model(name, features_only=True).feature_info
        indices = [list(info.reduction()).index(stride) for stride in STRIDES]
    except (RuntimeError, ValueError) as error:
        raise ValueError(
            f"timm:{name} is no network with maps of strides 4, 8, 16 and 32 ({error}); list the "
            "names with timm.list_models()"
        ) from error
    return timm.create_model(
        name, pretrained=pretrained, features_only=True, out_indices=indices, in_chans=in_channels
    )
