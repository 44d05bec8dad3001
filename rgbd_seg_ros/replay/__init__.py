# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Offline replay: runs a recording through the core, with sensor faults, scores and a report."""
