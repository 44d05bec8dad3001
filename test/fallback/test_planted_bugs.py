# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The oracle can fail: it catches every planted bug, and finds none in the real core."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from rigs.fallback.bugs import BUGS
from rigs.fallback.driver import Driver
from rigs.fallback.scenario import Scenario
from rigs.fallback.strategies import scenarios

#: Fixed seeds and sequence length. Sequences are short, since Hypothesis later mutates examples.
SEQUENCES, LENGTH = 12, 16


@pytest.fixture(scope="module")
def examples() -> list[Scenario]:
    """The same scenarios for every bug."""
    found: list[Scenario] = []

    def collect(scenario: Scenario) -> None:
        if scenario not in found:
            found.append(scenario)

    once = settings(
        max_examples=LENGTH,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    for number in range(SEQUENCES):
        seed(number)(once(given(scenarios())(collect)))()
    return found


def broken_guarantee(scenario: Scenario) -> str:
    """The guarantee that breaks in this scenario; empty if none does."""
    driver = Driver(scenario)
    try:
        driver.run()
        if scenario.seed % 4 == 0:
            driver.replay()
    # A core that raises an exception also breaks a guarantee.
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return ""


@pytest.mark.parametrize("name", BUGS)
def test_planted_bug_is_caught(
    name: str, examples: list[Scenario], monkeypatch: pytest.MonkeyPatch
) -> None:
    for owner, attribute, make in BUGS[name]:
        monkeypatch.setattr(owner, attribute, make(vars(owner)[attribute]))
    for number, scenario in enumerate(examples):
        if broken := broken_guarantee(scenario):
            print(f"{name}: caught by example {number}: {broken}")
            return
    pytest.fail(f"{len(examples)} examples did not show that {name}")


def test_real_core_passes_the_same_examples(examples: list[Scenario]) -> None:
    assert len(BUGS) >= 30
    broken = {number: broken_guarantee(scenario) for number, scenario in enumerate(examples)}
    assert {number: text for number, text in broken.items() if text} == {}
