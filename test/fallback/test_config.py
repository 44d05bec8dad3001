# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Parameters: their ranges and types, and errors that name the allowed values."""

from __future__ import annotations

import dataclasses
import math
import re
from typing import Any

import pytest

from rgbd_seg_ros.fallback import CoreConfig

FIELDS = dataclasses.fields(CoreConfig)
NUMBERS = [f for f in FIELDS if type(f.default) in (int, float)]


@pytest.mark.parametrize("field", FIELDS, ids=lambda f: f.name)
def test_every_parameter_is_documented_and_its_default_allowed(field: Any) -> None:
    assert field.metadata["doc"]
    CoreConfig(**{field.name: field.default})


@pytest.mark.parametrize("field", NUMBERS, ids=lambda f: f.name)
def test_ranges(field: Any) -> None:
    low, high = field.metadata["low"], field.metadata["high"]
    kind = type(field.default)
    for inside in (low, high):
        if math.isfinite(inside):
            CoreConfig(**{field.name: kind(inside)})
    expected = f"{field.name} must be from {low:g} to {high:g}"
    with pytest.raises(ValueError, match=re.escape(expected)):
        CoreConfig(**{field.name: kind(low - 1)})
    if math.isfinite(high):
        with pytest.raises(ValueError, match=field.name):
            CoreConfig(**{field.name: kind(high + 1)})


@pytest.mark.parametrize(
    "values",
    [
        {"hold_s": "1"},
        {"hold_s": True},
        {"hold_s": math.nan},
        {"frozen_after": 1.5},
        {"frozen_after": True},
        {"assume_aligned": 1},
        {"unpaired": "both"},
        {"force_network": "RGB"},
    ],
)
def test_errors_name_the_parameter_and_the_value(values: dict[str, Any]) -> None:
    ((name, value),) = values.items()
    with pytest.raises(ValueError, match=f"{name} must be .*got {value!r}"):
        CoreConfig(**values)
