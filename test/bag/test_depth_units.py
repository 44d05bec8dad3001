# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The depth unit of a RealSense SDK recording is used unless the user sets another one."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from rgbd_seg_ros.bag.depth_units import recorded_depth_scale
from rgbd_seg_ros.bag.reader import BagReader
from rgbd_seg_ros.bag.writer import BagWriter
from rgbd_seg_ros.fallback import CoreConfig

SENSOR = "/device_0/sensor_{}"
COLOR = "/device_0/sensor_1/Color_0/image/data"
DEPTH = "/device_0/sensor_0/Depth_0/image/data"
UNIT = SENSOR + "/option/Depth Units/value"
FLOAT, STRING = "std_msgs/msg/Float32", "std_msgs/msg/String"


def write(path: Path, units: dict[int, float], kind: str = FLOAT) -> Path:
    """An SDK recording with the units of some sensors."""
    rng = np.random.default_rng(0)
    with BagWriter(path) as writer:
        for sensor, unit in units.items():
            value = {"data": unit if kind == FLOAT else str(unit)}
            topic = UNIT.format(sensor)
            writer._put(topic, kind, 1, writer.make(kind, value))
        for i in range(10):
            at = (i + 1) * 100_000_000
            color = rng.integers(40, 200, (24, 32, 3), dtype=np.uint8)
            depth = rng.integers(1500, 2500, (24, 32), dtype=np.uint16)
            writer.image(COLOR, at, color, at, "0")
            writer.image(DEPTH, at, depth, at, "0", "mono16")
    return path


@pytest.mark.parametrize("unit", [0.001, 0.00025, 0.0001, 0.000124987])
def test_the_unit_of_the_depth_sensor(tmp_path: Path, unit: float) -> None:
    with BagReader(write(tmp_path / "bag", {0: unit, 1: 0.5})) as reader:
        assert recorded_depth_scale(reader, DEPTH) == unit
        assert recorded_depth_scale(reader, COLOR) == 0.5
        assert recorded_depth_scale(reader, DEPTH.replace("device_0", "device_1")) is None
        assert recorded_depth_scale(reader, "/camera/depth/image_raw") is None


@pytest.mark.parametrize(
    ("units", "kind"),
    [({}, FLOAT), ({1: 0.001}, FLOAT), ({0: 0.0}, FLOAT), ({0: -1.0}, FLOAT),
     ({0: float("nan")}, FLOAT), ({0: float("inf")}, FLOAT), ({0: 0.001}, STRING)],
)  # fmt: skip
def test_without_a_usable_unit_there_is_none(
    tmp_path: Path, units: dict[int, float], kind: str
) -> None:
    with BagReader(write(tmp_path / "bag", units, kind)) as reader:
        assert recorded_depth_scale(reader, DEPTH) is None


def _note(warnings: list[str]) -> str:
    return "".join(text for text in warnings if "one tick of" in text)


def test_a_replay_uses_the_recorded_unit(tmp_path: Path, run_replay) -> None:  # type: ignore[no-untyped-def]
    """2000 ticks are 0.5 m with 0.00025 m, so that a limit of 1 m keeps every pixel valid."""
    bag = write(tmp_path / "bag", {0: 0.00025})
    near = CoreConfig(max_depth_m=1.0)
    options = {"topics": {"rgb": "none"}, "config": near}
    summary = run_replay(bag, **options).summary
    assert summary["networks"]["depth"] == 10
    assert not summary["unusable"]
    note = _note(summary["warnings"])
    assert note.startswith(
        f"the recording says that one tick of {DEPTH} is 0.00025 m, so depth_sc"
    )
    assert "0.00025 instead of 0.001" in note
    given = run_replay(bag, **options, given=frozenset({"depth_scale"})).summary
    assert given["unusable"] == {"no_depth": 10}
    assert "but depth_scale was set to 0.001, which is used" in _note(given["warnings"])
    same = run_replay(write(tmp_path / "same", {0: 0.001})).summary
    assert not _note(same["warnings"])
    absurd = run_replay(write(tmp_path / "absurd", {0: 1000.0})).summary
    assert "is not used: depth_scale must be from 1e-06 to 1" in _note(absurd["warnings"])


@pytest.mark.parametrize("default", [0.001, 0.0001])
def test_a_recorded_unit_is_not_doubted(tmp_path: Path, run_replay, default: float) -> None:  # type: ignore[no-untyped-def]
    """0.2 m is so near that a unit which nobody states is doubted."""
    options = {"topics": {"rgb": "none"}, "config": CoreConfig(depth_scale=default)}
    stated = run_replay(write(tmp_path / "bag", {0: 0.0001}), **options).summary
    assert stated["median_depth_m"] == pytest.approx(0.2, rel=0.05)
    assert not any("its median is" in text for text in stated["warnings"])
    unstated = run_replay(write(tmp_path / "unstated", {}), **options).summary
    assert any("its median is" in text for text in unstated["warnings"]) is (default == 0.0001)


def test_the_command_knows_whether_the_unit_was_set(  # type: ignore[no-untyped-def]
    tmp_path: Path, monkeypatch, engine, capsys
) -> None:
    from rgbd_seg_ros import cli
    from rgbd_seg_ros.replay import command

    monkeypatch.setattr(command, "load_engine", lambda bundle, device, backend: engine)
    bag = write(tmp_path / "bag", {0: 0.00025})
    for arguments, expected in (
        ([], "so depth_scale is 0.00025"),
        (["--set", "depth_scale=0.001"], "which is used"),
        (["--set", "max_wait_ms=50"], "so depth_scale is 0.00025"),
    ):
        cli.main(["replay", str(bag), "--json", *arguments])
        assert expected in _note(json.loads(capsys.readouterr().out)["warnings"])
