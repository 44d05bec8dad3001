# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Outputs of a replay that has failed: they say so, instead of showing an earlier success."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from rgbd_seg_ros.command_line import one_line
from rgbd_seg_ros.files import write_atomically
from rgbd_seg_ros.replay.junit_file import JunitSuite, junit
from rgbd_seg_ros.replay.output_folder import LINES, REPORT, SUMMARY


@contextmanager
def failures_noted(
    name: str, out: Path | None, junit_path: Path | None, overwrite: bool
) -> Iterator[None]:
    """Write why a replay has failed, if it does, where its results would have been.

    The JUnit file gets a suite with an error. The summary in the output folder becomes
    ``{"error": …}``, and the report is removed. Nothing is written where the replay was not
    allowed to write, and no folder is created.

    Args:
        name: of the suite.
        out: folder of the outputs; None for none.
        junit_path: the JUnit file; None for none.
        overwrite: whether existing outputs may be replaced.
    """
    may_write_out = out is not None and (overwrite or not _has_content(out))
    may_write_junit = junit_path is not None and (overwrite or not junit_path.exists())
    try:
        yield
    except BaseException as error:
        reason = one_line(error) or "interrupted"
        # The error of the replay is more important than one of these files.
        with suppress(OSError, ValueError):
            if junit_path is not None and may_write_junit:
                junit_path.parent.mkdir(parents=True, exist_ok=True)
                write_atomically(junit_path, junit([JunitSuite(name, None, reason)]))
        with suppress(OSError, ValueError):
            if out is not None and may_write_out and _has_results(out):
                (out / REPORT).unlink(missing_ok=True)
                write_atomically(out / SUMMARY, json.dumps({"error": reason}) + "\n")
        raise


def _has_content(folder: Path) -> bool:
    with suppress(OSError):
        return folder.exists() and (not folder.is_dir() or any(folder.iterdir()))
    return True


def _has_results(folder: Path) -> bool:
    """Whether a folder has files of a replay."""
    return any((folder / name).is_file() for name in (LINES, SUMMARY, REPORT))
