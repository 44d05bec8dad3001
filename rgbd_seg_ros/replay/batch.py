# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Batch of replays: runs each as a process of its own, resumes, and writes one summary."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rgbd_seg_ros.command_line import one_line
from rgbd_seg_ros.files import (
    InputFileError,
    OutputError,
    check_output_folder,
    check_writable,
    read_json,
    write_atomically,
)
from rgbd_seg_ros.progress import progress_bar, say
from rgbd_seg_ros.replay.batch_plan import BatchRun, ReplayBatchPlan
from rgbd_seg_ros.replay.batch_report import batch_markdown, batch_page
from rgbd_seg_ros.replay.batch_summary import BatchResult, summarize
from rgbd_seg_ros.replay.output_folder import REPORT, SUMMARY

#: Names of the files that a batch writes.
BATCH_JSON, BATCH_MARKDOWN, BATCH_PAGE = "batch.json", "batch.md", "batch.html"
#: Names of two files in the folder of each replay.
RECORD, LOG = "run.json", "replay.log"
#: File that a batch and its replays keep locked.
LOCK = ".lock"
#: Longest summary of a replay that is read, in bytes.
MAX_SUMMARY_BYTES = 64 * 2**20
#: Start of the command line of a replay.
PROGRAM = (sys.executable, "-m", "rgbd_seg_ros.cli", "replay")
#: Seconds between two looks at the running processes.
POLL_S = 0.1


@dataclass
class _Process:
    """A replay that runs."""

    run: BatchRun
    process: subprocess.Popen[bytes]
    fingerprint: str
    started_s: float = field(default_factory=time.monotonic)


class ReplayBatch:
    """Runs the replays of a plan.

    The results of a replay are kept as long as its command line and its inputs stay the same, so
    a batch that was interrupted, or whose plan was extended, runs only what is missing.

    Args:
        plan: the replays.
        out: folder of the results.
        jobs: how many replays run at the same time; the CPU cores are divided among them.
        overwrite: run everything anew.
        program: start of the command line of a replay.

    Raises:
        OutputError: the folder cannot be written, or has other content than a batch.
    """

    def __init__(
        self,
        plan: ReplayBatchPlan,
        out: Path,
        jobs: int = 1,
        overwrite: bool = False,
        program: Sequence[str] = PROGRAM,
    ) -> None:
        self._plan, self._out, self._jobs, self._program = plan, out, jobs, tuple(program)
        self._overwrite = overwrite
        if (out / BATCH_JSON).is_file():
            check_writable(out, "--out")
        else:
            check_output_folder(out, overwrite)
        self._results: dict[str, BatchResult] = {}

    def run(self, interrupted: Callable[[], bool] = lambda: False) -> dict[str, Any]:
        """Run what has no results yet; returns the summary, which is also written.

        Args:
            interrupted: called all the time; the replays end early when it returns True, and run
                anew next time.

        Raises:
            OutputError: another batch, or a replay that one has left behind, writes to the folder.
        """
        with _locked(self._out) as lock:
            return self._run(lock, interrupted)

    def _run(self, lock: int, interrupted: Callable[[], bool]) -> dict[str, Any]:
        waiting = []
        for run in self._plan.runs:
            kept = None if self._overwrite else self._kept(run)
            if kept is None:
                waiting.append(run)
            else:
                self._results[run.folder] = kept
        if len(waiting) < len(self._plan.runs):
            kept_count = len(self._plan.runs) - len(waiting)
            say(f"{kept_count} of {len(self._plan.runs)} replays already have results")
        self._write(interrupted=True)
        running: list[_Process] = []
        try:
            with progress_bar("batch", len(waiting), "replay") as bar:
                while running or waiting:
                    if interrupted():
                        break
                    while waiting and len(running) < self._jobs:
                        running.append(self._start(waiting.pop(0), lock))
                    for done in [p for p in running if p.process.poll() is not None]:
                        running.remove(done)
                        self._finish(done)
                        bar.update()
                        self._write(interrupted=True)
                    if running:
                        time.sleep(POLL_S)
        finally:
            for child in running:
                child.process.send_signal(signal.SIGINT)
            for child in running:
                child.process.wait()
        return self._write(interrupted=bool(running or waiting))

    def _start(self, run: BatchRun, lock: int) -> _Process:
        folder = self._out / run.folder
        folder.mkdir(parents=True, exist_ok=True)
        (folder / RECORD).unlink(missing_ok=True)
        fingerprint = run.fingerprint()
        environment = dict(os.environ)
        if self._jobs > 1:
            threads = max(1, (os.cpu_count() or 1) // self._jobs)
            environment.setdefault("OMP_NUM_THREADS", str(threads))
        with (folder / LOG).open("wb") as log:
            process = subprocess.Popen(
                [*self._program, *run.words, f"--out={folder}", "--overwrite"],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=log,
                env=environment,
                pass_fds=(lock,),  # locked until the replay ends, even if this process is killed
                start_new_session=True,  # Ctrl-C is passed on by this process
            )
        return _Process(run, process, fingerprint)

    def _finish(self, done: _Process) -> None:
        code, folder = done.process.returncode, self._out / done.run.folder
        error = ""
        if code not in (0, 1):
            error = f"ended by signal {-code}" if code < 0 else _last_line(folder / LOG)
            say(f"{done.run.folder} failed: {error} (log: {folder / LOG})")
        record = {
            "fingerprint": done.fingerprint,
            "exit_code": code,
            "error": error,
            "seconds": round(time.monotonic() - done.started_s, 1),
            "command": ["rgbd_seg", "replay", *done.run.words],
        }
        write_atomically(folder / RECORD, json.dumps(record, indent=2) + "\n")
        self._results[done.run.folder] = _result(done.run, record, folder)

    def _kept(self, run: BatchRun) -> BatchResult | None:
        """The results of an earlier batch; None if there are none, or if they may be outdated."""
        folder = self._out / run.folder
        try:
            record = read_json(folder / RECORD)
        except InputFileError:
            return None
        if not isinstance(record, dict) or record.get("fingerprint") != run.fingerprint():
            return None
        result = _result(run, record, folder)
        return None if result.exit_code not in (0, 1) else result

    def _write(self, interrupted: bool) -> dict[str, Any]:
        """Write the summary of what has finished so far."""
        results = [self._results.get(run.folder, BatchResult(run)) for run in self._plan.runs]
        summary = summarize(results, self._plan, interrupted)
        self._out.mkdir(parents=True, exist_ok=True)
        write_atomically(self._out / BATCH_MARKDOWN, batch_markdown(summary))
        write_atomically(self._out / BATCH_PAGE, batch_page(summary, REPORT))
        write_atomically(self._out / BATCH_JSON, json.dumps(summary, indent=2) + "\n")
        return summary


@contextmanager
def _locked(folder: Path) -> Iterator[int]:
    """Lock the folder of a batch; yields the descriptor, which replays inherit.

    The lock lasts until all processes that have the descriptor have ended.

    Raises:
        OutputError: another process has the lock.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise OutputError(
                f"another batch, or a replay of one that was killed, still writes to {folder}; "
                f"wait until it ends, or end it (fuser {folder / LOCK} shows its process)"
            ) from error
        except OSError as error:
            say(f"warning: {folder} cannot be locked ({error.strerror}); run one batch there only")
        yield lock
    finally:
        os.close(lock)


def _result(run: BatchRun, record: dict[str, Any], folder: Path) -> BatchResult:
    """What one replay has left; one without a usable summary counts as failed."""
    code, error = record.get("exit_code"), str(record.get("error", ""))
    summary = None
    if code in (0, 1):
        try:
            summary = read_json(folder / SUMMARY, MAX_SUMMARY_BYTES)
        except InputFileError as problem:
            code, error = 2, str(problem)
    return BatchResult(run, code, error, record.get("seconds"), summary)


def _last_line(log: Path) -> str:
    """The message with which a command has ended."""
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return one_line(lines[-1]).removeprefix("rgbd_seg replay: ") if lines else "without a message"
