# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The share of fused masks: when it is known, its two thresholds, and the stream that is alone."""

from __future__ import annotations

import pytest

from rgbd_seg_ros.fallback.fused_share import FusedShare
from rgbd_seg_ros.frames import NetworkName


def add(share: FusedShare, fused: int, alone: NetworkName = "rgb") -> FusedShare:
    """Add 30 jobs, of which ``fused`` are fused."""
    for i in range(30):
        share.add("rgbd" if i < fused else alone)
    return share


def test_it_is_unknown_before_thirty_jobs() -> None:
    share = FusedShare()
    for _ in range(29):
        share.add("rgb")
        assert (share.value, share.is_low) == (None, False)
    share.add("rgb")
    assert (share.value, share.is_low) == (0.0, True)


@pytest.mark.parametrize(("fused", "low"), [(12, False), (11, True)])
def test_below_40_percent_it_is_low(fused: int, low: bool) -> None:
    assert add(FusedShare(), fused).is_low is low


@pytest.mark.parametrize(("fused", "low"), [(17, True), (18, False)])
def test_once_low_it_stays_low_below_60_percent(fused: int, low: bool) -> None:
    share = add(FusedShare(), 0)
    for i in range(30):  # from 0 % to the new share, which is reached with the last job
        share.add("rgb" if i < 30 - fused else "rgbd")
    assert share.value == fused / 30
    assert share.is_low is low


@pytest.mark.parametrize("alone", ["rgb", "depth"])
def test_the_network_that_is_mostly_alone(alone: NetworkName) -> None:
    share = add(FusedShare(), 5, alone)
    assert share.most_alone == alone
    share.clear()
    assert (share.value, share.is_low) == (None, False)
