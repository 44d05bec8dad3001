# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Procedural RGB-D rooms with exact depth and labels, and their renderer."""
