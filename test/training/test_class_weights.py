# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Class weights: the two rules by hand, the same numbers after resuming, options of the loss."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from rgbd_seg_ros.bundle import load_network
from training import class_weights, loop
from training.config import SAVED_RECIPE, RunConfig, unused_options
from training.loop import Run
from training.options import UsageError, read_yaml
from training.settings import Settings, from_dict, make_parser, resolve

CPU = torch.device("cpu")


def test_median_frequency_by_hand() -> None:
    found = class_weights.median_frequency(np.array([0.6, 0.1, 0.0, 0.3]))
    np.testing.assert_allclose(found, [0.5, 3.0, 1.0, 1.0])


def test_inverse_log_by_hand() -> None:
    found = class_weights.inverse_log(np.array([0.98, 0.0]))
    np.testing.assert_allclose(found, [1 / math.log(2), 1 / math.log(1.02)])


def shares(dataset: Path, config: RunConfig) -> np.ndarray:
    """Share of each class, from the label files of the training split."""
    train = loop.open_split(config, "train")
    pixels = np.zeros(3)
    for index in range(len(train)):
        path = dataset / "labels" / f"{Path(train[index].name).stem}.png"
        image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        pixels += [(image == c).sum() for c in range(3)]
    return pixels / pixels.sum()


@pytest.mark.parametrize("rule", class_weights.RULES)
def test_a_rule_becomes_numbers_in_the_recipe_loss_and_record(
    rule: str, settings: Callable[..., Settings], dataset: Path
) -> None:
    run = Run(settings(class_weights=rule, epochs=1), CPU)
    expected = class_weights.RULES[rule](shares(dataset, run.config))
    assert len(set(expected)) == 3
    np.testing.assert_allclose(run.config.class_weights, expected, rtol=1e-4)
    assert torch.equal(run.method.loss.weights, torch.tensor(run.config.class_weights))
    run.train()
    recipe = read_yaml(run.folder / SAVED_RECIPE)
    assert recipe["class_weights"] == list(run.config.class_weights)
    facts = load_network(run.folder / "best" / "rgb.safetensors").record.training
    assert facts["loss"] == "cross_entropy"
    assert facts["class_weights"] == dict(
        zip(("floor", "wall", "thing"), run.config.class_weights, strict=True)
    )


def test_a_resumed_run_counts_nothing_and_ends_bit_identically(
    settings: Callable[..., Settings], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = {"class_weights": "median_frequency", "loss": "ohem", "checkpoint_every": 1}
    whole = Run(settings(**keys, out=str(tmp_path / "whole")), CPU)
    whole.train()
    out = str(tmp_path / "broken")
    broken = Run(settings(**keys, out=out), CPU)
    step = Run.optimizer_step

    def killed(self: Run, *args: Any) -> Any:
        if self.step == 2:
            raise SystemExit
        return step(self, *args)

    monkeypatch.setattr(Run, "optimizer_step", killed)
    with pytest.raises(SystemExit):
        broken.train()
    monkeypatch.undo()

    def never(*_: object) -> None:
        raise AssertionError("the saved recipe has the numbers")

    monkeypatch.setattr(class_weights, "_count", never)
    again = Run(resolve("supervised", ["--out", out, "--resume"]), CPU)
    again.train()
    assert again.config.class_weights == whole.config.class_weights
    theirs = whole.method.state_dict()
    assert all(torch.equal(v, theirs[k]) for k, v in again.method.state_dict().items())


def test_without_class_weights_no_label_is_counted(
    settings: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(class_weights, "_count", None)
    run = Run(settings(), CPU)
    assert run.method.loss.weights is None
    assert run.config.class_weights == "none"


def test_given_numbers_must_match_the_classes(settings: Callable[..., Settings]) -> None:
    run = Run(settings(class_weights=[1, 2, 0.5]), CPU)
    assert run.config.class_weights == (1.0, 2.0, 0.5)
    with pytest.raises(UsageError, match=r"2 numbers, but label set 'test' has 3 classes \(floor"):
        Run(settings(class_weights="1,2"), CPU)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"loss": "focl"}, "loss: 'focl' is not one of cross_entropy, focal, ohem; did you mean"),
        (
            {"class_weights": "median_freq"},
            "not one of none, median_frequency, inverse_log; did you",
        ),
        ({"class_weights": "median"}, "or give numbers, separated by commas"),
        ({"class_weights": "1,two"}, "class_weights: 'two' is not a finite number"),
        ({"class_weights": [0, 0]}, "class_weights must be numbers of 0 or more, not all 0"),
        ({"class_weights": [1, -1]}, "class_weights must be numbers of 0 or more, not all 0"),
        ({"class_weights": []}, "class_weights must be numbers of 0 or more"),
        ({"focal_gamma": -1}, "focal_gamma must be 0 or more, got -1.0"),
        ({"ohem_threshold": 1}, "ohem_threshold must be between 0 and 1, got 1.0"),
        ({"ohem_min_kept": 2}, "ohem_min_kept must be from 0 to 1, got 2.0"),
    ],
)
def test_mistakes(keys: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError) as error:
        from_dict("supervised", keys, "the test")
    assert message in str(error.value)


@pytest.mark.parametrize("value", ["0.5,1,2", "[0.5, 1, 2]", [0.5, 1, 2]])
def test_numbers_in_a_recipe_and_on_the_command_line(value: Any) -> None:
    config = from_dict("supervised", {"class_weights": value}, "the test").run
    assert config.class_weights == (0.5, 1.0, 2.0)


def test_an_option_without_effect_is_reported(settings: Callable[..., Settings]) -> None:
    assert unused_options(RunConfig()) == []
    assert unused_options(RunConfig(loss="focal", focal_gamma=3.0)) == []
    run = Run(settings(loss="ohem", focal_gamma=3.0, epochs=1), CPU)
    run.train()
    (warning,) = json.loads((run.folder / "results.json").read_text())["warnings"]
    assert warning.startswith("focal_gamma 3.0 has no effect with loss ohem: set loss to focal")


def test_help_shows_the_words() -> None:
    text = make_parser("supervised", "prog").format_help()
    assert "--class-weights none|median_frequency|inverse_log|X,X,…" in text
    assert "--loss cross_entropy|focal|ohem" in text
