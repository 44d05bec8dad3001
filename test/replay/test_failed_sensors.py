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
            for topic, image, late in ((RGB, color(i), 0), (DEPTH, depth(i), 3 * MS)):
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
    assert text.startswith(
        "depth: no messages for 2.0 s (once, first from 2.0 to 4.0 s): find out"
    )


def test_a_stream_that_stops_for_good_is_told(tmp_path: Path, replay) -> None:  # type: ignore[no-untyped-def]
    bag = write(tmp_path / "bag", within(60, 120, lambda i: None, color_image))
    (text,) = replay(bag)[1]["warnings"]
    assert text.startswith("rgb: no messages for 3.0 s (once, first from 3.0 to 6.0 s): find out")


@pytest.mark.parametrize("count", [0, 2])
def test_single_bad_frames_are_not_told(tmp_path: Path, replay, count: int) -> None:  # type: ignore[no-untyped-def]
    bag = write(tmp_path / "bag", within(40, 40 + count, lambda i: BLACK, color_image))
    summary = replay(bag)[1]
    assert summary["unusable"] == ({"black": 2} if count else {})
    assert summary["warnings"] == []


def test_a_short_episode_is_told_only_in_a_short_recording(tmp_path: Path, replay) -> None:  # type: ignore[no-untyped-def]
    """Ten frames at 20 Hz last half a second: told if they are a tenth of the stream."""
    dark = within(40, 50, lambda i: BLACK, color_image)
    assert replay(write(tmp_path / "long", dark, count=120))[1]["warnings"] == []
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
        f"depth is read with 0.001 m per tick, and its median is {median} m: if the scene is not "
        f"so {side}, the unit is wrong; set depth_scale to {fitting}"
    )
    assert summary["warnings"] == ([expected] if median else [])


def test_a_single_frame_in_another_unit_is_told(tmp_path: Path, replay) -> None:  # type: ignore[no-untyped-def]
    bag = write(
        tmp_path / "bag", depth=within(40, 41, lambda i: depth_image(i) // 100, depth_image)
    )
    (text,) = replay(bag)[1]["warnings"]
    assert text.startswith("depth: 1 of 120 messages (at 2.0 s) is unusable (depth_units): ")
