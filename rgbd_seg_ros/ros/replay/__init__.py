# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Live replay: a recording through the running node, compared with the offline replay."""
