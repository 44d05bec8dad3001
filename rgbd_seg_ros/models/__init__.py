# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Networks, built by `build(network_spec("cmx_b2", num_classes=40))`, which imports torch."""

from rgbd_seg_ros.models.architectures import ARCHITECTURES
from rgbd_seg_ros.models.encoders import ENCODERS
from rgbd_seg_ros.models.registry import NETWORKS, build, complete, network_spec
from rgbd_seg_ros.models.spec import NetworkSpec

__all__ = [
    "ARCHITECTURES",
    "ENCODERS",
    "NETWORKS",
    "NetworkSpec",
    "build",
    "complete",
    "network_spec",
]
