# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Summary of a batch of replays as a page and as Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from rgbd_seg_ros.replay.templates import open_template, percent

Summary = dict[str, Any]
#: Measures that are shares, by the start of their names.
_SHARES = ("miou", "fallback_gain", "fault_cost", "flicker", "consistency", "ece", "engine_share")
#: Measures that are differences of shares, shown in percentage points.
_DIFFERENCES = ("fallback_gain", "fault_cost")


def show_measure(name: str, value: float | None, signed: bool = False) -> str:
    """A measure with its unit; a dash for None.

    Args:
        name: of the measure.
        value: as in the summary.
        signed: with a sign, for differences; shares are then in percentage points.
    """
    if value is None:
        return "–"
    signed = signed or name in _DIFFERENCES
    sign = "+" if signed else ""
    if name.startswith(_SHARES):
        return f"{value * 100:{sign}.1f}" if signed else percent(value)
    if name.endswith("_ms"):
        return f"{value:{sign}.0f} ms"
    if name.endswith("_s"):
        return f"{value:{sign}.1f} s"
    return f"{value:{sign}g}"


def outcome(run: Summary) -> str:
    """How one replay ended, in a few words."""
    if run["exit_code"] is None:
        return "not run"
    if run["error"]:
        return f"failed: {run['error']}"
    if run["verdict"] is not None:
        unmet = [entry["criterion"] for entry in run["verdict"]["criteria"] if not entry["passed"]]
        return f"unmet: {', '.join(unmet)}" if unmet else "passed"
    if run["exit_code"]:
        return "a stream was not usable" if run["measures"]["masks"] else "no mask"
    return "done"


def batch_page(summary: Summary, report: str) -> str:
    """The summary as one HTML file.

    Args:
        summary: see :func:`rgbd_seg_ros.replay.batch_summary.summarize`.
        report: name of the report in the folder of each replay, which is linked.

    Raises:
        ReplayError: jinja2 is not installed.
    """
    template = open_template("batch.html.j2", show=show_measure, outcome=outcome)
    return template.render(summary=summary, report=report)


def batch_markdown(summary: Summary) -> str:
    """The summary as Markdown."""
    return "\n".join(_lines(summary)) + "\n"


def _lines(summary: Summary) -> Iterator[str]:
    yield "# Batch of replays"
    yield ""
    several = len(summary["bundles"]) > 1
    columns = summary["columns"]
    keys = ["bag", "faults", *(["bundle"] if several else [])]
    yield from _table(
        [*keys, *columns, "outcome"],
        (
            [
                *(run[key] for key in keys),
                *(show_measure(name, run["measures"][name]) for name in columns),
                outcome(run),
            ]
            for run in summary["runs"]
        ),
    )
    for comparison in summary["comparisons"]:
        yield ""
        yield f"## {comparison['other']} minus {comparison['control']}"
        yield ""
        yield from _table(
            ["bag", "faults", *columns],
            (
                [
                    pair["bag"],
                    pair["faults"],
                    *(
                        show_measure(name, pair["measures"][name]["difference"], signed=True)
                        for name in columns
                    ),
                ]
                for pair in comparison["pairs"]
            ),
        )
        yield ""
        yield from _table(
            ["measure", "pairs", "mean difference", "least", "greatest", "higher", "lower"],
            (
                [
                    name,
                    str(found["pairs"]),
                    *(show_measure(name, found[key], True) for key in ("mean", "min", "max")),
                    str(found["higher"]),
                    str(found["lower"]),
                ]
                for name, found in comparison["differences"].items()
                if found["pairs"]
            ),
        )


def _table(heading: Sequence[str], rows: Iterator[list[str]]) -> Iterator[str]:
    yield f"| {' | '.join(heading)} |"
    yield f"|{'---|' * len(heading)}"
    for row in rows:
        yield f"| {' | '.join(cell.replace('|', '/') for cell in row)} |"
