# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Pictures for the report: a film of the whole replay, and the masks around each switch."""

from __future__ import annotations

from dataclasses import dataclass, field

import cv2
import numpy as np
import numpy.typing as npt

from rgbd_seg_ros.colorize import overlay
from rgbd_seg_ros.fallback import CoreConfig
from rgbd_seg_ros.image_io import encode_image
from rgbd_seg_ros.inference import overlay_background
from rgbd_seg_ros.labels import LabelSet
from rgbd_seg_ros.replay.runner import ReplayResult

#: Width of a picture in pixels, and largest number of pictures of the film, so that the report
#: stays small enough to email.
WIDTH_PX, MAX_FRAMES = 240, 80
#: Largest number of switches that are shown.
MAX_STRIPS = 12
#: Time from a switch to its last picture, seconds.
AFTER_S = 0.5


@dataclass(frozen=True, eq=False)
class FilmFrame:
    """One mask over its image."""

    #: Bag time at which its last frame arrived, seconds.
    t_s: float
    network: str
    mode: str
    #: The overlay as JPEG.
    jpeg: bytes


@dataclass(eq=False)
class SwitchStrip:
    """The masks around a change of the network."""

    #: The last one by the old network, the first one by the new one, and one a moment later.
    frames: list[FilmFrame] = field(default_factory=list)


class FilmMaker:
    """Takes pictures of a replay while it runs.

    Args:
        labels: names and colors of the classes.
        config: configuration of the core, for the scale and range of depth.
        start_ns: receive time of the first message in the bag.
        duration_s: of the recording, seconds.
    """

    def __init__(
        self, labels: LabelSet, config: CoreConfig, start_ns: int, duration_s: float
    ) -> None:
        self._labels, self._config = labels, config
        self._start_ns = start_ns
        self._step_s = duration_s / MAX_FRAMES
        self._next_s = 0.0
        self._last: ReplayResult | None = None
        #: Pictures of the whole replay, in the order of time.
        self.frames: list[FilmFrame] = []
        #: The first switches of the network.
        self.strips: list[SwitchStrip] = []

    def add(self, result: ReplayResult) -> None:
        """Add the next mask."""
        last, self._last = self._last, result
        t_s = self._seconds(result)
        if t_s >= self._next_s and len(self.frames) < MAX_FRAMES:
            self.frames.append(self._picture(result))
            self._next_s = t_s + self._step_s
        switched = last is not None and last.segmentation.network != result.segmentation.network
        open_strip = self.strips[-1] if self.strips and len(self.strips[-1].frames) == 2 else None
        if open_strip and (switched or t_s >= open_strip.frames[1].t_s + AFTER_S):
            # A network that is left sooner is shown with its last mask.
            later = last if switched and last is not None else result
            open_strip.frames.append(self._picture(later))
        if switched and last is not None and len(self.strips) < MAX_STRIPS:
            self.strips.append(SwitchStrip([self._picture(last), self._picture(result)]))

    def _seconds(self, result: ReplayResult) -> float:
        return (max(result.arrived_ns.values()) - self._start_ns) / 1e9

    def _picture(self, result: ReplayResult) -> FilmFrame:
        background = overlay_background(result.job, self._config)
        image = _reduced(overlay(background, result.segmentation.labels, self._labels))
        return FilmFrame(
            t_s=self._seconds(result),
            network=result.segmentation.network,
            mode=result.job.mode.value,
            jpeg=encode_image(".jpg", image),
        )


def _reduced(image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    height, width = image.shape[:2]
    if width <= WIDTH_PX:
        return image
    size = (WIDTH_PX, max(1, round(height * WIDTH_PX / width)))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)
