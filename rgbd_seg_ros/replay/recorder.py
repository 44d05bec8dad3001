# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Output bag of a replay, with the topics of the node, for RViz and Foxglove."""

from __future__ import annotations

from pathlib import Path

from rgbd_seg_ros.bag.writer import BagWriter
from rgbd_seg_ros.colorize import colorize, overlay
from rgbd_seg_ros.fallback import CoreConfig, Mode
from rgbd_seg_ros.labels import LabelSet
from rgbd_seg_ros.replay.output_folder import background, status
from rgbd_seg_ros.replay.runner import ReplayResult

NODE = "/segmenter"
#: diagnostic_msgs/DiagnosticStatus: OK, WARN, ERROR.
LEVELS = {
    Mode.STARTING: 1,
    Mode.RGBD: 0,
    Mode.RGB_ONLY: 1,
    Mode.DEPTH_ONLY: 1,
    Mode.NO_INPUT: 2,
}


class Recorder:
    """Writes what the node would have published, at the bag time it would have.

    Pictures carry the header of their source frame. The overlay contains the camera's picture, so
    the latter is not stored again. A camera_info beside them, scaled to the mask, lets RViz's
    Camera display and Foxglove's 3D panel place them.
    """

    def __init__(self, path: Path, overwrite: bool, labels: LabelSet, start_ns: int) -> None:
        self._writer = BagWriter(path, overwrite)
        self._labels = labels
        self._writer.label_info(f"{NODE}/label_info", start_ns, labels.classes)
        self.mode(Mode.STARTING, start_ns)

    def mode(self, mode: Mode, t_ns: int) -> None:
        """The mode changed."""
        self._writer.string(f"{NODE}/mode", t_ns, mode.value)

    def mask(self, made: ReplayResult, config: CoreConfig) -> None:
        """A mask was made."""
        job, labels = made.job, made.result.labels
        pictures = {
            "mask": labels,
            "confidence": made.result.confidence,
            "color_mask": colorize(labels, self._labels),
            "overlay": overlay(background(job, config), labels, self._labels),
        }
        for name, picture in pictures.items():
            topic = f"{NODE}/{name}"
            self._writer.image(topic, made.ready_ns, picture, job.stamp_ns, job.frame_id)
        if job.intrinsics is not None:
            height, width = job.size
            info = job.intrinsics.resized(width, height)
            topic = f"{NODE}/camera_info"
            self._writer.camera_info(topic, made.ready_ns, info, job.stamp_ns, job.frame_id)
        self._writer.diagnostics(
            f"{NODE}/status",
            made.ready_ns,
            job.stamp_ns,
            job.frame_id,
            name=f"{NODE.lstrip('/')}: mask",
            level=LEVELS[job.mode],
            text=job.mode.value,
            values=status(made),
        )

    def close(self) -> None:
        """Finish the bag; it appears now."""
        self._writer.close()

    def abort(self) -> None:
        """Leave no bag."""
        self._writer.abort()
