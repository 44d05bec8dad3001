# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Recorded bags: read them, break them on purpose, replay them through the core, report."""
