# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Inference engine: NumPy images in, NumPy masks out; backends run the networks."""

from rgbd_seg_ros.engine.segmenter import Segmentation, Segmenter

__all__ = ["Segmentation", "Segmenter"]
