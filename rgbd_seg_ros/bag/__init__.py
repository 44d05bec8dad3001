# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Recordings on disk: reads, writes and repairs bags and chooses their topics, without ROS."""
