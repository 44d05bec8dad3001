# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Output bag of a replay, with the topics of the node, for RViz and Foxglove."""

from __future__ import annotations

from rgbd_seg_ros.bag.writer import BagWriter
from rgbd_seg_ros.colorize import colorize, overlay
from rgbd_seg_ros.fallback import CoreConfig, Mode
from rgbd_seg_ros.inference import MODE_LEVELS, mask_status, overlay_background
from rgbd_seg_ros.labels import LabelSet
from rgbd_seg_ros.replay.runner import ReplayResult

NODE = "/segmenter"


class Recorder:
    """Writes what the node would publish, at the bag times at which it would do so.

    Images have the header of their source frame. The color image is not written, since the
    overlay shows it. A camera_info scaled to the size of the mask is added for the Camera display
    of RViz and the 3D panel of Foxglove.

    Args:
        writer: the open bag.
        labels: names and colors of the classes.
        start_ns: receive time of the first message in the replayed bag.
    """

    def __init__(self, writer: BagWriter, labels: LabelSet, start_ns: int) -> None:
        self._writer = writer
        self._labels = labels
        self._writer.label_info(f"{NODE}/label_info", start_ns, labels.classes)
        self.mode(Mode.STARTING, start_ns)

    def mode(self, mode: Mode, t_ns: int) -> None:
        """Write a change of mode."""
        self._writer.string(f"{NODE}/mode", t_ns, mode.value)

    def mask(self, result: ReplayResult, config: CoreConfig) -> None:
        """Write a mask and everything that the node publishes with it."""
        job, segmentation = result.job, result.segmentation
        labels = segmentation.labels
        images = {
            "mask": labels,
            "confidence": segmentation.confidence,
            "color_mask": colorize(labels, self._labels),
            "overlay": overlay(overlay_background(job, config), labels, self._labels),
        }
        for name, image in images.items():
            topic = f"{NODE}/{name}"
            self._writer.image(topic, result.ready_ns, image, job.stamp_ns, job.frame_id)
        if job.intrinsics is not None:
            height, width = job.size
            info = job.intrinsics.resized(width, height)
            topic = f"{NODE}/camera_info"
            self._writer.camera_info(topic, result.ready_ns, info, job.stamp_ns, job.frame_id)
        self._writer.diagnostics(
            f"{NODE}/status",
            result.ready_ns,
            job.stamp_ns,
            job.frame_id,
            name=f"{NODE.lstrip('/')}: mask",
            level=MODE_LEVELS[job.mode],
            text=job.mode.value,
            values=mask_status(job, segmentation.network, result.latency_ms),
        )
