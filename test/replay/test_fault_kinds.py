# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Each kind of fault does what its documentation says; presets and random schedules are usable."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest

from rgbd_seg_ros.frames import CompressedFrame, Defect, Frame
from rgbd_seg_ros.replay.fault_kinds import FAULTS, ReceivedItem
from rgbd_seg_ros.replay.fault_presets import PRESETS, find_faults, random_faults
from rgbd_seg_ros.replay.faults import Fault, FaultError, FaultSchedule

S, MS = 1_000_000_000, 1_000_000
START_NS = 5 * S


def received(array: np.ndarray, t_s: float = 0.0) -> ReceivedItem:
    now_ns = START_NS + round(t_s * S)
    return ReceivedItem(Frame(array, now_ns - MS, "cam", "encoding"), now_ns)


def pixels(fault: str, array: np.ndarray, value: float, seed: int = 0, t_s: float = 0.0):  # type: ignore[no-untyped-def]
    """The array after a fault."""
    stream = "rgb" if array.ndim == 3 else "depth"
    schedule = FaultSchedule([Fault(fault, stream, value=value, seed=seed)])
    after = schedule.apply(stream, received(array, t_s), START_NS)
    assert after is not None
    assert isinstance(after.item, Frame)
    assert after.item.array.dtype == array.dtype
    return after.item.array


def arrivals(fault: Fault, period_s: float, count: int, stream: str = "rgb"):  # type: ignore[no-untyped-def]
    """What is left of frames with a fixed period."""
    schedule, array = FaultSchedule([fault]), np.zeros((2, 2, 3), np.uint8)
    return [
        schedule.apply(stream, received(array, i * period_s), START_NS)  # type: ignore[arg-type]
        for i in range(count)
    ]


def example(name: str, stream: str) -> Fault:
    kind = FAULTS[name]
    value = None if kind.value is None else min(max(2.0, kind.value.low), kind.value.high)
    return Fault(name, None if kind.fixed_streams else stream, value=value)  # type: ignore[arg-type]


CASES = [(n, s) for n, kind in FAULTS.items() for s in kind.fixed_streams or kind.streams]


@pytest.mark.parametrize(("name", "stream"), CASES)
@pytest.mark.parametrize("kind", ["raw", "meters", "compressed", "defect", "tiny"])
def test_every_fault_takes_every_item_and_leaves_it_unmodified(
    name: str, stream: str, kind: str
) -> None:
    random = np.random.default_rng(1)
    size = (1, 1) if kind == "tiny" else (8, 12)
    array = random.integers(400, 9000, size).astype(np.uint16)
    if stream == "rgb":
        array = random.integers(0, 255, (*size, 3)).astype(np.uint8)
    elif kind == "meters":
        array = (array / 1000).astype(np.float32)
    before = array.copy()
    frame = Frame(array, START_NS, "cam", "x")
    item = {
        "compressed": CompressedFrame(size, START_NS, "cam", lambda: frame),
        "defect": Defect("malformed", "x"),
    }.get(kind, frame)
    schedule = FaultSchedule([example(name, stream)])
    after = [
        schedule.apply(stream, ReceivedItem(item, START_NS + i), START_NS)  # type: ignore[arg-type]
        for i in range(2)
    ]
    np.testing.assert_array_equal(array, before)
    assert schedule.covers == [2]
    if kind in ("raw", "meters", "compressed") and name not in ("freeze", "bandwidth"):
        second = after[1]
        assert schedule.hits[0] > 0
        assert (
            second is None
            or second.receive_ns != START_NS + 1
            or second.item.stamp_ns != START_NS
            or isinstance(second.item, Defect)
            or not np.array_equal(second.item.array, before)  # type: ignore[union-attr]
        )


@pytest.mark.parametrize("scale", [0.001, 0.0002])
def test_the_std_of_depth_noise_grows_with_the_square_of_the_distance(scale: float) -> None:
    for z_m in (1.0, 2.0, 4.0):
        ticks = np.full((200, 200), round(z_m / scale), np.uint16)
        schedule = FaultSchedule([Fault("noise", "depth", value=10)])
        schedule.depth_scale = scale
        item = schedule.apply("depth", received(ticks), START_NS).item  # type: ignore[union-attr]
        assert item.array.std() * scale == pytest.approx(0.01425 * z_m**2, rel=0.03)  # type: ignore[union-attr]
        meters = pixels("noise", np.full((200, 200), z_m, np.float32), 10)
        assert meters.std() == pytest.approx(0.01425 * z_m**2, rel=0.03)


def test_noise_leaves_invalid_depth_invalid() -> None:
    assert pixels("noise", np.array([[0, 65535]], np.uint16), 100).tolist() == [[0, 65535]]
    assert np.isnan(pixels("noise", np.full((1, 1), np.nan, np.float32), 100)).all()


def test_color_noise_is_shot_and_read_noise_at_a_gain() -> None:
    array = np.full((100, 100, 3), 128, np.uint8)
    electrons = 10_000 / 20 * 128 / 255  # of a pixel at gain 20
    expected = np.sqrt(electrons + 25) * 255 / (10_000 / 20)
    assert pixels("noise", array, 20).std() == pytest.approx(expected, rel=0.03)


def test_noise_is_the_same_in_every_replay_and_differs_between_frames_and_seeds() -> None:
    array = np.full((8, 8, 3), 128, np.uint8)
    first = pixels("noise", array, 20)
    np.testing.assert_array_equal(pixels("noise", array, 20), first)
    assert (pixels("noise", array, 20, seed=1) != first).any()
    assert (pixels("noise", array, 20, t_s=1) != first).any()


def test_saturate_units_and_misalign_by_hand() -> None:
    image = np.full((1, 1, 3), (10, 100, 200), np.uint8)
    assert pixels("saturate", image, 2)[0, 0].tolist() == [20, 200, 255]
    depth = np.array([[0, 1000, 2000, 65535]], np.uint16)
    assert pixels("units", depth, 10).tolist() == [[0, 10000, 20000, 65535]]
    assert pixels("units", depth, 100).tolist() == [[0, 65534, 65534, 65535]]
    assert pixels("misalign", depth, 1).tolist() == [[0, 0, 1000, 2000]]
    assert pixels("misalign", depth, -2).tolist() == [[2000, 65535, 0, 0]]
    assert pixels("misalign", depth, 9).tolist() == [[0, 0, 0, 0]]


def test_a_blur_spreads_a_point_by_its_std() -> None:
    point = np.zeros((41, 41, 3), np.uint8)
    point[20, 20] = 255
    row = pixels("blur", point, 1.0)[20, :, 0] / 255
    assert row[20] == pytest.approx(1 / (2 * np.pi), abs=0.01)
    assert row[21] / row[20] == pytest.approx(np.exp(-0.5), abs=0.05)


@pytest.mark.parametrize("share", [0.001, 0.25, 1.0])
def test_a_patch_covers_its_share_at_one_place(share: float) -> None:
    array = np.full((100, 200), 5, np.uint16)
    covered = [pixels("patch", array, share, t_s=t) == 0 for t in (0, 1)]
    assert covered[0].mean() == pytest.approx(share, abs=0.0005)
    np.testing.assert_array_equal(*covered)


def test_rate_passes_the_first_frame_of_each_period() -> None:
    kept = arrivals(Fault("rate", "rgb", value=10), 0.03125, 64)
    assert sum(item is not None for item in kept) == 20  # 2 s
    slower = arrivals(Fault("rate", "rgb", value=100), 0.03125, 64)
    assert None not in slower


def test_bandwidth_loses_its_share_in_bursts() -> None:
    lost = [item is None for item in arrivals(Fault("bandwidth", "rgb", value=0.3), 0.03, 20_000)]
    bursts = sum(a and not b for a, b in zip(lost, [*lost[1:], False], strict=True))
    assert np.mean(lost) == pytest.approx(0.3, abs=0.03)
    assert sum(lost) / bursts == pytest.approx(5, abs=0.5)


def test_delay_and_jitter_change_the_arrival_and_keep_the_stamps_and_the_order() -> None:
    for fault, low, high in (("delay", 80, 80), ("jitter", 0, 80)):
        items = arrivals(Fault(fault, "rgb", 1.0, 2.0, value=80), 0.1, 30)
        late_ms = [(x.receive_ns - START_NS) / MS - 100 * i for i, x in enumerate(items)]
        assert late_ms[:10] == late_ms[20:] == [0] * 10
        assert low <= min(late_ms[10:20])
        assert max(late_ms[10:20]) <= high
        assert [x.item.stamp_ns for x in items] == [
            START_NS + (100 * i - 1) * MS for i in range(30)
        ]
    crowded = arrivals(Fault("delay", "rgb", 0.0, 1.0, value=500), 0.1, 30)
    times = [x.receive_ns for x in crowded]
    assert times == sorted(times)
    assert times[10] == START_NS + 1400 * MS  # right after the last delayed frame
    assert times[20] == START_NS + 2000 * MS


def test_skew_shifts_one_stream_and_jump_all() -> None:
    array = np.zeros((2, 2), np.uint16)
    for fault, shifted, offset_ns in (
        (Fault("skew", "depth", value=-30), ["depth"], -30 * MS),
        (Fault("jump", value=2), ["rgb", "depth", "depth_raw"], 2 * S),
    ):
        for stream in ("rgb", "depth", "depth_raw"):
            before = received(array)
            after = FaultSchedule([fault]).apply(stream, before, START_NS)  # type: ignore[arg-type]
            assert after is not None
            assert after.receive_ns == before.receive_ns
            expected = offset_ns if stream in shifted else 0
            assert after.item.stamp_ns - before.item.stamp_ns == expected  # type: ignore[operator]
    early = FaultSchedule([Fault("jump", value=-1e6)]).apply("rgb", received(array), START_NS)
    assert early is not None
    assert early.item.stamp_ns == 0


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_changes_the_replay(recording: Path, run_replay, name: str) -> None:  # type: ignore[no-untyped-def]
    schedule = find_faults(name)
    assert min(fault.from_s for fault in schedule.faults) == 2.0
    fitted = schedule.fitted(3.9)
    run_replay(recording, faults=fitted)
    assert all(fitted.hits)


def test_a_preset_is_compressed_to_fit_into_a_short_recording(
    recording: Path,
    run_replay,  # type: ignore[no-untyped-def]
) -> None:
    summary = run_replay(recording, faults=find_faults("lens-cap")).summary
    # Made for 9 s: black from 2 to 7 s. The recording lasts 3.903 s.
    (fault,) = summary["faults"]
    assert (fault["from"], fault["to"]) == (round(2 / 9 * 3.903, 4), round(7 / 9 * 3.903, 4))
    assert [w for w in summary["warnings"] if "made for 9 s" in w]
    assert summary["networks"]["depth"] > 10
    long = find_faults("lens-cap")
    assert long.fitted(9.0) is long


def test_a_schedule_from_a_file_is_never_compressed(tmp_path: Path) -> None:
    (tmp_path / "f.yaml").write_text("- {stream: rgb, fault: black, from: 2, to: 7}\n")
    schedule = find_faults(str(tmp_path / "f.yaml"))
    assert schedule.fitted(1.0) is schedule


def test_random_faults_depend_only_on_the_seed_and_the_duration() -> None:
    assert random_faults(7, 300) == random_faults(7, 300)
    assert random_faults(7, 300) != random_faults(8, 300)
    many = [fault for seed in range(20) for fault in random_faults(seed, 300)]
    assert {fault.fault for fault in many} == FAULTS.keys()
    assert all(a.to_s < b.from_s for a, b in itertools.pairwise(many) if a.seed == b.seed)
    assert random_faults(7, 0.5) == ()


def test_a_random_value_is_never_the_one_that_changes_nothing() -> None:
    from rgbd_seg_ros.replay.fault_presets import _random_value

    assert _random_value(FAULTS["jump"], 0.004) == 0.01
    assert _random_value(FAULTS["jump"], -0.004) == 0.01
    assert _random_value(FAULTS["misalign"], 4.4) == 4
    assert _random_value(FAULTS["drop"], 0.0) is None


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("depth-cabel", "neither a preset of faults nor a file; did you mean 'depth-cable'"),
        ("missing.yaml", "cannot read missing.yaml"),
    ],
)
def test_an_unknown_preset_or_file_is_refused(name: str, message: str) -> None:
    with pytest.raises(FaultError, match=message) as caught:
        find_faults(name)
    assert "\n" not in str(caught.value)


def test_a_random_schedule_is_in_the_summary_or_told_to_be_empty(
    recording: Path,
    run_replay,  # type: ignore[no-untyped-def]
) -> None:
    told = 0
    for seed in range(12):
        summary = run_replay(recording, random_faults=seed).summary
        empty = [w for w in summary["warnings"] if w.startswith("--random-faults has no fault")]
        assert len(empty) == (not summary["faults"])
        told += len(empty)
    assert 0 < told < 12
