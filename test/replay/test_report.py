# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The report is one well-formed file and shows the content of the summary."""

from __future__ import annotations

import base64
import copy
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import cv2
import numpy as np
import pytest

from rgbd_seg_ros.fallback import Mode
from rgbd_seg_ros.frames import NETWORK_NAMES
from rgbd_seg_ros.replay.criteria import Criterion
from rgbd_seg_ros.replay.faults import Fault, FaultSchedule
from rgbd_seg_ros.replay.report import render
from rgbd_seg_ros.replay.report_measures import TITLES
from rgbd_seg_ros.replay.session import Outcome

VOID = {"meta", "img", "br", "hr", "link", "input"}


class Checker(HTMLParser):
    """Collects tags, and fails on one that is closed out of order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag


def _check(html: str) -> Checker:
    checker = Checker()
    checker.feed(html)
    assert checker.open == []
    return checker


@pytest.fixture
def outcome(recording: Path, run_replay) -> Outcome:  # type: ignore[no-untyped-def]
    faults = [
        Fault("drop", "depth", 1, 1.5),
        Fault("black", "rgb", 2.6, 3),
        Fault("color_driver", None, 3.5),
    ]
    return run_replay(  # type: ignore[no-any-return]
        recording,
        faults=FaultSchedule(faults),
        topics={"truth": "/truth/mask"},
        without_fallback=True,
    )


def _render(outcome: Outcome, **changes) -> str:  # type: ignore[no-untyped-def]
    summary = {**copy.deepcopy(outcome.summary), **changes}
    run = replace(outcome.reported("a <drive> & more"), summary=summary)
    return render([run], outcome.labels)


def test_it_is_one_well_formed_file_without_scripts_or_links(outcome: Outcome) -> None:
    html = _render(outcome)
    checker = _check(html)
    kinds = {tag for tag, _ in checker.tags}
    assert not kinds & {"script", "link", "iframe", "object"}
    assert "http" not in html
    assert "a &lt;drive&gt; &amp; more" in html
    for _, attributes in checker.tags:
        assert (attributes.get("src") or "data:").startswith("data:")
        assert not any(name.startswith("on") for name in attributes)


def test_it_shows_phases_modes_networks_scores_and_counts(outcome: Outcome) -> None:
    html = _render(outcome)
    for phase in outcome.summary["phases"]:
        assert phase["name"] in html
    for mode in {m for *_, m in outcome.summary["timeline"]["modes"]}:
        assert f">{mode}<" in html
    assert ">depth fault<" in html
    assert ">rgb fault<" in html
    for text in ("fused 10", "color only 5", "25.0 %", "+25.0", "Dropped by the fault schedule"):
        assert text in html
    assert outcome.summary["determinism_sha256"][:16] in html
    assert "4 black" in html


def test_it_shows_the_images_of_the_snapshots(outcome: Outcome) -> None:
    html = _render(outcome)
    snapshots = {snapshot.phase: snapshot for snapshot in outcome.snapshots}
    assert len(outcome.snapshots) == len(outcome.summary["phases"])
    assert snapshots["depth drop"].network == "rgb"
    assert snapshots["rgb black"].network == "depth"
    assert snapshots["color_driver"].network == ""
    found = re.findall(r'src="data:image/(png|jpeg);base64,([^"]+)"', html)
    images = [image for snapshot in outcome.snapshots for image in snapshot.images.values()]
    assert len(found) == sum(image is not None for image in images)
    for kind, data in found:
        flags = cv2.IMREAD_COLOR
        decoded = cv2.imdecode(np.frombuffer(base64.b64decode(data), np.uint8), flags)
        assert decoded.shape == (24, 32, 3)
        assert kind in ("png", "jpeg")
    lost = snapshots["depth drop"].images
    mask, fused = lost["mask"], lost["without_fallback"]
    assert mask is not None
    assert tuple(mask[0, 0]) == outcome.labels.palette[1]  # the fake engine's class without depth
    assert lost["depth"] is None
    assert fused is not None
    assert tuple(fused[0, 0]) == outcome.labels.palette[3]


def test_a_replay_without_truth_or_faults_renders(recording: Path, run_replay) -> None:  # type: ignore[no-untyped-def]
    html = _render(run_replay(recording))
    _check(html)
    assert "Scores by phase" not in html
    assert "<figcaption>ground truth" not in html
    assert html.count("<figure>") == 4 * 3  # four snapshots of color, depth and mask


def test_warnings_and_interruption_are_shown(outcome: Outcome) -> None:
    html = _render(outcome, interrupted=True, warnings=["depth <lags>"])
    _check(html)
    assert "Interrupted" in html
    assert "depth &lt;lags&gt;" in html


def test_a_flapping_stream_keeps_the_report_small(outcome: Outcome) -> None:
    switch = {"t": 1.0, "from": "RGBD", "to": "RGB_ONLY", "reason": "depth silent"}
    runs = [[i / 5000, (i + 1) / 5000, ("rgb", "rgbd")[i % 2]] for i in range(20_000)]
    timeline = {"modes": outcome.summary["timeline"]["modes"], "networks": runs}
    html = _render(outcome, switches=[switch] * 500, timeline=timeline)
    assert "460 more are in summary.json" in html
    assert html.count("<rect") < 3000


def test_every_mode_and_network_has_a_color() -> None:
    from rgbd_seg_ros.replay.report_charts import MODE_COLORS, NETWORK_COLORS, NETWORK_TITLES

    assert MODE_COLORS.keys() == {mode.value for mode in Mode}
    assert NETWORK_COLORS.keys() == NETWORK_TITLES.keys() == set(NETWORK_NAMES)


def test_an_empty_replay_renders(write_recording, run_replay, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    bag = write_recording(tmp_path / "bag", 3, header_offset_ms=-9_000_000)
    outcome = run_replay(bag, stamps="header")
    assert outcome.summary["masks"] == 0
    _check(_render(outcome))


def _rows(html: str) -> dict[str, tuple[str, str]]:
    """Title → value and note of each row in the table of measures."""
    (table,) = re.findall(r"<h3>Measures</h3>(.*?)</table>", html, re.S)
    cells = r'<th scope="row">(.*?)</th><td class="n">(.*?)</td><td class="soft">(.*?)</td>'
    return {title: (value, note) for title, value, note in re.findall(cells, table)}


def test_it_shows_the_verdict_and_every_measure(recording: Path, run_replay) -> None:  # type: ignore[no-untyped-def]
    outcome = run_replay(
        recording,
        faults=FaultSchedule([Fault("drop", "depth", 1, 2), Fault("drop", "rgb", 1.4, 2)]),
        topics={"truth": "/truth/mask"},
        without_fallback=True,
        without_faults=True,
        consistency=True,
        criteria=tuple(
            map(Criterion.parse, ("miou >= 0.1", "masks_lost == 0", "masks > 9999", "flicker > 2"))
        ),
    )
    summary, html = outcome.summary, _render(outcome)
    _check(html)
    assert '<span class="bad">failed</span>' in html
    for text in (
        "✓ met",
        "✗ not met",
        "<code>masks &gt; 9999</code>",
        "<code>miou &gt;= 0.1</code>",
    ):
        assert text in html
    assert "masks are missing for want of input" in html
    rows = _rows(html)
    assert list(rows) == list(TITLES.values())
    found = {name: rows[title][0] for name, title in TITLES.items()}
    assert found == {
        "masks_lost": "0",
        "masks_by_wrong_network": str(summary["masks_by_wrong_network"]),
        "longest_gap_s": f"{summary['longest_gap_s']:.1f} s",
        "no_input_s": f"{summary['modes']['NO_INPUT']:.1f} s",
        "switch_ms": f"{max(summary['switch_latency_ms']):.0f} ms",
        "unscored": "0",
        # The fused network says 0 everywhere, the others 1.
        "flicker": "+100.0",
        "consistency_rgbd_rgb": "0.0 %",
        "consistency_rgbd_depth": "0.0 %",
        "consistency_rgb_depth": "100.0 %",
        "ece_rgbd": "28.4 %",
        "ece_rgb_only": "28.4 %",
        "ece_depth_only": "–",
        "miou_fallback": "25.0 %",
        "miou_without_fallback": "0.0 %",
        "fallback_gain": "+25.0",
        "miou_without_faults": "25.0 %",
        "fault_cost": f"{(0.25 - summary['miou']) * 100:+.1f}",
    }
    assert rows[TITLES["ece_depth_only"]][1] == "no such mask was scored"
    assert "(2 compared)" in rows[TITLES["flicker"]][1]
    # IoU and calibration by mode: the mean, the classes that occur, the calibration error.
    (table,) = re.findall(r"<h3>IoU by class and mode</h3>(.*?)</table>", html, re.S)
    assert re.findall(r'<th scope="col">(.*?)</th>', table) == ["Class", *summary["iou_by_mode"]]
    assert table.count("28.4 %") == len(summary["iou_by_mode"]) >= 2


def test_a_measure_that_was_not_asked_for_says_what_it_needs(recording: Path, run_replay) -> None:  # type: ignore[no-untyped-def]
    rows = _rows(_render(run_replay(recording)))
    for name, option in (
        ("fallback_gain", "--without-fallback"),
        ("fault_cost", "--without-faults"),
        ("consistency_rgb_depth", "--consistency"),
        ("ece_rgbd", "no mask has ground truth"),
    ):
        value, note = rows[TITLES[name]]
        assert value == "–"
        assert option in note


def test_the_curve_is_interrupted_where_there_is_no_score(outcome: Outcome) -> None:
    scores = [[0.25, 0.5], [0.75, 0.5], [2.25, 0.5], [2.75, 0.5]]
    html = _render(outcome, miou_over_time=scores)
    assert html.count("<polyline") == 2
    assert html.count("<circle") == 4


def test_the_report_of_an_output_folder_has_film_switches_charts_and_facts(
    recording: Path,
    run_replay,  # type: ignore[no-untyped-def]
    tmp_path: Path,
) -> None:
    outcome = run_replay(
        recording,
        faults=FaultSchedule([Fault("drop", "depth", 1, 1.5)]),
        topics={"truth": "/truth/mask"},
        without_faults=True,
        out=tmp_path / "out",
    )
    html = (tmp_path / "out" / "report.html").read_text()
    checker = _check(html)
    scripts = [attributes for tag, attributes in checker.tags if tag == "script"]
    assert scripts == [{}]  # inline
    assert "http" not in html
    # 40 masks, of which each hundredth of the 3.9 s is shown once; two switches of the network.
    assert len(outcome.film.frames) == 40
    assert [[f.network for f in s.frames] for s in outcome.film.strips] == [
        ["rgbd", "rgb", "rgb"],
        ["rgb", "rgbd", "rgbd"],
    ]
    for text in (
        "Mean IoU over time",
        "before: 0.90 s, fused, RGBD",
        "at the switch: 1.00 s, color only",
        "Confusion matrix",
        "Response to each fault",
        "Time per mask",
        "a fake",  # the engine
        "f" * 64,  # its weights
        outcome.summary["determinism_sha256"],
        "depth silent",
    ):
        assert text in html
    # Of the zeros, which are half of the pixels, the fused network is right, the color one wrong.
    confusion = outcome.summary["confusion"]
    masks = outcome.summary["networks"]
    half = 24 * 32 // 2
    assert confusion[0][:2] == [masks["rgbd"] * half, masks["rgb"] * half]
    assert confusion[1][:2] == [masks["rgbd"] * half, masks["rgb"] * half]
    curve = outcome.summary["miou_over_time"]
    assert [t for t, _ in curve] == [0.25 + 0.5 * i for i in range(8)]
    assert curve[0][1] == curve[2][1] == 0.25  # parts with masks of one network
    phases = outcome.summary["phases"]
    assert [p["miou_without_faults"] for p in phases] == [0.25] * 3
    assert sum(outcome.summary["latency_histogram"]["counts"]) == 40
