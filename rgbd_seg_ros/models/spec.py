# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""NetworkSpec: everything needed to rebuild a network, as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from rgbd_seg_ros.names import shown, unknown_name


@dataclass(frozen=True, kw_only=True)
class NetworkSpec:
    """A complete description of a network. 0 as ``output_stride`` or ``width`` means the default.

    :func:`rgbd_seg_ros.models.complete` fills in the defaults and checks the names.

    Raises:
        ValueError: a value of the wrong type or out of range.
    """

    #: A key of ``ARCHITECTURES``.
    architecture: str
    #: The network's inputs: ``rgb``, ``depth`` or both (``rgbd``).
    modality: str
    #: A key of ``ENCODERS``, such as ``resnet50`` or ``mit_b2``.
    encoder: str
    #: K, 1 to 255: masks are uint8 and 255 is "unlabeled".
    num_classes: int
    #: Channels of the depth input: 1 (z-score, disparity) or 3 (HHA). ``rgb`` ignores it.
    depth_channels: int = 1
    #: Stride of the encoder's last stage map. ResNet: 16 (default) or 8, by dilation. MiT: 32.
    output_stride: int = 0
    #: Channels of the decoder: 256 by default, 512 for the all-MLP head except on MiT-B0 (256).
    width: int = 0
    #: CroDiNo-KD: a 1×1 projection C→C/2 whose two halves are invariant and specific features.
    split: bool = False

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if type(value).__name__ != field.type:
                raise ValueError(
                    f"network spec: {field.name} must be {field.type}, got {shown(value)}"
                )
        if self.depth_channels not in (1, 3):
            raise ValueError(f"depth_channels must be 1 or 3 (HHA), got {self.depth_channels}")
        if not 1 <= self.num_classes <= 255:
            raise ValueError(f"num_classes must be 1 to 255, got {self.num_classes}")
        if not 0 <= self.width <= 4096:
            raise ValueError(f"width must be 1 to 4096 channels, got {self.width}")

    @property
    def in_channels(self) -> tuple[int, ...]:
        """Channels of each input tensor, in the order of the network's arguments."""
        of = {"rgb": (3,), "depth": (self.depth_channels,), "rgbd": (3, self.depth_channels)}
        return of[self.modality]

    def to_json(self) -> dict[str, Any]:
        """All fields, ready for ``json.dump``; the inverse of :meth:`from_json`."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> NetworkSpec:
        """The spec from :meth:`to_json`'s output.

        Raises:
            ValueError: unknown or missing keys, or a value of the wrong type or out of range.
        """
        if not isinstance(data, Mapping):
            raise ValueError(f"network spec must be a JSON object, got {data!r}")
        known = [field.name for field in fields(cls)]
        for key in data:
            if key not in known:
                raise ValueError(unknown_name("field of the network spec", key, known))
        required = ("architecture", "modality", "encoder", "num_classes")
        missing = [name for name in required if name not in data]
        if missing:
            raise ValueError(f"network spec lacks {', '.join(missing)}; it has {sorted(data)}")
        return cls(**data)
