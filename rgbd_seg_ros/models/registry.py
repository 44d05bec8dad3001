# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The named networks, and ``build``, which builds any network from its spec."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from rgbd_seg_ros.names import unknown_name

from .architectures import ARCHITECTURES
from .encoders import ENCODERS
from .spec import NetworkSpec

if TYPE_CHECKING:
    from .network import Network


#: Prefix of a name → (architecture, split). ``crodino_*`` is DeepLabV3+ with projection and split.
PREFIXES: dict[str, tuple[str, bool]] = {
    "cmx": ("cmx", False),
    "segformer": ("segformer", False),
    "deeplabv3plus": ("deeplabv3plus", False),
    "crodino": ("deeplabv3plus", True),
    "acnet": ("acnet", False),
}


def named_networks() -> dict[str, NetworkSpec]:
    """cmx_b0 … acnet_r50: each prefix on each encoder, with 40 classes and published widths."""
    networks = {}
    for prefix, (name, split) in PREFIXES.items():
        architecture = ARCHITECTURES[name]
        for encoder in architecture.encoders:
            # cmx_b0 rather than cmx_mit_b0, since CMX takes no other family.
            short = ENCODERS[encoder].short.removeprefix(f"{architecture.family}_")
            networks[f"{prefix}_{short}"] = NetworkSpec(
                architecture=name,
                modality=architecture.modalities[0],
                encoder=encoder,
                num_classes=40,
                split=split,
            )
    return networks


#: Name → spec.
NETWORKS: dict[str, NetworkSpec] = named_networks()


def network_spec(name: str, **changes: Any) -> NetworkSpec:
    """The named network's spec with fields changed, e.g. ``modality="depth", num_classes=16``.

    Raises:
        ValueError: an unknown network or field, or fields that do not go together.
    """
    if name not in NETWORKS:
        raise ValueError(unknown_name("network", name, NETWORKS))
    known = [field.name for field in dataclasses.fields(NetworkSpec)]
    for key in changes:
        if key not in known:
            raise ValueError(unknown_name("field of the network spec", key, known))
    spec = NETWORKS[name]
    if "encoder" in changes or "architecture" in changes:  # stride and width may depend on them
        changes = {"output_stride": 0, "width": 0, **changes}
    return dataclasses.replace(spec, **changes)


def build(spec: NetworkSpec) -> Network:
    """The network of ``spec``, randomly initialized, in training mode.

    Under ``with torch.device("meta"):`` it is built without memory or initialization, which is
    enough to count parameters or to load weights with ``load_state_dict(state, assign=True)``.
    """
    return ARCHITECTURES[spec.architecture].build(spec)
