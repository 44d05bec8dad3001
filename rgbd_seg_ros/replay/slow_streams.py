# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Slow recordings: a stream whose period is longer than the core waits for a second message."""

from __future__ import annotations

import itertools
from dataclasses import replace
from statistics import median

from rgbd_seg_ros.bag.reader import BagReader
from rgbd_seg_ros.bag.topics import Topics
from rgbd_seg_ros.fallback import CoreConfig
from rgbd_seg_ros.frames import NS_PER_S

#: The period is the median of the intervals of so many first messages.
_SAMPLE = 6
#: From this share of ``second_message_s`` on, a late second message would be a loss.
_SHARE = 0.8


def patient_config(
    reader: BagReader, topics: Topics, config: CoreConfig
) -> tuple[CoreConfig, list[str]]:
    """The parameters for a recording, in which the period of each stream is known beforehand.

    Without it, the core takes a stream whose second message does not come within
    ``second_message_s`` for a silent one. A value that the user has set is kept.

    Args:
        reader: an open bag.
        topics: the topics to replay.
        config: the parameters.

    Returns:
        The parameters, and a line if they are others.
    """
    if config.second_message_s != CoreConfig().second_message_s:
        return config, []
    periods_s = {stream: _period_s(reader, topic) for topic, stream in topics.streams.items()}
    slow = {s: p for s, p in periods_s.items() if p > _SHARE * config.second_message_s}
    if not slow:
        return config, []
    patience_s = min(max(config.silent_periods, 1.5) * max(slow.values()), 3600.0)
    which = " and ".join(f"{s} has a message every {p:.3g} s" for s, p in slow.items())
    return replace(config, second_message_s=patience_s), [
        f"{which}, so second_message_s is {patience_s:.3g} instead of "
        f"{config.second_message_s:g}; set it likewise in the node"
    ]


def _period_s(reader: BagReader, topic: str) -> float:
    """The usual interval between the first messages, seconds; 0 if there is only one."""
    times = [item.receive_ns for item in itertools.islice(reader.messages([topic]), _SAMPLE)]
    return median([(b - a) / NS_PER_S for a, b in itertools.pairwise(times)] or [0.0])
