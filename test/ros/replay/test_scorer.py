# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The score of a live replay, with recordings written without ROS."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from rigs.broken_files import BROKEN, assert_one_line
from rigs.engines import FakeEngine

from rgbd_seg_ros.bag.reader import BagError, BagReader
from rgbd_seg_ros.bag.topics import choose_topics
from rgbd_seg_ros.bag.writer import BagWriter
from rgbd_seg_ros.fallback import Core, CoreConfig
from rgbd_seg_ros.replay.faults import load_faults
from rgbd_seg_ros.replay.runner import Replay, ReplayResult
from rgbd_seg_ros.replay.source import BagSource
from rgbd_seg_ros.ros.replay import scorer
from rgbd_seg_ros.ros.replay.agreement import counters_of
from rgbd_seg_ros.ros.replay.plan import LiveReplayPlan, make_plan

MS = 1_000_000
START_NS = 1_700_000_000_000_000_000
FAULTS = "- {stream: depth, fault: drop, from: 1.55, to: 2.25}"


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> LiveReplayPlan:
    """Plan of a bag of four seconds at 10 Hz in which depth drops."""
    folder = tmp_path_factory.mktemp("bag")
    rng = np.random.default_rng(0)
    with BagWriter(folder / "noise") as writer:
        for i in range(40):
            t = START_NS + i * 100 * MS
            rgb = rng.integers(30, 220, (48, 64, 3), dtype=np.uint8)
            depth = rng.integers(800, 4000, (48, 64), dtype=np.uint16)
            writer.image("/cam/color/image_raw", t + 4 * MS, rgb, t, "cam")
            writer.image("/cam/depth/image_raw", t + 7 * MS, depth, t + 2 * MS, "cam")
    (folder / "faults.yaml").write_text(FAULTS)
    return make_plan(folder / "noise", str(folder / "faults.yaml"))


@dataclass
class NodeOutputs:
    """What a node that decides like the offline replay publishes; tests modify it."""

    masks: list[ReplayResult]
    #: (time, counters) ten times per second.
    reports: list[tuple[int, dict[str, int]]]
    #: Indices of masks that are not published.
    missing: set[int] = field(default_factory=set)
    #: Increments of counters: (time, name, number).
    increments: list[tuple[int, str, int]] = field(default_factory=list)
    #: Indices of masks with one changed pixel.
    changed: set[int] = field(default_factory=set)

    def record(self, path: Path) -> Path:
        """Write a recording of the outputs."""
        with BagWriter(path) as writer:
            for i, made in enumerate(self.masks):
                if i not in self.missing:
                    self._write(writer, made, changed=i in self.changed)
            for t_ns, counters in self.reports:
                values = dict(counters)
                for from_ns, name, number in self.increments:
                    values[name] = values.get(name, 0) + number * (t_ns >= from_ns)
                values["masks"] = sum(
                    made.ready_ns <= t_ns
                    for i, made in enumerate(self.masks)
                    if i not in self.missing
                )
                entries = {name: str(value) for name, value in values.items()}
                writer.diagnostics(
                    "/diagnostics", t_ns, t_ns, "", name="segmentation", level=0, text="",
                    values=entries,
                )  # fmt: skip
        return path

    @staticmethod
    def _write(writer: BagWriter, made: ReplayResult, *, changed: bool) -> None:
        job, labels = made.job, made.segmentation.labels.copy()
        labels[0, 0] ^= changed
        writer.image("/segmenter/mask", made.ready_ns, labels, job.stamp_ns, job.frame_id)
        values = {"network": job.network, "latency_ms": "3.5"}
        writer.diagnostics(
            "/segmenter/status", made.ready_ns, job.stamp_ns, job.frame_id, name="mask", level=0,
            text="", values=values,
        )  # fmt: skip


class PixelEngine(FakeEngine):
    """An engine whose masks depend on every pixel of its inputs."""

    def __call__(self, rgb: Any, depth: Any, *_: Any, size: Any, network: str) -> Any:
        labels = np.zeros(size, np.uint16)
        if network != "depth":
            labels += rgb.sum(-1, dtype=np.uint16)
        if network != "rgb":
            labels += (depth * 1000).astype(np.uint16)
        return SimpleNamespace(labels=(labels % 16).astype(np.uint8), network=network)


@pytest.fixture(scope="module")
def perfect(plan: LiveReplayPlan) -> Callable[[], NodeOutputs]:
    """Create outputs that agree with the offline replay in everything."""
    engine = PixelEngine()
    core = Core(networks=engine.available)
    reports: list[tuple[int, dict[str, int]]] = []

    def watched(source: BagSource) -> Any:
        for arrival in source:
            yield arrival
            while not reports or reports[-1][0] < arrival.receive_ns - 100 * MS:
                t_ns = reports[-1][0] + 100 * MS if reports else START_NS
                reports.append((t_ns, counters_of(core)))

    with BagReader(plan.bag) as reader:
        schedule = load_faults(plan.faults)
        source = BagSource(reader, choose_topics(reader, {}), schedule)
        masks = list(Replay(core, engine).run(watched(source)))
    reports.append((plan.end_ns, counters_of(core)))
    return lambda: NodeOutputs(masks, reports)


@pytest.fixture
def score(plan: LiveReplayPlan, tmp_path: Path) -> Callable[[NodeOutputs], dict[str, Any]]:
    """Score the recorded outputs of a node."""

    def run(node: NodeOutputs) -> dict[str, Any]:
        recorded = node.record(tmp_path / "recorded")
        return scorer.score(plan, recorded, "/segmenter", CoreConfig(), PixelEngine())

    return run


def test_a_node_that_decides_like_the_offline_replay_passes(perfect: Any, score: Any) -> None:
    result = score(perfect())
    assert result["passed"], result
    assert (result["agreement"], result["coverage"], result["unexplained"]) == (1, 1, 0)
    assert set(result["networks"]) == {"rgbd", "rgb"}
    assert result["masks"] == result["offline_masks"] == 40
    assert result["masks_recomputed"] == 40
    assert result["faults"] == [{"fault": "depth drop", "from": 1.55, "messages": 7}]


def test_one_different_byte_in_a_mask_fails(perfect: Any, score: Any) -> None:
    node = perfect()
    node.changed = {10}
    result = score(node)
    assert not result["passed"]
    assert result["masks_different"] == 1
    assert str(node.masks[10].job.stamp_ns) in result["failures"][0]


def test_unexplained_missing_masks_fail(perfect: Any, score: Any) -> None:
    node = perfect()
    node.missing = set(range(0, 40, 2))
    result = score(node)
    assert not result["passed"]
    assert (result["coverage"], result["unexplained"]) == (0.5, 20)


def test_too_many_explained_missing_masks_fail(perfect: Any, score: Any) -> None:
    node = perfect()
    node.missing = {5}
    when_ns = node.masks[5].ready_ns + 50 * MS
    node.increments = [(when_ns, f"{stream}_superseded", 1) for stream in ("rgb", "depth")]
    result = score(node)
    assert result["unexplained"] == 0
    assert result["causes"] == {"rgb_superseded": 1, "depth_superseded": 1}
    assert not result["passed"]  # 1 of 40 is more than 1 %


def test_frames_lost_in_transport_explain_differences(perfect: Any, score: Any) -> None:
    node = perfect()
    node.missing = {30}
    node.increments = [(node.masks[30].ready_ns, f"{s}_offered", -1) for s in ("rgb", "depth")]
    result = score(node)
    assert result["unexplained"] == 0
    assert result["frames_lost"] == {"rgb": 1, "depth": 1}


def test_a_node_that_was_never_active_is_an_error(tmp_path: Path) -> None:
    with BagWriter(tmp_path / "recorded") as writer:
        writer.string("/segmenter/mode", START_NS, "STARTING")
    with pytest.raises(BagError, match="never active"):
        scorer.read_recorded(tmp_path / "recorded", "/segmenter")


def test_exit_codes_of_pass_failure_and_bad_input(
    perfect: Any, plan: LiveReplayPlan, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan.save(tmp_path / "plan.json")
    (tmp_path / "parameters.json").write_text(json.dumps({"device": "cpu", "max_wait_ms": 100}))
    failing = perfect()
    failing.missing = {5}
    for name, node, code in (("good", perfect(), 0), ("bad", failing, 1)):
        arguments = {
            "plan": tmp_path / "plan.json",
            "recorded": node.record(tmp_path / name),
            "parameters": tmp_path / "parameters.json",
            "out": tmp_path / f"{name}.json",
        }
        options = [f"--{option}={value}" for option, value in arguments.items()]
        assert scorer.main(["score", *options], lambda *_: PixelEngine()) == code
        written = json.loads((tmp_path / f"{name}.json").read_text())
        assert written["passed"] is (code == 0)
        shown = capsys.readouterr()
        assert json.loads(shown.out)["passed"] is (code == 0)
        assert shown.err.splitlines() == [f"replay_score: {f}" for f in written["failures"]]
    assert scorer.main(["plan", f"--bag={tmp_path}/none", f"--out={tmp_path / 'x'}"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"{tmp_path}/none" in line


@pytest.mark.parametrize("kind", [*BROKEN, "a device that is a list", "a wait in words"])
def test_broken_parameters_are_refused_in_one_line(
    kind: str, plan: LiveReplayPlan, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan.save(tmp_path / "plan.json")
    path = tmp_path / "parameters.json"
    if kind in BROKEN:
        BROKEN[kind](path)
    else:
        values = {"a device that is a list": {"device": [1]}, "a wait in words": {"hold_s": [1]}}
        path.write_text(json.dumps(values[kind]))
    options = {"plan": tmp_path / "plan.json", "recorded": tmp_path, "parameters": path}
    words = ["score", *(f"--{k}={v}" for k, v in options.items()), f"--out={tmp_path / 'x'}"]
    assert scorer.main([*words, "--ros-args", "-r", "__node:=x"], lambda *_: PixelEngine()) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("replay_score: ")
    assert_one_line(line, path)


def test_an_unknown_option_is_answered_with_the_nearest(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as caught:
        scorer.main(["score", "--recordd=x"])
    assert caught.value.code == 2
    assert "'--recordd'; did you mean '--recorded'?" in capsys.readouterr().err.splitlines()[-1]
