# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Masks are matched with their ground truth, and scores equal those computed by hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from rgbd_seg_ros.bag.reader import BagError
from rgbd_seg_ros.bag.writer import BagWriter
from rgbd_seg_ros.fallback import Mode
from rgbd_seg_ros.frames import Frame
from rgbd_seg_ros.labels import LabelSet
from rgbd_seg_ros.metrics import ConfusionMatrix
from rgbd_seg_ros.replay.faults import Fault, FaultSchedule, Phase
from rgbd_seg_ros.replay.measures import MEASURES
from rgbd_seg_ros.replay.score import Scorer, iou_table, resize_mask, rounded
from rgbd_seg_ros.replay.source import BagSource

MS = 1_000_000
LABELS = LabelSet("two", ("zero", "one"))
TRUTH_TOPIC = "/truth/mask"


def _result(stamp_ms: int, value: int, network: str = "rgbd", other: int | None = None):  # type: ignore[no-untyped-def]
    def segmentation(fill: int):  # type: ignore[no-untyped-def]
        labels, confidence = np.full((2, 2), fill, np.uint8), np.full((2, 2), 200, np.uint8)
        return SimpleNamespace(labels=labels, confidence=confidence, network=network)

    return SimpleNamespace(
        job=SimpleNamespace(stamp_ns=stamp_ms * MS, mode=Mode.RGBD),
        segmentation=segmentation(value),
        ready_ns=stamp_ms * MS,
        arrived_ns={"rgb": stamp_ms * MS},
        without_fallback=None if other is None else segmentation(other),
    )


def _truth(stamp_ms: int, value: int) -> Frame:
    return Frame(np.full((2, 2), value, np.uint8), stamp_ms * MS)


NO_FAULT = (Phase(0, 1, "no fault", ()),)


def _scorer(expect_truth: bool = True, phases=NO_FAULT):  # type: ignore[no-untyped-def]
    matches: list[tuple[float, int | None]] = []

    def on_match(result, truth) -> None:  # type: ignore[no-untyped-def]
        value = None if truth is None else int(truth[0, 0])
        matches.append((result.job.stamp_ns / MS, value))

    return Scorer(LABELS, list(phases), 0, expect_truth, on_match), matches


def test_each_mask_gets_the_nearest_truth_in_any_order_of_arrival() -> None:
    scorer, matches = _scorer()
    scorer.add_truth(_truth(100, 0))
    scorer.add_mask(_result(100, 0))
    assert matches == [(100, 0)]  # same stamp: scored at once
    scorer.add_mask(_result(133, 1))
    scorer.add_mask(_result(168, 1))  # depth's stamp, 2 ms after color's
    assert len(matches) == 1
    scorer.add_truth(_truth(133, 1))
    assert matches[1:] == [(133, 1)]
    scorer.add_truth(_truth(166, 1))
    scorer.add_truth(_truth(200, 0))
    assert matches[2:] == [(168, 1)]
    scorer.finish()
    assert scorer.total.miou == 1
    assert scorer.unscored == 0


def test_a_mask_without_truth_nearby_stays_unscored() -> None:
    scorer, matches = _scorer()
    scorer.add_truth(_truth(0, 0))
    scorer.add_mask(_result(21, 0))
    scorer.add_mask(_result(600, 0))
    assert matches == [(21, None)]  # the mask does not wait forever
    scorer.finish()
    assert matches == [(21, None), (600, None)]
    assert scorer.unscored == 2
    assert not scorer.has_truth


def test_masks_do_not_wait_if_no_truth_is_expected() -> None:
    scorer, matches = _scorer(expect_truth=False)
    scorer.add_mask(_result(100, 0))
    assert matches == [(100, None)]


def test_scores_by_network_and_phase_and_without_fallback() -> None:
    phases = (Phase(0, 1, "no fault", ()), Phase(1, 2, "depth drop", ("depth",)))
    scorer, _ = _scorer(phases=phases)
    for stamp_ms, value, network, other in (
        (500, 0, "rgbd", None),
        (1000, 0, "rgb", 1),
        (1500, 1, "rgb", 1),
    ):
        scorer.add_truth(_truth(stamp_ms, 0))
        scorer.add_mask(_result(stamp_ms, value, network, other))
    scorer.finish()
    assert scorer.by_network["rgbd"].miou == 1
    assert scorer.by_network["rgb"].miou == 0.5  # one of two masks is correct
    first, second = scorer.phases
    assert (first.masks, second.masks) == (1, 2)
    assert second.networks == {"rgbd": 0, "rgb": 2, "depth": 0}
    assert first.score.miou == 1
    assert np.isnan(first.fallback.miou)
    assert (second.fallback.miou, second.without_fallback.miou) == (0.5, 0)
    assert scorer.total.miou == pytest.approx(2 / 3)


def test_truth_of_another_size_or_label_set() -> None:
    np.testing.assert_array_equal(
        resize_mask(np.array([[0, 1]], np.uint8), (2, 4)), [[0, 0, 1, 1], [0, 0, 1, 1]]
    )
    scorer, _ = _scorer()
    scorer.add_truth(_truth(0, 7))
    with pytest.raises(
        BagError, match=r"does not match the label set of the bundle: .*class id 7"
    ):
        scorer.add_mask(_result(0, 0))


def test_scores_for_json() -> None:
    assert rounded(0.123456) == 0.1235
    assert rounded(float("nan")) is None
    matrix = ConfusionMatrix(2)
    matrix.update(np.array([0]), np.array([0]))
    assert iou_table(matrix, LABELS.classes) == {"zero": 1.0, "one": None}


def test_a_bag_is_scored_by_its_truth_topic(recording: Path, run_replay) -> None:  # type: ignore[no-untyped-def]
    faults = FaultSchedule([Fault("drop", "depth", 2.0)])
    summary = run_replay(
        recording, faults=faults, topics={"truth": TRUTH_TOPIC}, without_fallback=True
    ).summary
    # The fake engine predicts 0 when fused and 1 otherwise; the ground truth is half 0, half 1.
    assert summary["miou_by_network"] == {"rgbd": 0.25, "rgb": 0.25}
    assert summary["iou_by_network"]["rgbd"] == {"zero": 0.5, "one": 0, "two": None, "three": None}
    assert summary["unscored"] == 0
    # 20 masks of each, so class 0 has IoU 20·½ / (20·½ + 20·½ + 20·½) = 1/3, and so has class 1.
    assert summary["miou"] == 0.3333
    assert summary["miou_all"] == 0.1667
    healthy, lost = summary["phases"]
    assert (healthy["name"], healthy["masks"], healthy["miou_without_fallback"]) == (
        "no fault",
        20,
        None,
    )
    assert (lost["name"], lost["masks"]) == ("depth drop", 20)
    assert (lost["miou_fallback"], lost["miou_without_fallback"]) == (0.25, 0)


def test_a_truth_topic_without_masks_is_refused(recording: Path, run_replay) -> None:  # type: ignore[no-untyped-def]
    topic = "/camera/camera/color/image_raw"
    with pytest.raises(BagError, match=r"truth topic .* is not usable: unknown mask encoding"):
        run_replay(recording, topics={"truth": topic, "rgb": "none"})


def test_distant_truth_is_reported(run_replay, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    with BagWriter(tmp_path / "bag") as writer:
        for i in range(5):
            now_ns = 1_700_000_000 * 10**9 + i * 100 * MS
            image = np.random.default_rng(i).integers(40, 200, (24, 32, 3), dtype=np.uint8)
            writer.image("/camera/rgb", now_ns, image, now_ns, "cam")
            writer.image("/truth", now_ns, np.zeros((24, 32), np.uint8), now_ns + 50 * MS, "cam")
    summary = run_replay(tmp_path / "bag", topics={"truth": "/truth"}).summary
    assert summary["unscored"] == summary["masks"] == 5
    assert summary["miou"] is None
    assert any(
        "does the ground truth have the stamps of the images?" in text
        for text in summary["warnings"]
    )


def test_a_damaged_truth_message_is_refused_in_one_line(
    recording: Path, run_replay: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    arrival = BagSource._arrival

    def damaged(self: BagSource, message: Any) -> Any:
        is_truth = message.topic == self._topics.truth
        return arrival(self, replace(message, message=None) if is_truth else message)

    monkeypatch.setattr(BagSource, "_arrival", damaged)
    with pytest.raises(BagError, match="the bytes of a message are not of its type; replay with"):
        run_replay(recording, topics={"truth": TRUTH_TOPIC})


def test_scores_by_mode_of_the_fallback_and_without_faults(
    recording: Path,
    run_replay,  # type: ignore[no-untyped-def]
) -> None:
    summary = run_replay(
        recording,
        topics={"truth": TRUTH_TOPIC},
        faults=FaultSchedule([Fault("drop", "depth", 1.0, 2.0)]),
        without_fallback=True,
        without_faults=True,
    ).summary
    # Each network is right on one half of the pixels; the fused one on none with a blank image.
    assert summary["miou_by_mode"] == {"RGBD": pytest.approx(0.25, abs=0.1), "RGB_ONLY": 0.25}
    assert summary["iou_by_mode"]["RGB_ONLY"] == {
        "zero": 0.0, "one": 0.5, "two": None, "three": None,
    }  # fmt: skip
    assert (summary["miou_fallback"], summary["miou_without_fallback"]) == (0.25, 0.0)
    assert MEASURES["fallback_gain"](summary) == 0.25
    assert summary["miou_without_faults"] == 0.25  # all by the fused network
    assert MEASURES["fault_cost"](summary) == pytest.approx(0.25 - summary["miou"])
    lost = summary["phases"][1]
    assert (lost["name"], lost["miou"], lost["miou_without_faults"]) == ("depth drop", 0.25, 0.25)
    assert lost["iou"]["one"] == 0.5


def test_a_stream_that_cannot_be_fused_makes_no_network_wrong(
    write_recording,  # type: ignore[no-untyped-def]
    run_replay,  # type: ignore[no-untyped-def]
    tmp_path: Path,
) -> None:
    bag = write_recording(tmp_path / "bag", depth_frame="another_frame")
    summary = run_replay(bag).summary
    assert summary["networks"] == {"rgbd": 0, "rgb": 40, "depth": 0}
    assert summary["masks_by_wrong_network"] == 0
