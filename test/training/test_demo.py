# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The demo: its recording, losses, checks and options, and one run from end to end."""

from __future__ import annotations

import dataclasses
import importlib.util
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from rgbd_seg_ros import inference
from rgbd_seg_ros.bag.reader import BagReader
from rgbd_seg_ros.bag.topics import choose_topics
from rgbd_seg_ros.bundle import Bundle, save_bundle
from rgbd_seg_ros.image_io import read_rgb
from rgbd_seg_ros.labels import LabelSet
from training import demo
from training.options import UsageError

SIZE, RATE_HZ = (48, 64), 5.0


@pytest.fixture(scope="module")
def drive(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[demo.PairTimes]]:
    bag = tmp_path_factory.mktemp("demo") / "drive"
    return bag, demo.record_drive(bag, 0, SIZE, RATE_HZ)


def test_the_recording_looks_like_a_realsense_with_ground_truth(drive) -> None:  # type: ignore[no-untyped-def]
    bag, pairs = drive
    count = round(demo.DURATION_S * RATE_HZ)
    assert len(pairs) == count
    with BagReader(bag) as reader:
        topics = choose_topics(reader, {})
        assert (topics.rgb, topics.depth) == (demo.COLOR, demo.DEPTH)
        assert topics.rgb_info
        assert topics.depth_info
        assert {t.count for t in reader.topics} == {count}
        truth = reader.first(demo.TRUTH)
        assert len(np.unique(truth.data)) > 2


def test_each_stream_is_lost_alone_and_then_both() -> None:
    assert [set(streams) for *_, streams in demo.LOSSES] == [{"depth"}, {"rgb"}, {"rgb", "depth"}]
    faults = demo.schedule().faults
    assert [(f.fault, f.stream, f.from_s, f.to_s) for f in faults] == [
        ("drop", "depth", 5.0, 9.0),
        ("drop", "rgb", 12.0, 16.0),
        ("drop", "rgb", 19.0, 21.0),
        ("drop", "depth", 19.0, 21.0),
    ]


def _outcome(drive, **changes):  # type: ignore[no-untyped-def]
    """The outcome of a drive without failures, except for the changes."""
    _, pairs = drive
    phases = [
        {"name": name, "streams": streams, "miou_fallback": a, "miou_without_fallback": b}
        for name, streams, a, b in (
            ("no fault", [], None, None),
            ("depth drop", ["depth"], 0.6, 0.3),
            ("rgb drop", ["rgb"], 0.5, 0.2),
            ("rgb drop, depth drop", ["rgb", "depth"], None, None),
        )
    ]
    stamps = [i.color_ns for i in pairs if i.arrives()]
    return SimpleNamespace(**{"summary": {"phases": phases}, "stamps_ns": stamps, **changes})


def test_a_run_without_failures_passes(drive) -> None:  # type: ignore[no-untyped-def]
    outcome = _outcome(drive)
    assert demo.failed_checks(outcome, drive[1]) == []
    lost = [i for i in drive[1] if not i.arrives()]
    assert len(lost) == 2 * RATE_HZ  # both streams are gone for two seconds
    by_depth = [
        i.depth_ns if demo._lost("rgb", i.color_received_ns) else i.color_ns
        for i in drive[1]
        if i.arrives()
    ]
    assert demo.failed_checks(_outcome(drive, stamps_ns=by_depth), drive[1]) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda stamps, lost: stamps[:-1], "1 frame pairs that arrived have no mask"),
        (lambda stamps, lost: [*stamps, stamps[0]], "1 masks are duplicates"),
        (
            lambda stamps, lost: [*stamps, lost],
            "1 masks are duplicates or belong to no frame pair",
        ),
        (lambda stamps, lost: [*stamps, 7], "1 masks are duplicates or belong to no frame pair"),
    ],
    ids=["missing", "duplicate", "of lost frames", "of no frame"],
)
def test_a_missing_or_surplus_mask_fails(drive, change, message: str) -> None:  # type: ignore[no-untyped-def]
    outcome = _outcome(drive)
    lost_ns = next(i.color_ns for i in drive[1] if not i.arrives())
    outcome.stamps_ns = change(outcome.stamps_ns, lost_ns)
    (failure,) = demo.failed_checks(outcome, drive[1])
    assert message in failure


@pytest.mark.parametrize(("fallback", "fused"), [(0.3, 0.3), (0.2, 0.3), (None, None)])
def test_a_fallback_without_gain_fails(drive, fallback, fused) -> None:  # type: ignore[no-untyped-def]
    outcome = _outcome(drive)
    outcome.summary["phases"][1].update(miou_fallback=fallback, miou_without_fallback=fused)
    (failure,) = demo.failed_checks(outcome, drive[1])
    assert failure.startswith("depth drop: the fallback scores")


def test_a_pair_arrives_with_either_frame(drive) -> None:  # type: ignore[no-untyped-def]
    # At the start of a loss, one of the two frames may still arrive.
    ns = demo.START_NS + demo.TRANSPORT_NS
    edge_ns = ns + round(19.0 * 1e9)
    before = demo.PairTimes(0, 0, edge_ns - 1, edge_ns)
    within = dataclasses.replace(before, color_received_ns=edge_ns)
    assert before.arrives()
    assert not within.arrives()


def test_from_end_to_end(  # type: ignore[no-untyped-def]
    tiny_bundle: Bundle, tmp_path: Path, monkeypatch, capsys
) -> None:
    bundle = save_bundle(tmp_path / "bundle", tiny_bundle)
    with monkeypatch.context() as patch:
        patch.setattr(demo, "DURATION_S", 1.0)
        demo.record_drive(tmp_path / "short", 0, SIZE, RATE_HZ)
    arguments = ["--bundle", bundle, "--out", tmp_path / "out", "--device", "cpu"]
    options = ["--size", "48x64", "--rate", "5", "--bag", tmp_path / "short"]
    code = demo.main([str(a) for a in (*arguments, *options)])
    captured = capsys.readouterr()
    # With random weights the fallback may score no gain, but no mask may be missing.
    assert code in (0, 1)
    assert "no mask" not in captured.out
    assert "duplicates" not in captured.out
    assert ("FAILED" in captured.out) == (code == 1)
    for text in ("depth drop", "rgb drop, depth drop", "mIoU by network", "switch latency"):
        assert text in captured.out
    report = (tmp_path / "out" / "report.html").read_text()
    assert "Recording: short" in report
    strip = read_rgb(tmp_path / "out" / "strip.jpg")
    assert strip.shape[1] == 1200
    assert (tmp_path / "out" / "drive_segmented" / "metadata.yaml").is_file()
    with pytest.raises(demo.UsageError, match="--overwrite"):
        demo.main([str(a) for a in arguments])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--size", "big"], "--size must be HEIGHTxWIDTH"),
        (["--rate", "500"], "--rate must be 5 to 60"),
        (["--bag", "nowhere.bag"], "--bag nowhere.bag does not exist"),
    ],
)
def test_bad_usage_is_refused(arguments: list[str], message: str, tmp_path: Path) -> None:
    with pytest.raises(demo.UsageError, match=message):
        demo.main([*arguments, "--out", str(tmp_path)])


@pytest.mark.parametrize("package", ["tqdm", "matplotlib"])
def test_a_missing_package_is_named_before_anything_runs(
    package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == package else find(name)
    )
    monkeypatch.setattr(inference, "load_engine", None)
    with pytest.raises(UsageError, match=f"the demo needs {package}: pip install {package}"):
        demo.main(["--out", str(tmp_path / "demo")])
    assert not (tmp_path / "demo").exists()


def test_a_bundle_with_other_classes_is_refused_before_the_drive_is_recorded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    labels = LabelSet("mine", ("wall", "floor"))
    monkeypatch.setattr(inference, "load_engine", lambda *_: SimpleNamespace(labels=labels))
    monkeypatch.setattr(demo, "record_drive", None)
    with pytest.raises(UsageError) as error:
        demo.main(["--out", str(tmp_path / "demo"), "--bundle", "my_bundle"])
    assert "the bundle my_bundle has 2 of 'mine' (wall, floor, …)" in str(error.value)
    assert not (tmp_path / "demo").exists()
