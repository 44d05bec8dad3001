# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The named networks, and ``complete`` and ``build``, which check and build any spec."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from rgbd_seg_ros.models.architectures import ARCHITECTURES
from rgbd_seg_ros.models.encoders import ENCODERS, TIMM, encoder_entry
from rgbd_seg_ros.models.spec import NetworkSpec
from rgbd_seg_ros.names import unknown_name

if TYPE_CHECKING:
    from rgbd_seg_ros.models.network import Network


#: Prefix of a name → (architecture, split). ``crodino_*`` is DeepLabV3+ with projection and split.
PREFIXES: dict[str, tuple[str, bool]] = {
    "cmx": ("cmx", False),
    "segformer": ("segformer", False),
    "deeplabv3plus": ("deeplabv3plus", False),
    "crodino": ("deeplabv3plus", True),
    "acnet": ("acnet", False),
}


def complete(spec: NetworkSpec) -> NetworkSpec:
    """The spec with its defaults filled in.

    Raises:
        ValueError: an unknown architecture or encoder, or fields that do not go together.
    """
    if spec.architecture not in ARCHITECTURES:
        raise ValueError(unknown_name("architecture", spec.architecture, ARCHITECTURES))
    architecture = ARCHITECTURES[spec.architecture]
    if spec.modality not in architecture.modalities:
        raise ValueError(
            f"modality of {spec.architecture} must be {' or '.join(architecture.modalities)}, "
            f"got {spec.modality!r}: choose a network whose input is {spec.modality}"
        )
    encoder = encoder_entry(spec.encoder)
    if architecture.staged and not encoder.staged:
        raise ValueError(
            f"{spec.architecture} runs an encoder stage by stage, which {spec.encoder} cannot: "
            "choose a convolutional one, or deeplabv3plus or segformer on it"
        )
    if spec.output_stride not in (0, *encoder.strides):
        raise ValueError(
            f"output_stride of {spec.encoder} must be one of {encoder.strides}, "
            f"got {spec.output_stride}"
        )
    if spec.split and spec.architecture != "deeplabv3plus":
        raise ValueError(
            f"split is defined for deeplabv3plus only, got {spec.architecture}: "
            "use a crodino_* network, or do not set split"
        )
    width = encoder.mlp_width if architecture.mlp_head else 256
    return dataclasses.replace(
        spec,
        output_stride=spec.output_stride or encoder.strides[0],
        width=spec.width or width,
    )


def named_networks() -> dict[str, NetworkSpec]:
    """cmx_b0 … acnet_r50: each prefix with each encoder, 40 classes and the published widths."""
    networks = {}
    for prefix, (name, _) in PREFIXES.items():
        architecture = ARCHITECTURES[name]
        for encoder, entry in ENCODERS.items():
            # cmx_b0 rather than cmx_mit_b0, since CMX was published with MiT.
            short = entry.short.removeprefix(f"{architecture.family}_")
            networks[f"{prefix}_{short}"] = _default_spec(prefix, encoder)
    return networks


def _default_spec(prefix: str, encoder: str) -> NetworkSpec:
    name, split = PREFIXES[prefix]
    return complete(
        NetworkSpec(
            architecture=name,
            modality=ARCHITECTURES[name].modalities[0],
            encoder=encoder,
            num_classes=40,
            split=split,
        )
    )


#: Name → spec.
NETWORKS: dict[str, NetworkSpec] = named_networks()


def network_spec(name: str, **changes: Any) -> NetworkSpec:
    """The named network's spec with fields changed, e.g. ``modality="depth", num_classes=16``.

    Args:
        name: a key of ``NETWORKS``, or one on a network of timm, as ``cmx_timm:convnext_tiny``.
        changes: fields of the spec.

    Raises:
        ValueError: an unknown network or field, or fields that do not go together.
        ModuleNotFoundError: a network of timm without timm.
    """
    prefix, _, encoder = name.partition(f"_{TIMM}")
    if encoder and prefix in PREFIXES:
        default = _default_spec(prefix, f"{TIMM}{encoder}")
    elif name in NETWORKS:
        default = NETWORKS[name]
    else:
        raise ValueError(unknown_name("network", name, NETWORKS))
    known = [field.name for field in dataclasses.fields(NetworkSpec)]
    for key in changes:
        if key not in known:
            raise ValueError(unknown_name("field of the network spec", key, known))
    if "encoder" in changes or "architecture" in changes:  # stride and width may depend on them
        changes = {"output_stride": 0, "width": 0, **changes}
    return complete(dataclasses.replace(default, **changes))


def build(spec: NetworkSpec) -> Network:
    """The network of ``spec``, randomly initialized, in training mode.

    Under ``with torch.device("meta"):`` it is built without memory or initialization, which is
    enough to count parameters or to load weights with ``load_state_dict(state, assign=True)``.

    Raises:
        ValueError: see :func:`complete`.
    """
    spec = complete(spec)
    return ARCHITECTURES[spec.architecture].build(spec)
