# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The architectures by name: how to build each, and which inputs and encoders it takes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rgbd_seg_ros.models.network import Network
    from rgbd_seg_ros.models.spec import NetworkSpec


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """One architecture: its builder, and the specs that are valid for it."""

    #: The network of a spec with random weights. PyTorch is imported when this is called.
    build: Callable[[NetworkSpec], Network]
    #: Allowed values of ``NetworkSpec.modality``; named networks use the first.
    modalities: tuple[str, ...]
    #: Family of encoders that the names of its networks omit: ``cmx_b2``, not ``cmx_mit_b2``.
    family: str = ""
    #: Whether it works between the encoder's stages.
    staged: bool = False
    #: Whether it has the all-MLP head, whose default width depends on the encoder.
    mlp_head: bool = False


def _deeplabv3plus(spec: NetworkSpec) -> Network:
    from rgbd_seg_ros.models.deeplabv3plus import DeepLabV3Plus

    return DeepLabV3Plus(spec)


def _segformer(spec: NetworkSpec) -> Network:
    from rgbd_seg_ros.models.segformer import SegFormer

    return SegFormer(spec)


def _cmx(spec: NetworkSpec) -> Network:
    from rgbd_seg_ros.models.cmx import CMX

    return CMX(spec)


def _acnet(spec: NetworkSpec) -> Network:
    from rgbd_seg_ros.models.acnet import ACNet

    return ACNet(spec)


ARCHITECTURES: dict[str, Architecture] = {
    "deeplabv3plus": Architecture(build=_deeplabv3plus, modalities=("rgb", "depth")),
    "segformer": Architecture(
        build=_segformer, modalities=("rgb", "depth"), family="mit", mlp_head=True
    ),
    "cmx": Architecture(
        build=_cmx, modalities=("rgbd",), family="mit", staged=True, mlp_head=True
    ),
    "acnet": Architecture(build=_acnet, modalities=("rgbd",), staged=True),
}
