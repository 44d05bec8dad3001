# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Criteria for a replay: conditions on its measures, read from YAML, and the verdict on them.

The file is a list of conditions; every one must hold::

    - miou_rgb_only >= 0.40
    - switch_ms <= 100
    - masks_lost == 0
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rgbd_seg_ros.files import InputFileError, read_yaml
from rgbd_seg_ros.names import shown, unknown_name
from rgbd_seg_ros.replay.measures import MEASURES

_COMPARE: dict[str, Callable[[float, float], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    "==": operator.eq,
    "!=": operator.ne,
    ">": operator.gt,
    "<": operator.lt,
}
_FORM = re.compile(
    r"\s*(\w+)\s*(>=|<=|==|!=|>|<)\s*([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*"
)


class CriteriaError(ValueError):
    """Unusable criteria; the message names the file and the remedy."""


@dataclass(frozen=True)
class Criterion:
    """One condition on one measure."""

    measure: str
    comparison: str
    limit: float

    @classmethod
    def parse(cls, text: object) -> Criterion:
        """Read ``MEASURE COMPARISON NUMBER``.

        Raises:
            CriteriaError: the text has another form, or there is no such measure.
        """
        match = _FORM.fullmatch(text) if isinstance(text, str) else None
        if match is None:
            raise CriteriaError(
                f"expected MEASURE COMPARISON NUMBER, for example 'miou >= 0.4', with one of "
                f"{' '.join(_COMPARE)}, got {shown(text)}"
            )
        measure, comparison, limit = match.groups()
        if measure not in MEASURES:
            raise CriteriaError(unknown_name("measure", measure, MEASURES))
        return cls(measure, comparison, float(limit))

    def __str__(self) -> str:
        return f"{self.measure} {self.comparison} {self.limit:g}"

    def judge(self, summary: dict[str, Any]) -> dict[str, Any]:
        """One entry of the verdict. A measure without a value meets no criterion."""
        measure = MEASURES[self.measure]
        value = measure(summary)
        passed = value is not None and _COMPARE[self.comparison](value, self.limit)
        return {
            "criterion": str(self),
            "measure": self.measure,
            "value": value,
            "passed": passed,
            "note": measure.note(summary),
        }


def load_criteria(path: Path) -> tuple[Criterion, ...]:
    """Read criteria.

    Raises:
        CriteriaError: the file is unusable; the message names the file and the remedy.
    """
    try:
        entries = read_yaml(path)
    except InputFileError as error:
        raise CriteriaError(str(error)) from error
    if not isinstance(entries, list) or not entries:
        raise CriteriaError(
            f"{path}: expected a list of criteria, for example '- miou >= 0.4', got "
            f"{shown(entries)}"
        )
    criteria = []
    for number, entry in enumerate(entries, 1):
        try:
            criteria.append(Criterion.parse(entry))
        except CriteriaError as error:
            raise CriteriaError(f"{path}: criterion {number}: {error}") from error
    return tuple(criteria)


def verdict(criteria: Sequence[Criterion], summary: dict[str, Any]) -> dict[str, Any]:
    """The ``verdict`` of the summary: whether all criteria are met, and each one's value.

    A schedule with a fault that changes no frame tests less than it says, so it is not passed
    unless a criterion on ``idle_faults`` allows it.
    """
    has_schedule = summary.get("fault_schedule") is not None
    if has_schedule and all(criterion.measure != "idle_faults" for criterion in criteria):
        criteria = (*criteria, Criterion("idle_faults", "==", 0))
    entries = [criterion.judge(summary) for criterion in criteria]
    return {"passed": all(entry["passed"] for entry in entries), "criteria": entries}


def outcome_of(entry: dict[str, Any]) -> str:
    """The value of a criterion in words, with its note."""
    value, note = entry["value"], entry["note"]
    if value is None:
        return str(note)
    return f"{value:g} ({note})" if note else f"{value:g}"
