# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Plan of a comparison: rows of runs, their seeds and how learning rates are tuned, from YAML."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from training.config import from_dict
from training.options import UsageError, lookup, read_yaml


@dataclass(frozen=True)
class Tuning:
    """Every row's learning rate is chosen on the validation split, each with the same budget.

    One rate alone is every row's; nothing is tuned then.
    """

    lr: tuple[float, ...]
    epochs: int
    #: None of the seeds that are compared.
    seed: int


@dataclass(frozen=True)
class Member:
    """One training of a row; a pair of single-modality networks has two."""

    name: str
    #: Of the run, as in a recipe; neither seed nor learning rate nor teacher.
    keys: Mapping[str, Any]
    #: Whose tuned learning rate it takes: its own or that of the row it is a variant of.
    tuned_as: str


@dataclass(frozen=True)
class Row:
    """A line of the table."""

    #: method/network[/variant]
    name: str
    members: tuple[Member, ...]
    seeds: tuple[int, ...]
    #: The row whose first run is the teacher; one teacher for every seed.
    teacher: str | None


@dataclass(frozen=True)
class Plan:
    """What is compared, fixed before the first run."""

    rows: Mapping[str, Row]
    tuning: Tuning


def read_plan(path: Path) -> Plan:
    """The plan of a YAML file.

    ``keys`` are those of every run. A row holds its own keys and may say ``like: ROW`` (its keys
    and learning rate, then its own changes), ``seeds``, ``teacher_row: ROW``, and a list as
    ``modality``, for one training each.

    Raises:
        UsageError: an unknown row or key, a value of a wrong type, a row without method.
    """
    document = read_yaml(path)
    try:
        tune, common, raw = document["tune"], document["keys"], document["rows"]
        tuning = Tuning(tuple(map(float, tune["lr"])), int(tune["epochs"]), int(tune["seed"]))
        default_seeds = tuple(document["seeds"])
    except (KeyError, TypeError, ValueError) as error:
        raise UsageError(
            f"{path} needs seeds, tune (lr, epochs, seed), keys and rows: {error!r}"
        ) from error
    if not tuning.lr or not isinstance(raw, dict):
        raise UsageError(f"{path} needs at least one rate as tune.lr, and rows by their names")
    rows: dict[str, Row] = {}
    for name, own in raw.items():
        if not isinstance(own, dict):
            raise UsageError(f"{path}, {name}: a row needs keys, got {own!r}")
        keys = {**common, **_inherited(raw, name, str(path))}
        seeds = tuple(own.get("seeds", default_seeds))
        if not seeds or len(set(seeds)) < len(seeds):
            raise UsageError(f"{path}, {name}: seeds must be some different numbers, got {seeds}")
        teacher = keys.pop("teacher_row", None)
        tuned_as = own.get("like", name)
        for row in (teacher, tuned_as):
            if row is not None and row != name:
                lookup("row above", row, rows)
        if teacher and len(rows[teacher].members) > 1:
            raise UsageError(f"{path}, {name}: teacher_row {teacher} trains several networks; "
                             "name a row of one")  # fmt: skip
        if tuning.seed in seeds:
            raise UsageError(f"{path}, {name}: seed {tuning.seed} is the one for tuning")
        if "method" not in keys:
            raise UsageError(f"{path}, {name}: a row needs a method")
        members = tuple(_members(name, tuned_as, keys))
        for member in members:
            from_dict(member.keys["method"], member.keys, f"{path}, {member.name}")
        rows[name] = Row(name, members, seeds, teacher)
    return Plan(rows, tuning)


def _inherited(raw: Mapping[str, Any], name: str, where: str) -> dict[str, Any]:
    own = dict(raw[name])
    like = own.pop("like", None)
    own.pop("seeds", None)
    if like is None:
        return own
    base = dict(lookup(f"row of {where}", like, raw))
    base.pop("seeds", None)
    if "like" in base:
        raise UsageError(f"{where}, {name}: {like} is itself like {base['like']}; name that one")
    return {**base, **own}


def _members(name: str, tuned_as: str, keys: Mapping[str, Any]) -> list[Member]:
    modality = keys.get("modality")
    if not isinstance(modality, list):
        return [Member(name, keys, tuned_as)]
    return [
        Member(f"{name}/{one}", {**keys, "modality": one}, f"{tuned_as}/{one}") for one in modality
    ]
