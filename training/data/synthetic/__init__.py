# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Procedural rooms and the renderer of their color, depth and label images."""
