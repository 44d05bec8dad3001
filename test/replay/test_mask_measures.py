# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Flicker, consistency and calibration, by hand and in a replay."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from rgbd_seg_ros.fallback import Mode
from rgbd_seg_ros.replay import speed
from rgbd_seg_ros.replay.faults import Fault, FaultSchedule
from rgbd_seg_ros.replay.mask_measures import Calibration, Calibrations, Consistency, Flicker

MS = 1_000_000


def mask(network: str, pixels: list[int], t_ms: int = 0, **others: list[int]) -> Any:
    """A result with a mask of one row."""

    def segmentation(name: str, values: list[int]) -> Any:
        return SimpleNamespace(network=name, labels=np.array([values], np.uint8))

    return SimpleNamespace(
        job=SimpleNamespace(stamp_ns=t_ms * MS),
        segmentation=segmentation(network, pixels),
        others={name: segmentation(name, values) for name, values in others.items()},
    )


def test_flicker_is_the_change_at_switches_beyond_the_usual_one() -> None:
    flicker = Flicker()
    for i, (network, pixels) in enumerate(
        [
            ("rgbd", [0, 0, 0, 0]),
            ("rgbd", [0, 0, 0, 1]),  # 1 of 4
            ("rgb", [1, 1, 1, 1]),  # switch: 3 of 4
            ("rgb", [1, 1, 1, 1]),  # 0 of 4
            ("rgbd", [1, 1, 1, 0]),  # switch: 1 of 4
        ]
    ):
        flicker.add(mask(network, pixels, i * 100))
    expected = {"usual": 0.125, "at_switches": 0.5, "excess": 0.375, "switches": 2}
    assert flicker.summary() == expected


@pytest.mark.parametrize(
    ("t_ms", "pixels"), [(501, [1, 1]), (0, [1, 1]), (-100, [1, 1]), (100, [1, 1, 1])]
)
def test_masks_apart_in_time_or_of_other_sizes_are_not_compared(
    t_ms: int, pixels: list[int]
) -> None:
    flicker = Flicker()
    flicker.add(mask("rgbd", [0, 0]))
    flicker.add(mask("rgb", pixels, t_ms))
    expected = {"usual": None, "at_switches": None, "excess": None, "switches": 0}
    assert flicker.summary() == expected


def test_consistency_is_the_share_of_equal_pixels_of_two_networks() -> None:
    consistency = Consistency()
    assert consistency.summary() is None
    consistency.add(mask("rgbd", [0, 1, 2, 3]))
    assert consistency.summary() is None
    consistency.add(mask("rgbd", [0, 1, 2, 3], rgb=[0, 1, 2, 9], depth=[0, 9, 2, 9]))
    consistency.add(mask("rgbd", [0, 1, 2, 3], rgb=[0, 1, 2, 3], depth=[9, 9, 9, 9]))
    assert consistency.summary() == {
        "frames": 2,
        "rgbd_rgb": 0.875,
        "rgbd_depth": 0.25,
        "rgb_depth": 0.375,
    }


def test_the_calibration_error_by_hand() -> None:
    calibration = Calibration()
    assert calibration.ece is None
    truth = np.array([[0, 0, 1, 1, 255]], np.uint8)
    labels = np.array([[0, 1, 1, 0, 0]], np.uint8)
    confidence = np.array([[255, 255, 51, 51, 255]], np.uint8)  # 1, 1, 0.2, 0.2
    calibration.update(truth, labels, confidence)
    # Each bin is right on half of its two pixels: 2/4 · |0.5 - 1| + 2/4 · |0.5 - 0.2|.
    assert calibration.ece == 0.4
    perfect = Calibration()
    perfect.update(labels, labels, np.full_like(labels, 255))
    assert perfect.ece == 0


@pytest.mark.parametrize("edge", [17, 34, 238])  # 1, 2 and 14 of 15 bins of 17 values
def test_a_confidence_on_the_edge_of_two_bins_is_in_the_upper_one(edge: int) -> None:
    calibration = Calibration()
    truth = np.zeros((1, 2), np.uint8)
    # The upper one is right, the lower one wrong, and each is alone in its bin.
    confidence = np.array([[edge, edge - 1]], np.uint8)
    calibration.update(truth, np.array([[0, 1]], np.uint8), confidence)
    expected = (1 - edge / 255 + (edge - 1) / 255) / 2
    assert calibration.ece == pytest.approx(expected, abs=1e-4)


def test_calibration_is_by_network_and_by_mode() -> None:
    calibrations = Calibrations()
    truth = np.zeros((1, 4), np.uint8)
    # While depth is late, the mode is still RGBD, but masks are by the color network.
    for network, mode, confidence in (
        ("rgbd", Mode.RGBD, 255),
        ("rgb", Mode.RGBD, 51),
        ("rgb", Mode.RGB_ONLY, 51),
        ("rgb", Mode.RGB_ONLY, 204),
    ):
        result = mask(network, [0, 0, 0, 0])
        result.segmentation.confidence = np.full((1, 4), confidence, np.uint8)
        result.job.mode = mode
        calibrations.update(result, truth)
    found = calibrations.summary()
    assert found["ece_by_network"] == {"rgbd": 0, "rgb": 0.6}  # (0.8 + 0.8 + 0.2) / 3
    assert found["ece_by_mode"] == {"RGBD": 0.4, "RGB_ONLY": 0.5}


def test_the_measures_of_a_replay(
    recording: Path,
    run_replay,  # type: ignore[no-untyped-def]
    engine: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(speed, "ALONE_SHARE", 0.0)  # each network runs alone once
    faults = FaultSchedule([Fault("drop", "depth", 1, 2)])
    options = {"faults": faults, "topics": {"truth": "/truth/mask"}}
    plain = run_replay(recording, **options).summary
    assert plain["consistency"] is None
    calls = len(engine.calls)
    # The fused and the color network are also timed alone.
    assert calls == plain["masks"] + 2
    summary = run_replay(
        recording, **options | {"faults": FaultSchedule(faults.faults)}, consistency=True
    ).summary
    # The fused network says 0 everywhere, the others 1, all with confidence 200 of 255.
    assert summary["flicker"]["usual"] == 0
    assert summary["flicker"]["at_switches"] == summary["flicker"]["excess"] == 1
    frames = summary["consistency"].pop("frames")
    assert summary["consistency"] == {"rgbd_rgb": 0, "rgbd_depth": 0, "rgb_depth": 1}
    assert 2 <= frames <= 4
    assert len(engine.calls) - calls == summary["masks"] + 2 * frames + 3
    assert summary["ece_by_network"] == {
        name: pytest.approx(200 / 255 - 0.5, abs=1e-4) for name in ("rgbd", "rgb")
    }
    assert summary["determinism_sha256"] == plain["determinism_sha256"]


def test_comparing_one_network_is_told(recording: Path, run_replay, engine) -> None:  # type: ignore[no-untyped-def]
    engine.available = ("rgbd",)
    (warning,) = [
        w
        for w in run_replay(recording, consistency=True).summary["warnings"]
        if w.startswith("--consistency compares nothing")
    ]
    assert "one network" in warning
