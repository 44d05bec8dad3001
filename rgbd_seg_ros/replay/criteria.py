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
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from rgbd_seg_ros.files import InputFileError, read_yaml
from rgbd_seg_ros.names import shown, unknown_name

Measure = Callable[[dict[str, Any]], "float | None"]


class CriteriaError(ValueError):
    """Unusable criteria; the message names the file and the remedy."""


def _at(*path: str) -> Measure:
    """The value at a path of keys in the summary; None if it is not there."""

    def get(summary: dict[str, Any]) -> float | None:
        value: Any = summary
        for key in path:
            value = value.get(key) if isinstance(value, dict) else None
        return value if isinstance(value, (int, float)) else None

    return get


def _of_phases(key: str, choose: Callable[[Iterable[float]], float]) -> Measure:
    """The chosen value of all phases with faults."""

    def get(summary: dict[str, Any]) -> float | None:
        values = [p[key] for p in summary["phases"] if p["streams"] and p[key] is not None]
        return choose(values) if values else None

    return get


def _longest(key: str) -> Measure:
    """The longest time that a fault of the schedule took; None without such a time."""

    def get(summary: dict[str, Any]) -> float | None:
        found = (response[key] for response in summary["fault_responses"])
        return max((value for value in found if value is not None), default=None)

    return get


def _difference(a: str, b: str) -> Measure:
    """The value of a key of the summary minus that of another; None without both."""

    def get(summary: dict[str, Any]) -> float | None:
        values = summary[a], summary[b]
        return None if None in values else round(values[0] - values[1], 6)

    return get


def _switch_ms(summary: dict[str, Any]) -> float:
    # Without a switch, none was slow.
    return max(summary["switch_latency_ms"], default=0.0)


#: What criteria can name. None means that the replay has no such value.
MEASURES: dict[str, Measure] = {
    "miou": _at("miou"),
    "miou_all": _at("miou_all"),
    "miou_rgbd": _at("miou_by_network", "rgbd"),
    "miou_rgb_only": _at("miou_by_network", "rgb"),
    "miou_depth_only": _at("miou_by_network", "depth"),
    "miou_worst_fault": _of_phases("miou", min),
    "miou_fallback": _at("miou_fallback"),
    "miou_without_fallback": _at("miou_without_fallback"),
    "fallback_gain": _difference("miou_fallback", "miou_without_fallback"),
    "miou_without_faults": _at("miou_without_faults"),
    "fault_cost": _difference("miou_without_faults", "miou"),
    "unscored": _at("unscored"),
    "masks": _at("masks"),
    "masks_lost": _at("masks_lost"),
    "masks_by_wrong_network": _at("masks_by_wrong_network"),
    "masks_rgbd": _at("networks", "rgbd"),
    "masks_rgb_only": _at("networks", "rgb"),
    "masks_depth_only": _at("networks", "depth"),
    "switches": lambda summary: len(summary["switches"]),
    "switch_ms": _switch_ms,
    "detected_ms": _longest("detected_ms"),
    "degraded_ms": _longest("degraded_ms"),
    "recovered_ms": _longest("recovered_ms"),
    "flicker": _at("flicker", "excess"),
    "consistency_rgbd_rgb": _at("consistency", "rgbd_rgb"),
    "consistency_rgbd_depth": _at("consistency", "rgbd_depth"),
    "consistency_rgb_depth": _at("consistency", "rgb_depth"),
    "ece_rgbd": _at("ece_by_network", "rgbd"),
    "ece_rgb_only": _at("ece_by_network", "rgb"),
    "ece_depth_only": _at("ece_by_network", "depth"),
    "no_input_s": _at("modes", "NO_INPUT"),
    "partner_missed": _at("partner_missed"),
    "unusable": lambda summary: sum(summary["unusable"].values()),
    "latency_p50_ms": _at("latency_ms", "p50"),
    "latency_p95_ms": _at("latency_ms", "p95"),
    "latency_p99_ms": _at("latency_ms", "p99"),
    "masks_per_s": _at("speed", "masks_per_s"),
    "engine_share": _at("speed", "engine_share"),
    "warnings": lambda summary: len(summary["warnings"]),
}

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
        value = MEASURES[self.measure](summary)
        passed = value is not None and _COMPARE[self.comparison](value, self.limit)
        return {
            "criterion": str(self),
            "measure": self.measure,
            "value": value,
            "passed": passed,
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
    """The ``verdict`` of the summary: whether all criteria are met, and each one's value."""
    entries = [criterion.judge(summary) for criterion in criteria]
    return {"passed": all(entry["passed"] for entry in entries), "criteria": entries}


def outcome_of(entry: dict[str, Any]) -> str:
    """The value of a criterion in words."""
    value = entry["value"]
    return "the replay has no such value" if value is None else f"{value:g}"


def junit(suites: Sequence[tuple[str, dict[str, Any] | None, str]]) -> str:
    """Verdicts as JUnit XML: one suite per replay, with one test case per criterion.

    Args:
        suites: for each replay its name, its verdict (see :func:`verdict`) or None, and why it
            failed, which is an error of the suite; empty if it did not.
    """
    root = ElementTree.Element("testsuites")
    total = dict.fromkeys(("tests", "failures", "errors"), 0)
    for name, found, error in suites:
        entries = [] if found is None else found["criteria"]
        counts = {
            "tests": len(entries) + bool(error),
            "failures": sum(not entry["passed"] for entry in entries),
            "errors": int(bool(error)),
        }
        words = {key: str(count) for key, count in counts.items()}
        total = {key: total[key] + count for key, count in counts.items()}
        suite = ElementTree.SubElement(root, "testsuite", {"name": _printable(name), **words})
        for entry in entries:
            names = {"classname": "rgbd_seg.replay", "name": entry["criterion"]}
            case = ElementTree.SubElement(suite, "testcase", names)
            if not entry["passed"]:
                text = f"{entry['criterion']}: {outcome_of(entry)}"
                ElementTree.SubElement(case, "failure", {"message": text}).text = text
        if error:
            names = {"classname": "rgbd_seg.replay", "name": "replay"}
            case = ElementTree.SubElement(suite, "testcase", names)
            text = _printable(error)
            ElementTree.SubElement(case, "error", {"message": text}).text = text
    root.attrib.update({key: str(count) for key, count in total.items()})
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _printable(text: str) -> str:
    # XML has no control characters, not even escaped ones.
    return "".join(c if c.isprintable() else "?" for c in text)
