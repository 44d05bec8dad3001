# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The named networks, and the builder of each architecture."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .spec import MITS, RESNETS, NetworkSpec, unknown

if TYPE_CHECKING:
    from .network import Network


def _named_networks() -> dict[str, NetworkSpec]:
    """cmx_b0 … crodino_mit_b5, each with 40 classes and the published widths."""
    networks: dict[str, NetworkSpec] = {}

    def add(
        name: str, architecture: str, modality: str, encoder: str, split: bool = False
    ) -> None:
        networks[name] = NetworkSpec(
            architecture=architecture,
            modality=modality,
            encoder=encoder,
            num_classes=40,
            split=split,
        )

    for architecture, modality in (("cmx", "rgbd"), ("segformer", "rgb")):
        for encoder in MITS:
            add(f"{architecture}_{encoder.removeprefix('mit_')}", architecture, modality, encoder)
    for prefix, split in (("deeplabv3plus", False), ("crodino", True)):
        for encoder in RESNETS + MITS:
            add(
                f"{prefix}_{encoder.replace('resnet', 'r')}",
                "deeplabv3plus",
                "rgb",
                encoder,
                split,
            )
    for encoder in RESNETS:
        add(f"acnet_{encoder.replace('resnet', 'r')}", "acnet", "rgbd", encoder)
    return networks


#: name → spec with 40 classes; ``crodino_*`` is DeepLabV3+ with projection and split.
NETWORKS: dict[str, NetworkSpec] = _named_networks()


def network_spec(name: str, **changes: Any) -> NetworkSpec:
    """The named network's spec with fields changed, e.g. ``modality="depth", num_classes=16``."""
    if name not in NETWORKS:
        raise unknown("network", name, NETWORKS)
    known = [field.name for field in dataclasses.fields(NetworkSpec)]
    for key in changes:
        if key not in known:
            raise unknown("field of the network spec", key, known)
    spec = NETWORKS[name]
    if "encoder" in changes or "architecture" in changes:  # their defaults follow them
        changes = {"output_stride": 0, "width": 0, **changes}
    return dataclasses.replace(spec, **changes)


def _deeplabv3plus(spec: NetworkSpec) -> Network:
    from .deeplabv3plus import DeepLabV3Plus

    return DeepLabV3Plus(spec)


def _segformer(spec: NetworkSpec) -> Network:
    from .segformer import SegFormer

    return SegFormer(spec)


def _cmx(spec: NetworkSpec) -> Network:
    from .cmx import CMX

    return CMX(spec)


def _acnet(spec: NetworkSpec) -> Network:
    from .acnet import ACNet

    return ACNet(spec)


ARCHITECTURES: dict[str, Callable[[NetworkSpec], Network]] = {
    "deeplabv3plus": _deeplabv3plus,
    "segformer": _segformer,
    "cmx": _cmx,
    "acnet": _acnet,
}


def build(spec: NetworkSpec) -> Network:
    """The network of ``spec``, randomly initialized, in training mode.

    ``with torch.device("meta"):`` builds it without memory or initialization, to count it or
    to load weights with ``load_state_dict(state, assign=True)``.
    """
    return ARCHITECTURES[spec.architecture](spec)
