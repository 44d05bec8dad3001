# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Checkpoints: atomic writes, the last two kept, damaged ones skipped."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from rigs.broken_files import BROKEN

from training import checkpoint
from training.options import UsageError


def save(run: Path, step: int) -> Path:
    tensors = {"weights": {"w": torch.full((3,), float(step))}}
    optimizer = {"adamw": {"state": {0: {"exp_avg": torch.ones(2)}}, "param_groups": []}}
    return checkpoint.save(run, step, tensors, optimizer, {"best": {"epoch": step}})


def test_round_trip_and_the_last_two_are_kept(tmp_path: Path) -> None:
    for step in (5, 10, 15):
        save(tmp_path, step)
    kept = sorted(p.name for p in (tmp_path / "checkpoints").iterdir())
    assert kept == ["step_00000010", "step_00000015"]
    state, contents = checkpoint.load_latest(tmp_path) or ({}, {})
    assert (state["step"], state["best"]) == (15, {"epoch": 15})
    assert torch.equal(contents["weights"]["w"], torch.full((3,), 15.0))
    assert torch.equal(contents["optimizer"]["adamw"]["state"][0]["exp_avg"], torch.ones(2))


def test_a_checkpoint_with_the_old_spelling_of_optimizer_is_read(tmp_path: Path) -> None:
    folder = save(tmp_path, 5)
    (folder / "optimizer.pt").rename(folder / "optimiser.pt")
    state = (folder / "state.json").read_text()
    (folder / "state.json").write_text(state.replace("optimizer.pt", "optimiser.pt"))
    _, contents = checkpoint.load_latest(tmp_path) or ({}, {})
    assert torch.equal(contents["optimizer"]["adamw"]["state"][0]["exp_avg"], torch.ones(2))


def test_load_latest_returns_none_without_a_checkpoint(tmp_path: Path) -> None:
    assert checkpoint.load_latest(tmp_path) is None


@pytest.mark.parametrize("victim", ["weights.safetensors", "optimizer.pt", "state.json"])
@pytest.mark.parametrize("damage", ["cut", "flip", "gone"])
def test_a_damaged_checkpoint_is_reported_and_the_previous_one_used(
    victim: str, damage: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save(tmp_path, 1)
    path = save(tmp_path, 2) / victim
    data = path.read_bytes()
    if damage == "cut":
        path.write_bytes(data[: len(data) // 2])
    elif damage == "flip":
        path.write_bytes(b"\x00" + data[1:])
    else:
        path.unlink()
    state, _ = checkpoint.load_latest(tmp_path) or ({}, {})
    assert state["step"] == 1
    assert "step_00000002 is damaged" in capsys.readouterr().err


@pytest.mark.parametrize("kind", BROKEN)
def test_a_checkpoint_with_a_broken_state_is_skipped(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save(tmp_path, 1)
    BROKEN[kind](save(tmp_path, 2) / "state.json")
    state, _ = checkpoint.load_latest(tmp_path) or ({}, {})
    assert state["step"] == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "step_00000002 is damaged" in line


def test_only_damaged_checkpoints_are_an_error(tmp_path: Path) -> None:
    (save(tmp_path, 1) / "state.json").write_text("{}")
    with pytest.raises(UsageError, match=r"every checkpoint in .* is damaged"):
        checkpoint.load_latest(tmp_path)


def test_a_failed_write_leaves_the_previous_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(tmp_path, 1)
    original = checkpoint.write_atomically

    def full_disk(path: Path, data: bytes | str, *, fsync: bool) -> None:
        if path.name == "state.json":
            raise OSError(28, "No space left on device")
        original(path, data, fsync=fsync)

    monkeypatch.setattr(checkpoint, "write_atomically", full_disk)
    with pytest.raises(OSError, match="No space left"):
        save(tmp_path, 2)
    monkeypatch.undo()
    state, _ = checkpoint.load_latest(tmp_path) or ({}, {})
    assert state["step"] == 1
    save(tmp_path, 2)  # the partial one does not get in the way
    assert (checkpoint.load_latest(tmp_path) or ({},))[0]["step"] == 2
