# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Parameters: the table in the documentation, checks and conversions. Runs without ROS."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from rgbd_seg_ros.fallback import CoreConfig
from rgbd_seg_ros.ros.parameters import (
    FIELDS,
    LIVE,
    START,
    NodeConfig,
    refusal,
    table,
    unknown_overrides,
    updated,
)

ROOT = Path(__file__).resolve().parents[2]


def change(name: str, value: object) -> SimpleNamespace:
    return SimpleNamespace(name=name, value=value)


def test_the_documentation_contains_the_table() -> None:
    text = (ROOT / "docs" / "ros.md").read_text()
    assert table() in text, (
        "run `python -m rgbd_seg_ros.ros.parameters` and paste its output into docs/ros.md"
    )


def refused(changes: list[Any], *, configured: bool, declared: bool = True) -> str | None:
    return refusal(changes, configured, lambda _: declared)


@pytest.mark.parametrize("name", FIELDS)
def test_every_parameter_has_a_description_and_a_valid_default(name: str) -> None:
    parameter = FIELDS[name]
    assert len(parameter.metadata["doc"]) > 10
    assert refused([change(name, parameter.default)], configured=False) is None


@pytest.mark.parametrize("name", sorted(set(FIELDS) - LIVE))
def test_parameters_of_the_engine_cannot_change_while_configured(name: str) -> None:
    reason = refused([change(name, FIELDS[name].default)], configured=True)
    assert reason
    assert "cleanup" in reason
    assert refused([change(name, FIELDS[name].default)], configured=False) is None


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("force_network", "lidar", "auto, rgbd, rgb, depth"),
        ("max_age_s", -1.0, "from 0"),
        ("max_age_s", "soon", "must be float"),
        ("frozen_after", 2.5, "must be int"),
        ("assume_aligned", 1, "must be bool"),
    ],
)
def test_an_invalid_value_is_refused_with_the_reason(name: str, value: object, words: str) -> None:
    assert words in (refused([change(name, value)], configured=True) or "")


def test_unknown_parameters_are_ignored() -> None:
    assert refused([change("other", True)], configured=True) is None


def test_simulated_time_is_chosen_before_the_node_is_configured() -> None:
    assert refused([change("use_sim_time", True)], configured=False) is None
    assert "at launch" in (refused([change("use_sim_time", True)], configured=True) or "")


def test_parameters_of_the_updater_are_read_only_once() -> None:
    changes = [change("diagnostic_updater.period", 0.5)]
    assert "set it at launch" in (refused(changes, configured=False) or "")
    assert refused(changes, configured=False, declared=False) is None  # it is being declared


def test_a_refused_value_is_shown_in_short() -> None:
    reason = refused([change("force_network", "x" * 100_000)], configured=True)
    assert reason
    assert len(reason) < 300
    assert "'xxx" in reason


def test_a_parameter_that_the_node_does_not_have_is_told_with_the_nearest() -> None:
    given = ["max_age", "device", "qos_overrides./rgb.subscription.depth", "x" * 10_000]
    first, second = unknown_overrides(given, lambda name: name in FIELDS)
    assert first.startswith("parameter 'max_age' was set but")
    assert first.endswith("did you mean 'max_age_s'?")
    assert len(second) < 300


def test_integers_are_converted_to_floats() -> None:
    config = updated(CoreConfig(), {"max_age_s": 2, "bundle": "elsewhere"})
    assert config == CoreConfig(max_age_s=2.0)
    assert isinstance(config.max_age_s, float)
    assert updated(NodeConfig(), {"bundle": "here"}).bundle == "here"


def test_live_and_start_name_existing_parameters() -> None:
    assert set(FIELDS) >= LIVE | START
    assert not LIVE & START
