# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Results of a run: the best networks with their records, scores, the final table."""

from __future__ import annotations

import json
import resource
import subprocess
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import nn

from rgbd_seg_ros.bundle import NetworkRecord, TrainedNetwork, load_network, save_network
from rgbd_seg_ros.files import write_atomically
from rgbd_seg_ros.metrics import ConfusionMatrix
from rgbd_seg_ros.text_table import text_table
from training import distributed
from training.bootstrap import save_image_counts
from training.class_weights import weight_of_each
from training.methods.base import Frozen, Method, Task
from training.networks import student_file
from training.runlog import duration
from training.settings import Settings


def scores(matrix: ConfusionMatrix) -> dict[str, float]:
    """Four scores of a confusion matrix; ``miou`` covers the classes in the ground truth."""
    return {
        "miou": round(matrix.miou, 5),
        "miou_all": round(matrix.miou_all, 5),
        "pixel_accuracy": round(matrix.pixel_accuracy, 5),
        "mean_accuracy": round(matrix.mean_accuracy, 5),
    }


def save_students(
    folder: Path,
    settings: Settings,
    task: Task,
    students: nn.ModuleDict,
    epoch: int,
    val: Mapping[str, ConfusionMatrix],
) -> None:
    """Save the students as the best ones so far, each with its record.

    Args:
        folder: folder of the run.
        settings: settings of the run; the record names method, dataset, seed and initial weights.
        task: classes and normalization.
        students: networks by name.
        epoch: 1-based epoch of the validation.
        val: confusion matrix of each student on the validation split.
    """
    if not distributed.is_main():
        return
    sources = {
        key: source
        for key in ("pretrained", "teacher")
        if (source := getattr(settings.options, key, ""))
    }
    for name, student in students.items():
        facts = {
            "method": settings.method,
            **sources,
            "data": settings.run.data,
            "seed": settings.run.seed,
            "epoch": epoch,
            "epochs": settings.run.epochs,
            **_loss_facts(settings, task),
            "commit": commit(),
            "scores": {"val": scores(val[name])},
        }
        license = getattr(student, "license", "Apache-2.0")
        record = NetworkRecord(student.spec, task.preprocess, task.labels, facts, license)
        save_network(student_file(folder, name), student, record)
    save_image_counts(folder, "val", val)


def _loss_facts(settings: Settings, task: Task) -> dict[str, Any]:
    weights = weight_of_each(settings.run, task.labels.classes)
    return {"loss": settings.run.loss, **({"class_weights": weights} if weights else {})}


def load_students(folder: Path, names: list[str]) -> dict[str, TrainedNetwork]:
    """The best students of a run."""
    return {name: load_network(student_file(folder, name)) for name in names}


def save_test_scores(
    folder: Path, networks: Mapping[str, TrainedNetwork], test: Mapping[str, ConfusionMatrix]
) -> dict[str, dict[str, dict[str, float]]]:
    """Add the test scores to the records of a run's best students.

    Returns:
        Student → split (``val``, ``test``) → :func:`scores`.
    """
    students = {}
    for name, network in networks.items():
        facts = network.record.training
        students[name] = {**facts["scores"], "test": scores(test[name])}
        record = replace(network.record, training={**facts, "scores": students[name]})
        if distributed.is_main():
            save_network(student_file(folder, name), network.module, record)
    if distributed.is_main():
        save_image_counts(folder, "test", test)
    return students


def parameters(method: Method) -> dict[str, Any]:
    """Number of parameters of each student, of the training-only parts, and of the teacher."""
    return {
        "parameters": {name: count(student) for name, student in method.students.items()},
        "parameters_training_only": count(method) - count(method.students),
        "parameters_teacher": sum(
            count(part.module) for part in vars(method).values() if isinstance(part, Frozen)
        ),
    }


def write(folder: Path, document: Mapping[str, Any]) -> None:
    """Write ``results.json``."""
    if distributed.is_main():
        write_atomically(folder / "results.json", json.dumps(document, indent=1) + "\n")


def summary(document: Mapping[str, Any], folder: Path) -> str:
    """The table at the end of a run, from the content of ``results.json``."""
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
        f"\n{text_table(rows)}\n"
        f"best epoch on val: {document['best_epoch']}; mIoU covers the classes in the ground "
        "truth, mIoU all counts absent classes as 0\n"
        f"{document['steps']} steps in {duration(document['train_s'])}, "
        f"peak memory {document['peak_memory_mb']} MB; networks in {folder / 'best'}"
    )


def count(module: nn.Module) -> int:
    """Number of parameters of a module."""
    return sum(p.numel() for p in module.parameters())


def peak_memory_mb(device: torch.device) -> int:
    """Peak memory of tensors on the GPU, or of this process on the CPU, in MiB."""
    if device.type == "cuda":
        return round(torch.cuda.max_memory_allocated(device) / 2**20)
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


@cache
def commit() -> str:
    """Git commit of the checkout at the first call, with ``+`` if files have changed.

    ``unknown`` without git.
    """
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
