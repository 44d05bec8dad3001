# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Output of a replay for the Rerun viewer: image, depth cloud and mask on one time line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np

from rgbd_seg_ros.fallback import CoreConfig, Mode
from rgbd_seg_ros.files import OutputError, check_writable
from rgbd_seg_ros.inference import depth_in_meters
from rgbd_seg_ros.labels import IGNORE_ID, LabelSet
from rgbd_seg_ros.replay.runner import ReplayResult

#: Name of the time line.
TIME = "bag_time"
JPEG_QUALITY = 90


def check_rerun(path: Path, overwrite: bool) -> None:
    """Check the file of ``--rerun``, before anything slow is done.

    Raises:
        ImportError: Rerun is not installed.
        OutputError: the file cannot be written, or exists while ``overwrite`` is not set.
    """
    _import()
    if path.is_dir():
        raise OutputError(f"--rerun {path} is a folder; name a file, for example {path}.rrd")
    if path.exists() and not overwrite:
        raise OutputError(f"--rerun {path} exists; choose another name or add --overwrite")
    check_writable(path.parent, "--rerun")


class RerunOutput:
    """Writes an ``.rrd`` file.

    Args:
        path: the file, which is replaced.
        labels: names and colors of the classes.
    """

    def __init__(self, path: Path, labels: LabelSet) -> None:
        self._rr = _import()
        path.parent.mkdir(parents=True, exist_ok=True)
        self._stream = self._rr.RecordingStream("rgbd_seg", send_properties=False)
        self._stream.save(path, default_blueprint=self._views())
        classes = [
            (index, name, color)
            for index, (name, color) in enumerate(zip(labels.classes, labels.palette, strict=True))
        ]
        unlabeled = (IGNORE_ID, "unlabeled", (0, 0, 0, 0))
        context = self._rr.AnnotationContext([*classes, unlabeled])
        self._stream.log("/", context, static=True)

    def mode(self, mode: Mode, t_ns: int) -> None:
        """Add a change of mode."""
        self._at(t_ns)
        self._stream.log("mode", self._rr.TextLog(mode.value))

    def mask(self, result: ReplayResult, config: CoreConfig) -> None:
        """Add a mask with its images; an image that the mask did not use disappears."""
        rr, job = self._rr, result.job
        self._at(result.ready_ns)
        height, width = job.size
        if job.intrinsics is not None:
            k = job.intrinsics.resized(width, height)
            self._stream.log(
                "camera",
                rr.Pinhole(
                    resolution=[width, height],
                    focal_length=[k.fx, k.fy],
                    principal_point=[k.cx, k.cy],
                ),
            )
        images: dict[str, Any] = dict.fromkeys(("color", "depth"))
        if job.rgb is not None:
            color = _resized(job.rgb.array, width, height)
            images["color"] = rr.Image(color).compress(jpeg_quality=JPEG_QUALITY)
        meters = depth_in_meters(job, config)
        if meters is not None:
            depth = np.nan_to_num(_resized(meters, width, height), nan=0.0)
            images["depth"] = rr.DepthImage(depth, meter=1.0)
        images["mask"] = rr.SegmentationImage(result.segmentation.labels)
        for name, image in images.items():
            self._stream.log(
                f"camera/{name}", rr.Clear(recursive=False) if image is None else image
            )
        self._stream.log("latency_ms", rr.Scalars(result.latency_ms))

    def close(self) -> None:
        """Write everything to the file."""
        self._stream.disconnect()

    def _at(self, t_ns: int) -> None:
        self._stream.set_time(TIME, timestamp=np.datetime64(t_ns, "ns"))

    def _views(self) -> Any:
        import rerun.blueprint as rrb

        return rrb.Blueprint(
            rrb.Horizontal(
                rrb.Spatial3DView(origin="/", name="Depth cloud"),
                rrb.Vertical(
                    rrb.Spatial2DView(origin="camera", name="Mask and image"),
                    rrb.TextLogView(origin="mode", name="Mode"),
                    rrb.TimeSeriesView(origin="latency_ms", name="Time per mask, ms"),
                ),
            )
        )


def _resized(image: Any, width: int, height: int) -> Any:
    if image.shape[:2] == (height, width):
        return image
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_NEAREST)


def _import() -> Any:
    try:
        import rerun
    except ImportError as error:
        raise ImportError(
            f"--rerun needs the package rerun-sdk ({error}): pip install rerun-sdk"
        ) from error
    return rerun
