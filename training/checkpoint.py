# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Checkpoints: everything an exact resume needs, written atomically; the last two are kept.

``RUN/checkpoints/step_00000123/`` contains ``weights.safetensors`` (students and training-only
parts), ``averaged.safetensors`` (if ``ema`` is set), ``optimizer.pt`` (tensors and numbers, loaded
with ``weights_only``) and ``state.json``, which has the SHA-256 of the others. Random states are
not saved: order, augmentation and dropout are functions of the seed and the step.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import sys
from collections.abc import Mapping
from itertools import zip_longest
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load as load_tensors
from safetensors.torch import save as dump_tensors
from torch import Tensor

from rgbd_seg_ros.files import read_json, regular_file_inside, write_atomically
from rgbd_seg_ros.labels import LabelSet
from rgbd_seg_ros.names import shown
from training.options import UsageError
from training.settings import Settings

#: Number of checkpoints kept; if the newest is damaged, the one before it is used.
KEEP = 2
STATE = "state.json"
#: Type of each value of the state that a resume needs.
STATE_TYPES: dict[str, Any] = {
    "settings": dict,
    "classes": list,
    "steps_per_epoch": int,
    "step": int,
    "validated": int,
    "best": dict,
    "stale": int,
    "train_s": (int, float),
}


def save(
    run: Path,
    step: int,
    tensors: Mapping[str, Mapping[str, Tensor]],
    optimizer: Mapping[str, Any],
    state: Mapping[str, Any],
) -> Path:
    """Write the checkpoint of ``step``; its folder appears complete or not at all.

    Args:
        tensors: file stem → state dict, for example ``weights`` and ``averaged``.
        optimizer: optimizer and scaler state, nested dicts of tensors and plain values.
        state: everything else, stored as JSON.

    Returns:
        The checkpoint's folder.
    """
    folder = run / "checkpoints"
    final = folder / f"step_{step:08d}"
    scratch = folder / f".writing_{step:08d}"
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    buffer = io.BytesIO()
    torch.save(dict(optimizer), buffer)
    files = {"optimizer.pt": buffer.getvalue()}
    for stem, values in tensors.items():
        own = {k: v.detach().cpu().contiguous().clone() for k, v in values.items()}
        files[f"{stem}.safetensors"] = dump_tensors(own)
    for name, data in files.items():
        write_atomically(scratch / name, data, fsync=True)
    hashes = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
    document = {**state, "step": step, "sha256": hashes}
    write_atomically(scratch / STATE, json.dumps(document, indent=1), fsync=True)
    shutil.rmtree(final, ignore_errors=True)
    scratch.rename(final)
    _sync(folder)
    for old in _complete(run)[:-KEEP]:
        shutil.rmtree(old)
    return final


def load_latest(run: Path) -> tuple[dict[str, Any], dict[str, Any]] | None:
    """The newest undamaged checkpoint: (state, contents by file stem); None if there is none.

    A damaged checkpoint is reported on stderr, and the one before it is used.

    Raises:
        UsageError: every checkpoint is damaged.
    """
    candidates = _complete(run)
    for folder in reversed(candidates):
        try:
            return _load(folder)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            print(f"{folder} is damaged ({error}); trying the previous one", file=sys.stderr)
    if candidates:
        raise UsageError(f"every checkpoint in {run / 'checkpoints'} is damaged; train again")
    return None


def compare(
    state: Mapping[str, Any], settings: Settings, labels: LabelSet, steps_per_epoch: int
) -> list[str]:
    """List what the new settings change in the old run, one line per key.

    Raises:
        UsageError: method, label set or number of steps per epoch differ; these cannot change. Or
            the state lacks a value.
    """
    for key, kind in STATE_TYPES.items():
        if not isinstance(state.get(key), kind):
            raise UsageError(
                f"{STATE} of the checkpoint has no valid {key}, but {shown(state.get(key))}: "
                "delete the checkpoint to resume from the one before, or train again"
            )
    old = state["settings"]
    if old.get("method") != settings.method:
        raise UsageError(
            f"the checkpoint was made with method {old.get('method')!r}, not {settings.method!r}: "
            "resume with that method or train into another --out"
        )
    if state["classes"] != list(labels.classes):
        pairs = zip_longest(state["classes"], labels.classes)
        number, (then, now) = next((i, p) for i, p in enumerate(pairs) if p[0] != p[1])
        raise UsageError(
            f"the checkpoint has another label set: class {number} was {then!r} of "
            f"{len(state['classes'])} and is now {now!r} of {len(labels)}: "
            "train into another --out"
        )
    if state["steps_per_epoch"] != steps_per_epoch:
        raise UsageError(
            f"the checkpoint has {state['steps_per_epoch']} steps per epoch, but data and batch "
            f"now give {steps_per_epoch}: restore them or train into another --out"
        )
    new = json.loads(json.dumps(settings.to_dict()))
    same = {"out", "device", "workers", "cache"}
    return [
        f"{key} {new[key]} instead of {old[key]}"
        for key in new
        if key not in same and key in old and new[key] != old[key]
    ]


def _load(folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    state = read_json(folder / STATE, allow_nan=True)
    contents: dict[str, Any] = {}
    for name, expected in state["sha256"].items():
        data = regular_file_inside(folder, name).read_bytes()
        if hashlib.sha256(data).hexdigest() != expected:
            raise ValueError(f"the SHA-256 of {name} is not the one in {STATE}")
        stem, _, kind = name.partition(".")
        stem = {"optimiser": "optimizer"}.get(stem, stem)  # the spelling before version 0.1.0
        contents[stem] = (
            torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
            if kind == "pt"
            else load_tensors(data)
        )
    return state, contents


def _complete(run: Path) -> list[Path]:
    return sorted((run / "checkpoints").glob("step_*"))


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
