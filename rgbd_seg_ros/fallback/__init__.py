# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Fallback: decides which network runs on which frames. No ROS, no threads, no clock."""

from rgbd_seg_ros.fallback.config import CoreConfig
from rgbd_seg_ros.fallback.core import Core
from rgbd_seg_ros.fallback.health import SensorHealth, State
from rgbd_seg_ros.fallback.job import Job
from rgbd_seg_ros.fallback.modes import Mode, ModeChange

__all__ = ["Core", "CoreConfig", "Job", "Mode", "ModeChange", "SensorHealth", "State"]
