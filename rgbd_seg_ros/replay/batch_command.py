# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""`rgbd_seg replay --batch` and `--compare`: many replays from one command."""

from __future__ import annotations

import argparse
import json
from typing import Any

from rgbd_seg_ros.files import check_writable, write_atomically
from rgbd_seg_ros.progress import say
from rgbd_seg_ros.replay.batch import BATCH_MARKDOWN, BATCH_PAGE, ReplayBatch
from rgbd_seg_ros.replay.batch_plan import (
    NO_FAULTS,
    ReplayBatchPlan,
    make_batch,
    name_bags,
    name_bundles,
    read_batch,
)
from rgbd_seg_ros.replay.interrupts import interruptible
from rgbd_seg_ros.replay.junit_file import JunitSuite, junit
from rgbd_seg_ros.replay.replay_words import BatchError, ReplayArguments
from rgbd_seg_ros.replay.templates import open_template

#: Most replays at the same time.
MAX_JOBS = 256


def run(args: argparse.Namespace, arguments: ReplayArguments) -> int:
    """Run a batch.

    Args:
        args: of `rgbd_seg replay`, with ``batch`` or ``compare``.
        arguments: the options of `rgbd_seg replay`.

    Returns:
        The exit code: 0, 1 if a replay has failed, has no mask or does not meet its criteria, or
        128 + the number of the signal that has ended the batch.

    Raises:
        ValueError: bad usage or input.
    """
    plan = _plan(args, arguments)
    _check(args, plan)
    batch = ReplayBatch(plan, args.out, args.jobs, args.overwrite)
    with interruptible() as caught:
        summary = batch.run(lambda: caught() != 0)
        signal_number = caught()
    if args.junit:
        suites = [
            JunitSuite(_name(entry), entry["verdict"], entry["error"], entry["warnings"])
            for entry in summary["runs"]
        ]
        write_atomically(args.junit, junit(suites))
    text = json.dumps(summary) if args.json else (args.out / BATCH_MARKDOWN).read_text()
    print(text.rstrip())
    say(f"summary: {args.out / BATCH_PAGE}")
    if summary["interrupted"]:
        say("run the same command again to go on")
        return 128 + signal_number
    return 0 if summary["passed"] else 1


def _name(entry: dict[str, Any]) -> str:
    return f"{entry['bag']}/{entry['faults']}/{entry['bundle']}"


def _plan(args: argparse.Namespace, arguments: ReplayArguments) -> ReplayBatchPlan:
    given = arguments.given(args)
    if args.batch:
        taken = {
            "--bundle": args.bundle,
            "--faults": args.faults,
            "--random-faults": args.random_faults is not None,
        }
        for option, value in taken.items():
            if value:
                raise BatchError(f"{option} is set by the plan {args.batch}; add it there")
        compare = str(args.compare) if args.compare else ""
        return read_batch(args.batch, arguments, given, args.bag, compare)
    random = args.random_faults
    return make_batch(
        arguments,
        name_bags(args.bag, given),
        [args.faults or NO_FAULTS if random is None else random],
        name_bundles(args.bundle, args.compare),
        "--compare",
    )


def _check(args: argparse.Namespace, plan: ReplayBatchPlan) -> None:
    """Check the outputs, before anything slow is done."""
    if args.out is None:
        raise BatchError("many replays need a folder for their results; add --out DIR")
    for option in ("record", "rerun"):
        if getattr(args, option) is not None:
            raise BatchError(f"--{option} writes one replay, not many; omit it")
    if not 1 <= args.jobs <= MAX_JOBS:
        raise BatchError(f"--jobs must be 1 to {MAX_JOBS}, got {args.jobs}")
    if args.junit:
        if not any(word.startswith("--criteria=") for entry in plan.runs for word in entry.words):
            raise BatchError("--junit has no verdict to write without --criteria; add it")
        if args.junit.is_dir():
            raise BatchError(f"--junit {args.junit} is a folder; name a file")
        check_writable(args.junit.parent, "--junit")
    open_template("batch.html.j2")
