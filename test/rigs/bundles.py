# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Bundles of small networks with random weights. Torch is imported only when one is built."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rgbd_seg_ros.bundle import Bundle


def random_bundle(single: str = "deeplabv3plus") -> Bundle:
    """All three networks for images of 64×96: CMX, and the architecture ``single`` twice."""
    import torch

    from rgbd_seg_ros.bundle import Bundle, NetworkRecord, TrainedNetwork
    from rgbd_seg_ros.labels import INDOOR16
    from rgbd_seg_ros.models import NetworkSpec, build
    from rgbd_seg_ros.preprocess import Preprocess

    torch.manual_seed(0)
    networks = {}
    for name, architecture in (("rgbd", "cmx"), ("rgb", single), ("depth", single)):
        spec = NetworkSpec(
            architecture=architecture, modality=name, encoder="mit_b0", num_classes=16, width=16
        )
        record = NetworkRecord(spec, Preprocess(size=(64, 96)), INDOOR16, {"method": "none"})
        networks[name] = TrainedNetwork(build(spec).eval(), record)
    return Bundle(INDOOR16, networks)  # type: ignore[arg-type]


def save_tiny_bundle(directory: Path) -> Path:
    """Write a bundle whose single-modality networks are SegFormers, the smallest ones."""
    from rgbd_seg_ros.bundle import save_bundle

    return save_bundle(directory, random_bundle("segformer"))
