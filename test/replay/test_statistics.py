# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Switch latencies, times in each mode, and a checksum that depends on every mask."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np

from rgbd_seg_ros.fallback import Mode, ModeChange
from rgbd_seg_ros.fallback.counters import Counters
from rgbd_seg_ros.replay.runner import ReplayResult
from rgbd_seg_ros.replay.statistics import ReplayStatistics

MS = 1_000_000


class FakeCore:
    """Returns the mode changes that a test gives it."""

    def __init__(self) -> None:
        self.counters = Counters()
        self.pending: list[ModeChange] = []

    def change(self, at_ms: int, before: Mode, after: Mode) -> None:
        self.pending.append(ModeChange(at_ms * MS, before, after, "why"))

    def drain_mode_changes(self) -> list[ModeChange]:
        changes, self.pending = self.pending, []
        return changes

    def drain_warnings(self) -> list[str]:
        return []


def _mask(
    statistics: ReplayStatistics,
    ready_ms: int,
    value: int = 0,
    stamp_ns: int = 5,
    **arrived_ms: int,
) -> None:
    network = "rgbd" if len(arrived_ms) == 2 else "rgb" if "rgb" in arrived_ms else "depth"
    segmentation = SimpleNamespace(
        labels=np.full((2, 3), value, np.uint8), network=network, timings_ms={"total": ready_ms}
    )
    arrived_ns = {stream: ms * MS for stream, ms in arrived_ms.items()}
    job = SimpleNamespace(stamp_ns=stamp_ns)
    statistics.fetch_from_core()
    result = ReplayResult(job, segmentation, ready_ms * MS, arrived_ns)  # type: ignore[arg-type]
    statistics.add_mask(result)
    statistics.add_labels(result)


def _statistics(end_ms: int = 1000) -> tuple[ReplayStatistics, FakeCore]:
    core = FakeCore()
    return ReplayStatistics(core, 0, end_ms * MS), core  # type: ignore[arg-type]


def test_switch_latency_is_from_the_last_used_frame_to_the_first_mask_without_it() -> None:
    statistics, core = _statistics()
    core.change(1, Mode.STARTING, Mode.RGBD)
    _mask(statistics, 103, rgb=100, depth=103)
    _mask(statistics, 205, rgb=200)  # depth is missing, but not yet lost
    _mask(statistics, 300, rgb=300)
    core.change(400, Mode.RGBD, Mode.RGB_ONLY)
    _mask(statistics, 400, rgb=400)
    _mask(statistics, 500, rgb=500)
    summary = statistics.summary()
    assert summary["switch_latency_ms"] == [102.0]
    assert [s["to"] for s in summary["switches"]] == ["RGBD", "RGB_ONLY"]


def test_latency_of_a_switch_that_precedes_its_first_mask() -> None:
    statistics, core = _statistics()
    core.change(1, Mode.STARTING, Mode.RGBD)
    _mask(statistics, 103, rgb=100, depth=103)
    core.change(400, Mode.RGBD, Mode.DEPTH_ONLY)
    statistics.fetch_from_core()
    assert statistics.summary()["switch_latency_ms"] == []
    _mask(statistics, 450, depth_raw=450)
    assert statistics.summary()["switch_latency_ms"] == [350.0]


def test_a_switch_without_a_mask_and_the_longest_gap_are_kept() -> None:
    statistics, core = _statistics(end_ms=1000)
    core.change(1, Mode.STARTING, Mode.RGBD)
    _mask(statistics, 103, rgb=100, depth=103)
    _mask(statistics, 203, rgb=200, depth=203)
    core.change(400, Mode.RGBD, Mode.RGB_ONLY)
    statistics.fetch_from_core()
    summary = statistics.summary()
    assert summary["switches_without_mask"] == [0.4]
    assert summary["longest_gap_s"] == 0.797  # to the end
    _mask(statistics, 450, rgb=450)
    summary = statistics.summary()
    assert summary["switches_without_mask"] == []
    assert summary["longest_gap_s"] == 0.55


def test_no_latency_if_the_stream_is_back_before_any_mask_or_all_streams_are_lost() -> None:
    statistics, core = _statistics()
    core.change(1, Mode.STARTING, Mode.RGBD)
    _mask(statistics, 103, rgb=100, depth=103)
    core.change(400, Mode.RGBD, Mode.RGB_ONLY)
    core.change(450, Mode.RGB_ONLY, Mode.RGBD)
    _mask(statistics, 503, rgb=500, depth=503)
    core.change(800, Mode.RGBD, Mode.NO_INPUT)
    statistics.fetch_from_core()
    assert statistics.summary()["switch_latency_ms"] == []


def test_modes_cover_the_whole_bag() -> None:
    statistics, core = _statistics(end_ms=1000)
    core.change(100, Mode.STARTING, Mode.RGBD)
    core.change(700, Mode.RGBD, Mode.RGB_ONLY)
    core.change(1050, Mode.RGB_ONLY, Mode.NO_INPUT)  # after the last message
    statistics.fetch_from_core()
    assert statistics.timeline == [
        (0, 0.1, "STARTING"), (0.1, 0.7, "RGBD"), (0.7, 1.0, "RGB_ONLY"),
    ]  # fmt: skip
    assert statistics.summary()["modes"] == {
        "STARTING": 0.1, "RGBD": 0.6, "RGB_ONLY": 0.3, "DEPTH_ONLY": 0.0, "NO_INPUT": 0.0,
    }  # fmt: skip
    assert len(statistics.summary()["switches"]) == 2


def test_latencies_are_those_of_the_engine() -> None:
    statistics, _ = _statistics()
    assert statistics.summary()["latency_ms"] == {"p50": None, "p95": None, "p99": None}
    for ms in range(1, 102):
        _mask(statistics, ms, rgb=ms)
    assert statistics.summary()["latency_ms"] == {"p50": 51.0, "p95": 96.0, "p99": 100.0}


def test_the_checksum_depends_on_stamps_networks_and_pixels_but_not_on_times() -> None:
    def checksum(ready_ms: int = 10, **changes: int) -> str:
        statistics, _ = _statistics()
        _mask(statistics, ready_ms, **{"rgb": 1, **changes})  # type: ignore[arg-type]
        return str(statistics.summary()["determinism_sha256"])

    reference = checksum()
    assert checksum(ready_ms=99) == reference
    others = {checksum(value=1), checksum(stamp_ns=6), checksum(depth=1)}
    assert len(others | {reference}) == 4


def test_consecutive_masks_of_a_network() -> None:
    statistics, _ = _statistics()
    for ms in (100, 200, 300):
        _mask(statistics, ms, rgb=ms, depth=ms)
    _mask(statistics, 400, rgb=400)
    assert statistics.network_runs == [(0.1, 0.3, "rgbd"), (0.4, 0.4, "rgb")]
