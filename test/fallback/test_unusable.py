# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""When the failures of a sensor are told, and told again."""

from __future__ import annotations

import pytest
from rigs.fallback.bench import Bench, hole
from rigs.fallback.scenario import MS

S = 1000
FROZEN = (
    "depth: 25 messages are unusable (frozen): the same image came 35 times in a row: restart the "
    "camera; if the scene really stands still and the images have no noise, as in a simulation, "
    "set frozen_after to 0"
)


def run(bench: Bench, begin: float, end: float, **frame: int) -> list[str]:
    """Color and depth at 25 Hz in [begin, end) ms; returns the warnings."""
    for t in range(round(begin), round(end), 40):
        bench.rgb(t).depth(t, **frame)
    return bench.core.drain_warnings()


def test_a_frozen_sensor_is_told_after_a_second_of_repeats() -> None:
    bench = Bench().both(0, 2 * S)
    # The first image and nine repeats pass, and each repeat after them covers 40 ms.
    assert run(bench, 2 * S, 2 * S + 34 * 40, image=3) == []
    assert run(bench, 2 * S + 34 * 40, 2 * S + 35 * 40, image=3) == [FROZEN]
    assert run(bench, 2 * S + 35 * 40, 9 * S, image=3) == []


@pytest.mark.parametrize(("rest_s", "again"), [(30, False), (70, True)])
def test_a_failure_is_told_again_after_a_minute_without_one(rest_s: int, again: bool) -> None:
    bench = Bench().both(0, 2 * S)
    assert len(run(bench, 2 * S, 5 * S, image=3)) == 1
    assert run(bench, 5 * S, (5 + rest_s) * S) == []
    assert len(run(bench, (5 + rest_s) * S, (9 + rest_s) * S, image=3)) == again


def test_a_sensor_without_any_usable_frame_is_told_at_the_third() -> None:
    bench = Bench()
    for t in (0, 40, 80, 120):
        bench.rgb(t).offer("depth", hole(bench.now + MS))
    (text,) = bench.core.drain_warnings()
    assert text.startswith(
        "depth: 3 messages are unusable (no_depth): 0% of the pixels are valid: "
    )
    assert "uncover the sensor" in text
