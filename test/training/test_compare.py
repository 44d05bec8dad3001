# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Comparisons: plans are checked completely, validation chooses rates, finished runs are kept."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from rigs.broken_files import BROKEN, assert_one_line

from training import compare
from training.compare import (
    PlannedRun,
    best_rate,
    collect,
    main,
    planned_runs,
    with_needs,
)
from training.comparison_plan import read_plan
from training.comparison_results import mean_std, read_results, to_text
from training.options import UsageError

ROOT = Path(__file__).resolve().parents[2]
PLANS = sorted((ROOT / "config" / "compare").glob("*.yaml"))


def a_plan(**changes: Any) -> dict[str, Any]:
    return {
        "seeds": [0, 1],
        "tune": {"lr": [1e-3, 1e-4], "epochs": 1, "seed": 9},
        "keys": {"data": "folder", "size": [32, 32], "epochs": 3},
        "rows": {
            "pair": {"method": "supervised", "network": "deeplabv3plus_mit_b0",
                     "modality": ["rgb", "depth"]},
            "teacher": {"method": "supervised", "network": "segformer_b0", "modality": "rgb",
                        "seeds": [0]},
            "student": {"method": "prim_kd", "network": "cmx_b0", "teacher_row": "teacher"},
            "student/min": {"like": "student", "select": "min", "seeds": [0]},
        },
        **changes,
    }  # fmt: skip


def write(folder: Path, document: dict[str, Any]) -> Path:
    path = folder / "plan.yaml"
    path.write_text(yaml.safe_dump(document, sort_keys=False))
    return path


def finish(run: PlannedRun, val: float, test: float, modality: str) -> None:
    """Write the files of a finished run."""
    run.folder.mkdir(parents=True)
    split = {"val": {"miou": val}, "test": {"miou": test}}
    sizes = {"parameters_training_only": 3, "parameters_teacher": 5}
    document = {"students": {modality: split}, "parameters": {modality: 10}, "steps": 4,
                "train_s": 2.0, **sizes}  # fmt: skip
    (run.folder / "results.json").write_text(json.dumps(document))
    reports = [{"event": "train", "scalars": {"ce": ce, "lr": 0.1}} for ce in (9.0, *[1, 3] * 5)]
    (run.folder / "log.jsonl").write_text("".join(json.dumps(r) + "\n" for r in reports))


@pytest.mark.parametrize("kind", [*BROKEN, "numbers instead of hashes"])
def test_a_run_with_a_broken_record_of_its_sources_is_refused(kind: str, tmp_path: Path) -> None:
    plan = read_plan(write(tmp_path, a_plan()))
    run = next(planned_runs(plan, tmp_path))
    finish(run, 0.1, 0.1, "rgb")
    run.record()
    run.check()
    path = run.folder / "sources.json"
    if kind in BROKEN:
        BROKEN[kind](path)
    else:
        path.write_text('{"pretrained": 3}')
    with pytest.raises(UsageError, match="delete that folder to train again") as caught:
        run.check()
    assert_one_line(caught.value, path)


@pytest.mark.parametrize("path", PLANS, ids=lambda path: path.stem)
def test_every_shipped_plan_is_valid(path: Path, tmp_path: Path) -> None:
    plan = read_plan(path)
    todo = list(planned_runs(plan, tmp_path))
    folders = {run.folder for run in todo}
    assert len(folders) == len(todo)
    assert all(set(run.needs) <= folders for run in todo)


def test_order_and_needs_of_the_runs(tmp_path: Path) -> None:
    plan = read_plan(write(tmp_path, a_plan()))
    todo = list(planned_runs(plan, tmp_path / "out"))
    names = [str(run.folder.relative_to(tmp_path / "out")) for run in todo]
    assert names[:4] == [f"tuning/pair/{m}/lr_{r}" for m in ("rgb", "depth")
                         for r in ("0.001", "0.0001")]  # fmt: skip
    assert names[4:8] == [f"runs/pair/{m}/seed_{s}" for s in (0, 1) for m in ("rgb", "depth")]
    assert names[-1] == "runs/student/min/seed_0"  # a variant is not tuned
    assert len(todo) == 4 + 4 + 2 + 1 + 2 + 2 + 1
    variant, teacher = todo[-1], tmp_path / "out/runs/teacher/seed_0"
    assert variant.needs == [
        tmp_path / "out/tuning/student/lr_0.001",
        tmp_path / "out/tuning/student/lr_0.0001",
        teacher,
    ]
    few = with_needs(todo, {"student/min"})
    assert {run.folder for run in few} == {variant.folder, *variant.needs,
                                       *(run.folder for run in todo if "tuning/teacher" in
                                         str(run.folder))}  # fmt: skip


def test_a_single_rate_needs_no_tuning(tmp_path: Path) -> None:
    plan = read_plan(write(tmp_path, a_plan(tune={"lr": [1e-3], "epochs": 1, "seed": 9})))
    todo = list(planned_runs(plan, tmp_path / "out"))
    assert {run.folder.relative_to(tmp_path / "out").parts[0] for run in todo} == {"runs"}
    student = next(run for run in todo if run.member.name == "student")
    assert student.needs == [tmp_path / "out/runs/teacher/seed_0"]
    assert student.recipe()["lr"] == 1e-3


def test_the_rate_is_chosen_on_validation_and_used_by_the_runs(tmp_path: Path) -> None:
    plan = read_plan(write(tmp_path, a_plan()))
    for run in planned_runs(plan, tmp_path / "out"):
        modality = run.member.keys.get("modality", "rgbd")
        if run.lr is not None:  # worse on test, better on validation
            good = run.lr == 1e-4
            finish(run, 0.4 if good else 0.3, 0.1 if good else 0.9, modality)
            assert run.recipe()["epochs"] == 1
            assert run.recipe()["seed"] == 9
        else:
            recipe = run.recipe()
            assert recipe["lr"] == 1e-4
            assert recipe["epochs"] == 3
            assert recipe.get("teacher") == (
                str(tmp_path / "out/runs/teacher/seed_0")
                if run.member.keys["method"] == "prim_kd"
                else None
            )
            finish(run, 0.5, 0.2 + 0.1 * run.seed, modality)
    document = collect(plan, tmp_path / "out")
    assert list(document) == ["pair", "teacher", "student", "student/min"]
    assert document["pair"] == {
        "method": "supervised", "network": "deeplabv3plus_mit_b0", "seeds": [0, 1], "epochs": 3,
        "lr": [1e-4, 1e-4], "miou_rgb": [0.2, pytest.approx(0.3)],
        "miou_depth": [0.2, pytest.approx(0.3)], "miou_rgbd": [],
        "val_miou": {"rgb": [0.5, 0.5], "depth": [0.5, 0.5]},
        "last_losses": [[{"ce": 2.0}] * 2] * 2,  # the first report, 9, is not among the last ten
        "step_s": 1.0, "params_main": 20, "params_aux": 6, "params_teacher": 5,
    }  # fmt: skip
    assert document["student/min"]["miou_rgbd"] == [0.2]


def test_keys_that_a_plan_omits_have_their_defaults(tmp_path: Path) -> None:
    rows = {"a": {"method": "supervised"}}
    plan = read_plan(write(tmp_path, a_plan(keys={"data": "folder"}, rows=rows)))
    for run in planned_runs(plan, tmp_path / "out"):
        finish(run, 0.5, 0.5, "rgbd")
    row = collect(plan, tmp_path / "out")["a"]
    assert (row["network"], row["epochs"]) == ("cmx_b0", 50)


@pytest.mark.parametrize("changed", ["teacher", "pretrained"])
def test_a_run_from_weights_that_have_changed_is_rejected(changed: str, tmp_path: Path) -> None:
    """The teacher or the initial weights were retrained in the same folder."""
    start, out = tmp_path / "start.safetensors", tmp_path / "out"
    files = {"pretrained": start, "teacher": out / "runs/teacher/seed_0/best/rgb.safetensors"}
    plan = a_plan(seeds=[0], tune={"lr": [1e-3], "epochs": 1, "seed": 9})
    plan["keys"]["pretrained"] = str(start)
    path = write(tmp_path, {**plan, "rows": {k: plan["rows"][k] for k in ("teacher", "student")}})
    start.write_text("once")
    for run in planned_runs(read_plan(path), out):
        finish(run, 0.5, 0.5, run.member.keys.get("modality", "rgbd"))
        if run.member.name == "teacher":
            files["teacher"].parent.mkdir()
            files["teacher"].write_text("once")
        run.record()
    assert list(collect(read_plan(path), out)) == ["teacher", "student"]
    files[changed].write_text("anew")
    with pytest.raises(UsageError, match=f"was trained from {changed} weights that have changed"):
        collect(read_plan(path), out)


def test_a_row_with_an_unfinished_run_is_omitted(tmp_path: Path) -> None:
    plan = read_plan(write(tmp_path, a_plan()))
    for run in planned_runs(plan, tmp_path / "out"):
        if "student" not in run.member.name:
            finish(run, 0.5, 0.5, run.member.keys["modality"])
    assert list(collect(plan, tmp_path / "out")) == ["pair", "teacher"]


def test_std_is_the_sample_std() -> None:
    values = [0.50, 0.52, 0.57]
    assert mean_std(values) == f"53.00 ± {100 * statistics.stdev(values):.2f}"
    assert mean_std([0.5]) == "50.00"


def test_the_table_has_scores_and_cost() -> None:
    row = {"miou_rgb": [0.4, 0.5], "miou_depth": [0.2, 0.3], "miou_rgbd": [], "seeds": [0, 1],
           "epochs": 5, "lr": [1e-3, 3e-4], "step_s": 1.234, "params_main": 1_500_000,
           "params_aux": 250_000, "params_teacher": 0}  # fmt: skip
    line = to_text({"a": row}).splitlines()[-1]
    assert re.split(r"\s{2,}", line.strip()) == [
        "a", "45.00 ± 7.07", "25.00 ± 7.07", "35.00 ± 7.07", "2", "5", "0.001, 0.0003", "1.23",
        "1.50 / 0.25 / 0.00",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rows": {"a": {"network": "cmx_b0"}}}, "a row needs a method"),
        ({"rows": {"a": {"method": "supervised", "netwrok": "x"}}}, "did you mean 'network'"),
        ({"rows": {"a": {"like": "b"}}}, "a: unknown row 'b'"),
        (
            {"rows": {"a": {"method": "prim_kd", "teacher_row": "b"}}},
            "a: unknown row 'b' .*; define it above a",
        ),
        ({"rows": {"a": {"method": "supervised", "lr": 1}}}, "a: lr is not a key of a row"),
        ({"rows": {"../a": {"method": "supervised"}}}, r"\.\./a: name rows method"),
        ({"rows": []}, "needs three mappings: tune"),
        ({"keys": ["epochs"]}, "needs three mappings: tune"),
        ({"seeds": [9]}, "seed 9 is reserved for tuning"),
        ({"seeds": [0, "x"]}, "pair: seeds: 'x' is not a whole number"),
        ({"seeds": [-1]}, "seed must be 0 or more, got -1"),
        ({"seeds": None}, "pair: seeds: None is not a whole number"),
        ({"tune": {"lr": [1e-3], "epochs": 1}}, "tune: seed: None is not a whole number"),
        ({"tune": {"lr": [], "epochs": 1, "seed": 9}}, r"one or more different rates, got \[\]"),
        ({"tune": {"lr": [1, 1.0], "epochs": 1, "seed": 9}}, "one or more different rates"),
        ({"tune": {"lr": [-1], "epochs": 1, "seed": 9}}, "lr must be above 0, got -1.0"),
        ({"tune": {"lr": [1], "epochs": 0, "seed": 9}}, "epochs must be 1 or more, got 0"),
        ({"seed": [0]}, r"plan.yaml: unknown key 'seed'; did you mean 'seeds'\? \(known: tune"),
        ({"tune": {"lr": [1], "epoch": 1, "seed": 9}}, "tune: unknown key 'epoch'; did you mean"),
        (
            {"rows": {"a": {"method": "supervised", "network": "cmx_b9"}}},
            "plan.yaml, a: unknown network 'cmx_b9'; did you mean 'cmx_b",
        ),
        (
            {"rows": {"a": {"method": "prim_kd", "network": "cmx_b0"}}},
            "plan.yaml, a: a teacher is missing; set teacher_row to a row that trains one",
        ),
        ({"rows": {"a": {"method": "kd_v2"}}}, "plan.yaml, a: a teacher is missing"),
        (
            {
                "rows": {
                    "a": {"method": "supervised", "network": "cmx_b0"},
                    "b": {"method": "supervised", "network": "cmx_b0", "teacher_row": "a"},
                }
            },
            "plan.yaml, b: the method supervised has no teacher; omit teacher_row",
        ),
        ({"rows": {"a": {"method": ["supervised"]}}}, r"unknown method \['supervised'\]"),
        ({"rows": {"a": {"like": ["b"]}}}, r"a: unknown row \['b'\]"),
        ({"rows": {"a": {"method": "kd_v2", "teacher_row": [1]}}}, r"a: unknown row \[1\]"),
        ({"rows": {"a": {"like": "b"}, "b": 3}}, "b: a row must be a mapping of keys, got 3"),
        ({"rows": {5: {"method": "supervised"}}}, "plan.yaml, 5: name rows method/network"),
        ({"seeds": [0, 0]}, r"one or more different numbers, got \(0, 0\)"),
        ({"rows": {"a": None}}, "a row must be a mapping of keys, got None"),
        (
            {
                "rows": {
                    "pair": a_plan()["rows"]["pair"],
                    "a": {"method": "kd_v2", "teacher_row": "pair"},
                }
            },
            "teacher_row pair trains several networks",
        ),
    ],
)
def test_a_bad_plan_is_rejected_before_the_first_run(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        read_plan(write(tmp_path, a_plan(**change)))


def test_it_trains_and_keeps_finished_runs(
    dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    keys = {"data": "folder", "root": str(dataset), "cache": "", "size": [32, 32], "epochs": 1,
            "batch": 4, "workers": 0, "tensorboard": False, "device": "cpu"}  # fmt: skip
    row = {"method": "supervised", "network": "segformer_b0", "modality": "rgb"}
    tune = {"lr": [1e-3, 1e-4], "epochs": 1, "seed": 9}
    path = write(tmp_path, {"seeds": [0], "tune": tune, "keys": keys, "rows": {"one": row}})
    out = tmp_path / "out"
    assert main([str(path), "--out", str(out), "--jobs", "2", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document == json.loads((out / "compare.json").read_text())
    assert 0 <= document["one"]["miou_rgb"][0] <= 1
    tuning = {rate: out / "tuning/one" / f"lr_{rate:g}" for rate in tune["lr"]}
    assert document["one"]["lr"] == [best_rate(tuning)]
    before = (out / "runs/one/seed_0/results.json").stat().st_mtime_ns
    assert main([str(path), "--out", str(out)]) == 0
    assert "3 already done" in capsys.readouterr().err
    assert (out / "runs/one/seed_0/results.json").stat().st_mtime_ns == before
    write(
        tmp_path, {"seeds": [0], "tune": tune, "keys": {**keys, "epochs": 2}, "rows": {"one": row}}
    )
    with pytest.raises(UsageError, match="seed_0 was trained with epochs 1, but the plan says 2"):
        main([str(path), "--out", str(out), "--dry-run"])


def test_a_run_whose_rate_is_no_longer_the_best_is_rejected(tmp_path: Path) -> None:
    path, out = write(tmp_path, a_plan()), tmp_path / "out"
    only = {"pair/rgb", "pair/depth"}
    for run in planned_runs(read_plan(path), out):
        if run.member.name in only:
            finish(run, 0.4, 0.5, run.member.keys["modality"])
            run.record()
    assert list(collect(read_plan(path), out)) == ["pair"]
    tuned = next(run for run in planned_runs(read_plan(path), out) if run.lr == 1e-4)
    shutil.rmtree(tuned.folder)
    finish(tuned, 0.6, 0.5, "rgb")
    with pytest.raises(UsageError, match=r"was trained with lr 0.001, but the plan says 0.0001"):
        collect(read_plan(path), out)


def test_an_interrupt_also_stops_the_training_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits = [sys.executable, "-c", "import signal; signal.pause()"]
    started: list[Any] = []
    popen = subprocess.Popen

    def start(_: Any, **options: Any) -> Any:
        started.append(popen(waits, **options))
        os.kill(os.getpid(), signal.SIGTERM)
        return started[-1]

    monkeypatch.setattr(compare.subprocess, "Popen", start)
    with pytest.raises(KeyboardInterrupt):
        main([str(write(tmp_path, a_plan())), "--out", str(tmp_path / "out")])
    assert [process.returncode for process in started] == [-signal.SIGTERM]


def test_missing_initial_weights_are_found_before_the_first_run(tmp_path: Path) -> None:
    plan = a_plan()
    plan["rows"]["student"]["pretrained"] = str(tmp_path / "none.safetensors")
    path = write(tmp_path, plan)
    with pytest.raises(UsageError, match=r"plan.yaml, student: .*none.safetensors' is") as caught:
        main([str(path), "--out", str(tmp_path / "out")])
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()
    assert main([str(path), "--out", str(tmp_path / "out"), "--dry-run"]) == 0


def test_a_failed_run_is_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plan = a_plan(keys={"data": "folder", "root": str(tmp_path / "nowhere"), "epochs": 1})
    plan["rows"] = {"one": plan["rows"]["teacher"]}
    out = tmp_path / "out"
    assert main([str(write(tmp_path, plan)), "--out", str(out), "--jobs", "2"]) == 1
    assert "FAILED" in capsys.readouterr().err
    assert "nowhere" in (out / "tuning/one/lr_0.001/output.txt").read_text()
    assert read_results(out / "runs/one/seed_0") is None
