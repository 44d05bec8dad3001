# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""`python -m training.compare PLAN`: methods on the same data, budget and seeds, as one table."""

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
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from training.comparison_plan import ComparisonPlan, Member, Row, read_plan
from training.config import SAVED_RECIPE, run_command
from training.command import Interrupt
from training.options import UsageError, lookup, read_yaml
from training.runlog import duration, table

#: Seconds between two looks at the processes.
POLL_S = 0.5
#: Of a run's folder: the keys that it was started with, and the hashes of what it started from.
RECIPE, SOURCES = "recipe.yaml", "sources.json"
#: What students may be fed, in the table's order.
MODALITIES = ("rgb", "depth", "rgbd")
#: Of a report's figures, those that are no loss.
NO_LOSS = ("lr", "samples_per_s", "data_share")
#: Reports at the end of a run whose mean tells its last training losses.
LAST_REPORTS = 10


@dataclass(frozen=True)
class PlannedRun:
    """One training: its folder, and the finished folders it needs first."""

    folder: Path
    member: Member
    seed: int
    teacher: Path | None
    #: Folders of the tuning runs whose validation scores choose the learning rate; one alone, or
    #: none, is not run.
    candidates: Mapping[float, Path]
    #: A tuning run has a rate of its own, and fewer epochs.
    lr: float | None = None
    epochs: int | None = None

    @property
    def needs(self) -> list[Path]:
        """Folders that must hold results before this can start."""
        tuning = self.candidates.values() if len(self.candidates) > 1 else []
        return [*tuning, *([self.teacher] if self.teacher else [])]

    def recipe(self) -> dict[str, Any]:
        """The run's recipe, once everything it needs is there."""
        keys = {**self.member.keys, "seed": self.seed, "lr": self.lr or best_rate(self.candidates)}
        if self.teacher:
            keys["teacher"] = str(self.teacher)
        if self.epochs:
            keys["epochs"] = self.epochs
        return keys

    def sources(self) -> dict[str, str]:
        """SHA-256 of the weights that the run starts from and learns from, as they are now."""
        folders = {"pretrained": Path(self.member.resolved()["pretrained"])}
        if self.teacher:
            folders["teacher"] = self.teacher / "best"
        return {key: digest(path) for key, path in folders.items()}

    def note(self) -> None:
        """Write into the folder what the run is about to start with."""
        import yaml

        (self.folder / RECIPE).write_text(yaml.safe_dump(self.recipe(), sort_keys=False))
        (self.folder / SOURCES).write_text(json.dumps(self.sources()) + "\n")

    def check(self) -> None:
        """That what its folder holds, finished or begun, is what the plan says now.

        Raises:
            UsageError: it was trained by other keys or from other weights, so its scores are of
                another plan.
        """
        path = self.folder / RECIPE
        trained = results(self.folder) or any((self.folder / "checkpoints").glob("step_*"))
        if not trained or not path.is_file():
            return
        was, now = read_yaml(path), self.recipe()
        keys = was.keys() | now.keys()
        for key in sorted(keys - {"teacher"} if self.teacher else keys):  # a path under --out
            if was.get(key) != now.get(key):
                raise UsageError(
                    f"{self.folder} was trained with {key} {was.get(key)}, the plan asks for "
                    f"{now.get(key)}: give another --out, or remove that folder to train it anew"
                )
        path = self.folder / SOURCES
        began = json.loads(path.read_text()) if path.is_file() else {}
        for key, _ in sorted(began.items() - self.sources().items()):
            raise UsageError(
                f"{self.folder} was trained with another {key} than there is now: "
                "give another --out, or remove that folder to train it anew"
            )


def digest(path: Path) -> str:
    """SHA-256 of a file, or of all networks in a folder; of nothing, if neither is there."""
    files = sorted(path.rglob("*.safetensors")) if path.is_dir() else [path] * path.is_file()
    return hashlib.sha256(b"".join(map(Path.read_bytes, files))).hexdigest()


def results(folder: Path) -> dict[str, Any] | None:
    """What a finished run left, None if it has not finished."""
    path = folder / "results.json"
    return json.loads(path.read_text()) if path.is_file() else None


def best_rate(candidates: Mapping[float, Path]) -> float:
    """The only learning rate, or that of the best mean validation mIoU over a run's students."""
    if len(candidates) == 1:
        return next(iter(candidates))

    def val(rate: float) -> float:
        finished = results(candidates[rate])
        if finished is None:
            raise UsageError(f"{candidates[rate]} has no results")
        return statistics.mean(s["val"]["miou"] for s in finished["students"].values())

    return max(candidates, key=val)


def tasks(plan: ComparisonPlan, out: Path) -> Iterator[PlannedRun]:
    """Every training of the plan, in its order; tuning before the runs that it serves."""

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
    """Trains tasks side by side, each in a process of its own; takes up what was begun."""

    def __init__(self, jobs: int, interrupt: Interrupt) -> None:
        self.jobs, self.interrupt = jobs, interrupt
        self.running: dict[Path, subprocess.Popen[bytes]] = {}
        self.failed: list[Path] = []

    def run(self, todo: list[PlannedRun]) -> None:
        """Until every task is done or cannot be; an interrupt lets the running ones save."""
        total, began, finished = len(todo), time.monotonic(), 0
        waiting = [task for task in todo if results(task.folder) is None]
        print(f"{total} runs, {total - len(waiting)} already done", file=sys.stderr)
        try:
            while (waiting or self.running) and not self.interrupt.asked:
                for folder in self._reap():
                    finished += 1
                    left = (len(waiting) + len(self.running)) * (time.monotonic() - began)
                    print(f"{'FAILED' if folder in self.failed else 'done'}  {folder}  "
                          f"({len(waiting) + len(self.running)} left, about "
                          f"{duration(left / finished)})", file=sys.stderr)  # fmt: skip
                ready = [t for t in waiting if all(map(self._is_done, t.needs))]
                for task in ready[: self.jobs - len(self.running)]:
                    waiting.remove(task)
                    self._start(task)
                if not self.running and not ready:
                    break  # what is left needs a run that failed
                time.sleep(POLL_S)
        finally:
            for process in self.running.values():
                process.terminate()
            for process in self.running.values():
                process.wait()

    def _is_done(self, folder: Path) -> bool:
        # A running process may be half through writing its results.
        return folder not in self.running and results(folder) is not None

    def _start(self, task: PlannedRun) -> None:
        task.check()
        resume = ["--resume"] if any((task.folder / "checkpoints").glob("step_*")) else []
        if not resume and (task.folder / SAVED_RECIPE).exists():
            shutil.rmtree(task.folder)  # it ended before its first checkpoint
        task.folder.mkdir(parents=True, exist_ok=True)
        task.note()
        threads = str(max(1, (os.cpu_count() or 1) // self.jobs))
        command = [sys.executable, "-m", "training.train", task.member.keys["method"], *resume,
                   "--config", str(task.folder / RECIPE), "--out", str(task.folder)]  # fmt: skip
        environment = {"OMP_WAIT_POLICY": "PASSIVE", "OMP_NUM_THREADS": threads, **os.environ}
        with (task.folder / "output.txt").open("ab") as output:
            self.running[task.folder] = subprocess.Popen(
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
    """Row → its figures, of the rows whose every run has finished."""
    document: dict[str, dict[str, Any]] = {}
    chosen = {(t.member.name, t.seed): t for t in tasks(plan, out) if t.lr is None}
    for row in plan.rows.values():
        runs = [[chosen[member.name, seed] for member in row.members] for seed in row.seeds]
        found = [[results(task.folder) for task in seed] for seed in runs]
        if all(r is not None for seed in found for r in seed):
            for task in itertools.chain(*runs):
                task.check()
            document[row.name] = figures(row, runs, found)
    return document


def figures(row: Row, runs: list[list[PlannedRun]], found: list[list[Any]]) -> dict[str, Any]:
    """One row's figures; scores are of the test split, in the epoch best on validation."""
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
        "lr": [task.recipe()["lr"] for task in runs[0]],
        **scores,
        "val_miou": on_val,
        "last_losses": [[last_losses(task.folder) for task in seed] for seed in runs],
        # Of the whole training, validations included; both networks where there are two.
        "step_s": round(
            statistics.mean(sum(r["train_s"] / r["steps"] for r in seed) for seed in found), 4
        ),
        "params_main": sum(sum(r["parameters"].values()) for r in first),
        "params_aux": sum(r["parameters_training_only"] for r in first),
        "params_teacher": max(r["parameters_teacher"] for r in first),
    }


def last_losses(folder: Path) -> dict[str, float]:
    """Name → mean of the last reports of a run, so little noise that rows can be compared."""
    events = map(json.loads, (folder / "log.jsonl").read_text(encoding="utf-8").splitlines())
    last = [event["scalars"] for event in events if event["event"] == "train"][-LAST_REPORTS:]
    return {
        name: round(statistics.mean(report[name] for report in last), 4)
        for name in last[-1]
        if name not in NO_LOSS
    }


def summary(document: Mapping[str, Mapping[str, Any]]) -> str:
    """The table: test mIoU in per cent, mean ± deviation over seeds; what it cost."""
    names = [f"miou_{m}" for m in MODALITIES]
    shown = [n for n in names if any(row[n] for row in document.values())]
    head = ["run", *(n.removeprefix("miou_") for n in shown), "mean", "seeds", "epochs", "lr",
            "step, s", "M main / aux / teacher"]  # fmt: skip
    rows = [head]
    for name, row in document.items():
        kept = [row[n] for n in shown if row[n]]
        means = [statistics.mean(seed) for seed in zip(*kept, strict=True)]
        cells = [spread(row[n]) if row[n] else "" for n in shown]
        rates = ", ".join(f"{rate:g}" for rate in row["lr"])
        millions = [row[f"params_{part}"] / 1e6 for part in ("main", "aux", "teacher")]
        rows.append([
            name, *cells, spread(means), str(len(row["seeds"])), str(row["epochs"]), rates,
            f"{row['step_s']:.2f}", " / ".join(f"{m:.2f}" for m in millions),
        ])  # fmt: skip
    return table(rows)


def spread(values: list[float]) -> str:
    """Mean ± sample deviation in per cent; one value alone has none."""
    mean = f"{100 * statistics.mean(values):.2f}"
    return f"{mean} ± {100 * statistics.stdev(values):.2f}" if len(values) > 1 else mean


def main(argv: list[str] | None = None) -> int:
    """Parse, train what is missing, collect, print."""
    parser = argparse.ArgumentParser(prog="python -m training.compare", description=__doc__)
    parser.add_argument("plan", type=Path, help="rows, seeds and budget: config/compare/*.yaml")
    parser.add_argument("--out", type=Path, help="default runs/compare/NAME-OF-PLAN")
    parser.add_argument(
        "--rows", nargs="+", metavar="ROW", help="these alone (and what they need)"
    )
    parser.add_argument("--jobs", type=int, default=1, help="trainings side by side (default 1)")
    parser.add_argument("--dry-run", action="store_true", help="list the runs and end")
    parser.add_argument("--json", action="store_true", help="print compare.json on stdout")
    args = parser.parse_args(argv)
    if args.jobs < 1:
        raise UsageError(f"--jobs must be 1 or more, got {args.jobs}")
    plan = read_plan(args.plan)
    out = args.out or Path("runs") / "compare" / args.plan.stem
    todo = list(tasks(plan, out))
    if args.rows:
        for row in args.rows:
            lookup("row", row, plan.rows)
        todo = wanted(todo, {m.name for r in args.rows for m in plan.rows[r].members})
    for task in todo:
        if all(results(folder) is not None for folder in task.needs):
            task.check()
    if args.dry_run:
        for task in todo:
            print(task.folder, "done" if results(task.folder) else "")
        return 0
    with Interrupt() as interrupt:
        runner = Runner(args.jobs, interrupt)
        runner.run(todo)
    if interrupt.asked:
        raise KeyboardInterrupt
    document = collect(plan, out)
    (out / "compare.json").write_text(json.dumps(document, indent=1) + "\n")
    print(summary(document), file=sys.stderr)
    if args.json:
        print(json.dumps(document))
    for folder in runner.failed:
        print(f"failed: {folder}, see {folder / 'output.txt'}", file=sys.stderr)
    return 1 if runner.failed else 0


def wanted(todo: list[PlannedRun], names: set[str]) -> list[PlannedRun]:
    """The tasks of some members, with everything that they need."""
    kept = {t.folder for t in todo if t.member.name in names}
    while more := {n for t in todo if t.folder in kept for n in t.needs} - kept:
        kept |= more
    return [t for t in todo if t.folder in kept]


if __name__ == "__main__":
    sys.exit(run_command(main))
