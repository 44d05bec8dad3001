# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The oracle checks the five guarantees in random scenarios of messages and faults."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import HealthCheck, given, seed, settings
from rigs.fallback.driver import Driver
from rigs.fallback.scenario import Scenario
from rigs.fallback.strategies import scenarios

#: Each slice has its own seed, so that a failing slice can be rerun on its own.
EXAMPLES, THOROUGH_SLICES = 2_000, 50
#: Features that at least 5 % of the examples must exercise.
COVERED = ("flapping", "both lost", "lag growth", "rate mismatch", "clock step")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run the first slice, or all of them with ``--thorough``."""
    slices = THOROUGH_SLICES if metafunc.config.getoption("--thorough") else 1
    metafunc.parametrize("number", range(slices))


def features(scenario: Scenario) -> set[str]:
    """The features that a scenario exercises according to its description."""
    found = set()
    rgb, depth = scenario.sensors.get("rgb"), scenario.sensors.get("depth")
    if rgb and depth:
        if max(rgb.rate_hz, depth.rate_hz) > 1.5 * min(rgb.rate_hz, depth.rate_hz):
            found.add("rate mismatch")
        if rgb.lag_growth_ms != depth.lag_growth_ms:
            found.add("lag growth")
    return found


def test_guarantees(number: int) -> None:
    seen: Counter[str] = Counter()

    @seed(number)
    @settings(
        max_examples=EXAMPLES,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(scenarios())
    def play(scenario: Scenario) -> None:
        driver = Driver(scenario)
        oracle = driver.run()
        if scenario.seed % 4 == 0:
            driver.replay()
        seen.update(["all", *oracle.features, *features(scenario)])

    play()
    print(dict(seen))
    for feature in COVERED:
        assert seen[feature] >= 0.05 * seen["all"], f"{feature}: {seen[feature]} of {seen['all']}"
