# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""What a run leaves behind: the best students as networks, test scores, results.json."""

from __future__ import annotations

import json
import resource
import subprocess
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from rgbd_seg_ros.bundle import NetworkRecord, load_network, save_network
from rgbd_seg_ros.metrics import ConfusionMatrix
from training import distributed
from training.data.datasets import open_split
from training.data.loader import scoring_loader
from training.methods.base import Frozen
from training.panels import panel
from training.runlog import duration, table
from training.scoring import Predictor, predictor

if TYPE_CHECKING:
    from training.loop import Run

#: Pictures sent to TensorBoard at each validation.
PICTURES = 4


def scores(matrix: ConfusionMatrix) -> dict[str, float]:
    """A matrix in four figures; ``miou`` is over the classes present in the truth."""
    return {
        "miou": round(matrix.miou, 5),
        "miou_all": round(matrix.miou_all, 5),
        "pixel_accuracy": round(matrix.pixel_accuracy, 5),
        "mean_accuracy": round(matrix.mean_accuracy, 5),
    }


def student_file(folder: Path, name: str) -> Path:
    """Where a run keeps its best student ``rgb``, ``depth`` or ``rgbd``."""
    return folder / "best" / f"{name}.safetensors"


def save_students(run: Run, val: Mapping[str, ConfusionMatrix]) -> None:
    """Write every student with its record, as of now: these are the best ones."""
    if not distributed.is_main():
        return
    sources = {
        key: source
        for key in ("pretrained", "teacher")
        if (source := getattr(run.settings.options, key, ""))
    }
    for name, student in run.method.students.items():
        facts = {
            "method": run.settings.method,
            **sources,
            "data": run.config.data,
            "seed": run.config.seed,
            "epoch": run.best["epoch"],
            "epochs": run.config.epochs,
            "commit": commit(),
            "scores": {"val": scores(val[name])},
        }
        license = getattr(student, "license", "Apache-2.0")
        record = NetworkRecord(student.spec, run.task.preprocess, run.task.labels, facts, license)
        save_network(student_file(run.folder, name), student, record)


def finish(run: Run, facts: dict[str, Any]) -> dict[str, Any]:
    """Score the best students on the test split, once, and write it into their records."""
    config = run.config
    distributed.barrier()
    test = open_split(config, "test")
    loader = scoring_loader(test, config, run.device)
    networks = {n: load_network(student_file(run.folder, n)) for n in run.method.students}
    cases = {
        name: predictor(
            network.module.to(run.device), name, network.record.preprocess, run.protocol
        )
        for name, network in networks.items()
    }
    matrices = run.score(cases, loader)
    students: dict[str, Any] = {}
    for name, network in networks.items():
        tested = scores(matrices[name])
        split_scores = {**network.record.training["scores"], "test": tested}
        students[name] = split_scores
        record = replace(
            network.record, training={**network.record.training, "scores": split_scores}
        )
        if distributed.is_main():
            save_network(student_file(run.folder, name), network.module, record)
    document = {
        "method": run.settings.method,
        "students": students,
        "best_epoch": run.best["epoch"],
        "parameters": {n: count(s) for n, s in run.method.students.items()},
        "parameters_training_only": count(run.method) - count(run.method.students),
        "parameters_teacher": sum(
            count(part.module) for part in vars(run.method).values() if isinstance(part, Frozen)
        ),
        "world_size": distributed.world_size(),
        "peak_memory_mb": peak_memory_mb(run.device),
        **facts,
    }
    if distributed.is_main():
        (run.folder / "results.json").write_text(json.dumps(document, indent=1) + "\n")
    run.log.event("end", **document)
    run.log.say(summary(document, str(run.folder)))
    run.log.close()
    return document


def summary(document: Mapping[str, Any], folder: str) -> str:
    """The table that ends a run; every number says which split it is from."""
    rows = [["student", "parameters", "val mIoU", "test mIoU", "test mIoU all", "test accuracy"]]
    for name, split in document["students"].items():
        rows.append(
            [
                name,
                f"{document['parameters'][name] / 1e6:.2f} M",
                f"{split['val']['miou']:.4f}",
                f"{split['test']['miou']:.4f}",
                f"{split['test']['miou_all']:.4f}",
                f"{split['test']['pixel_accuracy']:.4f}",
            ]
        )
    return (
        f"\n{table(rows)}\n"
        f"best of epoch {document['best_epoch']} by val; mIoU over classes in the truth, "
        f"mIoU all counts absent ones as 0\n"
        f"{document['steps']} steps in {duration(document['train_s'])}, "
        f"peak memory {document['peak_memory_mb']} MB; networks in {folder}/best"
    )


def log_pictures(run: Run, cases: Mapping[str, Predictor]) -> None:
    """The first validation pictures with truth and every student's mask, to TensorBoard."""
    if not run.log.wants_pictures:
        return
    data: Any = run.val_loader.dataset
    for number in range(min(PICTURES, len(data))):
        picture = panel(data[number], cases, run.task.labels, run.device)
        run.log.picture(f"val/{number}", picture, run.step)


def count(module: torch.nn.Module) -> int:
    """Parameters of a module."""
    return sum(p.numel() for p in module.parameters())


def peak_memory_mb(device: torch.device) -> int:
    """Peak memory of tensors on the GPU, or of this process on the CPU, MiB."""
    if device.type == "cuda":
        return round(torch.cuda.max_memory_allocated(device) / 2**20)
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


@cache
def commit() -> str:
    """The checkout's commit at the first call, ``+`` if files differ; ``unknown`` without git."""
    here = Path(__file__).parent
    try:
        head, dirty = (
            subprocess.run(
                ["git", *args], cwd=here, check=True, capture_output=True, text=True, timeout=10
            ).stdout.strip()
            for args in (("rev-parse", "--short=12", "HEAD"), ("status", "--porcelain", "-uno"))
        )
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return f"{head}+" if dirty else head
