# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Networks: `build(network_spec("cmx_b2", num_classes=40))`. Importing this needs no torch."""

from .registry import ARCHITECTURES, NETWORKS, build, network_spec
from .spec import NetworkSpec

__all__ = ["ARCHITECTURES", "NETWORKS", "NetworkSpec", "build", "network_spec"]
