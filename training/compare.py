# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""`python -m training.compare PLAN`: trains methods with equal data, budget and seeds."""

from __future__ import annotations

import argparse
import hashlib
import itertools
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rgbd_seg_ros.files import InputFileError, read_json, write_atomically
from rgbd_seg_ros.names import shown
from training.command import Interrupt, run_command
from training.comparison_differences import differences, differences_to_text
from training.comparison_plan import COMPARISONS, ComparisonPlan, Member, Row, read_plan
from training.comparison_results import MODALITIES, last_losses, read_results, to_text
from training.config import SAVED_RECIPE, has_checkpoint
from training.options import UsageError, lookup, parse_command, read_yaml
from training.runlog import duration

#: Seconds between two polls of the running processes.
POLL_S = 0.5
#: Files in a run's folder: its keys, and hashes of the weights that it started from.
RECIPE, SOURCES = "recipe.yaml", "sources.json"


@dataclass(frozen=True)
class PlannedRun:
    """One training run of the plan: its folder, its keys, and the runs that must finish first."""

    folder: Path
    member: Member
    seed: int
    teacher: Path | None
    #: Learning rate → folder of the tuning run that determines its validation score. A single
    #: rate is used without a tuning run.
    candidates: Mapping[float, Path]
    #: Learning rate and epochs of a tuning run, which has no candidates.
    lr: float | None = None
    epochs: int | None = None

    @property
    def needs(self) -> list[Path]:
        """Folders that must contain results before this run can start."""
        tuning = self.candidates.values() if len(self.candidates) > 1 else []
        return [*tuning, *([self.teacher] if self.teacher else [])]

    def recipe(self) -> dict[str, Any]:
        """The run's recipe; the runs in :attr:`needs` must have finished."""
        keys = {**self.member.keys, "seed": self.seed, "lr": self.lr or best_rate(self.candidates)}
        if self.teacher:
            keys["teacher"] = str(self.teacher)
        if self.epochs:
            keys["epochs"] = self.epochs
        return keys

    def sources(self) -> dict[str, str]:
        """SHA-256 of the current initial weights of the run and of its teacher's weights."""
        folders = {"pretrained": Path(self.member.resolved()["pretrained"])}
        if self.teacher:
            folders["teacher"] = self.teacher / "best"
        return {key: digest(path) for key, path in folders.items()}

    def record(self) -> None:
        """Write the recipe and the hashes of the sources into the run's folder."""
        import yaml

        write_atomically(self.folder / RECIPE, yaml.safe_dump(self.recipe(), sort_keys=False))
        write_atomically(self.folder / SOURCES, json.dumps(self.sources()) + "\n")

    def check(self) -> None:
        """Check that the folder's run, finished or not, matches the current plan.

        Raises:
            UsageError: it was trained with other keys or from other weights, so its scores belong
                to another plan.
        """
        path = self.folder / RECIPE
        trained = read_results(self.folder) or has_checkpoint(self.folder)
        if not trained or not path.is_file():
            return
        was, now = read_yaml(path), self.recipe()
        keys = was.keys() | now.keys()
        for key in sorted(
            keys - {"teacher"} if self.teacher else keys
        ):  # its path depends on --out
            if was.get(key) != now.get(key):
                raise UsageError(
                    f"{self.folder} was trained with {key} {was.get(key)}, but the plan says "
                    f"{now.get(key)}: choose another --out, or delete that folder to train again"
                )
        path = self.folder / SOURCES
        again = "delete that folder to train again"
        try:
            began = read_json(path) if os.path.lexists(path) else {}
        except InputFileError as error:
            raise UsageError(f"{error}; {again}") from error
        if not isinstance(began, dict) or not all(isinstance(v, str) for v in began.values()):
            raise UsageError(f"{path} must name SHA-256 sums, got {shown(began)}; {again}")
        for key, _ in sorted(began.items() - self.sources().items()):
            raise UsageError(
                f"{self.folder} was trained from {key} weights that have changed since: "
                f"choose another --out, or {again}"
            )


def digest(path: Path) -> str:
    """SHA-256 of a file or of all networks in a folder; of zero bytes if the path is missing."""
    files = sorted(path.rglob("*.safetensors")) if path.is_dir() else [path] * path.is_file()
    return hashlib.sha256(b"".join(map(Path.read_bytes, files))).hexdigest()


def best_rate(candidates: Mapping[float, Path]) -> float:
    """The learning rate with the best validation mIoU, averaged over a tuning run's students.

    A single candidate needs no tuning run.
    """
    if len(candidates) == 1:
        return next(iter(candidates))

    def val(rate: float) -> float:
        finished = read_results(candidates[rate])
        if finished is None:
            raise UsageError(f"{candidates[rate]} has no results")
        return statistics.mean(s["val"]["miou"] for s in finished["students"].values())

    return max(candidates, key=val)


def planned_runs(plan: ComparisonPlan, out: Path) -> Iterator[PlannedRun]:
    """All runs of the plan in order; tuning runs precede the runs that need them."""

    def folder(name: str, seed: int) -> Path:
        return out / "runs" / name / f"seed_{seed}"

    def tuning(name: str) -> dict[float, Path]:
        return {rate: out / "tuning" / name / f"lr_{rate:g}" for rate in plan.tuning.lr}

    for row in plan.rows.values():
        teacher = folder(row.teacher, plan.rows[row.teacher].seeds[0]) if row.teacher else None
        for member in row.members:
            if member.tuned_as == member.name and len(plan.tuning.lr) > 1:
                for rate, path in tuning(member.name).items():
                    yield PlannedRun(
                        path, member, plan.tuning.seed, teacher, {}, rate, plan.tuning.epochs
                    )
        for seed in row.seeds:
            for member in row.members:
                path = folder(member.name, seed)
                yield PlannedRun(path, member, seed, teacher, tuning(member.tuned_as))


class Runner:
    """Trains runs in parallel, each in its own process, and resumes interrupted ones."""

    def __init__(self, jobs: int, interrupt: Interrupt) -> None:
        self.jobs, self.interrupt = jobs, interrupt
        self.running: dict[Path, subprocess.Popen[bytes]] = {}
        self.failed: list[Path] = []

    def train(self, todo: list[PlannedRun]) -> None:
        """Train until every run has finished or cannot start; on an interrupt, runs save first."""
        total, began, finished = len(todo), time.monotonic(), 0
        waiting = [run for run in todo if read_results(run.folder) is None]
        print(f"{total} runs, {total - len(waiting)} already done", file=sys.stderr)
        try:
            while (waiting or self.running) and not self.interrupt.asked:
                for folder in self._reap():
                    finished += 1
                    left = (len(waiting) + len(self.running)) * (time.monotonic() - began)
                    print(f"{'FAILED' if folder in self.failed else 'done'}  {folder}  "
                          f"({len(waiting) + len(self.running)} left, about "
                          f"{duration(left / finished)})", file=sys.stderr)  # fmt: skip
                ready = [run for run in waiting if all(map(self._is_done, run.needs))]
                for run in ready[: self.jobs - len(self.running)]:
                    waiting.remove(run)
                    self._start(run)
                if not self.running and not ready:
                    break  # the others need a run that failed
                time.sleep(POLL_S)
        finally:
            for process in self.running.values():
                process.terminate()
            for process in self.running.values():
                process.wait()

    def _is_done(self, folder: Path) -> bool:
        # A running process may be writing its results.
        return folder not in self.running and read_results(folder) is not None

    def _start(self, run: PlannedRun) -> None:
        run.check()
        resume = ["--resume"] if has_checkpoint(run.folder) else []
        if not resume and (run.folder / SAVED_RECIPE).exists():
            shutil.rmtree(run.folder)  # the run ended before its first checkpoint
        run.folder.mkdir(parents=True, exist_ok=True)
        run.record()
        threads = str(max(1, (os.cpu_count() or 1) // self.jobs))
        command = [sys.executable, "-m", "training.train", run.member.keys["method"], *resume,
                   "--config", str(run.folder / RECIPE), "--out", str(run.folder)]  # fmt: skip
        environment = {"OMP_WAIT_POLICY": "PASSIVE", "OMP_NUM_THREADS": threads, **os.environ}
        with (run.folder / "output.txt").open("ab") as output:
            self.running[run.folder] = subprocess.Popen(
                command, stdout=output, stderr=subprocess.STDOUT, env=environment,
                start_new_session=True,
            )  # fmt: skip

    def _reap(self) -> list[Path]:
        ended = [folder for folder, process in self.running.items() if process.poll() is not None]
        for folder in ended:
            if self.running.pop(folder).returncode:
                self.failed.append(folder)
        return ended


def collect(plan: ComparisonPlan, out: Path) -> dict[str, dict[str, Any]]:
    """Row → its scores and costs, for rows all of whose runs have finished."""
    document: dict[str, dict[str, Any]] = {}
    compared = [run for run in planned_runs(plan, out) if run.lr is None]
    chosen = {(run.member.name, run.seed): run for run in compared}
    for row in plan.rows.values():
        runs = [[chosen[member.name, seed] for member in row.members] for seed in row.seeds]
        found = [[read_results(run.folder) for run in seed] for seed in runs]
        if all(result is not None for seed in found for result in seed):
            for run in itertools.chain(*runs):
                run.check()
            document[row.name] = summarize(row, runs, found)
    return document


def compared(plan: ComparisonPlan, out: Path, rows: Collection[str]) -> list[dict[str, Any]]:
    """The differences of ``rows`` to their controls, as far as those are in ``rows``, too."""
    folders: dict[str, dict[int, list[Path]]] = {}
    member_row = {member.name: row.name for row in plan.rows.values() for member in row.members}
    for run in planned_runs(plan, out):
        if run.lr is None:
            of_seed = folders.setdefault(member_row[run.member.name], {})
            of_seed.setdefault(run.seed, []).append(run.folder)
    return [
        difference
        for row in plan.rows.values()
        for control in row.controls
        if row.name in rows and control in rows
        for difference in differences(row.name, control, folders[row.name], folders[control])
    ]


def summarize(row: Row, runs: list[list[PlannedRun]], found: list[list[Any]]) -> dict[str, Any]:
    """Scores and costs of one row; test scores are from the epoch with the best validation.

    Args:
        row: a row of the plan.
        runs: per seed, the runs of the row's members.
        found: their results, in the same order.
    """
    keys, first = row.members[0].resolved(), found[0]
    scores: dict[str, list[float]] = {f"miou_{m}": [] for m in MODALITIES}
    on_val: dict[str, list[float]] = {}
    for seed in found:
        for result in seed:
            for name, score in result["students"].items():
                scores[f"miou_{name}"].append(score["test"]["miou"])
                on_val.setdefault(name, []).append(score["val"]["miou"])
    return {
        "method": keys["method"],
        "network": keys["network"],
        "seeds": list(row.seeds),
        "epochs": keys["epochs"],
        "lr": [run.recipe()["lr"] for run in runs[0]],
        **scores,
        "val_miou": on_val,
        "last_losses": [[last_losses(run.folder) for run in seed] for seed in runs],
        # Over the whole training, including validations; the sum over the row's members.
        "step_s": round(
            statistics.mean(sum(r["train_s"] / r["steps"] for r in seed) for seed in found), 4
        ),
        "params_main": sum(sum(r["parameters"].values()) for r in first),
        "params_aux": sum(r["parameters_training_only"] for r in first),
        "params_teacher": max(r["parameters_teacher"] for r in first),
    }


def main(argv: list[str] | None = None) -> int:
    """Parse, train the missing runs, write and print the table; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m training.compare",
        description="Train the runs of a plan with equal data, budget and seeds; print one table.",
    )
    parser.add_argument(
        "plan", type=Path, help="YAML file of rows, seeds and budget, see config/compare/"
    )
    parser.add_argument("--out", type=Path, metavar="DIR",
                        help="folder of the runs (default runs/compare/NAME-OF-PLAN)")  # fmt: skip
    parser.add_argument(
        "--rows", nargs="+", metavar="ROW", help="only these rows and the runs they need"
    )
    parser.add_argument(
        "--jobs", type=int, default=1, metavar="N", help="runs to train in parallel (default 1)"
    )
    parser.add_argument("--dry-run", action="store_true", help="list the runs and exit")
    parser.add_argument("--json", action="store_true", help="print compare.json on stdout")
    args = parse_command(parser, argv)
    if args.jobs < 1:
        raise UsageError(f"--jobs must be 1 or more, got {args.jobs}")
    plan = read_plan(args.plan)
    out = args.out or Path("runs") / "compare" / args.plan.stem
    todo = list(planned_runs(plan, out))
    if args.rows:
        for row in args.rows:
            lookup("row", row, plan.rows)
        todo = with_needs(todo, {m.name for r in args.rows for m in plan.rows[r].members})
    for run in todo:
        if all(read_results(folder) is not None for folder in run.needs):
            run.check()
    if args.dry_run:
        for run in todo:
            print(run.folder, "done" if read_results(run.folder) else "")
        return 0
    check_weights(todo, args.plan)
    with Interrupt() as interrupt:
        runner = Runner(args.jobs, interrupt)
        runner.train(todo)
    if interrupt.asked:
        raise KeyboardInterrupt
    rows = collect(plan, out)
    found = compared(plan, out, rows)
    document = {**rows, COMPARISONS: found}
    write_atomically(out / "compare.json", json.dumps(document, indent=1) + "\n")
    print(to_text(rows), file=sys.stderr)
    if found:
        print(f"\ndifferences in points of mIoU, with 95 % intervals from paired bootstrap over "
              f"seeds and images\n{differences_to_text(found)}", file=sys.stderr)  # fmt: skip
    if args.json:
        print(json.dumps(document))
    for folder in runner.failed:
        print(f"failed: {folder}, see {folder / 'output.txt'}", file=sys.stderr)
    return 1 if runner.failed else 0


def check_weights(todo: list[PlannedRun], plan: Path) -> None:
    """Check that the initial weights of all unfinished runs are there, before the first one.

    Raises:
        UsageError: they are not.
    """
    from training.pretrained import check_pretrained

    for run in todo:
        try:
            if read_results(run.folder) is None:
                check_pretrained(run.member.options())
        except UsageError as error:
            raise UsageError(f"{plan}, {run.member.name}: {error}") from error


def with_needs(todo: list[PlannedRun], names: set[str]) -> list[PlannedRun]:
    """The runs of the named members, and every run that they need."""
    kept = {run.folder for run in todo if run.member.name in names}
    while more := {need for run in todo if run.folder in kept for need in run.needs} - kept:
        kept |= more
    return [run for run in todo if run.folder in kept]


if __name__ == "__main__":
    sys.exit(run_command(main))
