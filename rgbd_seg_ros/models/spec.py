# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""NetworkSpec: everything that is needed to build a network again, as JSON."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

RESNETS = ("resnet18", "resnet50")
MITS = ("mit_b0", "mit_b1", "mit_b2", "mit_b3", "mit_b4", "mit_b5")

#: What each architecture can be built with: (modalities, encoders).
CHOICES: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "deeplabv3plus": (("rgb", "depth"), RESNETS + MITS),
    "segformer": (("rgb", "depth"), MITS),
    "cmx": (("rgbd",), MITS),
    "acnet": (("rgbd",), RESNETS),
}


def unknown(what: str, seen: object, known: Iterable[str]) -> ValueError:
    """The error for a name that is not in a registry: the known ones and the nearest."""
    known = tuple(known)
    near = difflib.get_close_matches(str(seen), known, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return ValueError(f"unknown {what} {seen!r}{hint} (known: {', '.join(known)})")


@dataclass(frozen=True, kw_only=True)
class NetworkSpec:
    """A network, fully described. Zeros in ``output_stride`` and ``width`` are filled in."""

    #: A key of ``CHOICES``.
    architecture: str
    #: What the network is called with: ``rgb``, ``depth`` or both (``rgbd``).
    modality: str
    #: ``resnet18``, ``resnet50`` or ``mit_b0`` … ``mit_b5``.
    encoder: str
    #: K, 1 to 255: masks are uint8 and 255 is "unlabeled".
    num_classes: int
    #: Channels of the depth input: 1 (z-score, disparity) or 3 (HHA). Unused by ``rgb``.
    depth_channels: int = 1
    #: Stride of the encoder's last map. ResNet: 16 (default) or 8, by dilation. MiT: 32.
    output_stride: int = 0
    #: Channels of the decoder. Default 256; the all-MLP head has 512, on MiT-B0 256.
    width: int = 0
    #: CroDiNo-KD: 1×1 projection C→C/2, whose halves are invariant and specific.
    split: bool = False

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if type(value).__name__ != field.type:
                raise ValueError(f"network spec: {field.name} must be {field.type}, got {value!r}")
        if self.architecture not in CHOICES:
            raise unknown("architecture", self.architecture, CHOICES)
        modalities, encoders = CHOICES[self.architecture]
        if self.modality not in modalities:
            raise ValueError(
                f"modality of {self.architecture} must be {' or '.join(modalities)}, got "
                f"{self.modality!r}: choose a network that is fed {self.modality}"
            )
        if self.encoder not in encoders:
            raise unknown(f"encoder of {self.architecture}", self.encoder, encoders)
        strides = (16, 8) if self.encoder in RESNETS else (32,)
        if self.output_stride == 0:
            object.__setattr__(self, "output_stride", strides[0])
        if self.width == 0:
            all_mlp = self.architecture in ("segformer", "cmx")
            object.__setattr__(self, "width", 512 if all_mlp and self.encoder != "mit_b0" else 256)
        if self.output_stride not in strides:
            raise ValueError(
                f"output_stride of {self.encoder} must be one of {strides}, "
                f"got {self.output_stride}"
            )
        if self.depth_channels not in (1, 3):
            raise ValueError(f"depth_channels must be 1 or 3 (HHA), got {self.depth_channels}")
        if not 1 <= self.num_classes <= 255:
            raise ValueError(f"num_classes must be 1 to 255, got {self.num_classes}")
        if not 1 <= self.width <= 4096:
            raise ValueError(f"width must be 1 to 4096 channels, got {self.width}")
        if self.split and self.architecture != "deeplabv3plus":
            raise ValueError(
                f"split is defined for deeplabv3plus only, got {self.architecture}: "
                "use a crodino_* network or leave split out"
            )

    @property
    def in_channels(self) -> tuple[int, ...]:
        """Channels of each tensor that the network is called with, in order."""
        of = {"rgb": (3,), "depth": (self.depth_channels,), "rgbd": (3, self.depth_channels)}
        return of[self.modality]

    def to_json(self) -> dict[str, Any]:
        """Every field, ready for ``json.dump``; the inverse of :meth:`from_json`."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> NetworkSpec:
        """Reads :meth:`to_json`'s output. A key that no field has is refused."""
        if not isinstance(data, Mapping):
            raise ValueError(f"network spec must be a JSON object, got {data!r}")
        known = [field.name for field in fields(cls)]
        for key in data:
            if key not in known:
                raise unknown("field of the network spec", key, known)
        required = ("architecture", "modality", "encoder", "num_classes")
        missing = [name for name in required if name not in data]
        if missing:
            raise ValueError(f"network spec lacks {', '.join(missing)}; it has {sorted(data)}")
        return cls(**data)
