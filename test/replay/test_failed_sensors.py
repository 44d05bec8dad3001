# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""A sensor that fails on the way is told once, with its messages and times, and the remedy."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from rigs.recordings import DEPTH, HEIGHT, MS, RGB, START_NS, WIDTH, color_image, depth_image

from rgbd_seg_ros import cli
from rgbd_seg_ros.bag.writer import BagWriter
from rgbd_seg_ros.replay import command

FRAME = "camera_color_optical_frame"
NO_DEPTH = np.zeros((HEIGHT, WIDTH), np.uint16)
BLACK = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
Image = Callable[[int], np.ndarray | None]


@pytest.fixture
def replay(monkeypatch, engine, capsys):  # type: ignore[no-untyped-def]
    """Replay a bag with the fake engine; returns (exit code, summary, stderr)."""
    monkeypatch.setattr(command, "load_engine", lambda bundle, device, backend: engine)

    def run(*arguments: object) -> tuple[int, dict, str]:
        code = cli.main(["replay", *map(str, arguments), "--json"])
        captured = capsys.readouterr()
        return code, json.loads(captured.out), captured.err

    return run


def write(
    path: Path,
    color: Image = color_image,
    depth: Image = depth_image,
    *,
    count: int = 120,
    period_ms: int = 50,
) -> Path:
    """Color and depth; where an image is None, no message is recorded."""
    with BagWriter(path) as writer:
        for i in range(count):
            ns = START_NS + i * period_ms * MS
            for topic, image, late in ((RGB, color(i), 0), (DEPTH, depth(i), (3 + i % 3) * MS)):
                if image is not None:
                    writer.image(topic, ns + late, image, ns, FRAME)
    return path


def within(begin: int, end: int, inside: Image, outside: Image) -> Image:
    return lambda i: inside(i) if begin <= i < end else outside(i)


@pytest.mark.parametrize(
    ("stream", "image", "reason", "count", "begin", "remedy"),
    [
        ("depth", lambda i: NO_DEPTH, "no_depth", 40, 2.0, "uncover the sensor"),
        ("depth", lambda i: depth_image(7), "frozen", 30, 2.5, "set frozen_after to 0"),
        (
            "depth",
            lambda i: NO_DEPTH + 2000,
            "constant_depth",
            40,
            2.0,
            "set min_depth_std_m to 0",
        ),
        ("rgb", lambda i: BLACK, "black", 40, 2.0, "lower black_mean"),
        ("rgb", lambda i: BLACK + 255, "saturated", 40, 2.0, "set saturated_mean to 0"),
        ("rgb", lambda i: BLACK + 100, "uniform", 40, 2.0, "set uniform_std to 0"),
        ("rgb", lambda i: color_image(7), "frozen", 30, 2.5, "the same image came 40 times"),
    ],
)
def test_a_sensor_that_fails_on_the_way_is_told_once(
    tmp_path: Path, replay, stream: str, image: Image, reason: str, count: int,
    begin: float, remedy: str,
) -> None:  # type: ignore[no-untyped-def]  # fmt: skip
    good = color_image if stream == "rgb" else depth_image
    sensor = {"rgb": "color", "depth": "depth"}[stream]
    bag = write(tmp_path / "bag", **{sensor: within(40, 80, image, good)})
    code, summary, err = replay(bag)
    assert code == 0
    (text,) = summary["warnings"]
    start = (
        f"{stream}: {count} of 120 messages (from {begin} s to 4.0 s) are unusable ({reason}): "
    )
    assert text.startswith(start)
    assert remedy in text
    assert err.count(f"warning: {text}") == 1


def test_a_stream_that_stops_for_a_while_is_told(tmp_path: Path, replay) -> None:  # type: ignore[no-untyped-def]
    bag = write(tmp_path / "bag", depth=within(40, 80, lambda i: None, depth_image))
    (text,) = replay(bag)[1]["warnings"]
    assert text.startswith("depth: no messages from 2.0 to 4.0 s: find out")


def test_several_gaps_are_told_in_one_line_with_the_longest(tmp_path: Path, replay) -> None:  # type: ignore[no-untyped-def]
    gone = within(20, 50, lambda i: None, within(90, 120, lambda i: None, depth_image))
    (text,) = replay(write(tmp_path / "bag", depth=gone))[1]["warnings"]
    assert text.startswith(
        "depth: no messages for 3.0 s (2 times, the longest from 1.0 to 2.5 s): find out"
    )


def test_a_stream_that_stops_for_good_is_told(tmp_path: Path, replay) -> None:  # type: ignore[no-untyped-def]
    bag = write(tmp_path / "bag", within(60, 120, lambda i: None, color_image))
    (text,) = replay(bag)[1]["warnings"]
    assert text.startswith("rgb: no messages from 3.0 to 6.0 s (the end): find out")


@pytest.mark.parametrize("count", [0, 2])
def test_single_bad_frames_are_not_told(tmp_path: Path, replay, count: int) -> None:  # type: ignore[no-untyped-def]
    bag = write(tmp_path / "bag", within(40, 40 + count, lambda i: BLACK, color_image))
    summary = replay(bag)[1]
    assert summary["unusable"] == ({"black": 2} if count else {})
    assert summary["warnings"] == []


def test_a_short_episode_is_told_only_in_a_short_recording(tmp_path: Path, replay) -> None:  # type: ignore[no-untyped-def]
    """Ten frames at 20 Hz last half a second: told if they are a tenth of the stream."""
    dark = within(40, 50, lambda i: BLACK, color_image)
    assert replay(write(tmp_path / "long", dark, count=400))[1]["warnings"] == []
    (text,) = replay(write(tmp_path / "short", dark, count=100))[1]["warnings"]
    assert text.startswith("rgb: 10 of 100 messages (from 2.0 s to 2.5 s) are unusable (black)")


def test_a_slow_sensor_that_fails_is_told(tmp_path: Path, replay) -> None:  # type: ignore[no-untyped-def]
    bag = write(
        tmp_path / "bag", within(40, 43, lambda i: BLACK, color_image), count=60, period_ms=1000
    )
    (text,) = replay(bag)[1]["warnings"]
    assert text.startswith("rgb: 3 of 60 messages (from 40.0 s to 42.0 s) are unusable (black)")


@pytest.mark.parametrize(
    "fault",
    ["zero", "freeze", "drop", "truncate", "nan", "delay, value: 400", "units, value: 100"],
)
def test_the_sensor_is_not_blamed_for_simulated_faults(tmp_path: Path, replay, fault: str) -> None:  # type: ignore[no-untyped-def]
    schedule = tmp_path / "faults.yaml"
    schedule.write_text(f"- {{stream: depth, fault: {fault}, from: 2, to: 4}}\n")
    summary = replay(write(tmp_path / "bag"), "--faults", schedule)[1]
    assert [text for text in summary["warnings"] if text.startswith("depth: ")] == []


def test_a_failure_outside_of_simulated_faults_is_told(tmp_path: Path, replay) -> None:  # type: ignore[no-untyped-def]
    """What a fault may have caused, also in the second after it, is not told; the rest is."""
    schedule = tmp_path / "faults.yaml"
    schedule.write_text("- {stream: depth, fault: zero, from: 1, to: 2}\n")
    bag = write(tmp_path / "bag", depth=within(70, 120, lambda i: NO_DEPTH, depth_image))
    (text,) = replay(bag, "--faults", schedule)[1]["warnings"]
    assert text.startswith(
        "depth: 50 of 120 messages (from 3.5 s to 6.0 s) are unusable (no_depth)"
    )


@pytest.mark.parametrize(("factor", "median", "side", "fitting"), [
    (0.1, "0.199", "near", "0.01"), (10, "19.9", "far", "0.0001 or 0.0002"), (1, "", "", ""),
])  # fmt: skip
def test_an_unusual_median_of_depth_is_told_with_its_unit(
    tmp_path: Path, replay, factor: float, median: str, side: str, fitting: str
) -> None:  # type: ignore[no-untyped-def]
    """Centimeters and tenths of millimeters, read as millimeters, are plausible distances."""
    bag = write(
        tmp_path / "bag", depth=lambda i: (depth_image(i) * factor).astype(np.uint16), count=30
    )
    summary = replay(bag)[1]
    assert summary["median_depth_m"] == pytest.approx(2 * factor, rel=0.02)
    expected = (
        f"depth is read with 0.001 m per tick, and its median is {median} m: if the scene is so "
        f"{side}, confirm the unit with --set depth_scale=0.001; otherwise set depth_scale to "
        f"{fitting}"
    )
    assert summary["warnings"] == ([expected] if median else [])


def test_a_single_frame_in_another_unit_is_told(tmp_path: Path, replay) -> None:  # type: ignore[no-untyped-def]
    bag = write(
        tmp_path / "bag", depth=within(40, 41, lambda i: depth_image(i) // 100, depth_image)
    )
    (text,) = replay(bag)[1]["warnings"]
    assert text.startswith("depth: 1 of 120 messages (at 2.0 s) is unusable (depth_units): ")


def write_received(
    path: Path, received_ms: Image, *, count: int = 90, other_until_ms: int | None = None
) -> Path:
    """Color and depth of 30 Hz, received at ``received_ms`` of each frame, by default in order."""
    with BagWriter(path) as writer:
        messages = []
        for i in range(count):
            ns = START_NS + i * 33 * MS
            messages += [
                (START_NS + round(received_ms(i) * MS) + late, topic, image(i), ns)
                for topic, image, late in ((RGB, color_image, 0), (DEPTH, depth_image, MS // 100))
            ]
        for receive_ns, topic, image, ns in sorted(messages, key=lambda m: (m[0], m[1])):
            writer.image(topic, receive_ns, image, ns, FRAME)
        if other_until_ms is not None:
            for ms in range(0, other_until_ms + 1, 100):
                writer.image("/infra/image_rect_raw", START_NS + ms * MS, NO_DEPTH, 0, "infra")
    return path


@pytest.mark.parametrize(("group", "apart", "option"), [(10, "0.33", "0.4"), (15, "0.49", "0.6")])
def test_messages_in_bursts_are_told_with_an_option_that_helps(
    tmp_path: Path, replay, group: int, apart: str, option: str
) -> None:  # type: ignore[no-untyped-def]
    bag = write_received(
        tmp_path / "bag", lambda i: (i // group + 1) * group * 33 + i % group * 0.02
    )
    summary = replay(bag)[1]
    assert summary["networks"]["rgb"] > 60
    (text,) = summary["warnings"]
    bursts = 90 // group - 1
    assert text.startswith(
        f"rgb and depth: messages come in bursts, up to {apart} s apart (rgb {bursts} times, "
    )
    assert f"depth {bursts} times, lost for 2." in text
    assert text.endswith(f"replay with --set min_silence_s={option}")
    mended = replay(bag, "--set", f"min_silence_s={option}")[1]
    assert mended["networks"] == {"rgbd": 90, "rgb": 0, "depth": 0}
    assert mended["warnings"] == []


def test_bursts_of_more_than_a_second_are_no_gaps(tmp_path: Path, replay) -> None:  # type: ignore[no-untyped-def]
    """The stamps are judged by the first burst, and replaced by the times of reception."""
    bag = write_received(
        tmp_path / "bag", lambda i: (i // 45 + 1) * 1500 + i % 45 * 0.02, count=270
    )
    summary = replay(bag)[1]
    assert summary["networks"]["rgb"] > 200
    corrected, text = summary["warnings"]
    assert corrected.startswith("the header stamps of depth and rgb are")
    assert text.startswith(
        "rgb and depth: messages come in bursts, up to 1.50 s apart (rgb 5 times"
    )
    assert text.endswith("with --set min_silence_s=1.8 --set first_silence_s=1.8")
    options = "--set", "min_silence_s=1.8", "--set", "first_silence_s=1.8"
    mended = replay(bag, *options)[1]
    assert mended["networks"] == {"rgbd": 270, "rgb": 0, "depth": 0}
    assert mended["warnings"] == [corrected]


def test_a_pair_divided_between_two_bursts_is_no_reason_to_wait_longer(
    tmp_path: Path, replay
) -> None:  # type: ignore[no-untyped-def]
    """The first depth frame is 330 ms late, which says nothing about all others."""
    with BagWriter(tmp_path / "bag") as writer:
        for i in range(90):
            ns = i * 33_333_333
            for topic, image, at_ns in (RGB, color_image, ns), (DEPTH, depth_image, ns + MS):
                burst_ns = -(-at_ns // (330 * MS)) * 330 * MS + at_ns % (330 * MS) // 1000
                writer.image(topic, START_NS + burst_ns, image(i), START_NS + ns, FRAME)
    summary = replay(tmp_path / "bag")[1]
    assert summary["networks"]["rgb"] > 60
    assert ["come in bursts" in text for text in summary["warnings"]] == [True]
    mended = replay(tmp_path / "bag", "--set", "min_silence_s=0.5")[1]
    assert mended["networks"]["rgb"] <= 1
    assert mended["warnings"] == []


def test_short_gaps_that_cost_a_second_are_told(tmp_path: Path, replay) -> None:  # type: ignore[no-untyped-def]
    """Lost messages are no bursts: the stamps have the same gap."""
    gone = within(40, 47, lambda i: None, depth_image)
    (text,) = replay(write(tmp_path / "bag", depth=gone))[1]["warnings"]
    assert text.startswith(
        "depth: no messages for 0.40 s (once, first at 2.0 s), so it is lost for 1.2 s, with its "
        "recovery: find out where messages are lost"
    )


def test_several_short_gaps_are_no_bursts(tmp_path: Path, replay) -> None:  # type: ignore[no-untyped-def]
    gone = within(40, 47, lambda i: None, within(80, 89, lambda i: None, depth_image))
    (text,) = replay(write(tmp_path / "bag", depth=gone))[1]["warnings"]
    assert text.startswith("depth: no messages for up to 0.50 s (2 times, first at 2.0 s), so it")


def test_cameras_that_stop_before_the_recording_ends_are_told(tmp_path: Path, replay) -> None:  # type: ignore[no-untyped-def]
    bag = write_received(tmp_path / "bag", lambda i: i * 33, count=31, other_until_ms=6000)
    topics = "--rgb-topic", RGB, "--depth-topic", DEPTH
    summary = replay(bag, *topics)[1]
    (text,) = summary["warnings"]
    assert text.startswith("rgb and depth: no messages from 1.0 to 6.0 s (the end): find out")
    assert summary["modes"]["RGBD"] == pytest.approx(1.24, abs=0.02)
    assert summary["modes"]["NO_INPUT"] == pytest.approx(4.76, abs=0.02)
    assert summary["timeline"]["modes"][-1][1:] == [6.0, "NO_INPUT"]
    assert summary["timeline"]["health"]["depth"][-1][2] == "silent"


@pytest.mark.parametrize("stream", ["rgb", "depth"])
def test_a_stream_that_starts_late_is_told(tmp_path: Path, replay, stream: str) -> None:  # type: ignore[no-untyped-def]
    good = color_image if stream == "rgb" else depth_image
    sensor = {"rgb": "color", "depth": "depth"}[stream]
    bag = write(tmp_path / "bag", **{sensor: within(0, 80, lambda i: None, good)})
    (text,) = replay(bag)[1]["warnings"]
    assert text.startswith(f"{stream}: no messages before 4.0 s: find out")


@pytest.mark.parametrize("first", [0, 15])
def test_a_stream_that_starts_within_a_second_is_not_told(
    tmp_path: Path, replay, first: int
) -> None:  # type: ignore[no-untyped-def]
    bag = write(tmp_path / "bag", depth=within(0, first, lambda i: None, depth_image), count=400)
    assert replay(bag)[1]["warnings"] == []


def test_less_than_three_periods_before_and_after_a_slow_stream_are_not_told(
    tmp_path: Path, replay
) -> None:  # type: ignore[no-untyped-def]
    """Depth has a message every 2 s, from 3 s to 11 s of 15 s."""
    bag = write(
        tmp_path / "bag",
        depth=lambda i: depth_image(i) if i % 40 == 20 and 60 <= i <= 220 else None,
        count=300,
    )
    (text,) = replay(bag)[1]["warnings"]
    assert text.startswith("only 3% of the last 30 masks are fused")


def test_a_single_message_in_a_short_recording_is_told(tmp_path: Path, replay) -> None:  # type: ignore[no-untyped-def]
    bag = write(tmp_path / "bag", depth=lambda i: depth_image(i) if i == 0 else None, count=40)
    summary = replay(bag)[1]
    assert summary["networks"] == {"rgbd": 1, "rgb": 39, "depth": 0}
    (text,) = summary["warnings"]
    assert text.startswith("depth: no messages from 0.0 to 1.9 s (the end): find out")


def test_masks_without_a_stream_are_told_if_nothing_else_explains_them(
    tmp_path: Path, replay
) -> None:  # type: ignore[no-untyped-def]
    """Depth begins 0.7 s late in a recording of 2 s, which no other line tells."""
    bag = write(tmp_path / "bag", depth=within(0, 15, lambda i: None, depth_image), count=40)
    summary = replay(bag)[1]
    lacking = summary["networks"]["rgb"]
    assert lacking == 15
    (text,) = summary["warnings"]
    assert text.startswith(
        f"depth: {lacking} of 39 masks lack it, although the recording has 25 messages of it ("
        "24 used, 1 late); the timeline"
    )


def test_a_bundle_without_a_network_for_both_is_told(tmp_path: Path, replay, engine) -> None:  # type: ignore[no-untyped-def]
    engine.available = ("rgb", "depth")
    (text,) = replay(write(tmp_path / "bag", count=40))[1]["warnings"]
    assert text.startswith("depth: 40 of 40 masks lack it, although the recording has 40 messages")
    assert text.endswith(
        "the bundle has no network rgbd for both; choose one that has it (--bundle)"
    )


def test_masks_without_a_stream_are_not_told_if_that_was_wanted(tmp_path: Path, replay) -> None:  # type: ignore[no-untyped-def]
    schedule = tmp_path / "faults.yaml"
    schedule.write_text("- {stream: depth, fault: drop, from: 2, to: 4}\n")
    bag = write(tmp_path / "bag")
    summary = replay(bag, "--faults", schedule)[1]
    assert summary["networks"]["rgb"] > 30
    assert summary["warnings"] == []
    summary = replay(bag, "--set", "force_network=rgb")[1]
    assert summary["networks"]["rgb"] == 120
    assert summary["warnings"] == []


@pytest.mark.parametrize("factor", [0.1, 10])
def test_a_stated_unit_is_not_doubted(tmp_path: Path, replay, factor: float) -> None:  # type: ignore[no-untyped-def]
    """What the warning asks for silences it."""
    bag = write(
        tmp_path / "bag", depth=lambda i: (depth_image(i) * factor).astype(np.uint16), count=30
    )
    (text,) = replay(bag)[1]["warnings"]
    assert "confirm the unit with --set depth_scale=0.001;" in text
    assert replay(bag, "--set", "depth_scale=0.001")[1]["warnings"] == []


@pytest.mark.parametrize(
    ("factor", "at", "told"),
    [(0.1, 180, True), (10, 30, True), (0.01, 200, True), (0.3, 60, False), (0.1, 220, False)],
)
def test_a_unit_that_changes_on_the_way_is_told(
    tmp_path: Path, replay, factor: float, at: int, told: bool
) -> None:  # type: ignore[no-untyped-def]
    def depth(i: int) -> np.ndarray:
        metric = depth_image(i).astype(np.float64) * (3 if factor < 1 else 1)
        return (metric * (factor if i >= at else 1)).astype(np.uint16)

    bag = write(tmp_path / "bag", depth=depth, count=240)
    texts = replay(bag, "--set", "depth_scale=0.001")[1]
    found = [text for text in texts["warnings"] if "median of depth changes" in text]
    assert len(found) == told
    if told:
        second = -(-at // 20)
        assert f"between {second - 1:.1f} and {second:.1f} s, about by a power of ten" in found[0]


def test_two_bad_frames_at_one_time_have_no_range(tmp_path: Path, replay) -> None:  # type: ignore[no-untyped-def]
    bag = write(
        tmp_path / "bag",
        depth=within(40, 42, lambda i: depth_image(i) // 100, depth_image),
        period_ms=20,
    )
    (text,) = replay(bag)[1]["warnings"]
    assert text.startswith("depth: 2 of 120 messages (at 0.8 s) are unusable (depth_units): ")
