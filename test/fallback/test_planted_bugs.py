# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The property test is no paper tiger: every planted bug is caught, the real core is not."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from rigs.fallback.bugs import BUGS
from rigs.fallback.driver import Driver
from rigs.fallback.scenario import Plan
from rigs.fallback.strategies import plans

#: Of fixed sequences; short ones, because Hypothesis varies its own examples after a while.
SEQUENCES, LENGTH = 12, 16


@pytest.fixture(scope="module")
def examples() -> list[Plan]:
    """The same plans for every bug."""
    found: list[Plan] = []

    def collect(plan: Plan) -> None:
        if plan not in found:
            found.append(plan)

    once = settings(
        max_examples=LENGTH,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    for number in range(SEQUENCES):
        seed(number)(once(given(plans())(collect)))()
    return found


def caught_by(plan: Plan) -> str:
    """The broken promise that this plan shows; empty if none."""
    driver = Driver(plan)
    try:
        driver.run()
        if plan.seed % 4 == 0:
            driver.replay()
    # A core that raises breaks a promise as well.
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return ""


@pytest.mark.parametrize("name", BUGS)
def test_planted_bug_is_caught(
    name: str, examples: list[Plan], monkeypatch: pytest.MonkeyPatch
) -> None:
    BUGS[name](monkeypatch.setattr)
    for number, plan in enumerate(examples):
        if broken := caught_by(plan):
            print(f"{name}: caught by example {number}: {broken}")
            return
    pytest.fail(f"{len(examples)} examples did not show that {name}")


def test_real_core_passes_the_same_examples(examples: list[Plan]) -> None:
    assert len(BUGS) >= 12
    assert [
        (number, caught_by(plan)) for number, plan in enumerate(examples) if caught_by(plan)
    ] == []
