# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""RGB-D semantic segmentation for robots that continues when the color or depth camera fails."""

__version__ = "0.1.0"
