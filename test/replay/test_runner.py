# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The core in bag time: messages arrive at their receive times, ticks at the deadlines."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from rgbd_seg_ros.bag.writer import BagWriter
from rgbd_seg_ros.fallback import Core, CoreConfig
from rgbd_seg_ros.frames import CompressedFrame, Defect, Frame
from rgbd_seg_ros.replay.faults import Fault, FaultSchedule, load_faults
from rgbd_seg_ros.replay.runner import Replay, ReplayError
from rgbd_seg_ros.replay.source import Arrival

MS = 1_000_000
START_NS = 1_700_000_000_000_000_000
RGB, RAW = "/camera/camera/color/image_raw", "/camera/camera/depth/image_rect_raw"
DEPTH = "/camera/camera/aligned_depth_to_color/image_raw"


def _frame(stream: str, index: int, stamp_ns: int) -> Frame:
    rng = np.random.default_rng(index)
    if stream == "rgb":
        array = rng.integers(40, 200, (24, 32, 3), dtype=np.uint8)
    else:
        array = rng.integers(1500, 2500, (24, 32), dtype=np.uint16)
    return Frame(array, stamp_ns, "cam", "rgb8" if stream == "rgb" else "16UC1")


def _arrivals(plan):  # type: ignore[no-untyped-def]
    """Arrivals from (stream, receive time in ms) pairs; frames are stamped 2 ms earlier."""
    for index, (stream, at_ms) in enumerate(plan):
        now_ns = START_NS + round(at_ms * MS)
        yield Arrival(stream, _frame(stream, index, now_ns - 2 * MS), now_ns)


class SpyCore:
    """Asks for a tick 7 ms after every message and records all calls."""

    config = CoreConfig()
    health: ClassVar = {}

    def __init__(self) -> None:
        self.calls: list[tuple[str, float]] = []
        self._deadline_ns: int | None = None

    def _note(self, what: str, now_ns: int) -> None:
        self.calls.append((what, (now_ns - START_NS) / MS))

    def offer(self, stream: str, item: object, now_ns: int) -> None:
        self._note(stream, now_ns)
        self._deadline_ns = now_ns + 7 * MS

    def next_deadline(self, now_ns: int) -> int | None:
        return self._deadline_ns

    def tick(self, now_ns: int) -> None:
        self._note("tick", now_ns)
        self._deadline_ns = None

    def next_decodes(self, now_ns: int) -> list[CompressedFrame]:
        return []

    def next_job(self, now_ns: int) -> None:
        return None


def test_ticks_are_exactly_at_the_deadlines(engine) -> None:  # type: ignore[no-untyped-def]
    core = SpyCore()
    plan = [("rgb", 0), ("depth", 3), ("rgb", 20), ("depth", 27), ("rgb", 100)]
    assert not list(Replay(core, engine).run(_arrivals(plan)))  # type: ignore[arg-type]
    assert core.calls == [
        ("rgb", 0), ("depth", 3), ("tick", 10), ("rgb", 20), ("tick", 27), ("depth", 27),
        ("tick", 34), ("rgb", 100), ("tick", 107),
    ]  # fmt: skip


def test_a_core_that_repeats_a_deadline_does_not_hang_the_replay(engine) -> None:  # type: ignore[no-untyped-def]
    class Stubborn(SpyCore):
        def tick(self, now_ns: int) -> None:
            self._note("tick", now_ns)

    core = Stubborn()
    list(Replay(core, engine).run(_arrivals([("rgb", 0), ("rgb", 50)])))  # type: ignore[arg-type]
    assert [what for what, _ in core.calls] == ["rgb", "tick", "rgb", "tick"]


def _run(engine, plan, latency_ms=0.0, **options):  # type: ignore[no-untyped-def]
    core = Core(CoreConfig())
    return core, list(Replay(core, engine, latency_ms, **options).run(_arrivals(plan)))


def _pairs(count: int, period_ms: int):  # type: ignore[no-untyped-def]
    streams = (("rgb", 0), ("depth", 3))
    return [(stream, i * period_ms + lag) for i in range(count) for stream, lag in streams]


def test_a_free_engine_takes_no_bag_time(engine) -> None:  # type: ignore[no-untyped-def]
    core, results = _run(engine, _pairs(20, 33))
    assert [m.job.network for m in results] == ["rgbd"] * 20
    assert all(m.ready_ns == m.arrived_ns["depth"] for m in results)
    assert all(m.arrived_ns["depth"] - m.arrived_ns["rgb"] == 3 * MS for m in results)
    assert core.counters.pending("rgb") == 0


def test_a_busy_engine_takes_the_newest_and_counts_the_rest(engine) -> None:  # type: ignore[no-untyped-def]
    core, results = _run(engine, _pairs(30, 33), latency_ms=100)
    ready_ns = [m.ready_ns for m in results]
    assert min(b - a for a, b in itertools.pairwise(ready_ns)) >= 100 * MS
    assert len(results) < 15
    superseded = core.counters.fates["rgb"]["superseded"]
    assert superseded > 10
    assert superseded + len(results) == core.counters.offered["rgb"]
    for m in results[:-1]:  # each job was the newest one at its time
        assert m.ready_ns - 100 * MS - m.job.stamp_ns <= 33 * MS + 5 * MS


def test_jobs_that_wait_at_the_end_of_the_bag_are_run(engine) -> None:  # type: ignore[no-untyped-def]
    core, results = _run(engine, [*_pairs(20, 33), ("rgb", 20 * 33)])
    assert results[-1].job.network == "rgb"
    assert results[-1].job.stamp_ns == START_NS + 20 * 33 * MS - 2 * MS
    assert core.counters.pending("rgb") == 0
    _, results = _run(engine, [*_pairs(5, 33)], latency_ms=60)
    assert results[-1].job.stamp_ns == START_NS + 4 * 33 * MS - 2 * MS


def test_the_fused_network_runs_too_if_a_stream_is_missing(engine) -> None:  # type: ignore[no-untyped-def]
    _, results = _run(engine, [*_pairs(20, 33), ("rgb", 20 * 33)], without_fallback=True)
    assert [m.without_fallback is not None for m in results] == [False] * 20 + [True]
    other = results[-1].without_fallback
    assert other is not None
    assert other.network == "rgbd"
    assert (other.labels == 3).all()


@pytest.mark.parametrize("latency_ms", [-1.0, float("nan"), float("inf")])
def test_engine_latency_is_checked(engine, latency_ms: float) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ReplayError, match="engine latency must be 0 ms or more"):
        Replay(Core(), engine, latency_ms)


def test_defects_reach_the_core(engine) -> None:  # type: ignore[no-untyped-def]
    core = Core(CoreConfig())
    items = [
        *_arrivals(_pairs(3, 33)),
        Arrival("rgb", Defect("malformed", "x"), START_NS + 99 * MS),
    ]
    assert len(list(Replay(core, engine).run(items))) == 3
    assert core.counters.unusable["rgb"] == {"malformed": 1}


# --- Whole bags --------------------------------------------------------------------------------


def test_every_frame_pair_of_a_healthy_bag_is_fused(recording: Path, run_replay) -> None:  # type: ignore[no-untyped-def]
    outcome = run_replay(recording)
    assert outcome.summary["networks"] == {"rgbd": 40, "rgb": 0, "depth": 0}
    assert outcome.stamps_ns == sorted(set(outcome.stamps_ns))
    assert outcome.summary["frames_in"] == {"rgb": 40, "depth": 40}


def test_two_replays_compute_the_same_masks(recording: Path, run_replay) -> None:  # type: ignore[no-untyped-def]
    faults = [Fault("drop", "depth", 1, 2), Fault("black", "rgb", 2.5, 3)]
    sums = {
        run_replay(recording, faults=FaultSchedule(faults)).summary["determinism_sha256"]
        for _ in range(2)
    }
    assert len(sums) == 1
    assert run_replay(recording).summary["determinism_sha256"] not in sums


def test_depth_replaces_lost_color_and_color_lost_depth(recording: Path, run_replay) -> None:  # type: ignore[no-untyped-def]
    faults = FaultSchedule([Fault("drop", "depth", 1, 1.5), Fault("drop", "rgb", 3.2)])
    summary = run_replay(recording, faults=faults).summary
    assert summary["masks"] == 40  # no mask is lost
    assert summary["networks"]["depth"] == 8
    assert [s["to"] for s in summary["switches"]] == ["RGBD", "RGB_ONLY", "RGBD", "DEPTH_ONLY"]
    assert "silent" in summary["switches"][1]["reason"]
    # One period of 100 ms, the 3 ms by which depth lags, and the margin of the learned wait.
    assert len(summary["switch_latency_ms"]) == 2
    assert all(90 < ms < 120 for ms in summary["switch_latency_ms"])


def test_no_masks_while_both_streams_are_lost(recording: Path, run_replay) -> None:  # type: ignore[no-untyped-def]
    faults = FaultSchedule([Fault("color_driver", None, 1, 3)])
    summary = run_replay(recording, faults=faults).summary
    assert summary["masks"] == 20
    assert summary["modes"]["NO_INPUT"] == pytest.approx(1.7, abs=0.1)
    assert sum(summary["modes"].values()) == pytest.approx(summary["duration_s"], abs=0.01)
    assert summary["dropped_by_faults"] == {"rgb": 20, "depth": 20}


def test_raw_depth_replaces_aligned_depth_lost_with_color(  # type: ignore[no-untyped-def]
    tmp_path: Path, run_replay
) -> None:
    with BagWriter(tmp_path / "bag") as writer:
        for i in range(40):
            now_ns = START_NS + i * 100 * MS
            for topic, lag_ms, frame_id in ((RGB, 0, "c"), (DEPTH, 3, "c"), (RAW, 6, "d")):
                stream = "rgb" if topic == RGB else "depth"
                array = _frame(stream, i, 0).array
                writer.image(topic, now_ns + lag_ms * MS, array, now_ns - 2 * MS, frame_id)
    faults = FaultSchedule([Fault("color_driver", None, 2)])
    outcome = run_replay(tmp_path / "bag", faults=faults)
    summary = outcome.summary
    assert summary["topics"]["depth_raw"] == RAW
    assert summary["frames_in"] == {"rgb": 20, "depth": 20, "depth_raw": 40}
    assert summary["networks"]["rgbd"] == 20
    assert summary["networks"]["depth"] > 15
    assert summary["timeline"]["modes"][-1][2] == "DEPTH_ONLY"


def test_unaligned_depth_is_reported_once_and_not_fused(  # type: ignore[no-untyped-def]
    write_recording, run_replay, tmp_path: Path
) -> None:
    bag = write_recording(tmp_path / "bag", 15, depth_frame="camera_depth_optical_frame")
    summary = run_replay(bag).summary
    assert summary["networks"] == {"rgbd": 0, "rgb": 15, "depth": 0}
    assert len(summary["warnings"]) == 1
    assert "aligned" in summary["warnings"][0]
    forced = run_replay(bag, config=CoreConfig(assume_aligned=True)).summary
    assert forced["networks"]["rgbd"] == 15


@pytest.mark.parametrize(
    ("stamps", "masks", "used", "warning"),
    [
        ("auto", 15, "corrected", "are 3600.0 s behind their receive times, so they are shifted"),
        ("receive", 15, "receive", None),
        ("header", 0, "header", "--stamps header keeps them, so frames may be unusable; use"),
    ],
)
def test_header_stamps_far_from_the_receive_times(  # type: ignore[no-untyped-def]
    write_recording, run_replay, tmp_path: Path, stamps, masks, used, warning
) -> None:
    bag = write_recording(tmp_path / "bag", 15, header_offset_ms=-3_600_000)
    summary = run_replay(bag, stamps=stamps).summary
    assert summary["stamps"] == used
    assert summary["masks"] == masks
    found = [text for text in summary["warnings"] if "header stamps" in text]
    assert len(found) == (warning is not None)
    assert not found or warning in found[0]
    if used == "header":
        assert summary["unusable"] == {"stale": 30}


def test_malformed_messages_are_counted_and_skipped(tmp_path: Path, run_replay) -> None:  # type: ignore[no-untyped-def]
    with BagWriter(tmp_path / "bag") as writer:
        for i in range(20):
            now_ns = START_NS + i * 100 * MS
            array = _frame("rgb", i, 0).array
            if i == 5:
                writer.image(RGB, now_ns, array, now_ns, "c", encoding="rgb9")
            elif i == 9:
                fields = {
                    "height": 0,
                    "width": 0,
                    "encoding": "rgb8",
                    "is_bigendian": 0,
                    "step": 0,
                }
                data = {**fields, "data": np.zeros(0, np.uint8)}
                writer.write(RGB, "sensor_msgs/msg/Image", now_ns, now_ns, "c", data)
            elif i == 12:
                fields = {"height": 24, "width": 32, "encoding": "rgb8", "is_bigendian": 0}
                data = {**fields, "step": 96, "data": np.zeros(1000, np.uint8)}
                writer.write(RGB, "sensor_msgs/msg/Image", now_ns, now_ns, "c", data)
            else:
                writer.image(RGB, now_ns, array, now_ns, "c")
    summary = run_replay(tmp_path / "bag").summary
    assert summary["unusable"] == {"malformed": 3}
    assert summary["networks"]["rgb"] == 17


def test_the_shared_recordings_replay(recordings: Path, run_replay) -> None:  # type: ignore[no-untyped-def]
    aligned = run_replay(recordings / "bags" / "realsense_boxes_aligned").summary
    assert aligned["networks"] == {"rgbd": 10, "rgb": 0, "depth": 0}
    assert not aligned["warnings"]
    unaligned = run_replay(recordings / "bags" / "realsense_robot_unaligned").summary
    assert unaligned["networks"] == {"rgbd": 0, "rgb": 60, "depth": 0}
    assert len(unaligned["warnings"]) == 1
    name = "librealsense_single_depth_color_640x480.bag"
    sdk = run_replay(recordings / "bags_ros1" / name).summary
    assert sdk["stamps"] == "receive"
    assert sdk["masks"] >= 1
    assert not aligned["unusable"]
    assert not unaligned["unusable"]
    assert not sdk["unusable"]


def test_a_fault_without_effect_is_reported(recording: Path, run_replay) -> None:  # type: ignore[no-untyped-def]
    faults = FaultSchedule([Fault("drop", "depth", 1, 1.5), Fault("drop", "rgb", 9)])
    warnings = run_replay(recording, faults=faults).summary["warnings"]
    assert warnings == ["fault rgb drop from 9 s affects no frame: the recording lasts 3.9 s"]
    raw = FaultSchedule([Fault("drop", "depth_raw", 1, 1.5)])
    warnings = run_replay(recording, faults=raw).summary["warnings"]
    assert warnings == [
        "fault depth_raw drop from 1 s affects no frame: the replay has no stream depth_raw"
    ]


def test_a_schedule_without_faults_is_reported(
    recording: Path,
    run_replay,  # type: ignore[no-untyped-def]
    tmp_path: Path,
) -> None:
    (tmp_path / "f.yaml").write_text("[]\n")
    (warning,) = run_replay(recording, faults=load_faults(tmp_path / "f.yaml")).summary["warnings"]
    assert warning.endswith("f.yaml has no fault, so the recording is replayed as it is")
