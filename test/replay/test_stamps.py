# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Each stream keeps its header stamps, or gets corrected ones that match the other streams'."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rigs.recordings import DEPTH, MS, RGB, START_NS, TRUTH, color_image, depth_image, truth_mask

from rgbd_seg_ros.bag.reader import BagReader
from rgbd_seg_ros.bag.topics import Topics, choose_topics
from rgbd_seg_ros.bag.writer import BagWriter
from rgbd_seg_ros.replay.faults import FaultSchedule
from rgbd_seg_ros.replay.source import BagSource
from rgbd_seg_ros.replay.stamps import (
    HEADER_STAMPS,
    Restamper,
    StampChoice,
    StampRule,
    choose_stamps,
)

S = 1000 * MS
PERIOD = 33 * MS
FRAME = "camera_color_optical_frame"
Clock = Callable[[int], int]


def true(ns: int) -> int:
    """A stream's clock: from the time of exposure to the header stamp."""
    return ns


def write(
    path: Path,
    color: Clock = true,
    depth: Clock = true,
    *,
    count: int = 40,
    latency: tuple[int, int] = (20 * MS, 45 * MS),
    copies: int = 1,
) -> Path:
    """Color, ground truth and depth of the same instants; depth arrives later than color."""
    with BagWriter(path) as writer:
        for i in range(count):
            exposed = START_NS + i * PERIOD
            for copy in range(copies):
                at = exposed + latency[0] + copy * MS
                writer.image(RGB, at, color_image(i), color(exposed), FRAME)
                writer.image(TRUTH, at, truth_mask(), color(exposed), FRAME)
                at = exposed + latency[1] + copy * MS
                writer.image(DEPTH, at, depth_image(i), depth(exposed), FRAME)
    return path


def choose(bag: Path, stamps: Any = "auto", max_age_s: float = 1.0) -> StampChoice:
    with BagReader(bag) as reader:
        return choose_stamps(reader, choose_topics(reader, {}), stamps, max_age_s)


def stamps_of(bag: Path, choice: StampChoice) -> dict[str, list[int]]:
    """Stamps of color, depth and ground truth, relative to the time of exposure."""
    found: dict[str, list[int]] = {"rgb": [], "depth": [], "truth": []}
    with BagReader(bag) as reader:
        topics = choose_topics(reader, {"truth": TRUTH})
        for arrival in BagSource(reader, topics, FaultSchedule(), choice):
            stamp = arrival.item.stamp_ns
            assert stamp is not None
            found[arrival.kind].append(stamp - START_NS - len(found[arrival.kind]) * PERIOD)
    return found


def test_good_stamps_are_kept(tmp_path: Path) -> None:
    choice = choose(write(tmp_path / "bag"))
    assert choice == HEADER_STAMPS
    assert set(stamps_of(tmp_path / "bag", choice)["depth"]) == {0}


@pytest.mark.parametrize(
    ("clock", "reason"),
    [
        (lambda ns: 0, "are 0"),
        (lambda ns: ns // S * S, "are whole seconds"),
        (lambda ns: START_NS + 5, "do not increase from message to message"),
        (lambda ns: ns // (300 * MS) * 300 * MS, "do not increase from message to message"),
    ],
    ids=["zero", "seconds", "constant", "coarse"],
)
def test_unusable_stamps_of_one_stream_become_receive_times(
    tmp_path: Path, clock: Clock, reason: str
) -> None:
    """Receive times less color's latency, so that they match color's header stamps."""
    bag = write(tmp_path / "bag", depth=clock)
    choice = choose(bag)
    (warning,) = choice.warnings
    assert warning.startswith(f"the header stamps of depth {reason}, so the frames are stamped")
    assert choice.rules == {"depth": StampRule("receive", -20 * MS)}
    assert choice.name == "corrected"
    found = stamps_of(bag, choice)
    assert set(found["rgb"]) == set(found["truth"]) == {0}
    assert set(found["depth"]) == {25 * MS}


def test_unusable_stamps_of_all_streams_become_receive_times(tmp_path: Path) -> None:
    bag = write(tmp_path / "bag", *[lambda ns: ns // S * S] * 2, latency=(0, 3 * MS))
    choice = choose(bag)
    assert choice.name == "receive"
    assert len(choice.warnings) == 1
    assert "stamps of depth and rgb are whole seconds" in choice.warnings[0]
    found = stamps_of(bag, choice)
    assert (set(found["rgb"]), set(found["depth"])) == ({0}, {3 * MS})
    assert found["truth"] == found["rgb"]


def test_exact_seconds_of_a_slow_camera_are_kept(tmp_path: Path) -> None:
    with BagWriter(tmp_path / "bag") as writer:
        for i in range(10):
            at = START_NS // S * S + i * S
            writer.image(RGB, at + 20 * MS, color_image(i), at, FRAME)
            writer.image(DEPTH, at + 45 * MS, depth_image(i), at, FRAME)
    assert choose(tmp_path / "bag") == HEADER_STAMPS


@pytest.mark.parametrize("offset", [-START_NS + 12345 * S, -2 * S, -S // 2 + S, 3600 * S])
def test_another_clock_of_one_stream_is_shifted(tmp_path: Path, offset: int) -> None:
    bag = write(tmp_path / "bag", depth=lambda ns: ns + offset)
    choice = choose(bag)
    assert choice.name == "corrected"
    assert len(choice.warnings) == 1
    assert "the header stamps of depth are" in choice.warnings[0]
    assert ("behind" in choice.warnings[0]) is (offset < 0)
    found = stamps_of(bag, choice)
    assert set(found["rgb"]) == set(found["truth"]) == {0}
    # Depth is given color's latency of 20 ms instead of its own of 45 ms.
    assert set(found["depth"]) == {25 * MS}


@pytest.mark.parametrize("offset", [-100 * S, 100 * S, S])
def test_one_clock_of_all_streams_is_shifted_equally(tmp_path: Path, offset: int) -> None:
    bag = write(tmp_path / "bag", *[lambda ns: ns + offset] * 2)
    choice = choose(bag)
    (warning,) = choice.warnings
    assert "the header stamps of depth and rgb are" in warning
    shift = choice.rules["rgb"].shift_ns
    assert shift == choice.rules["depth"].shift_ns == 20 * MS - offset
    assert f"they are shifted by {shift / S:+.3f} s; to keep the header stamps, use" in warning
    found = stamps_of(bag, choice)
    assert set(found["rgb"]) == set(found["depth"]) == set(found["truth"]) == {20 * MS}


def test_a_clock_that_does_not_count_seconds_is_replaced(tmp_path: Path) -> None:
    bag = write(tmp_path / "bag", depth=lambda ns: (ns - START_NS) // 1000 + 7)
    choice = choose(bag)
    assert "and do not advance like them, so the frames are stamped" in choice.warnings[0]
    assert choice.rules["depth"].source == "receive"


def test_stamps_below_zero_are_not_made(tmp_path: Path) -> None:
    """Recordings of the RealSense SDK have receive times since their start."""
    with BagWriter(tmp_path / "bag") as writer:
        for i in range(2):
            writer.image(RGB, 54 * MS + i * S, color_image(i), 360 * S + i * S, FRAME)
            writer.image(DEPTH, 1500 + i * S, depth_image(i), 360 * S + 102 * MS + i * S, FRAME)
    assert choose(tmp_path / "bag").name == "receive"


def test_the_limits_of_the_core_count(tmp_path: Path) -> None:
    late = write(tmp_path / "late", *[lambda ns: ns - 2 * S] * 2)
    assert choose(late).rules
    assert choose(late, max_age_s=3) == HEADER_STAMPS
    assert choose(late, max_age_s=0) == HEADER_STAMPS
    slow = write(tmp_path / "slow", latency=(20 * MS, 900 * MS))
    assert choose(slow) == HEADER_STAMPS
    ahead = write(tmp_path / "ahead", *[lambda ns: ns + 110 * MS] * 2)
    assert choose(ahead) == HEADER_STAMPS  # 90 ms and 65 ms ahead of the receive times


def test_offsets_below_a_second_have_milliseconds(tmp_path: Path) -> None:
    """0.150 s, by which the stamps are shifted, is not told as 0.1 or 0.2 s."""
    bag = write(tmp_path / "bag", *[lambda ns: ns + 170 * MS] * 2)
    (warning,) = choose(bag).warnings
    assert "are 0.150 s ahead of their receive times, so they are shifted by -0.150 s" in warning


def test_header_and_receive_are_obeyed(tmp_path: Path) -> None:
    bag = write(tmp_path / "bag", depth=lambda ns: ns - 5 * S)
    kept = choose(bag, "header")
    assert (kept.name, kept.rules) == ("header", {})
    (warning,) = kept.warnings
    assert warning.startswith("the header stamps of depth are 5.0 s behind their receive times; ")
    assert warning.endswith("use --stamps auto")
    received = choose(bag, "receive")
    assert (received.name, received.warnings) == ("receive", ())
    assert set(stamps_of(bag, received)["depth"]) == {45 * MS}


def test_copies_of_messages_do_not_count_as_repeated_stamps(tmp_path: Path) -> None:
    assert choose(write(tmp_path / "bag", copies=2)) == HEADER_STAMPS


@pytest.mark.parametrize("drift", [5e-5, -5e-5])
def test_the_drift_of_another_clock_is_followed(drift: float) -> None:
    """After an hour, a clock with a drift of 50 ppm is off by 180 ms."""
    rule = StampRule("header", 100 * S, "depth")
    restamper = Restamper(StampChoice({"depth": rule}), Topics(rgb=RGB, depth=DEPTH))
    errors = []
    for i in range(36_000):
        true_ns = START_NS + i * S // 10
        header_ns = round(true_ns - START_NS + (true_ns - START_NS) * drift) + START_NS - 100 * S
        stamp = restamper.stamp("depth", header_ns, true_ns + (20 + i * 7 % 11) * MS)
        assert stamp is not None
        errors.append(abs(stamp - true_ns))
    assert max(errors) < 7 * MS


def test_a_growing_latency_is_no_drift() -> None:
    rule = StampRule("header", 100 * S, "depth")
    restamper = Restamper(StampChoice({"depth": rule}), Topics(rgb=RGB, depth=DEPTH))
    for i in range(600):
        true_ns = START_NS + i * S // 10
        late_ns = true_ns + i * MS  # 600 ms after a minute
        stamp = restamper.stamp("depth", true_ns - 100 * S, late_ns)
        assert stamp is not None
        assert abs(stamp - true_ns) < 15 * MS


def test_a_replay_of_two_clocks_fuses_and_scores(tmp_path: Path, run_replay) -> None:  # type: ignore[no-untyped-def]
    clocks = (lambda ns: ns - 50 * S, lambda ns: ns - START_NS + 9 * S)
    bag = write(tmp_path / "bag", *clocks, latency=(20 * MS, 25 * MS))
    summary = run_replay(bag, topics={"truth": TRUTH}).summary
    assert summary["networks"] == {"rgbd": 40, "rgb": 0, "depth": 0}
    assert summary["unscored"] == 0
    assert summary["stamps"] == "corrected"
    assert len(summary["warnings"]) == 2


@pytest.mark.parametrize("stream", ["color", "depth"])
@pytest.mark.parametrize("offset", [-250 * MS, -180 * MS, -900 * MS])
def test_a_small_offset_of_one_clock_is_corrected(
    tmp_path: Path, stream: str, offset: int, run_replay: Any
) -> None:
    """The stamps would be accepted, but no frame would find its partner."""
    bag = write(
        tmp_path / "bag", **{stream: lambda ns: ns + offset}, latency=(20 * MS, 25 * MS), count=60
    )
    wrong, right = ("rgb", "depth") if stream == "color" else ("depth", "rgb")
    difference = -offset + (5 if wrong == "depth" else -5) * MS
    choice = choose(bag)
    (warning,) = choice.warnings
    assert warning.startswith(
        f"the header stamps of {wrong} are {difference / S:.3f} s behind those of {right}, "
        f"compared with the receive times, so they are shifted by {difference / S:+.3f} s"
    )
    assert "use --stamps header and raise max_wait_ms" in warning
    assert choice.rules == {wrong: StampRule("header", difference, wrong)}
    summary = run_replay(bag).summary
    assert summary["networks"] == {"rgbd": 60, "rgb": 0, "depth": 0}
    assert summary["warnings"] == [warning]


def test_a_small_offset_ahead_is_corrected(tmp_path: Path) -> None:
    bag = write(tmp_path / "bag", depth=lambda ns: ns + 90 * MS, latency=(60 * MS, 25 * MS))
    choice = choose(bag)
    (warning,) = choice.warnings
    assert "stamps of depth are 0.125 s ahead of those of rgb, compared with" in warning
    assert choice.rules == {"depth": StampRule("header", -125 * MS, "depth")}


@pytest.mark.parametrize("late", [111, 180, 250, 480])
def test_frames_that_are_received_late_keep_their_stamps(tmp_path: Path, late: int) -> None:
    """Their stamps match color's, and their receive times do not."""
    bag = write(tmp_path / "bag", latency=(20 * MS, 20 * MS + late * MS))
    assert choose(bag) == HEADER_STAMPS


def test_an_offset_that_varies_is_no_clock(tmp_path: Path) -> None:
    """Depth from a wireless camera that is exposed at other times than color."""
    with BagWriter(tmp_path / "bag") as writer:
        for i in range(40):
            at = START_NS + i * PERIOD
            writer.image(RGB, at + 20 * MS, color_image(i), at, FRAME)
            depth_at, late = at + 11 * MS, 200 * MS + i * 37 % 80 * MS
            writer.image(DEPTH, depth_at + late, depth_image(i), depth_at, FRAME)
    assert choose(tmp_path / "bag") == HEADER_STAMPS


def test_an_offset_within_the_wait_is_kept(tmp_path: Path) -> None:
    bag = write(tmp_path / "bag", depth=lambda ns: ns - 60 * MS)
    assert choose(bag) == HEADER_STAMPS


def test_a_latency_beyond_the_wait_is_told_in_one_line(tmp_path: Path, run_replay: Any) -> None:
    bag = write(tmp_path / "bag", latency=(20 * MS, 270 * MS), count=120)
    (warning,) = run_replay(bag).summary["warnings"]
    assert warning.startswith("depth arrives 250 ms after rgb, more than max_wait_ms=100, so only")
    assert "raise max_wait_ms to fuse them" in warning
    assert warning.endswith("replay with --stamps receive")


def test_an_offset_of_whole_periods_is_corrected(tmp_path: Path) -> None:
    """Stamps and receive times both match, and the delay does not vary, as a network's does."""
    bag = write(tmp_path / "bag", depth=lambda ns: ns - 8 * PERIOD, latency=(20 * MS, 23 * MS))
    assert choose(bag).rules == {"depth": StampRule("header", 8 * PERIOD + 3 * MS, "depth")}


@pytest.mark.parametrize(("spread_ms", "kept"), [(90, True), (110, False), (190, False)])
def test_whole_seconds_of_a_slow_camera_that_vary_are_cut_off(
    tmp_path: Path, spread_ms: int, kept: bool
) -> None:
    """Exact seconds are received after nearly equal times; seconds without a fraction are not."""
    with BagWriter(tmp_path / "bag") as writer:
        for i in range(20):
            at = START_NS // S * S + i * S
            for topic, image in ((RGB, color_image(i)), (DEPTH, depth_image(i))):
                writer.image(topic, at + 20 * MS + spread_ms * MS * i // 19, image, at, FRAME)
    choice = choose(tmp_path / "bag")
    assert (choice == HEADER_STAMPS) is kept
    assert all("are whole seconds" in text for text in choice.warnings)


@pytest.mark.parametrize("by_topic", [False, True])
@pytest.mark.parametrize("receive_ns", [0, START_NS, START_NS + 10**6 * S])
def test_equal_receive_times_are_replaced_by_the_stamps(
    tmp_path: Path, run_replay: Any, receive_ns: int, by_topic: bool
) -> None:
    """Also if a converter wrote one topic after the other."""
    messages = [(topic, i) for i in range(40) for topic in (RGB, DEPTH)]
    with BagWriter(tmp_path / "bag") as writer:
        for topic, i in sorted(messages) if by_topic else messages:
            image = color_image(i) if topic == RGB else depth_image(i)
            writer.image(topic, receive_ns, image, START_NS + i * PERIOD, FRAME)
    summary = run_replay(tmp_path / "bag").summary
    (warning,) = summary["warnings"]
    assert warning.startswith("all messages have the same receive time, so the stamps of their")
    assert summary["networks"] == {"rgbd": 40, "rgb": 0, "depth": 0}
    assert summary["stamps"] == "header"
    assert summary["duration_s"] == pytest.approx(39 * 0.033)


def test_receive_times_that_differ_once_are_kept(tmp_path: Path) -> None:
    with BagWriter(tmp_path / "bag") as writer:
        for i in range(20):
            at = START_NS + (i == 19) * MS
            writer.image(RGB, at, color_image(i), START_NS + i * PERIOD, FRAME)
            writer.image(DEPTH, at, depth_image(i), START_NS + i * PERIOD, FRAME)
    with BagReader(tmp_path / "bag") as reader:
        assert not reader.replace_equal_times([RGB, DEPTH])
        assert reader.end_ns == START_NS + MS


def test_stamps_that_go_wrong_on_the_way_have_all_counts_and_the_remedy(
    tmp_path: Path, run_replay: Any
) -> None:
    """The first messages, by which the clock is judged, are good."""
    bag = write(
        tmp_path / "bag",
        depth=lambda ns: ns - 3 * S * (ns >= START_NS + 60 * PERIOD),
        count=80,
    )
    (warning,) = [t for t in run_replay(bag).summary["warnings"] if t.startswith("depth: ")]
    assert warning.startswith(
        "depth: 20 of 80 messages (from 2.0 s to 2.6 s) are unusable (stale)"
    )
    assert warning.endswith(
        "; to stamp them with their receive times, replay with --stamps receive"
    )
