# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Verdicts on replays as JUnit XML, which build servers read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree

from rgbd_seg_ros.replay.criteria import outcome_of


@dataclass(frozen=True)
class JunitSuite:
    """One replay in a JUnit file."""

    name: str
    #: See :func:`rgbd_seg_ros.replay.criteria.verdict`; None without criteria or after a failure.
    verdict: dict[str, Any] | None
    #: Why the replay failed; empty if it did not.
    error: str = ""
    #: What may be wrong with its values, one line each.
    warnings: Sequence[str] = ()


def failure(summary: Mapping[str, Any]) -> str:
    """Why a replay has failed whatever its criteria say; empty if it has not."""
    if summary["interrupted"]:
        return "the replay was interrupted"
    if not summary["masks"]:
        return "no mask was computed"
    unused = " and ".join(summary["unused_streams"])
    return f"{unused} could not be used" if unused else ""


def junit(suites: Sequence[JunitSuite]) -> str:
    """Verdicts as JUnit XML: one suite per replay, with one test case per criterion.

    Warnings, and notes on criteria that are met, are ``system-out``; why a replay failed is an
    error of its suite. The file is valid for the schema that Jenkins' xUnit plugin uses
    (``junit-10.xsd``).
    """
    root = ElementTree.Element("testsuites")
    total = dict.fromkeys(("tests", "failures", "errors"), 0)
    for suite in suites:
        entries = [] if suite.verdict is None else suite.verdict["criteria"]
        counts = {
            "tests": len(entries) + bool(suite.error),
            "failures": sum(not entry["passed"] for entry in entries),
            "errors": int(bool(suite.error)),
        }
        words = {key: str(count) for key, count in counts.items()}
        total = {key: total[key] + count for key, count in counts.items()}
        element = ElementTree.SubElement(
            root, "testsuite", {"name": _printable(suite.name), **words}
        )
        for entry in entries:
            case = _case(element, entry["criterion"])
            text = _printable(f"{entry['criterion']}: {outcome_of(entry)}")
            if not entry["passed"]:
                ElementTree.SubElement(case, "failure", {"message": text}).text = text
            elif entry["note"]:
                ElementTree.SubElement(case, "system-out").text = text
        if suite.error:
            text = _printable(suite.error)
            error = ElementTree.SubElement(_case(element, "replay"), "error", {"message": text})
            error.text = text
        if suite.warnings:
            lines = (f"warning: {_printable(text)}" for text in suite.warnings)
            ElementTree.SubElement(element, "system-out").text = "\n".join(lines)
    root.attrib.update({key: str(count) for key, count in total.items()})
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _case(suite: ElementTree.Element, name: str) -> ElementTree.Element:
    names = {"classname": "rgbd_seg.replay", "name": name}
    return ElementTree.SubElement(suite, "testcase", names)


def _printable(text: str) -> str:
    # XML has no control characters, not even escaped ones.
    return "".join(c if c.isprintable() else "?" for c in text)
