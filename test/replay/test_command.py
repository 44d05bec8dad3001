# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The command `rgbd_seg replay`: files, summary, error messages, Ctrl-C."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from rigs import recordings as rigs_recordings

from rgbd_seg_ros import cli
from rgbd_seg_ros.bag.reader import BagReader
from rgbd_seg_ros.bag.writer import BagWriter
from rgbd_seg_ros.bundle import Bundle, save_bundle
from rgbd_seg_ros.replay import command, speed
from rgbd_seg_ros.replay.command import core_config
from rgbd_seg_ros.replay.fault_kinds import FAULTS
from rgbd_seg_ros.replay.fault_presets import PRESETS
from rgbd_seg_ros.replay.interrupts import interruptible
from rgbd_seg_ros.replay.runner import ReplayError

#: The keys that other tools rely on.
KEYS = {
    "frames_in", "masks", "superseded", "skipped", "partner_missed", "unusable", "networks",
    "modes", "switches", "switch_latency_ms", "miou", "miou_all", "miou_by_network",
    "latency_ms", "determinism_sha256",
}  # fmt: skip


@pytest.fixture
def replay(monkeypatch, engine, capsys):  # type: ignore[no-untyped-def]
    """Run `rgbd_seg replay` with the fake engine; returns (exit code, stdout, stderr)."""
    monkeypatch.setattr(command, "load_engine", lambda bundle, device, backend: engine)

    def run(*arguments: object) -> tuple[int, str, str]:
        code = cli.main(["replay", *map(str, arguments)])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


def test_stdout_contains_only_json(recording: Path, replay) -> None:  # type: ignore[no-untyped-def]
    code, out, err = replay(recording, "--json")
    assert code == 0
    summary = json.loads(out)
    assert summary.keys() >= KEYS
    assert summary["frames_in"].keys() >= {"rgb", "depth"}
    assert summary["latency_ms"].keys() == {"p50", "p95", "p99"}
    assert [s.keys() for s in summary["switches"]] == [{"t", "from", "to", "reason"}]
    assert summary["miou"] is None  # no truth topic was given
    assert "STARTING -> RGBD" in err


def test_every_key_and_fault_is_documented(recording: Path, replay) -> None:  # type: ignore[no-untyped-def]
    document = (Path(__file__).resolve().parents[2] / "docs" / "replay.md").read_text()
    summary = json.loads(replay(recording, "--json")[1])
    assert [key for key in summary if f"`{key}`" not in document] == []
    assert [name for name in FAULTS if f"| `{name}` |" not in document] == []
    assert [name for name in PRESETS if f"`{name}`" not in document] == []


def test_the_text_summary_has_the_same_numbers(recording: Path, replay, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "f.yaml").write_text("- {stream: depth, fault: drop, from: 2, to: 3}\n")
    options = ("--truth-topic", "/truth/mask", "--without-fallback", "--faults")
    code, out, _ = replay(recording, *options, tmp_path / "f.yaml")
    assert code == 0
    for text in (
        "frames          rgb 40, depth 30",
        "masks           40 (rgbd ",
        "faults          dropped depth 10",
        "RGBD -> RGB_ONLY: depth silent",
        "fault           depth drop from 2 s: detected after 203 ms, first mask without after ",
        "masks per second",
        "2-3 s depth drop: 10 masks, 0.250; without one stream 0.250, fused 0.000",
        "sha256",
    ):
        assert text in out


def test_files_of_a_replay(recording: Path, replay, engine, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    out = tmp_path / "out"
    code, printed, err = replay(recording, "--out", out, "--json")
    assert code == 0
    assert json.loads((out / "summary.json").read_text()) == json.loads(printed)
    assert sorted(p.name for p in out.iterdir()) == [
        "masks", "masks.jsonl", "overlays", "report.html", "summary.json",
    ]  # fmt: skip
    lines = [json.loads(line) for line in (out / "masks.jsonl").read_text().splitlines()]
    assert len(lines) == 40
    first = lines[0]
    assert first["network"] == "rgbd"
    assert first["mode"] == "RGBD"
    assert (first["reason_rgb"], first["reason_depth"]) == ("ok", "ok")
    assert float(first["age_rgb_ms"]) == 7.0  # received after 4 ms, then waited 3 ms for depth
    assert float(first["latency_ms"]) == 2.5
    mask = cv2.imread(str(out / first["mask"]), cv2.IMREAD_UNCHANGED)
    assert mask.shape == (24, 32)
    assert (mask == 0).all()
    assert cv2.imread(str(out / first["overlay"])).shape == (24, 32, 3)
    assert str(first["stamp_ns"]) in first["mask"]
    assert "report.html" in err
    report = (out / "report.html").read_text()
    assert "1 recording" in report


def test_existing_outputs_are_replaced_only_on_request(recording, replay, tmp_path) -> None:  # type: ignore[no-untyped-def]
    out, bag = tmp_path / "out", tmp_path / "bag"
    assert replay(recording, "--out", out, "--record", bag)[0] == 0
    (out / "masks" / "stale.png").touch()
    (out / "notes.txt").write_text("mine")
    for option, place in (("--out", out), ("--record", bag)):
        code, _, err = replay(recording, option, place)
        assert code == 2
        assert "--overwrite" in err
    assert replay(recording, "--out", out, "--record", bag, "--overwrite")[0] == 0
    assert not (out / "masks" / "stale.png").exists()
    assert len(list((out / "masks").iterdir())) == 40
    assert (out / "notes.txt").read_text() == "mine"
    (tmp_path / "file").touch()
    assert "pass a folder" in replay(recording, "--out", tmp_path / "file")[2]


def test_the_recorded_bag_contains_what_the_node_publishes(recording, replay, tmp_path) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "f.yaml").write_text("- {stream: depth, fault: drop, from: 2}\n")
    bag = tmp_path / "out"
    assert replay(recording, "--record", bag, "--faults", tmp_path / "f.yaml")[0] == 0
    with BagReader(bag) as reader:
        counts = {t.name: t.count for t in reader.topics}
        assert counts == {
            "/segmenter/mask": 40,
            "/segmenter/confidence": 40,
            "/segmenter/color_mask": 40,
            "/segmenter/overlay": 40,
            "/segmenter/camera_info": 40,
            "/segmenter/status": 40,
            "/segmenter/label_info": 1,
            "/segmenter/mode": 3,
        }
        found = {}
        for item in reader.messages(counts):
            found.setdefault(item.topic, []).append(item.message)
    assert [m.data for m in found["/segmenter/mode"]] == ["STARTING", "RGBD", "RGB_ONLY"]
    encodings = {t: m[0].encoding for t, m in found.items() if hasattr(m[0], "encoding")}
    assert encodings == {
        "/segmenter/mask": "mono8",
        "/segmenter/confidence": "mono8",
        "/segmenter/color_mask": "rgb8",
        "/segmenter/overlay": "rgb8",
    }
    with BagReader(recording) as reader:
        source = reader.first("/camera/camera/color/image_raw").header
    for topic in ("mask", "overlay", "color_mask", "camera_info"):
        header = found[f"/segmenter/{topic}"][0].header
        assert (header.stamp.sec, header.stamp.nanosec) == (source.stamp.sec, source.stamp.nanosec)
        assert header.frame_id == source.frame_id
    values = {v.key: v.value for v in found["/segmenter/status"][-1].status[0].values}
    assert list(values) == [
        "mode", "network", "reason_rgb", "reason_depth", "age_rgb_ms", "age_depth_ms",
        "latency_ms", "fused_share",
    ]  # fmt: skip
    assert (values["mode"], values["network"], values["reason_depth"]) == (
        "RGB_ONLY", "rgb", "silent",
    )  # fmt: skip


# --- Error messages ----------------------------------------------------------------------------


def _bad_faults(tmp_path: Path, recording: Path) -> list[object]:
    (tmp_path / "f.yaml").write_text("- {stream: depth, fault: explode}\n")
    return [recording, "--faults", tmp_path / "f.yaml"]


def _file_in_the_way(tmp_path: Path, recording: Path) -> list[object]:
    (tmp_path / "file").touch()
    return [recording, "--record", tmp_path / "file" / "bag"]


def _empty_bag(tmp_path: Path, recording: Path) -> list[object]:
    (tmp_path / "empty.mcap").touch()
    return [tmp_path / "empty.mcap"]


def _cut_bag(tmp_path: Path, recording: Path) -> list[object]:
    data = next(recording.glob("*.mcap")).read_bytes()
    (tmp_path / "cut.bag").write_bytes(b"#ROSBAG V2.0\n" + data[:100])
    return [tmp_path / "cut.bag"]


def _no_images(tmp_path: Path, recording: Path) -> list[object]:
    with BagWriter(tmp_path / "words") as writer:
        writer.string("/chatter", 1000, "hello")
    return [tmp_path / "words"]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda t, r: [t / "nowhere"], "there is no bag at"),
        (_empty_bag, "is empty (0 bytes)"),
        (_cut_bag, "cut.bag: "),
        (_no_images, "no usable color or depth topic"),
        (_bad_faults, "unknown fault 'explode'"),
        (lambda t, r: [r, "--faults", t / "none.yaml"], "none.yaml: No such file or directory"),
        (lambda t, r: [r, "--rgb-topic", "/camera/color/image"], "is not in the bag; did you"),
        (lambda t, r: [r, "--depth-topic", "/truth/masks"], "did you mean '/truth/mask'?"),
        (lambda t, r: [r, "--truth-topic", "/none"], "is not in the bag"),
        (
            lambda t, r: [r, "--engine-latency", "-5"],
            "latency must be 0 ms or more, got -5",
        ),
        (lambda t, r: [r, "--set", "max_wait=5"], "did you mean 'max_wait_ms'?"),
        (lambda t, r: [r, "--set", "max_wait_ms=-5"], "max_wait_ms must be from 0"),
        (lambda t, r: [r, "--set", "max_wait_ms"], "expected NAME=VALUE"),
        (lambda t, r: [r, "--engine-latency", "nan"], "must be 0 ms or more, got nan"),
        (lambda t, r: [r, "--set", "max_wait_ms=["], "--set max_wait_ms: '[':1 is not valid YAML"),
        (lambda t, r: [r, "--set", f"max_wait_ms={'[' * 9999}"], "max_wait_ms: '[[[["),
        (lambda t, r: [r, "--set", "max_wait_ms=!!int ''"], "is not YAML that can be used"),
        (lambda t, r: [r, "--set", "max_wait_ms=[1]"], "max_wait_ms must be float, got [1]"),
        (
            lambda t, r: [r, "--set", "max_wait_ms=5", "--set", "max_wait_ms=6"],
            "--set max_wait_ms=6: max_wait_ms has already been set to 5; set it once",
        ),
        (
            lambda t, r: [r, "--assume-aligned", "--set", "assume_aligned=false"],
            "assume_aligned has already been set by --assume-aligned to True",
        ),
        (_file_in_the_way, "cannot write --record "),
        (lambda t, r: [r, "--record", r, "--overwrite"], "would replace the bag that is replayed"),
        (lambda t, r: [r, "--record", t / "a", "--out", t / "a"], "use two folders"),
    ],
)
def test_mistakes_are_one_line_and_exit_code_2(recording, replay, tmp_path, make, message) -> None:  # type: ignore[no-untyped-def]
    code, out, err = replay(*make(tmp_path, recording))
    assert code == 2
    assert out == ""
    (line,) = [text for text in err.splitlines() if text.startswith("rgbd_seg replay: ")]
    assert message in line


INFO, DEPTH_TOPIC = "/camera/camera/color/camera_info", rigs_recordings.DEPTH


@pytest.mark.parametrize(
    ("option", "topic", "message"),
    [
        ("--rgb-topic", INFO, "is sensor_msgs/msg/CameraInfo; it must be sensor_msgs/msg/Image"),
        ("--depth-topic", INFO, "is sensor_msgs/msg/CameraInfo; it must be sensor_msgs/msg/Image"),
        ("--truth-topic", INFO, "is sensor_msgs/msg/CameraInfo; it must be sensor_msgs/msg/Image"),
        ("--rgb-info-topic", "/truth/mask", "sensor_msgs/msg/Image; it must be sensor_msgs/msg/C"),
        ("--truth-topic", DEPTH_TOPIC, "is not usable: unknown mask encoding '16UC1'"),
        ("--truth-topic", rigs_recordings.RGB, "is not usable: unknown mask encoding 'rgb8'"),
    ],
)
def test_a_topic_of_another_type_is_one_line_before_the_replay(  # type: ignore[no-untyped-def]
    recording, replay, engine, tmp_path, option: str, topic: str, message: str
) -> None:
    code, out, err = replay(recording, option, topic, "--out", tmp_path / "out")
    assert (code, out) == (2, "")
    assert message in err
    assert topic in err
    assert err.count("\n") == 1
    assert engine.calls == []
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("shape", "value", "message"),
    [
        ((24, 32), 9, "does not match the label set of the bundle: truth contains class id 9"),
        ((24, 24), 0, "24×24 pixels, the masks have 32×24, which is another aspect ratio"),
    ],
)
def test_truth_of_another_label_set_or_size_is_one_line(  # type: ignore[no-untyped-def]
    write_recording, replay, tmp_path, shape, value, message
) -> None:
    bag, truth = write_recording(tmp_path / "bag", 5, truth=False), tmp_path / "truth"
    truth.mkdir()
    stamp_ns = rigs_recordings.START_NS - 4 * rigs_recordings.MS
    cv2.imwrite(str(truth / f"{stamp_ns}.png"), np.full(shape, value, np.uint8))
    code, out, err = replay(bag, "--truth", truth)
    assert (code, out) == (2, "")
    (line,) = [text for text in err.splitlines() if text.startswith("rgbd_seg replay: ")]
    assert message in line


@pytest.mark.parametrize("cut", [0.5, 0.95])
def test_a_bag_that_ends_in_a_message_is_replayed_and_told_once(  # type: ignore[no-untyped-def]
    write_recording, replay, tmp_path: Path, cut: float
) -> None:
    path = next(write_recording(tmp_path / "bag", 600).glob("*.mcap"))
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * cut)])
    code, out, err = replay(path.parent, "--json")
    summary = json.loads(out)
    assert code == 0
    assert 0 < summary["masks"] < 600
    (line,) = [text for text in summary["warnings"] if "is damaged: " in text]
    assert summary["damage"] in line
    assert err.count(line) == 1


def test_no_usable_frame_is_exit_code_1(write_recording, replay, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    bag = write_recording(tmp_path / "bag", 5, header_offset_ms=-9_000_000)
    code, out, err = replay(bag, "--stamps", "header")
    assert code == 1
    assert "stale 10" in out
    assert "no mask was computed" in err


def write_images(path: Path, rgb: np.ndarray, depth: np.ndarray, *encodings: str) -> Path:
    """Ten frames of the same images, apart from noise in valid pixels, at 10 Hz."""
    names = ["/camera/color/image_raw", "/camera/aligned_depth_to_color/image_raw"]
    with BagWriter(path) as writer:
        for i in range(10):
            t = 1_700_000_000_000_000_000 + i * 100_000_000
            noise = np.random.default_rng(i).integers(0, 50, (24, 32), dtype=np.uint16)
            pair = [
                rgb + (rgb > 0) * noise[..., None].astype(np.uint8),
                depth + (depth > 0) * noise,
            ]
            for topic, image, encoding in zip(names, pair, encodings, strict=True):
                writer.image(topic, t, image.astype(image.dtype), t, "camera", encoding)
    return path


COLOR, DEPTH = np.full((24, 32, 3), 90, np.uint8), np.full((24, 32), 2000, np.uint16)


@pytest.mark.parametrize(
    ("rgb", "depth", "encodings", "stream", "warning"),
    [
        (
            COLOR * 0,
            DEPTH,
            ("rgb8", "16UC1"),
            "rgb",
            "of /camera/color/image_raw was usable (black",
        ),
        (COLOR, DEPTH * 0, ("rgb8", "16UC1"), "depth", "to_color/image_raw was usable (no_depth"),
        (
            COLOR,
            DEPTH,
            ("rgb9", "16UC1"),
            "rgb",
            "/camera/color/image_raw (its encoding 'rgb9' is",
        ),
        (
            COLOR,
            DEPTH,
            ("rgb8", "16SC1"),
            "depth",
            "its encoding '16SC1' is unknown; record one of",
        ),
        (COLOR, DEPTH.astype(np.uint8), ("rgb8", "8UC1"), "depth", "depth of 8 bits is not"),
    ],
)
def test_a_stream_of_which_no_frame_is_usable_is_exit_code_1(  # type: ignore[no-untyped-def]
    tmp_path: Path, replay, rgb, depth, encodings, stream, warning
) -> None:
    bag = write_images(tmp_path / "bag", rgb, depth, *encodings)
    code, out, err = replay(bag, "--json")
    summary = json.loads(out)
    assert (code, summary["unused_streams"]) == (1, [stream])
    assert summary["masks"] > 0
    (line,) = [text for text in summary["warnings"] if warning in text]
    assert f"warning: {line}" in err
    assert "to use one of them" not in line, "no option makes it readable"


def test_a_stream_that_was_not_meant_or_has_a_fault_is_no_failure(replay, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    bag = write_images(tmp_path / "bad", COLOR, DEPTH, "rgb9", "16UC1")
    code, out, _ = replay(bag, "--json", "--rgb-topic", "none")
    assert (code, json.loads(out)["unused_streams"]) == (0, [])
    schedule = tmp_path / "faults.yaml"
    schedule.write_text("- {stream: depth, fault: zero, from: 0}\n")
    bag = write_images(tmp_path / "good", COLOR, DEPTH, "rgb8", "16UC1")
    code, out, _ = replay(bag, "--json", "--faults", schedule)
    assert (code, json.loads(out)["unused_streams"]) == (0, [])


def test_a_missing_stream_is_reported(write_recording, replay, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    bag = write_recording(
        tmp_path / "bag", 15, depth_topic="/other/depth_map", depth_frame="other"
    )
    code, out, err = replay(bag)
    assert code == 0
    assert (
        "warning: no depth topic was found: /other/depth_map (it seems to be from another" in err
    )
    assert "masks           15 (rgb 15)" in out
    code, out, err = replay(bag, "--depth-topic", "none")
    assert code == 0
    assert "depth topic" not in err
    assert "masks           15 (rgb 15)" in out


def test_a_damaged_bag_is_replayed_as_far_as_possible(  # type: ignore[no-untyped-def]
    write_recording, replay, tmp_path: Path
) -> None:
    bag = write_recording(tmp_path / "bag", 600)
    path = next(bag.glob("*.mcap"))
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 4000] = bytes(4000)
    path.write_bytes(data)
    code, out, err = replay(bag, "--json")
    summary = json.loads(out)
    assert code == 0
    assert 0 < summary["masks"] < 600
    assert summary["damage"]
    assert "is damaged" in err


def test_missing_jinja2_is_reported_before_the_replay(  # type: ignore[no-untyped-def]
    recording, replay, engine, tmp_path, monkeypatch
) -> None:
    monkeypatch.setitem(sys.modules, "jinja2", None)
    code, _, err = replay(recording, "--out", tmp_path / "out")
    assert code == 2
    assert "pip install jinja2" in err
    assert not engine.calls


def test_the_backend_reaches_the_engine(recording, replay, engine, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    chosen = []
    monkeypatch.setattr(command, "load_engine", lambda *args: chosen.append(args) or engine)
    assert replay(recording, "--backend", "torch")[0] == 0
    assert chosen == [(None, "auto", "torch")]


@pytest.mark.parametrize(
    ("options", "warning"),
    [
        (
            ["--overwrite"],
            "--overwrite changes nothing without --out, --record, --rerun or --junit; omit it",
        ),
        (["--truth-topic", "none"], "--truth-topic none changes nothing, because ground truth"),
    ],
)
def test_an_option_that_changes_nothing_is_told_once(recording, replay, options, warning) -> None:  # type: ignore[no-untyped-def]
    code, out, err = replay(recording, "--json", *options)
    assert code == 0
    (told,) = [text for text in json.loads(out)["warnings"] if text.startswith(warning)]
    assert err.count(told) == 1


@pytest.mark.parametrize(("option", "known"), [("--device", "cpu"), ("--backend", "torch")])
def test_an_unknown_device_or_backend_is_found_before_the_bundle_is_read(  # type: ignore[no-untyped-def]
    option, known, recording, capsys, tmp_path
) -> None:
    assert cli.main(["replay", str(recording), "--bundle", str(tmp_path), option, "tpu"]) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert f"unknown {option[2:]} 'tpu'" in line
    assert known in line


def test_parameters_of_the_core() -> None:
    config = core_config(["max_wait_ms=50", "unpaired=single", "frozen_after=0"], True)
    assert (config.max_wait_ms, config.unpaired, config.frozen_after) == (50, "single", 0)
    assert config.assume_aligned
    with pytest.raises(ReplayError, match="unpaired must be one of"):
        core_config(["unpaired=maybe"])


# --- Ctrl-C ------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_leaves_complete_files(  # type: ignore[no-untyped-def]
    recording, replay, engine, tmp_path, monkeypatch, number
) -> None:
    monkeypatch.setattr(speed, "ALONE_SHARE", 0.0)  # each network runs alone once
    plain = type(engine).__call__

    class Impatient(type(engine)):  # type: ignore[misc]
        def __call__(self, *args, **options):  # type: ignore[no-untyped-def]
            if len(self.calls) == 11:  # ten masks, and one network alone
                os.kill(os.getpid(), number)
            return plain(self, *args, **options)

    engine.__class__ = Impatient
    out, bag = tmp_path / "out", tmp_path / "bag"
    code, printed, _ = replay(recording, "--out", out, "--record", bag, "--json")
    assert code == 128 + number
    summary = json.loads(printed)
    assert summary["interrupted"] is True
    assert summary["masks"] == 11
    assert summary == json.loads((out / "summary.json").read_text())
    assert len((out / "masks.jsonl").read_text().splitlines()) == 11
    for path in (out / "masks").iterdir():
        assert cv2.imread(str(path), cv2.IMREAD_UNCHANGED) is not None
    assert "Interrupted" in (out / "report.html").read_text()
    with BagReader(bag) as reader:
        assert sum(1 for _ in reader.messages(["/segmenter/mask"])) == 11
        assert reader.damage is None
    assert not list(tmp_path.rglob("*.partial"))


def test_a_second_interrupt_ends_at_once_and_leaves_no_partial_bag(  # type: ignore[no-untyped-def]
    recording, replay, engine, tmp_path: Path
) -> None:
    class Stuck(type(engine)):  # type: ignore[misc]
        def __call__(self, *args, **options):  # type: ignore[no-untyped-def]
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)
            raise AssertionError("not reached")

    engine.__class__ = Stuck
    code, out, _ = replay(recording, "--record", tmp_path / "bag")
    assert code == 130
    assert out == ""
    assert not list(tmp_path.iterdir())


def test_signal_handlers_are_restored() -> None:
    before = signal.getsignal(signal.SIGINT)
    with interruptible() as caught:
        assert signal.getsignal(signal.SIGINT) is not before
        assert caught() == 0
    assert signal.getsignal(signal.SIGINT) is before


# --- With real networks ------------------------------------------------------------------------


def test_end_to_end_with_networks(  # type: ignore[no-untyped-def]
    recording: Path, tiny_bundle: Bundle, tmp_path: Path, capsys
) -> None:
    bundle = save_bundle(tmp_path / "bundle", tiny_bundle)
    (tmp_path / "f.yaml").write_text(
        "- {stream: depth, fault: drop, from: 1, to: 1.5}\n"
        "- {stream: rgb, fault: drop, from: 3, to: 3.5}\n"
    )
    arguments = [
        "replay", recording, "--bundle", bundle, "--device", "cpu", "--json",
        "--faults", tmp_path / "f.yaml", "--truth-topic", "/truth/mask", "--without-fallback",
    ]  # fmt: skip
    summaries = []
    for _ in range(2):
        assert cli.main([str(a) for a in arguments]) == 0
        summaries.append(json.loads(capsys.readouterr().out))
    first, second = summaries
    assert first["determinism_sha256"] == second["determinism_sha256"]
    assert first["masks"] == 40
    assert all(first["networks"].values())
    assert 0 <= first["miou"] <= 1
    assert first["miou_by_network"].keys() == {"rgbd", "rgb", "depth"}
    assert first["latency_ms"]["p50"] > 0


def test_a_broken_bundle_is_one_line(recording: Path, tmp_path: Path, capsys) -> None:  # type: ignore[no-untyped-def]
    assert cli.main(["replay", str(recording), "--bundle", str(tmp_path / "none")]) == 2
    assert "cannot read" in capsys.readouterr().err.splitlines()[-1]


def test_overlays_of_depth_only_masks_show_depth(recording, replay, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    out = tmp_path / "out"
    assert replay(recording, "--rgb-topic", "none", "--out", out)[0] == 0
    overlays = sorted((out / "overlays").iterdir())
    assert len(overlays) == 40
    assert np.std(cv2.imread(str(overlays[0]))) > 5


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (("nowhere", "--json"), "there is no bag at nowhere; pass a rosbag2 directory or"),
        (("nowhere", "--json", "--frobnicate"), "unknown option '--frobnicate'"),
        (("--json",), "the following arguments are required: BAG"),
    ],
)
def test_json_names_the_error(capsys, arguments: tuple[str, ...], error: str) -> None:  # type: ignore[no-untyped-def]
    try:
        code = cli.main(["replay", *arguments])
    except SystemExit as exit_:
        code = exit_.code  # type: ignore[assignment]
    out, err = capsys.readouterr()
    assert code == 2
    assert json.loads(out)["error"].startswith(error)
    assert error in err


def test_a_given_depth_topic_that_is_not_fused_is_exit_code_1(
    write_recording, tmp_path: Path, replay
) -> None:  # type: ignore[no-untyped-def]
    """Unaligned depth that nobody asked for is only a warning."""
    bag = write_recording(tmp_path / "bag", depth_frame="other", depth_topic="/camera/depth/image")
    assert replay(bag, "--json")[0] == 0
    code, out, _ = replay(bag, "--json", "--depth-topic", "/camera/depth/image")
    summary = json.loads(out)
    assert (code, summary["unused_streams"]) == (1, ["depth"])
    assert summary["warnings"][-1] == (
        "no mask is fused, although --depth-topic /camera/depth/image was given; see the lines "
        "above"
    )
    options = "--depth-topic", "/camera/depth/image", "--assume-aligned"
    assert replay(bag, *options)[0] == 0
    assert replay(bag, *options[:2], "--set", "force_network=rgb")[0] == 0


@pytest.mark.parametrize("seed", [-1, 2**32])
def test_a_seed_out_of_range_names_its_option(recording: Path, capsys, seed: int) -> None:  # type: ignore[no-untyped-def]
    assert cli.main(["replay", str(recording), f"--random-faults={seed}"]) == 2
    expected = f"--random-faults must be 0 to 4294967295, got {seed}"
    assert expected in capsys.readouterr().err
