# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Outputs for Foxglove and Rerun: the shipped layout fits the recorded bag, and the .rrd file."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from rgbd_seg_ros.bag.reader import BagReader
from rgbd_seg_ros.files import OutputError
from rgbd_seg_ros.replay import rerun_output
from rgbd_seg_ros.replay.faults import Fault, FaultSchedule

LAYOUT = Path(__file__).resolve().parents[2] / "config" / "foxglove" / "segmenter.json"


def _drop() -> FaultSchedule:
    return FaultSchedule([Fault("drop", "depth", 2.0)])


# --- Foxglove ----------------------------------------------------------------------------------


def _panels(layout: Any) -> list[str]:
    if isinstance(layout, str):
        return [layout]
    assert layout["direction"] in ("row", "column")
    assert 0 < layout["splitPercentage"] < 100
    return _panels(layout["first"]) + _panels(layout["second"])


def test_every_panel_of_the_foxglove_layout_shows_something_of_a_recorded_bag(
    recording: Path,
    run_replay,  # type: ignore[no-untyped-def]
    tmp_path: Path,
) -> None:
    layout = json.loads(LAYOUT.read_text())
    configs = layout["configById"]
    assert sorted(_panels(layout["layout"])) == sorted(configs)
    run_replay(recording, record=tmp_path / "bag", faults=_drop())
    with BagReader(tmp_path / "bag") as reader:
        types = {topic.name: topic.type for topic in reader.topics}
        keys = {v.key for v in reader.first("/segmenter/status").status[0].values}
    for name, config in configs.items():
        kind = name.partition("!")[0]
        if kind == "Image":
            mode = config["imageMode"]
            assert types[mode["imageTopic"]] == "sensor_msgs/msg/Image"
            assert types[mode["calibrationTopic"]] == "sensor_msgs/msg/CameraInfo"
        elif kind in ("Plot", "StateTransitions"):
            for path in config["paths"]:
                topic, _, field = path["value"].partition(".")
                if topic == "/segmenter/mode":
                    assert (types[topic], field) == ("std_msgs/msg/String", "data")
                    continue
                assert types[topic] == "diagnostic_msgs/msg/DiagnosticArray"
                match = re.fullmatch(r'status\[:\]\.values\[:\]\{key=="(\w+)"\}\.value', field)
                assert match is not None
                assert match[1] in keys
        else:
            assert kind == "RawMessages"
            assert config["topicPath"] in types


# --- Rerun -------------------------------------------------------------------------------------


class FakeRerun:
    """Records what is logged; archetypes are tuples of their name and their arguments."""

    def __init__(self) -> None:
        self.logged: list[tuple[int, str, Any]] = []
        self.closed = False
        self._now = 0

    def __getattr__(self, name: str) -> Any:
        def archetype(*arguments: Any, **options: Any) -> Any:
            made = SimpleNamespace(name=name, arguments=arguments, options=options)
            made.compress = lambda **_: made
            return made

        return archetype

    def RecordingStream(self, *_: Any, **__: Any) -> FakeRerun:
        return self

    def save(self, path: Path, default_blueprint: Any) -> None:
        path.write_bytes(b"rrd")

    def set_time(self, timeline: str, *, timestamp: np.datetime64) -> None:
        self._now = int(timestamp.astype("datetime64[ns]").astype(np.int64))

    def log(self, entity: str, item: Any, static: bool = False) -> None:
        self.logged.append((self._now, entity, item))

    def disconnect(self) -> None:
        self.closed = True


def test_rerun_gets_image_depth_and_mask_at_the_same_time(
    recording: Path,
    run_replay,  # type: ignore[no-untyped-def]
    monkeypatch,  # type: ignore[no-untyped-def]
    tmp_path: Path,
) -> None:
    rerun = FakeRerun()
    monkeypatch.setattr(rerun_output, "_import", lambda: rerun)
    monkeypatch.setattr(rerun_output.RerunOutput, "_views", lambda self: None)
    run_replay(recording, rerun=tmp_path / "x.rrd", faults=_drop())
    assert rerun.closed
    by_entity: dict[str, list[tuple[int, Any]]] = {}
    for now, entity, item in rerun.logged:
        by_entity.setdefault(entity, []).append((now, item))
    assert {e: len(items) for e, items in by_entity.items()} == {
        "/": 1, "mode": 2, "camera": 40, "camera/color": 40, "camera/depth": 40,
        "camera/mask": 40, "latency_ms": 40,
    }  # fmt: skip
    # Depth is lost after 2 s.
    assert [item.name for _, item in by_entity["camera/depth"]] == ["DepthImage"] * 20 + [
        "Clear"
    ] * 20
    depth = by_entity["camera/depth"][0][1]
    assert depth.options == {"meter": 1.0}
    assert depth.arguments[0].shape == (24, 32)
    assert 1.5 <= depth.arguments[0].min() <= depth.arguments[0].max() < 2.5  # meters
    masks = [item.arguments[0] for _, item in by_entity["camera/mask"]]
    assert (masks[0] == 0).all()
    assert (masks[-1] == 1).all()
    times = [now for now, _ in by_entity["camera/mask"]]
    assert times == [now for now, _ in by_entity["camera/color"]] == sorted(times)
    pinhole = by_entity["camera"][0][1].options
    assert (pinhole["focal_length"], pinhole["principal_point"]) == ([30, 30], [15.5, 11.5])


def test_rerun_can_load_the_file(recording: Path, run_replay, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    pytest.importorskip("rerun", reason="pip install rerun-sdk")
    path = tmp_path / "x.rrd"
    run_replay(recording, rerun=path)
    for command, expected in (("verify", "without error"), ("stats", "/camera/mask: ")):
        words = [sys.executable, "-m", "rerun", "rrd", command, str(path)]
        done = subprocess.run(words, capture_output=True, text=True, check=True)
        assert expected in done.stdout + done.stderr


def test_a_file_in_the_way_is_kept(recording: Path, run_replay, monkeypatch, tmp_path) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr(rerun_output, "_import", FakeRerun)
    path = tmp_path / "x.rrd"
    path.write_text("mine")
    with pytest.raises(OutputError, match=r"exists; choose another name or add --overwrite"):
        run_replay(recording, rerun=path)
    assert path.read_text() == "mine"
    with pytest.raises(OutputError, match="is a folder; name a file"):
        run_replay(recording, rerun=tmp_path)


def test_a_missing_package_is_named(recording: Path, run_replay, monkeypatch, tmp_path) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setitem(sys.modules, "rerun", None)
    with pytest.raises(ImportError, match="pip install rerun-sdk"):
        run_replay(recording, rerun=tmp_path / "x.rrd")
