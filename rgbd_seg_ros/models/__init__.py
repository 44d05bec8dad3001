# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Networks, built by `build(network_spec("cmx_b2", num_classes=40))`; no torch until then."""

from .architectures import ARCHITECTURES
from .encoders import ENCODERS
from .registry import NETWORKS, build, network_spec
from .spec import NetworkSpec

__all__ = ["ARCHITECTURES", "ENCODERS", "NETWORKS", "NetworkSpec", "build", "network_spec"]
