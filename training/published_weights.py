# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Published weights: reads their files and converts encoders and networks to this project's names.

Every key of a file must be converted or known to be unneeded, and nothing is unpickled.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from training.options import UsageError, lookup

if TYPE_CHECKING:
    from torch import Tensor

    from rgbd_seg_ros.depth import DepthEncoding
    from rgbd_seg_ros.models import NetworkSpec

    State = dict[str, Tensor]

ENCODER_FORMAT = "rgbd_seg_encoder"
NVIDIA_LICENSE = (
    "contains MiT weights by NVIDIA (NVIDIA Source Code License for SegFormer): "
    "research and evaluation only, no commercial use"
)
TORCHVISION_LICENSE = "BSD-3-Clause (torchvision), trained on ImageNet"
EFFICIENTNET_LICENSE = "Apache-2.0 (EfficientNet-Lite, from TensorFlow), trained on ImageNet"

#: Published name → name in this project, tried in order; None for a known but unused weight.
Rules = list[tuple[str, "str | Callable[[re.Match[str]], str] | None"]]


def _stage(prefix: str, target: str) -> Rules:
    """Rules for MiT: the numbered patch_embed1, block1, norm1 … become stages.0 …"""

    def rename(tail: str) -> Callable[[re.Match[str]], str]:
        return lambda m: f"{target}stages.{int(m[1]) - 1}.{tail.format(*m.groups())}"

    return [
        (rf"{prefix}patch_embed(\d)\.(.+)", rename("patch_embed.{1}")),
        (
            rf"{prefix}block(\d)\.(\d+)\.mlp\.dwconv\.dwconv\.(.+)",
            rename("blocks.{1}.mlp.dwconv.{2}"),
        ),
        (rf"{prefix}block(\d)\.(\d+)\.(.+)", rename("blocks.{1}.{2}")),
        (rf"{prefix}norm(\d)\.(.+)", rename("norm.{1}")),
    ]


def _numbered(pattern: str, target: str) -> tuple[str, Callable[[re.Match[str]], str]]:
    """A rule whose second group counts from 1 in the published name and from 0 in ours."""
    return pattern, lambda m: target.format(m[1], int(m[2]) - 1, *m.groups()[2:])


#: ``head`` is the classifier of an ImageNet file.
MIT_RULES: Rules = [*_stage("", ""), (r"head\.(weight|bias)", None)]
HEAD_RULES: Rules = [
    (r"decode_head\.linear_c(\d)\.proj\.(.+)", lambda m: f"head.linears.{int(m[1]) - 1}.{m[2]}"),
    (r"decode_head\.linear_fuse\.(?:0|conv)\.(.+)", r"head.fuse.\1"),
    (r"decode_head\.linear_fuse\.(?:1|bn)\.(.+)", r"head.norm.\1"),
    (r"decode_head\.linear_pred\.(.+)", r"head.classifier.\1"),
    (r"decode_head\.conv_seg\.(.+)", None),  # created by mmseg's base class, unused by SegFormer
    (r"decode_head\.(align_|conv_|generation)\w*\.(.+)", None),  # PrimKD's aligners
]
SEGFORMER_RULES: Rules = [*_stage(r"backbone\.", "encoder."), *HEAD_RULES]
CMX_RULES: Rules = [
    *_stage(r"backbone\.extra_", "depth."),
    *_stage(r"backbone\.", "rgb."),
    (r"backbone\.FRMs\.(\d)\.(channel|spatial)_weights\.mlp\.(.+)", r"rectify.\1.\2.\3"),
    _numbered(r"backbone\.FFMs\.(\d)\.cross\.channel_proj(\d)\.(.+)", "fuse.{}.cross.proj.{}.{}"),
    _numbered(r"backbone\.FFMs\.(\d)\.cross\.cross_attn\.kv(\d)\.(.+)", "fuse.{}.cross.kv.{}.{}"),
    _numbered(r"backbone\.FFMs\.(\d)\.cross\.end_proj(\d)\.(.+)", "fuse.{}.cross.end_proj.{}.{}"),
    _numbered(r"backbone\.FFMs\.(\d)\.cross\.norm(\d)\.(.+)", "fuse.{}.cross.norm.{}.{}"),
    (r"backbone\.FFMs\.(\d)\.channel_emb\.channel_embed\.(.+)", r"fuse.\1.embed.\2"),
    (r"backbone\.FFMs\.(\d)\.channel_emb\.(residual|norm)\.(.+)", r"fuse.\1.\2.\3"),
    *HEAD_RULES,
]


def _transformers_rules(encoder: str) -> Rules:
    """Names of ``transformers`` → names of the authors; stages count from 0 there, from 1 here."""
    parts = {
        r"patch_embeddings\.(\d)\.proj": "patch_embed{}.proj",
        r"patch_embeddings\.(\d)\.layer_norm": "patch_embed{}.norm",
        r"block\.(\d)\.(\d+)\.layer_norm_(\d)": "block{}.{}.norm{}",
        r"block\.(\d)\.(\d+)\.attention\.self\.query": "block{}.{}.attn.q",
        r"block\.(\d)\.(\d+)\.attention\.self\.(kv|sr)": "block{}.{}.attn.{}",
        r"block\.(\d)\.(\d+)\.attention\.self\.layer_norm": "block{}.{}.attn.norm",
        r"block\.(\d)\.(\d+)\.attention\.output\.dense": "block{}.{}.attn.proj",
        r"block\.(\d)\.(\d+)\.mlp\.dense(\d)": "block{}.{}.mlp.fc{}",
        r"block\.(\d)\.(\d+)\.mlp\.dwconv\.dwconv": "block{}.{}.mlp.dwconv.dwconv",
        r"layer_norm\.(\d)": "norm{}",
    }

    def rule(part: str, target: str) -> tuple[str, Callable[[re.Match[str]], str]]:
        def renamed(match: re.Match[str]) -> str:
            stage, *others, tail = match.groups()
            return f"{encoder}{target.format(int(stage) + 1, *others)}.{tail}"

        return rf"segformer\.encoder\.{part}\.(weight|bias)", renamed

    return [
        *(rule(part, target) for part, target in parts.items()),
        (
            r"decode_head\.linear_c\.(\d)\.(.+)",
            lambda m: f"decode_head.linear_c{int(m[1]) + 1}.{m[2]}",
        ),
        (r"decode_head\.linear_fuse\.(weight|bias)", r"decode_head.linear_fuse.conv.\1"),
        (r"decode_head\.batch_norm\.(.+)", r"decode_head.linear_fuse.bn.\1"),
        (r"decode_head\.classifier\.(.+)", r"decode_head.linear_pred.\1"),
        (r"classifier\.(weight|bias)", r"head.\1"),
    ]


def rename(state: Mapping[str, Tensor], rules: Rules) -> State:
    """Apply the rules to every key.

    Raises:
        UsageError: no rule matches a key.
    """
    renamed: State = {}
    unknown = []
    for key, tensor in state.items():
        for pattern, target in rules:
            match = re.fullmatch(pattern, key)
            if match:
                if target is not None:
                    renamed[match.expand(target) if isinstance(target, str) else target(match)] = (
                        tensor
                    )
                break
        else:
            unknown.append(key)
    if unknown:
        shown = ", ".join(map(repr, unknown[:3])) + (", …" if len(unknown) > 3 else "")
        remedy = "check which publisher the file is from"
        if any(key.startswith("backbone.layers.") for key in unknown):
            remedy = (
                "MMSegmentation's own SegFormer has another head: use a file of the authors or of "
                "Hugging Face"
            )
        raise UsageError(f"{len(unknown)} of {len(state)} keys are unknown: {shown}; {remedy}")
    return renamed


def read_state(path: Path) -> State:
    """The tensors of a .pth, .pt or .safetensors file, unwrapped and without ``module.`` prefixes.

    Raises:
        UsageError: the file is missing, has no tensors, or needs arbitrary objects unpickled.
    """
    import torch

    if not path.is_file():
        raise UsageError(f"{path} does not exist or is not a file")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            content: Any = load_file(path)
        else:
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # each library raises its own exception classes
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UsageError(
            f"{path} is not a plain weights file ({first[:120]}); if you trust it, save it again "
            "with torch.save(model.state_dict(), …)"
        ) from error
    for wrapper in ("model", "state_dict", "module"):
        if isinstance(content, dict) and isinstance(content.get(wrapper), dict):
            content = content[wrapper]
    state = {
        str(key).removeprefix("module."): value
        for key, value in dict(content).items()
        if isinstance(value, torch.Tensor)
    }
    if not state:
        raise UsageError(f"{path} contains no tensors")
    if any(key.startswith("segformer.encoder.") for key in state):
        return from_transformers(state)
    return state


def from_transformers(state: Mapping[str, Tensor]) -> State:
    """The weights of a SegFormer from Hugging Face under the names of the authors' code.

    The library ``transformers`` has the same layers, but keys and values of the attention are two
    linear layers there and one in the authors' code.

    Args:
        state: a whole network, or an encoder with or without its classifier.
    """
    import torch

    encoder = "backbone." if any(key.startswith("decode_head.") for key in state) else ""
    merged: State = {}
    for key, tensor in state.items():
        match = re.fullmatch(r"(.+\.attention\.self\.)(key|value)\.(weight|bias)", key)
        if match is None:
            merged[key] = tensor
        elif match[2] == "key" and f"{match[1]}value.{match[3]}" in state:
            both = [tensor, state[f"{match[1]}value.{match[3]}"]]
            merged[f"{match[1]}kv.{match[3]}"] = torch.cat(both)
    return rename(merged, _transformers_rules(encoder))


def reverse_channels(state: State, stems: tuple[str, ...]) -> None:
    """Make first convolutions that were trained on BGR accept RGB, in place."""
    for stem in stems:
        state[stem] = state[stem].flip(1)


def convert_encoder(source: str, state: Mapping[str, Tensor]) -> tuple[str, State, str]:
    """Convert an ImageNet file to (encoder name, weights named as in our encoder, license).

    Raises:
        UsageError: no encoder matches the weights.
    """
    if source == "torchvision":
        weights = {key: value for key, value in state.items() if not key.startswith("fc.")}
        name = encoder_name(
            "resnet", weights, r"layer(\d)\.(\d+)\.", "layer4.0.downsample.1.weight"
        )
        return name, weights, TORCHVISION_LICENSE
    if source == "efficientnet":
        return "efficientnet_lite0", _in_order("efficientnet_lite0", state), EFFICIENTNET_LICENSE
    weights = rename(state, MIT_RULES)
    return mit_name(weights, ""), weights, NVIDIA_LICENSE


def encoder_source(state: Mapping[str, Tensor]) -> str:
    """The argument ``source`` of :func:`convert_encoder` for these weights."""
    if "conv1.weight" in state:
        return "torchvision"
    return "efficientnet" if any("conv_stem." in key for key in state) else "segformer"


def _in_order(encoder: str, state: Mapping[str, Tensor]) -> State:
    """The weights under our names: all implementations define the same layers in one order."""
    import torch

    from rgbd_seg_ros.models.encoders import build_encoder

    with torch.device("meta"):
        own = build_encoder(encoder).state_dict()
    classifier = re.compile(r"_?(conv_head|fc|classifier)\.|_bn1\.|bn2\.")
    published = {key: value for key, value in state.items() if not classifier.match(key)}
    shapes = [[tuple(v.shape) for v in weights.values()] for weights in (own, published)]
    if shapes[0] != shapes[1]:
        raise UsageError(f"these are not weights of {encoder}; check the file")
    return dict(zip(own, published.values(), strict=True))


def mit_name(state: Mapping[str, Tensor], prefix: str) -> str:
    """Name of the MiT whose weights have the keys ``prefix``…."""
    block = re.escape(prefix) + r"stages\.(\d)\.blocks\.(\d+)\."
    return encoder_name("mit", state, block, f"{prefix}stages.3.norm.weight")


def encoder_name(family: str, state: Mapping[str, Tensor], block: str, last: str) -> str:
    """The encoder of ``family`` with the same number of blocks and channels as ``state``.

    Args:
        family: see ``rgbd_seg_ros.models.encoders.EncoderEntry``.
        state: weights of an encoder.
        block: pattern that a key within a block starts with; its groups are stage and block.
        last: key of a weight whose length is the number of channels of the last stage map.

    Raises:
        UsageError: there is no such encoder.
    """
    from rgbd_seg_ros.models import ENCODERS

    found = {match.groups() for match in map(re.compile(block).match, state) if match}
    counts = Counter(stage for stage, _ in found)
    blocks = tuple(counts[stage] for stage in sorted(counts))
    channels = len(state[last]) if last in state else 0
    known = {name: entry for name, entry in ENCODERS.items() if entry.family == family}
    for name, entry in known.items():
        if (entry.blocks, entry.channels[-1]) == (blocks, channels):
            return name
    raise UsageError(
        f"none of {', '.join(known)} has {blocks} blocks per stage and {channels} channels in the "
        "last; check the file, and which publisher it is from"
    )


def convert_network(source: str, state: Mapping[str, Tensor]) -> tuple[NetworkSpec, State]:
    """Convert a whole segmentation network to (spec, weights named as in our network).

    A published SegFormer becomes an ``rgb`` network, and so does PrimKD's teacher.

    Raises:
        UsageError: the file is not from ``source``, or a part is missing or unknown.
    """
    import torch

    from rgbd_seg_ros.models import NetworkSpec

    fused = any(key.startswith("backbone.extra_") for key in state)
    if source == "cmx" and not fused:
        raise UsageError(
            "this file has no second branch (backbone.extra_…), so it is not from cmx; name "
            "segformer if it is a SegFormer"
        )
    converted = rename(state, CMX_RULES if fused else SEGFORMER_RULES)
    branch = "rgb." if fused else "encoder."
    if "head.classifier.weight" not in converted:
        raise UsageError("the file has no segmentation head (decode_head.linear_pred)")
    classes, width = converted["head.classifier.weight"].shape[:2]
    if "head.fuse.bias" not in converted and "head.norm.running_var" in converted:
        # From mmseg, which has no bias before a norm, and eps 1e-5.
        converted["head.fuse.bias"] = torch.zeros(width)
        variance = converted["head.norm.running_var"]
        # Our head has eps 1e-3. This factor makes the two functions equal.
        factor = ((variance + 1e-3) / (variance + 1e-5)).sqrt()
        converted["head.norm.weight"] = converted["head.norm.weight"] * factor
    if source in ("cmx", "primkd"):
        stem = "stages.0.patch_embed.proj.weight"
        stems = (f"rgb.{stem}", f"depth.{stem}") if fused else (f"encoder.{stem}",)
        reverse_channels(converted, stems)
    spec = NetworkSpec(
        architecture="cmx" if fused else "segformer",
        modality="rgbd" if fused else "rgb",
        encoder=mit_name(converted, branch),
        num_classes=classes,
        width=width,
    )
    return spec, converted


def depth_encoding(kind: str) -> DepthEncoding:
    """The depth encoding to record for a fused network.

    The channels of HHA are disparity, height and angle, and published files store them as RGB.
    The authors read them as BGR, so their order is reversed like that of color, and so is the
    order of mean and std.

    Raises:
        UsageError: an unknown encoding.
    """
    from rgbd_seg_ros.depth import ENCODING_CHANNELS, DepthEncoding

    lookup("depth encoding", kind, ENCODING_CHANNELS)
    if kind != "hha":  # only useful for further training, because published networks take HHA
        return DepthEncoding(kind)
    rgb = DepthEncoding.for_hha()
    return replace(rgb, mean=rgb.mean[::-1], std=rgb.std[::-1])  # type: ignore[index]
