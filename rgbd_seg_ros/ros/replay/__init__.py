# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Live replay: plays a recording to the node and compares its masks with the offline replay."""
