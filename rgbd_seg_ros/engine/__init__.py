# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Masks from pictures: three resident networks behind one numpy call."""

from rgbd_seg_ros.engine.segmenter import Segmentation, Segmenter

__all__ = ["Segmentation", "Segmenter"]
