# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Summary of a batch of replays as a page and as Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from rgbd_seg_ros.command_line import one_line
from rgbd_seg_ros.replay.batch_summary import SAMPLES
from rgbd_seg_ros.replay.measures import show_measure
from rgbd_seg_ros.replay.report_measures import unscored_stamps
from rgbd_seg_ros.replay.templates import open_template

Summary = dict[str, Any]


#: What the intervals of differences are.
INTERVALS = (
    "The 95 % interval of a mean difference is from a bootstrap over recordings: "
    f"{SAMPLES} times, recordings are drawn with replacement, each with all its schedules. "
    "One recording has no interval, since it does not show how much recordings differ; the "
    "intervals of few recordings are too narrow."
)


def show_interval(name: str, interval: Sequence[float] | None) -> str:
    """The interval of a difference; a dash for None."""
    if interval is None:
        return "–"
    return " to ".join(show_measure(name, value, signed=True) for value in interval)


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


def remarks(run: Summary) -> list[str]:
    """What may be wrong with the values of one replay, one line each."""
    lines = list(run["warnings"])
    if run["damage"] and not any(run["damage"] in line for line in lines):
        lines.append(f"the recording is damaged: {run['damage']}")
    if run["measures"]["unscored"]:
        masks = f"{run['measures']['unscored']:g} of {run['measures']['masks']:g} masks"
        stamps = unscored_stamps({**run["measures"], **run})
        lines.append(f"{masks} have no ground truth ({stamps})")
    return lines


def batch_page(summary: Summary, report: str) -> str:
    """The summary as one HTML file.

    Args:
        summary: see :func:`rgbd_seg_ros.replay.batch_summary.summarize`.
        report: name of the report in the folder of each replay, which is linked.

    Raises:
        ReplayError: jinja2 is not installed.
    """
    template = open_template(
        "batch.html.j2",
        show=show_measure,
        outcome=outcome,
        remarks=remarks,
        interval=show_interval,
        intervals=INTERVALS,
    )
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
        [*keys, *columns, "remarks", "outcome"],
        (
            [
                *(run[key] for key in keys),
                *(show_measure(name, run["measures"][name]) for name in columns),
                str(len(remarks(run))),
                outcome(run),
            ]
            for run in summary["runs"]
        ),
    )
    noted = [run for run in summary["runs"] if remarks(run)]
    if noted:
        yield ""
        yield "## Remarks on single replays"
    for run in noted:
        yield ""
        yield f"{' / '.join(run[key] for key in keys)}:"
        yield ""
        yield from (f"- {one_line(text)}" for text in remarks(run))
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
            [
                "measure",
                "pairs",
                "recordings",
                "mean difference",
                "95 % interval",
                "least",
                "greatest",
                "higher",
                "lower",
            ],
            (
                [
                    name,
                    str(found["pairs"]),
                    str(found["bags"]),
                    show_measure(name, found["mean"], True),
                    show_interval(name, found["ci95"]),
                    *(show_measure(name, found[key], True) for key in ("min", "max")),
                    str(found["higher"]),
                    str(found["lower"]),
                ]
                for name, found in comparison["differences"].items()
                if found["pairs"]
            ),
        )
        yield ""
        yield INTERVALS


def _table(heading: Sequence[str], rows: Iterator[list[str]]) -> Iterator[str]:
    yield f"| {' | '.join(heading)} |"
    yield f"|{'---|' * len(heading)}"
    for row in rows:
        yield f"| {' | '.join(cell.replace('|', '/') for cell in row)} |"
