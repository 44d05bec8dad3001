# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Rooms with furniture from an installed catalog, path-traced light and the faults of sensors."""
