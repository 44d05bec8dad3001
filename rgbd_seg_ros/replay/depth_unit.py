# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The unit of depth of a replay: that of the recording, unless the user has set one."""

from __future__ import annotations

import math
from dataclasses import replace

from rgbd_seg_ros.bag.depth_units import recorded_depth_scale
from rgbd_seg_ros.bag.reader import BagReader
from rgbd_seg_ros.bag.topics import Topics
from rgbd_seg_ros.replay.replay_options import ReplayOptions


def with_recorded_unit(
    options: ReplayOptions, reader: BagReader, topics: Topics
) -> tuple[ReplayOptions, list[str]]:
    """The options with the depth unit of the recording, unless the user has set one, and notes."""
    topic = topics.depth or topics.depth_raw
    scale = recorded_depth_scale(reader, topic) if topic else None
    config, stated = options.config, replace(options, given=options.given | {"depth_scale"})
    if scale is None:
        return options, []
    if math.isclose(scale, config.depth_scale, rel_tol=1e-5):
        return stated, []
    found = f"the recording says that one tick of {topic} is {scale:g} m"
    if "depth_scale" in options.given:
        text = f"{found}, but depth_scale was set to {config.depth_scale:g}, which is used"
        return options, [f"{text}; omit it to use the unit of the recording"]
    try:
        return replace(stated, config=replace(config, depth_scale=scale)), [
            f"{found}, so depth_scale is {scale:g} instead of {config.depth_scale:g}; to use "
            "another one, set depth_scale"
        ]
    except ValueError as error:
        return options, [f"{found}, which is not used: {error}"]
